"""A trained generator: draws micrographs."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Self

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from everhart.errors import UsageError
from everhart.micrograph import HistoryEntry, Micrograph
from everhart.nn.diffusion_unet import DiffusionUNet, DiffusionUNetConfig
from everhart.nn.hardware import resolve_device, use_bf16
from everhart.synthesize.conditions import Conditions, Told, shape_of
from everhart.synthesize.full_size import Level, draw_full_size, levels_for
from everhart.synthesize.generator_header import CLIP, KIND, Said
from everhart.synthesize.guidance import Guide
from everhart.synthesize.inpainting import inpaint
from everhart.synthesize.predictors import Predictors, Wanted
from everhart.synthesize.samplers import SamplerName, Variance, sample
from everhart.synthesize.training_images import hash_of
from everhart.training.model_file import ModelHeader, load_model

__all__ = ["Generator"]

_ON_THE_WAY = 1 << 40
"""Added to a seed for the noise after the first, so that it is not that of another image."""

OnProgress = Callable[[int, int], None]


class Generator:
    """Draws micrographs from a trained model.

    Parameters
    ----------
    network
        The network.
    header
        Header of its model file.
    sha256
        Hash of the model file, for the history.
    device
        ``"auto"``, ``"cpu"`` or ``"cuda"``.
    precision
        ``"auto"``, ``"fp32"`` or ``"bf16"``.
    """

    def __init__(
        self,
        network: DiffusionUNet,
        header: ModelHeader,
        sha256: str,
        *,
        device: str = "auto",
        precision: str = "auto",
    ) -> None:
        self.device = resolve_device(device)
        self.bf16 = use_bf16(precision, self.device)
        self.network = network.eval().to(self.device, memory_format=torch.channels_last)  # type: ignore[call-overload]
        self.header, self.sha256 = header, sha256
        self.said = said = Said.of(header)
        self.grey, self.schedule, self.shape = said.grey, said.schedule, said.shape
        self.classes, self.mask_values = said.classes, said.mask_values
        self.pixel_size_nm = said.pixel_size_nm
        self._conditions = Conditions(network.config, self.classes, self.mask_values, self.device)
        self._predictors = Predictors(
            self.network, self._conditions, self.schedule, self.device, bf16=self.bf16
        )

    @classmethod
    def load(cls, path: Path | str, *, device: str = "auto", precision: str = "auto") -> Self:
        """Load a model file.

        Raises
        ------
        UsageError
            If there is no such file, or no such device.
        FileFormatError
            If it is no generator's model file.
        """
        loaded = load_model(Path(path), KIND)
        network = DiffusionUNet(DiffusionUNetConfig.model_validate(loaded.header.config))
        network.load_state_dict(loaded.weights)
        return cls(network, loaded.header, loaded.sha256, device=device, precision=precision)

    def synthesize(
        self,
        n: int = 1,
        *,
        seed: int = 0,
        label: str | None = None,
        mask: NDArray[Any] | None = None,
        guidance: float = 1.0,
        classifier: Guide | None = None,
        size: tuple[int, int] | None = None,
        sampler: SamplerName = "ddpm",
        steps: int = 100,
        overlap: float = 0.25,
        start_level: float = 0.6,
        batch_size: int = 8,
        on_progress: OnProgress | None = None,
    ) -> list[Micrograph]:
        """Draw images.

        What is larger than the largest patches that the model has learned from is drawn in
        overlapping tiles, from a reduced image of the whole if the model knows one; see
        :func:`everhart.synthesize.full_size.draw_full_size`.

        Parameters
        ----------
        n
            Number of images.
        seed
            Seed of the first; the next have the next seeds, so that an image is the same (but for
            rounding) however many are drawn with it.
        label
            Name of a class; None to leave it open.
        mask
            Label image of what is to be drawn, of the size of the image; None to leave it open.
        size
            Height and width of the images; None for those of the mask, or else of the training
            images. A model that is told where a patch lies stretches the whole over any size.
        guidance
            Weight of the condition [1]_, or of the classifier's gradient [2]_: 1 as learned, more
            for what is more typical of it.
        classifier
            A classifier that draws the images to the label, in place of what the generator itself
            knows of labels.
        sampler, steps
            See :func:`everhart.synthesize.samplers.sample`.
        overlap, start_level
            For images in tiles, see :func:`everhart.synthesize.full_size.draw_full_size`.
        batch_size
            Images, or tiles, that are drawn at once.
        on_progress
            Called with the steps done and all of them.

        Returns
        -------
        list of Micrograph
            The images; their metadata say that they are synthetic.

        Raises
        ------
        UsageError
            If a class or a value of the mask is unknown, or the model takes no such condition.

        References
        ----------
        .. [1] J. Ho, T. Salimans, "Classifier-free diffusion guidance", 2022, equation 6.
        .. [2] P. Dhariwal, A. Nichol, "Diffusion models beat GANs on image synthesis", NeurIPS
           2021, equation 14.
        """
        if n < 1:
            raise UsageError(f"n = {n} images were asked for: give 1 or more.")
        told, wanted = self._asked(label, mask, classifier)
        shape = self._shape(mask, size)
        levels = levels_for(self.said.stages, self.shape, shape)
        parameters: dict[str, Any] = {
            "label": label,
            "guidance": guidance,
            "sampler": sampler,
            "steps": steps,
            "with_mask": mask is not None,
        }
        if mask is not None:
            parameters["mask_sha256"] = hash_of(mask)
        if classifier is not None:
            parameters["classifier_sha256"] = classifier.sha256
        if len(levels) > 1 or any(n > m for n, m in zip(shape, levels[0].tile, strict=True)):
            parameters |= {
                "size": list(shape), "overlap": overlap, "start_level": start_level,
                "reductions": [level.reduction for level in levels],
            }  # fmt: skip
            images = []
            for number in range(n):

                def tell_tiles(done: int, of: int, number: int = number) -> None:
                    if on_progress is not None:
                        on_progress(number * of + done, n * of)

                canvas = draw_full_size(
                    lambda level: self._predictors.of_tiles(told, level, shape, guidance, wanted),
                    levels,
                    shape,
                    self.schedule,
                    seed=seed + number,
                    sampler=sampler,
                    steps=steps,
                    variance=self._variance,
                    overlap=overlap,
                    start_level=start_level,
                    clip=CLIP,
                    batch_size=batch_size,
                    on_step=tell_tiles,
                )
                images.append(
                    self._micrograph(canvas.numpy(), {"seed": seed + number, **parameters})
                )
            return images
        images = []
        batches = -(-n // batch_size)
        for batch in range(batches):
            seeds = [seed + k for k in range(batch * batch_size, min(n, (batch + 1) * batch_size))]
            condition = self._conditions.at(told, [(0, 0)] * len(seeds), shape, shape)
            noise = _noise(seeds, shape).to(self.device)

            def tell(done: int, of: int, first: int = batch) -> None:
                if on_progress is not None:
                    on_progress(first * of + done, batches * of)

            with torch.no_grad():
                drawn = sample(
                    self._predictors.of(condition, guidance, wanted),
                    noise,
                    self.schedule,
                    sampler=sampler,
                    steps=steps,
                    variance=self._variance(levels[0]),
                    generator=[torch.Generator().manual_seed(s + _ON_THE_WAY) for s in seeds],
                    clip=CLIP,
                    on_step=tell,
                )
            images += [
                self._micrograph(pixels, {"seed": own, **parameters})
                for pixels, own in zip(drawn[:, 0].cpu().numpy(), seeds, strict=True)
            ]
        return images

    def check(
        self,
        *,
        label: str | None = None,
        mask: NDArray[Any] | None = None,
        classifier: Guide | None = None,
        size: tuple[int, int] | None = None,
    ) -> None:
        """Check what is asked of :meth:`synthesize`, before work that takes long.

        Raises
        ------
        UsageError
            As there.
        """
        self._asked(label, mask, classifier)
        self._shape(mask, size)

    def inpaint(
        self,
        image: Micrograph,
        hidden: NDArray[np.bool_],
        *,
        seed: int = 0,
        label: str | None = None,
        mask: NDArray[Any] | None = None,
        guidance: float = 1.0,
        classifier: Guide | None = None,
        steps: int = 250,
        jump: int = 10,
        repeats: int = 10,
        on_progress: OnProgress | None = None,
    ) -> Micrograph:
        """Draw what is hidden in an image, by RePaint.

        Parameters
        ----------
        image
            An image like those of the training, ``(H, W)``.
        hidden
            ``(H, W)``: where it is to be drawn.
        mask
            Label image of the whole ``(H, W)``, for models that know it: what is drawn follows it.
        seed, label, guidance, classifier
            As for :meth:`synthesize`.
        steps, jump, repeats
            See :func:`everhart.synthesize.inpainting.inpaint`.
        on_progress
            Called with the steps done and all of them.

        Returns
        -------
        Micrograph
            The image; what is not hidden is exactly as it was.

        Raises
        ------
        UsageError
            If a mask has another size than the image, or nothing or everything is hidden.
        """
        if mask is not None and mask.shape != image.shape:
            raise UsageError(
                f"An image of shape {image.shape} and a label image of shape {mask.shape} were "
                "given: both are of the same size."
            )
        if hidden.shape != image.shape or image.ndim != 2:
            raise UsageError(
                f"An image of shape {image.shape} and a mask of shape {hidden.shape} were given: "
                "both are (height, width), of the same size."
            )
        if not hidden.any() or hidden.all():
            raise UsageError(
                "The mask hides nothing or everything: it is nonzero where something is to be "
                "drawn, and zero where the image is kept."
            )
        if str(image.dtype) != self.grey.dtype:
            raise UsageError(
                f"An image of {image.dtype} was given to a generator that learned from "
                f"{self.grey.dtype}: convert it, with the grey levels that the training images had."
            )
        values = self.grey.normalise(np.where(hidden, self.grey.middle_grey, image.pixels))
        given = torch.from_numpy(values)[None, None].to(self.device)
        shape = shape_of(image.pixels)
        told, wanted = self._asked(label, mask, classifier)
        condition = self._conditions.at(told, [(0, 0)], shape, shape)
        with torch.no_grad():
            drawn = inpaint(
                self._predictors.of(condition, guidance, wanted),
                given,
                torch.from_numpy(np.ascontiguousarray(hidden))[None, None].to(self.device),
                self.schedule,
                steps=steps,
                jump=jump,
                repeats=repeats,
                variance=self._variance(Level(1, shape)),
                generator=torch.Generator().manual_seed(seed),
                clip=CLIP,
                on_step=on_progress,
            )
        filled = self.grey.restore(drawn[0, 0].cpu().numpy())
        pixels = np.where(hidden, filled, image.pixels)
        parameters: dict[str, Any] = {
            "seed": seed, "label": label, "guidance": guidance, "steps": steps,
            "jump": jump, "repeats": repeats, "hidden_percent": round(100 * hidden.mean(), 4),
            "model": self.header.card.name,
        }  # fmt: skip
        if mask is not None:
            parameters["mask_sha256"] = hash_of(mask)
        entry = HistoryEntry("inpaint", parameters, self.sha256)
        metadata = {**image.metadata, "synthetic": "partly"}
        return Micrograph(pixels, image.pixel_size_nm, metadata, (*image.history, entry))

    def _shape(self, mask: NDArray[Any] | None, size: tuple[int, int] | None) -> tuple[int, int]:
        """Return the size of what is drawn."""
        shape = size or (self.shape if mask is None else shape_of(mask))
        if min(shape) < 1 or (mask is not None and mask.shape != shape):
            mask_size = "" if mask is None else f", and a mask of {mask.shape}"
            raise UsageError(
                f"An image of {shape} pixels was asked for{mask_size}: give height and width of 1 "
                "or more, and a mask of the same."
            )
        return shape

    def _asked(
        self, label: str | None, mask: NDArray[Any] | None, classifier: Guide | None
    ) -> tuple[Told, Wanted | None]:
        """Return what the network is told, and what the classifier is to draw it to."""
        if classifier is None:
            return self._conditions.told(label, mask), None
        wanted = classifier, classifier.check(label, self.header.normalisation)
        return self._conditions.told(None, mask), wanted

    def _variance(self, level: Level) -> Variance:
        """Return what its own error says, or that of DDPM in models of before."""
        found = self.said.scatter.get(level.reduction)
        return "large" if found is None else found.draw

    def _micrograph(self, pixels: NDArray[np.float32], parameters: Mapping[str, Any]) -> Micrograph:
        entry = HistoryEntry(
            "synthesize", {**parameters, "model": self.header.card.name}, self.sha256
        )
        metadata = {"synthetic": True}
        # Some rows at a time: the grey levels of large images are computed in double precision.
        bands = [self.grey.restore(pixels[n : n + 256]) for n in range(0, len(pixels), 256)]
        return Micrograph(np.concatenate(bands), self.pixel_size_nm, metadata, (entry,))


def _noise(seeds: list[int], shape: tuple[int, int]) -> Tensor:
    return torch.stack(
        [torch.randn((1, *shape), generator=torch.Generator().manual_seed(s)) for s in seeds]
    )

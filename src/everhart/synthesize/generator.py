"""A trained generator: draws micrographs."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Self

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from everhart.errors import UsageError
from everhart.micrograph import HistoryEntry, Micrograph
from everhart.nn.diffusion_unet import Condition, DiffusionUNet, DiffusionUNetConfig
from everhart.nn.hardware import resolve_device, use_bf16
from everhart.synthesize.conditions import Conditions, Told, shape_of
from everhart.synthesize.config import DiffusionConfig
from everhart.synthesize.full_size import Level, draw_full_size, levels_for, reduced_shape
from everhart.synthesize.guidance import Guide, by_classifier, without_classifier
from everhart.synthesize.inpainting import inpaint
from everhart.synthesize.samplers import Predict, SamplerName, sample
from everhart.synthesize.schedule import NoiseSchedule
from everhart.synthesize.tiles import Corner, PredictTiles
from everhart.synthesize.training_images import GreyRange, TrainingImages, hash_of
from everhart.training.model_file import ModelHeader, load_model

__all__ = ["ARCHITECTURE", "KIND", "Generator", "normalisation_of"]

KIND = "generator"
ARCHITECTURE = "DiffusionUNet"

_ON_THE_WAY = 1 << 40
"""Added to a seed for the noise after the first, so that it is not that of another image."""

_CLIP = 1.0 / 0.9
"""Images are held within these limits while they are drawn."""

_Wanted = tuple[Guide, int]
"""A classifier, and the number of the class that it draws to."""

OnProgress = Callable[[int, int], None]


def normalisation_of(images: TrainingImages, config: DiffusionConfig) -> dict[str, Any]:
    """Return what a generator's header says beside the network: grey levels, schedule, names."""
    return {
        "kind": "grey range",
        "middle": images.grey.middle,
        "half": images.grey.half,
        "dtype": images.grey.dtype,
        "schedule": config.schedule.model_dump(),
        "classes": list(images.classes),
        "mask_values": list(images.mask_values),
        "pixel_size_nm": images.pixel_size_nm,
        "shape": list(images.images[0].pixels.shape),
        "stages": [[stage.patch_px, stage.reduction] for stage in config.curriculum],
    }


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
        said = header.normalisation
        self.grey = GreyRange(said["middle"], said["half"], said["dtype"])
        self.schedule = NoiseSchedule(**said["schedule"])
        self.classes: tuple[str, ...] = tuple(said["classes"])
        self.mask_values: tuple[int, ...] = tuple(said["mask_values"])
        self.shape: tuple[int, int] = (said["shape"][0], said["shape"][1])
        self._conditions = Conditions(network.config, self.classes, self.mask_values, self.device)
        # Models of before had no note of their stages: they know whole images.
        self.stages: list[tuple[int | None, int]] = [
            (patch, reduction) for patch, reduction in said.get("stages", [[None, 1]])
        ]
        size = said["pixel_size_nm"]
        self.pixel_size_nm = None if size is None else (float(size[0]), float(size[1]))

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
        steps: int = 250,
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
        levels = levels_for(self.stages, self.shape, shape)
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
                    lambda level: self._tile_predictor(told, level, shape, guidance, wanted),
                    levels,
                    shape,
                    self.schedule,
                    seed=seed + number,
                    sampler=sampler,
                    steps=steps,
                    overlap=overlap,
                    start_level=start_level,
                    clip=_CLIP,
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
                    self.predictor(condition, guidance, wanted),
                    noise,
                    self.schedule,
                    sampler=sampler,
                    steps=steps,
                    generator=[torch.Generator().manual_seed(s + _ON_THE_WAY) for s in seeds],
                    clip=_CLIP,
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
            If the mask has another size than the image, hides nothing or everything.
        """
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
        values = self.grey.normalise(np.where(hidden, self.grey.middle, image.pixels))
        given = torch.from_numpy(values)[None, None].to(self.device)
        shape = shape_of(image.pixels)
        told, wanted = self._asked(label, None, classifier)
        condition = self._conditions.at(told, [(0, 0)], shape, shape)
        with torch.no_grad():
            drawn = inpaint(
                self.predictor(condition, guidance, wanted),
                given,
                torch.from_numpy(np.ascontiguousarray(hidden))[None, None].to(self.device),
                self.schedule,
                steps=steps,
                jump=jump,
                repeats=repeats,
                generator=torch.Generator().manual_seed(seed),
                clip=_CLIP,
                on_step=on_progress,
            )
        filled = self.grey.restore(drawn[0, 0].cpu().numpy())
        pixels = np.where(hidden, filled, image.pixels)
        entry = HistoryEntry(
            "inpaint",
            {"seed": seed, "label": label, "guidance": guidance, "steps": steps,
             "jump": jump, "repeats": repeats, "hidden_percent": round(100 * hidden.mean(), 4),
             "model": self.header.card.name},
            self.sha256,
        )  # fmt: skip
        metadata = {**image.metadata, "synthetic": "partly"}
        return Micrograph(pixels, image.pixel_size_nm, metadata, (*image.history, entry))

    def predictor(
        self, condition: Condition, guidance: float = 1.0, wanted: _Wanted | None = None
    ) -> Predict:
        """Return what the samplers ask: the network with all that it is told."""

        def said_with(told: Condition) -> Predict:
            def predict(x: Tensor, t: Tensor) -> Tensor:
                with torch.autocast(self.device, torch.bfloat16, enabled=self.bf16):
                    said: Tensor = self.network(x, t, told).float()
                return said

            return predict

        if wanted is not None:
            guide, number = wanted
            of = guide.log_probability(number, condition.position)
            return by_classifier(said_with(condition), of, self.schedule, guidance)
        if condition.label is None and condition.mask is None:
            return said_with(condition)
        open_ = Condition(None, condition.position, None)
        return without_classifier(said_with(condition), said_with(open_), guidance)

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
    ) -> tuple[Told, _Wanted | None]:
        """Return what the network is told, and what the classifier is to draw it to."""
        if classifier is None:
            return self._conditions.told(label, mask), None
        wanted = classifier, classifier.check(label, self.header.normalisation)
        return self._conditions.told(None, mask), wanted

    def _tile_predictor(
        self,
        told: Told,
        level: Level,
        shape: tuple[int, int],
        guidance: float,
        wanted: _Wanted | None,
    ) -> PredictTiles:
        """Return what the network says of tiles of a level."""
        by, whole = level.reduction, reduced_shape(shape, level.reduction)
        told = told.reduced(by)

        def predict(x: Tensor, t: Tensor, corners: Sequence[Corner]) -> Tensor:
            condition = self._conditions.at(told, corners, shape_of(x[0, 0]), whole, by)
            return self.predictor(condition, guidance, wanted)(
                x.to(self.device), t.to(self.device)
            ).cpu()

        return predict

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

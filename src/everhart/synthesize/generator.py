"""A trained generator: draws micrographs."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Self

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from everhart.errors import UsageError, unknown_name
from everhart.micrograph import HistoryEntry, Micrograph
from everhart.nn.diffusion_unet import Condition, DiffusionUNet, DiffusionUNetConfig
from everhart.nn.hardware import resolve_device, use_bf16
from everhart.synthesize.config import DiffusionConfig
from everhart.synthesize.inpainting import inpaint
from everhart.synthesize.patches import position_planes
from everhart.synthesize.samplers import Predict, SamplerName, sample
from everhart.synthesize.schedule import NoiseSchedule
from everhart.synthesize.training_images import GreyRange, TrainingImages
from everhart.training.model_file import ModelHeader, load_model

__all__ = ["ARCHITECTURE", "KIND", "Generator", "normalisation_of"]

KIND = "generator"
ARCHITECTURE = "DiffusionUNet"

_ON_THE_WAY = 1 << 40
"""Added to a seed for the noise after the first, so that it is not that of another image."""

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
        sampler: SamplerName = "ddpm",
        steps: int = 250,
        batch_size: int = 8,
        on_progress: OnProgress | None = None,
    ) -> list[Micrograph]:
        """Draw images of the size of the training images.

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
        guidance
            Weight of the condition [1]_: 1 as learned, more for what is more typical of it.
        sampler, steps
            See :func:`everhart.synthesize.samplers.sample`.
        batch_size
            Images that are drawn at once.
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
        """
        if n < 1:
            raise UsageError(f"n = {n} images were asked for: give 1 or more.")
        images: list[Micrograph] = []
        batches = -(-n // batch_size)
        for batch in range(batches):
            seeds = [seed + k for k in range(batch * batch_size, min(n, (batch + 1) * batch_size))]
            shape = self.shape if mask is None else (mask.shape[0], mask.shape[1])
            condition = self._condition(len(seeds), shape, label, mask)
            noise = _noise(seeds, shape).to(self.device)

            def tell(done: int, of: int, first: int = batch) -> None:
                if on_progress is not None:
                    on_progress(first * of + done, batches * of)

            with torch.no_grad():
                drawn = sample(
                    self.predictor(condition, guidance),
                    noise,
                    self.schedule,
                    sampler=sampler,
                    steps=steps,
                    generator=[torch.Generator().manual_seed(s + _ON_THE_WAY) for s in seeds],
                    clip=1.0 / 0.9,
                    on_step=tell,
                )
            for pixels, own in zip(drawn[:, 0].cpu().numpy(), seeds, strict=True):
                parameters = {
                    "seed": own,
                    "label": label,
                    "guidance": guidance,
                    "sampler": sampler,
                    "steps": steps,
                    "with_mask": mask is not None,
                }
                images.append(self._micrograph(pixels, parameters))
        return images

    def inpaint(
        self,
        image: Micrograph,
        hidden: NDArray[np.bool_],
        *,
        seed: int = 0,
        label: str | None = None,
        guidance: float = 1.0,
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
        seed, label, guidance
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
        condition = self._condition(1, (image.shape[0], image.shape[1]), label, None)
        with torch.no_grad():
            drawn = inpaint(
                self.predictor(condition, guidance),
                given,
                torch.from_numpy(np.ascontiguousarray(hidden))[None, None].to(self.device),
                self.schedule,
                steps=steps,
                jump=jump,
                repeats=repeats,
                generator=torch.Generator().manual_seed(seed),
                clip=1.0 / 0.9,
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

    def predictor(self, condition: Condition, guidance: float = 1.0) -> Predict:
        """Return what the samplers ask: the network with all that it is told."""
        open_ = Condition(None, condition.position, None, None)
        guided = guidance != 1.0 and (condition.label is not None or condition.mask is not None)

        def predict(x: Tensor, t: Tensor) -> Tensor:
            with torch.autocast(self.device, torch.bfloat16, enabled=self.bf16):
                said: Tensor = self.network(x, t, condition).float()
                if guided:
                    plain = self.network(x, t, open_).float()
                    said = plain + guidance * (said - plain)
            return said

        return predict

    def _condition(
        self, n: int, shape: tuple[int, int], label: str | None, mask: NDArray[Any] | None
    ) -> Condition:
        config = self.network.config
        number = None
        if label is not None:
            if not self.classes:
                raise UsageError(f"The label {label!r} was given to a generator without classes.")
            if label not in self.classes:
                raise unknown_name("label", label, self.classes)
            number = torch.full((n,), self.classes.index(label), device=self.device)
        position = None
        if config.position:
            planes = torch.from_numpy(position_planes(shape, shape, (0, 0), 1))
            position = planes[None].expand(n, -1, -1, -1).to(self.device)
        given = None
        if mask is not None:
            if not self.mask_values:
                raise UsageError("A mask was given to a generator that was trained without.")
            unknown = sorted(set(np.unique(mask).tolist()) - set(self.mask_values))
            if unknown:
                raise UsageError(
                    f"The mask has the value {unknown[0]}, and the generator knows "
                    f"{', '.join(map(str, self.mask_values))}."
                )
            planes = torch.from_numpy(
                (mask[None] == np.asarray(self.mask_values)[:, None, None]).astype(np.float32)
            )
            given = planes[None].expand(n, -1, -1, -1).to(self.device)
        return Condition(number, position, given)

    def _micrograph(self, pixels: NDArray[np.float32], parameters: Mapping[str, Any]) -> Micrograph:
        entry = HistoryEntry(
            "synthesize", {**parameters, "model": self.header.card.name}, self.sha256
        )
        metadata = {"synthetic": True}
        return Micrograph(self.grey.restore(pixels), self.pixel_size_nm, metadata, (entry,))


def _noise(seeds: list[int], shape: tuple[int, int]) -> Tensor:
    return torch.stack(
        [torch.randn((1, *shape), generator=torch.Generator().manual_seed(s)) for s in seeds]
    )

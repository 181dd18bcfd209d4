"""What the engine trains: the network of a generator, on noisy patches."""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional as F

from everhart.nn.diffusion_unet import Condition, DiffusionUNet, DiffusionUNetConfig
from everhart.synthesize.augment import OPERATIONS
from everhart.synthesize.config import DiffusionConfig
from everhart.synthesize.patches import StageConfig, draw_patch, stage_at
from everhart.synthesize.schedule import NoiseSchedule
from everhart.synthesize.training_images import TrainingImage
from everhart.training.engine import TrainingTask
from everhart.training.samples import SampleFunction

__all__ = ["DiffusionTask", "HeldOutPatches", "PatchBatch", "PatchSamples", "told_of"]

_COARSEST_PX = 32
"""Edge of the smallest image whose error counts: smaller ones show no shapes."""


class PatchBatch(NamedTuple):
    """A sample, or a batch of them.

    Attributes
    ----------
    pixels
        ``(1, h, w)``.
    position
        ``(3, h, w)``.
    mask
        One plane a class, ``(classes, h, w)``; zeros where it is left open.
    label
        Number of the class; one more than the last where it is left open.
    noise
        ``(1, h, w)``.
    t
        Step of the schedule.
    told
        What the model is told of the augmentation; empty without.
    """

    pixels: NDArray[np.float32]
    position: NDArray[np.float32]
    mask: NDArray[np.float32]
    label: np.int64
    noise: NDArray[np.float32]
    t: np.int64
    told: NDArray[np.float32]


class PatchSamples:
    """Training samples, stage by stage."""

    def __init__(
        self, images: tuple[TrainingImage, ...], config: DiffusionConfig, mask_classes: int
    ) -> None:
        self.images, self.config, self.mask_classes = images, config, mask_classes
        self.schedule = NoiseSchedule(**config.schedule.model_dump())
        self.classes = 1 + max(image.label for image in images)

    def at_step(self, step: int) -> tuple[SampleFunction, int]:
        """Return what draws the samples from a step on, and how many a step takes."""
        settings = self.config.optimiser
        stages = self.config.curriculum * self.config.cycles
        stage = stage_at(stages, step / settings.steps)

        def draw(rng: np.random.Generator) -> PatchBatch:
            patch = draw_patch(self.images, stage, rng, self.config.augmentation, self.config.flips)
            label = patch.label if rng.random() >= self.config.label_dropout else self.classes
            planes = _planes(patch.mask, self.mask_classes, patch.pixels.shape)
            if rng.random() < self.config.mask_dropout:
                planes = np.zeros_like(planes)
            return _with_noise(
                rng, self.schedule, stage, patch.pixels, patch.position, planes, label, patch.told
            )

        return draw, stage.batch_size or settings.batch_size


class HeldOutPatches:
    """Unchanged samples of one stage, by default the last, to judge by."""

    def __init__(
        self,
        images: tuple[TrainingImage, ...],
        config: DiffusionConfig,
        mask_classes: int,
        stage: StageConfig | None = None,
    ) -> None:
        self.images, self.config, self.mask_classes = images, config, mask_classes
        self.schedule = NoiseSchedule(**config.schedule.model_dump())
        self.stage = stage or config.curriculum[-1]

    def __call__(self, rng: np.random.Generator) -> PatchBatch:
        """Draw one sample."""
        patch = draw_patch(self.images, self.stage, rng)
        planes = _planes(patch.mask, self.mask_classes, patch.pixels.shape)
        told = np.zeros(len(OPERATIONS) if self.config.augmentation else 0, np.float32)
        return _with_noise(
            rng, self.schedule, self.stage, patch.pixels, patch.position, planes, patch.label, told
        )


def told_of(batch: PatchBatch, network: DiffusionUNetConfig) -> Condition:
    """Return what a network of this shape is told of a batch."""
    position, mask, label, told = (
        torch.as_tensor(part) for part in (batch.position, batch.mask, batch.label, batch.told)
    )
    return Condition(
        label=label if network.classes else None,
        position=position if network.position else None,
        mask=mask if network.mask_classes else None,
        augmentation=told if network.augmentation else None,
    )


def _planes(
    mask: NDArray[np.int64] | None, classes: int, shape: tuple[int, ...]
) -> NDArray[np.float32]:
    if mask is None:
        return np.zeros((classes, *shape), np.float32)
    return np.asarray(mask[None] == np.arange(classes)[:, None, None], np.float32)


def _with_noise(
    rng: np.random.Generator,
    schedule: NoiseSchedule,
    stage: StageConfig,
    pixels: NDArray[np.float32],
    position: NDArray[np.float32],
    mask: NDArray[np.float32],
    label: int,
    told: NDArray[np.float32],
) -> PatchBatch:
    noise = rng.standard_normal((1, *pixels.shape), np.float32)
    return PatchBatch(
        np.ascontiguousarray(pixels[None]),
        position,
        mask,
        np.int64(label),
        noise,
        np.int64(schedule.draw(rng, plain=stage.noise == "plain")),
        told,
    )


class DiffusionTask(TrainingTask):
    """Learn to tell the noise in patches.

    Parameters
    ----------
    network
        The network.
    config
        The training's config.
    """

    best_by = "validation_loss"

    def __init__(self, network: DiffusionUNet, config: DiffusionConfig) -> None:
        super().__init__(network, config.optimiser)
        self.schedule = NoiseSchedule(**config.schedule.model_dump())
        self.coarse_loss = config.coarse_loss

    def losses(self, batch: PatchBatch) -> tuple[Tensor, Mapping[str, Tensor]]:
        """Mean squared error of what is said of the noise, and of its means over blocks [1]_.

        References
        ----------
        .. [1] E. Hoogeboom, J. Heek, T. Salimans, "Simple diffusion", ICML 2023: the loss at
           several scales.
        """
        off = self._off(batch)
        loss = off.square().mean()
        factor = 2
        while self.coarse_loss and min(off.shape[-2:]) // factor >= _COARSEST_PX:
            off = F.avg_pool2d(off, 2)
            loss = loss + factor * off.square().mean()
            factor *= 2
        return loss, {}

    @torch.no_grad()
    def validation_metrics(self, batch: PatchBatch) -> Mapping[str, Tensor]:
        """Return the same on images that are not learned from."""
        return {"validation_loss": self._off(batch).square().mean()}

    def _off(self, batch: PatchBatch) -> Tensor:
        batch = PatchBatch(*batch)  # a list, where Lightning moved it
        pixels, noise, t = (torch.as_tensor(part) for part in (batch.pixels, batch.noise, batch.t))
        assert isinstance(self.network, DiffusionUNet)
        noisy = self.schedule.add_noise(pixels, noise, t)
        said = self.network(noisy, t, told_of(batch, self.network.config))
        target = self.schedule.target(pixels, noise, t)
        off: Tensor = said.float() - target
        return off

"""What is minimised: one task for targets, one for hidden pixels, one for affine denoisers."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import AbstractContextManager, nullcontext
from typing import Any

import torch
from torch import Tensor

from everhart.nn.anscombe import estimated_affine_loss
from everhart.nn.losses import WeightedLoss
from everhart.nn.pge_net import stabilisation_loss
from everhart.restore.architectures import RestorationFBINet, RestorationNetwork
from everhart.restore.config import DenoiserConfig
from everhart.training.engine import TrainingTask

GREY_RANGE = 5.0
"""Range that SSIM losses take, in standard deviations of the image."""


class DenoisingTask(TrainingTask):
    """Fit a network to targets by a weighted sum of losses."""

    best_by = "validation_error"

    def __init__(self, network: RestorationNetwork, config: DenoiserConfig) -> None:
        super().__init__(network, config.optimiser)
        data_range = GREY_RANGE if config.normalisation == "image" else 1.0
        self.loss = WeightedLoss(config.loss, data_range=data_range)
        self.seed = config.seed
        self.draws = getattr(config.network, "dropout", None) is not None

    def losses(self, batch: Any) -> tuple[Tensor, Mapping[str, Tensor]]:
        """Return the weighted sum and, where there are several, its parts."""
        noisy, target = batch
        with self._numbered_dropout():
            restored = self.network(noisy)
        total, parts = self.loss(restored, target)
        return total, parts if len(parts) > 1 else {}

    def validation_metrics(self, batch: tuple[Tensor, Tensor, Tensor]) -> Mapping[str, Tensor]:
        """Return the gain over the noisy input in dB, and the squared error, over samples.

        Where targets are noisy, what their noise adds to the squared differences is known from
        the difference between input and target, and taken off: both figures are of the
        truth, without bias for the error.
        """
        noisy, target, noise_share = batch
        restored = self.network(noisy).float()
        difference = ((noisy[:, :1] - target) ** 2).mean((1, 2, 3))
        before = (1 - noise_share) * difference
        error = ((restored - target) ** 2).mean((1, 2, 3)) - noise_share * difference
        # One crop's estimate can come out at or below 0.
        floor = torch.where(noise_share > 0, 1e-3 * before, torch.zeros_like(before))
        ratio = before.clamp(min=1e-12) / torch.maximum(error, floor).clamp(min=1e-12)
        return {
            "validation_gain_db": (10 * torch.log10(ratio)).mean(),
            "validation_error": error.mean(),
        }

    def _numbered_dropout(self) -> AbstractContextManager[None]:
        """Seed dropout in the layers by the step, so that a resumed run repeats it."""
        if not self.draws:
            return nullcontext()
        return _seeded(self.seed * 1_000_003 + self.global_step, self.device)


class HiddenPixelsTask(DenoisingTask):
    """Fit a network to the pixels that were hidden from it (Noise2Void)."""

    def losses(self, batch: Any) -> tuple[Tensor, Mapping[str, Tensor]]:
        """Return the losses at the hidden pixels; they look at single pixels only."""
        masked, noisy, mask = batch
        with self._numbered_dropout():
            restored = self.network(masked)
        hidden = torch.where(mask > 0, restored.float(), noisy)
        total, parts = self.loss(hidden, noisy)
        scale = mask.numel() / mask.sum()
        return total * scale, {k: v * scale for k, v in parts.items()} if len(parts) > 1 else {}


class AffineTask(DenoisingTask):
    """Fit a FBI-denoiser: its PGE-Net to the noise, its FBI-Net by the unbiased affine loss.

    Both are trained at once; the second takes the first's figures as they are. The loss is in
    units of the noise's variance, so that images of little noise count as well.
    """

    network: RestorationFBINet

    def losses(self, batch: Any) -> tuple[Tensor, Mapping[str, Tensor]]:
        """Return the sum of the two losses, and both."""
        (noisy,) = batch
        gain, variance = self.network.noise(noisy)
        with torch.autocast(noisy.device.type, enabled=False):
            noise_loss = stabilisation_loss(noisy.float(), gain, variance)
        stable, level = self.network.stable_view(noisy, gain.detach(), variance.detach())
        with self._numbered_dropout():
            slope, offset = self.network.coefficients(stable)
        affine = (estimated_affine_loss(stable, slope, offset, level) / level).mean()
        return affine + noise_loss, {"affine": affine, "noise": noise_loss}


def make_task(network: RestorationNetwork, config: DenoiserConfig) -> DenoisingTask:
    """Make the task of a config's recipe."""
    kinds = {"n2v": HiddenPixelsTask, "fbi": AffineTask}
    return kinds.get(config.recipe, DenoisingTask)(network, config)


class _seeded(AbstractContextManager[None]):  # noqa: N801 - used as a function
    """Torch's generators seeded for a block, and as they were behind it."""

    def __init__(self, seed: int, device: torch.device) -> None:
        devices = [device] if device.type == "cuda" else []
        self.fork, self.seed = torch.random.fork_rng(devices), seed

    def __enter__(self) -> None:
        self.fork.__enter__()
        torch.manual_seed(self.seed)

    def __exit__(self, *error: Any) -> None:
        self.fork.__exit__(*error)

"""What a pretraining minimises: the error of a denoiser, or what a discriminator finds."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, cast

import torch
import torch.nn.functional as F
from lightning.pytorch.core.optimizer import LightningOptimizer
from torch import Tensor

from everhart.nn.losses import CharbonnierLoss
from everhart.nn.patchgan import PatchGAN
from everhart.restore.architectures import RestorationNetwork
from everhart.segment.pretraining_config import PretrainingConfig
from everhart.training.engine import DivergedError, TrainingTask

__all__ = ["Pix2PixTask", "PoissonTask", "make_task"]


class PoissonTask(TrainingTask):
    """Fit a network to the images that Poisson noise was put on."""

    best_by = "validation_error"

    def __init__(self, network: RestorationNetwork, config: PretrainingConfig) -> None:
        super().__init__(network, config.optimiser)
        self.loss = CharbonnierLoss()

    def losses(self, batch: Any) -> tuple[Tensor, Mapping[str, Tensor]]:
        """Return the Charbonnier loss."""
        noisy, clean = batch
        return self.loss(self.network(noisy).float(), clean), {}

    @torch.no_grad()
    def validation_metrics(self, batch: Any) -> Mapping[str, Tensor]:
        """Return the squared error, and the gain over the noisy image in dB."""
        noisy, clean = batch
        error = ((self.network(noisy).float() - clean) ** 2).mean((1, 2, 3)).clamp(min=1e-9)
        before = ((noisy - clean) ** 2).mean((1, 2, 3)).clamp(min=1e-9)
        return {
            "validation_error": error.mean(),
            "validation_gain_db": 10 * torch.log10(before / error).mean(),
        }


class Pix2PixTask(PoissonTask):
    """Train a generator against a discriminator of patches.

    The generator minimises ``BCE(D(noisy, restored), real) + l1_weight * L1``, the discriminator
    half the sum of its errors on real and restored pictures; both by Adam with beta1 = 0.5.
    Steps are counted by the generator's.

    References
    ----------
    P. Isola et al., "Image-to-image translation with conditional adversarial networks", CVPR 2017,
    equations 1 to 4 and section 3.3.
    """

    best_by = ""

    def __init__(self, network: RestorationNetwork, config: PretrainingConfig) -> None:
        super().__init__(network, config)
        self.automatic_optimization = False
        self.judge = PatchGAN(2, config.patchgan_width)
        self.l1_weight = config.l1_weight

    def configure_optimizers(self) -> Any:
        """Two Adams with the reference's momenta, at one rate."""
        rate = self.optimiser.learning_rate
        return [
            torch.optim.Adam(part.parameters(), lr=rate, betas=(0.5, 0.999))
            for part in (self.network, self.judge)
        ]

    def training_step(self, batch: Any, batch_idx: int) -> Tensor:
        """One step of the discriminator, then one of the generator."""
        del batch_idx
        noisy, clean = batch
        of_generator, of_judge = cast("list[LightningOptimizer]", self.optimizers())
        restored = self.network(noisy)
        with self._half_precision_off():
            restored = restored.float()
            real = self.judge(torch.cat([noisy, clean], 1))
            made_up = self.judge(torch.cat([noisy, restored.detach()], 1))
            judge_loss = (_bce(real, 1.0) + _bce(made_up, 0.0)) / 2
        of_judge.zero_grad()
        self.manual_backward(judge_loss)
        # The inner optimiser: Lightning would count this as a step of the training, too.
        of_judge.optimizer.step()
        with self._half_precision_off():
            adversarial = _bce(self.judge(torch.cat([noisy, restored], 1)), 1.0)
            l1 = F.l1_loss(restored, clean)
            loss = adversarial + self.l1_weight * l1
        if not (torch.isfinite(loss) and torch.isfinite(judge_loss)):
            raise DivergedError(
                f"The loss became {loss.item()} at step {self.global_step}: lower "
                f"optimiser.learning_rate (now {self.optimiser.learning_rate:g}); the last good "
                "state is in the run's checkpoints."
            )
        of_generator.zero_grad()
        self.manual_backward(loss)
        of_generator.step()
        self.log_dict(
            {
                "loss": loss,
                "loss_l1": l1,
                "loss_adversarial": adversarial,
                "loss_judge": judge_loss,
            },
            on_step=False,
            on_epoch=True,
            batch_size=1,
        )
        return loss.detach()

    def _half_precision_off(self) -> torch.autocast:
        return torch.autocast(self.device.type, enabled=False)


def _bce(logits: Tensor, target: float) -> Tensor:
    return F.binary_cross_entropy_with_logits(logits, torch.full_like(logits, target))


def make_task(network: RestorationNetwork, config: PretrainingConfig) -> PoissonTask:
    """Make the task of a config."""
    return (Pix2PixTask if config.task == "pix2pix" else PoissonTask)(network, config)

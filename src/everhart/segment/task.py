"""What the engine trains: scores for classes, from labelled crops."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from numpy.typing import NDArray
from torch import Tensor

from everhart.nn.segmentation_losses import IGNORE, SegmentationLoss
from everhart.segment.config import SegmentConfig
from everhart.segment.network import SegmentationUNet
from everhart.training.engine import TrainingTask

__all__ = ["SegmentationTask", "class_weights"]


def class_weights(config: SegmentConfig, shares: NDArray[Any]) -> Tensor | None:
    """Return a weight for each class, with a mean of 1 over the pixels, or None."""
    if config.class_weights == "none":
        return None
    if isinstance(config.class_weights, dict):
        return torch.tensor([config.class_weights[name] for name in config.classes])
    return torch.tensor(1 / (len(shares) * shares.clip(min=1e-4)), dtype=torch.float32)


class SegmentationTask(TrainingTask):
    """Fit a network to labels by a weighted sum of losses.

    Parameters
    ----------
    network
        The network.
    config
        The training's config.
    weights
        A weight for each class, or None.
    """

    best_by = "validation_error"

    def __init__(
        self, network: SegmentationUNet, config: SegmentConfig, weights: Tensor | None
    ) -> None:
        super().__init__(network, config.optimiser)
        self.loss = SegmentationLoss(config.loss, weights)

    def losses(self, batch: Any) -> tuple[Tensor, Mapping[str, Tensor]]:
        """Return the weighted sum and, where there are several, its parts."""
        pixels, classes = batch
        total, parts = self.loss(self.network(pixels), classes)
        return total, parts if len(parts) > 1 else {}

    @torch.no_grad()
    def validation_metrics(self, batch: Any) -> Mapping[str, Tensor]:
        """Return the loss, and one minus the mean Dice coefficient of the true classes."""
        pixels, classes = batch
        scores = self.network(pixels).float()
        loss, _ = self.loss(scores, classes)
        said = scores.argmax(1)
        counted = classes != IGNORE
        dice = []
        for number in range(scores.shape[1]):
            true, found = (classes == number) & counted, (said == number) & counted
            if true.any():
                dice.append(2 * (true & found).sum() / (true.sum() + found.sum()))
        error = 1 - torch.stack(dice).mean() if dice else loss.new_zeros(())
        return {"validation_loss": loss, "validation_error": error}

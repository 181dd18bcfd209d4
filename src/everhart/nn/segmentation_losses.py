"""Losses for segmentation; each takes scores ``(N, classes, H, W)`` and classes ``(N, H, W)``."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

import torch
import torch.nn.functional as F
from torch import Tensor, nn

__all__ = [
    "IGNORE",
    "SEGMENTATION_LOSSES",
    "CrossEntropyLoss",
    "DiceLoss",
    "FocalLoss",
    "SegmentationLoss",
]

IGNORE: Final = 255
"""Class of pixels that do not count."""


class CrossEntropyLoss(nn.Module):
    """Mean over the pixels of minus the log of the true class's probability.

    Parameters
    ----------
    class_weights
        A weight for each class; the mean is weighted by them.

    Examples
    --------
    >>> scores = torch.zeros(1, 4, 2, 2)
    >>> round(CrossEntropyLoss()(scores, torch.zeros(1, 2, 2, dtype=torch.long)).item(), 4)
    1.3863
    """

    def __init__(self, class_weights: Tensor | None = None) -> None:
        super().__init__()
        self.class_weights: Tensor | None
        self.register_buffer("class_weights", class_weights, persistent=False)

    def forward(self, scores: Tensor, target: Tensor) -> Tensor:
        """Return the loss as a scalar; 0 where no pixel counts."""
        counted = target != IGNORE
        weights = counted.to(scores.dtype)
        if self.class_weights is not None:
            weights = weights * self.class_weights.to(scores)[target.where(counted, 0)]
        each = F.cross_entropy(scores, target, ignore_index=IGNORE, reduction="none")
        return (each * weights).sum() / weights.sum().clamp(min=1e-6)


class DiceLoss(nn.Module):
    """One minus the mean over the classes of the Dice coefficient of the probabilities.

    Pixels of the whole batch are taken together, so that a class which is in few of the crops is
    not measured on crops without it; a class that is in none does not count.

    Parameters
    ----------
    class_weights
        A weight for each class in the mean.

    References
    ----------
    F. Milletari, N. Navab, S.-A. Ahmadi, "V-Net", 3DV 2016, arXiv:1606.04797, section 3 (with the
    plain sums of the later literature in the denominator).

    Examples
    --------
    >>> target = torch.tensor([[[0, 1]]])
    >>> sure = 100 * F.one_hot(target, 2).movedim(-1, 1).float()
    >>> round(DiceLoss()(sure, target).item(), 4)
    0.0
    """

    def __init__(self, class_weights: Tensor | None = None) -> None:
        super().__init__()
        self.class_weights: Tensor | None
        self.register_buffer("class_weights", class_weights, persistent=False)

    def forward(self, scores: Tensor, target: Tensor) -> Tensor:
        """Return the loss as a scalar."""
        counted = (target != IGNORE)[:, None].to(scores.dtype)
        classes = scores.shape[1]
        true = F.one_hot(target.where(target != IGNORE, 0), classes).movedim(-1, 1)
        true = true.to(scores.dtype) * counted
        said = scores.softmax(1) * counted
        axes = (0, 2, 3)
        hit, size = (said * true).sum(axes), true.sum(axes)
        dice = 2 * hit / (said.sum(axes) + size).clamp(min=1e-6)
        weights = (size > 0).to(scores.dtype)
        if self.class_weights is not None:
            weights = weights * self.class_weights.to(scores)
        return ((1 - dice) * weights).sum() / weights.sum().clamp(min=1e-6)


class FocalLoss(nn.Module):
    """Cross-entropy in which pixels that are right already count little.

    Parameters
    ----------
    class_weights
        A weight for each class; the mean is weighted by them.
    gamma
        Power of what is missing to certainty; 0 is cross-entropy.

    References
    ----------
    T.-Y. Lin et al., "Focal loss for dense object detection", ICCV 2017, arXiv:1708.02002,
    equation 4.
    """

    def __init__(self, class_weights: Tensor | None = None, gamma: float = 2.0) -> None:
        super().__init__()
        self.gamma = gamma
        self.class_weights: Tensor | None
        self.register_buffer("class_weights", class_weights, persistent=False)

    def forward(self, scores: Tensor, target: Tensor) -> Tensor:
        """Return the loss as a scalar."""
        counted = target != IGNORE
        weights = counted.to(scores.dtype)
        if self.class_weights is not None:
            weights = weights * self.class_weights.to(scores)[target.where(counted, 0)]
        entropy = F.cross_entropy(scores, target, ignore_index=IGNORE, reduction="none")
        # The slope of the power is not finite where it is taken of exactly 0.
        missing = (-torch.expm1(-entropy)).clamp(min=1e-7)
        return (missing**self.gamma * entropy * weights).sum() / weights.sum().clamp(min=1e-6)


SEGMENTATION_LOSSES: Final[dict[str, type[nn.Module]]] = {
    "cross_entropy": CrossEntropyLoss,
    "dice": DiceLoss,
    "focal": FocalLoss,
}
"""Losses by the names that configs use."""


class SegmentationLoss(nn.Module):
    """Weighted sum of losses by name.

    Parameters
    ----------
    weights
        Weight by name of :data:`SEGMENTATION_LOSSES`.
    class_weights
        A weight for each class, or None for the same.

    Examples
    --------
    >>> loss = SegmentationLoss({"cross_entropy": 1.0, "dice": 0.5})
    >>> total, parts = loss(torch.zeros(1, 2, 4, 4), torch.zeros(1, 4, 4, dtype=torch.long))
    >>> sorted(parts), round(total.item(), 4)
    (['cross_entropy', 'dice'], 0.8598)
    """

    def __init__(self, weights: Mapping[str, float], class_weights: Tensor | None = None) -> None:
        super().__init__()
        self.weights = {name: weight for name, weight in weights.items() if weight}
        self.terms = nn.ModuleDict(
            {name: SEGMENTATION_LOSSES[name](class_weights) for name in self.weights}
        )

    def forward(self, scores: Tensor, target: Tensor) -> tuple[Tensor, dict[str, Tensor]]:
        """Return the weighted sum, and the terms by name."""
        # Sums over a batch of pixels are beyond the three digits of bfloat16.
        with torch.autocast(scores.device.type, enabled=False):
            parts = {name: term(scores.float(), target) for name, term in self.terms.items()}
        total = torch.stack([self.weights[name] * part for name, part in parts.items()]).sum()
        return total, parts

"""Segmentation by one to three labelled images: a light classifier on a generator's features."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn
from torch.nn import functional as F

from everhart.errors import UsageError
from everhart.nn.segmentation_losses import IGNORE
from everhart.segment.features import PixelFeatures

__all__ = ["FeatureClassifier", "classifier_network", "fit_classifier"]

_BATCH: Final = 2048

Float = NDArray[np.float32]


class FeatureClassifier:
    """Tells classes apart by the features of single pixels.

    Parameters
    ----------
    features
        What is looked at.
    mean, deviation
        Of the features, ``(C,)``.
    network
        From standardised features to a score for each class.
    smoothing_px
        Deviation of the Gaussian over which neighbours decide together.
    """

    def __init__(
        self,
        features: PixelFeatures,
        mean: Float,
        deviation: Float,
        network: nn.Module,
        smoothing_px: float,
    ) -> None:
        self.features, self.mean, self.deviation = features, mean, deviation
        self.network, self.smoothing_px = network.eval(), smoothing_px

    @torch.inference_mode()
    def segment(self, pixels: NDArray[Any]) -> NDArray[np.uint8]:
        """Return the class of every pixel of an image ``(H, W)``."""
        from scipy.ndimage import gaussian_filter

        planes = self.features.of(pixels)
        rows = (planes.reshape(len(planes), -1).T - self.mean) / self.deviation
        parts = torch.split(torch.from_numpy(rows.astype(np.float32)), 1 << 16)
        scores = torch.cat([self.network(part).log_softmax(1) for part in parts]).numpy().T
        maps = scores.reshape(-1, *planes.shape[1:])
        if self.smoothing_px:
            maps = np.stack([gaussian_filter(m, self.smoothing_px, mode="nearest") for m in maps])
        return np.asarray(maps.argmax(0), np.uint8)


def fit_classifier(
    features: PixelFeatures,
    images: Sequence[NDArray[Any]],
    labels: Sequence[NDArray[Any]],
    classes: int,
    *,
    flips: bool = True,
    hidden: int = 64,
    steps: int = 400,
    smoothing_px: float = 1.0,
    seed: int = 0,
) -> FeatureClassifier:
    """Learn to tell classes apart from a few labelled images.

    Parameters
    ----------
    features
        What is looked at, such as several blocks and steps of
        :class:`everhart.segment.features.DiffusionFeatures`.
    images, labels
        Images ``(H, W)`` and the classes of their pixels;
        :data:`everhart.nn.segmentation_losses.IGNORE` where a pixel does not count.
    classes
        Number of classes.
    flips
        Whether the images are also learned from mirrored left to right.
    hidden
        Units between features and scores; 0 for none, a linear classifier.
    steps
        Steps of AdamW on batches of pixels.
    smoothing_px
        Deviation in pixels of the Gaussian by which log-probabilities are smoothed.
    seed
        Seed of weights and batches.

    Returns
    -------
    FeatureClassifier
        The classifier.

    Raises
    ------
    UsageError
        If images and labels do not fit, or no pixel counts.

    References
    ----------
    D. Baranchuk et al., "Label-efficient semantic segmentation with diffusion models", ICLR 2022,
    arXiv:2112.03126, section 4: multilayer perceptrons on features of several blocks and steps.
    """
    if not images or len(images) != len(labels):
        raise UsageError(
            f"{len(images)} images and {len(labels)} label images were given: give one for each."
        )
    rows, targets = [], []
    for pixels, given in zip(images, labels, strict=True):
        if pixels.shape != given.shape:
            raise UsageError(
                f"An image of shape {pixels.shape} has labels of {given.shape}: they must be alike."
            )
        views = [(pixels, given)]
        if flips:
            views.append((np.ascontiguousarray(pixels[:, ::-1]), given[:, ::-1]))
        for view, truth in views:
            planes = features.of(view)
            counted = truth.ravel() != IGNORE
            rows.append(planes.reshape(len(planes), -1).T[counted])
            targets.append(truth.ravel()[counted].astype(np.int64))
    x, y = np.concatenate(rows), np.concatenate(targets)
    if not len(y) or y.max() >= classes:
        raise UsageError(
            f"Labels for {classes} classes were given with values up to {y.max(initial=0)} at "
            f"{len(y)} pixels: give at least one pixel, and values from 0 to {classes - 1}."
        )
    mean, deviation = x.mean(0), x.std(0) + np.float32(1e-6)
    known = torch.from_numpy((x - mean) / deviation)
    target = torch.from_numpy(y)
    generator = torch.Generator().manual_seed(seed)
    with torch.random.fork_rng([]):
        torch.manual_seed(seed)
        network = classifier_network(known.shape[1], hidden, classes)
    optimiser = torch.optim.AdamW(network.parameters(), lr=1e-2, weight_decay=1e-2)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimiser, steps)
    for _ in range(steps):
        batch = torch.randint(len(known), (_BATCH,), generator=generator)
        loss = F.cross_entropy(network(known[batch]), target[batch])
        optimiser.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        optimiser.step()
        schedule.step()
    return FeatureClassifier(features, mean, deviation, network, smoothing_px)


def classifier_network(features: int, hidden: int, classes: int) -> nn.Module:
    """Return a network from features to a score for each class; linear where `hidden` is 0."""
    if not hidden:
        return nn.Linear(features, classes)
    return nn.Sequential(nn.Linear(features, hidden), nn.ReLU(), nn.Linear(hidden, classes))

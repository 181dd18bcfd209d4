"""A judge of what images show: a small classifier of clean images, independent of any guide."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Self

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional as F

__all__ = ["Judge"]

Float32 = NDArray[np.float32]

_BATCH = 32
_SHIFT_PX = 2


class Judge:
    """A convolutional classifier of images as they are, without noise levels or positions.

    It shares neither images nor seed nor architecture with a classifier that guides: what it says
    of samples is no echo of what they were drawn to.

    Parameters
    ----------
    network
        Trained network: images ``(N, 1, H, W)`` to scores ``(N, classes)``.
    """

    def __init__(self, network: nn.Module) -> None:
        self.network = network.eval()

    @classmethod
    def trained(cls, images: Mapping[str, Sequence[Float32]], *, steps: int, seed: int) -> Self:
        """Train on images of each label, moved and flipped a little.

        Parameters
        ----------
        images
            Images ``(H, W)`` of one size by label, of about -1 to 1.
        steps
            Steps of 32 images.
        seed
            Of weights and samples.
        """
        torch.manual_seed(seed)
        rng = np.random.default_rng(seed)
        pixels = np.concatenate([np.stack(list(some)) for some in images.values()])
        labels = np.repeat(np.arange(len(images)), [len(some) for some in images.values()])
        network = nn.Sequential(
            nn.Conv2d(1, 12, 5, padding=2), nn.ReLU(), nn.MaxPool2d(2),
            nn.Conv2d(12, 24, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2),
            nn.Conv2d(24, 24, 3, padding=1), nn.ReLU(),
            nn.AdaptiveAvgPool2d(4), nn.Flatten(), nn.Dropout(0.3), nn.Linear(384, len(images)),
        )  # fmt: skip
        optimiser = torch.optim.AdamW(network.parameters(), lr=2e-3, weight_decay=0.01)
        for _ in range(steps):
            rows = rng.integers(len(pixels), size=_BATCH)
            loss = F.cross_entropy(
                network(_changed(pixels[rows], rng)), torch.from_numpy(labels[rows])
            )
            optimiser.zero_grad()
            loss.backward()  # type: ignore[no-untyped-call]
            optimiser.step()
        return cls(network)

    @torch.no_grad()
    def labels(self, images: Sequence[Float32]) -> NDArray[np.int64]:
        """Return the number of the label of each image ``(H, W)``."""
        if not len(images):
            return np.zeros(0, np.int64)
        scores = self.network(torch.from_numpy(np.stack(list(images)))[:, None])
        return np.asarray(scores.argmax(dim=1).numpy(), np.int64)


def _changed(pixels: Float32, rng: np.random.Generator) -> Tensor:
    """Flip and move a batch, and change its brightness: what a label does not depend on."""
    moved = np.roll(pixels, rng.integers(-_SHIFT_PX, _SHIFT_PX + 1, 2), axis=(1, 2))
    if rng.random() < 0.5:
        moved = moved[:, :, ::-1]
    gain = rng.uniform(0.9, 1.1, (len(pixels), 1, 1)).astype(np.float32)
    return torch.from_numpy(np.ascontiguousarray(moved * gain))[:, None]

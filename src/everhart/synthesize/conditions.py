"""What a generator is told of an image: its class, its label image, where a tile of it lies."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from everhart.errors import UsageError, unknown_name
from everhart.nn.diffusion_unet import Condition, DiffusionUNetConfig
from everhart.synthesize.full_size import reduced_shape
from everhart.synthesize.patches import position_planes
from everhart.synthesize.tiles import Corner

__all__ = ["Conditions", "Told", "shape_of"]


def shape_of(image: NDArray[Any] | Tensor) -> tuple[int, int]:
    """Return height and width of an image ``(H, W)``."""
    height, width = image.shape
    return height, width


@dataclass(frozen=True)
class Told:
    """What an image is to be.

    Parameters
    ----------
    label
        Number of its class; None to leave it open.
    mask
        Numbers of the classes of its pixels, ``(H, W)``; None to leave them open.
    """

    label: int | None
    mask: NDArray[np.int64] | None

    def reduced(self, by: int) -> Told:
        """Return the same for the reduced image, the middle pixel of each block as in training."""
        if self.mask is None or by == 1:
            return self
        shape = shape_of(self.mask)
        rows, columns = (
            np.minimum(np.arange(m) * by + by // 2, n - 1)
            for m, n in zip(reduced_shape(shape, by), shape, strict=True)
        )
        return Told(self.label, self.mask[np.ix_(rows, columns)])


class Conditions:
    """Turns what is asked of a generator into what its network is told.

    Parameters
    ----------
    network
        Shape of the network.
    classes
        Names of the labels.
    mask_values
        Values of the label images, in the order of the mask's classes.
    device
        Where the network is.
    """

    def __init__(
        self,
        network: DiffusionUNetConfig,
        classes: tuple[str, ...],
        mask_values: tuple[int, ...],
        device: str,
    ) -> None:
        self.network, self.classes, self.mask_values = network, classes, mask_values
        self.device = device

    def told(self, label: str | None, mask: NDArray[Any] | None) -> Told:
        """Check what an image is to be, and give it as numbers.

        Raises
        ------
        UsageError
            If the class or a value of the mask is unknown, or the model takes no such condition.
        """
        number = None
        if label is not None:
            if not self.classes:
                raise UsageError(f"The label {label!r} was given to a generator without classes.")
            if label not in self.classes:
                raise unknown_name("label", label, self.classes)
            number = self.classes.index(label)
        if mask is None:
            return Told(number, None)
        if not self.mask_values:
            raise UsageError("A mask was given to a generator that was trained without.")
        if mask.ndim != 2:
            raise UsageError(f"A mask of shape {mask.shape} was given: it is (height, width).")
        unknown = sorted(set(np.unique(mask).tolist()) - set(self.mask_values))
        if unknown:
            raise UsageError(
                f"The mask has the value {unknown[0]}, and the generator knows "
                f"{', '.join(map(str, self.mask_values))}."
            )
        return Told(number, np.searchsorted(self.mask_values, mask))

    def at(
        self,
        told: Told,
        corners: Sequence[Corner],
        shape: tuple[int, int],
        whole: tuple[int, int],
        reduction: int = 1,
    ) -> Condition:
        """Return what the network is told of tiles of one shape.

        Parameters
        ----------
        told
            What the whole image is to be.
        corners
            First row and column of each tile.
        shape, whole
            Sizes of the tiles and of the image, both reduced.
        reduction
            By how much.
        """
        label = position = mask = None
        if told.label is not None:
            label = torch.full((len(corners),), told.label, device=self.device)
        if self.network.position:
            planes = [position_planes(shape, whole, corner, reduction) for corner in corners]
            position = torch.from_numpy(np.stack(planes)).to(self.device)
        if told.mask is not None:
            values = np.arange(len(self.mask_values))[:, None, None]
            parts = [told.mask[y : y + shape[0], x : x + shape[1]] == values for y, x in corners]
            mask = torch.from_numpy(np.stack(parts).astype(np.float32)).to(self.device)
        return Condition(label, position, mask)

"""New label images from a few: what lies between two of them, bent a little."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from everhart.errors import UsageError

__all__ = ["new_masks"]

Labels = NDArray[Any]

_ATTEMPTS = 20


def new_masks(
    masks: Sequence[Labels],
    count: int,
    rng: np.random.Generator,
    *,
    bend: float = 0.012,
    stretch: float = 0.05,
    shift: float = 0.03,
    mirror: bool = True,
) -> list[Labels]:
    """Draw label images like a few that are known, for a generator that is told a mask.

    Each lies between two of them: signed distances to the borders of every class are averaged with
    a random weight, and a pixel gets the class that it is deepest in. Then it is stretched, moved
    and bent smoothly. One in which a class is in more pieces, or fewer, than in any that is known
    is not taken: layers stay whole.

    Parameters
    ----------
    masks
        Label images ``(H, W)`` of one shape, of the same kind of specimen.
    count
        Number of label images.
    rng
        Decides on all of it.
    bend
        Standard deviation of the smooth displacement, part of the shorter side.
    stretch
        Largest change of height and of width, each on its own.
    shift
        Largest move, part of the shorter side.
    mirror
        Whether left and right may be swapped.

    Returns
    -------
    list of ndarray
        Label images of a dtype that holds the values of all.

    Raises
    ------
    UsageError
        If there is no mask, or they have several shapes.

    Examples
    --------
    >>> low, high = np.zeros((2, 32, 32), np.uint8)
    >>> low[20:], high[12:] = 1, 1
    >>> made = new_masks([low, high], 9, np.random.default_rng(0), bend=0, stretch=0, shift=0)
    >>> heights = {int(mask[:, 0].sum()) for mask in made}
    >>> min(heights) >= 12, max(heights) <= 20, len(heights) > 2
    (True, True, True)
    """
    if not masks or len({mask.shape for mask in masks}) > 1 or masks[0].ndim != 2:
        raise UsageError(
            f"{len(masks)} masks of the shapes {sorted({m.shape for m in masks})} were given: give "
            "one or more, each (height, width), of one shape."
        )
    values = np.unique(np.stack(masks))
    depths = [np.stack([_depth(mask == value) for value in values]) for mask in masks]
    known = np.array([[_pieces(mask == value) for value in values] for mask in masks])
    fewest, most = known.min(axis=0), known.max(axis=0)

    def drawn() -> Labels:
        for attempt in range(_ATTEMPTS):
            first, second = (int(rng.integers(len(masks))) for _ in range(2))
            weight = np.float32(rng.random())
            # What lies far apart has no whole layer between: then one alone is bent.
            depth = (1 - weight) * depths[first] + weight * depths[second]
            mask = values[depth.argmax(axis=0)] if attempt < _ATTEMPTS // 2 else masks[first]
            if mirror and rng.random() < 0.5:
                mask = mask[:, ::-1]
            mask = _bent(mask, rng, bend, stretch, shift)
            pieces = np.array([_pieces(mask == value) for value in values])
            if (fewest <= pieces).all() and (pieces <= most).all():
                return mask
        return masks[int(rng.integers(len(masks)))]

    dtype = np.result_type(*masks)
    return [drawn().astype(dtype) for _ in range(count)]


def _pieces(inside: NDArray[np.bool_]) -> int:
    return cv2.connectedComponents(inside.astype(np.uint8), connectivity=8)[0] - 1


def _depth(inside: NDArray[np.bool_]) -> NDArray[np.float32]:
    """Return the distance to the border of a class, negative outside."""
    if not inside.any():
        return np.full(inside.shape, -float(sum(inside.shape)), np.float32)
    if inside.all():
        return np.full(inside.shape, float(sum(inside.shape)), np.float32)
    within, without = (
        cv2.distanceTransform(part.astype(np.uint8), cv2.DIST_L2, cv2.DIST_MASK_PRECISE)
        for part in (inside, ~inside)
    )
    return np.asarray(within - without, np.float32)


def _bent(
    mask: Labels, rng: np.random.Generator, bend: float, stretch: float, shift: float
) -> Labels:
    """Stretch, move and bend; what comes in at the edges is the mirrored rest."""
    height, width = mask.shape
    side = min(height, width)
    y, x = np.mgrid[:height, :width].astype(np.float32)
    places = []
    for grid, size in ((y, height), (x, width)):
        middle = (size - 1) / 2
        factor, move = 1 + stretch * rng.uniform(-1, 1), shift * side * rng.uniform(-1, 1)
        # On a coarse grid: neighbours move alike, and nothing folds.
        coarse = rng.standard_normal((6, 6)).astype(np.float32) * np.float32(bend * side)
        smooth = cv2.resize(coarse, (width, height), interpolation=cv2.INTER_CUBIC)
        places.append((grid - middle) * np.float32(factor) + np.float32(middle + move) + smooth)
    # Values of classes may be anything: their numbers are moved, without in-between values.
    values, numbers = np.unique(mask, return_inverse=True)
    moved = cv2.remap(
        numbers.reshape(mask.shape).astype(np.float32),
        places[1],
        places[0],
        cv2.INTER_NEAREST,
        borderMode=cv2.BORDER_REFLECT_101,
    )
    return np.asarray(values[moved.astype(np.int64)])

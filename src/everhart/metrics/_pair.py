"""The checks that every metric of two images shares."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray

from everhart.errors import UsageError
from everhart.micrograph import Micrograph, field_of

Float = NDArray[np.float64]


def as_pair(
    image: Micrograph | ArrayLike, reference: Micrograph | ArrayLike
) -> tuple[Float, Float]:
    """Return two images of one shape as float64 (8-bit sums would wrap around)."""
    a = np.asarray(field_of(image), np.float64)
    b = np.asarray(field_of(reference), np.float64)
    if a.shape != b.shape:
        raise UsageError(
            f"Images of shape {a.shape} and {b.shape} were given: a metric compares images of one "
            "shape; crop or register them first."
        )
    return a, b


def frame_pairs(
    image: Micrograph | ArrayLike, reference: Micrograph | ArrayLike, *, side: int, why: str
) -> list[tuple[Float, Float]]:
    """Return the frames of two images or stacks in pairs, refusing those of fewer pixels a side.

    `why` ends the sentence "An image of 5 x 5 pixels was given: ..., and the image must not be
    smaller."
    """
    a, b = as_pair(image, reference)
    if min(a.shape[-2:]) < side:
        raise UsageError(
            f"An image of {a.shape[-2]} x {a.shape[-1]} pixels was given: {why}, and the image "
            "must not be smaller."
        )
    shape = (-1, *a.shape[-2:])
    return list(zip(a.reshape(shape), b.reshape(shape), strict=True))


def checked_range(data_range: float) -> float:
    """Return the data range, refusing what is no range."""
    if not (np.isfinite(data_range) and data_range > 0):
        raise UsageError(
            f"A data range of {data_range!r} was given: it is the distance from black to white in "
            "grey levels, positive and finite (255 for 8 bit, 1 for images scaled to [0, 1])."
        )
    return float(data_range)

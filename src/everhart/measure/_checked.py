"""What the measurements of layers and particles take: one finite image, and labels that fit it."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from everhart.errors import EverhartError, UsageError
from everhart.micrograph import field_of
from everhart.noise.estimate import clipping

__all__ = ["checked_image", "checked_labels", "refuse_saturated"]

_CLIPPED = 0.8


def checked_image(image: Any, what: str, smallest: int) -> NDArray[Any]:
    """Return the pixels of one image, or say what is allowed."""
    pixels = np.asarray(field_of(image))
    if pixels.ndim != 2 or min(pixels.shape) < smallest:
        raise UsageError(
            f"An array of shape {pixels.shape} was given: {what} are measured in one image "
            f"(height, width) of at least {smallest} pixels a side; give the "
            "frames of a stack one by one."
        )
    if not np.isfinite(pixels).all():
        raise UsageError("An image with NaN or infinite pixels was given: fill them first.")
    return pixels


def refuse_saturated(pixels: NDArray[Any], what: str, most_white: float = _CLIPPED) -> float:
    """Refuse an image of one grey level, or that is mostly saturated; return how much is.

    Only whole grey levels saturate; a float image may have a background without noise.
    """
    low, high = pixels.min(), pixels.max()
    if low == high:
        raise EverhartError(
            f"All pixels have the grey level {float(low):g}: there are no {what} in the image; "
            "give one that has contrast and is not saturated."
        )
    if pixels.dtype.kind not in "ui":
        return 0.0
    dark, white, _ = clipping(pixels)
    if dark + white > _CLIPPED or white > most_white:
        raise EverhartError(
            f"{100 * (dark + white):.0f} % of the pixels are saturated: edges are not where they "
            "seem; take the image with less gain, or say that it is a label image (--labels, or "
            "labels=True)."
        )
    return dark + white


def checked_labels(labels: Any, pixels: NDArray[Any]) -> NDArray[np.int64]:
    """Return labels of the shape of the image; True stands for the image itself."""
    given = pixels if labels is True else np.asarray(field_of(labels))
    if given.shape != pixels.shape:
        raise UsageError(
            f"Labels of shape {given.shape} were given for an image of shape {pixels.shape}: give "
            "one label for each pixel."
        )
    whole = np.rint(np.asarray(given, np.float64))
    if not np.array_equal(whole, given) or whole.min() < 0:
        raise UsageError(
            "Labels that are negative or no whole numbers were given: give a label image, or leave "
            "--labels (labels=) out to measure a picture."
        )
    return whole.astype(np.int64)

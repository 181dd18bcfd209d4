"""Grey levels as a segmentation sees them: of one image, or of all that it learned from."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from everhart.errors import UsageError
from everhart.micrograph import Array
from everhart.restore.normalise import GreyScale, fill_non_finite
from everhart.restore.source_base import Image

__all__ = ["normalised", "scale_of_set", "scale_record", "stored_scale"]

_MOST = 30.0
"""How many times the contrast of the training images, or its inverse, is no image of theirs."""


def scale_of_set(images: Sequence[Array]) -> GreyScale:
    """Return the one scale of several images, each of which counts the same.

    Parameters
    ----------
    images
        Images ``(H, W)`` that were taken with the same settings.

    Examples
    --------
    >>> pair = [np.array([[0.0, 2.0]]), np.array([[10.0, 12.0]])]
    >>> scale = scale_of_set(pair)
    >>> scale.mean, round(scale.deviation, 3)
    (6.0, 5.099)
    """
    each = [GreyScale.of(image) for image in images]
    means = np.array([scale.mean for scale in each])
    variance = float(np.mean([scale.deviation**2 for scale in each]) + means.var())
    return GreyScale(float(means.mean()), float(np.sqrt(variance)))


def normalised(pixels: NDArray[Any], scale: GreyScale | None, name: str) -> Image:
    """Return an image as networks see it.

    Parameters
    ----------
    pixels
        Image ``(H, W)``; what is not finite is filled from its neighbours.
    scale
        Scale of the training images; None for the image's own, after which it has mean 0 and
        deviation 1.
    name
        Name of the image, for the message.

    Raises
    ------
    UsageError
        If it is constant, or its grey levels cannot be those of the training images.
    """
    filled = fill_non_finite(pixels)
    own = GreyScale.of(filled)
    if own.deviation == 0:
        raise UsageError(f"{name} is constant, and there is nothing to tell apart: leave it out.")
    if scale is None:
        return own.normalise(filled)
    if not 1 / _MOST <= own.deviation / scale.deviation <= _MOST:
        raise UsageError(
            f"{name} has grey levels with a deviation of {own.deviation:g}, and the model takes "
            f"images as they were learned from, whose deviation is {scale.deviation:g}: give the "
            "image in their grey levels, or a model with normalisation: image."
        )
    return scale.normalise(filled)


def scale_record(scale: GreyScale | None) -> dict[str, Any]:
    """Return what a model file's header says of the scale; None is that of each image."""
    if scale is None:
        return {"kind": "image", "mean": 0.0, "deviation": 1.0}
    return {"kind": "set", "mean": scale.mean, "deviation": scale.deviation}


def stored_scale(record: Mapping[str, Any]) -> GreyScale | None:
    """Return the scale that a model file's header holds, or None for that of each image."""
    if record.get("kind") != "set":
        return None
    return GreyScale(float(record["mean"]), float(record["deviation"]))

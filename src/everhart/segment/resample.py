"""Images and labels at another pixel size."""

from __future__ import annotations

from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from everhart.errors import UsageError

__all__ = ["factors", "resized", "resized_labels", "smoothly_resized"]

_LARGEST = 16.0


def factors(
    pixel_size_nm: tuple[float, float] | None, common_nm: float, name: str
) -> tuple[float, float]:
    """Return by how much an image is enlarged, in y and x, to have a pixel size.

    Raises
    ------
    UsageError
        If the image has no pixel size, or one that is far from the common one.
    """
    if pixel_size_nm is None:
        raise UsageError(
            f"{name} has no pixel size and images are to be brought to {common_nm:g} nm per pixel: "
            "give its pixel size, or leave the common one out."
        )
    by = (pixel_size_nm[0] / common_nm, pixel_size_nm[1] / common_nm)
    if not all(1 / _LARGEST <= factor <= _LARGEST for factor in by):
        raise UsageError(
            f"{name} has {pixel_size_nm[0]:g} x {pixel_size_nm[1]:g} nm per pixel and is to be "
            f"brought to {common_nm:g}: that is more than {_LARGEST:g} times; give images of a "
            "magnification nearer to it."
        )
    return by


def resized(
    pixels: NDArray[np.float32],
    by: tuple[float, float],
    shape: tuple[int, int] | None = None,
) -> NDArray[np.float32]:
    """Return an image enlarged by factors, or with a shape; what is made smaller is averaged."""
    height, width = shape or _shape(pixels.shape, by)
    if (height, width) == pixels.shape:
        return pixels
    smaller = height < pixels.shape[0]
    way = cv2.INTER_AREA if smaller else cv2.INTER_LINEAR
    return np.asarray(cv2.resize(pixels, (width, height), interpolation=way), np.float32)


def resized_labels(
    labels: NDArray[Any], by: tuple[float, float], shape: tuple[int, int] | None = None
) -> NDArray[Any]:
    """Return labels in the same way, each pixel from the nearest."""
    height, width = shape or _shape(labels.shape, by)
    if (height, width) == labels.shape:
        return labels
    # Pixel centres: those of cv2.INTER_NEAREST are half a pixel off.
    rows = ((np.arange(height) + 0.5) * labels.shape[0] / height).astype(np.intp)
    columns = ((np.arange(width) + 0.5) * labels.shape[1] / width).astype(np.intp)
    return np.ascontiguousarray(labels[rows][:, columns])


def smoothly_resized(classes: NDArray[np.uint8], shape: tuple[int, int]) -> NDArray[np.uint8]:
    """Return classes with a shape, their borders smooth where they are enlarged."""
    if classes.shape == shape:
        return classes
    most = np.zeros(shape, np.float32)
    out = np.zeros(shape, np.uint8)
    for number in np.unique(classes):
        there = resized((classes == number).astype(np.float32), (1.0, 1.0), shape)
        # A pixel that two classes share by halves goes to the first.
        more = there > most
        out[more], most[more] = number, there[more]
    return out


def _shape(shape: tuple[int, ...], by: tuple[float, float]) -> tuple[int, int]:
    return max(1, round(shape[0] * by[0])), max(1, round(shape[1] * by[1]))

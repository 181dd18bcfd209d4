"""OpenCV's filters with a float32 image in and out."""

from __future__ import annotations

from collections.abc import Sequence

import cv2
import numpy as np
from numpy.typing import NDArray

__all__ = ["blurred", "enlarged", "shrunk", "smoothed"]

Image = NDArray[np.float32]


def shrunk(image: Image, shape: Sequence[int]) -> Image:
    """Return the means of areas, ``shape`` of them."""
    size = (int(shape[1]), int(shape[0]))
    return np.asarray(cv2.resize(image, size, interpolation=cv2.INTER_AREA), np.float32)


def enlarged(image: Image, shape: Sequence[int]) -> Image:
    """Return the image in a larger shape, interpolated linearly."""
    size = (int(shape[1]), int(shape[0]))
    return np.asarray(cv2.resize(image, size, interpolation=cv2.INTER_LINEAR), np.float32)


def blurred(image: Image, sigma: float, *, mirrored: bool = True) -> Image:
    """Filter with a Gaussian; the image goes on as its mirror image, or is 0 outside."""
    border = cv2.BORDER_REFLECT if mirrored else cv2.BORDER_CONSTANT
    filtered = cv2.GaussianBlur(image, (0, 0), sigma, borderType=border)
    return np.asarray(filtered, np.float32)


def smoothed(image: Image, sigma: float) -> Image:
    """Filter with a Gaussian; the image goes on as its mirror image about its border pixels."""
    return np.asarray(cv2.GaussianBlur(image, (0, 0), sigma), np.float32)

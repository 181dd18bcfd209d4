"""The grey scale of a generator: how grey levels become what the network sees."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any, Literal

import cv2
import numpy as np
from numpy.typing import NDArray

__all__ = ["GreyRange", "GreyScale", "grey_range"]

Image = NDArray[np.float32]
Float = NDArray[np.float64]

GreyScale = Literal["symmetric", "linear"]

_INSIDE = 0.9
"""Grey levels from the darkest to the brightest 0.1 % are mapped to -0.9 to 0.9."""

_SMOOTH_PX = 2.0
_GROUPS = 6
_OUTLIER = 5.0
_JUDGED, _JUDGED_PX = 16, 256
_SYMMETRIC = 0.1
"""Skewness below which noise is taken as symmetric: that of a few images is no surer."""

_LEAST_OFFSET = 0.1
"""The darkest grey level is at least this part of the range above the zero of the logarithm, so
that the dark parts do not take up the whole scale."""


@dataclass(frozen=True)
class GreyRange:
    """Monotonic map between grey levels and what the network sees, one for all images.

    Parameters
    ----------
    middle, half
        Grey level, or its logarithm, that becomes 0, and what is one unit from it.
    dtype
        Dtype of the images.
    offset
        The logarithm is taken of grey levels plus this; None for grey levels as they are.

    Examples
    --------
    >>> grey = GreyRange(middle=0.0, half=2.0, dtype="float32", offset=1.0)
    >>> grey.restore(grey.normalise(np.array([[0.0, 3.0, 50.0]]))).round(3)
    array([[ 0.,  3., 50.]], dtype=float32)
    """

    middle: float
    half: float
    dtype: str
    offset: float | None = None

    @classmethod
    def from_header(cls, said: Mapping[str, Any]) -> GreyRange:
        """Return what a model's header says."""
        return cls(said["middle"], said["half"], said["dtype"], said.get("offset"))

    @property
    def middle_grey(self) -> float:
        """The grey level that becomes 0."""
        return self.middle if self.offset is None else float(np.exp(self.middle) - self.offset)

    def normalise(self, pixels: NDArray[Any]) -> Image:
        """Return what the network sees."""
        values = _curved(pixels.astype(np.float64), self.offset)
        return ((values - self.middle) / self.half).astype(np.float32)

    def restore(self, values: Image) -> NDArray[Any]:
        """Return grey levels of the images' dtype, rounded and clipped."""
        pixels = values.astype(np.float64) * self.half + self.middle
        if self.offset is not None:
            pixels = np.exp(pixels) - self.offset
        dtype = np.dtype(self.dtype)
        if dtype.kind in "iu":
            info = np.iinfo(dtype)
            pixels = pixels.round().clip(info.min, info.max)
        return pixels.astype(dtype)


def grey_range(images: Sequence[NDArray[Any]], scale: GreyScale = "symmetric") -> GreyRange | None:
    """Find the grey scale of images.

    What a sampler adds on its way is symmetric, and what it draws comes out so, too, long before a
    network has learned better. Shot noise is not: it reaches further up than down, the more so
    where there are few electrons. On the logarithm of the grey levels (plus an offset) it is.

    Parameters
    ----------
    images
        Images ``(H, W)`` of one dtype.
    scale
        ``"symmetric"``: the logarithm with the offset for which noise is as symmetric as can be,
        or grey levels as they are, where noise is symmetric on these; ``"linear"``: these always.

    Returns
    -------
    GreyRange or None
        None where all pixels are the same.
    """
    whole = [np.asarray(image, np.float64) for image in images]
    values = np.concatenate([i.ravel()[:: max(1, i.size // 65536)] for i in whole])
    low, high = np.percentile(values, (0.1, 99.9))
    if not high > low:
        return None
    offset = _offset(whole, float(low), float(high)) if scale == "symmetric" else None
    ends = _curved(np.array([low, high]), offset)
    middle, half = float(ends.sum() / 2), float((ends[1] - ends[0]) / 2 / _INSIDE)
    return GreyRange(middle, half, str(np.asarray(images[0]).dtype), offset)


def _curved(pixels: Float, offset: float | None) -> Float:
    if offset is None:
        return pixels
    # Pixels of later images may be darker than any that set the scale.
    return np.log(np.maximum(pixels + offset, 1e-3))


def _offset(images: Sequence[Float], low: float, high: float) -> float | None:
    """Return the offset that makes noise symmetric, or None where it is without."""
    # The middle of a few images tells as much of the noise as all of them.
    large = [_middle(image) for image in images[:_JUDGED] if min(image.shape) >= 8 * _SMOOTH_PX]
    if not large:
        return None
    groups = _flat_places(large)
    if _skewness(large, groups, None) < _SYMMETRIC:
        return None
    darkest = min(float(image.min()) for image in images)
    least = _LEAST_OFFSET * (high - low) - darkest
    # The more is added, the less is changed: from a hundredth of the range to a hundred times it.
    candidates = least + (high - low) * np.concatenate([[0.0], np.geomspace(0.01, 100, 13)])
    skews = [_skewness(large, groups, float(offset)) for offset in candidates]
    best = int(np.argmin(np.abs(skews)))
    return None if best == len(candidates) - 1 else float(candidates[best])


def _middle(image: Float) -> Float:
    top, left = (max(0, (n - _JUDGED_PX) // 2) for n in image.shape)
    return np.ascontiguousarray(image[top : top + _JUDGED_PX, left : left + _JUDGED_PX])


def _flat_places(images: Sequence[Float]) -> list[NDArray[np.bool_]]:
    """Return where images have least structure, in groups of like grey level."""
    levels = []
    for image in images:
        smooth = cv2.GaussianBlur(image, (0, 0), _SMOOTH_PX)
        slope = np.hypot(cv2.Sobel(smooth, cv2.CV_64F, 1, 0), cv2.Sobel(smooth, cv2.CV_64F, 0, 1))
        levels.append(np.where(slope <= np.median(slope), smooth, np.nan).ravel())
    flat = np.concatenate(levels)
    ends = np.nanquantile(flat, np.linspace(0, 1, _GROUPS + 1))
    return [(flat >= a) & (flat <= b) for a, b in pairwise(ends)]


def _skewness(
    images: Sequence[Float], groups: Sequence[NDArray[np.bool_]], offset: float | None
) -> float:
    """Return the skewness of the noise, the median of the groups."""
    curved = [_curved(image, offset) for image in images]
    left = [i - np.asarray(cv2.GaussianBlur(i, (0, 0), _SMOOTH_PX)) for i in curved]
    noise = np.concatenate([i.ravel() for i in left])
    found = []
    for group in groups:
        part = noise[group] - np.median(noise[group])
        # Specks and edges are no noise.
        scatter = 1.4826 * float(np.median(np.abs(part)))
        part = part[np.abs(part) <= _OUTLIER * scatter]
        part = part - part.mean()
        variance = float(np.mean(part**2))
        found.append(float(np.mean(part**3)) / variance**1.5 if variance > 0 else 0.0)
    return float(np.median(found))

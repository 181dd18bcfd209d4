"""Grey levels of a microscope to and from what networks see.

Networks see an image with mean about 0 and standard deviation about 1. The two numbers are taken
from the image itself, so that a restored image follows any gain and offset of its input exactly.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from everhart.errors import UsageError
from everhart.micrograph import Array

_SAMPLE = 1 << 20
"""About as many pixels suffice for the mean and the deviation."""

_STRIP = 1 << 19
"""Pixels that are converted at once."""


@dataclass(frozen=True)
class GreyScale:
    """Affine map between grey levels and normalised values.

    Parameters
    ----------
    mean, deviation
        Grey level that becomes 0, and grey levels to one unit.
    """

    mean: float
    deviation: float

    @classmethod
    def of(cls, pixels: Array) -> GreyScale:
        """Measure the scale of an image ``(H, W)``; non-finite pixels do not count.

        The brightest and darkest 0.1 % are clipped, so that a few dead pixels do not set
        the scale. A constant image has deviation 0.
        """
        step = sample_step(pixels.size)
        return cls.of_sample(pixels[::step, ::step])

    @classmethod
    def of_sample(cls, pixels: Array) -> GreyScale:
        """Measure the scale of an image from every :func:`sample_step`-th pixel of it."""
        sample = np.asarray(pixels, np.float64)
        sample = sample[np.isfinite(sample)]
        if sample.size == 0:
            return cls(0.0, 0.0)
        low, high = np.percentile(sample, (0.1, 99.9))
        if low == high:  # nearly all pixels alike: the few others are all there is
            low, high = sample.min(), sample.max()
        np.clip(sample, low, high, out=sample)
        mean, deviation = float(sample.mean()), float(sample.std())
        if deviation <= 1e-9 * max(abs(mean), 1e-300):
            deviation = 0.0
        return cls(mean, deviation)

    @classmethod
    def of_range(cls, dtype: np.dtype[Any]) -> GreyScale:
        """Return the scale on which black is 0 and the largest grey level of a dtype 1.

        For images that all come from one converter, where black means the same in each of them.

        Raises
        ------
        UsageError
            For pixels that are no integers, whose largest value is not known.
        """
        if dtype.kind not in "iu":
            raise UsageError(
                f"An image of {dtype} was given to a model with the normalisation 'range': "
                "it takes integer grey levels, as its training images had them."
            )
        return cls(0.0, float(np.iinfo(dtype).max))

    def normalise(self, pixels: Array) -> NDArray[np.float32]:
        """Return normalised float32 pixels; the deviation must not be 0."""
        out = np.empty(pixels.shape, np.float32)
        table = None
        if pixels.dtype.kind in "iu" and pixels.dtype.itemsize <= 2:
            # A table of all levels is exact and quicker than arithmetic in float64.
            info = np.iinfo(pixels.dtype)
            levels = np.arange(info.min, info.max + 1, dtype=np.float64)
            table = ((levels - self.mean) / self.deviation).astype(np.float32)
        for rows in _strips(pixels.shape):
            if table is not None:
                out[rows] = np.take(table, pixels[rows].astype(np.intp) - info.min)
                continue
            # float32 would lose a small signal on a large offset
            strip = pixels[rows].astype(np.float64)
            strip -= self.mean
            strip /= self.deviation
            out[rows] = strip
        return out

    def restore(self, values: NDArray[np.float32], dtype: np.dtype[Any]) -> Array:
        """Return grey levels in `dtype`: rounded and clipped for integers."""
        out = np.empty(values.shape, dtype)
        single = dtype == np.float32 and abs(self.mean) < 1e3 * self.deviation
        for rows in _strips(values.shape):
            if single:
                out[rows] = values[rows] * np.float32(self.deviation) + np.float32(self.mean)
            else:
                strip = values[rows].astype(np.float64) * self.deviation + self.mean
                out[rows] = to_dtype(strip, dtype)
        return out


def sample_step(size: int) -> int:
    """Return how many rows and columns lie between pixels that the scale is measured on.

    Parameters
    ----------
    size
        Pixels of the image.
    """
    return max(1, int(math.sqrt(size / _SAMPLE)))


def _strips(shape: tuple[int, ...]) -> Iterator[slice]:
    """Cover an image with strips of rows, so that float64 copies of it stay small."""
    row = max(1, math.prod(shape[1:]))
    step = max(1, _STRIP // row)
    for start in range(0, shape[0], step):
        yield slice(start, start + step)


def to_dtype(values: Array, dtype: np.dtype[Any]) -> Array:
    """Convert float grey levels to a dtype, rounding and clipping for integers and bool."""
    if dtype.kind == "b":
        return np.asarray(values >= 0.5)
    if dtype.kind in "iu":
        info = np.iinfo(dtype)
        # float64 cannot hold the largest 64-bit integers; stay below them.
        top = np.nextafter(float(info.max), 0) if dtype.itemsize == 8 else float(info.max)
        return np.clip(np.rint(values), float(info.min), top).astype(dtype)
    limit = float(np.finfo(dtype).max)  # a smaller float type must not overflow
    return np.clip(values, -limit, limit).astype(dtype)


def fill_non_finite(pixels: Array) -> Array:
    """Replace NaN and infinite pixels by the mean of the finite ones around them.

    Parameters
    ----------
    pixels
        Image ``(H, W)``.

    Returns
    -------
    ndarray
        The image itself where all pixels are finite, else a copy. An image without any
        finite pixel becomes 0.

    Examples
    --------
    >>> fill_non_finite(np.array([[1.0, np.nan, 3.0]])).tolist()
    [[1.0, 2.0, 3.0]]
    """
    if pixels.dtype.kind != "f":
        return pixels
    finite = np.isfinite(pixels)
    if finite.all():
        return pixels
    if not finite.any():
        return np.zeros_like(pixels)
    from scipy.ndimage import distance_transform_edt, uniform_filter

    values = np.where(finite, pixels, 0).astype(np.float64)
    weight = uniform_filter(finite.astype(np.float64), 3, mode="constant")
    mean = uniform_filter(values, 3, mode="constant") / np.maximum(weight, 1e-12)
    near = weight > 0.05
    nearest = distance_transform_edt(~finite, return_distances=False, return_indices=True)
    out = pixels.copy()
    fill = np.where(near, mean, values[tuple(nearest)])
    out[~finite] = to_dtype(fill, pixels.dtype)[~finite]
    return out

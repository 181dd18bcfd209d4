"""How far a set of images is from another one: distances between distributions.

Each is zero for equal distributions, and none of them looks at pairs of images: what a set of real
images is from another set of real images is the floor that synthetic ones are judged by.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

import cv2
import numpy as np
from numpy.typing import NDArray

from everhart.errors import UsageError

__all__ = ["DISTANCES", "Summary", "autocorrelations", "histograms", "patches", "spectra"]

Image = NDArray[np.float32]
Float = NDArray[np.float64]

_LEVELS = 256
_LAG_PX = 4
_PATCH_PX = 7
_PATCHES = 48
_PROJECTIONS = 48


class Summary:
    """What the distances need of a set of images, measured once, an image a row.

    Parameters
    ----------
    images
        Images of one size, on one grey scale.
    seed
        Seed of the places of the patches and of the projections.

    Raises
    ------
    UsageError
        If there is no image, or they are of several sizes.
    """

    def __init__(self, images: Sequence[Image], seed: int = 0) -> None:
        shapes = {image.shape for image in images}
        if len(shapes) != 1:
            raise UsageError(
                f"{len(images)} images of {len(shapes)} sizes were given: distances between sets "
                "are measured on images of one size."
            )
        self.parts: Mapping[str, Float] = {
            "grey levels": histograms(images),
            "power spectrum": spectra(images),
            "noise correlation": autocorrelations(images),
            "patches": _projected(patches(images, seed)),
        }


def histograms(images: Sequence[Image]) -> Float:
    """Return the quantiles of the grey levels of each image, ``(images, 256)``."""
    at = (np.arange(_LEVELS) + 0.5) / _LEVELS
    return np.stack([np.quantile(image, at) for image in images]).astype(np.float64)


def spectra(images: Sequence[Image]) -> Float:
    """Return the logarithm of the radially averaged power spectrum, ``(images, frequencies)``."""
    height, width = images[0].shape
    window = np.outer(np.hanning(height), np.hanning(width))
    fy, fx = np.fft.fftfreq(height)[:, None], np.fft.rfftfreq(width)[None]
    ring = np.minimum(np.hypot(fy, fx) * min(height, width), min(height, width) / 2).astype(int)
    count = np.maximum(np.bincount(ring.ravel()), 1)
    rows = []
    for image in images:
        power = np.abs(np.fft.rfft2((image - image.mean()) * window)) ** 2
        rows.append(np.log(np.bincount(ring.ravel(), power.ravel()) / count + 1e-12)[1:])
    return np.stack(rows)


def autocorrelations(images: Sequence[Image]) -> Float:
    """Return level and correlation of the finest detail, which is mostly noise.

    ``(images, 1 + lags)``: the logarithm of the standard deviation of the second differences across
    the scan lines, then their correlation at lags 1 to 4 along them.
    """
    rows = []
    for image in images:
        fine = image[:-2] - 2 * image[1:-1] + image[2:]
        fine = fine - fine.mean()
        variance = float(np.mean(fine**2)) + 1e-12
        lags = [
            float(np.mean(fine[:, :-k] * fine[:, k:])) / variance for k in range(1, 1 + _LAG_PX)
        ]
        rows.append([0.5 * np.log(variance), *lags])
    return np.asarray(rows, np.float64)


def patches(images: Sequence[Image], seed: int = 0) -> Float:
    """Return patches of two scales of each image as vectors, ``(images, 2, patches, 49)``."""
    smallest = min(images[0].shape)
    if smallest < _PATCH_PX:
        raise UsageError(
            f"Images of shape {images[0].shape} were given: they need {_PATCH_PX} pixels a side."
        )
    coarse = min(4, smallest // _PATCH_PX)
    rows = []
    for image in images:
        rng = np.random.default_rng(seed)  # the same places in all images of a size
        scales = []
        for reduction in (1, coarse):
            seen = image
            if reduction > 1:
                size = (image.shape[1] // reduction, image.shape[0] // reduction)
                seen = np.asarray(cv2.resize(image, size, interpolation=cv2.INTER_AREA))
            height, width = (n - _PATCH_PX + 1 for n in seen.shape)
            top, left = rng.integers(height, size=_PATCHES), rng.integers(width, size=_PATCHES)
            windows = np.lib.stride_tricks.sliding_window_view(seen, (_PATCH_PX, _PATCH_PX))
            scales.append(windows[top, left].reshape(_PATCHES, -1))
        rows.append(scales)
    return np.asarray(rows, np.float64)


def _projected(vectors: Float) -> Float:
    """Return the vectors' components along random ways, ``(images, 2, ways, patches)``."""
    ways = np.random.default_rng(0).normal(size=(vectors.shape[-1], _PROJECTIONS))
    ways /= np.linalg.norm(ways, axis=0)
    return np.ascontiguousarray(np.swapaxes(vectors @ ways, -1, -2))


def _wasserstein(a: Float, b: Float) -> float:
    """Wasserstein-1 distance between the grey levels of two sets, by their quantiles."""
    return float(np.abs(_quantiles(a.ravel(), _LEVELS) - _quantiles(b.ravel(), _LEVELS)).mean())


def _quantiles(values: Float, count: int) -> Float:
    """Return quantiles along the last axis."""
    at = (np.arange(count) + 0.5) / count * (values.shape[-1] - 1)
    below = np.minimum(at.astype(int), values.shape[-1] - 2)
    # To sort whole rows is many times quicker than numpy.quantile along columns.
    ordered = np.sort(values, axis=-1)
    low, high = ordered[..., below], ordered[..., below + 1]
    return np.asarray(low + (at - below) * (high - low), np.float64)


def _mean_difference(a: Float, b: Float) -> float:
    """Root mean square of the difference of the means, in units of the scatter of single images."""
    scatter = np.sqrt((a.var(axis=0) + b.var(axis=0)) / 2) + 1e-6
    return float(np.sqrt(np.mean(((a.mean(axis=0) - b.mean(axis=0)) / scatter) ** 2)))


def _sliced(a: Float, b: Float) -> float:
    """Sliced Wasserstein distance of the projected patches, the mean of the scales [1]_.

    References
    ----------
    .. [1] J. Rabin et al., "Wasserstein barycenter and its application to texture mixing", SSVM
       2011; on patches of a pyramid: T. Karras et al., ICLR 2018, section 5.
    """
    quantiles = [_quantiles(x.transpose(1, 2, 0, 3).reshape(*x.shape[1:3], -1), 64) for x in (a, b)]
    return float(np.abs(quantiles[0] - quantiles[1]).mean())


DISTANCES: Mapping[str, Callable[[Float, Float], float]] = {
    "grey levels": _wasserstein,
    "power spectrum": _mean_difference,
    "noise correlation": _mean_difference,
    "patches": _sliced,
}
"""Distances by the name of the part of a :class:`Summary` that they compare."""

"""What is behind particles: its level, its scatter, and the noise of the image."""

from __future__ import annotations

import cv2
import numpy as np
from numpy.typing import NDArray

from everhart.noise.model import NoiseEstimate

__all__ = ["local_mean", "lower_scatter", "otsu", "plane_of", "white_noise"]

Image = NDArray[np.float32]
Mask = NDArray[np.bool_]


def white_noise(values: Image, bright: Mask, noise: NoiseEstimate) -> float:
    """Return the standard deviation of white noise as strong as that of the image, at edges.

    The mean of the variances within both classes, by second differences along the axis where
    noise is whiter. A line of variance over grey level fails where the background is clipped to
    black.
    """
    axis = 0 if abs(noise.correlation_along("y")[1]) <= abs(noise.correlation_along("x")[1]) else 1
    rho = noise.correlation_along("xy"[1 - axis])
    second = np.diff(values, 2, axis=axis)
    passed = max(float(6 - 8 * rho[1] + 2 * rho[2]), 0.2)
    kernel = np.ones((7, 7), np.uint8)
    variances = []
    for mask in (bright, ~bright):
        deep = cv2.erode(mask.astype(np.uint8), kernel, borderValue=0) > 0
        deep = deep[1:-1] if axis == 0 else deep[:, 1:-1]
        if np.count_nonzero(deep) >= 200:
            variances.append(float(np.mean(second[deep] ** 2)) / passed)
    if not variances:
        return noise.low_frequency_sigma
    return float(np.sqrt(np.mean(variances) * max(float(noise.correlation.sum()), 0.1)))


def otsu(values: Image) -> float:
    """Return Otsu's threshold, from a histogram between the extreme thousandths."""
    sample = values.ravel()[:: max(values.size // 1_000_000, 1)]
    low, high = np.quantile(sample, (0.001, 0.999))
    if high <= low:
        low, high = float(sample.min()), float(sample.max())
    counts, edges = np.histogram(np.clip(sample, low, high), 256)
    middle = (edges[1:] + edges[:-1]) / 2
    weight = np.cumsum(counts)
    moment = np.cumsum(counts * middle)
    rest = weight[-1] - weight
    with np.errstate(divide="ignore", invalid="ignore"):
        apart = moment / weight - (moment[-1] - moment) / rest
        between = np.where((weight > 0) & (rest > 0), weight * rest * apart**2, -1.0)
    # A gap between the classes has the same value all over: its middle.
    best = np.flatnonzero(between >= between.max() * (1 - 1e-9))
    return float(edges[1:][best].mean())


def plane_of(values: Image) -> Image:
    """Return the plane through the background: what is far above it counts no more."""
    factor = min(96 / max(values.shape), 1.0)
    small = cv2.resize(values, None, fx=factor, fy=factor, interpolation=cv2.INTER_AREA)
    y, x = np.mgrid[: small.shape[0], : small.shape[1]]
    # From -1 to 1 over the image, for the copy and for the image itself.
    u, v = ((2 * (a + 0.5) / n - 1).ravel() for a, n in ((y, small.shape[0]), (x, small.shape[1])))
    design = np.stack([np.ones(u.size), u, v], axis=1)
    seen = small.ravel().astype(np.float64)
    used = np.ones(seen.size, bool)
    plane = np.zeros(3)
    for _ in range(12):
        plane = np.linalg.lstsq(design[used], seen[used], rcond=None)[0]
        left = seen - design @ plane
        below = -left[left < 0]
        used = left < 1.5 * 1.4826 * float(np.median(below)) if below.size else used
        if np.count_nonzero(used) < 0.1 * used.size:
            break
    height, width = values.shape
    rows = plane[1] * (2 * (np.arange(height) + 0.5) / height - 1)
    columns = plane[2] * (2 * (np.arange(width) + 0.5) / width - 1)
    return np.asarray(rows[:, None] + columns[None, :], np.float32)


def lower_scatter(values: NDArray[np.floating], least: float) -> float:
    """Return the standard deviation of the background from the side away from particles."""
    if values.size == 0:
        return least
    sample = values[:: max(values.size // 500_000, 1)]
    middle = float(np.median(sample))
    below = middle - sample[sample < middle]
    return max(1.4826 * float(np.median(below)) if below.size else 0.0, least)


def local_mean(values: Image, used: Mask) -> Image:
    """Return the mean of the used pixels around each pixel, on a reduced copy."""
    height, width = values.shape
    reach = max(height, width) / 8
    step = max(int(reach / 8), 1)
    shape = (max(width // step, 2), max(height // step, 2))
    weight = cv2.resize(used.astype(np.float32), shape, interpolation=cv2.INTER_AREA)
    level = cv2.resize(np.where(used, values, 0), shape, interpolation=cv2.INTER_AREA)
    typical = float(values[used].mean()) if used.any() else float(values.min())
    blur = reach / step
    # A little of the mean of all keeps the middle of large particles finite.
    weight = cv2.GaussianBlur(weight, (0, 0), blur) + 1e-3
    level = cv2.GaussianBlur(level, (0, 0), blur) + np.float32(1e-3 * typical)
    out = cv2.resize(level / weight, (width, height), interpolation=cv2.INTER_LINEAR)
    return np.asarray(out, np.float32)

"""What a single image tells of its noise."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from everhart.errors import UsageError
from everhart.micrograph import Micrograph, field_of
from everhart.noise.model import MAX_LAG_PX, NoiseEstimate

__all__ = ["clipping", "estimate_noise", "mid_grey"]

Float = NDArray[np.float64]

# Fourth difference, of unit gain for white noise. A micrograph is sampled finer than its beam
# is wide, so that next to nothing of the specimen is left by it.
_HIGH_PASS = np.array([1.0, -4.0, 6.0, -4.0, 1.0]) / math.sqrt(70.0)
# Second difference: of what is left of a skew after a filter, it leaves the most.
_SECOND = np.array([-1.0, 2.0, -1.0])
_SMOOTH_PX = 2.0
_FAR_LAGS = (9, 11, 13)  # beyond the reach of noise
_BINS = 16
_CLIPPED = (0.01, 0.03, 0.1)  # part of the pixels around that may be clipped
_ENOUGH = 0.5  # of the pixels that are not in clipped areas
_WINDOW = 400  # side of the parts of a large image


@dataclass(frozen=True)
class _Pixels:
    """What is known at the pixels of an image, one entry a pixel."""

    level: Float
    structure: Float
    clipped: Float
    along_x: Float  # (lag, pixel) products of the y-high-passed image
    along_y: Float  # (lag, pixel) products of the x-high-passed image
    second: Float  # (2, pixel) second differences along y and along x

    def chosen(self, index: NDArray[np.intp]) -> _Pixels:
        return _Pixels(
            self.level[index],
            self.structure[index],
            self.clipped[index],
            self.along_x[:, index],
            self.along_y[:, index],
            self.second[:, index],
        )


def estimate_noise(image: Micrograph | ArrayLike) -> NoiseEstimate:
    """Estimate the noise of a single image, structure and correlation notwithstanding.

    High-pass filters are the usual way to the noise under an image, and are wrong by far
    where the noise is correlated along the scan line. Here each axis is filtered by itself:
    what a fourth difference along y leaves has the noise's own correlation along x, and the
    other way round. With both correlations known, the variance that the filter took is put
    back. Places with structure are left out by the gradients of the smoothed
    image, which share no frequencies with the filtered one, so that the choice does not
    favour quiet noise; so are places with clipped pixels. The variance is found at
    several grey levels, and a line put through it [1]_.

    Parameters
    ----------
    image
        Image of shape ``(H, W)``, of any dtype and range. NaN pixels are left out.

    Returns
    -------
    NoiseEstimate
        Noise in the grey levels of the image. The correlation map is the product of
        those along x and y.

    Raises
    ------
    UsageError
        If a stack is given, or an image smaller than 8 x 8 pixels.

    References
    ----------
    .. [1] A. Foi, M. Trimeche, V. Katkovnik, K. Egiazarian, "Practical Poissonian-Gaussian noise
       modeling and fitting for single-image raw-data", IEEE Transactions on Image Processing
       17 (2008), 1737-1754: the variance as a line over the mean, from smooth parts of one image.

    Examples
    --------
    >>> rng = np.random.default_rng(0)
    >>> ramp = np.tile(np.linspace(50, 200, 256), (256, 1))
    >>> estimate = estimate_noise(rng.normal(ramp, 8.0))
    >>> abs(estimate.sigma - 8) < 0.4, estimate.white, estimate.signal_dependent
    (True, True, False)
    """
    pixels = np.asarray(field_of(image))
    if pixels.ndim != 2 or min(pixels.shape) < 8:
        raise UsageError(
            f"An array of shape {pixels.shape} was given: the noise is estimated on one image "
            "(height, width) of at least 8 x 8 pixels; give the frames of a stack one by one."
        )
    bad = ~np.isfinite(pixels)
    if bad.all():
        raise UsageError(
            "An image without a single finite pixel was given: there is no noise in it."
        )
    low, high, unusable = clipping(pixels)
    parts = [
        _flat(_measured(pixels[window], unusable[window] | bad[window]))
        for window in _windows(pixels.shape)
    ]
    joined = _Pixels(*(np.concatenate([getattr(p, n) for p in parts], axis=-1) for n in _FIELDS))
    level = float(np.mean(pixels[~bad], dtype=np.float64))
    return _fit(joined, level, low, high)


_FIELDS = ("level", "structure", "clipped", "along_x", "along_y", "second")


def clipping(pixels: NDArray[Any]) -> tuple[float, float, NDArray[np.bool_]]:
    """Return the clipped fractions at both ends, and which pixels are clipped.

    Parameters
    ----------
    pixels
        Image of any dtype and shape.

    Returns
    -------
    low, high : float
        Fraction of pixels at the black and at the white end; 0 where there is no clip.
    mask : ndarray of bool
        The clipped pixels.
    """
    smallest, largest = np.nanmin(pixels), np.nanmax(pixels)
    at_low, at_high = pixels == smallest, pixels == largest
    low_end = high_end = True
    if pixels.dtype.kind in "ui":
        limits = np.iinfo(pixels.dtype)
        low_end, high_end = smallest == limits.min, largest == limits.max
    # Many pixels of exactly the extreme grey level are a clip wherever the converter ends (12
    # bits in a 16-bit file); one or two are just the extreme.
    piled = max(3.0, 1e-4 * pixels.size)
    none = np.zeros(pixels.shape, bool)
    at_low = at_low if at_low.sum() > (piled if low_end else 10 * piled) else none
    at_high = at_high if at_high.sum() > (piled if high_end else 10 * piled) else none
    return float(at_low.mean()), float(at_high.mean()), at_low | at_high


def _windows(shape: tuple[int, ...]) -> list[tuple[slice, slice]]:
    """Return all of an image, or parts of a large one: a million pixels are enough."""
    spans = []
    for length in shape:
        starts = [0] if length <= 3 * _WINDOW else np.linspace(0, length - _WINDOW, 3).astype(int)
        size = length if length <= 3 * _WINDOW else _WINDOW
        spans.append([slice(int(start), int(start) + size) for start in starts])
    return [(rows, columns) for rows in spans[0] for columns in spans[1]]


def _measured(pixels: NDArray[Any], unusable: NDArray[np.bool_]) -> _Pixels:
    from scipy.ndimage import convolve1d, gaussian_filter, uniform_filter

    values = pixels.astype(np.float64)
    finite = np.isfinite(values)
    typical = float(np.median(values[finite])) if finite.any() else 0.0
    values = np.where(finite, values - typical, 0.0)
    smooth = gaussian_filter(values, _SMOOTH_PX, mode="reflect")
    gy, gx = np.gradient(smooth)
    structure = gaussian_filter(gx**2 + gy**2, _SMOOTH_PX, mode="reflect")
    # Narrow lines along an axis keep their grey level when smoothed along them.
    steep_y, steep_x = float(np.mean(gy**2)), float(np.mean(gx**2))
    level = smooth
    if max(steep_y, steep_x) > 4 * min(steep_y, steep_x):
        along = (1.0, 4.0) if steep_y > steep_x else (4.0, 1.0)
        level = gaussian_filter(values, along, mode="reflect")
    high_y = convolve1d(values, _HIGH_PASS, axis=0, mode="reflect")
    high_x = convolve1d(values, _HIGH_PASS, axis=1, mode="reflect")
    # Only where the filters see nothing but the image itself.
    reach = _HIGH_PASS.size // 2
    inside = tuple(slice(reach, n - reach - min(_FAR_LAGS[-1], n // 4)) for n in values.shape)

    def products(a: Float, axis: int) -> Float:
        lags = [*range(MAX_LAG_PX + 1), *_FAR_LAGS]
        reach = a.shape[axis] - 1
        return np.stack([(a * np.roll(a, -min(lag, reach), axis))[inside].ravel() for lag in lags])

    return _Pixels(
        level=level[inside].ravel() + typical,
        structure=structure[inside].ravel(),
        clipped=uniform_filter(unusable.astype(np.float64), 15, mode="reflect")[inside].ravel(),
        along_x=products(high_y, 1),
        along_y=products(high_x, 0),
        second=np.stack(
            [convolve1d(values, _SECOND, axis=axis)[inside].ravel() for axis in (0, 1)]
        ),
    )


def _flat(pixels: _Pixels, fraction: float = 0.3) -> _Pixels:
    """Return the pixels with the least structure at each grey level, none of them clipped."""
    order = np.argsort(pixels.clipped, kind="stable")
    clipped = pixels.clipped[order]
    # Where noise itself reaches black or white, places without a clipped pixel are rare, and they
    # are those whose noise happens to be small.
    wanted = max(_ENOUGH * np.searchsorted(clipped, 0.5), 64)
    counts = [int(np.searchsorted(clipped, limit, "right")) for limit in _CLIPPED]
    enough = [count for count in counts if count >= wanted]
    # Nearly everything is clipped: the least clipped must do.
    usable = order[: enough[0] if enough else max(16, clipped.size // 4)]
    order = usable[np.argsort(pixels.level[usable], kind="stable")]
    chosen = []
    for group in np.array_split(order, _BINS if order.size > 100 * _BINS else 1):
        limit = np.quantile(pixels.structure[group], fraction)
        chosen.append(group[pixels.structure[group] <= limit])
    # In the order of the image, so that a stretch of pixels is a place in it.
    return pixels.chosen(np.sort(np.concatenate(chosen)))


def _fit(pixels: _Pixels, image_level: float, low: float, high: float) -> NoiseEstimate:
    groups = _groups(pixels.level)
    levels = np.array([float(pixels.level[g].mean()) for g in groups])
    counts = np.array([float(g.size) for g in groups])
    along_x = np.stack([_typical(pixels.along_x[:, g]) for g in groups])
    along_y = np.stack([_typical(pixels.along_y[:, g]) for g in groups])
    rho_x, rho_y = _normalised(along_x, counts), _normalised(along_y, counts)
    # The axis along which the noise is whiter needs the smaller correction.
    passed_y, passed_x = _passed(rho_y), _passed(rho_x)
    variances = along_x[:, 0] / passed_y if passed_y >= passed_x else along_y[:, 0] / passed_x
    found = NoiseEstimate.from_line(
        levels,
        variances,
        counts,
        image_level,
        np.outer(_two_sided(rho_y), _two_sided(rho_x)),
    )
    return replace(found, saturated_low=low, saturated_high=high, skew=_skew(pixels, rho_y, rho_x))


def _groups(level: Float) -> list[NDArray[np.intp]]:
    """Return the pixels of each bin of grey level, in the order of the image."""
    bins = int(np.clip(level.size // 500, 1, _BINS))
    order = np.argsort(level, kind="stable")
    return [np.sort(group) for group in np.array_split(order, bins)]


def _typical(products: Float, stretch: int = 200) -> Float:
    """Return the covariance at each lag, the median over stretches of the image.

    What covariance is left at lags beyond the reach of noise is that of structure, such
    as lines along the axis, and is taken off.
    """
    count = int(np.clip(products.shape[1] // stretch, 1, 64))
    means = np.stack([part.mean(axis=1) for part in np.array_split(products, count, axis=1)])
    near, far = means[:, : MAX_LAG_PX + 1], means[:, MAX_LAG_PX + 1 :].mean(axis=1)
    covariance = np.median(near - np.maximum(np.median(far), 0.0), axis=0)
    return np.asarray(covariance, np.float64)


def _normalised(covariance: Float, counts: Float) -> Float:
    """Return the lag correlation over the grey levels, dark ones counting as much as bright."""
    usable = covariance[:, 0] > 0
    if not usable.any():
        return np.asarray(np.eye(1, covariance.shape[1])[0])
    ratio = covariance[usable] / covariance[usable, :1]
    return np.asarray(np.clip(np.average(ratio, axis=0, weights=counts[usable]), -1, 1))


def mid_grey(level: Float) -> NDArray[np.bool_]:
    """Return which pixels lie in the middle third of the grey levels, all of them if few do."""
    low, high = np.quantile(level, (0.01, 0.99))
    third = (high - low) / 3
    middle = (level >= low + third) & (level <= high - third)
    return middle if middle.sum() > 2000 else np.ones(level.shape, bool)


def _skew(pixels: _Pixels, rho_y: Float, rho_x: Float) -> float:
    """Return the skewness at mid grey, from the axis along which the noise is white.

    Third cumulants of independent pixels add with the cubes of the filter's coefficients.
    """
    axis = 0 if abs(rho_y[1]) <= abs(rho_x[1]) else 1
    if abs((rho_y, rho_x)[axis][1]) > 0.1:
        return math.nan
    second = pixels.second[axis][mid_grey(pixels.level)]
    variance = float(np.mean(second**2)) / float(np.sum(_SECOND**2))
    third = float(np.mean((second - second.mean()) ** 3)) / float(np.sum(_SECOND**3))
    return third / variance**1.5 if variance > 0 else math.nan


def _passed(rho: Float) -> float:
    """Return the fraction of the noise variance that the high-pass lets through."""
    own = np.correlate(_HIGH_PASS, _HIGH_PASS, "full")[_HIGH_PASS.size - 1 :]
    return float(max(own[0] + 2 * np.dot(own[1:], rho[1 : own.size]), 0.02))


def _two_sided(rho: Float) -> Float:
    full = np.zeros(MAX_LAG_PX + 1)
    full[: rho.size] = rho
    return np.concatenate([full[:0:-1], full])

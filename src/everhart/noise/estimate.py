"""What a single image tells of its noise."""

from __future__ import annotations

import math
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from everhart.errors import UsageError
from everhart.micrograph import Micrograph, field_of

__all__ = ["MAX_LAG_PX", "NoiseEstimate", "estimate_noise"]

Float = NDArray[np.float64]

MAX_LAG_PX = 5
"""Largest lag of the correlation map, in y and in x."""

# Fourth difference, of unit gain for white noise. A micrograph is sampled finer than its beam
# is wide, so that next to nothing of the specimen is left by it.
_HIGH_PASS = np.array([1.0, -4.0, 6.0, -4.0, 1.0]) / math.sqrt(70.0)
# Second difference: of what is left of a skew after a filter, it leaves the most.
_SECOND = np.array([-1.0, 2.0, -1.0])
_SMOOTH_PX = 2.0
_FAR_LAGS = (9, 11, 13)  # beyond the reach of noise
_BINS = 16
_WINDOW = 400  # side of the parts of a large image


@dataclass(frozen=True, eq=False)
class NoiseEstimate:
    """Noise of one image.

    The model is noise of mean zero with

    ``variance(mean) = gain * (mean - pedestal) + readout_variance``

    (never below 0), and one autocorrelation at all grey levels. The pedestal is the grey level
    of zero signal. A single image does not hold it: it is taken as 0, unless the line
    would fall below 0 there; then it is where the line reaches 0 and the readout variance is
    0. Where the noise does not depend on the signal, `gain` is 0 and `readout_variance` is
    all of it.

    Parameters
    ----------
    sigma
        Standard deviation of the noise, root mean square over the image, in grey levels.
    gain
        Slope of variance against mean, in grey levels; negative where contrast is inverted.
    readout_variance
        Variance at the pedestal, in squared grey levels.
    pedestal
        Grey level of zero signal.
    correlation
        Autocorrelation, shape ``(2 * L + 1, 2 * L + 1)``, lag ``(dy, dx)`` at
        ``[L + dy, L + dx]``; 1 at its centre.
    saturated_low, saturated_high
        Fraction of pixels that are clipped at the black and at the white end.
    skew
        Skewness of the noise at mid grey; NaN where it could not be found. That of a Poisson
        process is positive and falls with the dose.
    levels, variances
        The points that the line was fitted to: mean grey levels and noise variances.
    """

    sigma: float
    gain: float = 0.0
    readout_variance: float = 0.0
    pedestal: float = 0.0
    correlation: Float = field(default_factory=lambda: _white_map())
    saturated_low: float = 0.0
    saturated_high: float = 0.0
    skew: float = math.nan
    levels: tuple[float, ...] = ()
    variances: tuple[float, ...] = ()

    @classmethod
    def constant(cls, sigma: float, correlation: ArrayLike | None = None) -> NoiseEstimate:
        """Make the estimate for noise of one known level.

        Parameters
        ----------
        sigma
            Standard deviation, in grey levels.
        correlation
            Autocorrelation map; None for white noise.
        """
        given = _white_map() if correlation is None else np.asarray(correlation, np.float64)
        return cls(sigma=float(sigma), readout_variance=float(sigma) ** 2, correlation=given)

    @classmethod
    def from_line(
        cls,
        levels: Float,
        variances: Float,
        counts: Float,
        image_level: float,
        correlation: Float,
    ) -> NoiseEstimate:
        """Make the estimate from variances at grey levels, by the line through them.

        Parameters
        ----------
        levels, variances, counts
            Mean grey level, noise variance and number of pixels of each group.
        image_level
            Mean grey level of the image, at which `sigma` is stated.
        correlation
            Autocorrelation map.
        """
        slope, intercept, dependent = fit_variance_line(levels, variances, counts)
        gain, readout, pedestal = 0.0, float(np.average(variances, weights=counts)), 0.0
        if dependent:
            gain, readout = slope, intercept
            if intercept < 0:
                readout, pedestal = 0.0, -intercept / slope
        mean_variance = max(gain * (image_level - pedestal) + readout, 0.0)
        return cls(
            sigma=math.sqrt(mean_variance),
            gain=gain,
            readout_variance=max(readout, 0.0),
            pedestal=pedestal,
            correlation=correlation,
            levels=tuple(float(v) for v in levels),
            variances=tuple(float(v) for v in variances),
        )

    @property
    def white(self) -> bool:
        """Whether neighbouring pixels have independent noise: no |correlation| above 0.05."""
        others = np.abs(self.correlation).copy()
        others[tuple(n // 2 for n in others.shape)] = 0.0
        return bool(others.max() <= 0.05)

    @property
    def signal_dependent(self) -> bool:
        """Whether the variance grows or falls with the grey level."""
        return self.gain != 0.0

    @property
    def low_frequency_sigma(self) -> float:
        """Standard deviation of the white noise that is as strong at low frequencies.

        ``sigma`` times the root of the sum of the autocorrelation, that is the root of the
        power spectrum at frequency 0: what is left after averaging over n pixels
        is this over the root of n, not ``sigma``.
        """
        return self.sigma * math.sqrt(max(float(self.correlation.sum()), 0.0))

    def variance_at(self, mean: ArrayLike) -> Float:
        """Return the noise variance at mean grey levels.

        Parameters
        ----------
        mean
            Noise-free grey levels, any shape.

        Returns
        -------
        ndarray
            Squared grey levels, of the same shape.
        """
        signal = np.asarray(mean, np.float64) - self.pedestal
        return np.maximum(self.gain * signal + self.readout_variance, 0.0)

    def correlation_along(self, axis: str) -> Float:
        """Return the autocorrelation at lags 0, 1, ... along an axis.

        Parameters
        ----------
        axis
            ``"x"``, along the rows, or ``"y"``, along the columns.
        """
        row, column = (n // 2 for n in self.correlation.shape)
        return self.correlation[row, column:] if axis == "x" else self.correlation[row:, column]

    def to_dict(self) -> dict[str, object]:
        """Return the estimate as a JSON-serialisable dict."""
        return {
            "sigma": self.sigma,
            "gain": self.gain,
            "readout_variance": self.readout_variance,
            "pedestal": self.pedestal,
            "signal_dependent": self.signal_dependent,
            "white": self.white,
            "low_frequency_sigma": self.low_frequency_sigma,
            "correlation": self.correlation.round(4).tolist(),
            "correlation_x": self.correlation_along("x").round(4).tolist(),
            "correlation_y": self.correlation_along("y").round(4).tolist(),
            "saturated_low": self.saturated_low,
            "saturated_high": self.saturated_high,
            "skew": self.skew if math.isfinite(self.skew) else None,
            "levels": list(self.levels),
            "variances": list(self.variances),
        }


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
    usable = np.flatnonzero(pixels.clipped <= 0.01)
    if usable.size < 64:  # nearly everything is clipped: the least clipped must do
        usable = np.argsort(pixels.clipped, kind="stable")[: max(16, pixels.clipped.size // 4)]
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
        levels, variances, counts, image_level, np.outer(_two_sided(rho_y), _two_sided(rho_x))
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


def fit_variance_line(levels: Float, variances: Float, counts: Float) -> tuple[float, float, bool]:
    """Fit ``variance = slope * level + intercept``, robustly and with relative errors.

    Parameters
    ----------
    levels, variances, counts
        Mean grey level, variance and number of pixels of each group.

    Returns
    -------
    slope, intercept : float
        In grey levels, and in squared grey levels.
    dependent : bool
        Whether the slope is there at all: beyond three standard errors, and more than 15 % of
        the variance over the range of the levels.
    """
    average = float(np.average(variances, weights=counts))
    spread = float(np.ptp(levels))
    if levels.size < 3 or spread <= 1e-9 * max(1.0, float(np.abs(levels).max())) or average <= 0:
        return 0.0, average, False
    centre = float(np.average(levels, weights=counts))
    x = (levels - centre) / spread
    design = np.stack([x, np.ones_like(x)], axis=1)
    fitted = np.full_like(variances, average)
    robust = np.ones_like(variances)
    for _ in range(20):
        # A variance scatters in proportion to itself.
        weight = np.sqrt(counts * robust) / np.maximum(fitted, 0.05 * average)
        slope, level = np.linalg.lstsq(design * weight[:, None], variances * weight, rcond=None)[0]
        fitted = slope * x + level
        relative = (variances - fitted) / np.maximum(fitted, 0.05 * average)
        scale = max(1.4826 * float(np.median(np.abs(relative))), 1e-3)
        robust = 1 / np.maximum(np.abs(relative) / (1.5 * scale), 1.0)
    information = np.linalg.inv((design * weight[:, None]).T @ (design * weight[:, None]))
    error = math.sqrt(float(information[0, 0])) * scale * math.sqrt(float(counts.mean()))
    dependent = abs(slope) > max(3 * error, 0.15 * average)
    return float(slope / spread), float(level - slope * centre / spread), dependent


def _white_map() -> Float:
    out = np.zeros((2 * MAX_LAG_PX + 1, 2 * MAX_LAG_PX + 1))
    out[MAX_LAG_PX, MAX_LAG_PX] = 1.0
    return out

"""What a single image tells of its noise."""

from __future__ import annotations

import math
from dataclasses import dataclass, field

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
_SMOOTH_PX = 2.0
_BLOCK = 16


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
            "levels": list(self.levels),
            "variances": list(self.variances),
        }


@dataclass(frozen=True)
class _Blocks:
    """Statistics of the blocks of an image, one entry a block."""

    mean: Float
    structure: Float
    clipped: Float
    along_x: Float  # (block, lag) products of the y-high-passed image
    along_y: Float  # (block, lag) products of the x-high-passed image


def estimate_noise(image: Micrograph | ArrayLike) -> NoiseEstimate:
    """Estimate the noise of a single image, structure and correlation notwithstanding.

    High-pass filters are the usual way to the noise under an image, and are wrong by far
    where the noise is correlated along the scan line. Here each axis is filtered by itself:
    what a fourth difference along y leaves has the noise's own correlation along x, and the
    other way round. With both correlations known, the variance that the filter took is put
    back. Blocks with structure are left out by the gradients of the smoothed
    image, which share no frequencies with the filtered one, so that the choice does not
    favour quiet noise; blocks with clipped pixels are left out too. The variance is found at
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
    values = pixels.astype(np.float64)
    bad = ~np.isfinite(values)
    if bad.all():
        raise UsageError(
            "An image without a single finite pixel was given: there is no noise in it."
        )
    if bad.any():
        values[bad] = float(np.median(values[~bad]))
    low, high, clipped = _clipping(values, pixels.dtype)
    blocks = _block_statistics(values, clipped | bad)
    return _fit(blocks, low, high)


def _clipping(values: Float, dtype: np.dtype[np.generic]) -> tuple[float, float, NDArray[np.bool_]]:
    """Return the clipped fractions at both ends, and which pixels are clipped."""
    smallest, largest = float(values.min()), float(values.max())
    at_low, at_high = values == smallest, values == largest
    if dtype.kind in "ui":
        limits = np.iinfo(dtype)
        ends = (smallest == limits.min, largest == limits.max)
    else:
        ends = (True, True)
    # Many pixels of exactly the extreme grey level are a clip wherever the converter ends (12
    # bits in a 16-bit file); one or two are just the extreme.
    piled = max(3.0, 1e-4 * values.size)
    low_end = (ends[0] or at_low.sum() > 10 * piled) and at_low.sum() > piled
    high_end = (ends[1] or at_high.sum() > 10 * piled) and at_high.sum() > piled
    none = np.zeros(values.shape, bool)
    at_low, at_high = (at_low if low_end else none), (at_high if high_end else none)
    return float(at_low.mean()), float(at_high.mean()), at_low | at_high


def _block_statistics(values: Float, unusable: NDArray[np.bool_]) -> _Blocks:
    from scipy.ndimage import convolve1d, gaussian_filter

    block = min(_BLOCK, min(values.shape) // 2)
    rows, columns = (n // block for n in values.shape)

    def block_mean(a: Float) -> Float:
        cut = a[: rows * block, : columns * block]
        return np.asarray(cut.reshape(rows, block, columns, block).mean(axis=(1, 3))).ravel()

    level = gaussian_filter(values, _SMOOTH_PX, mode="reflect")
    gy, gx = np.gradient(level)
    high_y = convolve1d(values, _HIGH_PASS, axis=0, mode="reflect")
    high_x = convolve1d(values, _HIGH_PASS, axis=1, mode="reflect")
    lags = range(min(MAX_LAG_PX, block - 1) + 1)

    def products(a: Float, axis: int) -> Float:
        out = []
        for lag in lags:
            shifted = np.roll(a, -lag, axis)
            out.append(block_mean(a * shifted))
        return np.stack(out, axis=1)

    return _Blocks(
        mean=block_mean(values),
        structure=block_mean(gx**2 + gy**2),
        clipped=block_mean(unusable.astype(np.float64)),
        along_x=products(high_y, 1),
        along_y=products(high_x, 0),
    )


def _fit(blocks: _Blocks, low: float, high: float) -> NoiseEstimate:
    chosen = _flat_blocks(blocks)
    along_x, along_y = blocks.along_x[chosen], blocks.along_y[chosen]
    mean = blocks.mean[chosen]
    rho_x, rho_y = _normalised(along_x), _normalised(along_y)
    # The axis along which the noise is whiter needs the smaller correction.
    passed_y, passed_x = _passed(rho_y), _passed(rho_x)
    variance = along_x[:, 0] / passed_y if passed_y >= passed_x else along_y[:, 0] / passed_x
    levels, variances, counts = _binned(mean, variance)
    slope, intercept, dependent = _line(levels, variances, counts)
    if not dependent:
        average = float(np.average(variances, weights=counts))
        gain, readout, pedestal = 0.0, average, 0.0
    else:
        gain, readout, pedestal = slope, intercept, 0.0
        if intercept < 0:
            gain, readout, pedestal = slope, 0.0, -intercept / slope
    line = np.maximum(gain * (blocks.mean - pedestal) + readout, 0.0)
    correlation = np.zeros((2 * MAX_LAG_PX + 1, 2 * MAX_LAG_PX + 1))
    side_x, side_y = _two_sided(rho_x), _two_sided(rho_y)
    correlation[:] = np.outer(side_y, side_x)
    return NoiseEstimate(
        sigma=math.sqrt(float(line.mean())),
        gain=gain,
        readout_variance=readout,
        pedestal=pedestal,
        correlation=correlation,
        saturated_low=low,
        saturated_high=high,
        levels=tuple(float(v) for v in levels),
        variances=tuple(float(v) for v in variances),
    )


def _flat_blocks(blocks: _Blocks, fraction: float = 0.3, least: int = 12) -> NDArray[np.intp]:
    """Return the blocks with the least structure at each grey level, none of them clipped."""
    usable = np.flatnonzero(blocks.clipped <= 0.01)
    if usable.size < 4:  # nearly everything is clipped: the least clipped must do
        usable = np.argsort(blocks.clipped, kind="stable")[: max(4, blocks.clipped.size // 4)]
    bins = int(np.clip(usable.size // (2 * least), 1, 16))
    order = usable[np.argsort(blocks.mean[usable], kind="stable")]
    chosen = []
    for group in np.array_split(order, bins):
        keep = max(math.ceil(fraction * group.size), min(least, group.size))
        chosen.append(group[np.argsort(blocks.structure[group], kind="stable")[:keep]])
    return np.concatenate(chosen)


def _normalised(products: Float) -> Float:
    """Return the lag correlation over blocks, dark blocks counting as much as bright ones."""
    variance = products[:, :1]
    usable = variance[:, 0] > 0
    if not usable.any():
        return np.eye(1, products.shape[1])[0]
    ratio = products[usable] / variance[usable]
    return np.asarray(np.median(ratio, axis=0))


def _passed(rho: Float) -> float:
    """Return the fraction of the noise variance that the high-pass lets through."""
    own = np.correlate(_HIGH_PASS, _HIGH_PASS, "full")[_HIGH_PASS.size - 1 :]
    n = min(own.size, rho.size)
    return max(float(own[0] + 2 * np.dot(own[1:n], rho[1:n])), 0.02)


def _two_sided(rho: Float) -> Float:
    full = np.zeros(MAX_LAG_PX + 1)
    full[: rho.size] = rho
    return np.concatenate([full[:0:-1], full])


def _binned(mean: Float, variance: Float, per_bin: int = 12) -> tuple[Float, Float, Float]:
    order = np.argsort(mean, kind="stable")
    groups = np.array_split(order, int(np.clip(mean.size // per_bin, 1, 16)))
    levels = np.array([mean[g].mean() for g in groups])
    variances = np.array([np.median(variance[g]) for g in groups])
    return levels, variances, np.array([float(g.size) for g in groups])


def _line(levels: Float, variances: Float, counts: Float) -> tuple[float, float, bool]:
    """Return slope and intercept, and whether the slope is there at all."""
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

"""Statistics of a quantity along an interface: its scatter without noise, its mean's error."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from everhart.measure._root import root_sd

__all__ = ["AlongStatistics", "autocovariance", "statistics_along"]

Float = NDArray[np.float64]


@dataclass(frozen=True)
class AlongStatistics:
    """What is known of a quantity that was measured with noise in each column.

    Parameters
    ----------
    mean, mean_sd
        Mean, and its standard deviation as an estimate for the whole of the layer of which the
        image shows a part: noise and correlated roughness both count.
    sigma, sigma_sd
        Standard deviation over the columns without that of the noise, and its own.
    noise
        Standard deviation of the noise of one column.
    correlation_px
        Correlation length (1/e) in columns; NaN where there is no scatter beyond the noise.
    effective
        Number of independent columns that would give the same `mean_sd`.
    columns
        Number of columns with a value.
    """

    mean: float
    mean_sd: float
    sigma: float
    sigma_sd: float
    noise: float
    correlation_px: float
    effective: float
    columns: int


def autocovariance(values: Float, lags: int) -> Float:
    """Return the autocovariance about the mean at lags 0 to `lags`.

    Parameters
    ----------
    values
        One a column, shape ``(n,)``; NaN where there is none.
    lags
        Largest lag, below n.

    Returns
    -------
    ndarray
        Shape ``(lags + 1,)``: the mean product over the pairs that are there.
    """
    from scipy.fft import irfft, next_fast_len, rfft

    there = np.isfinite(values)
    centred = np.where(there, values - values[there].mean(), 0.0)
    length = int(next_fast_len(2 * values.size, real=True))

    def products(a: Float) -> Float:
        power = np.abs(rfft(a, length)) ** 2
        return np.asarray(irfft(power, length)[: lags + 1])

    pairs = np.rint(products(there.astype(np.float64)))
    return np.asarray(products(centred) / np.maximum(pairs, 1.0))


def statistics_along(values: Float, noise_reach: int, mean_factor: float = 1.0) -> AlongStatistics:
    """Take the noise out of the scatter of a quantity along an interface.

    Noise of columns that are further apart than it reaches is independent, so that it adds to the
    autocovariance at short lags alone. From `noise_reach` on the autocovariance is that of the
    layer. The curve ``a exp(-(d / xi)^p) - m`` is fitted to it there, p from 0.8 to 2 (twice the
    Hurst exponent), and continued to lag 0: what the measured variance has beyond it is noise. m is
    what the subtraction of the mean over a finite length takes from all lags. What is rough over
    fewer columns than the noise reaches cannot be told from it.

    The variances of the mean and of the variance follow from the fitted curve and the noise with
    the usual sums over lags [1]_.

    Parameters
    ----------
    values
        One a column, shape ``(n,)``; NaN where there is none.
    noise_reach
        The first lag at which the noise of two columns is independent, 1 for white noise.
    mean_factor
        By how much the noise of the mean has more variance than that of independent columns,
        from what they have in common (such as grey levels that were estimated).

    Returns
    -------
    AlongStatistics
        In the unit of the values; lengths in columns.

    References
    ----------
    .. [1] M. S. Bartlett, "On the theoretical specification and sampling properties of
       autocorrelated time-series", J. R. Stat. Soc. Suppl. 8 (1946), 27-41.
    """
    n = int(np.isfinite(values).sum())
    mean = float(np.nanmean(values))
    lags = int(min(max(8 * noise_reach, values.size // 5, 24), values.size - 1))
    covariance = autocovariance(values, lags)
    total = float(covariance[0])
    if total <= 1e-12 * max(abs(mean), 1.0) ** 2:
        return AlongStatistics(mean, 0.0, 0.0, 0.0, 0.0, float("nan"), float(n), n)
    amplitude, length, power = _fit_curve(covariance, noise_reach, n)
    distance = np.arange(1, n, dtype=np.float64)
    pairs = 1 - distance / n
    shape = np.exp(-np.minimum((distance / length) ** power, 700.0))
    lost = amplitude * (1 + 2 * float(pairs @ shape)) / n
    variance = float(np.clip(amplitude - lost, 0.0, total))
    noise = total - variance
    # Short lags of the noise count for the mean: what is measured there beyond the curve.
    near = np.arange(1, min(noise_reach, lags + 1))
    short = covariance[near] - amplitude * shape[near - 1] + lost
    noise_sum = max(noise + 2 * float(short.sum()), 0.0)
    mean_variance = lost + mean_factor * noise_sum / n
    curve = amplitude * shape
    curve[near - 1] += short
    spread = 2 / n * ((variance + noise) ** 2 + 2 * float(pairs @ curve**2))
    sigma = float(np.sqrt(variance))
    sigma_sd = root_sd(sigma, float(np.sqrt(spread)))
    return AlongStatistics(
        mean,
        float(np.sqrt(mean_variance)),
        sigma,
        sigma_sd,
        float(np.sqrt(noise)),
        length if variance > 0 else float("nan"),
        float(min(total / max(mean_variance, 1e-300), n)),
        n,
    )


def _fit_curve(covariance: Float, reach: int, n: int) -> tuple[float, float, float]:
    """Fit the amplitude, length and power of the curve to the lags from `reach` on."""
    from scipy.optimize import least_squares

    distance = np.arange(reach, covariance.size, dtype=np.float64)
    seen = covariance[reach:]
    scale = float(np.abs(covariance[: reach + 3]).max())
    # Long lags have the same error as short ones, there are only more of them.
    weight = 1 / np.sqrt(distance)
    length = float(covariance.size)

    def curve(amplitude: float, xi: float, power: float) -> Float:
        lost = min(2 * xi / n, 1.0) * amplitude
        return np.asarray(amplitude * np.exp(-((distance / xi) ** power)) - lost)

    def residual(p: Float) -> Float:
        return np.asarray(weight * (curve(p[0], float(np.exp(p[1])), p[2]) - seen / scale))

    low = np.array([0.0, np.log(1.5 * reach), 0.8])
    high = np.array([2.0, np.log(max(length, 3.0 * reach)), 2.0])
    first = float(np.clip(seen[: max(reach, 2)].mean() / scale, 0.02, 1.9))
    best = None
    for xi in (3.0 * reach, 0.3 * length):
        start = np.clip([first, np.log(xi), 1.2], low + 1e-6, high - 1e-6)
        fit = least_squares(residual, start, bounds=(low, high), max_nfev=100)
        if best is None or fit.cost < best.cost:
            best = fit
    assert best is not None
    return float(best.x[0]) * scale, float(np.exp(best.x[1])), float(best.x[2])

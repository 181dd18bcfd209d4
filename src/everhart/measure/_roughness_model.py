"""The model of the spectrum of rough edges with noise, and its fit."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from everhart.measure._edge_spectrum import Tapers, k_correlation

__all__ = ["Known", "Model", "Spectrum", "Uncertainty", "bins_summed", "fit"]

Float = NDArray[np.float64]

_HURST = (0.1, 2.0)
_SHORTEST = 1.0  # correlation length in rows; what is shorter looks like the noise of rows
_QUIET = 1e-7  # smallest noise variance that is looked for, of the whole variance
_LEAST_FLOOR = 0.02  # of its mean
_BLUR_LOW = -0.1  # squared rows
_BLUR_REACH = 4.0  # deviations of what is known of it
# What is thought likely before anything is seen. It counts where noise hides the rest.
_LIKELY_HURST, _HURST_SPREAD = 0.7, 0.4


@dataclass(frozen=True, eq=False)
class Spectrum:
    """Measured spectrum and variances."""

    frequency: Float
    psd: Float
    total_variance: float  # as measured, with what edges have in common
    variance: float  # without it
    common: float
    edges: float  # independent ones
    together: float  # correlation of the edges of a line

    @classmethod
    def make(cls, left: Float, tapers: Tapers, dy: float, sides: int, common: bool) -> Spectrum:
        lines = left.shape[0] // sides
        sorted_by_side = left.reshape(lines, sides, -1)
        waves = tapers.transform(left)
        waves = waves.reshape(len(waves), lines, sides, -1)
        total = float(np.mean(left**2))
        degrees, shared = float(lines), 0.0
        if common and lines > 1:
            # The mean over lines holds what they have in common and a part of their own roughness;
            # with one degree of freedom less this is unbiased as a variance is.
            waves = waves - waves.mean(axis=1, keepdims=True)
            own = sorted_by_side - sorted_by_side.mean(axis=0, keepdims=True)
            degrees = lines - 1.0
            variance = float(np.sum(own**2)) / (degrees * sides * left.shape[1])
            shared = max(total - variance, 0.0)
        else:
            variance = total
        power = np.abs(waves) ** 2
        psd = dy * power.sum(axis=(1, 2)).mean(axis=0) / (degrees * sides)
        independent, together = degrees, 0.0
        if sides == 2:
            cross = float((waves[:, :, 0] * waves[:, :, 1].conj()).real.sum())
            together = 2 * cross / float(power.sum())
            independent = degrees * 2 / (1 + together**2)
        return cls(
            tapers.frequencies(dy), psd, total, variance, float(np.sqrt(shared)), independent,
            together,
        )  # fmt: skip


@dataclass(frozen=True, eq=False)
class Known:
    """What is known beforehand of what the image does to edges.

    Parameters
    ----------
    blur, blur_sd
        Variance of the blur along the edge in squared rows, and by how much that may be off.
    noise
        Autocorrelation of the noise of the rows, from lag 0 on: 1, and what follows.
    """

    blur: float = 0.0
    blur_sd: float = 0.3
    noise: tuple[float, ...] = (1.0,)


class Model:
    """Expected spectrum over (log variance, log length, Hurst, log noise variance, blur).

    The blur is that of the probe along the edge, the square of its standard deviation in rows. The
    prior of the Hurst exponent, 0.7 +- 0.4, keeps white noise in edges that are mostly noise from
    being taken for roughness with an exponent of 0.
    """

    def __init__(self, tapers: Tapers, dy: float, known: Known) -> None:
        from scipy.fft import next_fast_len, rfftfreq

        self.tapers, self.dy, self.known = tapers, dy, known
        self.lag: Float = np.arange(tapers.n, dtype=np.float64) * dy
        self.noise = np.zeros(tapers.n)
        self.noise[: len(known.noise)] = known.noise
        floor = tapers.expected(self.noise, dy)
        # A correlation that was estimated may have a spectrum below 0, which no noise has.
        self.floor = np.maximum(floor, _LEAST_FLOOR * float(floor.mean()))
        self._size = int(next_fast_len(2 * tapers.n, real=True))
        self._squared = (2 * np.pi * rfftfreq(self._size)) ** 2

    def covariance(self, p: Float) -> Float:
        """Return the autocovariance of the roughness as it is imaged."""
        plain = k_correlation(self.lag, float(np.exp(p[1])), float(p[2]))
        return np.asarray(np.exp(p[0]) * self._blurred(plain, p[4]))

    def _blurred(self, covariance: Float, blur: float) -> Float:
        """Blur along the edge, which takes ``exp(-blur w^2)`` of the spectrum."""
        from scipy.fft import irfft, rfft

        n = covariance.size
        ring = np.zeros(self._size)
        ring[:n] = covariance
        ring[self._size - n + 1 :] = covariance[:0:-1]
        return np.asarray(irfft(rfft(ring) * np.exp(-blur * self._squared), self._size)[:n])

    def expected(self, p: Float) -> Float:
        """Return the expected spectrum with its floor."""
        rough = self.tapers.expected(self.covariance(p), self.dy)
        least = 1e-9 * float(np.exp(p[0])) * self.dy
        return np.asarray(np.maximum(rough, least) + np.exp(p[3]) * self.floor)

    def log_slopes(self, p: Float) -> tuple[Float, Float]:
        """Return the expected spectrum and the slopes of its logarithm, ``(5, bins)``."""
        middle = self.expected(p)
        slopes = np.empty((5, middle.size))
        slopes[3] = np.exp(p[3]) * self.floor / middle
        slopes[0] = 1 - slopes[3]
        for i in (1, 2, 4):
            slopes[i] = (np.log(self.expected(_moved(p, i))) - np.log(middle)) / _STEP
        return middle, slopes

    def passed(self, p: Float) -> float:
        """Return the part of the roughness' variance that is left in an imaged edge."""
        return self.kept(self.covariance(p)) / float(np.exp(p[0]))

    def passed_slopes(self, p: Float) -> Float:
        """Return the slopes of the logarithm of :meth:`passed`, ``(5,)``."""
        middle = np.log(self.passed(p))
        slopes = np.zeros(5)
        for i in (1, 2, 4):
            slopes[i] = (np.log(self.passed(_moved(p, i))) - middle) / _STEP
        return slopes

    @property
    def prior(self) -> Float:
        """What is known of each parameter beforehand, as inverse variances."""
        return np.array([0, 0, _HURST_SPREAD**-2, 0, self.known.blur_sd**-2])

    def kept(self, covariance: Float) -> float:
        """Return the variance that is left of an autocovariance without a straight line."""
        n = self.tapers.n
        lags = np.arange(n)
        # Of a line's two directions, constant and slope: the autocorrelations of both.
        t = np.arange(n) - (n - 1) / 2
        constant = (n - lags) / n
        slope = _autocorrelation(t / np.linalg.norm(t))
        twice = np.where(lags == 0, 1.0, 2.0)
        return float(covariance[0] - (twice * (constant + slope)) @ covariance / n)


_STEP = 1e-4


def _moved(p: Float, i: int) -> Float:
    moved = p.copy()
    moved[i] += _STEP
    return moved


def _autocorrelation(a: Float) -> Float:
    from scipy.fft import irfft, next_fast_len, rfft

    size = int(next_fast_len(2 * a.size, real=True))
    return np.asarray(irfft(np.abs(rfft(a, size)) ** 2, size)[: a.size])


def fit(spectrum: Spectrum, model: Model) -> Float:
    """Find the most likely parameters."""
    from scipy.optimize import least_squares

    psd = np.maximum(spectrum.psd, 1e-12 * spectrum.psd.max())
    n, dy = model.tapers.n, model.dy
    total = spectrum.variance
    high = float(np.median(psd[-max(len(psd) // 8, 4) :]) / dy)
    low = [
        np.log(total * 1e-4),
        np.log(_SHORTEST * dy),
        _HURST[0],
        np.log(total * _QUIET),
        _BLUR_LOW,
    ]
    known = model.known
    widest = known.blur + _BLUR_REACH * known.blur_sd
    top = [np.log(total * 50), np.log(0.5 * n * dy), _HURST[1], np.log(total * 2), widest]

    prior = np.sqrt(model.prior / spectrum.edges)[[2, 4]]
    likely = np.array([_LIKELY_HURST, known.blur])

    # The likelihood of averaged periodograms is a sum of squares of their deviance residuals.
    def residual(p: Float) -> Float:
        ratio = psd / model.expected(p)
        deviance = np.maximum(ratio - 1 - np.log(ratio), 0)
        beside = prior * (p[[2, 4]] - likely)
        return np.concatenate([np.sign(ratio - 1) * np.sqrt(2 * deviance), beside])

    def jacobian(p: Float) -> Float:
        expected, slopes = model.log_slopes(p)
        ratio = psd / expected
        deviance = np.sqrt(2 * np.maximum(ratio - 1 - np.log(ratio), 1e-18))
        rise = np.where(np.abs(ratio - 1) < 1e-4, 1.0, np.abs(ratio - 1) / deviance)
        of_prior = np.zeros((2, 5))
        of_prior[[0, 1], [2, 4]] = prior
        return np.concatenate([-(rise * slopes).T, of_prior])

    best = None
    for length, quiet in ((4.0, 0.9), (30.0, 0.9), (10.0, 0.05)):
        start = [
            np.log(max(total - high, 0.05 * total)),
            np.log(min(length, n / 8) * dy),
            0.7,
            np.log(np.clip(quiet * high, total * 1e-6, 0.9 * total)),
            known.blur,
        ]
        tried = least_squares(
            residual,
            start,
            jacobian,
            bounds=(low, top),
            x_scale="jac",
            max_nfev=60,
            xtol=1e-7,
        )
        if best is None or tried.cost < best.cost:
            best = tried
    assert best is not None
    return np.asarray(best.x, np.float64)


@dataclass(frozen=True, eq=False)
class Uncertainty:
    """How certain parameters are, for one edge.

    Parameters
    ----------
    covariance
        ``(5, 5)``: by what scatters, and by what was known of the blur.
    influence
        Change of the parameters, ``(5, bins)``, for a relative deviation of the spectrum in
        each bin.
    of_blur
        Change of the parameters, ``(5,)``, for one deviation of what was known of the blur.
    """

    covariance: Float
    influence: Float
    of_blur: Float

    @classmethod
    def make(cls, slopes: Float, together: Float, prior: Float, edges: float) -> Uncertainty:
        """Make it; the covariance is not the inverse of the information: bins depend."""
        own = prior / edges
        information = slopes @ slopes.T + np.diag(own)
        scale = np.sqrt(np.maximum(np.diag(information), 1e-12))
        # A parameter at a limit tells nothing, and must not spoil the others.
        inverse = np.linalg.pinv(information / np.outer(scale, scale), rcond=1e-9)
        inverse /= np.outer(scale, scale)
        influence = inverse @ slopes
        of_blur = inverse[:, 4] * np.sqrt(own[4])
        covariance = bins_summed(influence, together) @ influence.T + np.outer(of_blur, of_blur)
        return cls(np.asarray(covariance), influence, of_blur)


def bins_summed(rows: Float, together: Float) -> Float:
    """Multiply by the covariance of the bins, which depends on their distance alone."""
    from scipy.ndimage import correlate1d

    band = np.concatenate([together[:0:-1], together])
    return np.asarray(correlate1d(rows, band, axis=-1, mode="constant"))

"""The model of noise: variance as a line over the grey level, and one autocorrelation."""

from __future__ import annotations

import math
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import ArrayLike, NDArray

__all__ = ["MAX_LAG_PX", "NoiseEstimate", "fit_variance_line"]

Float = NDArray[np.float64]

MAX_LAG_PX = 5
"""Largest lag of the correlation map, in y and in x."""


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

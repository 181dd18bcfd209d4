"""Variance of the noise over the grey level, from what the fit of holes leaves."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

__all__ = ["Noise"]

Float = NDArray[np.float64]

_LEVELS = 12  # groups of grey level for the line of variance over level


class Noise:
    """Variance of the noise over grey level, and its correlation from pixel to pixel."""

    def __init__(self, variance: float) -> None:
        self.inflation = 1.0  # of the variance of a sum over an edge, by the correlation
        self.level = 0.0
        self.variance = variance
        self.slope = 0.0
        self.least = 0.05 * variance

    def at(self, level: Float) -> Float:
        """Return the variance at grey levels."""
        return np.asarray(np.maximum(self.variance + self.slope * (level - self.level), self.least))

    @classmethod
    def of(cls, level: Float, squared: Float) -> Noise:
        """Measure the line of variance over level from squared residuals."""
        some = level[:: max(level.size // 20_000, 1)]
        limits = np.unique(np.quantile(some, np.arange(1, _LEVELS) / _LEVELS))
        group = np.searchsorted(limits, level)
        mean = float(squared.mean())
        noise = cls(max(mean, 1e-20))
        noise.level = float(level.mean())
        counts = np.bincount(group)
        many = counts > 20
        if many.sum() < 3:
            return noise
        x = (np.bincount(group, level)[many] / counts[many]) - noise.level
        v = np.bincount(group, squared)[many] / counts[many]
        # Larger variances are less well known, in proportion.
        root = 1 / np.maximum(v, 0.05 * mean)
        basis = np.stack([np.ones_like(x), x], axis=1) * root[:, None]
        (at_mean, slope), *_ = np.linalg.lstsq(basis, v * root, rcond=None)
        if at_mean > 0:
            noise.variance, noise.slope = float(at_mean), float(slope)
        return noise

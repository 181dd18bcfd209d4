"""The spectrum of rough edges, and what a model of them leads one to expect of it."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

__all__ = ["Tapers", "k_correlation", "make_tapers"]

Float = NDArray[np.float64]

_TAPERS = 5
_FINE = 12  # this many lowest frequencies feel that a straight line was taken out


@dataclass(frozen=True, eq=False)
class Tapers:
    """Windows for edges of a given number of rows, and what they do to a spectrum.

    Sine tapers [1]_: the mean of the spectra through several of them uses nearly all of the data,
    and leaks little. What leaks all the same is not a bias: the expectation of the windowed,
    detrended, aliased spectrum is computed from the autocovariance of a model, exactly [2]_.

    Parameters
    ----------
    windows
        ``(tapers, n)``, each of unit energy.
    lag_weight
        ``(n,)``: mean autocorrelation of the windows, lag 0 to n - 1.
    low_weight
        ``(low, n)``: weights of the autocovariance for the lowest frequencies, where the
        straight line that was taken out counts.
    bin_correlation
        Covariance of the estimates at frequencies 0, 1, 2, ... bins apart, for a flat spectrum
        and one edge, over the squared spectrum.

    References
    ----------
    .. [1] K. S. Riedel, A. Sidorenko, "Minimum bias multiple taper spectral estimation", IEEE
       Trans. Signal Process. 43 (1995), 188-195.
    .. [2] A. M. Sykulski, S. C. Olhede, A. P. Guillaumin, J. M. Lilly, J. J. Early, "The debiased
       Whittle likelihood", Biometrika 106 (2019), 251-266, eq. 5.
    """

    windows: Float
    lag_weight: Float
    low_weight: Float
    bin_correlation: Float

    @property
    def n(self) -> int:
        """Number of rows."""
        return int(self.windows.shape[1])

    def frequencies(self, dy: float) -> Float:
        """Return the frequencies in cycles a unit of `dy`, from one period to Nyquist."""
        return np.arange(1, self.n // 2 + 1) / (self.n * dy)

    def transform(self, detrended: Float) -> NDArray[np.complex128]:
        """Return the windowed transforms of edges ``(edges, n)``, ``(tapers, edges, bins)``."""
        from scipy.fft import rfft

        return np.asarray(rfft(self.windows[:, None, :] * detrended, axis=-1)[..., 1:])

    def expected(self, covariance: Float, dy: float) -> Float:
        """Return the expected spectrum, ``(bins,)``, of edges with an autocovariance ``(n,)``."""
        from scipy.fft import rfft

        n = self.n
        lags = covariance * self.lag_weight
        # Lag m and lag n - m are the same at the frequencies of n rows.
        folded = lags.copy()
        folded[1:] += lags[:0:-1]
        spectrum = rfft(folded).real[1:]
        spectrum[: len(self.low_weight)] = self.low_weight @ covariance
        assert spectrum.size == n // 2
        return np.asarray(dy * spectrum)


@lru_cache(maxsize=4)
def make_tapers(n: int) -> Tapers:
    """Make the windows for edges of `n` rows, at least 16."""
    from scipy.fft import fft, next_fast_len

    count = min(_TAPERS, n // 8)
    t = np.arange(1, n + 1)
    orders = np.arange(1, count + 1)[:, None]
    windows = np.sqrt(2 / (n + 1)) * np.sin(np.pi * orders * t / (n + 1))
    size = int(next_fast_len(2 * n))

    def correlations(a: NDArray[np.complex128]) -> Float:
        """Return the summed autocorrelation of ``(m, n)`` at lags 0 to n - 1."""
        power = (np.abs(fft(a, size, axis=-1)) ** 2).sum(axis=0)
        return np.asarray(np.fft.ifft(power).real[:n])

    lag_weight = correlations(windows.astype(np.complex128)) / count
    line = np.stack([np.ones(n), t - (n + 1) / 2])
    line /= np.linalg.norm(line, axis=1, keepdims=True)
    low = []
    for j in range(1, min(_FINE, n // 2) + 1):
        waves = windows * np.exp(-2j * np.pi * j * t / n)
        waves = waves - (waves @ line.T) @ line
        weight = correlations(waves) / count
        weight[1:] *= 2  # the covariance is the same at lags -m and m
        low.append(weight)
    reach = min(4 * count, n // 2)
    cross = fft(windows[:, None, :] * windows[None, :, :], axis=-1)[..., :reach]
    together = (np.abs(cross) ** 2).sum(axis=(0, 1)) / count**2
    return Tapers(windows, lag_weight, np.array(low), together)


def k_correlation(lag: Float, length: float, hurst: float) -> Float:
    """Return the autocorrelation of an edge with the Palasantzas spectrum.

    ``2^(1-H) / Gamma(H) u^H K_H(u)`` with ``u = lag / length``, the transform of
    ``(1 + (2 pi f length)^2)^-(H + 1/2)``. Taken at the rows alone it has the aliased spectrum.

    Parameters
    ----------
    lag
        Distances, from 0 on, in any unit.
    length
        Correlation length in the same unit.
    hurst
        Hurst exponent, above 0.

    Returns
    -------
    ndarray
        1 at lag 0, of the shape of `lag`.

    References
    ----------
    .. [1] G. Palasantzas, "Roughness spectrum and surface width of self-affine fractal surfaces
       via the K-correlation model", Phys. Rev. B 48 (1993), 14472, eq. 5 (here for a line).
    """
    from scipy.special import gamma, kv

    u = np.asarray(lag, np.float64) / length
    out = np.zeros_like(u)
    out[u < 1e-9] = 1.0
    near = (u >= 1e-9) & (u < 50)
    v = u[near]
    out[near] = 2 ** (1 - hurst) / gamma(hurst) * v**hurst * kv(hurst, v)
    return out

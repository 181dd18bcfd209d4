"""Rough edges of lines: self-affine profiles with given sigma, correlation length and exponent."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from everhart.simulate.scene import check_range

__all__ = ["palasantzas_psd", "rough_edges"]


def palasantzas_psd(
    frequency: NDArray[np.float64], sigma: float, correlation_length: float, hurst: float
) -> NDArray[np.float64]:
    """Return the power spectral density of a self-affine edge.

    Parameters
    ----------
    frequency
        Spatial frequency in cycles a unit of length.
    sigma
        Standard deviation of the edge (any unit).
    correlation_length
        Correlation length in the unit of length.
    hurst
        Roughness (Hurst) exponent H, in 0 to 1.

    Returns
    -------
    ndarray
        One-sided in form: the integral from 0 to infinity over `frequency` is ``sigma**2``.

    References
    ----------
    .. [1] G. Palasantzas, "Roughness spectrum and surface width of self-affine fractal surfaces
       via the K-correlation model", Phys. Rev. B 48 (1993), 14472, eq. 5 (here for a line).
    .. [2] C. A. Mack, "Generating random rough edges, surfaces, and volumes", Applied Optics 52
       (2013), 1472-1480, eq. 6.
    """
    from scipy.special import gammaln

    xi = 2 * np.pi * correlation_length
    # Integral of (1 + (xi f)^2)^-(H + 1/2) from 0 to infinity.
    area = np.exp(0.5 * np.log(np.pi) + gammaln(hurst) - gammaln(hurst + 0.5)) / (2 * xi)
    psd = (1 + (xi * np.asarray(frequency, np.float64)) ** 2) ** -(hurst + 0.5)
    return np.asarray(sigma**2 / area * psd, np.float64)


def rough_edges(
    n_edges: int,
    length: int,
    rng: np.random.Generator,
    *,
    sigma: float,
    correlation_length: float,
    hurst: float,
    pair_correlation: float = 0.0,
) -> NDArray[np.float64]:
    """Draw rough edges whose ensemble has the Palasantzas spectrum.

    A Gaussian spectrum with the wanted power at every frequency is transformed back [2]_ of
    :func:`palasantzas_psd`; the period is longer than the edge by at least eight correlation
    lengths and its surplus is cut, so the two ends are independent. Within a draw the standard
    deviation of the cut edge varies, as it does on a wafer.

    Parameters
    ----------
    n_edges
        Number of edges; edges 2 i and 2 i + 1 are the left and right edge of line i.
    length
        Number of samples of an edge, one a row.
    rng
        Source of randomness.
    sigma
        Standard deviation of the ensemble, in pixels.
    correlation_length
        In pixels.
    hurst
        Hurst exponent, in 0.05 to 1.
    pair_correlation
        Correlation of the displacements of the two edges of a line, -1 to 1: 1 for a line that
        wiggles with constant width, -1 for one that swells and shrinks.

    Returns
    -------
    ndarray
        Displacements in pixels, ``(n_edges, length)``.
    """
    check_range("sigma", sigma, 0)
    check_range("correlation_length", correlation_length, 0)
    check_range("hurst", hurst, 0.05, 1)
    check_range("pair_correlation", pair_correlation, -1, 1)
    if sigma == 0 or n_edges == 0:
        return np.zeros((n_edges, length))
    from scipy.fft import irfft, next_fast_len

    period = int(next_fast_len(int(np.ceil(length + 8 * correlation_length)), real=True))
    frequency = np.arange(period // 2 + 1) / period
    power = palasantzas_psd(frequency, 1.0, max(correlation_length, 1e-6), hurst)
    power[0] *= 0.5  # the two-sided spectrum has frequency 0 once
    # Sampled at one point a pixel the spectrum ends at 0.5 cycles; keep all of the variance.
    amplitude = np.sqrt(power / power.sum())
    even = n_edges + n_edges % 2
    spectrum = rng.standard_normal((even, amplitude.size)) + 1j * rng.standard_normal(
        (even, amplitude.size)
    )
    # A real frequency has half of the power of a complex pair: make up for it.
    spectrum[:, 0] = spectrum[:, 0].real * np.sqrt(2)
    if period % 2 == 0:
        spectrum[:, -1] = spectrum[:, -1].real * np.sqrt(2)
    weight = np.full(amplitude.size, 0.5)
    weight[0] = 1 / np.sqrt(2)
    if period % 2 == 0:
        weight[-1] = 1 / np.sqrt(2)
    edges = irfft(spectrum * amplitude * weight, period, axis=-1, norm="forward")[:, :length]
    left, right = edges[0::2], edges[1::2]
    edges[1::2] = pair_correlation * left + np.sqrt(1 - pair_correlation**2) * right
    return np.asarray(sigma * edges[:n_edges], np.float64)

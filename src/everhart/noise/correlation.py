"""Autocorrelation of noise, and what follows from it."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray

from everhart.errors import UsageError

__all__ = ["autocorrelation", "autocovariance", "spectrum"]

Float = NDArray[np.float64]


def autocovariance(
    noise: ArrayLike, max_lag_px: int = 5, *, mask: ArrayLike | None = None
) -> Float:
    """Return the autocovariance of a noise field at small lags.

    Parameters
    ----------
    noise
        Noise of shape ``(H, W)``: a residual, or a difference of frames. Its mean is taken off.
    max_lag_px
        Largest lag in y and in x.
    mask
        Boolean array ``(H, W)``; only pairs of pixels that are both inside count.

    Returns
    -------
    ndarray
        Shape ``(2 * max_lag_px + 1, 2 * max_lag_px + 1)``, squared grey levels; lag ``(dy, dx)`` is
        at index ``(max_lag_px + dy, max_lag_px + dx)``. Each lag is the mean over its own pairs.

    Raises
    ------
    UsageError
        If the field is not two-dimensional or is smaller than the lags.
    """
    field = np.asarray(noise, np.float64)
    if field.ndim != 2 or min(field.shape) <= max_lag_px:
        raise UsageError(
            f"A field of shape {field.shape} was given for lags up to {max_lag_px}: it must be "
            "(height, width) with both larger than the largest lag."
        )
    weight = np.ones(field.shape) if mask is None else np.asarray(mask, np.float64)
    total = float(weight.sum())
    centred = (field - (float((field * weight).sum()) / total if total else 0.0)) * weight
    height, width = field.shape
    side = 2 * max_lag_px + 1
    out = np.zeros((side, side))
    for dy in range(max_lag_px + 1):
        for dx in range(-max_lag_px, max_lag_px + 1):
            left, right = (
                slice(max(0, -dx), width - max(0, dx)),
                slice(max(0, dx), width + min(0, dx)),
            )
            here, there = (slice(0, height - dy), left), (slice(dy, height), right)
            pairs = float(np.vdot(weight[here], weight[there]))
            value = float(np.vdot(centred[here], centred[there])) / pairs if pairs else 0.0
            out[max_lag_px + dy, max_lag_px + dx] = value
            out[max_lag_px - dy, max_lag_px - dx] = value
    return out


def autocorrelation(
    noise: ArrayLike, max_lag_px: int = 5, *, mask: ArrayLike | None = None
) -> Float:
    """Return the Pearson autocorrelation of a noise field at small lags.

    Parameters
    ----------
    noise, max_lag_px, mask
        As for :func:`autocovariance`.

    Returns
    -------
    ndarray
        Shape ``(2 * max_lag_px + 1, 2 * max_lag_px + 1)``, 1 at its centre, lag zero. A constant
        field gives 0 at every other lag.

    Raises
    ------
    UsageError
        If the field is not two-dimensional or is smaller than the lags.

    Examples
    --------
    >>> rng = np.random.default_rng(0)
    >>> white = rng.normal(size=(200, 201))
    >>> scan_line = white[:, 1:] + white[:, :-1]  # neighbours share half of their variance
    >>> np.abs(autocorrelation(scan_line, 1).round(1))
    array([[0. , 0. , 0. ],
           [0.5, 1. , 0.5],
           [0. , 0. , 0. ]])
    """
    covariance = autocovariance(noise, max_lag_px, mask=mask)
    variance = covariance[max_lag_px, max_lag_px]
    correlation = covariance / variance if variance > 0 else np.zeros_like(covariance)
    correlation[max_lag_px, max_lag_px] = 1.0
    return correlation


def spectrum(correlation: ArrayLike, shape: tuple[int, int]) -> Float:
    """Return the power spectrum of noise of unit variance with a given autocorrelation.

    Parameters
    ----------
    correlation
        Autocorrelation of odd shape, lag zero in its centre, symmetric.
    shape
        ``(H, W)`` of the image, at least the shape of the correlation.

    Returns
    -------
    ndarray
        Shape ``(H, W)``, in the order of :func:`numpy.fft.fft2`, mean 1; the discrete Fourier
        transform of the autocorrelation (Wiener-Khinchin), with what is negative from
        estimation error cut to 0.
    """
    given = np.asarray(correlation, np.float64)
    lags = np.zeros(shape)
    reach = [n // 2 for n in given.shape]
    for (row, column), value in np.ndenumerate(given):
        lags[(row - reach[0]) % shape[0], (column - reach[1]) % shape[1]] += value
    power = np.maximum(np.fft.fft2(lags).real, 0.0)
    mean = float(power.mean())
    return power / mean if mean > 0 else np.ones(shape)

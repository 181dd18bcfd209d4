"""How good a denoised image is where there is no clean one to compare it with."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from everhart.errors import UsageError
from everhart.metrics._blocks import block_means, standard_error
from everhart.metrics._pair import Float, as_pair, checked_range
from everhart.micrograph import Micrograph

__all__ = ["SecondFrameError", "residual_whiteness", "second_frame_mse", "structure_leakage"]


@dataclass(frozen=True)
class SecondFrameError:
    """Error of a denoised frame, estimated from a second frame of the same field.

    Parameters
    ----------
    mse
        Estimate of the mean squared error against the unknown clean image, in squared grey
        levels. Unbiased, and so below 0 now and then where the error is tiny.
    standard_error
        Standard error of `mse`, from the scatter of blocks of the image.
    noise_variance
        Variance of the second frame's noise that was taken off, in squared grey levels.
    """

    mse: float
    standard_error: float
    noise_variance: float

    def psnr(self, *, data_range: float) -> float:
        """Return the estimate as a PSNR in dB; NaN where the estimated error is below 0."""
        value_range = checked_range(data_range)
        return 10 * math.log10(value_range**2 / self.mse) if self.mse > 0 else math.nan


def second_frame_mse(
    denoised_first: Micrograph | ArrayLike,
    second_frame: Micrograph | ArrayLike,
    first_frame: Micrograph | ArrayLike | None = None,
    *,
    noise_variance: float | None = None,
) -> SecondFrameError:
    """Estimate the mean squared error of a denoised frame without a clean image.

    With frames ``y1 = x + n1`` and ``y2 = x + n2`` of independent noise, and ``d`` computed from
    ``y1`` alone, ``E (d - y2)**2 = E (d - x)**2 + var n2``: the error against the second frame is
    the error against the truth plus a constant, which is known from the frames themselves,
    ``E (y1 - y2)**2 / 2``. Nothing is assumed of the noise but that it has mean zero and is
    independent from frame to frame, with one variance in both; the idea of Noise2Noise [1]_,
    used to measure instead of to train. With more than two frames, see
    :func:`everhart.metrics.left_out_error`.

    Parameters
    ----------
    denoised_first
        Denoised first frame, ``(H, W)``. The second frame must have had no part in it.
    second_frame
        Second frame as the microscope gave it, registered to the first.
    first_frame
        First frame as the microscope gave it, for the variance of the noise.
    noise_variance
        Variance of the second frame's noise, in squared grey levels, in place of `first_frame`.

    Returns
    -------
    SecondFrameError
        Estimate, its standard error, and the variance taken off.

    Raises
    ------
    UsageError
        If shapes differ, or not exactly one of `first_frame` and `noise_variance` is given.

    References
    ----------
    .. [1] J. Lehtinen et al., "Noise2Noise: learning image restoration without clean data",
       ICML (2018), section 2.

    Examples
    --------
    >>> rng = np.random.default_rng(1)
    >>> clean = np.zeros((256, 256))
    >>> first, second = (clean + rng.normal(size=clean.shape) for _ in range(2))
    >>> denoised = 0.5 * first  # true mean squared error: 0.25
    >>> estimate = second_frame_mse(denoised, second, first)
    >>> abs(estimate.mse - 0.25) < 3 * estimate.standard_error
    True
    """
    if (first_frame is None) == (noise_variance is None):
        raise UsageError(
            "second_frame_mse needs the variance of the noise: give either the first frame as it "
            "was before denoising, or noise_variance in squared grey levels."
        )
    denoised, second = as_pair(denoised_first, second_frame)
    error = (denoised - second) ** 2
    if first_frame is not None:
        first, _ = as_pair(first_frame, second_frame)
        # Pixel by pixel, so that what both terms share drops out of the standard error too.
        variance = 0.5 * (first - second) ** 2
        taken_off = float(variance.mean())
    else:
        taken_off = float(noise_variance) if noise_variance is not None else 0.0
        variance = np.full_like(error, taken_off)
    error -= variance
    return SecondFrameError(float(error.mean()), standard_error(block_means(error)), taken_off)


def residual_whiteness(
    denoised: Micrograph | ArrayLike,
    noisy: Micrograph | ArrayLike,
    *,
    noise_correlation: ArrayLike | None = None,
    max_lag_px: int = 5,
) -> float:
    """Return how much the residual looks like the noise alone.

    A perfect denoiser takes away the noise and nothing else, so that the residual
    ``noisy - denoised`` has the noise's own autocorrelation ``r_noise``. The figure is
    ``1 / (1 + Q)`` with ``Q`` the sum of ``(r_residual - r_noise)**2`` over all lags but zero; the
    sum over white noise of finite size is taken off (a portmanteau statistic [1]_ in two
    dimensions).

    Parameters
    ----------
    denoised, noisy
        Images of shape ``(H, W)``.
    noise_correlation
        The noise's own autocorrelation: an array of odd shape with lag zero in its centre (as
        :attr:`everhart.noise.NoiseEstimate.correlation`); lags outside of it count as 0. None for
        white noise.
    max_lag_px
        Largest lag in y and in x that is looked at.

    Returns
    -------
    float
        Between 0 and 1; 1 where the residual is as white as the noise. NaN where the
        residual is constant.

    Raises
    ------
    UsageError
        If shapes differ or the image is not larger than the lags.

    Notes
    -----
    A low figure has two causes: structure in the residual, or noise left in the image at
    some frequencies. :func:`structure_leakage` tells them apart.

    References
    ----------
    .. [1] G. M. Ljung, G. E. P. Box, "On a measure of lack of fit in time series models",
       Biometrika 65 (1978), 297-303.

    Examples
    --------
    >>> rng = np.random.default_rng(0)
    >>> noise = rng.normal(size=(128, 128))
    >>> round(residual_whiteness(np.zeros_like(noise), noise), 2)
    1.0
    """
    from everhart.noise.correlation import autocorrelation

    a, b = as_pair(denoised, noisy)
    _single(a)
    residual = b - a
    if np.ptp(residual) == 0:
        return math.nan
    found = autocorrelation(residual, max_lag_px)
    expected = _embedded(noise_correlation, max_lag_px)
    squares = (found - expected) ** 2
    squares[max_lag_px, max_lag_px] = 0.0
    # Each estimated correlation scatters by 1/N about the truth (Bartlett, white noise).
    chance = (squares.size - 1) / residual.size
    return 1 / (1 + max(float(squares.sum()) - chance, 0.0))


def structure_leakage(
    denoised: Micrograph | ArrayLike, noisy: Micrograph | ArrayLike, *, scale_px: float = 1.5
) -> float:
    """Return how much of the specimen's structure is in the residual.

    The Pearson correlation between the local energy of the residual ``noisy - denoised`` and the
    gradient magnitude of the denoised image. Blurred edges show up as residual energy
    along the gradients. Noise that grows with the signal would do so too where bright parts
    have the edges, and is no leakage: the energy is first divided by the
    variance at that grey level, measured where the gradient is below its median.

    Parameters
    ----------
    denoised, noisy
        Images of shape ``(H, W)``.
    scale_px
        Standard deviation of the Gaussian window of local energy and of gradients.

    Returns
    -------
    float
        Between -1 and 1. Near 0: the residual knows nothing of the structure. Positive:
        structure was taken away with the noise. Negative: noise was left along the edges. NaN
        where residual or image is constant.

    Raises
    ------
    UsageError
        If shapes differ or stacks are given.

    Examples
    --------
    >>> from scipy.ndimage import gaussian_filter
    >>> rng = np.random.default_rng(0)
    >>> clean = np.kron(rng.random((8, 8)), np.ones((16, 16)))
    >>> noisy = clean + rng.normal(scale=0.05, size=clean.shape)
    >>> abs(structure_leakage(clean, noisy)) < 0.1
    True
    >>> structure_leakage(gaussian_filter(noisy, 3), noisy) > 0.4
    True
    """
    from scipy.ndimage import gaussian_filter, gaussian_gradient_magnitude

    a, b = as_pair(denoised, noisy)
    _single(a)
    residual = b - a
    residual -= residual.mean()
    gradient = gaussian_gradient_magnitude(a, scale_px, mode="nearest")
    if np.ptp(gradient) == 0 or np.ptp(residual) == 0:
        return math.nan
    level = gaussian_filter(a, scale_px, mode="nearest")
    energy = residual**2
    energy /= _variance_at_level(energy, level, gradient)
    local = gaussian_filter(energy, scale_px, mode="nearest")
    return float(np.corrcoef(local.ravel(), gradient.ravel())[0, 1])


def _variance_at_level(energy: Float, level: Float, gradient: Float, bins: int = 24) -> Float:
    """Return the residual's variance in flat parts, as a function of grey level, per pixel."""
    edges = np.unique(np.quantile(level, np.linspace(0, 1, bins + 1)))
    if edges.size < 3:
        return np.full_like(energy, energy.mean())
    label = np.clip(np.searchsorted(edges, level, side="right") - 1, 0, edges.size - 2)
    centres, variances = [], []
    for index in range(edges.size - 1):
        here = label == index
        if not here.any():
            continue
        flat = here & (gradient <= np.median(gradient[here]))
        centres.append(float(level[flat].mean()))
        variances.append(float(energy[flat].mean()))
    floor = 1e-3 * float(energy.mean())
    return np.maximum(np.interp(level, centres, variances), floor)


def _embedded(correlation: ArrayLike | None, max_lag: int) -> NDArray[np.float64]:
    """Return a correlation map cut or filled with zeros to ``2 * max_lag + 1`` lags a side."""
    side = 2 * max_lag + 1
    out = np.zeros((side, side))
    out[max_lag, max_lag] = 1.0
    if correlation is None:
        return out
    given = np.asarray(correlation, np.float64)
    if given.ndim != 2 or given.shape[0] % 2 == 0 or given.shape[1] % 2 == 0:
        raise UsageError(
            f"A noise correlation of shape {given.shape} was given: it is two-dimensional with odd "
            "sides, lag zero in the centre."
        )
    reach_y, reach_x = (min(n // 2, max_lag) for n in given.shape)
    centre_y, centre_x = (n // 2 for n in given.shape)
    out[max_lag - reach_y : max_lag + reach_y + 1, max_lag - reach_x : max_lag + reach_x + 1] = (
        given[
            centre_y - reach_y : centre_y + reach_y + 1, centre_x - reach_x : centre_x + reach_x + 1
        ]
    )
    return out


def _single(image: Float) -> None:
    if image.ndim != 2:
        raise UsageError(
            f"An array of shape {image.shape} was given: one image (height, width) at a time is "
            "allowed; call once a frame."
        )

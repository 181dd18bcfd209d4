"""Stein's unbiased risk estimate: the error of a denoiser without knowing the truth."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import ArrayLike, NDArray

from everhart.noise.correlation import spectrum

__all__ = ["estimated_risk", "noise_probe"]

Float32 = NDArray[np.float32]

_STEP = 0.3  # of the noise: wide enough for filters with jumps (median), small enough for the rest


def noise_probe(shape: tuple[int, int], correlation: ArrayLike, seed: int = 0) -> Float32:
    """Return Gaussian noise of unit variance and a given autocorrelation.

    Parameters
    ----------
    shape
        ``(H, W)``.
    correlation
        Autocorrelation of odd shape, lag zero in its centre.
    seed
        Seed of a generator of its own: the same image is always denoised the same way.

    Returns
    -------
    ndarray
        float32, shape ``(H, W)``; correlated around the borders as on a torus.
    """
    rng = np.random.default_rng(seed)
    given = np.asarray(correlation)
    # A small image is cut out of a field that holds all lags.
    height, width = (max(n, m) for n, m in zip(shape, given.shape, strict=True))
    white = np.fft.fft2(rng.standard_normal((height, width)))
    noise = np.fft.ifft2(white * np.sqrt(spectrum(given, (height, width)))).real
    return noise[: shape[0], : shape[1]].astype(np.float32)


def estimated_risk(
    denoise: Callable[[Float32], Float32], image: Float32, probe: Float32, step: float = _STEP
) -> float:
    """Estimate the mean squared error of a denoiser from the noisy image alone.

    For ``y = x + n`` with Gaussian noise of covariance C, Stein's lemma [1]_ gives

    ``E |f(y) - x|**2 = E |f(y) - y|**2 - tr C + 2 E tr(C J)``

    with J the Jacobian of the denoiser f. The last term is found with one probe
    ``b ~ N(0, C)``, as the mean of ``b * (f(y + e b) - f(y)) / e`` [2]_. Correlation of the noise
    is in C, so that a denoiser that keeps correlated noise is not mistaken for a good one.

    Parameters
    ----------
    denoise
        Function from image to image.
    image
        Noisy image of shape ``(H, W)``, its noise of unit variance.
    probe
        Sample of :func:`noise_probe` of the same shape.
    step
        The ``e`` above.

    Returns
    -------
    float
        Mean squared error in units of the noise variance, times the number of pixels.

    References
    ----------
    .. [1] C. M. Stein, "Estimation of the mean of a multivariate normal distribution", Annals of
       Statistics 9 (1981), 1135-1151.
    .. [2] S. Ramani, T. Blu, M. Unser, "Monte-Carlo SURE: a black-box optimization of
       regularization parameters for general denoising algorithms", IEEE Transactions on
       Image Processing 17 (2008), 1540-1554, theorem 2.
    """
    denoised = denoise(image)
    moved = denoise(image + np.float32(step) * probe)
    residual = float(np.sum((denoised - image) ** 2, dtype=np.float64))
    divergence = float(np.sum(probe * (moved - denoised), dtype=np.float64)) / step
    return residual - image.size + 2 * divergence

"""The filters behind the classical denoisers, on images whose noise has unit variance."""

from __future__ import annotations

import functools
import math
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from everhart.noise.correlation import spectrum

Float32 = NDArray[np.float32]

NLM_REACH_PX = 10
_WHITE = 0.05  # largest correlation of noise that counts as white
_WAVELET = "db2"
_LEVELS = 4
_WINDOW_PX = 9  # of the local energy of wavelet coefficients
# The coarsest wavelet reaches 45 pixels, once in the analysis and once in the synthesis.
WAVELET_HALO_PX = 96
_MARGIN_PX = 48  # mirrored on, since the transform wraps around


def median(image: Float32, _: ArrayLike, *, size_px: float) -> Float32:
    """Median over a square window."""
    from scipy.ndimage import median_filter

    size = int(size_px)
    if size <= 5:
        import cv2

        return np.asarray(cv2.medianBlur(image, size), np.float32)
    return np.asarray(median_filter(image, size, mode="nearest"), np.float32)


def gaussian(image: Float32, _: ArrayLike, *, sigma_px: float) -> Float32:
    """Gaussian filter."""
    from scipy.ndimage import gaussian_filter

    return np.asarray(gaussian_filter(image, sigma_px, mode="reflect"), np.float32)


def bilateral(image: Float32, _: ArrayLike, *, sigma_px: float, strength: float) -> Float32:
    """Bilateral filter."""
    import cv2

    diameter = 2 * math.ceil(2 * sigma_px) + 1
    # OpenCV tabulates the weights over the whole range of the image.
    return np.asarray(cv2.bilateralFilter(image, diameter, strength, sigma_px), np.float32)


def nlm(image: Float32, _: ArrayLike, *, strength: float, patch_px: float) -> Float32:
    """Non-local means; the variance that noise adds to the distance of patches is taken off."""
    from skimage.restoration import denoise_nl_means

    # scikit-image drops axes of length 1 and wants whole patches.
    lacking = [max(2 * int(patch_px) - n, 0) for n in image.shape]
    padded = np.pad(image, [(0, n) for n in lacking], mode="symmetric") if any(lacking) else image
    reach = min(NLM_REACH_PX, min(padded.shape) - 1)
    restored = denoise_nl_means(
        padded,
        patch_size=int(patch_px),
        patch_distance=reach,
        h=strength,
        sigma=1.0,
        fast_mode=True,
    )
    return np.asarray(restored[: image.shape[0], : image.shape[1]], np.float32)


def tv(image: Float32, _: ArrayLike, *, weight: float) -> Float32:
    """Total variation."""
    from skimage.restoration import denoise_tv_chambolle

    # The energy does not fall steadily, and a stop by its change comes by chance after a few steps;
    # 100 steps are within 0.03 of the limit, in standard deviations of the noise.
    solve: Any = denoise_tv_chambolle
    restored = solve(image, weight=weight, eps=0.0, max_num_iter=100)
    return np.asarray(restored, np.float32)


def wavelet(image: Float32, correlation: ArrayLike, *, strength: float) -> Float32:
    """Shrinkage of undecimated wavelet coefficients, each by its own threshold.

    The threshold of BayesShrink is the variance of the noise over the standard deviation
    of the signal. Here both are local: the noise of the subband from the autocorrelation, the
    signal from the energy of the coefficients around.
    """
    import pywt
    from scipy.ndimage import uniform_filter

    given = np.ascontiguousarray(correlation, np.float64)
    deviations = _subband_deviations(given.tobytes(), given.shape)
    step, margin = 2**_LEVELS, _MARGIN_PX
    margins = [(margin, margin + -n % step) for n in image.shape]
    padded = np.pad(image, margins, mode="symmetric")
    coefficients: list[Any] = pywt.swt2(
        padded, _WAVELET, level=_LEVELS, norm=True, trim_approx=True
    )
    del padded
    for index, bands in enumerate(coefficients[1:], start=1):
        shrunk = []
        for band, deviation in zip(bands, deviations[index - 1], strict=True):
            variance = np.float32(strength * deviation**2)
            energy = uniform_filter(band * band, _WINDOW_PX, mode="reflect")
            np.subtract(energy, variance, out=energy)
            np.maximum(energy, np.float32(1e-6) * variance, out=energy)
            threshold = np.divide(variance, np.sqrt(energy, out=energy), out=energy)
            shrunk.append(np.sign(band) * np.maximum(np.abs(band) - threshold, 0))
        coefficients[index] = tuple(shrunk)
    restored = pywt.iswt2(coefficients, _WAVELET, norm=True)
    height, width = image.shape
    return np.asarray(restored[margin : margin + height, margin : margin + width], np.float32)


def bm3d(image: Float32, correlation: ArrayLike, *, strength: float) -> Float32:
    """Collaborative filtering of alike blocks, for white or correlated noise."""
    from everhart.restore.bm3d import bm3d as collaborative_filter

    given = np.asarray(correlation, np.float64)
    middle = tuple(n // 2 for n in given.shape)
    others = np.abs(given).copy()
    others[middle] = 0
    # Correlations that are within the error of their estimate would cost half of the time again.
    covariance = given if others.max() > _WHITE else None
    lacking = [max(8 - n, 0) for n in image.shape]
    padded = np.pad(image, [(0, n) for n in lacking], mode="symmetric") if any(lacking) else image
    restored = collaborative_filter(padded, covariance, strength=strength)
    return restored[: image.shape[0], : image.shape[1]]


@functools.lru_cache(maxsize=32)
def _subband_deviations(
    correlation: bytes, shape: tuple[int, int]
) -> tuple[tuple[float, ...], ...]:
    """Return the noise of each subband: its filter's power response times the noise's spectrum."""
    import pywt

    side = 256
    impulse = np.zeros((side, side))
    impulse[0, 0] = 1.0
    power = spectrum(np.frombuffer(correlation).reshape(shape), (side, side))
    responses = pywt.swt2(impulse, _WAVELET, level=_LEVELS, norm=True, trim_approx=True)[1:]
    return tuple(
        tuple(math.sqrt(float(np.mean(np.abs(np.fft.fft2(b)) ** 2 * power))) for b in bands)
        for bands in responses
    )

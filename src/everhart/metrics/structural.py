"""Metrics of structure: SSIM and its multi-scale kind."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import ArrayLike

from everhart.metrics._blocks import binned
from everhart.metrics._pair import Float, checked_range, frame_pairs
from everhart.micrograph import Micrograph

__all__ = ["MS_SSIM_WEIGHTS", "ms_ssim", "ms_ssim_scales", "ssim"]

MS_SSIM_WEIGHTS = (0.0448, 0.2856, 0.3001, 0.2363, 0.1333)
"""Exponents of the five scales, fine to coarse (Wang 2003, section 3.2)."""

_SIGMA = 1.5
_RADIUS = 5  # the 11 x 11 window of the paper


def ssim(
    image: Micrograph | ArrayLike, reference: Micrograph | ArrayLike, *, data_range: float
) -> float:
    """Return the mean structural similarity.

    Gaussian window of 11 x 11 pixels and standard deviation 1.5, ``K1 = 0.01``, ``K2 = 0.03``,
    population covariances, mean over the pixels whose window lies inside of the image; as
    in [1]_, and as scikit-image computes it with ``gaussian_weights=True`` and
    ``use_sample_covariance=False``.

    Parameters
    ----------
    image, reference
        Images of shape ``(H, W)``, at least 11 x 11, or stacks ``(N, H, W)``, over whose frames
        the mean is taken.
    data_range
        Distance from black to white, in grey levels.

    Returns
    -------
    float
        Between -1 and 1; 1 for equal images.

    Raises
    ------
    UsageError
        If the shapes differ, an image is too small, or the data range is not positive.

    References
    ----------
    .. [1] Z. Wang, A. C. Bovik, H. R. Sheikh, E. P. Simoncelli, "Image quality assessment:
       from error visibility to structural similarity", IEEE Transactions on Image Processing
       13 (2004), 600-612, eq. 13.

    Examples
    --------
    >>> image = np.add.outer(np.arange(16.0), np.arange(16.0))
    >>> ssim(image, image, data_range=30)
    1.0
    """
    frames = _frames(image, reference)
    return float(np.mean([_terms(a, b, checked_range(data_range))[0] for a, b in frames]))


def ms_ssim_scales(shape: Sequence[int]) -> int:
    """Return the number of scales that :func:`ms_ssim` uses for an image of this shape.

    Parameters
    ----------
    shape
        ``(..., H, W)``.

    Returns
    -------
    int
        5 where the shorter side is at least 176 pixels, else as many as leave the 11 x 11
        window inside of the coarsest scale; 0 for an image smaller than the window.
    """
    side, scales = min(shape[-2:]), 0
    while side >= 2 * _RADIUS + 1 and scales < len(MS_SSIM_WEIGHTS):
        side //= 2
        scales += 1
    return scales


def ms_ssim(
    image: Micrograph | ArrayLike, reference: Micrograph | ArrayLike, *, data_range: float
) -> float:
    """Return the multi-scale structural similarity.

    The contrast-structure term of every scale and the full term of the coarsest, each to the
    power of its weight, multiplied; between scales the images are averaged over 2 x 2 pixels
    [1]_. Small images take fewer scales (:func:`ms_ssim_scales`), whose weights are scaled to
    the sum of 1: state the number beside the figure.

    Parameters
    ----------
    image, reference
        Images of shape ``(H, W)``, at least 11 x 11, or stacks ``(N, H, W)``, over whose frames
        the mean is taken.
    data_range
        Distance from black to white, in grey levels.

    Returns
    -------
    float
        Between 0 and 1; 1 for equal images. A negative term counts as 0, since a
        negative number has no real power.

    Raises
    ------
    UsageError
        If the shapes differ, an image is too small, or the data range is not positive.

    References
    ----------
    .. [1] Z. Wang, E. P. Simoncelli, A. C. Bovik, "Multiscale structural similarity for image
       quality assessment", 37th Asilomar Conference on Signals, Systems and Computers
       (2003), 1398-1402, eq. 7.
    """
    value_range = checked_range(data_range)
    results = []
    for a, b in _frames(image, reference):
        fine, coarse = a, b
        scales = ms_ssim_scales(fine.shape)
        weights = np.array(MS_SSIM_WEIGHTS[:scales]) / sum(MS_SSIM_WEIGHTS[:scales])
        terms = []
        for scale in range(scales):
            full, contrast = _terms(fine, coarse, value_range)
            terms.append(full if scale == scales - 1 else contrast)
            fine, coarse = binned(fine, 2), binned(coarse, 2)
        results.append(float(np.prod(np.maximum(terms, 0.0) ** weights)))
    return float(np.mean(results))


def _frames(
    image: Micrograph | ArrayLike, reference: Micrograph | ArrayLike
) -> list[tuple[Float, Float]]:
    return frame_pairs(image, reference, side=11, why="SSIM has a window of 11 x 11 pixels")


def _terms(a: Float, b: Float, data_range: float) -> tuple[float, float]:
    """Return the mean of SSIM, and of its contrast-structure part."""
    from scipy.ndimage import gaussian_filter

    def window(values: Float) -> Float:
        inside = slice(_RADIUS, -_RADIUS)
        blurred = gaussian_filter(values, _SIGMA, radius=_RADIUS, mode="nearest")
        return np.asarray(blurred[inside, inside])

    # Variances are taken about a common level: with a 16-bit offset, E[a^2] - E[a]^2 would
    # lose the digits that matter.
    level = 0.5 * (float(a.mean()) + float(b.mean()))
    a0, b0 = a - level, b - level
    mean_a, mean_b = window(a0), window(b0)
    variance_a = window(a0 * a0) - mean_a**2
    variance_b = window(b0 * b0) - mean_b**2
    covariance = window(a0 * b0) - mean_a * mean_b
    c1, c2 = (0.01 * data_range) ** 2, (0.03 * data_range) ** 2
    contrast = (2 * covariance + c2) / (variance_a + variance_b + c2)
    mean_a, mean_b = mean_a + level, mean_b + level
    luminance = (2 * mean_a * mean_b + c1) / (mean_a**2 + mean_b**2 + c1)
    return float(np.mean(luminance * contrast)), float(np.mean(contrast))

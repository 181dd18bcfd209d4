"""The universal image quality index, from which SSIM came."""

from __future__ import annotations

from typing import Final

import numpy as np
from numpy.typing import ArrayLike

from everhart.metrics._pair import Float, frame_pairs
from everhart.micrograph import Micrograph

__all__ = ["uiq"]

_WINDOW: Final = 8
_ROUNDING: Final = 1e-13  # variance below this share of the squared grey levels is none


def uiq(image: Micrograph | ArrayLike, reference: Micrograph | ArrayLike) -> float:
    """Return the universal image quality index.

    Correlation, nearness of the means and nearness of the contrasts, multiplied,
    ``Q = 4 s_xy m_x m_y / ((s_x^2 + s_y^2) (m_x^2 + m_y^2))``, in every window of 8 x 8 pixels
    that lies inside of the image, and the mean over these [1]_.

    Parameters
    ----------
    image, reference
        Images of shape ``(H, W)``, at least 8 x 8, or stacks ``(N, H, W)``, over whose frames
        the mean is taken.

    Returns
    -------
    float
        Between -1 and 1; 1 for equal images. Symmetric, and the same when both images are
        multiplied by one number; it needs no data range. It does change with a common offset.

    Raises
    ------
    UsageError
        If the shapes differ or an image is too small.

    Notes
    -----
    Where both windows are constant only the means are compared, and where both are 0 Q is 1, as
    in the program of [1]_. Where the reference is flat and the image is not, Q is 0 however weak
    the noise: an image with large empty parts has a low index unless these are equal. That is
    what the constants of SSIM were made for.

    References
    ----------
    .. [1] Z. Wang, A. C. Bovik, "A universal image quality index", IEEE Signal Processing Letters
       9 (2002), 81-84, eq. 1.

    Examples
    --------
    >>> image = np.add.outer(np.arange(16.0), np.arange(16.0))
    >>> uiq(image, image)
    1.0
    >>> round(uiq(2 * image, image), 2)  # means and contrasts at 2 to 1: (4/5)^2
    0.64
    """
    pairs = frame_pairs(
        image, reference, side=_WINDOW, why="the quality index has a window of 8 x 8 pixels"
    )
    return float(np.mean([_index(a, b) for a, b in pairs]))


def _index(a: Float, b: Float) -> float:
    # Variances are taken about a common level, lest E[a^2] - E[a]^2 lose the digits that matter;
    # a whole number, so that sums of whole grey levels stay exact.
    level = np.round(0.5 * (float(a.mean()) + float(b.mean())))
    a0, b0 = a - level, b - level
    mean_a, mean_b = _window(a0), _window(b0)
    covariance = _window(a0 * b0) - mean_a * mean_b
    power = _window(a0 * a0 + b0 * b0)
    variances = power - mean_a * mean_a - mean_b * mean_b
    flat = variances <= _ROUNDING * power
    mean_a += level
    mean_b += level
    means = mean_a * mean_a + mean_b * mean_b
    black = means == 0
    luminance = np.where(black, 1.0, 2 * mean_a * mean_b / np.where(black, 1.0, means))
    structure = np.where(flat, 1.0, 2 * covariance / np.where(flat, 1.0, variances))
    return float(np.mean(luminance * structure))


def _window(values: Float) -> Float:
    """Return the means over all windows that lie inside of the image."""
    from scipy.ndimage import uniform_filter

    means = uniform_filter(values, _WINDOW, mode="nearest")
    before, after = _WINDOW // 2, _WINDOW - _WINDOW // 2 - 1
    return np.asarray(means[before : values.shape[0] - after, before : values.shape[1] - after])

"""Gradient fidelity: the gradient magnitude similarity deviation."""

from __future__ import annotations

from typing import Final

import numpy as np
from numpy.typing import ArrayLike

from everhart.metrics._blocks import binned
from everhart.metrics._pair import Float, checked_range, frame_pairs
from everhart.micrograph import Micrograph

__all__ = ["gmsd"]

_CONSTANT: Final = 170 / 255**2  # of gradients in a range of 1


def gmsd(
    image: Micrograph | ArrayLike, reference: Micrograph | ArrayLike, *, data_range: float
) -> float:
    """Return the gradient magnitude similarity deviation.

    Both images are averaged over 2 x 2 pixels; their gradient magnitudes ``g`` (Prewitt) are
    compared pixel by pixel by ``(2 g_a g_b + c) / (g_a^2 + g_b^2 + c)``, and the standard
    deviation of that map over the image is the figure [1]_. ``c = 170`` for 8 bit, scaled with the
    square of the data range.

    Parameters
    ----------
    image, reference
        Images of shape ``(H, W)``, at least 4 x 4, or stacks ``(N, H, W)``, over whose frames
        the mean is taken.
    data_range
        Distance from black to white, in grey levels.

    Returns
    -------
    float
        From 0, for equal gradients, to 0.5; the lower the better. Symmetric, and the same for every
        offset of either image.

    Raises
    ------
    UsageError
        If the shapes differ, an image is too small, or the data range is not positive.

    Notes
    -----
    A deviation sees what is wrong in some places and right in others. An error that is
    the same everywhere, as of white noise over an image without structure, changes the mean of the
    map and hardly its deviation: of two very noisy images the noisier can have the lower figure.
    Gradients see the border repeated, while the authors' program sees black around the image.

    References
    ----------
    .. [1] W. Xue, L. Zhang, X. Mou, A. C. Bovik, "Gradient magnitude similarity deviation: a
       highly efficient perceptual image quality index", IEEE Transactions on Image Processing
       23 (2014), 684-695, eq. 1 to 6.

    Examples
    --------
    >>> image = np.kron(np.eye(4), np.ones((16, 16)))
    >>> gmsd(image, image + 3, data_range=1)
    0.0
    """
    constant = _CONSTANT * checked_range(data_range) ** 2
    results = []
    for a, b in frame_pairs(image, reference, side=4, why="GMSD needs 4 x 4 of them"):
        slope_a, slope_b = _prewitt(binned(a, 2)), _prewitt(binned(b, 2))
        top = 2 * slope_a * slope_b + constant
        results.append(float(np.std(top / (slope_a**2 + slope_b**2 + constant))))
    return float(np.mean(results))


def _prewitt(image: Float) -> Float:
    """Return the gradient magnitude in the paper's unit: grey levels over two pixels."""
    from scipy.ndimage import correlate1d

    def along(axis: int) -> Float:
        slope = correlate1d(image, [-1.0, 0.0, 1.0], axis, mode="nearest")
        return np.asarray(correlate1d(slope, [1 / 3, 1 / 3, 1 / 3], 1 - axis, mode="nearest"))

    return np.asarray(np.hypot(along(0), along(1)))

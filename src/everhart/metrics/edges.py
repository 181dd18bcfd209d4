"""Edge fidelity: whether edges are where they should be, and as strong."""

from __future__ import annotations

import math
from typing import Final

import numpy as np
from numpy.typing import ArrayLike, NDArray

from everhart.errors import UsageError
from everhart.metrics._pair import Float, frame_pairs
from everhart.metrics.fidelity import affine_match
from everhart.micrograph import Micrograph

__all__ = ["edge_figure_of_merit", "edge_preservation_index", "figure_of_merit"]

Mask = NDArray[np.bool_]

_LOW_SHARE: Final = 0.5  # of Canny's lower threshold in the upper; he advises a half to a third


def figure_of_merit(edges: ArrayLike, true_edges: ArrayLike, *, alpha: float = 1 / 9) -> float:
    """Return Pratt's figure of merit of an edge map.

    ``sum over found edge pixels of 1 / (1 + alpha d^2)``, with ``d`` the distance in pixels to the
    nearest true one, over the number of edge pixels in the map that has more of them [1]_. Missing,
    displaced and made-up edges all lower it.

    Parameters
    ----------
    edges, true_edges
        Maps of edge pixels, bool ``(H, W)``.
    alpha
        Price of a displacement, per squared pixel. With the paper's 1/9 an edge that is 3 px off
        counts half.

    Returns
    -------
    float
        Between 0 and 1; 1 for equal maps, and if neither has an edge. Not symmetric.

    Raises
    ------
    UsageError
        If the shapes differ, are not two-dimensional, or alpha is negative.

    References
    ----------
    .. [1] I. E. Abdou, W. K. Pratt, "Quantitative design and evaluation of enhancement/
       thresholding edge detectors", Proceedings of the IEEE 67 (1979), 753-763.

    Examples
    --------
    >>> true, found = np.zeros((2, 8, 8), bool)
    >>> true[:, 2], found[:, 5] = True, True
    >>> figure_of_merit(found, true)  # 3 px off: 1 / (1 + 9/9)
    0.5
    """
    from scipy.ndimage import distance_transform_edt

    found, true = np.asarray(edges, bool), np.asarray(true_edges, bool)
    if found.shape != true.shape or found.ndim != 2 or not alpha >= 0:
        raise UsageError(
            f"Edge maps of shape {found.shape} and {true.shape} and alpha = {alpha} were given: "
            "two maps of one shape (height, width) and 0 or more are allowed."
        )
    most = max(int(found.sum()), int(true.sum()))
    if most == 0:
        return 1.0
    if not (found.any() and true.any()):
        return 0.0
    distance = np.asarray(distance_transform_edt(~true))[found]
    return float(np.sum(1 / (1 + alpha * distance**2)) / most)


def edge_figure_of_merit(
    image: Micrograph | ArrayLike, reference: Micrograph | ArrayLike, *, sigma_px: float = 1.5
) -> float:
    """Return Pratt's figure of merit of the edges of an image against those of its reference.

    Edges are Canny's [2]_: ridges of the Gaussian gradient with hysteresis. The upper threshold
    is Otsu's of the reference's gradients along its ridges, the lower half of it, and both
    images are held to the same: faded edges are missed, and the noise of an image does not
    raise its threshold. Contrast and brightness do not count: the image is first matched to the
    reference by the gain that fits best after the smoothing.

    Parameters
    ----------
    image, reference
        Images of shape ``(H, W)``, at least 8 x 8, or stacks ``(N, H, W)``, over whose frames the
        mean is taken.
    sigma_px
        Standard deviation of the Gaussian whose gradient is taken.

    Returns
    -------
    float
        Between 0 and 1; 1 for equal images. Not symmetric. NaN where the reference is constant.

    Raises
    ------
    UsageError
        If the shapes differ, an image is too small or not finite, or `sigma_px` is not positive.

    See Also
    --------
    figure_of_merit : the same of two edge maps, from another detector.

    Notes
    -----
    A reference that is itself noisy has edges of noise where the specimen has none of its own;
    its figure is then low for every good picture.

    References
    ----------
    .. [1] I. E. Abdou, W. K. Pratt, "Quantitative design and evaluation of enhancement/
       thresholding edge detectors", Proceedings of the IEEE 67 (1979), 753-763.
    .. [2] J. Canny, "A computational approach to edge detection", IEEE Transactions on Pattern
       Analysis and Machine Intelligence 8 (1986), 679-698.

    Examples
    --------
    >>> image = np.kron(np.eye(4), np.ones((16, 16)))
    >>> edge_figure_of_merit(0.5 * image + 7, image)
    1.0
    """
    if not sigma_px > 0:
        raise UsageError(f"sigma_px = {sigma_px} was given: it is a length in pixels above 0.")
    pairs = frame_pairs(image, reference, side=8, why="edges are compared in 8 x 8 of them")
    return float(np.mean([_merit(a, b, sigma_px) for a, b in pairs]))


def edge_preservation_index(
    image: Micrograph | ArrayLike, reference: Micrograph | ArrayLike
) -> float:
    """Return the edge preservation index: the correlation of both images' Laplacians.

    The Laplacian of 3 x 3 pixels, and the Pearson correlation of what it gives over the
    image [1]_.

    Parameters
    ----------
    image, reference
        Images of shape ``(H, W)``, at least 3 x 3, or stacks ``(N, H, W)``, over whose frames the
        mean is taken.

    Returns
    -------
    float
        Between -1 and 1; 1 for equal images. Symmetric, and the same for every offset and
        positive gain of either image. NaN where a Laplacian is constant.

    Raises
    ------
    UsageError
        If the shapes differ or an image is too small.

    Notes
    -----
    The Laplacian weighs frequencies by their square, so of all metrics here this one sees most of
    the finest detail, and of noise: the noise of a reference that is not clean bounds what any
    picture can reach.

    References
    ----------
    .. [1] F. Sattar, L. Floreby, G. Salomonsson, B. Lovstrom, "Image enhancement based on a
       nonlinear multiscale method", IEEE Transactions on Image Processing 6 (1997), 888-895.

    Examples
    --------
    >>> image = np.kron(np.eye(4), np.ones((16, 16)))
    >>> round(edge_preservation_index(0.5 * image + 7, image), 6)
    1.0
    """
    results = []
    for a, b in frame_pairs(image, reference, side=3, why="a Laplacian has 3 x 3 of them"):
        laplacian_a, laplacian_b = _laplacian(a), _laplacian(b)
        norms = [float(np.linalg.norm(x)) for x in (laplacian_a, laplacian_b)]
        # The Laplacian of a ramp is not 0 but the rounding of its sums.
        least = [1e-12 * float(np.abs(x).max()) * math.sqrt(x.size) for x in (a, b)]
        if norms[0] > least[0] and norms[1] > least[1]:
            results.append(float(np.vdot(laplacian_a, laplacian_b)) / (norms[0] * norms[1]))
        else:
            results.append(math.nan)
    return float(np.mean(results))


def _laplacian(image: Float) -> Float:
    """Return the Laplacian less its mean, where it lies inside of the image."""
    inner = -4 * image[1:-1, 1:-1]
    inner += image[:-2, 1:-1]
    inner += image[2:, 1:-1]
    inner += image[1:-1, :-2]
    inner += image[1:-1, 2:]
    return np.asarray(inner - inner.mean())


def _merit(a: Float, b: Float, sigma_px: float) -> float:
    from scipy.ndimage import gaussian_filter

    if not (np.isfinite(a).all() and np.isfinite(b).all()):
        raise UsageError(
            "An image with values that are not finite was given: replace them before edges are "
            "looked for."
        )
    if np.ptp(b) == 0:
        return math.nan
    calm_a, calm_b = (gaussian_filter(x, sigma_px, mode="nearest") for x in (a, b))
    gain, _ = affine_match(calm_a, calm_b)
    edges_b, threshold = _canny(calm_b, None)
    edges_a, _ = _canny(gain * calm_a, threshold)
    return figure_of_merit(edges_a, edges_b)


def _canny(calm: Float, threshold: float | None) -> tuple[Mask, float]:
    """Return Canny's edges of a smoothed image, and the upper threshold; found if None."""
    import cv2
    from skimage.filters import threshold_otsu

    slopes = np.gradient(calm)
    steepest = max(float(np.abs(slope).max()) for slope in slopes)
    if steepest == 0:
        return np.zeros(calm.shape, bool), threshold or 0.0
    # OpenCV takes 16-bit gradients, whose squares it adds up in 32 bits.
    unit = steepest / 16_000
    dy, dx = (np.rint(slope / unit).astype(np.int16) for slope in slopes)
    if threshold is None:
        ridges = cv2.Canny(dx, dy, 0, 0, L2gradient=True) > 0
        heights = np.append(np.hypot(slopes[0][ridges], slopes[1][ridges]), 0.0)
        high = heights > threshold_otsu(heights)  # type: ignore[no-untyped-call]
        # Otsu's threshold is half-way between the means of its classes, and anywhere in
        # the gap where there is one; half-way is a noise-proof place in it.
        threshold = float(heights[high].mean() + heights[~high].mean()) / 2
    limits = (_LOW_SHARE * threshold / unit, threshold / unit)
    return cv2.Canny(dx, dy, *limits, L2gradient=True) > 0, threshold

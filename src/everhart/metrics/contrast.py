"""Contrast to noise between two regions, given or found."""

from __future__ import annotations

import math
from typing import Final

import numpy as np
from numpy.typing import ArrayLike, NDArray

from everhart.errors import EverhartError, UsageError
from everhart.micrograph import Micrograph, field_of

__all__ = ["cnr", "contrast_regions"]

_SMALLEST_PX: Final = 64  # of a region: its standard deviation is then known to 9 %


def cnr(
    image: Micrograph | ArrayLike,
    first: ArrayLike | None = None,
    second: ArrayLike | None = None,
    *,
    reference: Micrograph | ArrayLike | None = None,
) -> float:
    """Return the contrast-to-noise ratio between two regions.

    The difference of the regions' means over the root mean of their variances,
    ``|m_1 - m_2| / sqrt((s_1^2 + s_2^2) / 2)``: the detectability index ``d'`` of a pixel [1]_.
    With the same noise in both it is the usual contrast over sigma.

    Parameters
    ----------
    image
        One image of shape ``(H, W)``.
    first, second
        Masks of the two regions, bool ``(H, W)``. Leave both out to have them found.
    reference
        Image in which :func:`contrast_regions` finds the regions where no masks are given;
        give the same for all images that are to be compared.

    Returns
    -------
    float
        0 or more; the same for every gain and offset. Infinite for two regions
        without any noise, NaN if their means are equal too.

    Raises
    ------
    UsageError
        If neither two masks nor a reference is given, or shapes do not fit, or a mask is empty.
    EverhartError
        If the reference has no two regions.

    Notes
    -----
    What varies within a region is taken for noise: shading and texture of the
    specimen too. Blur raises the ratio, and the removal of a faint defect does: it says how
    calm planes are, and nothing of what was lost. Read it beside a metric of edges.

    References
    ----------
    .. [1] H. H. Barrett and K. J. Myers, "Foundations of Image Science", Wiley (2004), section
       13.2: signal-to-noise ratio of a test statistic.

    Examples
    --------
    >>> rng = np.random.default_rng(0)
    >>> bright = np.repeat([False, True], 64) * np.ones((64, 1), bool)
    >>> image = 3.0 * bright + rng.normal(size=bright.shape)
    >>> round(cnr(image, bright, ~bright), 1)
    3.0
    >>> round(cnr(image, reference=bright), 1)
    3.0
    """
    pixels = np.asarray(field_of(image), np.float64)
    if first is None and second is None and reference is not None:
        first, second = contrast_regions(reference)
    if first is None or second is None:
        raise UsageError(
            "cnr was given no two regions: give the masks of both, or a reference in which they "
            "are found."
        )
    means, variances = [], []
    for mask in (np.asarray(first, bool), np.asarray(second, bool)):
        if mask.shape != pixels.shape:
            raise UsageError(
                f"A region of shape {mask.shape} was given for an image of {pixels.shape}: a mask "
                "has the height and width of one image (without its data bar)."
            )
        if not mask.any():
            raise UsageError("An empty region was given: each must have pixels.")
        values = pixels[mask]
        one_level = np.ptp(values) == 0  # whose mean and variance would be off by a rounding
        means.append(float(values[0] if one_level else values.mean()))
        variances.append(0.0 if one_level else float(values.var()))
    contrast = abs(means[0] - means[1])
    noise = math.sqrt((variances[0] + variances[1]) / 2)
    if noise == 0:
        return math.inf if contrast > 0 else math.nan
    return contrast / noise


def contrast_regions(
    reference: Micrograph | ArrayLike, *, smoothing_px: float = 2.0, margin_px: int = 4
) -> tuple[NDArray[np.bool_], NDArray[np.bool_]]:
    """Find the dark and the bright region of an image.

    The image is smoothed with a Gaussian, so that its noise does not decide, and split in
    two at the threshold of Otsu [1]_; both classes then lose their outermost pixels, so that no
    edge is in them, sharp or blurred.

    Parameters
    ----------
    reference
        One image of shape ``(H, W)``, the cleanest there is.
    smoothing_px
        Standard deviation of the Gaussian; 0 for none.
    margin_px
        Pixels by which the classes are eroded: what is nearer to the other class is left out.

    Returns
    -------
    dark, bright : ndarray
        Masks of shape ``(H, W)``, of 64 pixels or more each.

    Raises
    ------
    UsageError
        If a stack is given or values that are not finite, or a length is negative.
    EverhartError
        If no two regions are left: the image is constant, or all structure of one class is
        finer than twice the margin.

    References
    ----------
    .. [1] N. Otsu, "A threshold selection method from gray-level histograms", IEEE Transactions
       on Systems, Man, and Cybernetics 9 (1979), 62-66.

    Examples
    --------
    >>> dark, bright = contrast_regions(np.repeat([5.0, 9.0], 32) * np.ones((64, 1)))
    >>> int(dark.sum()) // 64, int(bright.sum()) // 64
    (28, 28)
    """
    from scipy.ndimage import distance_transform_cdt, gaussian_filter
    from skimage.filters import threshold_otsu

    pixels = np.asarray(field_of(reference), np.float64)
    if pixels.ndim != 2 or not np.isfinite(pixels).all():
        raise UsageError(
            f"An array of shape {pixels.shape} was given: one image (height, width) of finite "
            "grey levels is allowed."
        )
    if smoothing_px < 0 or margin_px < 0:
        raise UsageError(
            f"A smoothing of {smoothing_px} px and a margin of {margin_px} px were given: neither "
            "is negative."
        )
    calm = gaussian_filter(pixels, smoothing_px, mode="nearest")
    regions = []
    if np.ptp(pixels) > 0:
        bright = calm > threshold_otsu(calm)  # type: ignore[no-untyped-call]
        for mask in (~bright, bright):
            far = distance_transform_cdt(mask, "chessboard") > margin_px if mask.any() else mask
            regions.append(np.asarray(far & mask, bool))
    if not regions or min(int(mask.sum()) for mask in regions) < _SMALLEST_PX:
        raise EverhartError(
            "The reference has no two regions: after a threshold and the erosion of both classes "
            f"by {margin_px} px one of them has fewer than {_SMALLEST_PX} pixels; give two masks, "
            "or a smaller margin_px."
        )
    return regions[0], regions[1]

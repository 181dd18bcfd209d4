"""FSIM: similarity of the features that phase congruency finds, and of the gradients."""

from __future__ import annotations

from typing import Final

import numpy as np
from numpy.typing import ArrayLike

from everhart.errors import UsageError
from everhart.metrics._blocks import binned
from everhart.metrics._pair import Float, checked_range, frame_pairs
from everhart.metrics.phase_congruency import phase_congruency
from everhart.micrograph import Micrograph

__all__ = ["fsim", "fsim_binning"]

_T1: Final = 0.85
_T2: Final = 160 / 255**2  # of gradients in a range of 1
_SIDE_PX: Final = 256  # to which the shorter side is averaged


def fsim_binning(shape: tuple[int, ...]) -> int:
    """Return the pixels a side that :func:`fsim` averages for an image of this shape.

    Parameters
    ----------
    shape
        ``(..., H, W)``.

    Returns
    -------
    int
        The shorter side over 256, rounded, at least 1.

    Examples
    --------
    >>> fsim_binning((2048, 3072))
    8
    """
    return max(1, int(min(shape[-2:]) / _SIDE_PX + 0.5))


def fsim(
    image: Micrograph | ArrayLike,
    reference: Micrograph | ArrayLike,
    *,
    data_range: float,
    binning: int | None = None,
) -> float:
    """Return the feature similarity index of grey images.

    The similarities of phase congruency and of gradient magnitude (Scharr), multiplied, and
    averaged with the larger phase congruency of both images as weight [1]_. Constants of the
    paper: ``T1 = 0.85``, and ``T2 = 160`` for 8 bit, scaled with the square of the data range.

    Parameters
    ----------
    image, reference
        Images of shape ``(H, W)``, or stacks ``(N, H, W)``, over whose frames the mean is
        taken.
    data_range
        Distance from black to white, in grey levels.
    binning
        Pixels a side that are averaged into one first. None for the paper's rule
        (:func:`fsim_binning`): an image of 2048 x 3072 is judged at 256 x 384, as an eye sees it
        whole, and what is finer than 8 pixels is not seen. 1 for full resolution.

    Returns
    -------
    float
        Above 0; 1 for equal images. Symmetric. NaN where neither image has a feature that
        stands above its noise.

    Raises
    ------
    UsageError
        If the shapes differ, the data range or binning is not positive, or fewer than 8 x 8 pixels
        are left after binning.

    See Also
    --------
    everhart.metrics.phase_congruency : the features.

    Notes
    -----
    Two differences from the program of the authors: blocks are averaged as they tile the image
    (theirs are half a block off), and gradients see the border repeated (theirs see black around
    the image, an edge of its own).

    References
    ----------
    .. [1] L. Zhang, L. Zhang, X. Mou, D. Zhang, "FSIM: a feature similarity index for image
       quality assessment", IEEE Transactions on Image Processing 20 (2011), 2378-2386,
       section III.

    Examples
    --------
    >>> image = np.kron(np.eye(4), np.ones((16, 16)))
    >>> fsim(image, image, data_range=1)
    1.0
    """
    value_range = checked_range(data_range)
    if binning is not None and binning < 1:
        raise UsageError(f"A binning of {binning} was given: it is 1 or more pixels a side.")
    side = 8 * (binning or 1)
    pairs = frame_pairs(image, reference, side=side, why=f"FSIM needs {side} x {side} of them")
    results = []
    for a, b in pairs:
        factor = binning or fsim_binning(a.shape)
        results.append(_similarity(binned(a, factor), binned(b, factor), value_range))
    return float(np.mean(results))


def _similarity(a: Float, b: Float, data_range: float) -> float:
    features_a, features_b = phase_congruency(a), phase_congruency(b)
    weight = np.maximum(features_a, features_b)
    total = float(weight.sum(dtype=np.float64))
    if total == 0:
        return float("nan")
    similarity = _ratio(features_a, features_b, _T1)
    similarity *= _ratio(_scharr(a), _scharr(b), _T2 * data_range**2)
    return float((similarity * weight).sum(dtype=np.float64)) / total


def _ratio(x: np.ndarray, y: np.ndarray, constant: float) -> Float:
    return np.asarray((2 * x * y + constant) / (x * x + y * y + constant), np.float64)


def _scharr(image: Float) -> Float:
    """Return the gradient magnitude, in grey levels per pixel."""
    from scipy.ndimage import correlate1d

    def along(axis: int) -> Float:
        # Half of the difference over two pixels, hence per pixel.
        slope = correlate1d(image, [-0.5, 0.0, 0.5], axis, mode="nearest")
        return np.asarray(correlate1d(slope, [3 / 8, 10 / 8, 3 / 8], 1 - axis, mode="nearest"))

    return np.asarray(np.hypot(along(0), along(1)))

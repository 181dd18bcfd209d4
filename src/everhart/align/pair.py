"""Laying a clean image on its noisy partner, with the drift during the scan."""

from __future__ import annotations

from typing import Literal

import numpy as np
from numpy.typing import NDArray

from everhart.align.moving import common_margin
from everhart.align.phase import estimate_shift
from everhart.errors import UsageError
from everhart.micrograph import Array, Micrograph, field_of

__all__ = ["register_pair"]


def register_pair(
    noisy: Micrograph | Array,
    clean: Micrograph | Array,
    *,
    model: Literal["shift", "affine"] = "affine",
    max_shift_px: float = 40.0,
) -> tuple[NDArray[np.float32], NDArray[np.float32], NDArray[np.float64]]:
    """Lay a clean image on its noisy partner and cut what they do not share.

    The clean image is moved, never the noisy one: interpolation would change the noise.
    A slow scan and a quick one of one field differ by more than a shift: the specimen
    drifts while the slow one is taken, which shears and stretches it. On the real pairs of
    100 ns against 30 us dwell the stretch is 0.5 %, more than a pixel at the border.

    Parameters
    ----------
    noisy, clean
        Images of one field of view, of the same shape ``(H, W)``.
    model
        ``"shift"``, or ``"affine"`` for drift during the scan, by maximising the
        enhanced correlation coefficient [1]_ from the shift on; the shift is kept where
        that does not converge, finds a distortion beyond 5 %, or moves the centre of the image
        by more than `max_shift_px`.
    max_shift_px
        Largest shift in either direction to look for.

    Returns
    -------
    noisy, clean
        float32 arrays of the same shape, smaller than the input by the displacement.
    matrix
        ``(2, 3)``: a pixel ``(y, x)`` of `noisy` shows what `clean` has at
        ``matrix @ (y, x, 1)``.

    Raises
    ------
    UsageError
        As :func:`estimate_shift`, or if the images share no pixel once they are registered.

    References
    ----------
    .. [1] G. D. Evangelidis, E. Z. Psarakis, "Parametric image alignment using enhanced
       correlation coefficient maximization", IEEE TPAMI 30 (2008), 1858-1865.
    """
    from scipy.ndimage import affine_transform

    fixed = np.asarray(field_of(noisy), np.float32)
    moving = np.asarray(field_of(clean), np.float32)
    shift = estimate_shift(moving, fixed, max_shift_px=max_shift_px)
    matrix = np.array([[1.0, 0.0, -shift[0]], [0.0, 1.0, -shift[1]]])
    if model == "affine":
        matrix = _refine_affine(fixed, moving, matrix, max_shift_px)
    moved = affine_transform(moving, matrix[:, :2], matrix[:, 2], order=3, mode="nearest")
    corners = np.array([[y, x, 1.0] for y in (0, fixed.shape[0]) for x in (0, fixed.shape[1])])
    reach = np.abs(corners @ matrix.T - corners[:, :2]).max(axis=0)
    rows, columns = common_margin((float(reach[0]), float(reach[1])))
    if fixed[rows, columns].size == 0:
        raise UsageError(
            f"Images of {fixed.shape[0]} x {fixed.shape[1]} pixels were given that lie "
            f"{reach[0]:.1f} and {reach[1]:.1f} pixels apart: nothing of them is shared; give "
            "larger images or a smaller max_shift_px."
        )
    return fixed[rows, columns], moved[rows, columns], matrix


def _refine_affine(
    fixed: Array, moving: Array, start: Array, max_shift_px: float
) -> NDArray[np.float64]:
    """Refine a shift to an affine map by ECC on lightly blurred images."""
    import cv2

    def blurred(image: Array) -> Array:
        return cv2.GaussianBlur(image, (0, 0), 2.0)

    swap = np.ix_([1, 0], [1, 0, 2])  # OpenCV's maps are (x, y)
    stop = (cv2.TERM_CRITERIA_EPS | cv2.TERM_CRITERIA_COUNT, 200, 1e-6)
    try:
        _, found = cv2.findTransformECC(
            blurred(fixed), blurred(moving), start[swap].astype(np.float32), cv2.MOTION_AFFINE, stop
        )
    except cv2.error:  # no convergence: images of nothing, or of two fields
        return start
    refined = np.asarray(found, np.float64)[swap]
    if np.abs(refined[:, :2] - np.eye(2)).max() > 0.05:
        return start
    # On a lattice, or on noise, the ascent may wander off by periods.
    centre = (np.array(fixed.shape) - 1) / 2
    if np.abs(refined @ (*centre, 1.0) - centre).max() > max_shift_px:
        return start
    return refined

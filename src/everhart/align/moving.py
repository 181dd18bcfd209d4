"""Moving an image, and what is left when two of them are laid on each other."""

from __future__ import annotations

import numpy as np

from everhart.micrograph import ImageT, field_of, like

__all__ = ["common_margin", "shift_image"]


def shift_image(image: ImageT, shift_px: tuple[float, float]) -> ImageT:
    """Move an image by a fraction of a pixel, by cubic splines.

    Parameters
    ----------
    image
        Image or stack; a stack's frames are all moved by the same shift.
    shift_px
        ``(dy, dx)`` in pixels; content moves towards larger indices for positive values.

    Returns
    -------
    Micrograph or ndarray
        float32 for integer input. Rows and columns that came from outside of the image
        repeat its edge; see :func:`common_margin`.
    """
    from scipy.ndimage import shift as spline_shift

    pixels = field_of(image)
    dtype = pixels.dtype if pixels.dtype.kind == "f" else np.float32
    offsets = (0.0,) * (pixels.ndim - 2) + tuple(shift_px)
    moved = spline_shift(pixels.astype(dtype), offsets, order=3, mode="nearest")
    return like(image, moved, "shift", {"shift_px": [float(s) for s in shift_px]})


def common_margin(shift_px: tuple[float, float], extra_px: int = 2) -> tuple[slice, slice]:
    """Return the slices of the part that two images share after a shift.

    Parameters
    ----------
    shift_px
        ``(dy, dx)`` in pixels by which one of them was moved.
    extra_px
        Rows and columns to cut on every side beyond the shift, for the spline's support.

    Returns
    -------
    tuple of slice
        For rows and for columns; the same margin on both sides, so that the field stays
        centred.
    """
    margins = [int(np.ceil(abs(s))) + extra_px for s in shift_px]
    return slice(margins[0], -margins[0] or None), slice(margins[1], -margins[1] or None)

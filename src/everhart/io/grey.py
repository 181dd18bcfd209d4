"""One grey plane out of whatever bands a file stores."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, TypedDict

import numpy as np
from numpy.typing import NDArray

from everhart.errors import FileFormatError
from everhart.io.warning import warn

__all__ = ["PlaneLayout", "array_layout", "bands_to_grey", "palette_to_grey"]

Array = NDArray[Any]

# ITU-R BT.601, as Pillow and OpenCV weigh red, green and blue.
_LUMINANCE = (0.299, 0.587, 0.114)

# JPEG stores colour differences with less precision than brightness: grey images come back
# with bands that differ by a level or two.
_SAME_GREY = {1: 3, 2: 3 * 257}


class PlaneLayout(TypedDict):
    """What an array's axes are: arguments of :meth:`everhart.io.Limits.check`."""

    frames: int
    height: int
    width: int
    bands: int


def array_layout(path: Path, shape: Sequence[int]) -> PlaneLayout:
    """Say what the axes of a bare array are.

    Parameters
    ----------
    path
        The file, for the error.
    shape
        ``(H, W)``, ``(N, H, W)``, or ``(H, W, B)`` with 1, 3 or 4 bands where the other
        two axes are longer than 4.

    Returns
    -------
    PlaneLayout
        The numbers of frames, rows, columns and bands.

    Raises
    ------
    FileFormatError
        If the array is empty or has another number of axes.
    """
    if all(n > 0 for n in shape):
        if len(shape) == 2:
            return PlaneLayout(frames=1, height=shape[0], width=shape[1], bands=1)
        if len(shape) == 3 and shape[2] in (1, 3, 4) and min(shape[:2]) > 4:
            return PlaneLayout(frames=1, height=shape[0], width=shape[1], bands=shape[2])
        if len(shape) == 3:
            return PlaneLayout(frames=shape[0], height=shape[1], width=shape[2], bands=1)
    raise FileFormatError(
        f"{path} holds an array of shape {tuple(shape)}: (height, width), (frames, height, width) "
        "and (height, width, 3 or 4 bands) are read, none of them empty."
    )


def bands_to_grey(path: Path, pixels: Array, *, drawn_rows: int = 0) -> Array:
    """Make grey pixels out of bands.

    Parameters
    ----------
    path
        The file, for the warning.
    pixels
        Array of shape ``(..., H, W, B)``: grey (1 band), grey and alpha (2), RGB (3) or RGBA
        (4). Alpha is left out.
    drawn_rows
        Rows at the bottom that are a data bar: colour there is no reason to warn.

    Returns
    -------
    ndarray
        Shape ``(..., H, W)``, the same dtype: the band itself where red, green and blue are
        the same, else the luminance (ITU-R BT.601) with a warning.

    Raises
    ------
    FileFormatError
        If there are more than four bands.
    """
    bands = pixels.shape[-1]
    if bands <= 2:
        return np.ascontiguousarray(pixels[..., 0])
    if bands > 4:
        raise FileFormatError(
            f"{path} holds {bands} bands a pixel: grey, grey with alpha, RGB and RGBA are read; "
            "export one band as a grey image."
        )
    red, green, blue = (pixels[..., band] for band in range(3))
    if np.array_equal(red, green) and np.array_equal(green, blue):
        return np.ascontiguousarray(red)
    field = slice(0, pixels.shape[-3] - drawn_rows)
    coloured = _coloured_part(*(band[..., field, :] for band in (red, green, blue)))
    if coloured > 0:
        percent = "all" if coloured == 1 else f"{max(100 * coloured, 0.1):.2g} %"
        warn(path, f"has colour in {percent} of its pixels; converted to luminance (BT.601)")
    # float32 would round 32-bit levels
    wide = np.float32 if pixels.dtype.itemsize <= 2 else np.float64
    weights = np.array(_LUMINANCE, wide)
    grey = red * weights[0] + green * weights[1] + blue * weights[2]
    if pixels.dtype.kind in "ui":
        limits = np.iinfo(pixels.dtype)
        grey = np.clip(np.rint(grey), limits.min, limits.max)
    elif pixels.dtype.kind == "b":
        grey = grey >= 0.5
    return np.asarray(grey).astype(pixels.dtype)


def _coloured_part(red: Array, green: Array, blue: Array) -> float:
    """Return the part of the pixels whose bands differ by more than JPEG makes of grey."""
    allowed = _SAME_GREY.get(red.dtype.itemsize, 0) if red.dtype.kind == "u" else 0
    high = np.maximum(np.maximum(red, green), blue)
    low = np.minimum(np.minimum(red, green), blue)
    return float(np.mean(high - low > allowed)) if allowed else float(np.mean(high != low))


def palette_to_grey(path: Path, indices: Array, palette: Array) -> Array:
    """Look up the grey levels of a palette image.

    Parameters
    ----------
    path
        The file, for the warning.
    indices
        Array of shape ``(..., H, W)`` of unsigned integers.
    palette
        Shape ``(entries, 3)``, uint8 or uint16.

    Returns
    -------
    ndarray
        Shape ``(..., H, W)``, dtype of the palette.

    Raises
    ------
    FileFormatError
        If a pixel points beyond the palette.
    """
    if palette.shape[0] == 0 or int(indices.max()) >= palette.shape[0]:
        raise FileFormatError(f"{path} is broken: pixels point beyond its palette.")
    used = np.zeros(palette.shape[0], bool)
    used[np.unique(indices)] = True
    # Only the entries in use decide whether the image is grey: programs keep annotation
    # colours in palettes of images that have none.
    grey = palette[:, 0].copy()
    grey[used] = bands_to_grey(path, palette[used][None])[0]
    return grey[indices]

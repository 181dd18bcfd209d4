"""Another dtype for the pixels of a micrograph, and never a scaling that nobody asked for."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import DTypeLike, NDArray

from everhart.errors import UsageError
from everhart.micrograph import Array, HistoryEntry, Micrograph

__all__ = ["SCALES", "Scale", "change_dtype", "grey_ends"]

SCALES = ("round", "minmax", "dtype")
"""Words for a scaling, beside two grey levels."""

Scale = str | tuple[float, float]


def change_dtype(image: Micrograph, dtype: DTypeLike, scale: Scale | None = None) -> Micrograph:
    """Give pixels another dtype.

    Parameters
    ----------
    image
        Image or stack.
    dtype
        An integer dtype of at most 32 bits, or a floating point one.
    scale
        None keeps all grey levels, and refuses a dtype that does not hold them exactly (of floats,
        to their precision). ``"round"`` keeps them too, but rounds to whole numbers. ``"minmax"``
        takes the smallest and the largest grey level of the field of view, ``"dtype"`` those
        that the old dtype has, ``(black, white)`` any two, to the ends of the new dtype (0 and
        1 of a float). What is beyond is clipped.

    Returns
    -------
    Micrograph
        With a history entry ``"scale"`` where grey levels were changed.

    Raises
    ------
    UsageError
        If the dtype does not hold the grey levels, or the scaling makes no sense.

    Examples
    --------
    >>> image = Micrograph(np.array([[0.0, 0.5], [0.25, 1.0]], np.float32))
    >>> change_dtype(image, "uint8", "minmax").pixels
    array([[  0, 128],
           [ 64, 255]], dtype=uint8)
    """
    wanted = np.dtype(dtype)
    if wanted.kind not in "uif" or (wanted.kind != "f" and wanted.itemsize > 4):
        raise UsageError(
            f"The dtype {wanted} was given: integers of 8 to 32 bits and floats are allowed."
        )
    if wanted.kind != "f" and image.dtype.kind == "f" and not np.isfinite(image.pixels).all():
        raise UsageError(
            f"The image has pixels that are NaN or infinite, which {wanted} cannot hold: keep a "
            "float, such as --dtype float32, or fill them first."
        )
    if scale is None:
        return _kept(image, wanted)
    if scale == "round":
        return _rounded(image, wanted)
    black, white = grey_ends(image, scale)
    low, high = (0.0, 1.0) if wanted.kind == "f" else _range(wanted)
    gain = (high - low) / (white - black)

    def scaled(pixels: Array) -> Array:
        levels = np.clip((pixels.astype(np.float64) - black) * gain + low, low, high)
        return levels if wanted.kind == "f" else np.rint(levels)

    said: dict[str, Any] = {"dtype": str(wanted), "from": [black, white], "to": [low, high]}
    return _with(image, _by_frame(image.pixels, wanted, scaled), said)


def _kept(image: Micrograph, wanted: np.dtype[Any]) -> Micrograph:
    """Change the dtype where every grey level stays what it is."""
    if image.dtype == wanted:
        return image
    pixels = image.pixels
    floats = pixels.dtype.kind == wanted.kind == "f"  # of fewer digits
    fits = True

    def kept(frame: Array) -> Array:
        nonlocal fits
        with np.errstate(over="ignore", invalid="ignore"):
            changed = frame.astype(wanted)
        same = np.isfinite(changed) == np.isfinite(frame) if floats else changed == frame
        fits = fits and bool(same.all())
        return changed

    changed = _by_frame(pixels, wanted, kept)
    if not fits:
        raise UsageError(
            f"Pixels of {pixels.dtype} from {np.nanmin(pixels):.6g} to {np.nanmax(pixels):.6g} do "
            f"not fit into {wanted} as they are: say how to scale them, with --scale minmax, "
            "--scale BLACK,WHITE, or --scale round to keep the grey levels as whole numbers."
        )
    return replace(image, pixels=changed)


def _rounded(image: Micrograph, wanted: np.dtype[Any]) -> Micrograph:
    if wanted.kind == "f":
        return _kept(image, wanted)
    smallest, largest = float(image.pixels.min()), float(image.pixels.max())
    low, high = _range(wanted)
    if np.rint(smallest) < low or np.rint(largest) > high:
        raise UsageError(
            f"Grey levels from {smallest:.6g} to {largest:.6g} were to be rounded to {wanted}, "
            f"which holds {low:.0f} to {high:.0f}: give --scale minmax or --scale BLACK,WHITE."
        )
    said = {"dtype": str(wanted), "scale": "round"}
    return _with(image, _by_frame(image.pixels, wanted, np.rint), said)


def grey_ends(image: Micrograph, scale: Scale) -> tuple[float, float]:
    """Return the grey levels that a scaling makes black and white.

    Parameters
    ----------
    image
        Image or stack.
    scale
        As of :func:`change_dtype`, but not ``"round"``.

    Returns
    -------
    tuple of float
        Black and white.

    Raises
    ------
    UsageError
        If there are none, or white is not above black.
    """
    if scale == "dtype":
        if image.dtype.kind == "b":
            return 0.0, 1.0
        if image.dtype.kind == "f":
            raise UsageError(
                f"The scale 'dtype' was given for pixels of {image.dtype}, which have no largest "
                "value: give --scale minmax, or --scale BLACK,WHITE."
            )
        return _range(image.dtype)
    if scale == "minmax":
        known = image.field_of_view[np.isfinite(image.field_of_view)]
        ends = (float(known.min()), float(known.max())) if known.size else (0.0, 0.0)
    elif isinstance(scale, tuple):
        ends = scale
    else:
        raise UsageError(f"The scale {scale!r} was given: give BLACK,WHITE or {', '.join(SCALES)}.")
    if not (np.isfinite(ends).all() and ends[0] < ends[1]):
        raise UsageError(
            f"A scale from {ends[0]:g} to {ends[1]:g} was given: black must be less than white; "
            "a constant image has nothing to scale."
        )
    return ends


def _range(dtype: np.dtype[Any]) -> tuple[float, float]:
    limits = np.iinfo(dtype)
    return float(limits.min), float(limits.max)


def _by_frame(
    pixels: Array, wanted: np.dtype[Any], change: Callable[[Array], Array]
) -> NDArray[Any]:
    """Change frames one by one: what is computed on the way is larger than the stack."""
    if pixels.ndim == 2:
        return change(pixels).astype(wanted, copy=False)
    changed = np.empty(pixels.shape, wanted)
    for number, frame in enumerate(pixels):
        changed[number] = change(frame)
    return changed


def _with(image: Micrograph, pixels: Array, said: dict[str, Any]) -> Micrograph:
    return replace(image, pixels=pixels, history=(*image.history, HistoryEntry("scale", said)))

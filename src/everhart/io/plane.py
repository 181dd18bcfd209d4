"""A single image that is larger than memory, read window by window."""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from everhart.errors import EverhartError, LimitError, UsageError
from everhart.io.limits import DEFAULT_LIMITS, Limits
from everhart.io.registry import format_to_read
from everhart.micrograph import Micrograph

__all__ = [
    "PLANE_LIMITS",
    "PlaneReader",
    "check_piece",
    "empty_plane",
    "mapped_plane",
    "open_plane",
]

PLANE_LIMITS = replace(DEFAULT_LIMITS, max_pixels_per_plane=1 << 38, max_decoded_bytes=1 << 42)
"""Limits for an image of which a window is decoded at a time; of its pieces see `open_plane`."""

_MOST_PIECE_BYTES = 256 << 20

Window = Callable[[slice, slice], NDArray[Any]]


@dataclass(frozen=True)
class PlaneReader:
    """An image that is read window by window.

    Parameters
    ----------
    described
        The image with all that is said of it; its pixels are those of the file if it is
        mapped, else zeros that take no memory.
    window
        Reads the pixels between rows and columns within the shape, in the image's dtype.
    close
        Gives back what is open.
    """

    described: Micrograph
    window: Window
    close: Callable[[], None] = lambda: None

    @property
    def shape(self) -> tuple[int, int]:
        """``(height, width)``, with the data bar."""
        height, width = self.described.shape
        return height, width


def empty_plane(shape: tuple[int, ...], dtype: np.dtype[Any]) -> NDArray[Any]:
    """Return zeros of any shape that take the memory of one."""
    return np.broadcast_to(np.zeros((), dtype), shape)


def check_piece(path: Path, nbytes: int) -> None:
    """Check the size of a tile, a strip or a chunk: it is decoded whole, whatever the window.

    Raises
    ------
    LimitError
        If it is larger than 256 MB.
    """
    if nbytes > _MOST_PIECE_BYTES:
        raise LimitError(
            f"{path} lies in pieces of {nbytes >> 20:,} MB, and {_MOST_PIECE_BYTES >> 20} MB are "
            "allowed where an image is read piece by piece: write it anew in smaller tiles."
        )


def open_plane(
    path: str | os.PathLike[str],
    *,
    pixel_size_nm: float | tuple[float, float] | None = None,
    limits: Limits = PLANE_LIMITS,
) -> PlaneReader:
    """Open an image of any size without reading it.

    Tiles and strips of a TIFF and chunks of a Zarr are decoded as they are asked for; what lies
    in its file as it is (plain TIFF, MRC, NPY and others) is mapped. All else is decoded
    at once, within the limits of :func:`everhart.io.read`.

    Parameters
    ----------
    path
        The file, or the folder of a Zarr.
    pixel_size_nm
        Pixel size in nm, or ``(y, x)``, in place of what the file says.
    limits
        What the header may claim.

    Returns
    -------
    PlaneReader
        The image. A data bar is known where the file tells of it; it is not looked for.

    Raises
    ------
    UsageError
        If there is no such file, or it holds a stack.
    FileFormatError
        If the file is broken, or holds no grey image.
    LimitError
        If it claims too much, or one tile or strip of it is too large.
    """
    path = Path(path)
    known = format_to_read(path)
    try:
        if known.plane is not None:
            reader = known.plane(path, limits)
        else:
            decoded = replace(limits, max_decoded_bytes=DEFAULT_LIMITS.max_decoded_bytes)
            reader = mapped_plane(known.read(path, decoded))
    except OSError as error:
        raise EverhartError(f"{path} cannot be read: {error.strerror or error}.") from error
    described = reader.described
    if described.ndim != 2:
        reader.close()
        raise UsageError(
            f"{path} holds a stack of {described.n_frames} frames: give a single image."
        )
    own = dict(described.metadata.get("everhart") or {})
    if pixel_size_nm is not None:
        own["pixel_size_source"] = "given"
        described = replace(described, pixel_size_nm=pixel_size_nm)  # type: ignore[arg-type]
    metadata = {**described.metadata, "everhart": {**own, "format": known.name}}
    return replace(reader, described=replace(described, metadata=metadata))


def mapped_plane(image: Micrograph) -> PlaneReader:
    """Offer windows of an image that is in memory or mapped."""
    return PlaneReader(image, lambda rows, columns: np.array(image.pixels[rows, columns]))

"""Large files without decoding them: mapped pixels, and frames read one at a time."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.lib.stride_tricks import as_strided
from numpy.typing import DTypeLike, NDArray

from everhart.errors import FileFormatError
from everhart.micrograph import HistoryEntry

__all__ = ["MAPPED_BYTES", "FrameReader", "check_length", "map_pixels"]

MAPPED_BYTES = 64 << 20
"""Pixels of more bytes stay in the file until they are used; fewer are read at once."""


@dataclass(frozen=True)
class FrameReader:
    """A stack whose frames are read one at a time.

    Parameters
    ----------
    shape
        ``(frames, height, width)``.
    dtype
        Native dtype of the pixels.
    frame
        Reads one frame ``(height, width)`` by its number from 0, writable and in `dtype`.
    close
        Gives back what is open.
    pixel_size_nm, metadata, data_bar_rows, history
        As of a :class:`~everhart.Micrograph`.
    """

    shape: tuple[int, int, int]
    dtype: np.dtype[Any]
    frame: Callable[[int], NDArray[Any]]
    close: Callable[[], None]
    pixel_size_nm: tuple[float, float] | None = None
    metadata: Mapping[str, Any] = field(default_factory=dict)
    data_bar_rows: int = 0
    history: tuple[HistoryEntry, ...] = ()


def map_pixels(
    path: Path,
    *,
    offset: int,
    shape: Sequence[int],
    dtype: DTypeLike,
    strides: Sequence[int] | None = None,
) -> NDArray[Any]:
    """Read pixels that lie uncompressed in a file; large native ones are mapped.

    A mapped array behaves like one in memory (it can be written to, and the file stays as it
    is), but its pages are read when they are used.

    Parameters
    ----------
    path
        The file.
    offset
        Byte at which the first pixel lies.
    shape
        Shape of the array.
    dtype
        Dtype in the file, of any byte order. Not in native order, it is converted, and so
        read at once whatever its size.
    strides
        Bytes from one element to the next along each axis, where they are not those of a
        contiguous array. Not negative.

    Returns
    -------
    ndarray
        Writable array in native byte order.

    Raises
    ------
    FileFormatError
        If the file ends before the last pixel, or there are no pixels.
    """
    dtype = np.dtype(dtype)
    shape = tuple(int(n) for n in shape)
    if min(shape, default=1) < 1:
        raise FileFormatError(
            f"{path} claims an image of {' x '.join(map(str, shape))} pixels, which is none: get "
            "the file again from its source."
        )
    if strides is None:
        strides = [dtype.itemsize * math.prod(shape[axis + 1 :]) for axis in range(len(shape))]
    # Python's integers, as a broken header's product may not fit into 64 bits.
    last = sum(int(step) * (n - 1) for step, n in zip(strides, shape, strict=True))
    end = int(offset) + last + dtype.itemsize
    check_length(path, int(offset), end)
    length = end - int(offset)
    if math.prod(shape) * dtype.itemsize > MAPPED_BYTES and dtype.isnative:
        raw: NDArray[Any] = np.memmap(path, np.uint8, "c", int(offset), (length,))
    else:
        raw = np.fromfile(path, np.uint8, count=length, offset=int(offset))
        if raw.size < length:
            raise FileFormatError(f"{path} became shorter while it was read: read it again.")
    view = as_strided(np.ndarray((1,), dtype, raw.data), shape, strides)
    if dtype.isnative and (raw.size == math.prod(shape) * dtype.itemsize or _is_map(raw)):
        return view
    return view.astype(dtype.newbyteorder("="))


def check_length(path: Path, offset: int, end: int) -> None:
    """Check that pixels which begin at byte `offset` and end before byte `end` are all there.

    Raises
    ------
    FileFormatError
        If the file is shorter.
    """
    size = path.stat().st_size
    if end > size or offset < 0:
        raise FileFormatError(
            f"{path} is truncated: its header points to byte {end:,} and the file has {size:,}; "
            "get the file again from its source."
        )


def _is_map(array: NDArray[Any]) -> bool:
    return isinstance(array, np.memmap)

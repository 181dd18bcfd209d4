"""A TIFF of one page, read window by window: tiles and strips are decoded as they are needed."""

from __future__ import annotations

import threading
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from everhart.errors import EverhartError
from everhart.io.bitmap import broken
from everhart.io.calibration import with_sources
from everhart.io.findings import Findings
from everhart.io.limits import Limits
from everhart.io.plane import PlaneReader, check_piece, empty_plane, mapped_plane
from everhart.io.tiff_read import read_tiff
from everhart.io.tiff_source import native, tiff_source
from everhart.io.tiff_tags import tags_of

__all__ = ["tiff_plane"]


def tiff_plane(path: Path, limits: Limits) -> PlaneReader:
    """Open the image of a TIFF file; see :func:`everhart.io.plane.open_plane`.

    Raises
    ------
    FileFormatError
        If the file is broken or truncated, or holds nothing that is a grey image.
    LimitError
        If its header claims too much, or a tile or strip is larger than 256 MB.
    """
    import tifffile

    try:
        with tifffile.TiffFile(path) as file:
            source = tiff_source(path, file, limits)
            stored, page = source.dtype, source.page
            pieces = source.shape[0] == 1 and source.layout() is None and stored is not None
            if not pieces or page.samplesperpixel != 1:
                return mapped_plane(read_tiff(path, limits))
            source.check(path, limits, whole=True)
            rows, columns = _piece_size(page)
            check_piece(path, rows * columns * page.dtype.itemsize)
            tags = tags_of(path, file, page, source.shape)
            probe = source.grey(path, np.zeros((1, 1), stored), Findings())
            decode, offsets = page.decode, (page.dataoffsets, page.databytecounts)
            tables = {"jpegtables": page.jpegtables, "jpegheader": page.jpegheader}
    except (EverhartError, MemoryError):
        raise
    except Exception as error:  # a broken file makes decoders raise nearly anything
        raise broken(path, error) from error
    described = with_sources(
        empty_plane(source.shape[1:], probe.dtype.newbyteorder("=")),
        calibration=tags.calibration,
        metadata=tags.metadata,
        data_bar_rows=tags.data_bar_rows,
        data_bar_source=tags.data_bar_source,
        record=tags.record,
    )
    handle = path.open("rb")
    lock = threading.Lock()  # one place in one file, whoever asks
    across = -(-source.shape[2] // columns)

    def piece(index: int) -> NDArray[Any]:
        with lock:
            handle.seek(offsets[0][index])
            data = handle.read(offsets[1][index])
        segment: NDArray[Any] = decode(data, index, **tables)[0]
        return segment.reshape(segment.shape[-3:-1])

    def window(wanted_rows: slice, wanted_columns: slice) -> NDArray[Any]:
        top, bottom, _ = wanted_rows.indices(source.shape[1])
        left, right, _ = wanted_columns.indices(source.shape[2])
        found = np.empty((bottom - top, right - left), page.dtype)
        try:
            for row in range(top // rows, -(-bottom // rows)):
                for column in range(left // columns, -(-right // columns)):
                    part = piece(row * across + column)
                    y, ys = _overlap(row * rows, rows, top, bottom)
                    x, xs = _overlap(column * columns, columns, left, right)
                    found[y, x] = part[ys, xs]
        except Exception as error:
            raise broken(path, error) from error
        return native(source.grey(path, found, tags))

    return PlaneReader(described, window, handle.close)


def _piece_size(page: Any) -> tuple[int, int]:
    """Return the rows and columns of a tile or a strip."""
    if page.is_tiled:
        return int(page.tilelength), int(page.tilewidth)
    return min(int(page.rowsperstrip), int(page.imagelength)), int(page.imagewidth)


def _overlap(start: int, length: int, low: int, high: int) -> tuple[slice, slice]:
    """Return where a piece lies in the window ``low:high``, and what of the piece that is."""
    first, last = max(start, low), min(start + length, high)
    return slice(first - low, last - low), slice(first - start, last - start)

"""Read TIFF files, whole or a page at a time."""

from __future__ import annotations

import math
import threading
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from everhart.errors import EverhartError
from everhart.io.bitmap import broken
from everhart.io.calibration import with_sources
from everhart.io.findings import Findings
from everhart.io.lazy import FrameReader, check_length, map_pixels
from everhart.io.limits import Limits
from everhart.io.tiff_source import native, tiff_source
from everhart.io.tiff_tags import tags_of
from everhart.micrograph import Micrograph

__all__ = ["read_tiff", "tiff_frames"]


def read_tiff(path: Path, limits: Limits) -> Micrograph:
    """Read a TIFF file.

    Parameters
    ----------
    path
        The file.
    limits
        Checked before anything is decoded.

    Returns
    -------
    Micrograph
        The image, or the stack of all pages of the same shape. Large uncompressed ones are
        mapped.

    Raises
    ------
    FileFormatError
        If the file is broken or truncated, or holds nothing that is a grey image.
    LimitError
        If its header claims too much.
    """
    import tifffile

    try:
        with tifffile.TiffFile(path) as file:
            source = tiff_source(path, file, limits)
            source.check(path, limits, whole=True)
            tags = tags_of(path, file, source.page, source.shape)
            pixels = source.pixels(path, tags)
    except (EverhartError, MemoryError):
        raise
    except Exception as error:  # a broken file makes decoders raise nearly anything
        raise broken(path, error) from error
    record = tags.record
    if record is not None and 1 in record.shape and pixels.size == math.prod(record.shape):
        pixels = pixels.reshape(record.shape)  # tifffile drops axes of length 1
    return with_sources(
        pixels,
        calibration=tags.calibration,
        metadata=tags.metadata,
        data_bar_rows=tags.data_bar_rows,
        data_bar_source=tags.data_bar_source,
        record=record,
    )


def tiff_frames(path: Path, limits: Limits) -> FrameReader:
    """Open a TIFF stack to read one page at a time.

    Parameters
    ----------
    path
        The file.
    limits
        Checked before anything is decoded; the size of the whole is not limited.

    Returns
    -------
    FrameReader
        Its frames are those of :func:`read_tiff`.

    Raises
    ------
    FileFormatError
        If the file is broken or truncated, or holds nothing that is a grey image.
    LimitError
        If its header claims too much.
    """
    import tifffile

    try:
        with tifffile.TiffFile(path) as file:
            source = tiff_source(path, file, limits)
            table, layout, stored = source.table, source.layout(), source.dtype
            if stored is None or (layout is None and table is None):
                return _read_frames(read_tiff(path, limits))
            source.check(path, limits, whole=False)
            tags = tags_of(path, file, source.page, source.shape)
            if layout is not None:  # its frames are read one by one, but all must be there
                frames, height, width = source.shape
                plane = height * width * stored.itemsize
                check_length(path, layout[0], layout[0] + (frames - 1) * layout[1] + plane)
                source.tell_axes(path)
            dtype = source.grey(path, np.zeros((1, 1), stored), Findings()).dtype.newbyteorder("=")
    except (EverhartError, MemoryError):
        raise
    except Exception as error:
        raise broken(path, error) from error
    # The record of a single image is of a plane.
    single = source.shape[0] == 1 and not (tags.record and len(tags.record.shape) == 3)
    described = with_sources(
        np.broadcast_to(np.zeros((), dtype), source.shape[1:] if single else source.shape),
        calibration=tags.calibration,
        metadata=tags.metadata,
        data_bar_rows=tags.data_bar_rows,
        data_bar_source=tags.data_bar_source,
        record=tags.record,
    )
    handle = path.open("rb") if layout is None else None
    lock = threading.Lock()  # one place in one file, whoever asks

    def frame(number: int) -> NDArray[Any]:
        if layout is not None:  # as it lies in the file
            start = layout[0] + number * layout[1]
            return map_pixels(path, offset=start, shape=source.shape[1:], dtype=stored)
        try:
            with lock:
                pixels = table.decoded(handle, number) if table is not None and handle else None
        except Exception as error:
            raise broken(path, error) from error
        return native(source.grey(path, np.asarray(pixels), tags))

    return FrameReader(
        shape=source.shape,
        dtype=dtype,
        frame=frame,
        close=handle.close if handle is not None else lambda: None,
        pixel_size_nm=described.pixel_size_nm,
        metadata=described.metadata,
        data_bar_rows=described.data_bar_rows,
        history=described.history,
    )


def _read_frames(image: Micrograph) -> FrameReader:
    """Offer the frames of what is read or mapped already."""
    stack = image.pixels if image.ndim == 3 else image.pixels[None]
    frames, height, width = stack.shape
    return FrameReader(
        shape=(frames, height, width),
        dtype=stack.dtype,
        frame=lambda number: np.array(stack[number]),
        close=lambda: None,
        pixel_size_nm=image.pixel_size_nm,
        metadata=image.metadata,
        data_bar_rows=image.data_bar_rows,
        history=image.history,
    )

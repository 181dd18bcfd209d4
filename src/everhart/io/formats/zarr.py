"""Zarr: folders of compressed chunks; OME-NGFF images and plain arrays."""

from __future__ import annotations

import threading
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from everhart.io.calibration import with_sources
from everhart.io.lazy import FrameReader
from everhart.io.limits import DEFAULT_LIMITS, Limits
from everhart.io.ngff import find_image
from everhart.io.ngff_image import NgffImage
from everhart.io.ngff_write import write_ngff
from everhart.io.plane import PlaneReader, check_piece, empty_plane
from everhart.io.registry import Format
from everhart.io.zarr_store import FolderStore, Store, is_store, only_store
from everhart.micrograph import Micrograph

__all__ = ["FORMAT", "read_store"]

# Frames that share their chunks are kept up to this, so that each chunk is unpacked once.
_MOST_KEPT_BYTES = 256 << 20


def read_store(store: Store, limits: Limits) -> Micrograph:
    """Read the image of a store, wherever its files are."""
    image = find_image(store)
    image.check(limits)
    return _micrograph(image, image.read(limits))


def _read(path: Path, limits: Limits) -> Micrograph:
    return read_store(FolderStore(path), limits)


def _frames(path: Path, limits: Limits) -> FrameReader:
    image = find_image(FolderStore(path))
    image.check(limits, whole=False)
    shape, dtype = image.shape, image.dtype
    described = _micrograph(image, np.broadcast_to(np.zeros((), dtype), shape))
    lock = threading.Lock()
    kept: dict[int, NDArray[Any]] = {}

    def frame(number: int) -> NDArray[Any]:
        number = range(shape[0])[number]
        with lock:
            if number not in kept:
                first, frames = image.frames(number, limits)
                kept.clear()
                if len(frames) == 1:
                    only: NDArray[Any] = frames[0]
                    return only
                if frames.nbytes > _MOST_KEPT_BYTES:
                    return np.array(frames[number - first])
                kept.update(enumerate(frames, first))
            return np.array(kept[number])

    return FrameReader(
        shape=shape,
        dtype=dtype,
        frame=frame,
        close=kept.clear,
        pixel_size_nm=described.pixel_size_nm,
        metadata=described.metadata,
        data_bar_rows=described.data_bar_rows,
        history=described.history,
    )


def _plane(path: Path, limits: Limits) -> PlaneReader:
    image = find_image(FolderStore(path))
    image.check(limits, whole=False)
    frames, height, width = image.shape
    described = _micrograph(image, empty_plane((frames, height, width), image.dtype))
    check_piece(path, image.array.chunk_bytes)
    chunks = replace(limits, max_decoded_bytes=DEFAULT_LIMITS.max_decoded_bytes)

    def window(rows: slice, columns: slice) -> NDArray[Any]:
        (top, bottom, _), (left, right, _) = rows.indices(height), columns.indices(width)
        return image.window((top, bottom), (left, right), chunks)

    return PlaneReader(described, window)


def _micrograph(image: NgffImage, pixels: NDArray[Any]) -> Micrograph:
    # One frame is an image, unless the record of a stack of one says otherwise.
    if len(pixels) == 1 and (image.record is None or image.record.shape != pixels.shape):
        pixels = pixels[0]
    return with_sources(
        pixels, calibration=image.calibration, metadata=image.metadata, record=image.record
    )


FORMAT = Format(
    "Zarr",
    (".zarr",),
    lambda start: False,  # noqa: ARG005 - it is a folder, and has no first bytes
    _read,
    write_ngff,
    frames=_frames,
    plane=_plane,
    is_folder=is_store,
    is_replaceable=only_store,
)

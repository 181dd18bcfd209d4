"""Writing OME-NGFF: version 0.4 on Zarr 2, which the most programs read.

Fiji, napari, QuPath, OMERO and Bio-Formats read 0.4; 0.5, on Zarr 3, is read by the newest
versions of some of them.
"""

from __future__ import annotations

from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from everhart.io.atomic import flush
from everhart.io.record import RECORD_KEY, to_record
from everhart.micrograph import Micrograph

__all__ = ["NgffPlaneWriter", "write_ngff"]

_CHUNK = 1024

# A chunk that is not there is one that was lost.
_CONFIG: Any = {"write_empty_chunks": True}


def write_ngff(image: Micrograph, path: Path) -> None:
    """Write a micrograph as OME-NGFF 0.4, large ones with smaller copies for viewers.

    Parameters
    ----------
    image
        The micrograph, of any dtype. The axis of a stack is called ``t``.
    path
        An empty folder.
    """
    levels = _created(image, path)
    frames = image.pixels if image.ndim == 3 else image.pixels[None]
    for number, frame in enumerate(frames):
        for level in levels:
            level[number if image.ndim == 3 else ...] = frame
            frame = _halved(frame)


class NgffPlaneWriter:
    """An OME-NGFF image, written block by block in any order.

    Parameters
    ----------
    path
        The folder; one that has been begun is gone on with, and one that is empty filled.
    described
        The image with all that is said of it; its pixels are not looked at.
    """

    tile = _CHUNK

    def __init__(self, path: Path, described: Micrograph) -> None:
        import zarr

        if (path / ".zgroup").exists():
            group: Any = zarr.open_group(str(path), mode="r+", zarr_format=2)
            self._levels: list[Any] = [
                group[str(number)].with_config(_CONFIG)  # which is not stored
                for number in range(len(_levels(described.shape)))
            ]
        else:
            self._levels = _created(described, path)
        self._path = path
        self._written: set[tuple[int, int]] = set()

    def put(self, row: int, column: int, pixels: NDArray[Any]) -> None:
        """Write a block whose corner is at a row and a column."""
        height, width = pixels.shape
        self._levels[0][row : row + height, column : column + width] = pixels
        deep, wide = self._levels[0].chunks
        self._written |= {
            (y, x)
            for y in range(row // deep, -(-(row + height) // deep))
            for x in range(column // wide, -(-(column + width) // wide))
        }

    def flush(self) -> None:
        """Give what was written to the disk, each chunk of which is a file."""
        for y, x in self._written:
            flush(self._path / "0" / str(y) / str(x))
        self._written.clear()

    def complete(self) -> None:
        """Make the smaller copies, a few chunks at a time."""
        step = 2 * _CHUNK
        for fine, coarse in pairwise(self._levels):
            height, width = (n // 2 * 2 for n in fine.shape)
            for row in range(0, height, step):
                for column in range(0, width, step):
                    bottom, right = min(row + step, height), min(column + step, width)
                    half = _halved(np.asarray(fine[row:bottom, column:right]))
                    coarse[row // 2 : bottom // 2, column // 2 : right // 2] = half

    def close(self) -> None:
        """Leave the files: none is kept open."""


def _created(image: Micrograph, path: Path) -> list[Any]:
    """Make the group and its empty arrays, full resolution first."""
    import numcodecs  # type: ignore[import-untyped]
    import zarr

    sizes = _levels(image.shape[-2:])
    group = zarr.open_group(
        str(path),
        mode="w",
        zarr_format=2,
        attributes={
            "multiscales": [_multiscale(image, len(sizes))],
            RECORD_KEY: to_record(image),
        },
    )
    return [
        group.create_array(
            str(number),
            shape=(*image.shape[:-2], *size),
            chunks=(*(1,) * (image.ndim - 2), *(min(_CHUNK, n) for n in size)),
            dtype=image.dtype,
            fill_value=0,
            compressors=numcodecs.Blosc("lz4", clevel=5, shuffle=numcodecs.Blosc.SHUFFLE),
            chunk_key_encoding={"name": "v2", "separator": "/"},
            config=_CONFIG,
        )
        for number, size in enumerate(sizes)
    ]


def _levels(size: tuple[int, ...]) -> list[tuple[int, int]]:
    """Return the sizes of all levels, each half of the one before, down to one chunk."""
    height, width = size
    levels = [(height, width)]
    while max(height, width) > _CHUNK and min(height, width) > 1:
        height, width = height // 2, width // 2
        levels.append((height, width))
    return levels


def _halved(frame: NDArray[Any]) -> NDArray[Any]:
    """Average 2 x 2 pixels; an odd last row or column is left out."""
    height, width = (n // 2 * 2 for n in frame.shape)
    corners: list[NDArray[Any]] = [frame[y:height:2, x:width:2] for y in (0, 1) for x in (0, 1)]
    if frame.dtype.kind == "b" or (frame.dtype.kind in "iu" and frame.dtype.itemsize == 8):
        return corners[0]  # no mean, or none that a float holds
    exact = np.float32 if frame.dtype.itemsize < 4 else np.float64
    with np.errstate(over="ignore", invalid="ignore"):
        mean: NDArray[Any] = np.asarray(corners, exact).mean(axis=0)
        return np.asarray(mean if frame.dtype.kind == "f" else np.rint(mean), frame.dtype)


def _multiscale(image: Micrograph, levels: int) -> dict[str, Any]:
    y, x = image.pixel_size_nm or (1.0, 1.0)
    space: dict[str, Any] = {"type": "space"}
    if image.pixel_size_nm is not None:
        space["unit"] = "nanometer"
    axes = [{"name": "t", "type": "time"}, {"name": "y", **space}, {"name": "x", **space}]
    datasets = []
    for number in range(levels):
        factor = 2**number
        steps: list[dict[str, Any]] = [
            {"type": "scale", "scale": [1.0, y * factor, x * factor][-image.ndim :]}
        ]
        if number:  # the middle of the first pixel lies between those that it is made of
            shift = (factor - 1) / 2
            steps.append(
                {"type": "translation", "translation": [0.0, y * shift, x * shift][-image.ndim :]}
            )
        datasets.append({"path": str(number), "coordinateTransformations": steps})
    return {"version": "0.4", "axes": axes[-image.ndim :], "datasets": datasets, "type": "mean"}

"""Write TIFF files that ImageJ calibrates by, and that come back to Everhart whole."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from everhart.io.calibration import NM_PER_UNIT
from everhart.io.record import RECORD_KEY, to_json, to_record
from everhart.micrograph import Micrograph

__all__ = ["TiffPlaneWriter", "write_tiff"]

# What ImageJ's own TIFF dialect holds; other dtypes are written as plain TIFF.
_IMAGEJ_DTYPES = (np.uint8, np.uint16, np.float32)

# Offsets of a classic TIFF have 32 bits; some room is left for the tags.
_CLASSIC_BYTES = 2**32 - 2**25

# A resolution is a ratio of two 32-bit numbers: in a suitable unit it keeps nine digits.
_IMAGEJ_UNITS = ("pm", "nm", "um", "mm", "m")


def write_tiff(image: Micrograph, path: Path) -> None:
    """Write a micrograph as TIFF, not compressed.

    uint8, uint16 and float32 up to 4 GB are written as ImageJ does, with the pixel size in
    ImageJ's unit and Everhart's record under "Info"; other dtypes as plain TIFF, with the
    pixel size in the resolution tags and the record in the image description; what is larger
    as BigTIFF of that kind.

    Parameters
    ----------
    image
        Micrograph of any dtype.
    path
        The file.
    """
    import tifffile

    pixels = np.ascontiguousarray(image.pixels)
    options: dict[str, Any] = {"photometric": "minisblack", "software": "everhart"}
    if pixels.dtype in _IMAGEJ_DTYPES and pixels.nbytes < _CLASSIC_BYTES:
        details: dict[str, Any] = {
            "axes": "TYX"[-image.ndim :],
            "Info": to_json(image),
        }
        if image.shape[-1] == 1:  # tifffile would take the last axis for bands
            details["axes"] += "S"
            pixels = pixels[..., None]
        if image.pixel_size_nm is not None:
            unit, unit_nm = _imagej_unit(max(image.pixel_size_nm))
            y, x = (unit_nm / size for size in image.pixel_size_nm)
            details["unit"] = unit
            options["resolution"] = (x, y)
        tifffile.imwrite(path, pixels, imagej=True, metadata=details, **options)
        return
    tifffile.imwrite(
        path,
        pixels,
        bigtiff=pixels.nbytes >= _CLASSIC_BYTES,
        metadata={RECORD_KEY: to_record(image)},
        **options,
        **_resolution(image),
    )


class TiffPlaneWriter:
    """A TIFF of one page in uncompressed tiles, written block by block in any order.

    The disk space is taken at once, so that a disk that is too small is found at the start.

    Parameters
    ----------
    path
        The file; one that has been begun is gone on with, and one that is empty made.
    described
        The image with all that is said of it; its pixels are not looked at.
    """

    tile = 512

    def __init__(self, path: Path, described: Micrograph) -> None:
        import tifffile

        self.path = path
        self._across = -(-described.shape[1] // self.tile)
        if not path.exists() or path.stat().st_size == 0:
            tiles = self._across * -(-described.shape[0] // self.tile)
            nbytes = tiles * self.tile**2 * described.dtype.itemsize  # those at the edge are whole
            tifffile.imwrite(
                path,
                None,
                shape=described.shape,
                dtype=described.dtype,
                tile=(self.tile, self.tile),
                bigtiff=nbytes >= _CLASSIC_BYTES,
                photometric="minisblack",
                software="everhart",
                metadata={RECORD_KEY: to_record(described)},
                **_resolution(described),
            )
        with tifffile.TiffFile(path) as file:
            self._first = int(file.pages[0].dataoffsets[0])  # the tiles follow each other
        self._dtype = described.dtype
        self._file = path.open("r+b")

    def put(self, row: int, column: int, pixels: NDArray[Any]) -> None:
        """Write a block whose corner is at a row and a column.

        Not through a map of the file: a disk that is full would end the process there, and is
        an error here.
        """
        for y, rows in _cut(row, pixels.shape[0], self.tile):
            for x, columns in _cut(column, pixels.shape[1], self.tile):
                place = self._first + (y * self._across + x) * self.tile**2 * self._dtype.itemsize
                tile = self._tile_at(place)
                part = pixels[rows.start - row : rows.stop - row]
                tile[_within(rows, y, self.tile), _within(columns, x, self.tile)] = part[
                    :, columns.start - column : columns.stop - column
                ]
                self._file.seek(place)
                self._file.write(tile.tobytes())

    def _tile_at(self, place: int) -> NDArray[Any]:
        self._file.seek(place)
        data = self._file.read(self.tile**2 * self._dtype.itemsize)
        return np.frombuffer(data, self._dtype).reshape(self.tile, self.tile).copy()

    def flush(self) -> None:
        """Give what was written to the disk."""
        self._file.flush()
        os.fsync(self._file.fileno())

    def complete(self) -> None:
        """Write what belongs to the image beside its pixels: it is all there."""

    def close(self) -> None:
        """Close the file."""
        self._file.close()


def _within(part: slice, number: int, size: int) -> slice:
    return slice(part.start - number * size, part.stop - number * size)


def _cut(start: int, length: int, size: int) -> Iterator[tuple[int, slice]]:
    """Cut a range where tiles begin; give each part with the number of its tile."""
    at = start
    while at < start + length:
        number = at // size
        stop = min((number + 1) * size, start + length)
        yield number, slice(at, stop)
        at = stop


def _resolution(image: Micrograph) -> dict[str, Any]:
    """Return the options that put the pixel size into the resolution tags."""
    if image.pixel_size_nm is None:
        return {}
    y, x = (NM_PER_UNIT["cm"] / size for size in image.pixel_size_nm)
    if max(x, y) >= 2**32:  # a pixel of less than 2.4 pm does not fit into the tag
        return {}
    return {"resolution": (x, y), "resolutionunit": "CENTIMETER"}


def _imagej_unit(size_nm: float) -> tuple[str, float]:
    """Choose the unit in which a pixel is 0.001 to 1000 long, nm if possible."""
    for unit in ("nm", *_IMAGEJ_UNITS):
        if 1e-3 <= size_nm / NM_PER_UNIT[unit] < 1e3 or unit == _IMAGEJ_UNITS[-1]:
            return unit, NM_PER_UNIT[unit]
    raise AssertionError("the last unit is always taken")

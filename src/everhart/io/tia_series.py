"""The series files (SER) of FEI's TIA, by the vendor's public description of them.

A file has a header, the sizes of the series, the offsets of its elements and of their time
tags, and the elements, each a spectrum or an image behind a header of its own. All is
little-endian.

References
----------
.. [1] "TIA Series Data (ESD) File Format", FEI Company.
"""

from __future__ import annotations

import os
import struct
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

import numpy as np
from numpy.typing import NDArray

from everhart.errors import FileFormatError
from everhart.io.limits import Limits

__all__ = ["TiaSeries", "is_series", "read_series"]

_MAGIC = b"II\x97\x01"
# Offsets have 64 bits since version 0x0220.
_LONG_OFFSETS = {0x0210: False, 0x0220: True}
_SPECTRA, _IMAGES = 0x4120, 0x4122
_DTYPES = {1: "u1", 2: "u2", 3: "u4", 4: "i1", 5: "i2", 6: "i4", 7: "f4", 8: "f8"}
_COMPLEX = (9, 10)
_MOST_DIMENSIONS = 16
_LONGEST_TEXT = 4096
# Offset, delta and element of calibration along x and y; data type, width, height.
_ELEMENT = struct.Struct("<ddiddihii")
# A time stands behind the type of the tag, which takes four bytes.
_TAG = struct.Struct("<II")


@dataclass(frozen=True)
class TiaSeries:
    """The images of a series file, whose claims agree with each other.

    Parameters
    ----------
    version
        0x0210 or 0x0220.
    shape
        ``(frames, height, width)``.
    dtype
        Dtype of the pixels, little-endian.
    offsets
        Bytes at which the pixels of each frame begin.
    delta
        Distance of pixels ``(y, x)`` as written: in m for an image, 1/m for a diffraction
        pattern; the file does not say which.
    dimensions
        What the series runs along: size, calibration, description, units.
    time_s
        Time of the first frame, in seconds since 1970 in universal time; None if not there.
    """

    version: int
    shape: tuple[int, int, int]
    dtype: np.dtype[Any]
    offsets: NDArray[np.int64]
    delta: tuple[float, float]
    dimensions: list[dict[str, Any]]
    time_s: int | None

    @property
    def frame_bytes(self) -> int:
        """Bytes of the pixels of one frame."""
        return self.shape[1] * self.shape[2] * self.dtype.itemsize

    @property
    def step(self) -> int | None:
        """Bytes from one frame to the next; None if they are not evenly spaced."""
        if self.shape[0] == 1:
            return self.frame_bytes
        steps = np.diff(self.offsets)
        step = int(steps[0])
        return step if step >= self.frame_bytes and bool((steps == step).all()) else None


def is_series(start: bytes) -> bool:
    """Say whether these first bytes are those of a series file."""
    return start.startswith(_MAGIC)


def read_series(path: Path, limits: Limits) -> TiaSeries:
    """Read the headers of a series file and check them against each other.

    Parameters
    ----------
    path
        The file.
    limits
        What its header may claim; nothing is decoded here.

    Raises
    ------
    FileFormatError
        If the file is broken or truncated, or holds spectra, complex numbers or a map of images.
    LimitError
        If its header claims too much.
    """
    with path.open("rb") as file:
        return _Reader(path, file, limits).series()


class _Reader:
    """Reads a file from the start; what it says of its own length is not believed."""

    def __init__(self, path: Path, file: IO[bytes], limits: Limits) -> None:
        self.path, self.file, self.limits = path, file, limits
        self.size = os.fstat(file.fileno()).st_size

    def series(self) -> TiaSeries:
        _, version, kind, _, total, valid = self.unpack("<4sHIIII")
        if version not in _LONG_OFFSETS:
            raise FileFormatError(
                f"{self.path} is a TIA series of version {version:#06x}: "
                f"{' and '.join(f'{known:#06x}' for known in _LONG_OFFSETS)} are read; export it "
                "from TIA as TIFF."
            )
        if kind == _SPECTRA:
            raise FileFormatError(
                f"{self.path} holds spectra (TIA's data type {kind:#06x}) and no image: export a "
                "map from TIA as an image."
            )
        if kind != _IMAGES:
            raise self.broken(f"it claims elements of the type {kind:#06x}")
        if valid == 0:
            raise self.broken("no image of the series was recorded")
        if valid > total:
            raise self.broken(f"it claims {valid:,} images in a series of {total:,}")
        word = "<i8" if _LONG_OFFSETS[version] else "<u4"
        (table,) = self.unpack("<q" if _LONG_OFFSETS[version] else "<I")
        dimensions = self.dimensions()
        self.refuse_map(dimensions)
        self.limits.check_frames(str(self.path), valid)
        starts = self.table(table, valid, word)
        shape, dtype, delta = self.elements(starts)
        first_tag = table + total * np.dtype(word).itemsize
        return TiaSeries(
            version=version,
            shape=(valid, *shape),
            dtype=dtype,
            offsets=starts + _ELEMENT.size,
            delta=delta,
            dimensions=dimensions,
            time_s=self.time(first_tag, word),
        )

    def dimensions(self) -> list[dict[str, Any]]:
        """Read what the series runs along."""
        (count,) = self.unpack("<I")
        if count > _MOST_DIMENSIONS:
            raise self.broken(f"it claims a series of {count:,} dimensions")
        found = []
        for _ in range(count):
            size, offset, delta, element = self.unpack("<Iddi")
            found.append(
                {
                    "size": size,
                    "calibration_offset": offset,
                    "calibration_delta": delta,
                    "calibration_element": element,
                    "description": self.text(),
                    "units": self.text(),
                }
            )
        return found

    def refuse_map(self, dimensions: list[dict[str, Any]]) -> None:
        """Refuse images at the points of a map: they are not frames of one field of view."""
        sizes = [dimension["size"] for dimension in dimensions if dimension["size"] > 1]
        if len(sizes) > 1:
            raise FileFormatError(
                f"{self.path} holds a map of {' x '.join(map(str, sizes))} images, such as "
                "4D-STEM, and no image or stack: export an image of it from TIA."
            )

    def table(self, offset: int, count: int, word: str) -> NDArray[np.int64]:
        """Read the offsets of the elements that were recorded."""
        raw = self.at(offset, count * np.dtype(word).itemsize, "the table of its images")
        return np.frombuffer(raw, word).astype(np.int64)

    def elements(
        self, starts: NDArray[np.int64]
    ) -> tuple[tuple[int, int], np.dtype[Any], tuple[float, float]]:
        """Read the headers of all elements; they must be of one shape and dtype."""
        first = self.at(int(starts[0]), _ELEMENT.size, "its first image")
        _, x, _, _, y, _, code, width, height = _ELEMENT.unpack(first)
        if code in _COMPLEX:
            raise FileFormatError(
                f"{self.path} holds complex numbers (a Fourier transform or a wave) and no image: "
                "export its modulus or its phase from TIA as an image of real numbers."
            )
        if code not in _DTYPES or width <= 0 or height <= 0:
            raise self.broken(f"it claims {height} x {width} pixels of the data type {code}")
        dtype = np.dtype("<" + _DTYPES[code])
        self.limits.check(
            str(self.path),
            height=height,
            width=width,
            itemsize=dtype.itemsize,
            frames=len(starts),
            file_bytes=self.size,
            mapped=True,
        )
        length = _ELEMENT.size + height * width * dtype.itemsize
        same = first[-10:]
        for number, start in enumerate(starts.tolist()):
            end = start + length
            header = self.at(start, _ELEMENT.size, f"image {number + 1}", end)
            if header[-10:] != same:
                raise self.broken(f"image {number + 1} is of another size or type than the first")
        # Images that overlap would make a small file a large stack.
        if bool((np.diff(np.sort(starts)) < length).any()):
            raise self.broken("its images overlap")
        return (height, width), dtype, (y, x)

    def time(self, table: int, word: str) -> int | None:
        """Return the time in the first tag; a wrong offset costs only that."""
        try:
            (offset,) = self.table(table, 1, word).tolist()
            _, seconds = _TAG.unpack(self.at(offset, _TAG.size, "a tag"))
        except FileFormatError:
            return None
        return int(seconds) or None

    def text(self) -> str:
        (length,) = self.unpack("<I")
        if length > _LONGEST_TEXT:
            raise self.broken(f"it claims a text of {length:,} bytes")
        return self.take(length).rstrip(b"\0").decode("latin-1")

    def unpack(self, form: str) -> tuple[Any, ...]:
        return struct.unpack(form, self.take(struct.calcsize(form)))

    def take(self, n: int) -> bytes:
        raw = self.file.read(n)
        if len(raw) < n:
            raise self.broken("it ends in its header")
        return raw

    def at(self, offset: int, n: int, what: str, end: int | None = None) -> bytes:
        """Read `n` bytes at an offset, in a file that must not end before `end`."""
        end = offset + n if end is None else end
        if offset < 0 or end > self.size:
            raise FileFormatError(
                f"{self.path} is truncated: {what} is said to be at bytes {offset:,} to {end:,} "
                f"and the file has {self.size:,}; get the file again from its source."
            )
        self.file.seek(offset)
        return self.take(n)

    def broken(self, what: str) -> FileFormatError:
        return FileFormatError(
            f"{self.path} is a broken TIA series ({what}): get the file again from its source."
        )

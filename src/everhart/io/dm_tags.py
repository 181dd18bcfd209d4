"""The tree of tags that a DigitalMicrograph file is: DM3 and DM4.

Sizes and types are big-endian, of 32 bits in DM3 and of 64 bits in DM4; values are of the byte
order that the header names. Whatever a file claims is bounded: depth, number of tags, lengths
(all within the file), and how much of the values is kept.

References
----------
.. [1] C. B. Boothroyd, "Digital Micrograph file format",
   https://personal.ntu.edu.sg/cbb/info/dmformat/index.html
.. [2] "DM3 Image Format", https://imagej.net/ij/plugins/DM3Format.gj.html
"""

from __future__ import annotations

import os
import struct
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np

from everhart.errors import FileFormatError

__all__ = ["DmArray", "DmFile", "is_dm", "read_dm_tags"]

_GROUP, _TAG = 20, 21
_STRUCT, _STRING, _ARRAY = 15, 18, 20
# Codes of simple types -> NumPy's. What the descriptions call char (9) and octet (10) are the
# signed and the unsigned byte.
_SIMPLE = {
    2: "i2", 3: "i4", 4: "u2", 5: "u4", 6: "f4", 7: "f8", 8: "?", 9: "i1", 10: "u1", 11: "i8",
    12: "u8",
}  # fmt: skip
_TEXT_CODE = 4  # texts are arrays of 16-bit units

_DEEPEST = 64
_MOST_TAGS = 100_000
_MOST_STRUCTS = 5000  # of different types: each costs NumPy 0.1 ms and some kilobytes
_LONGEST_TYPE = 128
_LARGEST_ELEMENT = 1 << 20
# Larger arrays (colour tables, printer settings, spectra) are left in the file.
_KEPT_VALUES = 64
_KEPT_TEXT = 1 << 16
_KEPT_BYTES = 4 << 20


@dataclass(frozen=True)
class DmArray:
    """An array that stays in the file.

    Parameters
    ----------
    offset
        Byte at which it starts.
    count
        Number of its elements.
    dtype
        Dtype of an element, in the file's byte order; a structured one for structs.
    """

    offset: int
    count: int
    dtype: np.dtype[Any]

    @property
    def nbytes(self) -> int:
        """Its length in bytes, within the file."""
        return self.count * self.dtype.itemsize


@dataclass(frozen=True)
class DmFile:
    """What a DigitalMicrograph file holds.

    Parameters
    ----------
    version
        3 or 4.
    byte_order
        ``"<"`` or ``">"``, of the values.
    tree
        Groups are dicts, or lists where nothing in them has a name; structs are tuples; large
        arrays, and all named Data, are `DmArray`.
    """

    version: int
    byte_order: str
    tree: dict[str, Any]


def is_dm(start: bytes) -> bool:
    """Say whether a file that starts so is DM3 or DM4."""
    version = start[3:4]
    if len(start) < 27 or start[:3] != b"\0\0\0" or version not in (b"\3", b"\4"):
        return False
    order = start[8:12] if version == b"\3" else start[12:16]
    group = start[12:19:6] if version == b"\3" else start[16:27:10]
    return order[:3] == b"\0\0\0" and order[3] <= 1 and group[0] <= 1 and group[1] in (20, 21, 0)


def read_dm_tags(path: Path) -> DmFile:
    """Read the tags of a DigitalMicrograph file, without its pixels.

    Parameters
    ----------
    path
        A DM3 or DM4 file.

    Returns
    -------
    DmFile
        Its tree.

    Raises
    ------
    FileFormatError
        If it is truncated or broken, or its tags are more or deeper than any program's.
    """
    with path.open("rb") as file:
        return _Reader(path, file).read()


class _Reader:
    """Reads a file's tags in the order in which they come."""

    def __init__(self, path: Path, file: BinaryIO) -> None:
        self._path = path
        self._file = file
        self._size = os.fstat(file.fileno()).st_size
        self._at = 0
        self._tags = 0
        self._structs = 0
        self._kept = 0
        self._order = "<"
        self._long = struct.Struct(">i")  # of sizes: 64 bits in DM4
        self._sized = False
        self._types: dict[bytes, tuple[np.dtype[Any], int | None, bool]] = {}

    def read(self) -> DmFile:
        version = self._int32()
        if version == 4:
            self._long, self._sized = struct.Struct(">q"), True
        elif version != 3:
            raise self._broken(f"it says that it is of version {version}, where 3 and 4 are known")
        self._length()  # of the whole: not every program writes it right
        order = self._int32()
        if order not in (0, 1):
            raise self._broken(f"a byte order of {order}, where 0 and 1 are known")
        self._order = "<" if order else ">"
        tree = self._group(0, "")
        return DmFile(version, self._order, tree if isinstance(tree, dict) else {})

    # -- groups ---------------------------------------------------------------------------
    def _group(self, depth: int, parent: str) -> dict[str, Any] | list[Any]:
        if depth > _DEEPEST:
            raise self._broken(f"its tags are nested deeper than {_DEEPEST}")
        self._take(2)  # whether it is sorted, and open in the program's window
        named: dict[str, Any] = {}
        unnamed: list[Any] = []
        for _ in range(self._length()):
            kind, name_length = struct.unpack(">BH", self._take(3))
            if kind == 0 and depth == 0:  # the end of the file, in fewer tags than promised
                break
            if kind not in (_GROUP, _TAG):
                raise self._broken(f"a tag of kind {kind}, where {_GROUP} and {_TAG} are known")
            self._tags += 1
            if self._tags > _MOST_TAGS:
                raise self._broken(f"it has more than {_MOST_TAGS:,} tags")
            name = _name(self._take(name_length))
            if self._sized:
                self._length()  # bytes of the tag: known after it
            if kind == _GROUP:
                value: Any = self._group(depth + 1, name)
            else:
                value = self._tag(stays=name == "Data" and parent == "ImageData")
            if name_length:
                named[name if name not in named else f"{name} [{len(named)}]"] = value
            else:
                unnamed.append(value)
        if not named:
            return unnamed
        named.update((f"[{number}]", value) for number, value in enumerate(unnamed))
        return named

    # -- values ---------------------------------------------------------------------------
    def _tag(self, *, stays: bool) -> Any:
        if self._take(4) != b"%%%%":
            raise self._broken("the mark %%%% before a value is missing")
        n = self._length()
        if n > _LONGEST_TYPE:
            raise self._broken(f"a type described by {n:,} numbers")
        raw = self._take(n * self._long.size)
        described = self._types.get(raw)
        if described is None:
            codes = [code for (code,) in self._long.iter_unpack(raw)]
            try:
                described = self._types[raw] = _Type(codes, self._order).take(0)
            except (ValueError, IndexError) as error:
                raise self._broken(f"a type that is not known ({error})") from None
            self._structs += described[0].kind == "V"
            if self._structs > _MOST_STRUCTS:
                raise self._broken(f"more than {_MOST_STRUCTS:,} types of structs")
        dtype, count, text = described
        # All of it must be there, whether it is looked at or not.
        offset, length = self._at, dtype.itemsize * (1 if count is None else count)
        if length > self._size - offset:
            raise self._truncated(offset + length)
        if stays and count is not None:
            self._skip(length)
            return DmArray(offset, count, dtype)
        most = _KEPT_TEXT if text else _KEPT_VALUES
        if (count or 1) > most or self._kept + length > _KEPT_BYTES:
            self._skip(length)
            return DmArray(offset, count or 1, dtype)
        self._kept += length
        values = np.frombuffer(self._take(length), dtype)
        if count is None:
            return values.tolist()[0]
        said = _text(values) if text else None
        if said is not None:
            return said
        return values.tolist() if count <= _KEPT_VALUES else DmArray(offset, count, dtype)

    # -- bytes ----------------------------------------------------------------------------
    def _take(self, n: int) -> bytes:
        raw = self._file.read(n) if n <= self._size - self._at else b""
        if len(raw) < n:
            raise self._truncated(self._at + n)
        self._at += n
        return raw

    def _skip(self, n: int) -> None:
        self._at += n
        self._file.seek(self._at)

    def _int32(self) -> int:
        return int(struct.unpack(">i", self._take(4))[0])

    def _length(self) -> int:
        length = int(self._long.unpack(self._take(self._long.size))[0])
        if length < 0:
            raise self._broken(f"a length of {length:,}")
        return length

    def _truncated(self, end: int) -> FileFormatError:
        return FileFormatError(
            f"{self._path} is truncated: its tags point to byte {end:,} and the file has "
            f"{self._size:,}; get the file again from its source."
        )

    def _broken(self, what: str) -> FileFormatError:
        return FileFormatError(
            f"{self._path} is a broken DigitalMicrograph file ({what}, at byte {self._at:,}): get "
            "the file again from its source."
        )


class _Type:
    """The numbers that describe the type of a value."""

    def __init__(self, codes: list[int], order: str) -> None:
        self._codes = codes
        self._order = order
        self._at = 0

    def take(self, depth: int) -> tuple[np.dtype[Any], int | None, bool]:
        """Return the dtype of an element, their number (None: one value), whether it is text."""
        if depth > 8:
            raise ValueError("nested too deep")
        code = self._next()
        if code in _SIMPLE:
            return np.dtype(self._order + _SIMPLE[code]), None, False
        if code == _STRING:
            return np.dtype(self._order + "u2"), self._count(), True
        if code == _STRUCT:
            self._next()  # length of its name, which is not stored
            fields = []
            for number in range(self._count()):
                self._next()
                fields.append((f"f{number}", self._element(depth)))
            if not fields:
                raise ValueError("a struct without fields")
            return np.dtype(fields), None, False
        if code == _ARRAY:
            is_text = self._codes[self._at : self._at + 1] == [_TEXT_CODE]
            return self._element(depth), self._count(), is_text
        raise ValueError(f"code {code}")

    def _element(self, depth: int) -> np.dtype[Any]:
        dtype, count, _ = self.take(depth + 1)
        if count is None:
            return dtype
        if not 0 < count * dtype.itemsize <= _LARGEST_ELEMENT:
            raise ValueError(f"elements of {count * dtype.itemsize:,} bytes")
        return np.dtype((dtype, (count,)))

    def _next(self) -> int:
        code = self._codes[self._at]
        self._at += 1
        return code

    def _count(self) -> int:
        count = self._next()
        if count < 0:
            raise ValueError(f"a count of {count}")
        return count


def _name(raw: bytes) -> str:
    try:
        return raw.decode("utf-8")
    except UnicodeDecodeError:  # "Emission Current (µA)", as Windows wrote it
        return raw.decode("cp1252", errors="replace")


def _text(units: np.ndarray[Any, Any]) -> str | None:
    """Decode 16-bit units; None for what is no text."""
    text = units.astype(">u2").tobytes().decode("utf-16-be", errors="surrogatepass").rstrip("\0")
    strange = any(
        (char < " " and char not in "\t\r\n") or "\ud800" <= char < "\ue000" for char in text
    )
    return None if strange else text

"""A look at the heaps of an HDF5 file, which its library believes more than it should.

Texts of any length lie in global heaps [1]_, and attributes refer to them by length, address and
number. The library turns in circles, for ever, where free space in a heap has the size 0 or a size
wraps around in 64 bits; and it takes the memory for a length before it looks whether the text in
the heap is as long.

References
----------
.. [1] HDF5 File Format Specification 3.0, III.E, "Disk Format: Level 1E - Global Heap".
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from pathlib import Path

from everhart.errors import FileFormatError

__all__ = ["check_heaps"]

_COLLECTION = b"GCOL\x01"
_VIRTUAL_LAYOUT = b"\x04\x03"  # version and class of the layout message
_HEADER_BYTES = 16
# A heap lies anywhere. The middle of a large file, which is pixels, would take too long to search.
_SEARCHED_WHOLE, _SEARCHED_ENDS = 8 << 20, 4 << 20
# The heaps whose references are looked for; a file has a few.
_MOST_HEAPS = 16


def check_heaps(path: Path) -> None:
    """Check the heaps of an HDF5 file, and the references to them.

    Parameters
    ----------
    path
        The file; of a large one, its first and last 4 MB.

    Raises
    ------
    FileFormatError
        If a list of objects in one has no end, or a reference claims more than the file has.
    """
    size = path.stat().st_size
    with path.open("rb") as file:
        ends = (0,) if size <= _SEARCHED_WHOLE else (0, size - _SEARCHED_ENDS)
        parts = []
        for start in ends:
            file.seek(start)
            parts.append((start, file.read(size if len(ends) == 1 else _SEARCHED_ENDS)))
    heaps = {}
    for start, data in parts:
        for at, end in _collections(data):
            numbers = _objects(data, at, end)
            if numbers is None:
                raise FileFormatError(
                    f"{path} is broken: a list of its texts has no end; get the file again from "
                    "its source."
                )
            heaps[start + at - _HEADER_BYTES] = numbers
    for address in list(heaps)[:_MOST_HEAPS]:
        for _, data in parts:
            for length, number in _references(data, address):
                if length > size and number in heaps[address]:
                    raise FileFormatError(
                        f"{path} is broken: it claims a text of {length:,} bytes and has {size:,}; "
                        "get the file again from its source."
                    )


def _found(data: bytes, wanted: bytes) -> Iterator[int]:
    at = data.find(wanted)
    while at >= 0:
        yield at
        at = data.find(wanted, at + 1)


def _collections(data: bytes) -> Iterator[tuple[int, int]]:
    """Yield where the objects of each heap begin and where the heap ends."""
    for at in _found(data, _COLLECTION):
        end = at + int.from_bytes(data[at + 8 : at + 16], "little")
        if end <= len(data):  # the library refuses those beyond the file
            yield at + _HEADER_BYTES, end


def _objects(data: bytes, at: int, end: int) -> set[int] | None:
    """Return the numbers of the objects; None if the list has no end."""
    numbers = set()
    while at + _HEADER_BYTES <= end:
        number, size = struct.unpack_from("<H6xQ", data, at)
        step = _HEADER_BYTES + -(-size // 8) * 8 if number else size
        if step == 0 or step >= 1 << 63:
            return None
        numbers.add(number)
        at += step
    return numbers


def _references(data: bytes, address: int) -> Iterator[tuple[int, int]]:
    """Yield the length and the number of what may be references to a heap."""
    for at in _found(data, struct.pack("<Q", address)):
        # Virtual datasets refer to a heap without a length.
        if at >= 4 and at + 12 <= len(data) and data[at - 2 : at] != _VIRTUAL_LAYOUT:
            yield (
                struct.unpack_from("<I", data, at - 4)[0],
                struct.unpack_from("<I", data, at + 8)[0],
            )

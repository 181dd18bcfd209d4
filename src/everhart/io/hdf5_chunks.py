"""The chunks of an HDF5 dataset, unpacked here: the library can be made to crash by one.

Its filters believe the length of a chunk, and unpack it to any size. Chunks that are packed by
deflate, shuffle and Fletcher's checksum, as most are, are unpacked here, to their size and no
more; those of other filters by the library, after a look at their lengths.

References
----------
.. [1] HDF5 File Format Specification 3.0, IV.A.2.l, "The Data Storage - Filter Pipeline Message".
"""

from __future__ import annotations

import itertools
import math
import zlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from everhart.errors import FileFormatError

if TYPE_CHECKING:
    import h5py

__all__ = ["Chunks", "chunks_of", "read_part"]

_DEFLATE, _SHUFFLE, _FLETCHER32 = 1, 2, 3
_CHECKSUM_BYTES = 4
# Words of a checksum that are summed before the remainder is taken, without an overflow.
_WORDS = 1 << 16
# A packed chunk is smaller than an unpacked one, or larger by some bytes if it is noise.
_OVERHEAD_BYTES = 4096

Bounds = Sequence[tuple[int, int]]


@dataclass(frozen=True)
class Chunks:
    """Where the chunks of a dataset lie, and how they are packed.

    Parameters
    ----------
    path
        The file.
    dtype
        Dtype of the values as stored.
    shape, chunk
        Shape of the dataset and of a chunk.
    filters
        Codes and parameters of the filters, in the order in which they were applied.
    places
        Filters left out (as bits), offset and length of the chunks, by the index of their first
        value. Those that were never written are not there.
    fill
        Value in the place of these.
    """

    path: Path
    dtype: np.dtype[Any]
    shape: tuple[int, ...]
    chunk: tuple[int, ...]
    filters: tuple[tuple[int, tuple[int, ...]], ...]
    places: dict[tuple[int, ...], tuple[int, int, int]]
    fill: Any

    @property
    def nbytes(self) -> int:
        """Bytes of a chunk once unpacked."""
        return math.prod(self.chunk) * self.dtype.itemsize

    @property
    def is_known(self) -> bool:
        """Whether all filters are known here."""
        return all(code in (_DEFLATE, _SHUFFLE, _FLETCHER32) for code, _ in self.filters)

    def read(self, bounds: Bounds) -> NDArray[Any]:
        """Read the values between a start and a stop along each axis."""
        found = np.full([stop - start for start, stop in bounds], self.fill, self.dtype)
        along = [
            range(start - start % size, stop, size)
            for (start, stop), size in zip(bounds, self.chunk, strict=True)
        ]
        with self.path.open("rb") as file:
            for first in itertools.product(*along):
                place = self.places.get(first)
                if place is None:
                    continue
                mask, offset, length = place
                file.seek(offset)
                values = self._unpacked(file.read(length), mask)
                here, there = [], []
                for at, (start, stop), size in zip(first, bounds, self.chunk, strict=True):
                    low, high = max(at, start), min(at + size, stop)
                    here.append(slice(low - start, high - start))
                    there.append(slice(low - at, high - at))
                found[tuple(here)] = values[tuple(there)]
        return found

    def _unpacked(self, raw: bytes, mask: int) -> NDArray[Any]:
        for number, (code, parameters) in reversed(list(enumerate(self.filters))):
            if mask >> number & 1:
                continue
            if code == _FLETCHER32:
                raw = self._checked(raw)
            elif code == _DEFLATE:
                raw = self._inflated(raw)
            elif code == _SHUFFLE:
                if parameters[:1] != (self.dtype.itemsize,):
                    raise self._broken(f"it is shuffled by {str(parameters)[:40]} bytes")
                raw = _unshuffled(raw, self.dtype.itemsize)
        if len(raw) != self.nbytes:
            raise self._broken(f"it has {len(raw):,} bytes and not {self.nbytes:,}")
        return np.frombuffer(raw, self.dtype).reshape(self.chunk)

    def _inflated(self, raw: bytes) -> bytes:
        decoder = zlib.decompressobj()
        try:
            # A checksum can be packed with the values.
            out = decoder.decompress(raw, self.nbytes + _CHECKSUM_BYTES)
        except zlib.error as error:
            raise self._broken(str(error)) from error
        if not decoder.eof:
            raise self._broken("it does not end where it should")
        return out

    def _checked(self, raw: bytes) -> bytes:
        values, stored = raw[:-_CHECKSUM_BYTES], raw[-_CHECKSUM_BYTES:]
        if len(raw) < _CHECKSUM_BYTES:
            raise self._broken("it has no checksum")
        low, high = _fletcher32(values)
        given = tuple(int.from_bytes(part, "little") % 65535 for part in (stored[:2], stored[2:]))
        # Old versions on some machines wrote the bytes of each half in the other order.
        turned = tuple(int.from_bytes(part, "big") % 65535 for part in (stored[:2], stored[2:]))
        if (low, high) not in (given, turned):
            raise self._broken("its checksum is wrong")
        return values

    def _broken(self, what: str) -> FileFormatError:
        return FileFormatError(
            f"{self.path} has a broken chunk of pixels ({what[:80]}): get the file again from its "
            "source."
        )


def _unshuffled(raw: bytes, size: int) -> bytes:
    """Put the bytes of each value together again: first come the first bytes of all of them."""
    count = len(raw) // size
    planes = np.frombuffer(raw, np.uint8, count * size).reshape(size, count)
    values = np.empty((count, size), np.uint8)
    for number, plane in enumerate(planes):  # much quicker than to turn all of them at once
        values[:, number] = plane
    return values.tobytes() + raw[count * size :]


def _fletcher32(raw: bytes) -> tuple[int, int]:
    """Return the two sums of Fletcher's checksum of 16-bit words, modulo 65535."""
    words = np.frombuffer(raw + b"\0" * (len(raw) % 2), ">u2")
    low = high = 0
    for start in range(0, len(words), _WORDS):
        part = words[start : start + _WORDS].astype(np.uint64)
        weights = np.arange(len(part), 0, -1, dtype=np.uint64)
        high = (high + low * len(part) + int((weights * part).sum())) % 65535
        low = (low + int(part.sum())) % 65535
    return low, high


def chunks_of(path: Path, dataset: h5py.Dataset) -> Chunks | None:
    """Look up the chunks of a dataset, whose claims were checked; None if it has none.

    Raises
    ------
    FileFormatError
        If one is not in the file, or has an impossible length.
    """
    import h5py

    plan = dataset.id.get_create_plist()
    # Addresses in the file do not always count what stands before its first block.
    if plan.get_layout() != h5py.h5d.CHUNKED or dataset.file.userblock_size:
        return None
    if not dataset.id.get_type().equal(h5py.h5t.py_create(dataset.dtype, logical=True)):
        return None
    filters = [plan.get_filter(number) for number in range(plan.get_nfilters())]
    chunk = plan.get_chunk()
    expected = math.prod(-(-n // c) for n, c in zip(dataset.shape, chunk, strict=True))
    places: dict[tuple[int, ...], tuple[int, int, int]] = {}

    def add(info: Any) -> int | None:
        places[info.chunk_offset] = (info.filter_mask, info.byte_offset, info.size)
        return 1 if len(places) > expected else None

    dataset.id.chunk_iter(add)
    found = Chunks(
        path=path,
        dtype=dataset.dtype,
        shape=dataset.shape,
        chunk=chunk,
        filters=tuple((code, tuple(values)) for code, _, values, _ in filters),
        places=places,
        fill=dataset.fillvalue,
    )
    file_bytes, nbytes = path.stat().st_size, found.nbytes
    most = 2 * nbytes + _OVERHEAD_BYTES if filters else nbytes
    for _, offset, length in places.values():
        if length > most or length < (1 if filters else nbytes) or offset + length > file_bytes:
            raise FileFormatError(
                f"{path} is broken or truncated: a chunk of {nbytes:,} bytes is said to be at "
                f"bytes {offset:,} to {offset + length:,} of {file_bytes:,}; get the file again "
                "from its source."
            )
    if any(code == _FLETCHER32 for code, _ in found.filters):
        shortest = min((length for _, _, length in places.values()), default=nbytes)
        if shortest <= _CHECKSUM_BYTES:  # which makes the library crash
            raise FileFormatError(
                f"{path} is broken: a chunk of {shortest} bytes has no room for its checksum; get "
                "the file again from its source."
            )
    return found


def read_part(dataset: h5py.Dataset, chunks: Chunks | None, bounds: Bounds) -> NDArray[Any]:
    """Read the values of a dataset between a start and a stop along each axis.

    Parameters
    ----------
    dataset
        The dataset.
    chunks
        What :func:`chunks_of` gives for it.
    bounds
        Start and stop along each axis, within the shape.

    Returns
    -------
    ndarray
        In the byte order of the file.
    """
    if chunks is not None and chunks.is_known:
        return chunks.read(bounds)
    return np.asarray(dataset[tuple(slice(start, stop) for start, stop in bounds)])

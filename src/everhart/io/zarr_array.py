"""Zarr arrays, of format 2 and 3: parts of them, read chunk by chunk.

The zarr package is not used to read: it decompresses a chunk to whatever comes out, loads any
codec that the metadata name, and takes longer to import than an image takes to be read.

References
----------
.. [1] Zarr core specification 2, https://zarr-specs.readthedocs.io/en/latest/v2/v2.0.html
.. [2] Zarr core specification 3, https://zarr-specs.readthedocs.io/en/latest/v3/core/
.. [3] Sharding codec, https://zarr-specs.readthedocs.io/en/latest/v3/codecs/sharding-indexed/
"""

from __future__ import annotations

import contextlib
import itertools
import math
import os
import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from everhart.errors import FileFormatError, LimitError
from everhart.io.limits import Limits
from everhart.io.zarr_codecs import BytesCodec, CodecError, most_packed, unpacked
from everhart.io.zarr_store import Store

__all__ = ["Bounds", "Shards", "ZarrArray"]

# Chunks that are not there have to be looked for: as many as this, and one more for so many bytes.
_MOST_CHUNKS, _CHUNK_BYTES = 65_536, 64
_MOST_INDEX_BYTES = 64 << 20
_NOWHERE = 2**64 - 1
# Decoders leave Python's lock, so that threads help; each holds a chunk.
_MOST_THREADS, _THREADED_BYTES, _MOST_SIDE_BY_SIDE_BYTES = 4, 2 << 20, 256 << 20

Bounds = Sequence[tuple[int, int]]


class Shards(NamedTuple):
    """Chunks that lie together in one file, with an index of where each begins."""

    shape: tuple[int, ...]
    at_end: bool
    codecs: tuple[BytesCodec, ...]


@dataclass
class ZarrArray:
    """An array.

    Parameters
    ----------
    store, key
        Where it is.
    shape, chunk
        Its shape, and that of its chunks.
    dtype
        Dtype as stored.
    fill
        Value of chunks that are not there.
    order
        Axes of a chunk in the order in which they are stored.
    codecs
        What packs a chunk.
    chunk_key
        Gives the key of a chunk, or of a shard, from its place in the grid.
    axes
        Names of the axes, None where there are none.
    shards
        Where chunks are in shards.
    """

    store: Store
    key: str
    shape: tuple[int, ...]
    chunk: tuple[int, ...]
    dtype: np.dtype[Any]
    fill: Any
    order: tuple[int, ...]
    codecs: tuple[BytesCodec, ...]
    chunk_key: Callable[[tuple[int, ...]], str]
    axes: tuple[str, ...] | None = None
    shards: Shards | None = None
    _indices: dict[tuple[int, ...], NDArray[np.uint64] | None] = field(
        default_factory=dict, repr=False
    )
    _lock: threading.Lock = field(default_factory=threading.Lock, repr=False)

    @property
    def chunk_bytes(self) -> int:
        """Bytes of a chunk once unpacked."""
        return math.prod(self.chunk) * self.dtype.itemsize

    def count(self, bounds: Bounds) -> int:
        """Return the number of chunks that a part of the array touches."""
        return math.prod(
            -(-stop // size) - start // size
            for (start, stop), size in zip(bounds, self.chunk, strict=True)
        )

    def check(self, limits: Limits, bounds: Bounds) -> int:
        """Check that a part of the array can be read: its chunks, and what stands for it.

        Parameters
        ----------
        limits
            What is allowed.
        bounds
            Start and stop along each axis.

        Returns
        -------
        int
            Bytes of the store that stand for it, as far as the ratio needs them.

        Raises
        ------
        LimitError
            If there are too many chunks, or a chunk is too large.
        """
        name, count = str(self.store.path), self.count(bounds)
        decoded = math.prod(stop - start for start, stop in bounds) * self.dtype.itemsize
        nbytes = self.chunk_bytes
        limits.check(name, height=1, width=1, itemsize=nbytes, file_bytes=nbytes)
        stored = decoded
        if decoded > limits.ratio_free_bytes:
            stored = self.store.bytes_under(self.key, math.ceil(decoded / limits.max_ratio) + 1)
        if count > _MOST_CHUNKS:
            enough = (count - _MOST_CHUNKS) * _CHUNK_BYTES
            if self.store.bytes_under(self.key, enough) < enough:
                raise LimitError(
                    f"{name} claims {count:,} chunks of pixels, more than the bytes of the store "
                    "can hold: it is broken, or almost empty; get it again from its source."
                )
        return stored

    def has_any(self) -> bool:
        """Say whether any chunk is there."""
        return self.store.bytes_under(self.key, 1) > 0

    def read(self, bounds: Bounds, limits: Limits) -> tuple[NDArray[Any], int]:
        """Read the values between a start and a stop along each axis.

        Parameters
        ----------
        bounds
            Start and stop along each axis, within the shape.
        limits
            How much larger a chunk may be than what it is unpacked from.

        Returns
        -------
        values : ndarray
            Native and writable.
        missing : int
            Chunks that are not in the store, and hold the fill value.

        Raises
        ------
        FileFormatError
            If a chunk is broken.
        LimitError
            If one unpacks to too much.
        """
        found = np.empty([stop - start for start, stop in bounds], self.dtype.newbyteorder("="))
        along = [
            range(start // size, -(-stop // size))
            for (start, stop), size in zip(bounds, self.chunk, strict=True)
        ]
        missing = _in_threads(
            lambda place: self._put(place, found, bounds, limits),
            itertools.product(*along),
            self._threads(found.nbytes),
        )
        return found, missing

    def _threads(self, nbytes: int) -> int:
        """Return how many chunks to unpack side by side."""
        by_memory = min(nbytes // _THREADED_BYTES, _MOST_SIDE_BY_SIDE_BYTES // self.chunk_bytes)
        return max(1, min(by_memory, _MOST_THREADS, os.cpu_count() or 1))

    def _put(
        self, place: tuple[int, ...], found: NDArray[Any], bounds: Bounds, limits: Limits
    ) -> bool:
        """Put what is wanted of a chunk where it belongs; say whether it is missing."""
        here, there = [], []
        for at, (start, stop), size in zip(place, bounds, self.chunk, strict=True):
            low, high = max(at * size, start), min((at + 1) * size, stop)
            here.append(slice(low - start, high - start))
            there.append(slice(low - at * size, high - at * size))
        raw = self._raw(place)
        if raw is None:
            found[tuple(here)] = self.fill
        else:
            found[tuple(here)] = self._values(place, raw, limits)[tuple(there)]
        return raw is None

    def _values(self, place: tuple[int, ...], raw: bytes, limits: Limits) -> NDArray[Any]:
        nbytes = self.chunk_bytes
        if nbytes > limits.ratio_free_bytes and nbytes > limits.max_ratio * max(1, len(raw)):
            raise LimitError(
                f"{self.store.path} has a chunk of {len(raw):,} bytes that claims {nbytes:,}: "
                f"{limits.max_ratio:g} times its size is allowed; if you trust it, read it with a "
                "larger limits=Limits(max_ratio=...)."
            )
        try:
            data = unpacked(raw, self.codecs, nbytes)
        except CodecError as error:
            raise FileFormatError(
                f"{self.store.path} has a broken chunk of pixels {self._named(place)} ({error}): "
                "copy the store again from its source."
            ) from error
        values: NDArray[Any] = np.frombuffer(data, self.dtype)
        if self.dtype.kind == "b":  # other bytes than 0 and 1 would be no bool
            values = np.frombuffer(data, np.uint8) != 0
        stored = values.reshape([self.chunk[axis] for axis in self.order])
        return stored.transpose(np.argsort(self.order))

    def _named(self, place: tuple[int, ...]) -> str:
        return "at " + ", ".join(str(n * size) for n, size in zip(place, self.chunk, strict=True))

    def _raw(self, place: tuple[int, ...]) -> bytes | None:
        """Return a chunk as it is stored, None if it is not there."""
        most = most_packed(self.codecs, self.chunk_bytes)
        if self.shards is None:
            return self.store.read(self.chunk_key(place), most)
        per = [outer // inner for outer, inner in zip(self.shards.shape, self.chunk, strict=True)]
        shard = tuple(n // count for n, count in zip(place, per, strict=True))
        index = self._index_of(shard, per)
        if index is None:
            return None
        start, length = (
            int(n) for n in index[tuple(n % count for n, count in zip(place, per, strict=True))]
        )
        if start == length == _NOWHERE:
            return None
        if start >= _NOWHERE >> 1:
            raise FileFormatError(
                f"{self.store.path} has a broken index of chunks: copy it again from its source."
            )
        return self.store.read(self.chunk_key(shard), most, start=start, length=length)

    def _index_of(self, shard: tuple[int, ...], per: Sequence[int]) -> NDArray[np.uint64] | None:
        with self._lock:
            if shard not in self._indices:
                if 16 * math.prod(per) * len(self._indices) > _MOST_INDEX_BYTES:
                    self._indices.clear()
                self._indices[shard] = self._read_index(shard, per)
            return self._indices[shard]

    def _read_index(self, shard: tuple[int, ...], per: Sequence[int]) -> NDArray[np.uint64] | None:
        assert self.shards is not None
        nbytes = 16 * math.prod(per)
        stored = most_packed(self.shards.codecs, nbytes)
        raw = self.store.read(
            self.chunk_key(shard),
            _MOST_INDEX_BYTES,
            start=-stored if self.shards.at_end else 0,
            length=stored,
        )
        if raw is None:
            return None
        try:
            data = unpacked(raw, self.shards.codecs, nbytes)
        except CodecError as error:
            raise FileFormatError(
                f"{self.store.path} has a broken index of chunks ({error}): copy the store again "
                "from its source."
            ) from error
        return np.frombuffer(data, "<u8").reshape(*per, 2)


def _in_threads(
    put: Callable[[tuple[int, ...]], bool], places: Iterator[tuple[int, ...]], threads: int
) -> int:
    """Call a function for all places, and count how often it says yes; stop at an error."""
    lock, stop, said = threading.Lock(), threading.Event(), 0

    def work() -> None:
        nonlocal said
        try:
            while not stop.is_set():
                with lock:
                    place = next(places, None)
                if place is None:
                    break
                if put(place):
                    with lock:
                        said += 1
        except BaseException:
            stop.set()
            raise

    with ThreadPoolExecutor(threads) as pool:
        helpers = []
        with contextlib.suppress(RuntimeError):  # there may be no memory for one more thread
            for _ in range(threads - 1):
                helpers.append(pool.submit(work))  # noqa: PERF401 - those before it count
        work()
        for helper in helpers:
            helper.result()
    return said

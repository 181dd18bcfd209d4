"""Unpacking the chunks of Zarr arrays, to their size and no more.

Zarr's own codecs unpack a chunk to whatever it holds, and some of them run what they find in it
(pickles). Here the codecs are a closed list, and each is told how many bytes may come out.

References
----------
.. [1] Zarr core specification 2, https://zarr-specs.readthedocs.io/en/latest/v2/v2.0.html
.. [2] Zarr core specification 3, https://zarr-specs.readthedocs.io/en/latest/v3/core/
"""

from __future__ import annotations

import bz2
import lzma
import struct
import zlib
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

__all__ = ["BytesCodec", "CodecError", "bytes_codec", "most_packed", "unpacked"]

_MOST_LZMA_BYTES = 256 << 20
_CHECKSUM_BYTES = 4
_BLOSC_HEADER_BYTES = 16

Decode = Callable[[bytes, int], bytes]


class CodecError(ValueError):
    """A chunk is broken, or a codec is not known here."""


class BytesCodec(NamedTuple):
    """One step that makes other bytes of bytes.

    Parameters
    ----------
    name
        What Zarr calls it.
    decode
        Undoes it; it is given the bytes, and how many may come out.
    packed_bytes
        Largest number of bytes that the step made of a number of bytes.
    """

    name: str
    decode: Decode
    packed_bytes: Callable[[int], int]


def bytes_codec(name: str, configuration: Mapping[str, Any]) -> BytesCodec:
    """Return a codec.

    Parameters
    ----------
    name
        As in the metadata of the array.
    configuration
        Its parameters there.

    Raises
    ------
    CodecError
        If it is not known.
    """
    short = name.removeprefix("numcodecs.")
    if short in _COMPRESSORS:
        return BytesCodec(name, _COMPRESSORS[short], _grown)
    if name == "crc32c":
        return BytesCodec(name, _crc32c, lambda n: n + _CHECKSUM_BYTES)
    if short == "shuffle":
        size = configuration.get("elementsize", 4)
        if not isinstance(size, int) or not 0 < size <= 64:
            raise CodecError(f"shuffle of {size!r} bytes")
        return BytesCodec(name, lambda data, _: _unshuffled(data, size), lambda n: n)
    raise CodecError(f"the codec {name[:40]!r}")


def unpacked(data: bytes, codecs: Sequence[BytesCodec], nbytes: int) -> bytes:
    """Undo codecs.

    Parameters
    ----------
    data
        A chunk as it is stored.
    codecs
        In the order in which they were applied.
    nbytes
        Bytes that must come out.

    Raises
    ------
    CodecError
        If it is broken, or another number of bytes comes out.
    """
    for codec, most in zip(reversed(codecs), reversed(_sizes(codecs, nbytes)), strict=True):
        try:
            data = codec.decode(data, most)
        except CodecError:
            raise
        except (EOFError, OSError, RuntimeError, ValueError, zlib.error, lzma.LZMAError) as error:
            reason = " ".join(str(error).split())[:80] or type(error).__name__
            raise CodecError(f"{codec.name}: {reason}") from error
    if len(data) != nbytes:
        raise CodecError(f"it has {len(data):,} bytes and not {nbytes:,}")
    return data


def most_packed(codecs: Sequence[BytesCodec], nbytes: int) -> int:
    """Return the largest number of bytes that a packed chunk can have."""
    for codec in codecs:
        nbytes = codec.packed_bytes(nbytes)
    return nbytes


def _sizes(codecs: Sequence[BytesCodec], nbytes: int) -> list[int]:
    """Return how many bytes went into each codec, at most."""
    sizes = []
    for codec in codecs:
        sizes.append(nbytes)
        nbytes = codec.packed_bytes(nbytes)
    return sizes


def _grown(nbytes: int) -> int:
    return 2 * nbytes + 4096  # noise does not shrink, and every codec has a header


def _inflated(data: bytes, most: int) -> bytes:
    # 32 more: the header says whether it is of zlib or of gzip.
    return _whole(zlib.decompressobj(wbits=32 + zlib.MAX_WBITS), data, most)


def _bunzipped(data: bytes, most: int) -> bytes:
    return _whole(bz2.BZ2Decompressor(), data, most)


def _unlzma(data: bytes, most: int) -> bytes:
    return _whole(lzma.LZMADecompressor(memlimit=_MOST_LZMA_BYTES), data, most)


def _whole(decoder: Any, data: bytes, most: int) -> bytes:
    out: bytes = decoder.decompress(data, most + 1)  # one more, so that its end is seen
    if not decoder.eof:
        raise CodecError("it does not end where it should")
    return out


def _unzstd(data: bytes, most: int) -> bytes:
    import imagecodecs

    return bytes(imagecodecs.zstd_decode(data, out=most))


def _unlz4(data: bytes, most: int) -> bytes:
    import imagecodecs

    if len(data) <= 4:
        raise CodecError("it is empty")
    (size,) = struct.unpack_from("<i", data)
    if not 0 <= size <= most:
        raise CodecError(f"it claims {size:,} bytes, where {most:,} are allowed")
    return bytes(imagecodecs.lz4_decode(data[4:], out=size)) if size else b""


def _unblosc(data: bytes, most: int) -> bytes:
    import imagecodecs

    if len(data) < _BLOSC_HEADER_BYTES:
        raise CodecError("it is shorter than its header")
    size, block, packed = struct.unpack_from("<3I", data, 4)
    if size > most or packed > len(data) or (size and not 0 < block <= size):
        raise CodecError(f"it claims {size:,} bytes of {packed:,}, where {most:,} are allowed")
    return bytes(imagecodecs.blosc_decode(data, out=size)) if size else b""


def _crc32c(data: bytes, _: int) -> bytes:
    import google_crc32c  # comes with Zarr

    values, stored = data[:-_CHECKSUM_BYTES], data[-_CHECKSUM_BYTES:]
    if len(data) < _CHECKSUM_BYTES or google_crc32c.value(values) != int.from_bytes(
        stored, "little"
    ):
        raise CodecError("its checksum is wrong")
    return values


def _unshuffled(data: bytes, size: int) -> bytes:
    """Put the bytes of each value together again: first come the first bytes of all of them."""
    if len(data) % size:
        raise CodecError(f"it is no multiple of {size} bytes")
    return np.frombuffer(data, np.uint8).reshape(size, -1).T.tobytes()


_COMPRESSORS: dict[str, Decode] = {
    "zlib": _inflated,
    "gzip": _inflated,
    "bz2": _bunzipped,
    "lzma": _unlzma,
    "zstd": _unzstd,
    "lz4": _unlz4,
    "blosc": _unblosc,
}

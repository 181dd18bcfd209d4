"""What compressed images claim in their own headers.

A strip or tile of a TIFF file that is JPEG, JPEG 2000, PNG, WebP, LERC, JPEG XL or JPEG XR has a
header of its own, and its decoder believes that one: a tile of 64 x 64 pixels can unpack to
gigabytes. The sizes are read here as the specifications lay them down: ITU-T T.81 (B.2.2), T.800
(A.5.1), the PNG specification (11.2.2), RFC 9649 (2.5 to 2.7), ISO/IEC 18181-1 (D.2), ITU-T T.832
(8.3), and Esri's description of LERC.
"""

from __future__ import annotations

import re
import struct
from collections.abc import Callable, Iterable
from mmap import mmap
from pathlib import Path

from everhart.errors import FileFormatError, LimitError

__all__ = ["MOST_SCANS", "check_pieces", "check_scans", "claimed_size"]

# Bytes from the start within which a header lies, but for JPEG with comments.
_HEADER_BYTES = 4096

#: Scans of a progressive JPEG. Encoders make ten or so; each costs a pass over the whole image.
MOST_SCANS = 100

_OLD_JPEG = 6
_MARKERS_OF_SIZE = {*range(0xC0, 0xD0)} - {0xC4, 0xC8, 0xCC}
_MARKERS_ALONE = {0x01, *range(0xD0, 0xD9)}
_START_OF_SCAN, _PROGRESSIVE = 0xDA, (0xC2, 0xC6, 0xCA, 0xCE)


def check_pieces(
    path: Path,
    compression: int,
    places: Iterable[tuple[int, int]],
    shape: tuple[int, int],
) -> None:
    """Check that the strips or tiles of a TIFF file unpack to no more than their share.

    Parameters
    ----------
    path
        The file.
    compression
        The TIFF tag of it; pieces that have no headers of their own are not looked at.
    places
        Offset and length of each piece.
    shape
        Height and width of a strip or tile.

    Raises
    ------
    FileFormatError
        If a piece has no header.
    LimitError
        If one claims far more pixels than `shape` has.
    """
    if compression not in _SIZES:
        return
    # Some encoders pad, and nothing is lost by a small piece that is too large.
    allowed = 2 * shape[0] * shape[1] + (1 << 16)
    with path.open("rb") as file:
        for offset, length in places:
            file.seek(offset)
            data = file.read(min(length, _HEADER_BYTES))
            size = claimed_size(compression, data)
            if length > len(data) and (size is None or _is_progressive(data)):
                data += file.read(length - len(data))
                size = claimed_size(compression, data)
            if size is None and compression != _OLD_JPEG:  # whose header is in the tags
                raise FileFormatError(
                    f"{path} is broken: a strip or tile at byte {offset:,} lacks its header; get "
                    "the file again from its source."
                )
            if size is not None and size[0] * size[1] > allowed:
                raise LimitError(
                    f"{path} has a strip or tile that claims {size[0]} x {size[1]} pixels, where "
                    f"{shape[0]} x {shape[1]} are its share: it is made to exhaust the memory, so "
                    "get the image from another source."
                )
            check_scans(str(path), data)


def claimed_size(compression: int, data: bytes) -> tuple[int, int] | None:
    """Return the height and width that a compressed piece claims.

    Parameters
    ----------
    compression
        The TIFF tag of it.
    data
        The piece, or its first bytes.

    Returns
    -------
    tuple of int or None
        None if there is no such header in these bytes.
    """
    try:
        return _SIZES[compression](data)
    except (struct.error, IndexError, ValueError):
        return None


def check_scans(name: str, data: bytes | mmap) -> None:
    """Refuse a progressive JPEG of more scans than any encoder makes.

    Parameters
    ----------
    name
        What the image is called in the error.
    data
        All of it, or a map of its file.

    Raises
    ------
    LimitError
        If there are more than `MOST_SCANS`.
    """
    if not _is_progressive(data):
        return
    # Within the compressed data, a byte of 255 is followed by 0 unless it begins a marker.
    scans = sum(1 for _ in re.finditer(bytes([0xFF, _START_OF_SCAN]), data))
    if scans > MOST_SCANS:
        raise LimitError(
            f"{name} is a progressive JPEG of {scans:,} scans, where {MOST_SCANS} are allowed: it "
            "is made to keep its reader busy, so get the image from another source."
        )


def _is_progressive(data: bytes | mmap) -> bool:
    frame = _jpeg_frame(data) if data[:2] == b"\xff\xd8" else None
    return frame is not None and frame[0] in _PROGRESSIVE


def _jpeg_frame(data: bytes | mmap) -> tuple[int, int] | None:
    """Return the marker of the frame and where its parameters begin."""
    place = 2
    while place + 4 <= len(data):
        if data[place] != 0xFF:  # decoders skip what is between segments
            place = data.find(b"\xff", place)
            if place < 0:
                return None
            continue
        marker = data[place + 1]
        if marker == 0xFF:
            place += 1
        elif marker in _MARKERS_ALONE or marker == 0:
            place += 2
        elif marker in _MARKERS_OF_SIZE:
            return marker, place + 4
        elif marker in (_START_OF_SCAN, 0xD9):
            return None
        else:
            place += 2 + max(2, int.from_bytes(data[place + 2 : place + 4], "big"))
    return None


def _jpeg(data: bytes) -> tuple[int, int] | None:
    frame = _jpeg_frame(data)
    return None if frame is None else struct.unpack_from(">HH", data, frame[1] + 1)


def _jpeg_2000(data: bytes) -> tuple[int, int] | None:
    # The codestream, or a file of boxes with the codestream in one.
    place = data.index(b"\xff\x4f\xff\x51")
    right, bottom, left, top = struct.unpack_from(">4I", data, place + 8)
    return bottom - top, right - left


def _png(data: bytes) -> tuple[int, int] | None:
    width, height = struct.unpack_from(">II", data, 16)
    return height, width


def _webp(data: bytes) -> tuple[int, int] | None:
    kind = data[12:16]
    if kind == b"VP8X":
        return 1 + int.from_bytes(data[27:30], "little"), 1 + int.from_bytes(data[24:27], "little")
    if kind == b"VP8L":
        bits = int.from_bytes(data[21:25], "little")
        return 1 + (bits >> 14 & 0x3FFF), 1 + (bits & 0x3FFF)
    width, height = struct.unpack_from("<HH", data, 26)
    return height & 0x3FFF, width & 0x3FFF


def _lerc(data: bytes) -> tuple[int, int] | None:
    place = data.index(b"Lerc2 ") + 6
    (version,) = struct.unpack_from("<i", data, place)
    # A checksum came with version 3.
    return struct.unpack_from("<II", data, place + (8 if version >= 3 else 4))


def _jpeg_xl(data: bytes) -> tuple[int, int] | None:
    start = 0
    if not data.startswith(b"\xff\x0a"):  # a file of boxes
        box = data.find(b"jxlc")
        start = box + 4 if box >= 0 else data.index(b"jxlp") + 8
    bits = int.from_bytes(data[start + 2 : start + 16], "little")

    def take(n: int) -> int:
        nonlocal bits
        value = bits & ((1 << n) - 1)
        bits >>= n
        return value

    small = take(1)

    def length() -> int:
        return 8 * (take(5) + 1) if small else take((9, 13, 18, 30)[take(2)]) + 1

    height = length()
    ratio = take(3)
    times, over = ((1, 1), (12, 10), (4, 3), (3, 2), (16, 9), (5, 4), (2, 1))[ratio - 1]
    return height, length() if ratio == 0 else height * times // over


def _jpeg_xr(data: bytes) -> tuple[int, int] | None:
    place = data.index(b"WMPHOTO\0") + 8
    short = data[place + 2] & 0x80
    width, height = struct.unpack_from(">HH" if short else ">II", data, place + 4)
    return height + 1, width + 1


_SIZES: dict[int, Callable[[bytes], tuple[int, int] | None]] = {
    **dict.fromkeys((6, 7, 33007, 34892), _jpeg),
    **dict.fromkeys((33003, 33004, 33005, 34712), _jpeg_2000),
    34933: _png,
    **dict.fromkeys((34927, 50001), _webp),
    34887: _lerc,
    **dict.fromkeys((50002, 52546), _jpeg_xl),
    **dict.fromkeys((22610, 34934), _jpeg_xr),
}

"""The pages of a TIFF file: their chain followed to its end, alike ones in one table.

A library that takes every page apart needs 0.1 ms for each; a film has tens of thousands. Pages
that differ in nothing but where their pixels lie are told by comparing the raw tags, and are
mapped or read with the first page's layout.
"""

from __future__ import annotations

import math
import struct
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
from numpy.typing import NDArray

from everhart.errors import FileFormatError
from everhart.io.limits import Limits

__all__ = ["PageTable", "alike_pages", "follow_pages", "is_plain"]

# Tags on which the layout of the pixels depends: size, depth, compression, colour, strips,
# predictor, tiles, sample format.
_LAYOUT_TAGS = (256, 257, 258, 259, 262, 266, 277, 278, 284, 317, 322, 323, 332, 338, 339, 347)
_STRIP_TAGS, _TILE_TAGS = (273, 279), (324, 325)
_INTEGERS = {3: "u2", 4: "u4", 16: "u8"}
# Most files have fewer tags a page, so that one read gets them all.
_READ_AT_ONCE = 512


@dataclass(frozen=True)
class PageTable:
    """Pages that are alike.

    Parameters
    ----------
    page
        The first one, as tifffile gives it.
    offsets, counts
        Where its strips or tiles lie and how long they are, shape ``(pages, segments)``.
    """

    page: Any
    offsets: NDArray[np.int64]
    counts: NDArray[np.int64]

    @property
    def shape(self) -> tuple[int, int, int]:
        """Pages, rows and columns."""
        return len(self.offsets), int(self.page.imagelength), int(self.page.imagewidth)

    def step(self) -> int | None:
        """Return the bytes from one page to the next, where they lie evenly and undecoded."""
        page = self.page
        if not is_plain(page) or page.is_tiled:
            return None
        starts, ends = self.offsets[:, 0], self.offsets + self.counts
        if (ends[:, :-1] != self.offsets[:, 1:]).any():
            return None
        # What is behind the last row of a page does not matter.
        if (ends[:, -1] - starts < page.nbytes).any():
            return None
        steps = np.diff(starts)
        if not steps.size:
            return int(page.nbytes)
        return int(steps[0]) if (steps == steps[0]).all() and steps[0] >= page.nbytes else None

    def decoded(self, file: BinaryIO, number: int) -> NDArray[Any]:
        """Read and decode one page.

        Parameters
        ----------
        file
            The file, open for reading.
        number
            Its place, from 0.
        """
        page = self.page
        out: NDArray[Any] = np.zeros(page.shaped, np.dtype(page.dtype))
        for index, (offset, count) in enumerate(
            zip(self.offsets[number].tolist(), self.counts[number].tolist(), strict=True)
        ):
            file.seek(offset)
            data = file.read(count)
            segment, place, shape = page.decode(
                data, index, jpegtables=page.jpegtables, jpegheader=page.jpegheader
            )
            if segment is None:
                continue
            sample, depth, row, column = place[:4]
            out[
                sample,
                depth : depth + shape[0],
                row : row + shape[1],
                column : column + shape[2],
            ] = segment[
                : page.imagedepth - depth, : page.imagelength - row, : page.imagewidth - column
            ]
        return out.reshape(self.shape[1:])


def is_plain(page: Any) -> bool:
    """Say whether a page's pixels lie in the file as they are in memory."""
    dtype = page.dtype
    return bool(
        dtype is not None
        and page.compression == 1
        and page.predictor == 1
        and dtype.kind in "uif"
        and page.bitspersample == 8 * dtype.itemsize
        and page.fillorder == 1
        and not page.is_subsampled
    )


def follow_pages(path: Path, file: Any, limits: Limits) -> list[bytes]:
    """Follow the chain of pages to its end: tifffile stops where it breaks off.

    Parameters
    ----------
    path
        The file.
    file
        The open ``tifffile.TiffFile``.
    limits
        Its largest number of frames.

    Returns
    -------
    list of bytes
        The raw tags of each page.

    Raises
    ------
    FileFormatError
        If the chain leads out of the file, or its pages overlap.
    LimitError
        If there are too many pages.
    """
    layout = file.tiff
    size = path.stat().st_size
    seen: set[int] = set()
    tags: list[bytes] = []
    total = 0
    following = file.pages.first.offset
    with path.open("rb", buffering=0) as handle:
        while following and following not in seen:
            seen.add(following)
            handle.seek(following)
            block = handle.read(_READ_AT_ONCE)
            if len(block) < layout.tagnosize:
                break
            (n_tags,) = struct.unpack_from(layout.tagnoformat, block)
            length = layout.tagnosize + n_tags * layout.tagsize
            total += length
            if total > size:  # pages that share their tags are a trap for readers
                break
            if len(block) < length + layout.offsetsize:
                block += handle.read(length + layout.offsetsize - len(block))
            if len(block) < length + layout.offsetsize:
                break
            tags.append(block[layout.tagnosize : length])
            if len(tags) > 4 * limits.max_frames:  # the error tells how many there are, if few
                break
            (following,) = struct.unpack_from(layout.offsetformat, block, length)
    limits.check_frames(str(path), len(tags))
    if following:
        raise FileFormatError(
            f"{path} is truncated or broken: its list of pages breaks off after {len(seen)}, at "
            f"byte {following:,} of {size:,}; get the file again from its source."
        )
    return tags


def alike_pages(path: Path, file: Any, tags: list[bytes]) -> PageTable | None:
    """Make a table of all pages, if they are alike and grey.

    Parameters
    ----------
    path
        The file.
    file
        The open ``tifffile.TiffFile``.
    tags
        As :func:`follow_pages` gives them.

    Returns
    -------
    PageTable or None
        None if a page differs from the first in more than the place of its pixels.
    """
    page = file.pages.first
    if len({len(block) for block in tags}) != 1 or page.samplesperpixel != 1:
        return None
    if page.imagedepth != 1 or page.dtype is None:
        return None
    order, wide = file.byteorder, file.is_bigtiff
    integer = f"{order}u8" if wide else f"{order}u4"
    entry = np.dtype(
        [("code", f"{order}u2"), ("type", f"{order}u2"), ("count", integer), ("value", integer)]
    )
    table = np.frombuffer(b"".join(tags), entry).reshape(len(tags), -1)
    if (table["code"] != table["code"][0]).any():
        return None
    codes = table["code"][0].tolist()
    if len(set(codes)) != len(codes):
        return None
    for name in ("type", "count"):
        same = table[name] == table[name][0]
        if not same[:, [code in _LAYOUT_TAGS for code in codes]].all():
            return None
    for code in _LAYOUT_TAGS:
        if code in codes and (table["value"] != table["value"][0])[:, codes.index(code)].any():
            return None
    segments = math.prod(page.chunked)
    places = []
    for code in _TILE_TAGS if page.is_tiled else _STRIP_TAGS:
        if code not in codes:
            return None
        found = _integers(path, table[:, codes.index(code)], segments, order)
        if found is None:
            return None
        places.append(found)
    return PageTable(page, places[0], places[1])


def _integers(path: Path, entries: NDArray[Any], n: int, order: str) -> NDArray[np.int64] | None:
    """Return the values of one tag of all pages, shape ``(pages, n)``."""
    kinds = set(entries["type"].tolist())
    if len(kinds) != 1 or (entries["count"] != n).any():
        return None
    kind = _INTEGERS.get(kinds.pop())
    if kind is None:
        return None
    dtype = np.dtype(f"{order}{kind}")
    inline = entries["value"].dtype.itemsize
    if n * dtype.itemsize <= inline:
        raw = np.ascontiguousarray(entries["value"]).view(np.uint8).reshape(len(entries), inline)
        packed = np.ascontiguousarray(raw[:, : n * dtype.itemsize])
        return packed.view(dtype).astype(np.int64)
    if len(entries) * n * 8 > 16 * path.stat().st_size:  # pages that share one list
        return None
    out = np.empty((len(entries), n), np.int64)
    with path.open("rb", buffering=0) as handle:
        for row, offset in enumerate(entries["value"].tolist()):
            handle.seek(min(offset, 2**62))
            data = handle.read(n * dtype.itemsize)
            if len(data) < n * dtype.itemsize:
                return None
            out[row] = np.frombuffer(data, dtype)
    return out

"""Which pages of a TIFF file are read, and how."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from everhart.errors import FileFormatError, LimitError
from everhart.io.bitmap import in_short
from everhart.io.codestreams import check_pieces
from everhart.io.findings import Findings
from everhart.io.grey import bands_to_grey, palette_to_grey
from everhart.io.lazy import map_pixels
from everhart.io.limits import Limits
from everhart.io.tiff_pages import PageTable, alike_pages, follow_pages, is_plain
from everhart.io.warning import warn

__all__ = ["TiffSource", "native", "tiff_source"]

# PhotometricInterpretation of TIFF 6.0
_WHITE_IS_ZERO, _BLACK_IS_ZERO, _RGB, _PALETTE, _YCBCR = 0, 1, 2, 3, 6

# A page that is not like the first takes 0.1 ms: tens of thousands of nothing, many seconds.
_MANY_PAGES, _LEAST_PAGE_BYTES = 4096, 1024
# A strip or a tile takes 0.01 ms.
_MANY_PIECES, _LEAST_PIECE_BYTES = 65_536, 64


@dataclass(frozen=True)
class TiffSource:
    """The pages that are read: a table of alike ones, or a series as tifffile sees it."""

    page: Any
    table: PageTable | None = None
    series: Any = None

    @property
    def shape(self) -> tuple[int, int, int]:
        """Frames, rows and columns."""
        height, width = int(self.page.imagelength), int(self.page.imagewidth)
        if self.table is not None:
            return self.table.shape
        plane = max(1, height * width * self.page.samplesperpixel)
        return max(1, int(self.series.size) // plane), height, width

    @property
    def dtype(self) -> np.dtype[Any] | None:
        """Dtype in the file, in its byte order; None for what tifffile has no name for."""
        dtype = self.page.dtype if self.series is None else self.series.dtype
        return None if dtype is None else dtype.newbyteorder(self.page.parent.byteorder)

    def layout(self) -> tuple[int, int] | None:
        """Return the offset of the first frame and the step to the next, if nothing is decoded."""
        page, series = self.page, self.series
        if int(page.photometric) != _BLACK_IS_ZERO or page.samplesperpixel != 1:
            return None
        if self.table is not None:
            step = self.table.step()
            return None if step is None else (int(self.table.offsets[0, 0]), step)
        if series.dataoffset is None or not is_plain(page):
            return None
        return int(series.dataoffset), math.prod(self.shape[1:]) * int(series.dtype.itemsize)

    def check(self, path: Path, limits: Limits, *, whole: bool) -> None:
        """Check the claims before anything is decoded.

        `whole` says whether all frames will be in memory at once.
        """
        _check(path, self, limits, whole=whole)

    def pixels(self, path: Path, tags: Findings) -> NDArray[Any]:
        """Read all frames as one grey stack, or a plane if there is but one."""
        layout, dtype = self.layout(), self.dtype
        if layout is not None and dtype is not None:
            strides = (layout[1], self.shape[2] * dtype.itemsize, dtype.itemsize)
            found = map_pixels(
                path, offset=layout[0], shape=self.shape, dtype=dtype, strides=strides
            )
            self.tell_axes(path)
        elif self.table is not None:
            with path.open("rb") as handle:
                first = self.table.decoded(handle, 0)
                found = np.empty(self.table.shape, first.dtype)
                found[0] = first
                for number in range(1, len(found)):
                    found[number] = self.table.decoded(handle, number)
            found = self.grey(path, found, tags)
        else:
            stored = self.series.asarray()
            if not stored.size:  # of a page whose strips are nowhere
                raise _without_strips(path)
            found = _stack(path, self.grey(path, stored, tags), self.series)
        return native(found[0] if len(found) == 1 and found.ndim == 3 else found)

    def tell_axes(self, path: Path) -> None:
        """Warn about more than one axis of frames."""
        _told_axes(path, self.series)

    def grey(self, path: Path, pixels: NDArray[Any], tags: Findings) -> NDArray[Any]:
        """Make decoded pixels grey."""
        return _grey(path, pixels, self.page, self.series, tags.data_bar_rows or 0)


def tiff_source(path: Path, file: Any, limits: Limits) -> TiffSource:
    """Choose the pages to read.

    Parameters
    ----------
    path
        The file.
    file
        The open ``tifffile.TiffFile``.
    limits
        Its largest number of pages.

    Returns
    -------
    TiffSource
        All pages where they are alike, else the series of the largest pages.

    Raises
    ------
    FileFormatError
        If the list of pages is broken, or there is no image.
    LimitError
        If there are too many pages.
    """
    blocks = follow_pages(path, file, limits)
    if len(blocks) > 1 and not file.is_ome:
        table = alike_pages(path, file, blocks)
        if table is not None and _all_of_one(file, table):
            return TiffSource(table.page, table=table)
    size = path.stat().st_size
    if len(blocks) > _MANY_PAGES and size < len(blocks) * _LEAST_PAGE_BYTES:
        raise LimitError(
            f"{path} holds {len(blocks):,} pages that are not alike, in {size:,} bytes: more than "
            f"{_MANY_PAGES:,} of so little are a trap for readers, so get the images as files of "
            "their own."
        )
    series = _main_series(path, file)
    return TiffSource(series.keyframe, series=series)


def _all_of_one(file: Any, table: PageTable) -> bool:
    """Say whether the description, if there is one, has all alike pages as one stack."""
    frames, height, width = table.shape
    try:
        imagej, shaped = file.imagej_metadata or {}, file.shaped_metadata or ()
        if shaped:
            shape = tuple(int(n) for n in shaped[0]["shape"])
            several = [n for n in shape[:-2] if n > 1]
            if math.prod(shape) != frames * height * width or len(several) > 1:
                return False
        axes = [imagej.get(name, 1) for name in ("frames", "slices", "channels")]
        return bool(imagej.get("images", frames) == frames) and sum(n > 1 for n in axes) < 2
    except Exception:  # the tags are judged later, and the pages are there
        return not file.is_imagej


def _main_series(path: Path, file: Any) -> Any:
    """Choose the series of the most pixels, a grey one before a coloured preview."""
    candidates = [s for s in _series(path, file) if s.size and s.keyframe is not None]
    if not candidates:
        raise FileFormatError(f"{path} holds no image: get the file again from its source.")

    def plane(series: Any) -> int:
        return int(series.keyframe.imagelength * series.keyframe.imagewidth)

    best = max(candidates, key=lambda s: (plane(s), s.keyframe.samplesperpixel == 1, s.size))
    others = [s for s in candidates if s is not best and plane(s) == plane(best)]
    if any(s.keyframe.samplesperpixel == best.keyframe.samplesperpixel for s in others):
        warn(path, f"holds {len(candidates)} images of different kinds; the largest was read")
    return best


def _series(path: Path, file: Any) -> list[Any]:
    """List the series; pages of one shape are one where the description misleads tifffile."""
    import tifffile

    try:
        return list(file.series)
    except Exception as error:
        pages = list(file.pages)
        alike = [page for page in pages if page.hash == pages[0].hash]
        warn(
            path,
            f"has a description that cannot be understood ({in_short(error)}); its pages were read",
        )
        first = alike[0].aspage()
        shape = (len(alike), *first.shape)
        return [tifffile.TiffPageSeries(alike, shape, first.dtype, "I" + first.axes)]


def _check(path: Path, source: TiffSource, limits: Limits, *, whole: bool) -> None:
    page, series, dtype = source.page, source.series, source.dtype
    if dtype is not None and dtype.kind == "c":
        raise FileFormatError(
            f"{path} holds complex numbers, such as a Fourier transform, and no image: export its "
            "modulus or its phase as floats."
        )
    if dtype is None or dtype.kind not in "buif":
        raise FileFormatError(
            f"{path} holds pixels that are neither integers nor floats of a usual size: "
            "integers and floats of 8 to 64 bits and 1-bit images are read."
        )
    if page.imagedepth > 1:
        raise FileFormatError(f"{path} holds volumetric pages: export it as a stack of pages.")
    size = path.stat().st_size
    (frames, height, width), bands = source.shape, page.samplesperpixel
    limits.check(
        str(path),
        height=height,
        width=width,
        bands=bands,
        frames=frames if whole else 1,
        itemsize=dtype.itemsize,
        file_bytes=size,
        mapped=dtype.isnative and source.layout() is not None,
    )
    if page.is_tiled:
        # Tiles are decoded whole, so that a small image can hide a large one.
        limits.check(
            f"a tile of {path}",
            height=page.tilelength,
            width=page.tilewidth,
            bands=bands,
            itemsize=dtype.itemsize,
            file_bytes=size,
        )
    pieces = math.prod(page.chunked) * (frames if source.table or not series else len(series.pages))
    if pieces > _MANY_PIECES and size < pieces * _LEAST_PIECE_BYTES:
        raise LimitError(
            f"{path} claims {pieces:,} strips or tiles, in {size:,} bytes: more than "
            f"{_MANY_PIECES:,} of so little are a trap for readers, so get the image from another "
            "source."
        )
    if source.table is not None:
        offsets, counts = source.table.offsets, source.table.counts
        if (counts <= 0).any() or (offsets <= 0).any():
            raise _without_strips(path)
        _all_there(path, int((offsets + counts).max()), size)
        _check_pieces(path, page, offsets.ravel().tolist(), counts.ravel().tolist())
        return
    _no_frame_lost(path, page.parent, series)
    if series.dataoffset is not None:
        _all_there(path, series.dataoffset + series.nbytes, size)
        return
    expected = math.prod(page.chunked)
    for part in series.pages:
        if part is None:
            raise FileFormatError(
                f"{path} lacks pages that it lists: get all its files from the source."
            )
        offsets, counts = part.dataoffsets, part.databytecounts
        if len(offsets) < expected or len(counts) < expected or not all(counts[:expected]):
            raise _without_strips(path)
        _all_there(path, max(o + c for o, c in zip(offsets, counts, strict=False)), size)
        _check_pieces(path, page, offsets, counts)


def _check_pieces(path: Path, page: Any, offsets: Sequence[int], counts: Sequence[int]) -> None:
    size = path.stat().st_size
    if page.compression == 1 and sum(counts) > size:
        raise LimitError(
            f"{path} claims {sum(counts):,} bytes of pixels that are not compressed, and has "
            f"{size:,}: its strips or tiles overlap, so get the image from another source."
        )
    width, height = (page.tilewidth, page.tilelength) if page.is_tiled else (
        page.imagewidth, min(page.rowsperstrip, page.imagelength)
    )  # fmt: skip
    places = zip(offsets, counts, strict=False)
    check_pieces(path, int(page.compression), places, (int(height), int(width)))


def _without_strips(path: Path) -> FileFormatError:
    return FileFormatError(
        f"{path} lacks strips or tiles, as after an interrupted recording: get the file again from "
        "its source."
    )


def _no_frame_lost(path: Path, file: Any, series: Any) -> None:
    """Check ImageJ's large stacks, whose frames follow the first without pages of their own."""
    try:
        promised = int((file.imagej_metadata or {}).get("images", 1))
    except Exception:  # a broken description; the tags are judged later
        return
    frames = len(series.pages)
    page = series.keyframe
    if promised <= frames or page.compression != 1 or series.dataoffset is None:
        return
    if series.size >= promised * page.size:
        return
    size = path.stat().st_size
    if size - series.dataoffset >= 2 * page.nbytes * frames:
        _all_there(path, series.dataoffset + promised * page.nbytes, size)
    warn(path, f"says that it holds {promised} frames, and {frames} are there; these were read")


def _all_there(path: Path, end: int, size: int) -> None:
    if end > size:
        raise FileFormatError(
            f"{path} is truncated: its header points to byte {end:,} and the file has {size:,}; "
            "get the file again from its source."
        )


def _grey(path: Path, pixels: NDArray[Any], page: Any, series: Any, bar_rows: int) -> NDArray[Any]:
    photometric = int(page.photometric)
    if page.samplesperpixel > 1 and series is not None and "S" in series.axes:
        pixels = np.moveaxis(pixels, series.axes.index("S"), -1)
        if photometric in (_RGB, _YCBCR):
            pixels = bands_to_grey(path, pixels, drawn_rows=bar_rows)
        elif photometric in (_WHITE_IS_ZERO, _BLACK_IS_ZERO):
            pixels = np.ascontiguousarray(pixels[..., 0])  # the others are alpha or the like
        else:
            raise FileFormatError(
                f"{path} is in the colour space {page.photometric!r}: grey, palette, RGB and YCbCr "
                "are read; export it as grey."
            )
    elif photometric == _PALETTE and page.colormap is not None:
        pixels = palette_to_grey(path, pixels, _palette(page.colormap))
    if photometric == _WHITE_IS_ZERO:
        pixels = _inverted(path, pixels, page.bitspersample)
    return pixels


def _palette(colormap: NDArray[Any]) -> NDArray[Any]:
    """Return a palette as ``(entries, 3)``, in 8 bits where it has no more."""
    palette = colormap.T
    for scale in (257, 256):  # 255 is 65535 as the standard says, or 65280
        if not (palette % scale).any() and (palette // scale <= 255).all():
            return (palette // scale).astype(np.uint8)
    return palette.astype(np.uint16)


def _inverted(path: Path, pixels: NDArray[Any], bits: int) -> NDArray[Any]:
    if pixels.dtype.kind == "b":
        return ~pixels
    if pixels.dtype.kind == "u":
        white = pixels.dtype.type(2**bits - 1)
        return np.asarray(white - pixels)
    warn(path, f"says that white is zero, which is not defined for {pixels.dtype}; not inverted")
    return pixels


def _stack(path: Path, pixels: NDArray[Any], series: Any) -> NDArray[Any]:
    """Give planes as one stack."""
    page = series.keyframe
    sizes = dict(zip(series.axes, series.shape, strict=True))
    # tifffile leaves out axes of length 1 in one place or the other.
    if "Y" in sizes and "X" in sizes:
        height, width = sizes["Y"], sizes["X"]
    else:
        height, width = page.imagelength, page.imagewidth
    _told_axes(path, series)
    return pixels.reshape(-1, height, width)


def _told_axes(path: Path, series: Any) -> None:
    """Warn about more than one axis of frames."""
    if series is None:
        return
    leading = [
        f"{axis}={n}"
        for axis, n in zip(series.axes, series.shape, strict=True)
        if axis not in "YXS" and n > 1
    ]
    if len(leading) > 1:
        warn(path, f"has the axes {', '.join(leading)}; they were read as one stack of frames")


def native(pixels: NDArray[Any]) -> NDArray[Any]:
    """Give pixels in native byte order, writable."""
    if not pixels.dtype.isnative:
        pixels = pixels.astype(pixels.dtype.newbyteorder("="))
    return pixels if pixels.flags.writeable else np.array(pixels)

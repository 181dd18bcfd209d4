"""Read the pixels of TIFF files, after a look at what they claim."""

from __future__ import annotations

import math
import struct
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from everhart.errors import EverhartError, FileFormatError
from everhart.io.bitmap import broken, in_short
from everhart.io.calibration import with_sources
from everhart.io.grey import bands_to_grey, palette_to_grey
from everhart.io.limits import Limits
from everhart.io.tiff_tags import tags_of
from everhart.io.warning import warn
from everhart.micrograph import Micrograph

__all__ = ["read_tiff"]

# PhotometricInterpretation of TIFF 6.0
_WHITE_IS_ZERO, _BLACK_IS_ZERO, _RGB, _PALETTE, _YCBCR = 0, 1, 2, 3, 6


def read_tiff(path: Path, limits: Limits) -> Micrograph:
    """Read a TIFF file.

    Parameters
    ----------
    path
        The file.
    limits
        Checked before anything is decoded.

    Returns
    -------
    Micrograph
        The image, or the stack of all pages of the same shape.

    Raises
    ------
    FileFormatError
        If the file is broken or truncated, or holds nothing that is a grey image.
    LimitError
        If its header claims too much.
    """
    import tifffile

    try:
        with tifffile.TiffFile(path) as file:
            _no_page_lost(path, file, limits)
            series = _main_series(path, file)
            _check(path, series, limits)
            _no_frame_lost(path, file, series)
            pixels = _grey(path, series)
            tags = tags_of(path, file, series, pixels.shape)
            record = tags.record
            if record is not None and 1 in record.shape and pixels.size == math.prod(record.shape):
                pixels = pixels.reshape(record.shape)  # tifffile drops axes of length 1
    except (EverhartError, MemoryError):
        raise
    except Exception as error:  # a broken file makes decoders raise nearly anything
        raise broken(path, error) from error
    return with_sources(
        pixels,
        calibration=tags.calibration,
        metadata=tags.metadata,
        data_bar_rows=tags.data_bar_rows,
        data_bar_source=tags.data_bar_source,
        record=tags.record,
    )


def _no_page_lost(path: Path, file: Any, limits: Limits) -> None:
    """Follow the chain of pages to its end: tifffile stops where it breaks off."""
    layout = file.tiff
    size = path.stat().st_size
    seen: set[int] = set()
    following = file.pages.first.offset
    with path.open("rb") as handle:
        while following and following not in seen:
            seen.add(following)
            handle.seek(following)
            count = handle.read(layout.tagnosize)
            if len(count) < layout.tagnosize:
                break
            (n_tags,) = struct.unpack(layout.tagnoformat, count)
            handle.seek(following + layout.tagnosize + n_tags * layout.tagsize)
            pointer = handle.read(layout.offsetsize)
            if len(pointer) < layout.offsetsize:
                break
            (following,) = struct.unpack(layout.offsetformat, pointer)
    if following:
        raise FileFormatError(
            f"{path} is truncated or broken: its list of pages breaks off after {len(seen)}, at "
            f"byte {following:,} of {size:,}; get the file again from its source."
        )
    limits.check_frames(str(path), len(seen))


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


def _check(path: Path, series: Any, limits: Limits) -> None:
    """Check the claims of a series, before anything is decoded."""
    page = series.keyframe
    if page.dtype is None or page.dtype.kind not in "buif":
        raise FileFormatError(
            f"{path} holds pixels that are neither integers nor floats of a usual size: "
            "integers and floats of 8 to 64 bits and 1-bit images are read."
        )
    if page.imagedepth > 1:
        raise FileFormatError(f"{path} holds volumetric pages: export it as a stack of pages.")
    height, width, bands = page.imagelength, page.imagewidth, page.samplesperpixel
    size = path.stat().st_size
    itemsize = series.dtype.itemsize
    frames = max(1, series.size // max(1, height * width * bands))
    limits.check(
        str(path),
        height=height,
        width=width,
        bands=bands,
        frames=frames,
        itemsize=itemsize,
        file_bytes=size,
    )
    if page.is_tiled:
        # Tiles are decoded whole, so that a small image can hide a large one.
        limits.check(
            f"a tile of {path}",
            height=page.tilelength,
            width=page.tilewidth,
            bands=bands,
            itemsize=itemsize,
            file_bytes=size,
        )
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
            raise FileFormatError(
                f"{path} lacks strips or tiles, as after an interrupted recording: get the file "
                "again from its source."
            )
        _all_there(path, max(o + c for o, c in zip(offsets, counts, strict=False)), size)


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


def _grey(path: Path, series: Any) -> NDArray[Any]:
    page = series.keyframe
    pixels = series.asarray()
    photometric = int(page.photometric)
    if page.samplesperpixel > 1 and "S" in series.axes:
        pixels = np.moveaxis(pixels, series.axes.index("S"), -1)
        if photometric in (_RGB, _YCBCR):
            pixels = bands_to_grey(path, pixels)
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
    return _stack(path, pixels, series)


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
    """Give a plane or a stack of planes in native byte order, writable."""
    page = series.keyframe
    sizes = dict(zip(series.axes, series.shape, strict=True))
    # tifffile leaves out axes of length 1 in one place or the other.
    if "Y" in sizes and "X" in sizes:
        height, width = sizes["Y"], sizes["X"]
    else:
        height, width = page.imagelength, page.imagewidth
    leading = [
        f"{axis}={n}"
        for axis, n in zip(series.axes, series.shape, strict=True)
        if axis not in "YXS" and n > 1
    ]
    if len(leading) > 1:
        warn(path, f"has the axes {', '.join(leading)}; they were read as one stack of frames")
    pixels = pixels.reshape(-1, height, width)
    if len(pixels) == 1:
        pixels = pixels[0]
    if not pixels.dtype.isnative:
        pixels = pixels.astype(pixels.dtype.newbyteorder("="))
    return pixels if pixels.flags.writeable else np.array(pixels)

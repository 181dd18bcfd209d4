"""Windows bitmaps."""

from __future__ import annotations

from pathlib import Path

from everhart.io.bitmap import bitmap_pixels
from everhart.io.bitmap_findings import bitmap_micrograph
from everhart.io.limits import Limits
from everhart.io.registry import Format
from everhart.micrograph import Micrograph

__all__ = ["FORMAT"]


def _sniff(start: bytes) -> bool:
    # "BM" alone could begin a text: the four reserved bytes are zero, as every writer does.
    return start.startswith(b"BM") and start[6:10] == bytes(4)


def _read(path: Path, limits: Limits) -> Micrograph:
    from PIL.BmpImagePlugin import BmpImageFile

    pixels, info = bitmap_pixels(path, limits, BmpImageFile)
    return bitmap_micrograph(path, pixels, info)


FORMAT = Format("BMP", (".bmp",), _sniff, _read, stacks=False)

"""JPEG: what overview pictures and old archives are in."""

from __future__ import annotations

from mmap import ACCESS_READ, mmap
from pathlib import Path

from everhart.io.bitmap import bitmap_pixels
from everhart.io.bitmap_findings import bitmap_micrograph
from everhart.io.codestreams import check_scans
from everhart.io.limits import Limits
from everhart.io.registry import Format
from everhart.micrograph import Micrograph

__all__ = ["FORMAT"]


def _sniff(start: bytes) -> bool:
    return start.startswith(b"\xff\xd8\xff")


def _read(path: Path, limits: Limits) -> Micrograph:
    from PIL.JpegImagePlugin import JpegImageFile

    with path.open("rb") as file, mmap(file.fileno(), 0, access=ACCESS_READ) as data:
        check_scans(str(path), data)
    pixels, info = bitmap_pixels(path, limits, JpegImageFile)
    return bitmap_micrograph(path, pixels, info)


FORMAT = Format("JPEG", (".jpg", ".jpeg"), _sniff, _read, stacks=False)

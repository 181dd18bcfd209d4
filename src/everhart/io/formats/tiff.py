"""TIFF: microscopes' own files, ImageJ's, OME's, and what Everhart writes."""

from __future__ import annotations

from everhart.io.registry import Format
from everhart.io.tiff_plane import tiff_plane
from everhart.io.tiff_read import read_tiff, tiff_frames
from everhart.io.tiff_write import write_tiff

__all__ = ["FORMAT"]

_MAGIC = (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+")


def _sniff(start: bytes) -> bool:
    return start.startswith(_MAGIC)


FORMAT = Format("TIFF", (".tif", ".tiff"), _sniff, read_tiff, write_tiff, tiff_frames, tiff_plane)

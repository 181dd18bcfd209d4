"""One module a file format; this list is the order in which they are asked."""

from __future__ import annotations

from everhart.io.formats import bmp, dm, emd, jpeg, mrc, npy, packed, png, tia, tiff, zarr
from everhart.io.registry import Format

__all__ = ["FORMATS"]

FORMATS: tuple[Format, ...] = (
    tiff.FORMAT,
    png.FORMAT,
    jpeg.FORMAT,
    bmp.FORMAT,
    npy.FORMAT,
    dm.FORMAT,
    emd.FORMAT,
    tia.SER,
    tia.EMI,
    mrc.FORMAT,
    packed.FORMAT,
    zarr.FORMAT,
)

"""Olympus Soft Imaging Solutions: tag 33560."""

from __future__ import annotations

from everhart.io.vendors.values import (
    Tree,
    VendorData,
    iso_time,
    known,
    number,
    times,
)

__all__ = ["from_sis"]


def from_sis(tree: Tree) -> VendorData:
    """Understand the tag 33560 (Olympus SIS) of cameras of Olympus Soft Imaging Solutions.

    Parameters
    ----------
    tree
        As tifffile gives it, lengths in m.
    """
    common = known(
        instrument=tree.get("cameraname"),
        magnification=number(tree.get("magnification")),
        acquisition_time=iso_time(tree.get("datetime")),
    )
    x, y = number(tree.get("pixelsizex")), number(tree.get("pixelsizey"))
    size = (times(y, 1e9), times(x, 1e9)) if x and y else None
    return VendorData("olympus_sis", dict(tree), common, size)

"""Olympus Soft Imaging Solutions: tags 33560 and 33471."""

from __future__ import annotations

from everhart.io.record import plain
from everhart.io.vendors.values import (
    Tree,
    VendorData,
    ini_tree,
    iso_time,
    known,
    length_nm,
    number,
    section,
    times,
)

__all__ = ["from_sis", "from_sis_ini"]


def from_sis(tree: Tree) -> VendorData:
    """Understand the tag 33560 (Olympus SIS) of cameras of Olympus Soft Imaging Solutions.

    Parameters
    ----------
    tree
        As tifffile gives it, lengths in m.
    """
    common = known(
        instrument=tree.get("cameraname"),
        magnification=number(tree.get("magnification")) or None,
        acquisition_time=iso_time(tree.get("datetime")),
    )
    x, y = number(tree.get("pixelsizex")), number(tree.get("pixelsizey"))
    size = (times(y or x, 1e9), times(x or y, 1e9)) if x or y else None
    return VendorData("olympus_sis", plain(dict(tree)), common, size)


def from_sis_ini(text: str) -> VendorData:
    """Understand the tag 33471 (Olympus INI) of the same cameras.

    Parameters
    ----------
    text
        Sections of names and values; in the first, or in ``[General]``, the pixel size.

    Notes
    -----
    No description of the tag is public. A pixel size is taken only where it is in a unit of
    length that stands with it.
    """
    tree = ini_tree(text)
    size = None
    for branch in tree.values():
        said = {name.casefold(): value for name, value in branch.items()}
        x, y = (said.get(f"pixelsize{axis}") or said.get(f"xycalibration{axis}") for axis in "xy")
        unit = said.get("pixelsizeunit") or said.get("unit") or ""
        found = (length_nm(y or x, unit), length_nm(x or y, unit)) if x or y else (None, None)
        if None not in found:
            size = found
            break
    general = section(tree, "General")
    common = known(instrument=general.get("Camera"), magnification=number(general.get("Mag")))
    return VendorData("olympus_ini", tree, common, size)

"""DigitalMicrograph's scales in TIFF files: tags 65003 to 65014."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from everhart.io.calibration import nm_per
from everhart.io.vendors.values import VendorData, number, times

__all__ = ["DM_TAGS", "from_dm_tags"]

#: Tag -> what it holds, for the axes x, y and z.
DM_TAGS = {
    65003: "unit_x", 65004: "unit_y", 65005: "unit_z",
    65006: "origin_x", 65007: "origin_y", 65008: "origin_z",
    65009: "scale_x", 65010: "scale_y", 65011: "scale_z",
    65012: "unit_name_x", 65013: "unit_name_y", 65014: "unit_name_z",
    65022: "intensity_unit", 65024: "intensity_origin", 65025: "intensity_scale",
}  # fmt: skip


def from_dm_tags(tags: Mapping[int, Any]) -> VendorData:
    """Understand the tags that DigitalMicrograph adds to the TIFF files that it exports.

    Parameters
    ----------
    tags
        Values of those of `DM_TAGS` that are there.

    Notes
    -----
    A scale in another unit than one of length (1/nm, mrad, eV, s) is no pixel size.
    """
    tree = {name: tags[code] for code, name in DM_TAGS.items() if code in tags}
    units = [
        nm_per(tree.get(f"unit_{axis}") or tree.get(f"unit_name_{axis}") or "") for axis in "yx"
    ]
    scales = [number(tree.get(f"scale_{axis}")) for axis in "yx"]
    size = None
    if units[0] is not None and units[1] is not None:
        size = (times(scales[0], units[0]), times(scales[1], units[1]))
    return VendorData("digital_micrograph", tree, {}, size)

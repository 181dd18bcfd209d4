"""DigitalMicrograph's scales in TIFF files: tags 65003 to 65014."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

from everhart.io.calibration import nm_per
from everhart.io.vendors.values import VendorData, decoded, number, times

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
    A scale in another unit than one of length (1/nm, mrad, eV, s) is no pixel size; a negative
    one says that the axis runs the other way.
    """
    tree = {name: _plain(tags[code]) for code, name in DM_TAGS.items() if code in tags}
    y, x = (_nm_per_pixel(tree, axis) for axis in "yx")
    return VendorData("digital_micrograph", tree, {}, None if y is None or x is None else (y, x))


def _nm_per_pixel(tree: Mapping[str, Any], axis: str) -> float | None:
    units = (nm_per(tree.get(f"{kind}_{axis}", "")) for kind in ("unit", "unit_name"))
    unit = next((nm for nm in units if nm is not None), None)
    scale = number(tree.get(f"scale_{axis}"))
    if unit is None:
        return None
    return math.nan if scale is None else times(abs(scale), unit)


def _plain(value: Any) -> Any:
    """Make text of the bytes and 16-bit units that some versions write."""
    if isinstance(value, bytes):
        return decoded(value).rstrip("\0")
    if isinstance(value, tuple) and all(isinstance(n, int) and 0 <= n < 0xD800 for n in value):
        return "".join(map(chr, value)).rstrip("\0")
    return value

"""The calibration and the metadata in a TIFF file's tags.

The sources of a pixel size, from the most to the least trusted: the vendor's tags, ImageJ's
description, OME-XML, and the plain resolution tags.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

from everhart.io.bitmap import in_short
from everhart.io.calibration import (
    NM_PER_UNIT,
    Calibration,
    checked,
    from_resolution,
    nm_per,
)
from everhart.io.record import Record, from_json
from everhart.io.vendors import VendorData
from everhart.io.vendors.fei import from_fei, from_fei_xml
from everhart.io.vendors.sis import from_sis
from everhart.io.vendors.zeiss import from_zeiss
from everhart.io.warning import warn

__all__ = ["TiffTags", "tags_of"]

# Tag -> how to understand it, the most trusted first.
_VENDORS: dict[int, Callable[[Any], VendorData]] = {
    34682: from_fei,
    34680: from_fei,
    34683: from_fei_xml,
    34118: from_zeiss,
    33560: from_sis,
}
_X_RESOLUTION, _Y_RESOLUTION, _RESOLUTION_UNIT = 282, 283, 296
_UNIT_NM = {2: NM_PER_UNIT["inch"], 3: NM_PER_UNIT["cm"]}


@dataclass
class TiffTags:
    """What the tags of a file say about its pixels."""

    calibration: Calibration | None = None
    metadata: dict[str, Any] = field(default_factory=dict)
    data_bar_rows: int | None = None
    data_bar_source: str | None = None
    record: Record | None = None


def tags_of(path: Path, file: Any, series: Any, shape: tuple[int, ...]) -> TiffTags:
    """Read the tags; a broken one costs a warning and what it would have told.

    Parameters
    ----------
    path
        The file, for the warnings.
    file
        The open ``tifffile.TiffFile``.
    series
        The series that was read.
    shape
        Shape of its grey pixels.

    Returns
    -------
    TiffTags
        What they say.
    """
    found = TiffTags()
    first = file.pages.first
    page = series.keyframe
    description = str(page.description or first.description or "")
    imagej = _guarded(path, "ImageJ", lambda: file.imagej_metadata) or {}
    shaped = _guarded(path, "ImageDescription", lambda: file.shaped_metadata)
    found.record = from_json(str(imagej.get("Info", ""))) or from_json(description)
    _vendors(path, page, found, shape)
    if found.calibration is None and imagej:
        found.calibration = _imagej(path, page, imagej)
    ome = file.ome_metadata
    if found.calibration is None and ome:
        found.calibration = _guarded(path, "OME-XML", lambda: _ome(path, ome))
    if found.calibration is None:
        found.calibration = _resolution(path, page, silent=found.record is not None)
    if found.record is None:
        kept = {
            "imagej": imagej,
            "ome_xml": ome,
            "description": None if imagej or ome or shaped else description.strip(),
            "software": str(first.software or "").strip(),
        }
        found.metadata.update((name, value) for name, value in kept.items() if value)
    return found


def _guarded(path: Path, what: str, understand: Callable[[], Any]) -> Any:
    try:
        return understand()
    except Exception as error:  # a vendor's tag can hold anything
        warn(path, f"has {what} metadata that cannot be understood ({in_short(error)}); ignored")
        return None


def _understood(understand: Callable[[Any], VendorData], tag: Any) -> VendorData:
    return understand(tag.value)


def _vendors(path: Path, page: Any, found: TiffTags, shape: tuple[int, ...]) -> None:
    for code, understand in _VENDORS.items():
        tag = page.tags.get(code)
        if tag is None:
            continue
        what = f"{understand.__name__.removeprefix('from_').upper()} (tag {code})"
        data = _guarded(path, what, partial(_understood, understand, tag))
        if data is None:
            continue
        found.metadata.setdefault(data.name, data.tree)
        common = found.metadata.setdefault("common", {})
        for name, value in data.common.items():
            common.setdefault(name, value)
        if found.calibration is None and data.pixel_size_nm is not None:
            found.calibration = checked(path, data.pixel_size_nm, data.name)
        rows = data.field_rows
        # A page of another scale than the scan has no bar of that height.
        if found.data_bar_rows is None and rows is not None and 0.6 <= rows / shape[-2] <= 1:
            found.data_bar_rows = shape[-2] - rows
            found.data_bar_source = data.name


def _imagej(path: Path, page: Any, imagej: dict[str, Any]) -> Calibration | None:
    """Understand ImageJ: the resolution tags count pixels in the unit of the description."""
    unit_nm = nm_per(imagej.get("unit"))
    y_unit_nm = nm_per(imagej["yunit"]) if imagej.get("yunit") else unit_nm
    if unit_nm is None or y_unit_nm is None:
        return None
    x, y = _ratio(page, _X_RESOLUTION), _ratio(page, _Y_RESOLUTION)
    if x is None or y is None:
        return None
    return checked(path, (y_unit_nm / y, unit_nm / x), "imagej")


def _ome(path: Path, xml: str) -> Calibration | None:
    """Understand OME-XML: the physical size of a pixel, in um where no unit is given."""
    from xml.etree import ElementTree as ET

    if re.search(r"<!(DOCTYPE|ENTITY)", xml):
        raise ValueError("XML with a document type")
    for element in ET.fromstring(xml).iter():
        if not str(element.tag).endswith("Pixels"):
            continue
        sizes = []
        for axis in "YX":
            size = element.get(f"PhysicalSize{axis}")
            unit_nm = nm_per(element.get(f"PhysicalSize{axis}Unit", "µm"))
            if size is None or unit_nm is None:
                return None
            sizes.append(float(size) * unit_nm)
        return checked(path, sizes, "ome")
    return None


def _resolution(path: Path, page: Any, *, silent: bool) -> Calibration | None:
    unit = page.tags.get(_RESOLUTION_UNIT)
    unit_nm = _UNIT_NM.get(int(unit.value) if unit is not None else 2)
    x, y = _ratio(page, _X_RESOLUTION), _ratio(page, _Y_RESOLUTION)
    if unit_nm is None or x is None or y is None:
        return None
    return from_resolution(path, y, x, unit_nm, silent=silent)


def _ratio(page: Any, code: int) -> float | None:
    tag = page.tags.get(code)
    try:
        numerator, denominator = tag.value
        return float(numerator / denominator) or None
    except (AttributeError, TypeError, ValueError, ZeroDivisionError):
        return None

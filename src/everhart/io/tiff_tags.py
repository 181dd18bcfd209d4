"""The calibration and the metadata in a TIFF file's tags.

The sources of a pixel size, from the most to the least trusted: the vendor's tags, ImageJ's
description, OME-XML, a side-car, and the plain resolution tags.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

from everhart.io.calibration import (
    NM_PER_UNIT,
    Calibration,
    checked,
    from_resolution,
    nm_per,
)
from everhart.io.findings import Findings, guarded
from everhart.io.record import from_json
from everhart.io.sidecar import read_sidecar
from everhart.io.vendors import VendorData
from everhart.io.vendors.fei import from_fei_text
from everhart.io.vendors.gatan_tiff import DM_TAGS, from_dm_tags
from everhart.io.vendors.jeol import from_jeol_xml, is_jeol_xml
from everhart.io.vendors.sis import from_sis, from_sis_ini
from everhart.io.vendors.tescan import from_tescan
from everhart.io.vendors.tvips import from_tvips
from everhart.io.vendors.values import decoded, xml_root
from everhart.io.vendors.zeiss import from_zeiss

__all__ = ["tags_of"]

Shape = tuple[int, ...]

# Tags of text and other bytes -> how to understand them, the most trusted first.
_BYTE_TAGS: dict[int, tuple[str, Callable[[bytes, Shape], VendorData]]] = {
    34682: ("FEI", lambda raw, _: from_fei_text(decoded(raw))),
    34680: ("FEI", lambda raw, _: from_fei_text(decoded(raw))),
    34683: ("FEI", lambda raw, _: from_fei_text(decoded(raw))),
    34118: ("Zeiss", lambda raw, shape: from_zeiss(decoded(raw), shape[-1])),
    50431: ("TESCAN", lambda raw, _: from_tescan(raw)),
    33471: ("Olympus", lambda raw, _: from_sis_ini(decoded(raw))),
}
# Tags that tifffile takes apart.
_PARSED_TAGS: dict[int, tuple[str, Callable[[Any], VendorData]]] = {
    33560: ("Olympus SIS", from_sis),
    37706: ("TVIPS", from_tvips),
}
_LARGEST_TAG = 16 << 20

_X_RESOLUTION, _Y_RESOLUTION, _RESOLUTION_UNIT = 282, 283, 296
_UNIT_NM = {2: NM_PER_UNIT["inch"], 3: NM_PER_UNIT["cm"]}

# Units of length of the OME schema, whose case matters: Pm is no pm.
_OME_NM = {
    "am": 1e-9, "fm": 1e-6, "pm": 1e-3, "Å": 0.1, "nm": 1.0, "µm": 1e3, "μm": 1e3, "um": 1e3,
    "mm": 1e6, "cm": 1e7, "dm": 1e8, "m": 1e9, "km": 1e12, "thou": 2.54e4, "in": 2.54e7,
    "pt": 2.54e7 / 72,
}  # fmt: skip


def tags_of(path: Path, file: Any, page: Any, shape: Shape) -> Findings:
    """Read the tags; a broken one costs a warning and what it would have told.

    Parameters
    ----------
    path
        The file, for the warnings.
    file
        The open ``tifffile.TiffFile``.
    page
        The page that was read, or the first of several.
    shape
        Shape of its grey pixels.

    Returns
    -------
    Findings
        What they say.
    """
    found = Findings()
    first = file.pages.first
    description = str(page.description or first.description or "").partition("\0")[0]
    imagej = guarded(path, "ImageJ", lambda: file.imagej_metadata) or {}
    shaped = guarded(path, "ImageDescription", lambda: file.shaped_metadata)
    found.record = from_json(str(imagej.get("Info", ""))) or from_json(description)
    for data in _vendors(path, file, page, description, shape):
        found.take(path, data, shape)
    if found.calibration is None and imagej:
        found.calibration = _imagej(path, page, imagej)
    ome = file.ome_metadata
    if found.calibration is None and ome:
        found.calibration = guarded(path, "OME-XML", lambda: _ome(path, ome))
    if found.calibration is None and found.record is None:
        read_sidecar(path, found, shape)
    if found.calibration is None:
        found.calibration = _resolution(path, page, silent=found.record is not None)
    if found.record is None:
        kept = {
            "imagej": imagej,
            "ome_xml": ome,
            "description": None
            if imagej or ome or shaped or is_jeol_xml(description)
            else description.strip(),
            "software": str(first.software or "").strip(),
        }
        found.metadata.update((name, value) for name, value in kept.items() if value)
    return found


def _vendors(path: Path, file: Any, page: Any, description: str, shape: Shape) -> list[VendorData]:
    found: list[VendorData | None] = []
    for code, (vendor, understand) in _BYTE_TAGS.items():
        if code in page.tags:
            raw = partial(_raw, file, page.tags[code])
            found.append(
                guarded(path, f"{vendor} (tag {code})", partial(_call, understand, raw, shape))
            )
    for code, (vendor, parse) in _PARSED_TAGS.items():
        if code in page.tags:
            value = partial(_parsed, parse, page.tags[code])
            found.append(guarded(path, f"{vendor} (tag {code})", value))
    if is_jeol_xml(description):
        found.append(guarded(path, "JEOL", partial(from_jeol_xml, description)))
    if 65009 in page.tags or 65010 in page.tags:
        values = {code: page.tags[code] for code in DM_TAGS if code in page.tags}
        found.append(guarded(path, "DigitalMicrograph", partial(_dm, values)))
    return [data for data in found if data is not None]


def _call(
    understand: Callable[[bytes, Shape], VendorData], raw: Callable[[], bytes], shape: Shape
) -> VendorData:
    return understand(raw(), shape)


def _parsed(understand: Callable[[Any], VendorData], tag: Any) -> VendorData:
    return understand(tag.value)


def _dm(tags: dict[int, Any]) -> VendorData:
    return from_dm_tags({code: tag.value for code, tag in tags.items()})


def _raw(file: Any, tag: Any) -> bytes:
    """Return a tag's bytes: tifffile decodes texts, and gives up on some encodings."""
    if tag.valuebytecount > _LARGEST_TAG:
        raise ValueError(f"{tag.valuebytecount:,} bytes")
    handle = file.filehandle
    handle.seek(tag.valueoffset)
    raw = handle.read(tag.valuebytecount)
    if len(raw) < tag.valuebytecount:
        raise ValueError("it lies beyond the end of the file")
    return bytes(raw)


def _imagej(path: Path, page: Any, imagej: dict[str, Any]) -> Calibration | None:
    """Understand ImageJ: the resolution tags count pixels in the unit of the description."""
    unit_nm = nm_per(imagej.get("unit"))
    y_unit_nm = nm_per(imagej["yunit"]) if imagej.get("yunit") else unit_nm
    if unit_nm is None or y_unit_nm is None:
        return None
    x, y = _ratio(page, _X_RESOLUTION), _ratio(page, _Y_RESOLUTION)
    if x is None or y is None:
        return None
    if unit_nm in _UNIT_NM.values() and from_resolution(path, y, x, unit_nm, silent=True) is None:
        return None  # so many dots an inch: a printer's
    return checked(path, (y_unit_nm / y, unit_nm / x), "imagej")


def _ome(path: Path, xml: str) -> Calibration | None:
    """Understand OME-XML: the physical size of a pixel, in um where no unit is given."""
    for element in xml_root(xml).iter():
        if not str(element.tag).endswith("Pixels"):
            continue
        sizes = []
        for axis in "YX":
            size = element.get(f"PhysicalSize{axis}")
            # "pixel" and "reference frame" are units as well, and no lengths.
            unit_nm = _OME_NM.get(element.get(f"PhysicalSize{axis}Unit", "µm").strip())
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

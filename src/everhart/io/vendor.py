"""Vendors' metadata in TIFF tags: the pixel size, the data bar, the imaging conditions.

Each vendor writes its own tree in its own units. The tree is kept as it is; what most users
ask for is copied into one common tree, with the unit in each name:

``instrument, software, beam ("electron" or "ion"), beam_energy_kev, beam_current_pa,
dwell_time_s, line_integration, frame_integration, detector, signal, working_distance_mm,
magnification, tilt_corrected, acquisition_time`` and
``stage: {x_mm, y_mm, z_mm, rotation_deg, tilt_deg}``.

A value that is not known is left out.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

__all__ = ["VendorData", "from_fei", "from_fei_xml", "from_sis", "from_zeiss"]

Tree = Mapping[str, Any]


@dataclass(frozen=True)
class VendorData:
    """What a vendor's tag says.

    Parameters
    ----------
    name
        Key of the vendor's tree in the metadata.
    tree
        What the vendor wrote.
    common
        The same under the common names.
    pixel_size_nm
        ``(y, x)`` in nm as written, not yet checked; None if not there.
    field_rows
        Rows of the image that are specimen, or None if not there.
    """

    name: str
    tree: dict[str, Any]
    common: dict[str, Any] = field(default_factory=dict)
    pixel_size_nm: tuple[Any, Any] | None = None
    field_rows: int | None = None


def from_fei(tree: Tree) -> VendorData:
    """Understand the tags 34680 (FEI_SFEG) and 34682 (FEI_HELIOS) of FEI and Thermo Fisher.

    Parameters
    ----------
    tree
        Sections of names and values, lengths in m.
    """
    beam_section = _section(tree, "Beam")
    column = _section(tree, str(beam_section.get("Beam") or "EBeam"))
    scan = {
        **_section(tree, "Scan"),
        **_section(tree, str(beam_section.get("Scan") or "EScan")),
    }
    stage, image = _section(tree, "Stage"), _section(tree, "Image")
    detectors, user = _section(tree, "Detectors"), _section(tree, "User")
    detector = str(detectors.get("Name") or "")
    energy = _number(beam_section.get("HV"), column.get("HV"))
    common = _known(
        instrument=_section(tree, "System").get("SystemType"),
        software=_section(tree, "System").get("Software"),
        beam={"EBeam": "electron", "IBeam": "ion"}.get(str(beam_section.get("Beam"))),
        beam_energy_kev=_times(energy, 1e-3),
        beam_current_pa=_times(_number(column.get("BeamCurrent")), 1e12),
        dwell_time_s=_number(scan.get("Dwell"), scan.get("Dwelltime")),
        line_integration=_count(scan.get("LineIntegration")),
        frame_integration=_count(image.get("Integrate"), image.get("Average")),
        detector=detector,
        signal=_section(tree, detector).get("Signal") or detectors.get("Mode"),
        working_distance_mm=_times(_number(stage.get("WorkingDistance"), column.get("WD")), 1e3),
        tilt_corrected={"yes": True, "no": False}.get(str(column.get("TiltCorrectionIsOn"))),
        acquisition_time=_time(
            _section(tree, "PrivateFei").get("TimeOfCreation"),  # always day.month.year
            f"{user.get('Date')} {user.get('Time')}",
        ),
        stage=_known(
            x_mm=_times(_number(stage.get("StageX")), 1e3),
            y_mm=_times(_number(stage.get("StageY")), 1e3),
            z_mm=_times(_number(stage.get("StageZ")), 1e3),
            rotation_deg=_times(_number(stage.get("StageR")), 180 / math.pi),
            tilt_deg=_times(_number(stage.get("StageT")), 180 / math.pi),
        ),
    )
    height, width = scan.get("PixelHeight"), scan.get("PixelWidth")
    size = None
    if height not in (None, "") or width not in (None, ""):
        size = (_times(_number(height, width), 1e9), _times(_number(width, height), 1e9))
    return VendorData("fei", dict(tree), common, size, _count(image.get("ResolutionY")))


def from_fei_xml(text: str) -> VendorData:
    """Understand the XML of the tag 34683 (FEI_TITAN), of newer FEI and Thermo instruments.

    Parameters
    ----------
    text
        The XML.

    Raises
    ------
    ValueError
        If it is no XML.
    """
    tree = _xml_tree(text)
    optics, scan = _section(tree, "Optics"), _section(tree, "ScanSettings")
    position = _section(_section(tree, "StageSettings"), "StagePosition")
    result = _section(tree, "BinaryResult")
    detectors = _section(tree, "Detectors")
    detector = _section(detectors, next(iter(detectors), ""))
    acquisition, instrument = _section(tree, "Acquisition"), _section(tree, "Instrument")
    common = _known(
        instrument=instrument.get("InstrumentClass"),
        software=instrument.get("ControlSoftwareVersion"),
        beam={"Electron": "electron", "Ion": "ion"}.get(str(acquisition.get("BeamType"))),
        beam_energy_kev=_times(_number(optics.get("AccelerationVoltage")), 1e-3),
        beam_current_pa=_times(_number(optics.get("BeamCurrent")), 1e12),
        dwell_time_s=_number(scan.get("DwellTime")),
        line_integration=_count(scan.get("LineIntegrationCount")),
        frame_integration=_count(result.get("FilterFrameCount")),
        detector=detector.get("DetectorName"),
        signal=detector.get("Signal"),
        working_distance_mm=_times(_number(optics.get("WorkingDistance")), 1e3),
        acquisition_time=_time(acquisition.get("AcquisitionDatetime")),
        stage=_known(
            x_mm=_times(_number(position.get("X")), 1e3),
            y_mm=_times(_number(position.get("Y")), 1e3),
            z_mm=_times(_number(position.get("Z")), 1e3),
            rotation_deg=_times(_number(position.get("Rotation")), 180 / math.pi),
            tilt_deg=_times(_number(_section(position, "Tilt").get("Alpha")), 180 / math.pi),
        ),
    )
    pixel = _section(result, "PixelSize")
    size = None
    if pixel.get("X") is not None or pixel.get("Y") is not None:
        size = (
            _times(_number(pixel.get("Y"), pixel.get("X")), 1e9),
            _times(_number(pixel.get("X"), pixel.get("Y")), 1e9),
        )
    rows = _count(_section(scan, "ScanSize").get("Height"))
    return VendorData("fei_xml", tree, common, size, rows)


def from_zeiss(tree: Tree) -> VendorData:
    """Understand the tag 34118 (CZ_SEM) of Zeiss SEMs.

    Parameters
    ----------
    tree
        As tifffile gives it: names and ``(label, value, unit)``; under ``""`` the header's
        numbers, of which the fourth is the pixel size in m.
    """
    header = tree.get("")
    size_m = _number(header[3]) if isinstance(header, (tuple, list)) and len(header) > 3 else None
    size_nm = _times(size_m, 1e9) or _length_nm(tree, "ap_image_pixel_size", "ap_pixel_size")
    date, clock = _value(tree, "ap_date"), _value(tree, "ap_time")
    common = _known(
        instrument=_value(tree, "dp_sem"),
        software=_value(tree, "sv_version"),
        beam="electron",
        beam_energy_kev=_times(_quantity(tree, "ap_actualkv"), 1e-3),
        dwell_time_s=_quantity(tree, "dp_dwell_time"),
        line_integration=_count(_value(tree, "ap_line_average_count")),
        detector=_value(tree, "dp_detector_type", "dp_detector_channel"),
        working_distance_mm=_times(_quantity(tree, "ap_wd"), 1e3),
        magnification=_number(_value(tree, "ap_mag")),
        acquisition_time=_time(f"{date} {clock}"),
        stage=_known(
            x_mm=_times(_quantity(tree, "ap_stage_at_x"), 1e3),
            y_mm=_times(_quantity(tree, "ap_stage_at_y"), 1e3),
            z_mm=_times(_quantity(tree, "ap_stage_at_z"), 1e3),
            rotation_deg=_number(_value(tree, "ap_stage_at_r")),
            tilt_deg=_number(_value(tree, "ap_stage_at_t")),
        ),
    )
    size = None if not size_nm else (size_nm, size_nm)
    return VendorData("zeiss", {str(k): v for k, v in tree.items() if k}, common, size)


def from_sis(tree: Tree) -> VendorData:
    """Understand the tag 33560 (Olympus SIS) of cameras of Olympus Soft Imaging Solutions.

    Parameters
    ----------
    tree
        As tifffile gives it, lengths in m.
    """
    common = _known(
        instrument=tree.get("cameraname"),
        magnification=_number(tree.get("magnification")),
        acquisition_time=_time(tree.get("datetime")),
    )
    x, y = _number(tree.get("pixelsizex")), _number(tree.get("pixelsizey"))
    size = (_times(y, 1e9), _times(x, 1e9)) if x and y else None
    return VendorData("olympus_sis", dict(tree), common, size)


# -- values ---------------------------------------------------------------------------------
_TIME_FORMS = (
    "%d.%m.%Y %H:%M:%S",
    "%d %b %Y %H:%M:%S",
    "%m/%d/%Y %I:%M:%S %p",
    "%d/%m/%Y %I:%M:%S %p",
)
_SI = {"f": 1e-15, "p": 1e-12, "n": 1e-9, "µ": 1e-6, "u": 1e-6, "m": 1e-3, "k": 1e3, "M": 1e6}


def _section(tree: Tree, name: str) -> Tree:
    found = tree.get(name)
    return found if isinstance(found, Mapping) else {}


def _number(*values: Any) -> float | None:
    """Return the first value that is a finite number."""
    for value in values:
        try:
            number = float(value)
        except (TypeError, ValueError):
            continue
        if math.isfinite(number):
            return number
    return None


def _count(*values: Any) -> int | None:
    """Return the first value that is a number above zero, as an integer."""
    for value in values:
        number = _number(value)
        if number is not None and number >= 1:
            return int(number)
    return None


def _times(value: float | None, factor: float) -> float | None:
    # Rounded to 12 digits, so that 10000 V is 10 keV and 1e-3 leaves no trace.
    return None if value is None else float(f"{value * factor:.12g}")


def _known(**values: Any) -> dict[str, Any]:
    return {name: value for name, value in values.items() if value not in (None, "", {})}


def _time(*values: Any) -> str | None:
    """Return the first value that is one certain time, in ISO 8601."""
    for value in values:
        if isinstance(value, datetime):
            return value.isoformat(timespec="seconds")
        text = str(value).strip()
        try:
            return datetime.fromisoformat(text).isoformat(timespec="seconds")
        except ValueError:
            pass
        readings = set()
        for form in _TIME_FORMS:
            try:
                readings.add(datetime.strptime(text, form).isoformat(timespec="seconds"))
            except ValueError:
                continue
        if len(readings) == 1:  # 08/09/2021 can be August or September: not known
            return readings.pop()
    return None


def _value(tree: Tree, *names: str) -> Any:
    for name in names:
        entry = tree.get(name)
        if isinstance(entry, (tuple, list)) and len(entry) > 1 and entry[1] not in (None, ""):
            return entry[1]
    return None


def _quantity(tree: Tree, name: str) -> float | None:
    """Return a value with a unit in the SI unit without prefix."""
    number = _number(_value(tree, name))
    entry = tree.get(name)
    if number is None or not isinstance(entry, (tuple, list)) or len(entry) < 3:
        return number
    unit = str(entry[2])
    prefix = _SI.get(unit[0], 1.0) if len(unit) > 1 and unit not in ("Pa", "mbar") else 1.0
    return _times(number, prefix)


def _length_nm(tree: Tree, *names: str) -> float | None:
    for name in names:
        length = _quantity(tree, name)
        if length:
            return _times(length, 1e9)
    return None


def _xml_tree(text: str) -> dict[str, Any]:
    from xml.etree import ElementTree as ET

    if re.search(r"<!(DOCTYPE|ENTITY)", text):  # entities can be made to fill the memory
        raise ValueError("XML with a document type")
    try:
        root = ET.fromstring(text.strip().strip("\0"))
    except ET.ParseError as error:
        raise ValueError(str(error)) from error
    tree = _element(root)
    if not isinstance(tree, dict):
        raise ValueError("XML without elements")
    return tree


def _element(element: Any) -> Any:
    children = list(element)
    if not children:
        return (element.text or "").strip()
    tree: dict[str, Any] = {}
    for child in children:
        name = str(child.tag).rpartition("}")[2]
        if name not in tree:
            tree[name] = _element(child)
        elif isinstance(tree[name], list):
            tree[name].append(_element(child))
        else:
            tree[name] = [tree[name], _element(child)]
    return tree

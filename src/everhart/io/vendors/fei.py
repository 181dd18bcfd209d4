"""FEI and Thermo Fisher: tags 34680, 34682 and 34683."""

from __future__ import annotations

import math
from typing import Any

from everhart.io.vendors.phenom import from_phenom, is_phenom
from everhart.io.vendors.values import (
    Tree,
    VendorData,
    count,
    ini_tree,
    iso_time,
    known,
    number,
    section,
    times,
    xml_root,
    xml_tree,
)

__all__ = ["from_fei_text"]


def from_fei_text(text: str) -> VendorData:
    """Understand the tags 34680 (FEI_SFEG), 34682 (FEI_HELIOS) and 34683 (FEI_TITAN).

    Parameters
    ----------
    text
        Sections of names and values, or XML: which of them is in which tag is up to the
        software's version.

    Raises
    ------
    ValueError
        If it begins as XML and is none.
    """
    if not text.lstrip("\ufeff\0 \r\n\t").startswith("<"):
        tree = ini_tree(text)
        return from_fei(
            {name: {k: _typed(v) for k, v in branch.items()} for name, branch in tree.items()}
        )
    if is_phenom(text):
        return from_phenom(text)
    if "MementoItem" in text:
        return _from_memento(text)
    return from_fei_xml(text)


def _typed(value: str) -> Any:
    """Turn what is written as a number into one."""
    for kind in (int, float):
        try:
            found = kind(value)
        except ValueError:
            continue
        return found if math.isfinite(found) else value
    return value


def from_fei(tree: Tree) -> VendorData:
    """Understand the tags 34680 (FEI_SFEG) and 34682 (FEI_HELIOS) of FEI and Thermo Fisher.

    Parameters
    ----------
    tree
        Sections of names and values, lengths in m.
    """
    beam_section = section(tree, "Beam")
    column = section(tree, str(beam_section.get("Beam") or "EBeam"))
    scan = {
        **section(tree, "Scan"),
        **section(tree, str(beam_section.get("Scan") or "EScan")),
    }
    stage, image = section(tree, "Stage"), section(tree, "Image")
    detectors, user = section(tree, "Detectors"), section(tree, "User")
    detector = str(detectors.get("Name") or "")
    energy = number(beam_section.get("HV"), column.get("HV"))
    common = known(
        instrument=section(tree, "System").get("SystemType"),
        software=section(tree, "System").get("Software"),
        beam={"EBeam": "electron", "IBeam": "ion"}.get(str(beam_section.get("Beam"))),
        beam_energy_kev=times(energy, 1e-3),
        beam_current_pa=times(number(column.get("BeamCurrent")), 1e12),
        dwell_time_s=number(scan.get("Dwell"), scan.get("Dwelltime")),
        line_integration=count(scan.get("LineIntegration")),
        frame_integration=count(image.get("Integrate"), image.get("Average")),
        detector=detector,
        signal=section(tree, detector).get("Signal") or detectors.get("Mode"),
        working_distance_mm=times(number(stage.get("WorkingDistance"), column.get("WD")), 1e3),
        tilt_corrected={"yes": True, "no": False}.get(str(column.get("TiltCorrectionIsOn"))),
        acquisition_time=iso_time(
            section(tree, "PrivateFei").get("TimeOfCreation"),  # always day.month.year
            f"{user.get('Date')} {user.get('Time')}",
        ),
        stage=known(
            x_mm=times(number(stage.get("StageX")), 1e3),
            y_mm=times(number(stage.get("StageY")), 1e3),
            z_mm=times(number(stage.get("StageZ")), 1e3),
            rotation_deg=times(number(stage.get("StageR")), 180 / math.pi),
            tilt_deg=times(number(stage.get("StageT")), 180 / math.pi),
        ),
    )
    height, width = scan.get("PixelHeight"), scan.get("PixelWidth")
    size = None
    if height not in (None, "") or width not in (None, ""):
        size = (times(number(height, width), 1e9), times(number(width, height), 1e9))
    else:
        field, columns = number(scan.get("HorFieldsize")), count(image.get("ResolutionX"))
        if field and columns:
            size = (times(field, 1e9 / columns), times(field, 1e9 / columns))
    bar = number(section(tree, "PrivateFei").get("DatabarHeight"))
    return VendorData(
        "fei",
        dict(tree),
        common,
        size,
        count(image.get("ResolutionY")),
        None if bar is None else max(0, int(bar)),
    )


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
    tree = xml_tree(text)
    if "Metadata" in tree and "BinaryResult" not in tree:
        tree = dict(section(tree, "Metadata"))
    optics, scan = section(tree, "Optics"), section(tree, "ScanSettings")
    position = section(section(tree, "StageSettings"), "StagePosition")
    result = section(tree, "BinaryResult")
    detectors = section(tree, "Detectors")
    detector = section(detectors, next(iter(detectors), ""))
    acquisition, instrument = section(tree, "Acquisition"), section(tree, "Instrument")
    common = known(
        instrument=instrument.get("InstrumentClass"),
        software=instrument.get("ControlSoftwareVersion"),
        beam={"Electron": "electron", "Ion": "ion"}.get(str(acquisition.get("BeamType"))),
        beam_energy_kev=times(number(optics.get("AccelerationVoltage")), 1e-3),
        beam_current_pa=times(number(optics.get("BeamCurrent")), 1e12),
        dwell_time_s=number(scan.get("DwellTime")),
        line_integration=count(scan.get("LineIntegrationCount")),
        frame_integration=count(result.get("FilterFrameCount")),
        detector=detector.get("DetectorName"),
        signal=detector.get("Signal"),
        working_distance_mm=times(number(optics.get("WorkingDistance")), 1e3),
        acquisition_time=iso_time(acquisition.get("AcquisitionDatetime")),
        stage=known(
            x_mm=times(number(position.get("X")), 1e3),
            y_mm=times(number(position.get("Y")), 1e3),
            z_mm=times(number(position.get("Z")), 1e3),
            rotation_deg=times(number(position.get("Rotation")), 180 / math.pi),
            tilt_deg=times(number(section(position, "Tilt").get("Alpha")), 180 / math.pi),
        ),
    )
    pixel = section(result, "PixelSize")
    size = None
    if pixel.get("X") is not None or pixel.get("Y") is not None:
        size = (
            times(number(pixel.get("Y"), pixel.get("X")), 1e9),
            times(number(pixel.get("X"), pixel.get("Y")), 1e9),
        )
    rows = count(section(scan, "ScanSize").get("Height"))
    return VendorData("fei_xml", tree, common, size, rows)


def _from_memento(text: str) -> VendorData:
    """Understand the XML of nested ``MementoItem``, of some dual-beam software [1]_.

    References
    ----------
    .. [1] https://github.com/cgohlke/tifffile/pull/141
    """
    tree = _memento(xml_root(text))
    pixel = _found(tree, "PixelSize")
    size = None
    if pixel:
        y, x = pixel.get("Height"), pixel.get("Width")
        size = (times(number(y, x), 1e9), times(number(x, y), 1e9))
    return VendorData("fei_xml", tree, {}, size)


def _memento(element: Any, depth: int = 0) -> dict[str, Any]:
    """Return the items below an element: names, and texts or further items."""
    tree: dict[str, Any] = {}
    if depth > 64:
        return tree
    for child in element:
        name = str(child.tag).rpartition("}")[2]
        if name != "MementoItem":
            tree.update(_memento(child, depth + 1))
            continue
        parts = {str(part.tag).rpartition("}")[2]: part for part in child}
        key = str(parts["Name"].text or "").strip() if "Name" in parts else ""
        if "MementoItemSection" in parts:
            tree[key] = _memento(parts["MementoItemSection"], depth + 1)
        elif "anyType" in parts:
            tree[key] = str(parts["anyType"].text or "").strip()
    return tree


def _found(tree: Tree, name: str) -> Tree:
    """Return the first branch of a name, however deep."""
    for key, value in tree.items():
        if isinstance(value, dict):
            inside = value if key == name else _found(value, name)
            if inside:
                return inside
    return {}

"""FEI and Thermo Fisher: tags 34680, 34682 and 34683."""

from __future__ import annotations

import math

from everhart.io.vendors.values import (
    Tree,
    VendorData,
    count,
    iso_time,
    known,
    number,
    section,
    times,
    xml_tree,
)

__all__ = ["from_fei", "from_fei_xml"]


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
    return VendorData("fei", dict(tree), common, size, count(image.get("ResolutionY")))


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

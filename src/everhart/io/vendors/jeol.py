"""JEOL: the XML of TEM images, and the text beside SEM images."""

from __future__ import annotations

import re

from everhart.io.vendors.values import (
    VendorData,
    count,
    iso_time,
    known,
    length_nm,
    number,
    quantity,
    section,
    times,
    xml_root,
    xml_tree,
)

__all__ = ["from_jeol_text", "from_jeol_xml", "is_jeol_text", "is_jeol_xml"]


def is_jeol_xml(description: str) -> bool:
    """Say whether an image description is that of a JEOL TEM."""
    return "<TemReporter" in description[:1000]


def from_jeol_xml(text: str) -> VendorData:
    """Understand the XML that JEOL's SightX writes into the image description.

    Parameters
    ----------
    text
        The XML.

    Raises
    ------
    ValueError
        If it is no XML.

    Notes
    -----
    The camera's pixels a metre, divided by the magnification, are the pixel size: the lengths
    of lines that were measured in SightX, which the XML keeps with their ends, agree to four
    digits. The resolution tag of the file is the same number in whole dots an inch.

    A magnification in mm is a camera length: the image is a diffraction pattern. In scanning
    mode (ASID) the camera sees a Ronchigram. Neither has a pixel size.
    """
    tree = xml_tree(text)
    gun, lens = section(tree, "ElectronGun"), section(tree, "ImageFormingSystem")
    position = section(section(tree, "GonioStage"), "StagePosition")
    magnified = lens.get("SelectorUnitString") == "X"
    common = known(
        instrument=tree.get("Instruments"),
        beam="electron",
        beam_energy_kev=times(number(gun.get("AccelerationVoltage")), 1e-3),
        magnification=(number(lens.get("SelectorValue")) or None) if magnified else None,
        detector=tree.get("ImageSourceDetector"),
        acquisition_time=iso_time(re.sub(r"(\.\d{6})\d+", r"\1", str(tree.get("DateTime")))),
        stage=known(
            x_mm=times(number(position.get("MX")), 1e-3),
            y_mm=times(number(position.get("MY")), 1e-3),
            z_mm=times(number(position.get("MZ")), 1e-3),
            tilt_deg=number(position.get("TX")),
        ),
    )
    size = None
    scanning = section(tree, "Eos").get("EosMode") != "eosTEM"
    diffraction = str(lens.get("ImageFormingMode")).startswith("modeDIFF")
    enlarged = number(lens.get("SelectorValue"))
    if magnified and not scanning and not diffraction and enlarged:
        density = next(iter(xml_root(text).iter("PixelsPerMeter")), None)
        if density is not None:
            y = number(density.findtext("Vertical"), density.findtext("Horizontal"))
            x = number(density.findtext("Horizontal"), density.findtext("Vertical"))
            if x and y:
                size = (1e9 / y / enlarged, 1e9 / x / enlarged)
    return VendorData("jeol", tree, common, size)


def is_jeol_text(text: str) -> bool:
    """Say whether a text is the one beside a JEOL SEM image."""
    return re.search(r"^\s*\$+(CM|SM)_\w+", text, re.MULTILINE) is not None


def from_jeol_text(text: str, shape: tuple[int, ...]) -> VendorData:
    """Understand the ``.txt`` beside a JEOL SEM image.

    Parameters
    ----------
    text
        Lines such as ``$CM_MAG 5000`` and ``$$SM_MICRON_BAR 160``.
    shape
        Shape of the image: of an enlarged or reduced copy the pixel size is adapted.

    Notes
    -----
    The file has no pixel size, but the length of the scale bar ("micron marker", with a unit)
    and its length in pixels of the full image.
    """
    tree = _lines(text)
    date, clock = tree.get("CM_DATE"), tree.get("CM_TIME")
    stage = re.split(r"[\s,]+", str(tree.get("CM_STAGE_POS", "")).strip())
    axes = dict(zip(("x_mm", "y_mm", "z_mm", "rotation_deg", "tilt_deg"), stage, strict=False))
    common = known(
        instrument=tree.get("CM_INSTRUMENT"),
        beam="electron",
        beam_energy_kev=times(quantity(_kilo(tree.get("CM_ACCEL_VOLT")), "V"), 1e-3),
        detector=tree.get("CM_DETECTOR"),
        signal=tree.get("CM_SIGNAL"),
        working_distance_mm=times(length_nm(tree.get("SM_WD", tree.get("CM_WD")), "mm"), 1e-6),
        magnification=number(tree.get("CM_MAG")),
        acquisition_time=iso_time(f"{date} {clock}"),
        stage=known(**{name: number(value) for name, value in axes.items()}),
    )
    bar = number(tree.get("SM_MICRON_BAR", tree.get("CM_MICRON_BAR")))
    marker = length_nm(tree.get("SM_MICRON_MARKER", tree.get("CM_MICRON_MARKER")), "um")
    size = None
    if bar is not None or marker is not None:
        one = marker / bar if marker and bar else None
        if one is not None:
            one *= _reduction(str(tree.get("CM_FULL_SIZE", "")), shape)
        size = (one, one)
    return VendorData("jeol_text", dict(tree), common, size)


def _lines(text: str) -> dict[str, str]:
    found = {}
    for line in text.splitlines():
        match = re.fullmatch(r"\s*\$+(\w+)(?:\s+(.*?))?\s*", line)
        if match:
            found[match[1].upper()] = match[2] or ""
    return found


def _kilo(value: str | None) -> str | None:
    """Add the unit that is left out."""
    return f"{value} kV" if value and re.fullmatch(r"\s*[\d.,]+\s*", value) else value


def _reduction(full: str, shape: tuple[int, ...]) -> float:
    """Return how many pixels of the full image one of this image is.

    Only a copy of the same proportions is taken for a resized one; others are cut out, and a
    data bar below the image makes it higher.
    """
    sides = [count(word) for word in full.split()]
    if len(sides) < 2 or not sides[0] or not sides[1] or sides[0] == shape[-1]:
        return 1.0
    ratio = sides[0] / shape[-1]
    alike = abs(sides[1] / shape[-2] / ratio - 1) <= 0.1
    return ratio if alike and 0.2 < ratio < 5 else 1.0

"""Phenom desktop SEMs: XML in the tag 34683, or in a JPEG file."""

from __future__ import annotations

from typing import Any

from everhart.io.vendors.values import (
    VendorData,
    count,
    iso_time,
    known,
    length_nm,
    number,
    quantity,
    times,
    xml_root,
    xml_tree,
)

__all__ = ["from_phenom", "is_phenom", "phenom_xml"]


def is_phenom(text: str) -> bool:
    """Say whether an XML is a Phenom's."""
    return "<FeiImage" in text[:1000]


def phenom_xml(data: bytes) -> str | None:
    """Return the XML in the bytes of a file, or None."""
    start = data.find(b"<FeiImage")
    end = data.find(b"</FeiImage>", start)
    if start < 0 or end < 0:
        return None
    return data[start : end + len(b"</FeiImage>")].decode("utf-8", errors="replace")


def from_phenom(text: str) -> VendorData:
    """Understand the XML of a Phenom, whose values have their units as attributes.

    Parameters
    ----------
    text
        The XML.

    Raises
    ------
    ValueError
        If it is no XML.
    """
    root = xml_root(text)

    def said(path: str) -> str | None:
        found: Any = root.find(path)
        if found is None or not (found.text or "").strip():
            return None
        return f"{found.text.strip()} {found.get('unit', '')}".strip()

    width, height = said("pixelWidth"), said("pixelHeight")
    size = None
    if width or height:
        size = (length_nm(height or width, ""), length_nm(width or height, ""))
    bar = number(said("databarHeight"))
    voltage = quantity(said("acquisition/scan/highVoltage"), "V")
    common = known(
        instrument=said("instrument/edition") or said("instrument/type"),
        software=said("instrument/softwareVersion"),
        beam="electron",
        # Given as the cathode's, which is negative.
        beam_energy_kev=None if voltage is None else times(abs(voltage), 1e-3),
        dwell_time_s=quantity(said("acquisition/scan/dwellTime"), "s"),
        frame_integration=count(said("integrations")),
        detector=said("acquisition/scan/detector"),
        working_distance_mm=times(length_nm(said("workingDistance"), "mm"), 1e-6),
        acquisition_time=iso_time(said("time")),
    )
    return VendorData(
        "phenom", xml_tree(text), common, size, bar_rows=None if bar is None else max(0, int(bar))
    )

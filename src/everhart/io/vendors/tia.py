"""What FEI's TIA says of an image: scale in the series file, conditions in the EMI file."""

from __future__ import annotations

import re
from datetime import UTC, datetime
from typing import Any

from everhart.io.record import plain
from everhart.io.tia_series import TiaSeries
from everhart.io.vendors.values import (
    Tree,
    VendorData,
    known,
    number,
    quantity,
    section,
    times,
    xml_tree,
)

__all__ = ["from_tia", "is_pattern", "object_info"]

_MONTHS = ("Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec")
# Mon Feb 22 18:50:01 2016
_DATE = re.compile(r"\w{3} (\w{3}) +(\d{1,2}) (\d\d):(\d\d):(\d\d) (\d{4})")


def object_info(text: str) -> dict[str, Any]:
    """Read the element ``ObjectInfo`` of an EMI file.

    Parameters
    ----------
    text
        The XML.

    Returns
    -------
    dict
        The tree; under ``"ExperimentalDescription"`` the values by their labels, each a text
        with its unit.

    Raises
    ------
    ValueError
        If it is no XML.
    """
    tree = dict(xml_tree(text))
    tree["ExperimentalDescription"] = _described(section(tree, "ExperimentalDescription"))
    header = tree.get("TrueImageHeaderInfo")
    if isinstance(header, str) and header:
        tree["TrueImageHeaderInfo"] = _numbered(header)
    return tree


def _described(tree: Tree) -> dict[str, str]:
    found = {}
    for item in _items(section(tree, "Root").get("Data")):
        value, unit = str(item.get("Value", "")).strip(), str(item.get("Unit", "")).strip()
        found[str(item.get("Label", "")).strip()] = f"{value} {unit}".strip()
    return found


def _numbered(text: str) -> dict[str, Any] | str:
    """Read XML that stands as text within the XML: values under numbers."""
    try:
        items = section(xml_tree(f"<All>{text}</All>"), "Root").get("Data")
    except ValueError:
        return text
    return {str(item.get("Index")): item.get("Value") for item in _items(items)}


def _items(value: Any) -> list[Tree]:
    """Return the elements of a name that comes once or several times."""
    items = value if isinstance(value, list) else [value]
    return [item for item in items if isinstance(item, dict)]


def is_pattern(info: Tree) -> bool:
    """Say whether the image is a diffraction pattern: its scale is in 1/m then.

    Parameters
    ----------
    info
        What :func:`object_info` gives. A STEM image is taken with the projector in diffraction,
        and is a pattern only if a camera took it.
    """
    mode = section(info, "ExperimentalDescription").get("Mode", "")
    by_camera = bool(section(info, "AcquireInfo").get("CameraNamePath"))
    return "Diffraction" in mode and (by_camera or "STEM" not in mode)


def from_tia(series: TiaSeries, info: Tree | None) -> VendorData:
    """Understand a series file and what the EMI file beside it says.

    Parameters
    ----------
    series
        The series.
    info
        What :func:`object_info` gives, or None without an EMI file.

    Notes
    -----
    The distance of pixels is in m. TIA writes 0 or 1 where it does not know it; and a pattern's
    is in 1/m, some 10 million, which is no length that is believed.
    """
    tree: dict[str, Any] = {
        "series_version": f"{series.version:#06x}",
        "calibration_delta": list(series.delta),
        "dimensions": series.dimensions,
    }
    common: dict[str, Any] = {}
    if info is not None:
        tree.update(info)
        common = _common(info)
    if series.time_s is not None:
        seen = datetime.fromtimestamp(series.time_s, UTC)
        common.setdefault("acquisition_time", seen.isoformat(timespec="seconds"))
    return VendorData("tia", plain(tree), plain(common), _pixel_size_nm(series, info))


def _pixel_size_nm(series: TiaSeries, info: Tree | None) -> tuple[Any, Any] | None:
    unset = all(delta in (0, 1) for delta in series.delta)
    if unset or (info is not None and is_pattern(info)):
        return None
    y, x = (number(delta) for delta in series.delta)
    return times(None if y is None else abs(y), 1e9), times(None if x is None else abs(x), 1e9)


def _common(info: Tree) -> dict[str, Any]:
    described = section(info, "ExperimentalDescription")
    acquired = section(info, "AcquireInfo")
    volts = section(section(info, "ExperimentalConditions"), "MicroscopeConditions")
    camera = acquired.get("CameraNamePath")
    dwell = quantity(acquired.get("DwellTimePath"), "s")
    energy = quantity(described.get("High tension"), "V")
    if energy is None:
        energy = number(volts.get("AcceleratingVoltage"))
    return known(
        instrument=str(described.get("Microscope", "")).removeprefix("Microscope ").strip(),
        beam="electron" if energy is not None else None,
        beam_energy_kev=times(energy, 1e-3),
        # What a camera's exposure is, TIA calls a dwell time as well.
        dwell_time_s=None if camera else dwell,
        exposure_time_s=dwell if camera else None,
        detector=camera,
        operation_mode=described.get("Mode"),
        magnification=quantity(described.get("Magnification"), "x"),
        spot_size=number(described.get("Spot size")),
        camera_length_mm=times(quantity(described.get("Camera length"), "m"), 1e3),
        emission_current_ua=times(quantity(described.get("Emission"), "A"), 1e6),
        acquisition_time=_time(str(info.get("AcquireDate", ""))),
        stage=known(
            x_mm=times(quantity(described.get("Stage X"), "m"), 1e3),
            y_mm=times(quantity(described.get("Stage Y"), "m"), 1e3),
            z_mm=times(quantity(described.get("Stage Z"), "m"), 1e3),
            tilt_deg=quantity(described.get("Stage A"), "deg"),
        ),
    )


def _time(text: str) -> str | None:
    """Return the local time of a date in English, whatever the language of this computer."""
    match = _DATE.fullmatch(" ".join(text.split()))
    if match is None or match[1] not in _MONTHS:
        return None
    day, hour, minute, second = (int(match[group]) for group in (2, 3, 4, 5))
    month = _MONTHS.index(match[1]) + 1
    try:
        taken = datetime(int(match[6]), month, day, hour, minute, second)
    except ValueError:
        return None
    return taken.isoformat(timespec="seconds")

"""Zeiss SmartSEM: tag 34118."""

from __future__ import annotations

from typing import Any

from everhart.io.vendors.values import (
    Tree,
    VendorData,
    count,
    iso_time,
    known,
    number,
    times,
)

__all__ = ["from_zeiss"]

_SI = {"f": 1e-15, "p": 1e-12, "n": 1e-9, "µ": 1e-6, "u": 1e-6, "m": 1e-3, "k": 1e3, "M": 1e6}


def from_zeiss(tree: Tree) -> VendorData:
    """Understand the tag 34118 (CZ_SEM) of Zeiss SEMs.

    Parameters
    ----------
    tree
        As tifffile gives it: names and ``(label, value, unit)``; under ``""`` the header's
        numbers, of which the fourth is the pixel size in m.
    """
    header = tree.get("")
    size_m = number(header[3]) if isinstance(header, (tuple, list)) and len(header) > 3 else None
    size_nm = times(size_m, 1e9) or _length_nm(tree, "ap_image_pixel_size", "ap_pixel_size")
    date, clock = _value(tree, "ap_date"), _value(tree, "ap_time")
    common = known(
        instrument=_value(tree, "dp_sem"),
        software=_value(tree, "sv_version"),
        beam="electron",
        beam_energy_kev=times(_quantity(tree, "ap_actualkv"), 1e-3),
        dwell_time_s=_quantity(tree, "dp_dwell_time"),
        line_integration=count(_value(tree, "ap_line_average_count")),
        detector=_value(tree, "dp_detector_type", "dp_detector_channel"),
        working_distance_mm=times(_quantity(tree, "ap_wd"), 1e3),
        magnification=number(_value(tree, "ap_mag")),
        acquisition_time=iso_time(f"{date} {clock}"),
        stage=known(
            x_mm=times(_quantity(tree, "ap_stage_at_x"), 1e3),
            y_mm=times(_quantity(tree, "ap_stage_at_y"), 1e3),
            z_mm=times(_quantity(tree, "ap_stage_at_z"), 1e3),
            rotation_deg=number(_value(tree, "ap_stage_at_r")),
            tilt_deg=number(_value(tree, "ap_stage_at_t")),
        ),
    )
    size = None if not size_nm else (size_nm, size_nm)
    return VendorData("zeiss", {str(k): v for k, v in tree.items() if k}, common, size)


def _value(tree: Tree, *names: str) -> Any:
    for name in names:
        entry = tree.get(name)
        if isinstance(entry, (tuple, list)) and len(entry) > 1 and entry[1] not in (None, ""):
            return entry[1]
    return None


def _quantity(tree: Tree, name: str) -> float | None:
    """Return a value with a unit in the SI unit without prefix."""
    found = number(_value(tree, name))
    entry = tree.get(name)
    if found is None or not isinstance(entry, (tuple, list)) or len(entry) < 3:
        return found
    unit = str(entry[2])
    prefix = _SI.get(unit[0], 1.0) if len(unit) > 1 and unit not in ("Pa", "mbar") else 1.0
    return times(found, prefix)


def _length_nm(tree: Tree, *names: str) -> float | None:
    for name in names:
        length = _quantity(tree, name)
        if length:
            return times(length, 1e9)
    return None

"""Zeiss SmartSEM: tag 34118."""

from __future__ import annotations

import re
from typing import Any

from everhart.io.vendors.values import (
    Tree,
    VendorData,
    count,
    iso_time,
    known,
    length_nm,
    number,
    quantity,
    times,
)

__all__ = ["from_zeiss"]

# The monitor that SmartSEM's nominal pixel is one of.
_REFERENCE_COLUMNS = 1024
# Columns that SmartSEM and Atlas store.
_STORED_COLUMNS = (512, 1024, 2048, 3072, 4096, 6144, 8192, 12288, 16384, 24576, 32768)
# Two statements of one pixel size differ by the rounding to four digits.
_SAME = 0.005


def from_zeiss(text: str, columns: int) -> VendorData:
    """Understand the tag 34118 (CZ_SEM) of Zeiss SEMs.

    Parameters
    ----------
    text
        Lines of numbers, of which the fourth is the nominal pixel size in m; then pairs of
        lines, such as ``AP_WD`` and ``WD =  2.8 mm``.
    columns
        Columns of the image.

    Notes
    -----
    "Pixel Size" and the number in the header are those of a monitor of 1024 columns. An image
    stored with 512, 2048 or 3072 columns has pixels of 2, 1/2 or 1/3 of that size, which
    "Image Pixel Size" tells with four digits [1]_ [2]_; not every version of SmartSEM writes it.

    References
    ----------
    .. [1] https://github.com/hyperspy/hyperspy/pull/2056
    .. [2] https://github.com/IMBalENce/EM-tool/issues/1
    """
    tree = _tree(text)
    date, clock = _value(tree, "ap_date"), _value(tree, "ap_time")
    common = known(
        instrument=_value(tree, "dp_sem"),
        software=_value(tree, "sv_version"),
        beam="electron",
        beam_energy_kev=times(_quantity(tree, "ap_actualkv", "V"), 1e-3),
        beam_current_pa=times(_quantity(tree, "ap_iprobe", "A"), 1e12),
        dwell_time_s=_quantity(tree, "dp_dwell_time", "s", "Secs"),
        line_integration=count(_value(tree, "ap_line_average_count")),
        detector=_value(tree, "dp_detector_type", "dp_detector_channel"),
        working_distance_mm=times(_length(tree, "ap_wd", "mm"), 1e-6),
        magnification=_quantity(tree, "ap_mag", "X", " X"),
        acquisition_time=iso_time(f"{date} {clock}"),
        stage=known(
            x_mm=times(_length(tree, "ap_stage_at_x", "mm"), 1e-6),
            y_mm=times(_length(tree, "ap_stage_at_y", "mm"), 1e-6),
            z_mm=times(_length(tree, "ap_stage_at_z", "mm"), 1e-6),
            rotation_deg=number(_value(tree, "ap_stage_at_r")),
            tilt_deg=number(_value(tree, "ap_stage_at_t")),
        ),
    )
    size = _pixel_size_nm(tree, columns)
    kept = {str(k): v for k, v in tree.items() if k}
    return VendorData("zeiss", kept, common, None if not size else (size, size))


def _tree(text: str) -> dict[str, Any]:
    """Return ``name: (label, value)`` or ``(label, value, unit)``, the unnamed numbers under ""."""
    tree: dict[str, Any] = {}
    numbers: list[float | None] = []
    name = ""
    for line in text.replace("\0", "").splitlines():
        line = line.strip()
        if re.fullmatch(r"[A-Z]{2}_[A-Z0-9_]+", line):
            name = line.lower()
        elif name:
            match = re.match(r"([^=:]*)[=:](.*)", line)
            if match:
                tree[name] = (match[1].strip(), *_value_and_unit(match[2].strip()))
                name = ""
        elif not tree and line:
            numbers.append(number(line))
    tree[""] = tuple(numbers)
    return tree


def _value_and_unit(value: str) -> tuple[Any, ...]:
    if value in ("Yes", "On", "No", "Off"):
        return (value in ("Yes", "On"),)
    words = value.split()
    found = number(words[0]) if 1 <= len(words) <= 2 else None
    if found is None:
        return (value,)
    return (found, *words[1:])


def _pixel_size_nm(tree: Tree, columns: int) -> float | None:
    header = tree.get("")
    size_m = number(header[3]) if isinstance(header, (tuple, list)) and len(header) > 3 else None
    nominal = times(size_m, 1e9) or None
    image = _length(tree, "ap_image_pixel_size", "nm")
    stored = _stored_columns(tree, columns)
    ratio = _REFERENCE_COLUMNS / stored
    if image:
        # The header has more digits, where it says the same.
        for exact in (times(nominal, ratio), nominal):
            if exact and abs(exact / image - 1) <= _SAME:
                return exact
        return image
    nominal = nominal or _length(tree, "ap_pixel_size", "nm")
    if nominal:
        return times(nominal, ratio)
    width = _length(tree, "ap_width", "nm")
    return width / stored if width else None


def _stored_columns(tree: Tree, columns: int) -> int:
    """Return the columns of the whole scan as it was stored; the image can be a part of it."""
    match = re.match(r"\s*(\d{3,5})\s*[*xX]\s*\d{3,5}", str(_value(tree, "dp_image_store")))
    if match and int(match[1]) >= columns:
        return int(match[1])
    return columns if columns in _STORED_COLUMNS else _REFERENCE_COLUMNS


def _value(tree: Tree, *names: str) -> Any:
    for name in names:
        entry = tree.get(name)
        if isinstance(entry, (tuple, list)) and len(entry) > 1 and entry[1] not in (None, ""):
            return entry[1]
    return None


def _text(tree: Tree, name: str) -> Any:
    """Return a value and its unit as the text they were."""
    entry = tree.get(name)
    if isinstance(entry, (tuple, list)) and len(entry) > 2:
        return f"{entry[1]} {entry[2]}"
    return _value(tree, name)


def _quantity(tree: Tree, name: str, *units: str) -> float | None:
    return quantity(_text(tree, name), *units)


def _length(tree: Tree, name: str, unit: str) -> float | None:
    return length_nm(_text(tree, name), unit)

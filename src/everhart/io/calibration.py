"""Pixel sizes: where they come from, and which ones are believed."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from everhart.io.record import Record
from everhart.io.warning import warn
from everhart.micrograph import HistoryEntry, Micrograph

__all__ = [
    "NM_PER_UNIT",
    "Calibration",
    "checked",
    "from_resolution",
    "nm_per",
    "with_sources",
]

#: Length units as programs write them, in nm.
NM_PER_UNIT = {
    "fm": 1e-6,
    "pm": 1e-3,
    "picometer": 1e-3,
    "å": 0.1,
    "a": 0.1,
    "aa": 0.1,
    "angstrom": 0.1,
    "ångström": 0.1,
    "nm": 1.0,
    "nanometer": 1.0,
    "µm": 1e3,
    "um": 1e3,
    "µ": 1e3,
    "micron": 1e3,
    "micrometer": 1e3,
    "mm": 1e6,
    "millimeter": 1e6,
    "cm": 1e7,
    "centimeter": 1e7,
    "inch": 2.54e7,
    "in": 2.54e7,
    "m": 1e9,
    "meter": 1e9,
}

# Smaller than any camera's and larger than any microscope's pixels: such a value is a fault.
_SMALLEST_NM, _LARGEST_NM = 1e-4, 1e7

# Resolutions up to this that are whole numbers of dots an inch are meant for a printer.
_LARGEST_PRINTED_DPI = 2400


class Calibration(NamedTuple):
    """A pixel size and where it is from.

    Parameters
    ----------
    pixel_size_nm
        ``(y, x)`` in nm.
    source
        What said so, such as ``"fei"`` or ``"imagej"``.
    """

    pixel_size_nm: tuple[float, float]
    source: str


def nm_per(unit: Any) -> float | None:
    r"""Return the length of a unit in nm, or None for one that is no length.

    Examples
    --------
    >>> nm_per("µm"), nm_per(r"\u00B5m"), nm_per("microns"), nm_per("pixel"), nm_per("ms")
    (1000.0, 1000.0, 1000.0, None, None)
    """
    name = str(unit).strip()
    # ImageJ escapes what is not ASCII; some programs write the Greek mu for the micro sign.
    name = name.replace("\\u00B5", "µ").replace("\\u00b5", "µ").replace("\\u00C5", "Å")
    name = name.replace("\u212b", "Å").casefold().replace("\u03bc", "µ")
    name = name.replace("metre", "meter")
    if name not in NM_PER_UNIT and len(name) > 3 and name.endswith("s"):  # ms are no metres
        name = name.removesuffix("s")
    return NM_PER_UNIT.get(name)


def checked(path: Path, size_nm: Sequence[Any], source: str) -> Calibration | None:
    """Make a calibration if both numbers can be a pixel size, else warn and give None."""
    try:
        size = (float(size_nm[0]), float(size_nm[1]))
    except (TypeError, ValueError, IndexError):
        size = (math.nan, math.nan)
    if all(_SMALLEST_NM <= s <= _LARGEST_NM for s in size):
        return Calibration(size, source)
    warn(path, f"the pixel size from {source} ({tuple(size_nm)!r} nm) is not believable; ignored")
    return None


def from_resolution(
    path: Path,
    y_per_unit: float,
    x_per_unit: float,
    unit_nm: float,
    *,
    silent: bool = False,
) -> Calibration | None:
    """Make a calibration of a plain resolution, if it cannot be a printer's.

    Parameters
    ----------
    path
        The file, for the warning.
    y_per_unit, x_per_unit
        Pixels in a unit of length.
    unit_nm
        The unit in nm.
    silent
        Whether to leave the warning out, for tags that are known to be Everhart's own.

    Returns
    -------
    Calibration or None
        None for a printing resolution, such as 72, 96 or 300 dpi, for a very coarse one, and
        for one that is no number.
    """
    if not all(math.isfinite(v) and v > 0 for v in (y_per_unit, x_per_unit, unit_nm)):
        return None
    size = (unit_nm / y_per_unit, unit_nm / x_per_unit)
    dpi = [NM_PER_UNIT["inch"] / s for s in size]
    if all(v <= _LARGEST_PRINTED_DPI and abs(v - round(v)) <= 0.005 * max(v, 1) for v in dpi):
        return None
    dpcm = [NM_PER_UNIT["cm"] / s for s in size]
    if max(dpcm) < 1000 and all(v == round(v) for v in dpcm):
        return None  # coarser than 10 um a pixel, in whole dots a cm: a printer's as well
    found = checked(path, size, "resolution")
    if found and not silent:
        warn(
            path,
            "has no calibration but a plain resolution tag; the pixel size of "
            f"{size[0]:.6g} x {size[1]:.6g} nm (y, x) is taken from it, so check it",
        )
    return found


def with_sources(
    pixels: Any,
    *,
    calibration: Calibration | None = None,
    metadata: Mapping[str, Any] | None = None,
    data_bar_rows: int | None = None,
    data_bar_source: str | None = None,
    record: Record | None = None,
    notes: Mapping[str, Any] | None = None,
) -> Micrograph:
    """Make the micrograph that a format's reader returns.

    Parameters
    ----------
    pixels
        Grey pixels or stack.
    calibration
        What the file says of the pixel size; None if nothing.
    metadata
        Trees of the vendor and ``"common"``.
    data_bar_rows, data_bar_source
        What the file says of the data bar; None if nothing.
    record
        Everhart's own record in the file.
    notes
        More to keep in ``metadata["everhart"]``.

    Returns
    -------
    Micrograph
        ``metadata["everhart"]`` says where the pixel size and the data bar are from.
    """
    tree: dict[str, Any] = {**(metadata or {})}
    history: tuple[HistoryEntry, ...] = ()
    own: dict[str, Any] = {}
    if record is not None:
        tree.update(record.metadata)
        history = record.history
        own = dict(record.metadata.get("everhart") or {})
        if record.shape == tuple(pixels.shape):
            # Another program that scales or calibrates an image changes the tags that it
            # knows, not this record: where they differ, the tags are newer.
            if record.pixel_size_nm is not None and (
                calibration is None or _agree(record.pixel_size_nm, calibration.pixel_size_nm)
            ):
                calibration = Calibration(
                    record.pixel_size_nm, own.get("pixel_size_source") or "everhart"
                )
            data_bar_rows = record.data_bar_rows
            data_bar_source = own.get("data_bar_source") or "everhart"
    own["pixel_size_source"] = calibration.source if calibration else None
    own["data_bar_source"] = data_bar_source
    own.update(notes or {})
    tree["everhart"] = own
    tree.setdefault("common", {})
    return Micrograph(
        pixels,
        calibration.pixel_size_nm if calibration else None,
        tree,
        history,
        data_bar_rows or 0,
    )


def _agree(one: tuple[float, float], other: tuple[float, float]) -> bool:
    return all(math.isclose(a, b, rel_tol=1e-3) for a, b in zip(one, other, strict=True))

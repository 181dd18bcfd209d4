"""TVIPS EM-MENU: tag 37706."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Any

from everhart.io.record import plain
from everhart.io.vendors.values import Tree, VendorData, iso_time, known, number, times

__all__ = ["from_tvips"]


def from_tvips(tree: Tree) -> VendorData:
    """Understand the tag 37706 of TVIPS cameras, versions 1 and 2.

    Parameters
    ----------
    tree
        As tifffile gives it.

    Raises
    ------
    ValueError
        If it is of neither version.

    Notes
    -----
    Version 2 has the pixel size in the specimen in nm [1]_. Version 1 has that of the camera
    alone, which with a nominal magnification is no calibration.

    References
    ----------
    .. [1] https://github.com/cgohlke/tifffile/issues/319
    """
    if tree.get("Version") not in (1, 2):
        raise ValueError("a version that is not known")
    position = [number(value) for value in _list(tree.get("TemStagePosition"))]
    second = tree["Version"] == 2
    common = known(
        instrument=tree.get("TemType"),
        beam="electron",
        # Version 1 is in kV, version 2 in V.
        beam_energy_kev=_positive(
            times(number(tree.get("TemHighTension")), 1e-3)
            if second
            else number(tree.get("HighTension"))
        ),
        detector=tree.get("CameraType"),
        dwell_time_s=None,
        magnification=_positive(number(tree.get("TemMagnification"), tree.get("Magnification"))),
        acquisition_time=_time(tree.get("Date"), tree.get("Time")) if second else None,
        stage=known(
            **dict(
                zip(
                    ("x_mm", "y_mm", "z_mm"),
                    (times(value, 1e-6) for value in position[:3]),
                    strict=False,
                )
            ),
            tilt_deg=position[3] if len(position) > 3 else None,
        )
        if any(position)
        else None,
    )
    x, y = number(tree.get("PixelSizeX")), number(tree.get("PixelSizeY"))
    size = (y or x, x or y) if x or y else None  # 0 is what is not known
    return VendorData("tvips", plain(dict(tree)), common, size)


def _list(value: Any) -> list[Any]:
    return list(value) if isinstance(value, (list, tuple)) else []


def _positive(value: float | None) -> float | None:
    return value if value and value > 0 else None


def _time(date: Any, seconds: Any) -> str | None:
    """Understand a date of year * 65536 + month * 256 + day, and seconds since midnight."""
    day, since = number(date), number(seconds)
    if not day or since is None or not 0 <= since < 86400:
        return None
    try:
        start = datetime(int(day) >> 16, int(day) >> 8 & 255, int(day) & 255)
    except ValueError:
        return None
    return iso_time(start + timedelta(seconds=since))

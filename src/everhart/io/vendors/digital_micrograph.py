"""What DigitalMicrograph says of an image: scales, microscope, scan, camera."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

from everhart.io.calibration import nm_per
from everhart.io.dm_tags import DmArray
from everhart.io.record import plain
from everhart.io.vendors.values import (
    Tree,
    VendorData,
    count,
    iso_time,
    known,
    number,
    section,
    time_readings,
    times,
)

__all__ = ["axes_of", "from_dm_image"]

# Windows counts 0.1 us since 1601.
_WINDOWS_EPOCH = datetime(1601, 1, 1, tzinfo=UTC)
_LATEST = 2**59
# Clocks of the world differ by up to 14 h from the universal one.
_FARTHEST_ZONE = timedelta(hours=15)


def axes_of(image: Tree) -> list[Tree]:
    """Return the calibrations of an image's axes, x first: Scale, Origin, Units."""
    axes = section(section(image, "ImageData"), "Calibrations").get("Dimension")
    axes = axes if isinstance(axes, list) else []
    return [axis if isinstance(axis, dict) else {} for axis in axes]


def from_dm_image(image: Tree, version: int) -> VendorData:
    """Understand an entry of the ImageList of a DM3 or DM4 file.

    Parameters
    ----------
    image
        The entry: ImageData, ImageTags, Name.
    version
        3 or 4, of the file.

    Notes
    -----
    An axis can be in any unit: a scale in 1/nm, mrad or s is no pixel size, and neither is one
    without a unit. A negative scale says that the axis runs the other way.
    """
    tags = section(image, "ImageTags")
    scope, bar = section(tags, "Microscope Info"), section(tags, "DataBar")
    session, scan = section(tags, "Session Info"), section(tags, "DigiScan")
    camera = section(tags, "Acquisition")
    stage = section(scope, "Stage Position")
    gms = section(tags, "GMS Version")
    release = gms.get("Saved") or gms.get("Created")
    summed = scan.get("Sum Frames") or scan.get("Integrate Frames")
    common = known(
        instrument=session.get("Microscope") or scope.get("Microscope") or scope.get("Name"),
        software=f"DigitalMicrograph {release}" if release else None,
        beam="electron" if scope else None,
        beam_energy_kev=times(_positive(scope.get("Voltage")), 1e-3),
        beam_current_pa=times(_positive(scope.get("Probe Current (nA)")), 1e3),
        dwell_time_s=times(_positive(scan.get("Sample Time")), 1e-6),
        frame_integration=count(scan.get("Number Summing Frames")) if summed else None,
        exposure_time_s=_positive(
            bar.get("Exposure Time (s)"),
            section(section(camera, "Parameters"), "High Level").get("Exposure (s)"),
        ),
        detector=session.get("Detector")
        or bar.get("Signal Name")
        or bar.get("Device Name")
        or section(camera, "Device").get("Name"),
        operation_mode=scope.get("Operation Mode"),
        magnification=_positive(scope.get("Indicated Magnification")),
        acquisition_time=_time(bar),
        stage=known(
            x_mm=times(number(stage.get("Stage X")), 1e-3),
            y_mm=times(number(stage.get("Stage Y")), 1e-3),
            z_mm=times(number(stage.get("Stage Z")), 1e-3),
            tilt_deg=number(stage.get("Stage Alpha")),
        ),
    )
    tree = {"version": version, **_without_arrays(image)}
    return VendorData("digital_micrograph", plain(tree), plain(common), _pixel_size_nm(image))


def _pixel_size_nm(image: Tree) -> tuple[Any, Any] | None:
    axes = axes_of(image)
    if len(axes) < 2:
        return None
    units = [nm_per(axis.get("Units", "")) for axis in (axes[1], axes[0])]
    if units[0] is None or units[1] is None:
        return None
    y, x = (number(axis.get("Scale")) for axis in (axes[1], axes[0]))
    return (
        None if y is None else times(abs(y), units[0]),
        None if x is None else times(abs(x), units[1]),
    )


def _time(bar: Tree) -> str | None:
    """Return the time in the country of the microscope, else the universal time."""
    text = f"{bar.get('Acquisition Date', '')} {bar.get('Acquisition Time', '')}".strip()
    certain = iso_time(text)
    ticks = _positive(bar.get("Acquisition Time (OS)"), bar.get("System Info"))
    if certain or ticks is None or ticks > _LATEST:
        return certain
    universal = _WINDOWS_EPOCH + timedelta(microseconds=ticks / 10)
    # The universal time tells whether 8/9 is in August or in September.
    near = [
        local
        for local in time_readings(text)
        if abs(local.replace(tzinfo=UTC) - universal) < _FARTHEST_ZONE
    ]
    return iso_time(near[0] if len(near) == 1 else universal)


def _positive(*values: Any) -> float | None:
    found = (number(value) for value in values)
    return next((value for value in found if value is not None and value > 0), None)


def _without_arrays(value: Any) -> Any:
    if isinstance(value, dict):
        items = value.items()
        return {k: _without_arrays(v) for k, v in items if not isinstance(v, DmArray)}
    if isinstance(value, list):
        return [_without_arrays(item) for item in value if not isinstance(item, DmArray)]
    return value

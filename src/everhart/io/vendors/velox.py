"""What Thermo Fisher's Velox says of an image: JSON whose numbers are written as text."""

from __future__ import annotations

import json
import math
from datetime import UTC, datetime
from typing import Any

from everhart.io.calibration import nm_per
from everhart.io.record import plain
from everhart.io.vendors.values import Tree, VendorData, known, number, section, times

__all__ = ["detector_of", "from_velox", "velox_tree"]

_DEEPEST = 64


def velox_tree(raw: bytes) -> dict[str, Any]:
    """Read the metadata of a frame: JSON, filled up with null bytes.

    Raises
    ------
    ValueError
        If it is no JSON object, or is nested too deep.
    """
    try:
        tree = json.loads(raw.partition(b"\0")[0].decode("utf-8", "replace"))
    except RecursionError as error:
        raise ValueError("it is nested too deep") from error
    if not isinstance(tree, dict) or not _is_shallow(tree):
        raise ValueError("it is no JSON object, or one that is nested too deep")
    return tree


def _is_shallow(tree: Any) -> bool:
    """Say whether nothing is nested deeper than allowed, without going deeper than that."""
    level = [tree]
    for _ in range(_DEEPEST):
        branches = [one for one in level if isinstance(one, (dict, list))]
        level = [
            item
            for branch in branches
            for item in (branch.values() if isinstance(branch, dict) else branch)
        ]
        if not level:
            return True
    return False


def detector_of(tree: Tree) -> tuple[str, str]:
    """Return the name of an image's detector and its type, each "" where not known.

    The types are ``"ScanningDetector"`` and ``"ImagingDetector"``; maps of elements are from
    an ``"AnalyticalDetector"`` or from none.
    """
    name = str(section(tree, "BinaryResult").get("Detector", ""))
    return name, str(_detector(tree).get("DetectorType", ""))


def _detector(tree: Tree) -> Tree:
    """Return what is said of the image's detector."""
    result, detectors = section(tree, "BinaryResult"), section(tree, "Detectors")
    for key in detectors:
        entry = section(detectors, key)
        if entry.get("DetectorName") not in (None, "") and entry.get("DetectorName") == result.get(
            "Detector"
        ):
            return entry
    return section(detectors, f"Detector-{result.get('DetectorIndex')}")


def from_velox(tree: Tree) -> VendorData:
    """Understand the metadata of an image.

    Parameters
    ----------
    tree
        What :func:`velox_tree` gives.

    Notes
    -----
    Pixels are in m; those of diffraction patterns and Fourier transforms in 1/m or rad, which
    is no pixel size.
    """
    optics, scan = section(tree, "Optics"), section(tree, "Scan")
    instrument, stage = section(tree, "Instrument"), section(tree, "Stage")
    position, acquisition = section(stage, "Position"), section(tree, "Acquisition")
    custom = section(tree, "CustomProperties")
    detector, kind = detector_of(tree)
    scanned = kind == "ScanningDetector"
    seconds = section(acquisition, "AcquisitionStartDatetime").get("DateTime")
    common = known(
        instrument=instrument.get("InstrumentModel") or instrument.get("InstrumentClass"),
        software=instrument.get("ControlSoftwareVersion"),
        beam="electron",
        beam_energy_kev=times(_positive(optics.get("AccelerationVoltage")), 1e-3),
        dwell_time_s=_positive(scan.get("DwellTime")) if kind != "ImagingDetector" else None,
        exposure_time_s=_positive(_detector(tree).get("ExposureTime")),
        detector=detector,
        operation_mode={"ScanningDetector": "STEM", "ImagingDetector": "TEM"}.get(kind),
        magnification=_positive(
            section(custom, "StemMagnification").get("value") if scanned else None,
            optics.get("NominalMagnification"),
        ),
        spot_size=_positive(optics.get("SpotIndex")),
        camera_length_mm=times(_positive(optics.get("CameraLength")), 1e3),
        acquisition_time=_time(number(seconds)),
        stage=known(
            x_mm=times(number(position.get("x")), 1e3),
            y_mm=times(number(position.get("y")), 1e3),
            z_mm=times(number(position.get("z")), 1e3),
            tilt_deg=times(number(stage.get("AlphaTilt")), 180 / math.pi),
        ),
    )
    return VendorData("velox", plain(tree), plain(common), _pixel_size_nm(tree))


def _positive(*values: Any) -> float | None:
    found = (number(value) for value in values)
    return next((value for value in found if value is not None and value > 0), None)


def _time(seconds: float | None) -> str | None:
    """Return the universal time of seconds since 1970; Velox writes 0 for none."""
    if seconds is None or not 0 < seconds < 2**33:
        return None
    return datetime.fromtimestamp(int(seconds), UTC).isoformat(timespec="seconds")


def _pixel_size_nm(tree: Tree) -> tuple[Any, Any] | None:
    result = section(tree, "BinaryResult")
    size = section(result, "PixelSize")
    units = [nm_per(result.get(key, "")) for key in ("PixelUnitY", "PixelUnitX")]
    if units[0] is None or units[1] is None:
        return None
    y, x = number(size.get("height")), number(size.get("width"))
    if not y and not x:
        return None
    return times(y, units[0]), times(x, units[1])

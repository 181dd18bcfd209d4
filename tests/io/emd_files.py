"""Small writers of EMD files as Velox and the programs at Berkeley have them."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import h5py
import numpy as np


def velox_metadata(
    size: tuple[Any, Any] = ("3e-10", "2e-10"), units: tuple[Any, Any] = ("m", "m"),
    detector: str = "HAADF", kind: str = "ScanningDetector",
) -> dict[str, Any]:  # fmt: skip
    """Make the metadata of a frame; size and units are (y, x)."""
    entry = {"DetectorName": detector, "DetectorType": kind}
    if kind == "ImagingDetector":
        entry["ExposureTime"] = "0.25"
    return {
        "Instrument": {"InstrumentModel": "Talos", "ControlSoftwareVersion": "2.1"},
        "Acquisition": {"AcquisitionStartDatetime": {"DateTime": "1575540224"}},
        "Optics": {"AccelerationVoltage": "200000", "SpotIndex": "6", "CameraLength": "0.098",
                   "NominalMagnification": "1000"},
        "Stage": {"Position": {"x": "1e-05", "y": "-2e-05", "z": "0"}, "AlphaTilt": "0.1"},
        "Scan": {"DwellTime": "2e-06"},
        "Detectors": {"Detector-0": {"DetectorName": "other"}, "Detector-1": entry},
        "BinaryResult": {
            "Detector": detector, "DetectorIndex": "1",
            "PixelSize": {"height": size[0], "width": size[1]},
            "PixelUnitY": units[0], "PixelUnitX": units[1],
        },
        "CustomProperties": {"StemMagnification": {"type": "double", "value": "640000"}},
    }  # fmt: skip


def add_velox(
    file: h5py.File, name: str, pixels: np.ndarray, tree: Any = None, **options: Any
) -> h5py.Group:
    """Add an image; a stack is given as (frames, rows, columns) and stored frames last."""
    stack = pixels if pixels.ndim == 3 else pixels[None]
    group = file.create_group(f"Data/Image/{name}")
    options = {"chunks": (*stack.shape[1:], 1), **options}
    if isinstance(tree, bytes):
        raw = tree
    else:
        raw = json.dumps(velox_metadata() if tree is None else tree).encode()
    group.create_dataset("Data", data=np.moveaxis(stack, 0, -1), **options)
    text = np.zeros((max(6000, len(raw)), len(stack)), np.uint8)
    text[: len(raw)] = np.frombuffer(raw, np.uint8)[:, None]
    group.create_dataset("Metadata", data=text, chunks=(len(text), 1))
    group.create_dataset("FrameLookupTable", data=np.arange(len(stack), dtype="u4"))
    return group


def velox(path: Path, pixels: np.ndarray, tree: Any = None, **options: Any) -> Path:
    """Write a file of one image."""
    with h5py.File(path, "w") as file:
        file.create_dataset("Version", data=['{"version": "8", "format": "Velox"}'])
        add_velox(file, "0123", pixels, tree, **options)
    return path


def add_ncem(
    file: h5py.File, name: str, data: Any, dims: Sequence[tuple[str, str, Any]] = (), *,
    first: int = 1, kind: Any = 1, attributes: Mapping[str, Any] | None = None, **options: Any,
) -> h5py.Group:  # fmt: skip
    """Add an array; `dims` are name, units, and the points or their distance."""
    group = file.create_group(name)
    group.attrs["emd_group_type"] = kind
    group.attrs.update(attributes or {})
    stored = group.create_dataset("data", data=data, **options)
    for axis, (label, units, points) in enumerate(dims):
        values = points if np.ndim(points) else np.arange(stored.shape[axis]) * points
        vector = group.create_dataset(f"dim{first + axis}", data=values)
        vector.attrs["name"], vector.attrs["units"] = label, units
    return group


def ncem(path: Path, data: Any, dims: Sequence[tuple[str, str, Any]] = (), **options: Any) -> Path:
    """Write a file of one array."""
    with h5py.File(path, "w") as file:
        file.attrs["version_major"], file.attrs["version_minor"] = 0, 2
        scope = file.create_group("microscope")
        scope.attrs["name"], scope.attrs["high tension"] = "TEAM", 300000.0
        add_ncem(file, "data/image", data, dims, **options)
    return path

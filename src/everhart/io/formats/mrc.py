"""MRC: what TEMs, electron tomography and cryo-EM keep images, films and volumes in.

Rows are given in the order of the file, as mrcfile and RosettaSciIO give them. By the standard the
first one is at the bottom, and programs of tomography show it there.
"""

from __future__ import annotations

import math
import warnings
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from everhart.errors import FileFormatError, UsageError
from everhart.io.calibration import Calibration, checked, with_sources
from everhart.io.lazy import map_pixels
from everhart.io.limits import Limits
from everhart.io.record import from_json, stored_dtype, to_json
from everhart.io.registry import Format
from everhart.io.vendors.values import known, number, times
from everhart.io.warning import warn
from everhart.micrograph import Micrograph

__all__ = ["FORMAT"]

_HEADER_BYTES = 1024
_FOUR_BIT = 101
_DTYPES = {0: "i1", 1: "i2", 2: "f4", 6: "u2", 12: "f2", _FOUR_BIT: "u1"}
_COMPLEX = (3, 4)
# Bytes, bits and the like become the smallest dtype that every reader knows; the record
# says what they were.
_WRITTEN_AS = {"b1": "i2", "u1": "i2", "i1": "i1", "i2": "i2", "u2": "u2", "f2": "f2", "f4": "f4"}
_EXTENSION = b"EVRH"
_STEM = 2
_IMOD_STAMP = 1146047817
_LARGEST_EXTENSION = 64 << 20
_LARGEST_SIDE = 1 << 24


class _Header(NamedTuple):
    order: str
    width: int
    height: int
    sections: int
    mode: int
    unsigned: bool
    extension: bytes
    offset: int
    size_nm: tuple[float, float] | None
    labels: list[str]


def _sniff(start: bytes) -> bool:
    if len(start) < _HEADER_BYTES:
        return False
    order = _byte_order(start)
    numbers = np.frombuffer(start, order + "i4", 4)
    axes = np.frombuffer(start, order + "i4", 3, 64)
    plausible = all(0 < n <= _LARGEST_SIDE for n in numbers[:3]) and numbers[3] in (
        *_DTYPES,
        *_COMPLEX,
    )
    # Old files have no "MAP "; theirs is a header too when the axes are in some order.
    named = start[208:211] == b"MAP"
    return named or (plausible and sorted(int(a) for a in axes) == [1, 2, 3])


def _byte_order(start: bytes) -> str:
    if start[212] in (0x44, 0x11) and start[208:211] == b"MAP":
        return "<" if start[212] == 0x44 else ">"
    mode = int.from_bytes(start[12:16], "little")
    return "<" if mode < 1 << 16 else ">"


def _read(path: Path, limits: Limits) -> Micrograph:
    header = _header(path)
    dtype = np.dtype(header.order + ("u1" if header.unsigned else _DTYPES[header.mode]))
    four_bit = header.mode == _FOUR_BIT
    limits.check(
        str(path),
        height=header.height,
        width=header.width,
        frames=header.sections,
        itemsize=dtype.itemsize,
        file_bytes=path.stat().st_size,
        mapped=dtype.isnative and not four_bit,
    )
    shape = (header.sections, header.height, header.width)
    pixels = _four_bits(path, header, shape) if four_bit else map_pixels(
        path, offset=header.offset, shape=shape, dtype=dtype
    )  # fmt: skip
    text = header.extension.rstrip(b"\0").decode("ascii", "replace")
    record = from_json(text) if text.startswith("{") else None
    # A stack of one frame has the header of a single image: only the record tells.
    if header.sections == 1 and (record is None or record.shape != shape):
        pixels = pixels[0]
    if record is not None and record.shape == pixels.shape:
        pixels = pixels.astype(stored_dtype(text) or pixels.dtype, copy=False)
    if record is None:
        calibration, metadata = _vendor(path, header)
    else:  # another program may have changed the header's pixel size since
        metadata, calibration = {}, None
        if header.size_nm is not None:
            calibration = checked(path, header.size_nm, "mrc")
    return with_sources(pixels, calibration=calibration, metadata=metadata, record=record)


def _header(path: Path) -> _Header:
    size = path.stat().st_size
    with path.open("rb") as file:
        start = file.read(_HEADER_BYTES)
        if len(start) < _HEADER_BYTES:
            raise _broken(path, f"it has {len(start)} of the header's {_HEADER_BYTES} bytes")
        order = _byte_order(start)
        width, height, sections, mode = (int(n) for n in np.frombuffer(start, order + "i4", 4))
        intervals = np.frombuffer(start, order + "i4", 3, 28)
        cell = np.frombuffer(start, order + "f4", 3, 40)
        axes = [int(n) for n in np.frombuffer(start, order + "i4", 3, 64)]
        extension_bytes, n_labels = (
            int(np.frombuffer(start, order + "i4", 1, at)[0]) for at in (92, 220)
        )
        stamp, flags = (int(n) for n in np.frombuffer(start, order + "i4", 2, 152))
        if not all(0 < n <= _LARGEST_SIDE for n in (width, height, sections)):
            raise _broken(path, f"it claims {sections} sections of {width} x {height} pixels")
        if mode in _COMPLEX:
            raise FileFormatError(
                f"{path} holds complex numbers (mode {mode}), a Fourier transform and no image: "
                "export the real image."
            )
        if mode not in _DTYPES:
            raise FileFormatError(
                f"{path} has the MRC mode {mode}: {', '.join(map(str, _DTYPES))} are read."
            )
        if not 0 <= extension_bytes <= min(size - _HEADER_BYTES, _LARGEST_EXTENSION):
            raise _broken(path, f"it claims an extended header of {extension_bytes:,} bytes")
        extension = file.read(extension_bytes)
    labels = [
        start[224 + 80 * n : 304 + 80 * n].rstrip(b"\0 ").decode("latin-1")
        for n in range(max(0, min(n_labels, 10)))
    ]
    kind = start[104:108]
    return _Header(
        order=order,
        width=width,
        height=height,
        sections=sections,
        mode=mode,
        unsigned=mode == 0 and stamp == _IMOD_STAMP and not flags & 1,
        extension=extension if kind == _EXTENSION else kind + extension,
        offset=_HEADER_BYTES + extension_bytes,
        size_nm=_voxel_nm(path, cell, intervals, axes),
        labels=[label for label in labels if label],
    )


def _voxel_nm(
    path: Path, cell: NDArray[Any], intervals: NDArray[Any], axes: list[int]
) -> tuple[float, float] | None:
    """Return (y, x) from the cell in angstrom; None where it is not set."""
    if sorted(axes) != [1, 2, 3]:
        axes = [1, 2, 3]
    sizes = []
    for axis in (axes[1] - 1, axes[0] - 1):
        count, length = int(intervals[axis]), float(cell[axis])
        if count <= 0 or length == 0 or not math.isfinite(length):
            return None
        # The header has 32-bit floats: their last digits are no calibration.
        sizes.append(float(f"{0.1 * length / count:.7g}"))
    if all(size < 0 for size in sizes):  # some cameras mark so that nothing is calibrated
        warn(path, "has a negative pixel size, which means none; it is uncalibrated")
        return None
    return sizes[0], sizes[1]


def _vendor(path: Path, header: _Header) -> tuple[Calibration | None, dict[str, Any]]:
    """Return calibration and metadata of the header and of FEI's extended one."""
    metadata: dict[str, Any] = {}
    calibration = None
    if header.labels:
        metadata["mrc"] = {"labels": header.labels}
    if header.extension[:4] in (b"FEI1", b"FEI2"):
        fields = _fei_fields(path, header)
        metadata["fei_mrc"] = fields
        metadata["common"] = _common(fields)
        y, x = number(fields.get("Pixel size Y")), number(fields.get("Pixel size X"))
        if x and y:
            calibration = checked(path, (y * 1e9, x * 1e9), "fei_mrc")
    if calibration is None and header.size_nm is not None:
        calibration = checked(path, header.size_nm, "mrc")
        if header.size_nm == (0.1, 0.1):  # which programs write that do not know
            warn(path, "has a pixel size of exactly 1 angstrom, which can mean that none is known")
    return calibration, metadata


def _fei_fields(path: Path, header: _Header) -> dict[str, Any]:
    """Return the fields of the first section in FEI's extended header."""
    from mrcfile.dtypes import get_ext_header_dtype

    kind, data = header.extension[:4], header.extension[4:]
    dtype = get_ext_header_dtype(kind, header.order)
    if dtype is None or len(data) < dtype.itemsize:
        warn(path, f"has a short {kind.decode()} header; ignored")
        return {}
    entry = np.frombuffer(data, dtype, 1)[0]
    fields: dict[str, Any] = {}
    for name in entry.dtype.names or ():
        value = entry[name]
        if isinstance(value, bytes):
            value = value.rstrip(b"\0").decode("latin-1")
        fields[name] = value.item() if isinstance(value, np.generic) else value
    return fields


def _common(fields: dict[str, Any]) -> dict[str, Any]:
    days = number(fields.get("Timestamp"))
    taken = None
    if days is not None and 30_000 < days < 80_000:  # days since 1899-12-30
        taken = (datetime(1899, 12, 30) + timedelta(days=days)).isoformat(timespec="seconds")
    mode = number(fields.get("Instrument mode"))
    camera_length = times(number(fields.get("Camera length")) or None, 1e3)
    return known(
        instrument=fields.get("Microscope type"),
        software=fields.get("Application"),
        beam="electron",
        beam_energy_kev=times(number(fields.get("HT")) or None, 1e-3),
        dwell_time_s=number(fields.get("Dwell time")) or None,
        # The camera is named in scanned images as well.
        detector=fields.get("STEM Detector name" if mode == _STEM else "Camera name"),
        exposure_time_s=number(fields.get("Integration time")) or None,
        spot_size=number(fields.get("Spot index")) or None,
        camera_length_mm=camera_length,
        operation_mode=None if mode is None else {1: "TEM", _STEM: "STEM"}.get(int(mode)),
        magnification=number(fields.get("Magnification")) or None,
        acquisition_time=taken,
        stage=known(
            x_mm=times(number(fields.get("X-Stage")), 1e3),
            y_mm=times(number(fields.get("Y-Stage")), 1e3),
            z_mm=times(number(fields.get("Z-Stage")), 1e3),
            tilt_deg=number(fields.get("Alpha tilt")),
        ),
    )


def _four_bits(path: Path, header: _Header, shape: tuple[int, int, int]) -> NDArray[np.uint8]:
    """Unpack two pixels from each byte, the lower half first; rows begin with whole bytes."""
    packed = map_pixels(
        path, offset=header.offset, shape=(*shape[:2], -(-shape[2] // 2)), dtype=np.uint8
    )
    pixels = np.empty((*packed.shape[:2], 2 * packed.shape[2]), np.uint8)
    pixels[..., ::2] = packed & 15
    pixels[..., 1::2] = packed >> 4
    return np.ascontiguousarray(pixels[..., : shape[2]])


def _broken(path: Path, why: str) -> FileFormatError:
    return FileFormatError(
        f"{path} is broken or truncated: {why}; get the file again from its source."
    )


def _write(image: Micrograph, path: Path) -> None:
    import mrcfile

    name = f"{image.dtype.kind}{image.dtype.itemsize}"
    if name not in _WRITTEN_AS:
        raise UsageError(
            f"Pixels of dtype {image.dtype} were to be written as MRC, which holds bool, integers "
            "of 8 and 16 bits, float16 and float32: write TIFF, EMD or NPY, or convert the image."
        )
    text = to_json(image).encode("ascii")
    text += b"\0" * (-len(text) % 4)
    with warnings.catch_warnings(), mrcfile.new(path, overwrite=True) as file:
        # It complains of pixels that are NaN or infinite, and of their mean.
        warnings.simplefilter("ignore", RuntimeWarning)
        file.set_data(np.ascontiguousarray(image.pixels, _WRITTEN_AS[name]))
        if image.ndim == 3:
            file.set_image_stack()
        if image.pixel_size_nm is not None:
            y, x = (10 * size for size in image.pixel_size_nm)
            file.voxel_size = (x, y, 1.0 if image.ndim == 2 else x)
        file.set_extended_header(np.frombuffer(text, "V1"))
        file.header.exttyp = _EXTENSION


FORMAT = Format("MRC", (".mrc", ".mrcs", ".st", ".rec", ".ali", ".map"), _sniff, _read, _write)

"""SER and EMI: what FEI's TIA writes, pixels in the one and their conditions in the other.

``NAME.emi`` has beside it ``NAME_1.ser``, ``NAME_2.ser`` and so on, one for each image or
spectrum. Either of them can be opened.
"""

from __future__ import annotations

import mmap
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from everhart.errors import FileFormatError
from everhart.io.calibration import with_sources
from everhart.io.findings import Findings, guarded
from everhart.io.lazy import MAPPED_BYTES, FrameReader, map_pixels
from everhart.io.limits import Limits
from everhart.io.registry import Format
from everhart.io.tia_series import TiaSeries, is_series, read_series
from everhart.io.vendors.tia import from_tia, is_pattern, object_info
from everhart.io.vendors.values import Tree, decoded
from everhart.io.warning import warn
from everhart.micrograph import Micrograph

__all__ = ["EMI", "SER"]

_EMI_MAGIC = b"JK\0\x02"
_INFO_START, _INFO_END = b"<ObjectInfo", b"</ObjectInfo>"
_LONGEST_INFO = 4 << 20
# TIA numbers the series of a document from 1 on; deleted ones leave gaps.
_MOST_SERIES = 200
_NUMBERED = re.compile(r"(.+)_(\d{1,6})", re.DOTALL)


def _is_emi(start: bytes) -> bool:
    return start.startswith(_EMI_MAGIC)


def _read_ser(path: Path, limits: Limits) -> Micrograph:
    series = read_series(path, limits)
    return _micrograph(path, series, _info_beside(path), limits)


def _read_emi(path: Path, limits: Limits) -> Micrograph:
    beside, series, number = _first_images(path, limits)
    return _micrograph(beside, series, _info_in(path, number), limits)


def _ser_frames(path: Path, limits: Limits) -> FrameReader:
    return _frames(path, read_series(path, limits), _info_beside(path))


def _emi_frames(path: Path, limits: Limits) -> FrameReader:
    beside, series, number = _first_images(path, limits)
    return _frames(beside, series, _info_in(path, number))


def _micrograph(path: Path, series: TiaSeries, info: Tree | None, limits: Limits) -> Micrograph:
    """Read the pixels of a series; those of evenly spaced images are mapped."""
    count, height, width = series.shape
    step = series.step
    limits.check(
        str(path),
        height=height,
        width=width,
        frames=count,
        itemsize=series.dtype.itemsize,
        file_bytes=path.stat().st_size,
        mapped=step is not None and series.dtype.isnative,
    )
    if step is None:
        pixels = np.empty(series.shape, series.dtype.newbyteorder("="))
        for number in range(count):
            pixels[number] = _frame(path, series, number)
    else:
        itemsize = series.dtype.itemsize
        pixels = _upright(
            map_pixels(
                path,
                offset=int(series.offsets[0]),
                shape=series.shape,
                dtype=series.dtype,
                strides=(step, width * itemsize, itemsize),
            )
        )
    found = _findings(path, series, info)
    return with_sources(
        pixels if count > 1 else pixels[0],
        calibration=found.calibration,
        metadata=found.metadata,
    )


def _frame(path: Path, series: TiaSeries, number: int) -> NDArray[Any]:
    offset = int(series.offsets[number])
    return _upright(map_pixels(path, offset=offset, shape=series.shape[1:], dtype=series.dtype))


def _upright(pixels: NDArray[Any]) -> NDArray[Any]:
    """Turn rows around: the file has the lowest first, and TIA shows it at the bottom."""
    turned = pixels[..., ::-1, :]
    return turned if pixels.nbytes > MAPPED_BYTES else np.ascontiguousarray(turned)


def _frames(path: Path, series: TiaSeries, info: Tree | None) -> FrameReader:
    found = _findings(path, series, info)
    dtype = series.dtype.newbyteorder("=")
    described = with_sources(
        np.broadcast_to(np.zeros((), dtype), series.shape),
        calibration=found.calibration,
        metadata=found.metadata,
    )
    return FrameReader(
        shape=series.shape,
        dtype=dtype,
        frame=lambda number: _frame(path, series, range(series.shape[0])[number]),
        close=lambda: None,  # each frame opens the file
        pixel_size_nm=described.pixel_size_nm,
        metadata=described.metadata,
    )


def _findings(path: Path, series: TiaSeries, info: Tree | None) -> Findings:
    found = Findings()
    data = guarded(path, "TIA", lambda: from_tia(series, info))
    if data is not None:
        found.take(path, data, series.shape)
        if data.pixel_size_nm is None and info is not None and is_pattern(info):
            warn(path, "is a diffraction pattern, with a scale in 1/m: it has no pixel size in nm")
    return found


def _first_images(path: Path, limits: Limits) -> tuple[Path, TiaSeries, int]:
    """Find the first series of images beside an EMI file.

    Returns
    -------
    Path, TiaSeries, int
        The series file, what it claims, and its number from 1.
    """
    images: list[tuple[Path, TiaSeries, int]] = []
    others: list[str] = []
    refused: FileFormatError | None = None
    for number, beside in _series_beside(path):
        if images:  # of these, only the names matter
            others.append(beside.name)
            continue
        try:
            images.append((beside, read_series(beside, limits), number))
        except FileFormatError as error:
            refused = refused or error
    if not images and refused is not None:
        raise refused
    if not images:
        raise FileFormatError(
            f"{path} has its pixels in {path.stem}_1.ser, which is not beside it: put the series "
            "files of TIA into the same folder."
        )
    if others:
        warn(
            path,
            f"has several series; {images[0][0].name} was read, and not {', '.join(others[:20])}: "
            "open these by their names",
        )
    return images[0]


def _series_beside(path: Path) -> Iterator[tuple[int, Path]]:
    """Give the series files of an EMI file with their numbers."""
    for number in range(1, _MOST_SERIES + 1):
        for suffix in (".ser", ".SER"):
            beside = path.with_name(f"{path.stem}_{number}{suffix}")
            if beside.is_file():
                yield number, beside
                break


def _info_beside(path: Path) -> Tree | None:
    """Read what the EMI file beside a series file says, if there is one."""
    match = _NUMBERED.fullmatch(path.stem)
    if match is None:
        return None
    for suffix in (".emi", ".EMI"):
        beside = path.with_name(match[1] + suffix)
        if beside.is_file():
            return _info_in(beside, int(match[2]))
    return None


def _info_in(path: Path, number: int) -> Tree | None:
    """Read what an EMI file says of the series of a number; what is broken costs a warning."""
    return guarded(path, "EMI", lambda: _object_info(path, number))


def _object_info(path: Path, number: int) -> Tree | None:
    with path.open("rb") as file:
        if not file.read(1):
            raise ValueError("it is empty")
        # The file has a copy of each image as well: it is searched and not loaded.
        with mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as content:
            start, found = content.find(_INFO_START), -1
            for _ in range(number):  # in the order of the series; the last one if they are fewer
                if start < 0:
                    break
                found = start
                start = content.find(_INFO_START, start + len(_INFO_START))
            if found < 0:
                raise ValueError("it has no ObjectInfo")
            end = content.find(_INFO_END, found, found + _LONGEST_INFO)
            if end < 0:
                raise ValueError("its ObjectInfo does not end")
            raw = content[found : end + len(_INFO_END)]
    return object_info(decoded(raw))


SER = Format("TIA series", (".ser",), is_series, _read_ser, frames=_ser_frames)
EMI = Format("TIA", (".emi",), _is_emi, _read_emi, frames=_emi_frames)

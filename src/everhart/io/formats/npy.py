"""NumPy's ``.npy`` files: bare arrays, without calibration."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from everhart.errors import FileFormatError
from everhart.io.bitmap import broken
from everhart.io.grey import array_layout, bands_to_grey
from everhart.io.lazy import map_pixels
from everhart.io.limits import Limits
from everhart.io.registry import Format
from everhart.micrograph import Micrograph

__all__ = ["FORMAT"]

_MAGIC = b"\x93NUMPY"


def _sniff(start: bytes) -> bool:
    return start.startswith(_MAGIC)


def _read(path: Path, limits: Limits) -> Micrograph:
    with path.open("rb") as file:
        shape, fortran, dtype = _header(path, file)
        if dtype.kind not in "buif" or dtype.itemsize > 8:
            raise FileFormatError(
                f"{path} holds an array of dtype {dtype}: bool, integers and floats of at most 64 "
                "bits are read, and objects are never unpickled; save the image as numbers."
            )
        start = file.tell()
    layout = array_layout(path, shape)
    # The last axis is colour.
    coloured = len(shape) == 3 and layout["frames"] == 1 and shape[0] != 1
    limits.check(
        str(path),
        itemsize=dtype.itemsize,
        file_bytes=path.stat().st_size,
        mapped=dtype.isnative and not coloured and not fortran,
        **layout,
    )
    if fortran:  # the first axis runs fastest
        pixels = map_pixels(path, offset=start, shape=shape[::-1], dtype=dtype).T
    else:
        pixels = map_pixels(path, offset=start, shape=shape, dtype=dtype)
    if coloured:
        pixels = bands_to_grey(path, pixels)
    return Micrograph(np.ascontiguousarray(pixels))


def _header(path: Path, file: Any) -> tuple[tuple[int, ...], bool, np.dtype[Any]]:
    try:
        version = np.lib.format.read_magic(file)
        if version == (1, 0):
            return np.lib.format.read_array_header_1_0(file)
        if version == (2, 0):
            return np.lib.format.read_array_header_2_0(file)
    except Exception as error:  # the header is Python text: its parser raises many things
        raise broken(path, error) from error
    # Version 3 differs in the names of record fields only, which an image has not.
    raise FileFormatError(
        f"{path} is an NPY file of version {version[0]}.{version[1]}: 1.0 and 2.0 are read; "
        "save it again with numpy.save."
    )


def _write(image: Micrograph, path: Path) -> None:
    with path.open("wb") as file:
        np.lib.format.write_array(file, image.pixels, allow_pickle=False)


FORMAT = Format("NPY", (".npy",), _sniff, _read, _write)

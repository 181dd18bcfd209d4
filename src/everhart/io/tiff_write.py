"""Write TIFF files that ImageJ calibrates by, and that come back to Everhart whole."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from everhart.io.calibration import NM_PER_UNIT
from everhart.io.record import RECORD_KEY, to_json, to_record
from everhart.micrograph import Micrograph

__all__ = ["write_tiff"]

# What ImageJ's own TIFF dialect holds; other dtypes are written as plain TIFF.
_IMAGEJ_DTYPES = (np.uint8, np.uint16, np.float32)

# Offsets of a classic TIFF have 32 bits; some room is left for the tags.
_CLASSIC_BYTES = 2**32 - 2**25

# A resolution is a ratio of two 32-bit numbers: in a suitable unit it keeps nine digits.
_IMAGEJ_UNITS = ("pm", "nm", "um", "mm", "m")


def write_tiff(image: Micrograph, path: Path) -> None:
    """Write a micrograph as TIFF, not compressed.

    uint8, uint16 and float32 up to 4 GB are written as ImageJ does, with the pixel size in
    ImageJ's unit and Everhart's record under "Info"; other dtypes as plain TIFF, with the
    pixel size in the resolution tags and the record in the image description; what is larger
    as BigTIFF of that kind.

    Parameters
    ----------
    image
        Micrograph of any dtype.
    path
        The file.
    """
    import tifffile

    pixels = np.ascontiguousarray(image.pixels)
    options: dict[str, Any] = {"photometric": "minisblack", "software": "everhart"}
    if pixels.dtype in _IMAGEJ_DTYPES and pixels.nbytes < _CLASSIC_BYTES:
        details: dict[str, Any] = {
            "axes": "TYX"[-image.ndim :],
            "Info": to_json(image),
        }
        if image.shape[-1] == 1:  # tifffile would take the last axis for bands
            details["axes"] += "S"
            pixels = pixels[..., None]
        if image.pixel_size_nm is not None:
            unit, unit_nm = _imagej_unit(max(image.pixel_size_nm))
            y, x = (unit_nm / size for size in image.pixel_size_nm)
            details["unit"] = unit
            options["resolution"] = (x, y)
        tifffile.imwrite(path, pixels, imagej=True, metadata=details, **options)
        return
    if image.pixel_size_nm is not None:
        y, x = (NM_PER_UNIT["cm"] / size for size in image.pixel_size_nm)
        if max(x, y) < 2**32:  # a pixel of less than 2.4 pm does not fit into the tag
            options.update(resolution=(x, y), resolutionunit="CENTIMETER")
    tifffile.imwrite(
        path,
        pixels,
        bigtiff=pixels.nbytes >= _CLASSIC_BYTES,
        metadata={RECORD_KEY: to_record(image)},
        **options,
    )


def _imagej_unit(size_nm: float) -> tuple[str, float]:
    """Choose the unit in which a pixel is 0.001 to 1000 long, nm if possible."""
    for unit in ("nm", *_IMAGEJ_UNITS):
        if 1e-3 <= size_nm / NM_PER_UNIT[unit] < 1e3 or unit == _IMAGEJ_UNITS[-1]:
            return unit, NM_PER_UNIT[unit]
    raise AssertionError("the last unit is always taken")

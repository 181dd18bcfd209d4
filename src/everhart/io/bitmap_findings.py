"""What is known of a PNG, JPEG or BMP image: side-car, embedded metadata, resolution."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

from numpy.typing import NDArray

from everhart.io.bitmap import bitmap_resolution
from everhart.io.calibration import with_sources
from everhart.io.findings import Findings, guarded
from everhart.io.record import Record
from everhart.io.sidecar import read_sidecar
from everhart.io.vendors.phenom import from_phenom, phenom_xml
from everhart.micrograph import Micrograph

__all__ = ["bitmap_micrograph"]

# A Phenom's XML is before or behind the picture, and has a few kilobytes.
_SEARCHED = 1 << 16


def bitmap_micrograph(
    path: Path, pixels: NDArray[Any], info: dict[str, Any], record: Record | None = None
) -> Micrograph:
    """Make the micrograph of a bitmap.

    Parameters
    ----------
    path
        The file.
    pixels
        Its grey pixels.
    info
        What Pillow found beside them.
    record
        Everhart's own record, beside which nothing else is looked for.

    Returns
    -------
    Micrograph
        With the calibration of, in this order, the record, metadata within the file, a
        side-car, the plain resolution.
    """
    found = Findings(record=record)
    if record is None:
        xml = phenom_xml(_ends(path))
        data = guarded(path, "Phenom", lambda: from_phenom(xml)) if xml else None
        if data is not None:
            found.take(path, data, pixels.shape)
        if found.calibration is None:
            read_sidecar(path, found, pixels.shape)
    if found.calibration is None and (record is None or record.pixel_size_nm is None):
        found.calibration = bitmap_resolution(path, info)
    return with_sources(
        pixels,
        calibration=found.calibration,
        metadata=found.metadata,
        data_bar_rows=found.data_bar_rows,
        data_bar_source=found.data_bar_source,
        record=record,
    )


def _ends(path: Path) -> bytes:
    """Return the first and last bytes of a file."""
    with path.open("rb") as file:
        start = file.read(_SEARCHED)
        size = file.seek(0, os.SEEK_END)
        file.seek(max(len(start), size - _SEARCHED))
        return start + file.read(_SEARCHED)

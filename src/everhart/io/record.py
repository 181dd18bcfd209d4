"""Everhart's own record in the files that it writes: calibration, history and metadata.

It is JSON in a text field of the file, beside the calibration that other programs read.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import date, datetime, time
from typing import Any

import numpy as np

from everhart.micrograph import HistoryEntry, Micrograph, __version__

__all__ = ["RECORD_KEY", "Record", "from_json", "plain", "stored_dtype", "to_json", "to_record"]

#: Key under which the record is kept in a file.
RECORD_KEY = "everhart"


@dataclass(frozen=True)
class Record:
    """What a record says about the pixels beside it.

    Parameters
    ----------
    shape
        Shape of the pixels it was written with: other pixels make it stale.
    pixel_size_nm
        Pixel size ``(y, x)`` in nm, or None.
    data_bar_rows
        Rows of the data bar.
    history
        What was done to the image.
    metadata
        The metadata tree.
    """

    shape: tuple[int, ...]
    pixel_size_nm: tuple[float, float] | None = None
    data_bar_rows: int = 0
    history: tuple[HistoryEntry, ...] = ()
    metadata: dict[str, Any] = field(default_factory=dict)


def to_record(image: Micrograph) -> dict[str, Any]:
    """Return the record of a micrograph, as JSON can hold it."""
    return {
        "written_by": f"everhart {__version__}",
        "shape": list(image.shape),
        "dtype": str(image.dtype),
        "pixel_size_nm": None if image.pixel_size_nm is None else list(image.pixel_size_nm),
        "data_bar_rows": image.data_bar_rows,
        "history": [plain(entry.to_dict()) for entry in image.history],
        "metadata": plain(image.metadata),
    }


def to_json(image: Micrograph) -> str:
    """Return the record of a micrograph under its key, as ASCII JSON."""
    return json.dumps({RECORD_KEY: to_record(image)}, allow_nan=False)


def from_json(text: str) -> Record | None:
    """Read a record.

    Parameters
    ----------
    text
        Text that may be a record.

    Returns
    -------
    Record or None
        None if the text is none, or not one that can be used.
    """
    try:
        # Other programs put lines of their own before and after the JSON.
        record = json.JSONDecoder().raw_decode(text, text.index("{"))[0][RECORD_KEY]
        shape = tuple(int(n) for n in record["shape"])
        rows = int(record["data_bar_rows"])
        return Record(
            shape=shape,
            pixel_size_nm=_size(record["pixel_size_nm"]),
            data_bar_rows=rows if 0 <= rows < shape[-2] else 0,
            history=tuple(HistoryEntry.from_dict(entry) for entry in record["history"]),
            metadata=dict(record["metadata"]),
        )
    except (ArithmeticError, ValueError, TypeError, LookupError, AttributeError, RecursionError):
        return None


def stored_dtype(text: str) -> np.dtype[Any] | None:
    """Return the dtype that the pixels of a record had, for formats that hold few dtypes."""
    try:
        dtype = np.dtype(json.loads(text)[RECORD_KEY]["dtype"])
    except (ValueError, TypeError, KeyError, RecursionError):
        return None
    return dtype if dtype.kind in "buif" else None


def _size(value: Any) -> tuple[float, float] | None:
    if value is None:
        return None
    y, x = float(value[0]), float(value[1])
    return (y, x) if 0 < y < math.inf and 0 < x < math.inf else None


def plain(value: Any) -> Any:
    """Turn a tree of values into what JSON can hold.

    NumPy scalars and arrays become numbers and lists, numbers that are not finite become
    None, times become ISO 8601, and anything else becomes its text.

    Examples
    --------
    >>> plain({"dwell": np.float32(0.5), "stage": np.array([1, 2]), "tilt": float("nan")})
    {'dwell': 0.5, 'stage': [1, 2], 'tilt': None}
    """
    if isinstance(value, Mapping):
        return {str(key): plain(item) for key, item in value.items()}
    if isinstance(value, np.ndarray):
        return plain(value.tolist())
    if isinstance(value, (list, tuple, set, frozenset)):
        return [plain(item) for item in value]
    if isinstance(value, np.generic):
        return plain(value.item())
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if value is None or isinstance(value, (bool, int, str)):
        return value
    if isinstance(value, (datetime, date, time)):
        return value.isoformat()
    if isinstance(value, bytes):
        return value.decode("utf-8", errors="replace")
    return str(value)

"""What the tags and side-cars of a file say about its pixels."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

from everhart.io.bitmap import in_short
from everhart.io.calibration import Calibration, checked
from everhart.io.record import Record
from everhart.io.vendors import VendorData
from everhart.io.warning import warn

__all__ = ["Findings", "guarded"]

T = TypeVar("T")


@dataclass
class Findings:
    """What was found so far; what was found first is kept.

    Parameters
    ----------
    calibration
        The pixel size and its source.
    metadata
        The vendors' trees and ``"common"``.
    data_bar_rows, data_bar_source
        Rows of the data bar, and what said so.
    record
        Everhart's own record.
    """

    calibration: Calibration | None = None
    metadata: dict[str, Any] = field(default_factory=dict)
    data_bar_rows: int | None = None
    data_bar_source: str | None = None
    record: Record | None = None

    def take(self, path: Path, data: VendorData, shape: tuple[int, ...]) -> None:
        """Add what a vendor says.

        Parameters
        ----------
        path
            The file, for the warning if a pixel size is not believable.
        data
            What the vendor says.
        shape
            Shape of the pixels.
        """
        self.metadata.setdefault(data.name, data.tree)
        common = self.metadata.setdefault("common", {})
        for name, value in data.common.items():
            common.setdefault(name, value)
        if self.calibration is None and data.pixel_size_nm is not None:
            self.calibration = checked(path, data.pixel_size_nm, data.name)
        if self.data_bar_rows is not None:
            return
        rows = data.field_rows
        # A page of another scale than the scan has no bar of that height.
        if rows is not None and 0.6 <= rows / shape[-2] <= 1:
            self.data_bar_rows = shape[-2] - rows
        elif rows is None and data.bar_rows is not None and data.bar_rows <= 0.4 * shape[-2]:
            self.data_bar_rows = data.bar_rows
        if self.data_bar_rows is not None:
            self.data_bar_source = data.name


def guarded(path: Path, what: str, understand: Callable[[], T]) -> T | None:
    """Call a function that understands metadata; its failure costs a warning."""
    try:
        return understand()
    except Exception as error:  # a vendor's tag can hold anything
        warn(path, f"has {what} metadata that cannot be understood ({in_short(error)}); ignored")
        return None

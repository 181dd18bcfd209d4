"""Tables: of a measurement, or of metrics; sorted by any column, numbers as numbers."""

from __future__ import annotations

import csv
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from PySide6.QtCore import (
    QAbstractTableModel,
    QModelIndex,
    QPersistentModelIndex,
    QSortFilterProxyModel,
    Qt,
)
from typing_extensions import override

__all__ = ["Rows", "SortedTable", "TableModel", "read_rows"]

Index = QModelIndex | QPersistentModelIndex
Rows = Sequence[Mapping[str, str]]

_UNITS = {"nm": "nm", "px": "px", "deg": "°", "nm2": "nm²", "px2": "px²", "nm3": "nm³", "db": "dB"}


def read_rows(path: Path) -> list[dict[str, str]]:
    """Read a CSV file, as text: what is shown is what is exported."""
    with path.open(encoding="utf-8", newline="") as stream:
        return list(csv.DictReader(stream))


def _number(text: str) -> float | None:
    try:
        return float(text)
    except ValueError:
        return None


def _head(column: str) -> str:
    """Write the name of a column for people: ``cd_sd_nm`` is "cd sd, nm"."""
    words = column.split("_")
    unit = _UNITS.get(words[-1]) if len(words) > 1 else None
    return f"{' '.join(words[:-1])}, {unit}" if unit else " ".join(words)


class TableModel(QAbstractTableModel):
    """Rows of text.

    Parameters
    ----------
    parent
        Owner.
    """

    def __init__(self, parent: Any = None) -> None:
        super().__init__(parent)
        self.rows: Rows = []
        self.columns: list[str] = []

    def show_rows(self, rows: Rows, columns: Sequence[str] | None = None) -> None:
        """Show other rows; columns in the order of the first row if none are given."""
        self.beginResetModel()
        self.rows = rows
        self.columns = list(columns) if columns is not None else list(rows[0]) if rows else []
        self.endResetModel()

    def sort_value(self, row: int, column: int) -> tuple[int, float, str]:
        """Return what a cell is sorted by: numbers before words, nothing last."""
        text = self.rows[row].get(self.columns[column], "")
        number = _number(text)
        if number is not None and math.isfinite(number):
            return (0, number, "")
        return (1, 0.0, text) if text else (2, 0.0, "")

    @override
    def rowCount(self, parent: Index = QModelIndex()) -> int:  # noqa: B008 - the interface of Qt
        return 0 if parent.isValid() else len(self.rows)

    @override
    def columnCount(self, parent: Index = QModelIndex()) -> int:  # noqa: B008
        return 0 if parent.isValid() else len(self.columns)

    @override
    def headerData(
        self, section: int, orientation: Qt.Orientation, role: int = Qt.ItemDataRole.DisplayRole
    ) -> Any:
        if orientation == Qt.Orientation.Horizontal:
            if role == Qt.ItemDataRole.DisplayRole:
                return _head(self.columns[section])
            if role == Qt.ItemDataRole.ToolTipRole:
                return self.columns[section]
        return None

    @override
    def data(self, index: Index, role: int = Qt.ItemDataRole.DisplayRole) -> Any:
        text = self.rows[index.row()].get(self.columns[index.column()], "")
        number = _number(text)
        if role == Qt.ItemDataRole.DisplayRole:
            if number is None or not math.isfinite(number) or number.is_integer():
                return text
            return f"{number:.5g}"
        if role == Qt.ItemDataRole.ToolTipRole:
            return text
        if role == Qt.ItemDataRole.TextAlignmentRole and number is not None:
            return int(Qt.AlignmentFlag.AlignRight | Qt.AlignmentFlag.AlignVCenter)
        return None


class SortedTable(QSortFilterProxyModel):
    """A table sorted by a column.

    Parameters
    ----------
    table
        The rows.
    parent
        Owner.
    """

    def __init__(self, table: TableModel, parent: Any = None) -> None:
        super().__init__(parent)
        self._table = table
        self.setSourceModel(table)

    @override
    def lessThan(self, source_left: Index, source_right: Index) -> bool:
        left, right = (
            self._table.sort_value(i.row(), i.column()) for i in (source_left, source_right)
        )
        return left < right

"""The table of a measurement or of metrics, with the buttons that save it."""

from __future__ import annotations

from collections.abc import Sequence

from PySide6.QtCore import QModelIndex, Qt, Signal
from PySide6.QtWidgets import (
    QAbstractItemView,
    QCheckBox,
    QHBoxLayout,
    QHeaderView,
    QLabel,
    QPushButton,
    QTableView,
    QVBoxLayout,
    QWidget,
)

from everhart.desktop.marks import KINDS
from everhart.desktop.table import Rows, SortedTable, TableModel

__all__ = ["TablePanel"]


class TablePanel(QWidget):
    """Shows a table.

    Parameters
    ----------
    parent
        Owner.
    """

    row_chosen = Signal(int)
    """A row of the table as it is in its file."""
    hidden_changed = Signal(object)
    """Kinds of outlines that are not to be drawn."""
    save_wanted = Signal()
    save_as_wanted = Signal()

    def __init__(self, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self.model = TableModel(self)
        self.sorted = SortedTable(self.model, self)
        self.title = QLabel("Nothing was measured yet.")
        self.save = QPushButton("Save CSV")
        self.save.setToolTip("Save the table beside the image (Ctrl+E)")
        self.save_as = QPushButton("Save CSV as…")
        self._switches: dict[str, QCheckBox] = {}
        for button in (self.save, self.save_as):
            button.setEnabled(False)
        self.view = QTableView()
        self.view.setModel(self.sorted)
        self.view.setSortingEnabled(True)
        self.view.setSelectionBehavior(QAbstractItemView.SelectionBehavior.SelectRows)
        self.view.setSelectionMode(QAbstractItemView.SelectionMode.SingleSelection)
        self.view.setEditTriggers(QAbstractItemView.EditTrigger.NoEditTriggers)
        self.view.setAlternatingRowColors(True)
        self.view.verticalHeader().hide()
        self.view.verticalHeader().setDefaultSectionSize(22)
        self.view.horizontalHeader().setSectionResizeMode(QHeaderView.ResizeMode.Interactive)
        self.view.setAccessibleName("Table of the measurement")
        row = QHBoxLayout()
        row.addWidget(self.title, 1)
        for kind, (words, colour) in KINDS.items():
            box = QCheckBox(words.capitalize())
            box.setChecked(True)
            box.setStyleSheet(
                f"QCheckBox {{ border-left: 4px solid {colour.name()}; padding-left: 5px }}"
            )
            box.toggled.connect(lambda *_: self.hidden_changed.emit(self.hidden))
            box.hide()
            self._switches[kind] = box
            row.addWidget(box)
        row.addWidget(self.save)
        row.addWidget(self.save_as)
        layout = QVBoxLayout(self)
        layout.setContentsMargins(6, 4, 6, 4)
        layout.addLayout(row)
        layout.addWidget(self.view, 1)
        self.view.selectionModel().currentRowChanged.connect(self._choose)
        self.save.clicked.connect(self.save_wanted)
        self.save_as.clicked.connect(self.save_as_wanted)

    @property
    def hidden(self) -> frozenset[str]:
        """Kinds of outlines that are switched off."""
        return frozenset(kind for kind, box in self._switches.items() if not box.isChecked())

    def switch(self, kind: str) -> QCheckBox:
        """Return the switch of a kind of outlines."""
        return self._switches[kind]

    def show_table(
        self,
        title: str,
        rows: Rows,
        *,
        columns: Sequence[str] | None = None,
        kinds: Sequence[str] = (),
        can_save: bool = True,
        sort_by: str | None = None,
        descending: bool = False,
    ) -> None:
        """Show a table.

        Parameters
        ----------
        title
            What it is.
        rows, columns
            What is in it.
        kinds
            Kinds of outlines that can be switched.
        can_save
            Whether it can be saved.
        sort_by
            Column that it is sorted by; the order of the file if None.
        descending
            Whether the largest come first.
        """
        self.title.setText(title)
        self.model.show_rows(rows, columns)
        order = Qt.SortOrder.DescendingOrder if descending else Qt.SortOrder.AscendingOrder
        column = self.model.columns.index(sort_by) if sort_by in self.model.columns else -1
        self.view.horizontalHeader().setSortIndicator(column, order)
        self.sorted.sort(column, order)
        self.view.resizeColumnsToContents()
        self.view.scrollToTop()
        for kind, box in self._switches.items():
            box.setVisible(kind in kinds)
        for button in (self.save, self.save_as):
            button.setEnabled(can_save and bool(rows))

    def mark_row(self, row: int) -> None:
        """Select a row without telling of it."""
        index = self.sorted.mapFromSource(self.model.index(row, 0))
        model = self.view.selectionModel()
        blocked = model.blockSignals(True)
        self.view.selectRow(index.row())
        model.blockSignals(blocked)
        self.view.viewport().update()
        self.view.scrollTo(index)

    def _choose(self, current: QModelIndex, _: QModelIndex) -> None:
        if current.isValid():
            self.row_chosen.emit(self.sorted.mapToSource(current).row())

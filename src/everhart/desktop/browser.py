"""The list of images: thumbnails, a filter, an order."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PySide6.QtCore import QItemSelectionModel, QPoint, QSize, Qt, Signal
from PySide6.QtGui import QImage, QPainter, QPixmap
from PySide6.QtWidgets import (
    QAbstractItemView,
    QComboBox,
    QHBoxLayout,
    QLabel,
    QLineEdit,
    QListView,
    QMenu,
    QVBoxLayout,
    QWidget,
)

from everhart.desktop.library import SORT_KEYS, Entry, Library, SortedLibrary
from everhart.desktop.rendering import grey_image
from everhart.desktop.thumbnails import Thumbnails

__all__ = ["Browser"]

_ICON_PX = 96


class Browser(QWidget):
    """Shows the library.

    Parameters
    ----------
    library
        The images.
    thumbnails
        What makes their thumbnails.
    parent
        Owner.
    """

    chosen = Signal(list)
    """The entries that are selected, that with the focus first."""
    save_wanted = Signal(object)

    def __init__(
        self, library: Library, thumbnails: Thumbnails, parent: QWidget | None = None
    ) -> None:
        super().__init__(parent)
        self.library, self._thumbnails = library, thumbnails
        self.shown = SortedLibrary(library, self)
        self.filter = QLineEdit(placeholderText="Filter by name")
        self.filter.setClearButtonEnabled(True)
        self.filter.setAccessibleName("Filter images by name")
        self.order = QComboBox()
        self.order.setAccessibleName("Order of the images")
        for key, words in SORT_KEYS.items():
            self.order.addItem(words, key)
        self.count = QLabel()
        self.list = QListView()
        self.list.setAccessibleName("Images")
        self.list.setModel(self.shown)
        self.list.setViewMode(QListView.ViewMode.IconMode)
        self.list.setResizeMode(QListView.ResizeMode.Adjust)
        self.list.setMovement(QListView.Movement.Static)
        self.list.setUniformItemSizes(True)
        self.list.setIconSize(QSize(_ICON_PX, _ICON_PX))
        self.list.setGridSize(QSize(_ICON_PX + 16, _ICON_PX + 30))
        self.list.setSelectionMode(QAbstractItemView.SelectionMode.ExtendedSelection)
        self.list.setTextElideMode(Qt.TextElideMode.ElideMiddle)
        self.list.setContextMenuPolicy(Qt.ContextMenuPolicy.CustomContextMenu)
        top = QHBoxLayout()
        top.addWidget(self.filter, 1)
        top.addWidget(self.order)
        layout = QVBoxLayout(self)
        layout.setContentsMargins(4, 4, 4, 4)
        layout.addLayout(top)
        layout.addWidget(self.list, 1)
        layout.addWidget(self.count)

        self.filter.textChanged.connect(self._filter)
        self.order.currentIndexChanged.connect(
            lambda: self.shown.sort_by(str(self.order.currentData()))
        )
        self.list.selectionModel().selectionChanged.connect(lambda *_: self._choose())
        self.list.customContextMenuRequested.connect(self._menu)
        library.thumbnail_wanted.connect(thumbnails.want)
        thumbnails.ready.connect(self._take)
        thumbnails.failed.connect(library.set_fault)
        thumbnails.dropped.connect(library.forget_request)
        for signal in (self.shown.rowsInserted, self.shown.modelReset, self.shown.layoutChanged):
            signal.connect(lambda *_: self._tell())
        # Two columns and a scroll bar.
        self.setMinimumWidth(2 * self.list.gridSize().width() + 38)
        self._tell()

    @property
    def selected(self) -> list[Entry]:
        """The selected entries in the order shown, that with the focus first."""
        model = self.list.selectionModel()
        indices = sorted(model.selectedIndexes(), key=lambda index: index.row())
        current = model.currentIndex()
        indices.sort(key=lambda index: index != current)
        return [self.shown.entry_at(index) for index in indices]

    def select(self, *paths: Path) -> None:
        """Select files; the first gets the focus."""
        model = self.list.selectionModel()
        blocked = model.blockSignals(True)
        model.clearSelection()
        model.blockSignals(blocked)
        self.list.viewport().update()
        for path in reversed(paths):
            index = self.shown.index_of(path)
            if index.isValid():
                model.setCurrentIndex(index, QItemSelectionModel.SelectionFlag.Select)
                self.list.scrollTo(index)

    def step(self, by: int) -> None:
        """Go to the next image, or the one before."""
        row = self.list.currentIndex().row() + by
        if 0 <= row < self.shown.rowCount():
            self.list.setCurrentIndex(self.shown.index(row, 0))

    def _choose(self) -> None:
        entries = self.selected
        if entries:
            self.chosen.emit(entries)

    def _filter(self, text: str) -> None:
        self.shown.filter_by(text)
        self._tell()

    def _tell(self) -> None:
        here, all_of_them = self.shown.rowCount(), self.library.rowCount()
        words = f"{all_of_them} image{'s' * (all_of_them != 1)}"
        self.count.setText(words if here == all_of_them else f"{here} of {words}")

    def _take(self, path: Path, pixels: NDArray[np.uint8]) -> None:
        small: QImage = grey_image(pixels)
        side = max(small.width(), small.height())
        # Square, so that names are in one line below.
        picture = QPixmap(side, side)
        picture.fill(Qt.GlobalColor.transparent)
        painter = QPainter(picture)
        painter.drawImage((side - small.width()) // 2, (side - small.height()) // 2, small)
        painter.end()
        self.library.set_thumbnail(path, picture)

    def _menu(self, at: QPoint) -> None:
        index = self.list.indexAt(at)
        if not index.isValid():
            return
        entry = self.shown.entry_at(index)
        menu = QMenu(self)
        save = menu.addAction("&Save as…")
        save.triggered.connect(lambda: self.save_wanted.emit(entry))
        menu.exec(self.list.viewport().mapToGlobal(at))

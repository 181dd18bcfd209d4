"""The images that are open, with their results: a list for views, thumbnails on demand."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from PySide6.QtCore import (
    QAbstractListModel,
    QModelIndex,
    QPersistentModelIndex,
    QRect,
    QSortFilterProxyModel,
    Qt,
    Signal,
)
from PySide6.QtGui import QColor, QIcon, QPainter, QPixmap
from typing_extensions import override

from everhart.desktop.results import Record
from everhart.desktop.thumbnails import THUMBNAIL_PX
from everhart.io.paths import natural_key

__all__ = ["ENTRY_ROLE", "SORT_KEYS", "Entry", "Library", "SortedLibrary", "empty_icon"]

ENTRY_ROLE: Final = int(Qt.ItemDataRole.UserRole) + 1

SORT_KEYS: Final = {"name": "Name", "date": "Newest first", "metric": "Worst first"}
"""What the list can be sorted by, with its words."""

Index = QModelIndex | QPersistentModelIndex


@dataclass(frozen=True)
class Entry:
    """An image in the list.

    Parameters
    ----------
    path
        Its file.
    modified
        When it was changed, in s.
    source
        The image that it was made of, None for one that was opened.
    record
        How it was made.
    """

    path: Path
    modified: float
    source: Path | None = None
    record: Record | None = None

    @property
    def name(self) -> str:
        """What is written under it."""
        return self.path.name if self.record is None else self.record.words

    @property
    def family(self) -> Path:
        """The image that it is sorted with."""
        return self.source or self.path


class Library(QAbstractListModel):
    """All images.

    Parameters
    ----------
    parent
        Owner.
    """

    thumbnail_wanted = Signal(object)
    """The path of an image whose thumbnail is looked at, and not there yet."""

    def __init__(self, parent: Any = None) -> None:
        super().__init__(parent)
        self._entries: list[Entry] = []
        self._rows: dict[Path, int] = {}
        self._icons: dict[Path, QIcon] = {}
        self._faults: dict[Path, str] = {}
        self._asked: set[Path] = set()
        self._metrics: dict[Path, float] = {}
        # Of the size of a thumbnail, for which views leave room before it comes.
        self._blank, self._broken = empty_icon(""), empty_icon("?")

    @property
    def entries(self) -> Sequence[Entry]:
        """The images, in the order in which they came."""
        return self._entries

    def entry(self, path: Path) -> Entry | None:
        """Return the entry of a file, None if it is not in the list."""
        row = self._rows.get(path)
        return None if row is None else self._entries[row]

    def results_of(self, path: Path) -> list[Entry]:
        """Return the images that were made of one."""
        return [entry for entry in self._entries if entry.source == path]

    def replace(self, entries: Iterable[Entry]) -> None:
        """Show other images; thumbnails that are there are kept."""
        self.beginResetModel()
        self._entries = list({entry.path: entry for entry in entries}.values())
        self._rows = {entry.path: row for row, entry in enumerate(self._entries)}
        self._asked.clear()
        self.endResetModel()

    def add(self, entry: Entry) -> None:
        """Add an image."""
        if entry.path in self._rows:
            return
        row = len(self._entries)
        self.beginInsertRows(QModelIndex(), row, row)
        self._entries.append(entry)
        self._rows[entry.path] = row
        self.endInsertRows()

    def remove(self, path: Path) -> None:
        """Take an image out of the list."""
        self.replace([entry for entry in self._entries if entry.path != path])

    def set_thumbnail(self, path: Path, picture: QPixmap) -> None:
        """Show a thumbnail."""
        self._icons[path] = QIcon(picture)
        self._changed(path)

    def set_fault(self, path: Path, fault: str) -> None:
        """Show that a file cannot be read, and why."""
        self._faults[path] = fault
        self._changed(path)

    def forget_request(self, path: Path) -> None:
        """Ask for a thumbnail again when it is looked at again."""
        self._asked.discard(path)

    def set_metrics(self, metrics: dict[Path, float]) -> None:
        """Take numbers to sort by; the smaller, the worse."""
        self._metrics = metrics
        if self._entries:
            self.dataChanged.emit(self.index(0), self.index(len(self._entries) - 1))

    def sort_key(self, row: int, by: str) -> tuple[Any, ...]:
        """Return what an image is sorted by; results follow what they are made of."""
        entry = self._entries[row]
        family = self.entry(entry.family) or entry
        place = natural_key(family.path)
        after = (entry.record is not None, entry.modified, str(entry.path))
        if by == "date":
            return (-family.modified, place, after)
        if by == "metric":
            return (self._metrics.get(family.path, float("inf")), place, after)
        return (place, after)

    # -- for views ------------------------------------------------------------------------
    @override
    def rowCount(self, parent: Index = QModelIndex()) -> int:  # noqa: B008 - the interface of Qt
        return 0 if parent.isValid() else len(self._entries)

    @override
    def data(self, index: Index, role: int = Qt.ItemDataRole.DisplayRole) -> Any:
        if not index.isValid():
            return None
        entry = self._entries[index.row()]
        if role == ENTRY_ROLE:
            return entry
        if role == Qt.ItemDataRole.DisplayRole:
            return f"→ {entry.name}" if entry.record is not None else entry.name
        if role == Qt.ItemDataRole.ToolTipRole:
            fault = self._faults.get(entry.path)
            return f"{entry.path}\n{fault}" if fault else str(entry.path)
        if role == Qt.ItemDataRole.AccessibleTextRole:
            of = f", made of {entry.source.name}" if entry.source else ""
            return f"{entry.name}{of}"
        if role == Qt.ItemDataRole.DecorationRole:
            return self._icon(entry.path)
        return None

    def _icon(self, path: Path) -> QIcon:
        icon = self._icons.get(path)
        if icon is not None:
            return icon
        if path in self._faults:
            return self._broken
        if path not in self._asked:
            self._asked.add(path)
            self.thumbnail_wanted.emit(path)
        return self._blank

    def _changed(self, path: Path) -> None:
        row = self._rows.get(path)
        if row is not None:
            index = self.index(row)
            self.dataChanged.emit(index, index)


def empty_icon(word: str) -> QIcon:
    """Draw a thumbnail of nothing, with a word in its middle."""
    side = THUMBNAIL_PX
    picture = QPixmap(side, side)
    picture.fill(Qt.GlobalColor.transparent)
    painter = QPainter(picture)
    box = QRect(0, side // 6, side, 2 * side // 3)
    painter.fillRect(box, QColor(128, 128, 128, 50))
    font = painter.font()
    font.setPixelSize(side // 3)
    painter.setFont(font)
    painter.setPen(QColor(200, 80, 60))
    painter.drawText(box, Qt.AlignmentFlag.AlignCenter, word)
    painter.end()
    return QIcon(picture)


class SortedLibrary(QSortFilterProxyModel):
    """The list as it is shown: filtered by words, sorted.

    Parameters
    ----------
    library
        The images.
    parent
        Owner.
    """

    def __init__(self, library: Library, parent: Any = None) -> None:
        super().__init__(parent)
        self._library = library
        self._words: list[str] = []
        self._by = "name"
        self.setSourceModel(library)
        self.sort(0)

    def filter_by(self, text: str) -> None:
        """Show images whose name, or source's name, has all words in it."""
        self._words = text.casefold().split()
        self.invalidate()

    def sort_by(self, key: str) -> None:
        """Sort by a key of :data:`SORT_KEYS`."""
        self._by = key
        self.invalidate()
        self.sort(0)

    def entry_at(self, index: Index) -> Entry:
        """Return the entry that is shown somewhere."""
        found = index.data(ENTRY_ROLE)
        assert isinstance(found, Entry)
        return found

    def index_of(self, path: Path) -> QModelIndex:
        """Return where a file is shown; not valid where it is not."""
        for row, entry in enumerate(self._library.entries):
            if entry.path == path:
                return self.mapFromSource(self._library.index(row))
        return QModelIndex()

    @override
    def filterAcceptsRow(self, source_row: int, source_parent: Index) -> bool:
        entry = self._library.entries[source_row]
        text = f"{entry.name} {entry.family.name}".casefold()
        return all(word in text for word in self._words)

    @override
    def lessThan(self, source_left: Index, source_right: Index) -> bool:
        left, right = (i.row() for i in (source_left, source_right))
        return self._library.sort_key(left, self._by) < self._library.sort_key(right, self._by)

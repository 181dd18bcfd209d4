"""From the files that are wanted to the images that are shown, in a thread."""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from PySide6.QtCore import QObject, Signal

from everhart.desktop.background import Background, sentence
from everhart.desktop.reading import Picture, Reader
from everhart.desktop.rendering import Rendering
from everhart.desktop.viewer import Item

__all__ = ["Composer", "Wanted"]

_KEPT = 12
_Key = tuple[Path, int, int, float | None]


@dataclass(frozen=True)
class Wanted:
    """A file to be shown, under a caption; with a pixel size in place of what it says."""

    path: Path
    caption: str
    frame: int = 0
    pixel_size_nm: float | None = None


@dataclass(frozen=True)
class _Composed:
    items: list[Item]
    faults: list[str]


class Composer(QObject):
    """Loads what is to be shown, and keeps what was shown last.

    Parameters
    ----------
    reader
        Reads files.
    background
        The thread in which it is done.
    parent
        Owner.
    """

    composed = Signal(list, int)
    """Items, and which of them is meant."""
    failed = Signal(str)

    def __init__(
        self, reader: Reader, background: Background, parent: QObject | None = None
    ) -> None:
        super().__init__(parent)
        self._reader, self._background = reader, background
        self._kept: OrderedDict[_Key, tuple[Picture, Rendering]] = OrderedDict()
        self._lock = threading.Lock()
        self._last = 0
        self._busy = 0

    @property
    def is_busy(self) -> bool:
        """Whether something is being loaded."""
        return self._busy > 0

    def show(self, wanted: Sequence[Wanted], active: int = 0, *, residual: bool = False) -> None:
        """Load files and tell of them; what was asked for before is forgotten.

        Parameters
        ----------
        wanted
            The files.
        active
            Which of them is meant.
        residual
            Whether the first minus the second is shown too.
        """
        self._last += 1
        self._busy += 1
        number = self._last

        def done(found: _Composed) -> None:
            self._busy -= 1
            if number != self._last:
                return
            for fault in found.faults:
                self.failed.emit(fault)
            if found.items:
                self.composed.emit(found.items, min(active, len(found.items) - 1))

        def failed(fault: str) -> None:
            self._busy -= 1
            self.failed.emit(fault)

        def work() -> _Composed:
            if number != self._last:
                return _Composed([], [])  # somebody steps through a folder
            return self._compose(wanted, residual)

        self._background.submit(work, done, failed)

    def _compose(self, wanted: Sequence[Wanted], residual: bool) -> _Composed:
        items: list[Item] = []
        faults: list[str] = []
        for one in wanted:
            try:
                picture, rendering = self._load(one)
            except Exception as error:
                faults.append(sentence(error))
                continue
            if items and items[0].picture.image.dtype == picture.image.dtype:
                rendering.set_levels(items[0].rendering.levels)
            items.append(Item(one.caption, picture, rendering))
        if residual and len(items) > 1:
            left = _residual(items[0], items[1])
            if left is None:
                faults.append(
                    f"No residual is shown: {items[0].caption} and {items[1].caption} differ in "
                    "size."
                )
            else:
                items.insert(2, left)
        return _Composed(items, faults)

    def _load(self, wanted: Wanted) -> tuple[Picture, Rendering]:
        try:
            changed = wanted.path.stat().st_mtime_ns
        except OSError:
            changed = 0  # what is wrong with it is said by the reader
        key = (wanted.path, changed, wanted.frame, wanted.pixel_size_nm)
        with self._lock:
            if key in self._kept:
                self._kept.move_to_end(key)
                return self._kept[key]
        picture = self._reader.load(wanted.path, wanted.frame, wanted.pixel_size_nm)
        image = picture.image
        found = (picture, Rendering(image.pixels, image.shape[0] - image.data_bar_rows))
        with self._lock:
            self._kept[key] = found
            while len(self._kept) > _KEPT:
                self._kept.popitem(last=False)
        return found


def _residual(image: Item, restored: Item) -> Item | None:
    a, b = image.picture.image, restored.picture.image
    if a.shape != b.shape:
        return None
    pixels = a.pixels.astype(np.float32) - b.pixels.astype(np.float32)
    rows = a.shape[0] - a.data_bar_rows
    words = f"residual: {image.caption} − {restored.caption}"
    picture = replace(image.picture, image=replace(a, pixels=pixels))
    return Item(words, picture, Rendering(pixels, rows, symmetric=True), is_residual=True)

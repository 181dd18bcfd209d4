"""Thumbnails, made when they are looked at, the last wanted first."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PySide6.QtCore import QObject, Signal

from everhart.desktop.background import sentence

__all__ = ["THUMBNAIL_PX", "Thumbnails"]

THUMBNAIL_PX = 192
_MOST_WAITING = 120


class Thumbnails(QObject):
    """A thread that makes thumbnails.

    Who scrolls through a thousand images wants those that are seen now: the last wanted come
    first, and those long out of sight are dropped until they are seen again.

    Parameters
    ----------
    make
        ``make(path, longest_px)`` gives uint8 ``(h, w)``.
    parent
        Owner.
    """

    ready = Signal(object, object)
    """Path, and uint8 pixels."""
    failed = Signal(object, str)
    """Path, and why."""
    dropped = Signal(object)
    """A path that is not made unless it is wanted again."""

    def __init__(
        self, make: Callable[[Path, int], NDArray[np.uint8]], parent: QObject | None = None
    ) -> None:
        super().__init__(parent)
        self._make = make
        self._wanted: deque[Path] = deque()
        self._change = threading.Condition()
        self._closed = False
        self._thread = threading.Thread(target=self._run, name="thumbnails", daemon=True)
        self._thread.start()

    def want(self, path: Path) -> None:
        """Ask for a thumbnail."""
        late: Path | None = None
        with self._change:
            self._wanted.append(path)
            if len(self._wanted) > _MOST_WAITING:
                late = self._wanted.popleft()
            self._change.notify()
        if late is not None:
            self.dropped.emit(late)

    def forget(self) -> None:
        """Drop all that wait."""
        with self._change:
            self._wanted.clear()

    def close(self) -> None:
        """End the thread."""
        with self._change:
            self._closed = True
            self._wanted.clear()
            self._change.notify()

    def _run(self) -> None:
        while True:
            with self._change:
                while not self._wanted and not self._closed:
                    self._change.wait()
                if self._closed:
                    return
                path = self._wanted.pop()
            try:
                pixels = self._make(path, THUMBNAIL_PX)
            except Exception as error:
                if not self._closed:
                    self.failed.emit(path, sentence(error))
            else:
                if not self._closed:
                    self.ready.emit(path, pixels)

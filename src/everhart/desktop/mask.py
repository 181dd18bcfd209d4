"""A label image that is painted: strokes and polygons that can be undone."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from PySide6.QtCore import QObject, QPointF, Signal
from PySide6.QtGui import QUndoCommand, QUndoStack
from typing_extensions import override

__all__ = ["Mask"]

Box = tuple[slice, slice]
_SHIFT = 4
"""Bits of a fraction of a pixel in what OpenCV draws."""


@dataclass(frozen=True)
class _Change:
    box: Box
    before: NDArray[np.uint8]
    after: NDArray[np.uint8]


class _Command(QUndoCommand):
    def __init__(self, mask: Mask, change: _Change, words: str) -> None:
        super().__init__(words)
        self._mask, self._change = mask, change

    @override
    def redo(self) -> None:
        self._mask.put(self._change.box, self._change.after)

    @override
    def undo(self) -> None:
        self._mask.put(self._change.box, self._change.before)


class Mask(QObject):
    """Labels of the pixels of an image; 0 is none.

    Parameters
    ----------
    parent
        Owner.
    """

    changed = Signal()

    def __init__(self, parent: QObject | None = None) -> None:
        super().__init__(parent)
        self.labels: NDArray[np.uint8] = np.zeros((1, 1), np.uint8)
        self.undo_stack = QUndoStack(self)
        self._before: NDArray[np.uint8] | None = None

    def start(self, labels: NDArray[np.uint8]) -> None:
        """Take other labels; what was done before cannot be undone any more."""
        self.labels = np.ascontiguousarray(labels)
        self._before = None
        self.undo_stack.clear()
        self.changed.emit()

    def replace(self, labels: NDArray[np.uint8]) -> None:
        """Take other labels of the same size, as a step that can be undone."""
        whole = (slice(0, labels.shape[0]), slice(0, labels.shape[1]))
        change = _Change(whole, self.labels.copy(), np.ascontiguousarray(labels))
        self.undo_stack.push(_Command(self, change, "Open"))

    def begin_stroke(self) -> None:
        """Begin something that is undone as one."""
        self._before = self.labels.copy()

    def paint(self, start: QPointF, end: QPointF, radius_px: float, label: int) -> None:
        """Paint from one position to another with a round brush."""
        import cv2

        points = [
            (round(point.x() * 2**_SHIFT), round(point.y() * 2**_SHIFT)) for point in (start, end)
        ]
        thick = max(1, round(2 * radius_px))
        cv2.line(self.labels, points[0], points[1], label, thick, cv2.LINE_8, _SHIFT)
        self.changed.emit()

    def end_stroke(self, words: str) -> None:
        """End what was begun."""
        if self._before is None:
            return
        before, self._before = self._before, None
        rows, columns = np.nonzero(before != self.labels)
        if rows.size:
            box = (
                slice(int(rows.min()), int(rows.max()) + 1),
                slice(int(columns.min()), int(columns.max()) + 1),
            )
            change = _Change(box, before[box].copy(), self.labels[box].copy())
            self.undo_stack.push(_Command(self, change, words))

    def fill(self, corners: Sequence[QPointF], label: int) -> None:
        """Fill a polygon."""
        import cv2

        if len(corners) < 3:
            return
        points = np.array([[point.x(), point.y()] for point in corners]) * 2**_SHIFT
        self.begin_stroke()
        cv2.fillPoly(self.labels, [np.rint(points).astype(np.int32)], label, cv2.LINE_8, _SHIFT)
        self.end_stroke("Polygon")
        self.changed.emit()

    def put(self, box: Box, labels: NDArray[np.uint8]) -> None:
        """Replace a part."""
        self.labels[box] = labels
        self.changed.emit()

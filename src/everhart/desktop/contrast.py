"""The histogram of the active image, with black and white to be dragged."""

from __future__ import annotations

import numpy as np
from PySide6.QtCore import QPointF, QRectF, QSize, Qt, Signal
from PySide6.QtGui import QMouseEvent, QPainter, QPaintEvent, QPalette, QPen, QPolygonF
from PySide6.QtWidgets import (
    QDoubleSpinBox,
    QHBoxLayout,
    QLabel,
    QPushButton,
    QSizePolicy,
    QVBoxLayout,
    QWidget,
)
from typing_extensions import override

from everhart.desktop.rendering import Rendering

__all__ = ["ContrastPanel"]

_NEAR_PX = 14.0


class _Histogram(QWidget):
    """Counts of grey levels on a logarithmic scale; two lines are dragged."""

    levels_dragged = Signal(float, float)

    def __init__(self) -> None:
        super().__init__()
        self._rendering: Rendering | None = None
        self._levels = (0.0, 1.0)
        self._held: int | None = None
        self.setMouseTracking(True)
        self.setSizePolicy(QSizePolicy.Policy.Expanding, QSizePolicy.Policy.Fixed)
        self.setAccessibleName("Histogram of grey levels")

    def show_rendering(self, rendering: Rendering | None) -> None:
        self._rendering = rendering
        if rendering is not None:
            self._levels = rendering.levels
        self.update()

    def set_levels(self, levels: tuple[float, float]) -> None:
        self._levels = levels
        self.update()

    @override
    def sizeHint(self) -> QSize:
        return QSize(220, 92)

    def _x(self, value: float) -> float:
        assert self._rendering is not None
        low, high = self._rendering.range
        return 4 + (value - low) / (high - low) * (self.width() - 8)

    def _value(self, x: float) -> float:
        assert self._rendering is not None
        low, high = self._rendering.range
        return low + (x - 4) / max(self.width() - 8, 1) * (high - low)

    @override
    def paintEvent(self, event: QPaintEvent) -> None:
        painter = QPainter(self)
        painter.fillRect(self.rect(), self.palette().color(QPalette.ColorRole.Base))
        if self._rendering is None:
            return
        counts = np.log1p(self._rendering.counts.astype(np.float64))
        heights = counts / max(float(counts.max()), 1e-12) * (self.height() - 8)
        middles = (self._rendering.edges[:-1] + self._rendering.edges[1:]) / 2
        floor = self.height() - 2.0
        points = [QPointF(self._x(float(v)), floor - float(h)) for v, h in zip(middles, heights)]  # noqa: B905
        polygon = QPolygonF(
            [QPointF(points[0].x(), floor), *points, QPointF(points[-1].x(), floor)]
        )
        painter.setRenderHint(QPainter.RenderHint.Antialiasing)
        painter.setPen(Qt.PenStyle.NoPen)
        painter.setBrush(self.palette().color(QPalette.ColorRole.Mid))
        painter.drawPolygon(polygon)
        highlight = self.palette().color(QPalette.ColorRole.Highlight)
        for value in self._levels:
            painter.setPen(QPen(highlight, 2))
            x = min(max(self._x(value), 2.0), self.width() - 2.0)
            painter.drawLine(QPointF(x, 0), QPointF(x, self.height()))
            painter.setBrush(highlight)
            painter.drawRect(QRectF(x - 3, self.height() / 2 - 8, 6, 16))

    @override
    def mousePressEvent(self, event: QMouseEvent) -> None:
        if self._rendering is None:
            return
        off = [abs(self._x(value) - event.position().x()) for value in self._levels]
        self._held = off.index(min(off)) if min(off) < _NEAR_PX else None

    @override
    def mouseMoveEvent(self, event: QMouseEvent) -> None:
        if self._held is None or self._rendering is None:
            return
        low, high = self._rendering.range
        least = (high - low) / 1000
        value = min(max(self._value(event.position().x()), low), high)
        black, white = self._levels
        if self._held == 0:
            black = min(value, white - least)
        else:
            white = max(value, black + least)
        self.levels_dragged.emit(black, white)

    @override
    def mouseReleaseEvent(self, event: QMouseEvent) -> None:
        self._held = None


class ContrastPanel(QWidget):
    """Black and white of what is shown.

    Parameters
    ----------
    parent
        Owner.
    """

    levels_changed = Signal(float, float)

    def __init__(self, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self._rendering: Rendering | None = None
        self._histogram = _Histogram()
        self.black, self.white = QDoubleSpinBox(), QDoubleSpinBox()
        self.auto = QPushButton("&Auto")
        self.auto.setToolTip("Black and white at the 0.5th and 99.5th percentile")
        row = QHBoxLayout()
        for words, box in (("Black", self.black), ("White", self.white)):
            label = QLabel(words)
            label.setBuddy(box)
            box.setAccessibleName(words)
            box.setButtonSymbols(QDoubleSpinBox.ButtonSymbols.NoButtons)
            box.setKeyboardTracking(False)
            box.valueChanged.connect(self._typed)
            row.addWidget(label)
            row.addWidget(box, 1)
        row.addWidget(self.auto)
        layout = QVBoxLayout(self)
        layout.setContentsMargins(6, 6, 6, 2)
        layout.addWidget(self._histogram)
        layout.addLayout(row)
        self._histogram.levels_dragged.connect(self._set)
        self.auto.clicked.connect(self._reset)
        self.setEnabled(False)

    def show_rendering(self, rendering: Rendering | None) -> None:
        """Show the histogram of an image."""
        self._rendering = rendering
        self.setEnabled(rendering is not None)
        self._histogram.show_rendering(rendering)
        if rendering is not None:
            self._fill(rendering.levels)

    def _fill(self, levels: tuple[float, float]) -> None:
        assert self._rendering is not None
        low, high = self._rendering.range
        digits = 0 if high - low > 100 else 2 if high - low > 1 else 5
        for box, value in zip((self.black, self.white), levels, strict=True):
            blocked = box.blockSignals(True)
            box.setDecimals(digits)
            box.setRange(min(low, value), max(high, value))
            box.setValue(value)
            box.blockSignals(blocked)

    def _typed(self) -> None:
        if self.white.value() > self.black.value():
            self._set(self.black.value(), self.white.value())

    def _reset(self) -> None:
        if self._rendering is not None:
            self._set(*self._rendering.own_levels)

    def _set(self, black: float, white: float) -> None:
        self._histogram.set_levels((black, white))
        self._fill((black, white))
        self.levels_changed.emit(black, white)

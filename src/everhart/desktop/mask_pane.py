"""The image with the label image over it, painted with brush and polygon."""

from __future__ import annotations

from PySide6.QtCore import QPointF, QRectF, Qt
from PySide6.QtGui import (
    QColor,
    QImage,
    QKeyEvent,
    QMouseEvent,
    QPainter,
    QPaintEvent,
    QPen,
    QPolygonF,
)
from PySide6.QtWidgets import QWidget
from typing_extensions import override

from everhart.desktop.mask import Mask
from everhart.desktop.pane import ImagePane
from everhart.desktop.view_state import ViewState

__all__ = ["COLOURS", "MaskPane"]

# Of Okabe and Ito, again from the start after seven labels.
COLOURS = ("#e69f00", "#56b4e9", "#009e73", "#f0e442", "#0072b2", "#d55e00", "#cc79a7")
_OPACITY = 120


def _table() -> list[int]:
    found = [0]
    for label in range(1, 256):
        colour = QColor(COLOURS[(label - 1) % len(COLOURS)])
        colour.setAlpha(_OPACITY)
        found.append(colour.rgba())
    return found


class MaskPane(ImagePane):
    """Paints labels.

    Parameters
    ----------
    mask
        What is painted.
    state
        Where to look.
    parent
        Owner.
    """

    def __init__(self, mask: Mask, state: ViewState, parent: QWidget | None = None) -> None:
        super().__init__(state, parent)
        self.painted = mask
        self.tool = "brush"
        self.label = 1
        self.radius_px = 8.0
        self.corners: list[QPointF] = []
        self._at: QPointF | None = None
        self._colours = _table()
        mask.changed.connect(self.update)

    def finish_polygon(self) -> None:
        """Fill the polygon whose corners were clicked."""
        self.painted.fill(self.corners, self.label)
        self.corners = []
        self.update()

    @property
    def _paints(self) -> bool:
        return self.tool in ("brush", "erase")

    @override
    def paintEvent(self, event: QPaintEvent) -> None:
        super().paintEvent(event)
        if self.rendering is None:
            return
        painter = QPainter(self)
        self._draw_mask(painter)
        transform = self.to_screen
        painter.setRenderHint(QPainter.RenderHint.Antialiasing)
        painter.setBrush(Qt.BrushStyle.NoBrush)
        painter.setPen(QPen(QColor(COLOURS[(self.label - 1) % len(COLOURS)]), 2))
        if self.corners:
            points = [transform.map(corner) for corner in self.corners]
            if self.state.cursor is not None:
                points.append(transform.map(self.state.cursor))
            painter.drawPolyline(QPolygonF(points))
            for point in points:
                painter.drawEllipse(point, 3, 3)
        elif self._paints and self.state.cursor is not None:
            wide = self.radius_px * self.state.zoom
            painter.drawEllipse(transform.map(self.state.cursor), wide, wide * self.state.ratio)

    def _draw_mask(self, painter: QPainter) -> None:
        labels = self.painted.labels
        height, width = labels.shape
        image = QImage(labels.data, width, height, width, QImage.Format.Format_Indexed8)
        image.setColorTable(self._colours)
        shown, _ = self.to_screen.inverted()
        part = shown.mapRect(QRectF(self.rect())).translated(0.5, 0.5)
        part = part.intersected(QRectF(0, 0, width, height)).toAlignedRect().toRectF()
        target = self.to_screen.mapRect(part.translated(-0.5, -0.5))
        painter.drawImage(target, image, part)

    @override
    def mousePressEvent(self, event: QMouseEvent) -> None:
        if event.button() != Qt.MouseButton.LeftButton or self.tool == "pan":
            super().mousePressEvent(event)
            return
        position = self._position(event)
        if self.tool == "polygon":
            self.corners.append(position)
            self.update()
            return
        self.painted.begin_stroke()
        self._at = position
        self._paint(position)

    @override
    def mouseMoveEvent(self, event: QMouseEvent) -> None:
        position = self._position(event)
        if self._at is not None:
            self._paint(position)
            self.state.move_cursor(position)
        else:
            super().mouseMoveEvent(event)

    @override
    def mouseReleaseEvent(self, event: QMouseEvent) -> None:
        if self._at is None:
            super().mouseReleaseEvent(event)
            return
        self._at = None
        self.painted.end_stroke("Brush" if self.tool == "brush" else "Eraser")

    @override
    def mouseDoubleClickEvent(self, event: QMouseEvent) -> None:
        if self.tool == "polygon":
            self.finish_polygon()
        elif self.tool == "pan":
            super().mouseDoubleClickEvent(event)
        else:
            self.mousePressEvent(event)

    @override
    def keyPressEvent(self, event: QKeyEvent) -> None:
        key = event.key()
        if self.corners and key in (Qt.Key.Key_Return, Qt.Key.Key_Enter):
            self.finish_polygon()
        elif self.corners and key == Qt.Key.Key_Escape:
            self.corners = []
            self.update()
        elif self.corners and key == Qt.Key.Key_Backspace:
            self.corners.pop()
            self.update()
        else:
            super().keyPressEvent(event)

    def _paint(self, position: QPointF) -> None:
        assert self._at is not None
        label = 0 if self.tool == "erase" else self.label
        self.painted.paint(self._at, position, self.radius_px, label)
        self._at = position

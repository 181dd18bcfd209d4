"""A pane: one image, with caption, scale bar, outlines, ruler and region."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PySide6.QtCore import QPointF, QRectF, QSize, QSizeF, Qt, Signal
from PySide6.QtGui import (
    QColor,
    QKeyEvent,
    QMouseEvent,
    QPainter,
    QPaintEvent,
    QPen,
    QTransform,
    QWheelEvent,
)
from PySide6.QtWidgets import QSizePolicy, QWidget
from typing_extensions import override

from everhart.desktop.marks import Marks
from everhart.desktop.rendering import Rendering
from everhart.desktop.scale_bar import draw_scale_bar, length_words
from everhart.desktop.view_state import ViewState

__all__ = ["ImagePane", "distance_nm"]

_BEHIND = QColor(40, 42, 46)
_TOOL = QColor(80, 255, 170)
_STEP_PX = 60.0
_NEAR_PX = 6.0
_NO_MARKS = Marks([], [])


def distance_nm(start: QPointF, end: QPointF, pixel_size_nm: tuple[float, float]) -> float:
    """Return the distance of two positions; pixels need not be square."""
    off = end - start
    return math.hypot(off.x() * pixel_size_nm[1], off.y() * pixel_size_nm[0])


class ImagePane(QWidget):
    """Shows one image.

    The wheel zooms, dragging moves; with a tool chosen, dragging lays the ruler, the line of the
    profile, or the region.

    Parameters
    ----------
    state
        Where to look; panes with the same one are linked.
    parent
        Owner.
    """

    hovered = Signal(object)
    """The index of the outline under the mouse, or None."""
    picked = Signal(object)
    """The index of the outline that was clicked, or None."""
    pressed = Signal()
    moved_by_hand = Signal()
    """It was zoomed or moved here, and is not to be fitted any more."""

    def __init__(self, state: ViewState, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self.state = state
        self.caption = ""
        self.pixel_size_nm: tuple[float, float] | None = None
        self.tool = "pan"
        self.lit: frozenset[int] = frozenset()
        self.hidden: frozenset[str] = frozenset()
        self.is_active = False
        self._rendering: Rendering | None = None
        self._over: Rendering | None = None
        self._over_caption = ""
        self._swipe = 0.5
        self._marks = _NO_MARKS
        self._from: QPointF | None = None
        self._moved = False
        self.setMouseTracking(True)
        self.setFocusPolicy(Qt.FocusPolicy.StrongFocus)
        self.setSizePolicy(QSizePolicy.Policy.Expanding, QSizePolicy.Policy.Expanding)
        self.setMinimumSize(120, 120)
        for signal in (state.changed, state.cursor_moved, state.marked):
            signal.connect(self.update)

    # -- what is shown --------------------------------------------------------------------
    @property
    def rendering(self) -> Rendering | None:
        """What is drawn, None for an empty pane."""
        return self._rendering

    @property
    def marks(self) -> Marks:
        """The outlines over the image."""
        return self._marks

    def show_image(
        self, rendering: Rendering, caption: str, pixel_size_nm: tuple[float, float] | None
    ) -> None:
        """Show an image; outlines of the one before go."""
        self._rendering, self.caption, self.pixel_size_nm = rendering, caption, pixel_size_nm
        self._over, self._marks, self.lit = None, _NO_MARKS, frozenset()
        self.setAccessibleName(f"Image {caption}")
        self.update()

    def show_over(self, rendering: Rendering | None, caption: str = "") -> None:
        """Lay a second image over the right part of the pane; the divider is dragged."""
        self._over, self._over_caption = rendering, caption
        self.update()

    def set_marks(self, marks: Marks | None) -> None:
        """Draw outlines, or none."""
        self._marks, self.lit = marks or _NO_MARKS, frozenset()
        self.update()

    def light(self, indices: frozenset[int]) -> None:
        """Draw some outlines thicker."""
        if indices != self.lit:
            self.lit = indices
            self.update()

    def fit(self) -> None:
        """Show the image whole."""
        if self._rendering is not None:
            height, width = self._rendering.pixels.shape
            self.state.fit(width, height, QSizeF(self.size()))

    def value_at(self, position: QPointF) -> float | None:
        """Return the grey level at a position, None outside of the image."""
        if self._rendering is None:
            return None
        pixels: NDArray[Any] = self._rendering.pixels
        row, column = math.floor(position.y() + 0.5), math.floor(position.x() + 0.5)
        if 0 <= row < pixels.shape[0] and 0 <= column < pixels.shape[1]:
            return float(pixels[row, column])
        return None

    # -- drawing --------------------------------------------------------------------------
    @property
    def to_screen(self) -> QTransform:
        """From positions in the image to points of the pane."""
        size = QSizeF(self.size())
        origin = self.state.to_screen(QPointF(0, 0), size)
        zoom = self.state.zoom
        return QTransform(zoom, 0, 0, zoom * self.state.ratio, origin.x(), origin.y())

    @override
    def sizeHint(self) -> QSize:
        return QSize(600, 500)

    @override
    def paintEvent(self, event: QPaintEvent) -> None:
        painter = QPainter(self)
        window = QRectF(self.rect())
        painter.fillRect(window, _BEHIND)
        if self._rendering is None:
            return
        self._draw_image(painter, self._rendering, window)
        if self._over is not None:
            divider = window.width() * self._swipe
            painter.setClipRect(QRectF(divider, 0, window.width() - divider, window.height()))
            self._draw_image(painter, self._over, window)
            painter.setClipping(False)
            painter.setPen(QPen(_TOOL, 2))
            painter.drawLine(QPointF(divider, 0), QPointF(divider, window.height()))
        self._marks.draw(painter, self.to_screen, window, self.hidden, self.lit)
        self._draw_tools(painter)
        self._draw_captions(painter, window)
        if self.pixel_size_nm is not None:
            draw_scale_bar(painter, window, self.pixel_size_nm[1] / self.state.zoom)
        if self.is_active:
            painter.setPen(QPen(QColor(70, 150, 255), 2))
            painter.setBrush(Qt.BrushStyle.NoBrush)
            painter.drawRect(window.adjusted(1, 1, -1, -1))

    def _draw_image(self, painter: QPainter, rendering: Rendering, window: QRectF) -> None:
        dense = self.devicePixelRatioF()
        image, factor = rendering.level(self.state.zoom * dense)
        shown, _ = self.to_screen.inverted()
        visible = shown.mapRect(window).translated(0.5, 0.5)
        height, width = rendering.pixels.shape
        part = visible.intersected(QRectF(0, 0, width, height))
        if part.isEmpty():
            return
        # Whole pixels of the copy, so that nothing shifts while zooming.
        left, top = math.floor(part.left() / factor), math.floor(part.top() / factor)
        right = min(math.ceil(part.right() / factor), image.width())
        bottom = min(math.ceil(part.bottom() / factor), image.height())
        source = QRectF(left, top, right - left, bottom - top)
        target = QRectF(
            left * factor, top * factor, (right - left) * factor, (bottom - top) * factor
        ).translated(-0.5, -0.5)
        smooth = self.state.zoom * dense < 2  # larger pixels are shown as they are
        painter.setRenderHint(QPainter.RenderHint.SmoothPixmapTransform, smooth)
        painter.drawImage(self.to_screen.mapRect(target), image, source)

    def _draw_captions(self, painter: QPainter, window: QRectF) -> None:
        self._caption(painter, self.caption, window, Qt.AlignmentFlag.AlignLeft)
        if self._over is not None:
            self._caption(painter, self._over_caption, window, Qt.AlignmentFlag.AlignRight)

    def _caption(
        self, painter: QPainter, words: str, window: QRectF, side: Qt.AlignmentFlag
    ) -> None:
        metrics = painter.fontMetrics()
        most = window.width() * (0.48 if self._over is not None else 0.96) - 16
        shown = metrics.elidedText(words, Qt.TextElideMode.ElideMiddle, int(most))
        wide = metrics.horizontalAdvance(shown) + 12
        left = 6.0 if side == Qt.AlignmentFlag.AlignLeft else window.width() - wide - 6
        box = QRectF(left, 6, wide, metrics.height() + 6)
        painter.fillRect(box, QColor(0, 0, 0, 150))
        painter.setPen(Qt.GlobalColor.white)
        painter.drawText(box, Qt.AlignmentFlag.AlignCenter, shown)

    def _draw_tools(self, painter: QPainter) -> None:
        painter.setRenderHint(QPainter.RenderHint.Antialiasing)
        transform, state = self.to_screen, self.state
        if state.region is not None:
            start, end = (transform.map(point) for point in state.region)
            painter.setPen(QPen(_TOOL, 1.5, Qt.PenStyle.DashLine))
            painter.setBrush(Qt.BrushStyle.NoBrush)
            box = QRectF(start, end).normalized()
            painter.drawRect(box)
            self._note(painter, box.bottomLeft() + QPointF(4, -6), self._region_words())
        for segment, words in ((state.ruler, self._ruler_words()), (state.profile, "profile")):
            if segment is None:
                continue
            start, end = (transform.map(point) for point in segment)
            painter.setPen(QPen(_TOOL, 2))
            painter.drawLine(start, end)
            for point in (start, end):
                painter.drawEllipse(point, 4, 4)
            self._note(painter, (start + end) / 2 + QPointF(8, -8), words)
        if state.cursor is not None and not self.underMouse():
            at = transform.map(state.cursor)
            painter.setPen(QPen(_TOOL, 1))
            painter.drawLine(at - QPointF(9, 0), at + QPointF(9, 0))
            painter.drawLine(at - QPointF(0, 9), at + QPointF(0, 9))

    def _note(self, painter: QPainter, at: QPointF, words: str) -> None:
        metrics = painter.fontMetrics()
        box = QRectF(metrics.boundingRect(words)).translated(at).adjusted(-4, -2, 4, 2)
        painter.fillRect(box, QColor(0, 0, 0, 160))
        painter.setPen(_TOOL)
        painter.drawText(at, words)

    def _ruler_words(self) -> str:
        if self.state.ruler is None:
            return ""
        start, end = self.state.ruler
        if self.pixel_size_nm is None:
            return f"{distance_nm(start, end, (1.0, 1.0)):.4g} px"
        return length_words(distance_nm(start, end, self.pixel_size_nm))

    def _region_words(self) -> str:
        if self.state.region is None or self._rendering is None:
            return ""
        start, end = self.state.region
        size = self.pixel_size_nm
        x, y = QPointF(end.x(), start.y()), QPointF(start.x(), end.y())
        if size is None:
            words = f"{abs(end.x() - start.x()):.4g} × {abs(end.y() - start.y()):.4g} px"
        else:
            words = (
                f"{length_words(distance_nm(start, x, size))} × "
                f"{length_words(distance_nm(start, y, size))}"
            )
        rows = sorted(round(point.y()) for point in (start, end))
        columns = sorted(round(point.x()) for point in (start, end))
        part = self._rendering.pixels[
            max(rows[0], 0) : max(rows[1] + 1, 0), max(columns[0], 0) : max(columns[1] + 1, 0)
        ]
        if part.size:
            values = part.astype(np.float64)
            words += f"; mean {values.mean():.4g}, SD {values.std():.3g}"
        return words

    # -- mouse and keys -------------------------------------------------------------------
    def _position(self, event: QMouseEvent) -> QPointF:
        return self.state.to_image(event.position(), QSizeF(self.size()))

    @override
    def mousePressEvent(self, event: QMouseEvent) -> None:
        self.pressed.emit()
        self._moved = False
        if event.button() == Qt.MouseButton.LeftButton:
            self._from = event.position()

    @override
    def mouseMoveEvent(self, event: QMouseEvent) -> None:
        position = self._position(event)
        if self._from is not None:
            self._drag(event, position)
        elif self._marks.outlines:
            index = self._marks.at(position, _NEAR_PX / self.state.zoom, self.hidden)
            self.light(frozenset() if index is None else frozenset({index}))
            self.hovered.emit(index)
        self.state.move_cursor(position)

    def _drag(self, event: QMouseEvent, position: QPointF) -> None:
        assert self._from is not None
        by = event.position() - self._from
        if not self._moved and by.manhattanLength() < 4:
            return  # a click that trembles
        if self.tool == "pan" and self._over is not None and not self._moved:
            near = abs(self._from.x() - self.width() * self._swipe) < 12
            self.tool = "swipe" if near else "pan"
        self._moved = True
        if self.tool == "swipe":
            self._swipe = min(max(event.position().x() / max(self.width(), 1), 0.0), 1.0)
            self.update()
        elif self.tool == "pan":
            self.moved_by_hand.emit()
            self.state.pan(by)
            self._from = event.position()
        else:
            start = self.state.to_image(self._from, QSizeF(self.size()))
            self.state.mark(self.tool, (start, position))

    @override
    def mouseReleaseEvent(self, event: QMouseEvent) -> None:
        if event.button() != Qt.MouseButton.LeftButton:
            return
        if self._from is not None and not self._moved:
            if self.tool in ("ruler", "profile", "region"):
                self.state.mark(self.tool, None)
            elif self._marks.outlines:
                near = _NEAR_PX / self.state.zoom
                self.picked.emit(self._marks.at(self._position(event), near, self.hidden))
        if self.tool == "swipe":
            self.tool = "pan"
        self._from = None

    @override
    def mouseDoubleClickEvent(self, event: QMouseEvent) -> None:
        self.fit()

    @override
    def leaveEvent(self, event: Any) -> None:
        self.state.move_cursor(None)
        self.hovered.emit(None)

    @override
    def wheelEvent(self, event: QWheelEvent) -> None:
        turned = event.angleDelta().y() or event.angleDelta().x()
        at = self.state.to_image(event.position(), QSizeF(self.size()))
        self.moved_by_hand.emit()
        self.state.zoom_by(1.2 ** (turned / 120), at)
        event.accept()

    @override
    def keyPressEvent(self, event: QKeyEvent) -> None:
        moves = {
            Qt.Key.Key_Left: QPointF(_STEP_PX, 0),
            Qt.Key.Key_Right: QPointF(-_STEP_PX, 0),
            Qt.Key.Key_Up: QPointF(0, _STEP_PX),
            Qt.Key.Key_Down: QPointF(0, -_STEP_PX),
        }
        by = moves.get(Qt.Key(event.key()))
        if by is None:
            super().keyPressEvent(event)
        else:
            self.moved_by_hand.emit()
            self.state.pan(by)

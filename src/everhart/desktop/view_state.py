"""What linked panes have in common: where they look, the cursor, the ruler and the frame."""

from __future__ import annotations

import math

from PySide6.QtCore import QObject, QPointF, QSizeF, Signal

__all__ = ["LARGEST_ZOOM", "ViewState"]

LARGEST_ZOOM = 64.0
"""Most screen pixels for a pixel."""
_SMALLEST_ZOOM = 1 / 256

Segment = tuple[QPointF, QPointF]


class ViewState(QObject):
    """Where panes look; they are linked by having the same one.

    Positions are in pixels, pixel centres at whole numbers, x to the right and y down.

    Attributes
    ----------
    centre
        The position in the middle of a pane.
    zoom
        Screen pixels for a pixel, in x.
    ratio
        Height of a pixel by its width.
    ruler, profile, region
        Two ends of the ruler and of the line of the profile, two corners of the region.
    cursor
        Where the mouse is, None outside.
    """

    changed = Signal()
    cursor_moved = Signal()
    marked = Signal()

    def __init__(self, parent: QObject | None = None) -> None:
        super().__init__(parent)
        self.centre = QPointF(0, 0)
        self.zoom = 1.0
        self.ratio = 1.0
        self.ruler: Segment | None = None
        self.profile: Segment | None = None
        self.region: Segment | None = None
        self.cursor: QPointF | None = None

    def fit(self, width: int, height: int, window: QSizeF) -> None:
        """Show an image whole in a pane of a size."""
        zoom = min(window.width() / width, window.height() / (height * self.ratio)) * 0.98
        self.centre = QPointF((width - 1) / 2, (height - 1) / 2)
        self._zoom(zoom)
        self.changed.emit()

    def zoom_by(self, factor: float, at: QPointF) -> None:
        """Zoom and keep the position `at` where it is on the screen."""
        before = self.zoom
        self._zoom(self.zoom * factor)
        kept = before / self.zoom
        self.centre = at + (self.centre - at) * kept
        self.changed.emit()

    def zoom_to(self, zoom: float) -> None:
        """Show so many screen pixels for a pixel."""
        self._zoom(zoom)
        self.changed.emit()

    def pan(self, by: QPointF) -> None:
        """Move what is shown by screen pixels."""
        self.centre -= QPointF(by.x() / self.zoom, by.y() / (self.zoom * self.ratio))
        self.changed.emit()

    def look_at(self, position: QPointF) -> None:
        """Bring a position into the middle."""
        self.centre = QPointF(position)
        self.changed.emit()

    def move_cursor(self, position: QPointF | None) -> None:
        """Say where the mouse is."""
        self.cursor = position
        self.cursor_moved.emit()

    def mark(self, tool: str, segment: Segment | None) -> None:
        """Lay ruler, profile or region."""
        setattr(self, tool, segment)
        self.marked.emit()

    def to_screen(self, position: QPointF, size: QSizeF) -> QPointF:
        """Return where a position is in a pane of a size."""
        off = position - self.centre
        return QPointF(
            size.width() / 2 + off.x() * self.zoom,
            size.height() / 2 + off.y() * self.zoom * self.ratio,
        )

    def to_image(self, point: QPointF, size: QSizeF) -> QPointF:
        """Return the position at a point of a pane of a size."""
        return QPointF(
            self.centre.x() + (point.x() - size.width() / 2) / self.zoom,
            self.centre.y() + (point.y() - size.height() / 2) / (self.zoom * self.ratio),
        )

    def _zoom(self, zoom: float) -> None:
        if math.isfinite(zoom) and zoom > 0:
            self.zoom = min(max(zoom, _SMALLEST_ZOOM), LARGEST_ZOOM)

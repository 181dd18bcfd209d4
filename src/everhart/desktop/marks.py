"""What was measured, drawn over its image: outlines by kind, and the one under the mouse."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray
from PySide6.QtCore import QPointF, QRectF, Qt
from PySide6.QtGui import QColor, QPainter, QPainterPath, QPen, QPolygonF, QTransform

from everhart.measure.result import Outline

__all__ = ["KINDS", "Marks", "read_outlines", "row_of"]

# As in the pictures of everhart.measure.overlay: told apart by the colour blind too.
KINDS: Final[Mapping[str, tuple[str, QColor]]] = {
    "edge": ("measured", QColor(255, 176, 0)),
    "doubt": ("found, not measured", QColor(100, 180, 255)),
    "missing": ("missing", QColor(255, 70, 120)),
}
"""Words and colour of each kind of outline."""
_OTHER = QColor(255, 255, 255)
_NEAR_PX = 6.0
_LABELS_FROM_PX = 26.0


def read_outlines(path: Path) -> list[Outline]:
    """Read ``outlines.json`` of a measurement."""
    return [
        Outline(
            np.asarray(told["points"], np.float64).reshape(-1, 2),
            str(told["label"]),
            str(told["kind"]),
            bool(told["closed"]),
        )
        for told in json.loads(path.read_text("utf-8"))
    ]


def row_of(
    kind: str, outlines: Sequence[Outline], rows: Sequence[Mapping[str, str]]
) -> list[int | None]:
    """Return for each outline the row of the table that is about it.

    Parameters
    ----------
    kind
        Of the measurement, such as ``"holes"``.
    outlines
        Its outlines.
    rows
        Its table.
    """
    if kind == "defects":  # a circle for each row, named by what the defect is
        return [i if i < len(rows) else None for i in range(len(outlines))]
    key = {"holes": "hole", "lines": "line", "particles": "particle"}.get(kind)
    if key is None:  # the outline of an interface has a layer on either side
        return [None] * len(outlines)
    numbers = {row.get(key, ""): i for i, row in enumerate(rows)}
    found: list[int | None] = []
    for outline in outlines:
        # The right edge of a line has no number: it follows the left one.
        left = found[-1] if kind == "lines" and not outline.label and found else None
        found.append(numbers.get(outline.label, left))
    return found


@dataclass(frozen=True)
class _Drawn:
    path: QPainterPath
    colour: QColor
    dashed: bool


class Marks:
    """Outlines ready to be drawn and found.

    Parameters
    ----------
    outlines
        What is drawn.
    rows
        For each the row of the table that is about it, or None.
    table
        The table.
    """

    def __init__(
        self,
        outlines: Sequence[Outline],
        rows: Sequence[int | None],
        table: Sequence[Mapping[str, str]] = (),
    ) -> None:
        self.outlines, self.rows, self.table = outlines, rows, table
        self._paths = [_path(outline) for outline in outlines]
        self._drawn: dict[str, _Drawn] = {}
        for outline, path in zip(outlines, self._paths, strict=True):
            words_and_colour = KINDS.get(outline.kind)
            colour = _OTHER if words_and_colour is None else words_and_colour[1]
            joined = self._drawn.setdefault(
                outline.kind, _Drawn(QPainterPath(), colour, outline.kind == "missing")
            )
            joined.path.addPath(path)
        boxes = [path.boundingRect() for path in self._paths]
        self._boxes = np.array(
            [[b.left(), b.top(), b.right(), b.bottom()] for b in boxes], np.float64
        ).reshape(-1, 4)

    @property
    def kinds(self) -> list[str]:
        """Kinds that there are."""
        return list(self._drawn)

    def of_row(self, row: int) -> list[int]:
        """Return the outlines that a row of the table is about."""
        return [i for i, other in enumerate(self.rows) if other == row]

    def middle(self, index: int) -> QPointF:
        """Return the middle of an outline."""
        return self._paths[index].boundingRect().center()

    def draw(
        self,
        painter: QPainter,
        to_screen: QTransform,
        window: QRectF,
        hidden: frozenset[str],
        lit: frozenset[int],
    ) -> None:
        """Draw what is not hidden; those in `lit` thicker, and labels where there is room."""
        painter.setRenderHint(QPainter.RenderHint.Antialiasing)
        painter.setWorldTransform(to_screen)
        for kind, drawn in self._drawn.items():
            if kind in hidden:
                continue
            pen = QPen(drawn.colour, 1.5)
            pen.setCosmetic(True)
            if drawn.dashed:
                pen.setStyle(Qt.PenStyle.DashLine)
            painter.setPen(pen)
            painter.drawPath(drawn.path)
        for index in lit:
            if self.outlines[index].kind not in hidden:
                pen = QPen(Qt.GlobalColor.white, 3)
                pen.setCosmetic(True)
                painter.setPen(pen)
                painter.drawPath(self._paths[index])
        painter.resetTransform()
        self._write(painter, to_screen, window, hidden)

    def at(self, position: QPointF, near: float, hidden: frozenset[str]) -> int | None:
        """Return the outline at a position: the smallest that holds it, or the nearest line.

        Parameters
        ----------
        position
            In pixels.
        near
            How far from a line still counts, in pixels.
        hidden
            Kinds that are not looked for.
        """
        x, y = position.x(), position.y()
        boxes = self._boxes
        inside = np.flatnonzero(
            (boxes[:, 0] - near <= x)
            & (x <= boxes[:, 2] + near)
            & (boxes[:, 1] - near <= y)
            & (y <= boxes[:, 3] + near)
        )
        best: int | None = None
        least = np.inf
        for index in inside.tolist():
            outline = self.outlines[index]
            if outline.kind in hidden:
                continue
            far = _distance(outline, (y, x))
            if outline.closed and self._paths[index].contains(position):
                far = 0.0
            size = float(np.prod(boxes[index, 2:] - boxes[index, :2])) if outline.closed else 0.0
            # Of several that hold the position, the smallest.
            merit = far + 1e-9 * size
            if far <= near and merit < least:
                best, least = index, merit
        return best

    def _write(
        self, painter: QPainter, to_screen: QTransform, window: QRectF, hidden: frozenset[str]
    ) -> None:
        metrics = painter.fontMetrics()
        for index, outline in enumerate(self.outlines):
            if not outline.label or outline.kind in hidden:
                continue
            box = to_screen.mapRect(self._paths[index].boundingRect())
            if not box.intersects(window) or max(box.width(), box.height()) < _LABELS_FROM_PX:
                continue
            wide = metrics.horizontalAdvance(outline.label)
            if outline.closed:
                at = QPointF(box.center().x() - wide / 2, box.center().y() + metrics.ascent() / 2)
            else:
                start = to_screen.map(QPointF(outline.points[0, 1], outline.points[0, 0]))
                at = QPointF(start.x() + 4, start.y() + metrics.ascent() + 2)
                at.setX(min(max(at.x(), window.left() + 2), window.right() - wide - 2))
                at.setY(min(max(at.y(), window.top() + 40), window.bottom() - 4))
            named = KINDS.get(outline.kind)
            _outlined(painter, at, outline.label, _OTHER if named is None else named[1])


def _outlined(painter: QPainter, at: QPointF, words: str, colour: QColor) -> None:
    """Write with a dark edge, to be read on any grey."""
    painter.setPen(QColor(0, 0, 0, 200))
    for dx, dy in ((-1, 0), (1, 0), (0, -1), (0, 1)):
        painter.drawText(at + QPointF(dx, dy), words)
    painter.setPen(colour)
    painter.drawText(at, words)


def _path(outline: Outline) -> QPainterPath:
    polygon = QPolygonF([QPointF(float(x), float(y)) for y, x in outline.points])
    path = QPainterPath()
    if not polygon.isEmpty():
        path.addPolygon(polygon)
        if outline.closed:
            path.closeSubpath()
    return path


def _distance(outline: Outline, position: tuple[float, float]) -> float:
    """Return how far a position is from the line, in pixels."""
    points: NDArray[Any] = outline.points
    if outline.closed and len(points):
        points = np.concatenate([points, points[:1]])
    if len(points) < 2:
        return float(np.hypot(*(points - position).T).min()) if len(points) else np.inf
    start, step = points[:-1], np.diff(points, axis=0)
    along = ((position - start) * step).sum(1) / np.maximum((step**2).sum(1), 1e-12)
    nearest = start + np.clip(along, 0, 1)[:, None] * step
    return float(np.hypot(*(nearest - position).T).min())

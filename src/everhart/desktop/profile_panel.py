"""The line profile: grey levels along one line, in every image that is shown."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import pyqtgraph as pg
from numpy.typing import NDArray
from PySide6.QtCore import QPointF
from PySide6.QtWidgets import QVBoxLayout, QWidget

from everhart.desktop.pane import distance_nm
from everhart.desktop.plots import COLOURS, coloured_names
from everhart.desktop.viewer import Item

__all__ = ["ProfilePanel", "along_line"]


def along_line(pixels: NDArray[Any], start: QPointF, end: QPointF) -> NDArray[np.float64]:
    """Return the grey levels on a line, bilinear, about one a pixel.

    Parameters
    ----------
    pixels
        Image ``(H, W)``.
    start, end
        Positions; what is outside of the image is NaN.
    """
    from scipy.ndimage import map_coordinates

    off = end - start
    count = max(2, round(float(np.hypot(off.x(), off.y()))) + 1)
    along = np.linspace(0, 1, count)
    positions = [start.y() + along * off.y(), start.x() + along * off.x()]
    # Only what the line crosses: an image may be large.
    low = [max(int(np.floor(p.min())) - 1, 0) for p in positions]
    high = [int(np.ceil(p.max())) + 2 for p in positions]
    part = pixels[low[0] : high[0], low[1] : high[1]].astype(np.float64)
    if not part.size:
        return np.full(count, np.nan)
    inside = [p - offset for p, offset in zip(positions, low, strict=True)]
    found = map_coordinates(part, inside, order=1, mode="constant", cval=np.nan)
    return np.asarray(found, np.float64)


class ProfilePanel(QWidget):
    """Plots the profile.

    Parameters
    ----------
    parent
        Owner.
    """

    def __init__(self, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self.plot: Any = pg.PlotWidget()
        self.plot.setLabel("left", "grey level")
        self.plot.showGrid(x=True, y=True, alpha=0.2)
        self.plot.setAccessibleName("Line profile")
        layout = QVBoxLayout(self)
        layout.setContentsMargins(2, 2, 2, 2)
        layout.addWidget(self.plot)
        self.show_profile([], None)

    def show_profile(self, items: Sequence[Item], line: tuple[QPointF, QPointF] | None) -> None:
        """Plot what is on a line, or say how to lay one."""
        self.plot.clear()
        if line is None or not items:
            self.plot.setTitle("Choose the tool Profile and drag a line over an image.", size="9pt")
            return
        names = ["residual" if item.is_residual else item.caption for item in items]
        self.plot.setTitle(coloured_names(names), size="9pt")
        size = items[0].picture.image.pixel_size_nm
        length = distance_nm(*line, size or (1.0, 1.0))
        self.plot.setLabel("bottom", f"distance, {'px' if size is None else 'nm'}")
        for number, item in enumerate(items):
            values = along_line(item.rendering.pixels, *line)
            pen = pg.mkPen(COLOURS[number % len(COLOURS)], width=1.5)
            self.plot.plot(np.linspace(0, length, len(values)), values, pen=pen, name=item.caption)

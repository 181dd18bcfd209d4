"""The figure to judge by as a plot: a point for each image and method, to be clicked."""

from __future__ import annotations

from typing import Any

import pyqtgraph as pg
from PySide6.QtCore import Signal
from PySide6.QtWidgets import QVBoxLayout, QWidget

from everhart.desktop.metrics_rows import Metrics
from everhart.desktop.plots import COLOURS, coloured_names

__all__ = ["MetricsPlot"]


class MetricsPlot(QWidget):
    """Plots a figure of all images by method.

    Parameters
    ----------
    parent
        Owner.
    """

    row_chosen = Signal(int)
    """The row of the metrics whose point was clicked."""

    def __init__(self, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self.plot: Any = pg.PlotWidget()
        self.plot.getAxis("left").enableAutoSIPrefix(False)
        self.plot.showGrid(x=False, y=True, alpha=0.2)
        self.plot.setAccessibleName("Metrics of all images")
        layout = QVBoxLayout(self)
        layout.setContentsMargins(2, 2, 2, 2)
        layout.addWidget(self.plot)
        self.show_metrics(None)

    def show_metrics(self, metrics: Metrics | None) -> None:
        """Plot other metrics."""
        self.plot.clear()
        if metrics is None or metrics.headline is None:
            self.plot.setTitle("Run Metrics (Ctrl+M) to plot them.", size="9pt")
            return
        images = list(dict.fromkeys(row["image"] for row in metrics.rows))
        having = [row for row in metrics.rows if row.get(metrics.headline)]
        methods = list(dict.fromkeys(row["method"] for row in having))
        for number, method in enumerate(methods):
            rows = [
                (index, row)
                for index, row in enumerate(metrics.rows)
                if row["method"] == method and row.get(metrics.headline)
            ]
            points = pg.ScatterPlotItem(
                [images.index(row["image"]) for _, row in rows],
                [float(row[metrics.headline]) for _, row in rows],
                data=[index for index, _ in rows],
                brush=COLOURS[number % len(COLOURS)],
                pen=None,
                size=10,
                hoverable=True,
                hoverSize=14,
            )
            points.sigClicked.connect(self._choose)
            self.plot.addItem(points)
        ticks = list(enumerate(images)) if len(images) <= 12 else []
        self.plot.getAxis("bottom").setTicks([ticks])
        self.plot.setXRange(-0.5, len(images) - 0.5, padding=0)
        self.plot.setLabel("left", metrics.headline.replace("_", " "))
        self.plot.setTitle(coloured_names(methods), size="9pt")

    def _choose(self, _: Any, points: Any, __: Any = None) -> None:
        if len(points):
            self.row_chosen.emit(int(points[0].data()))

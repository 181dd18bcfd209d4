"""Where the parts of the window are."""

from __future__ import annotations

from collections.abc import Mapping

from PySide6.QtCore import QSize, Qt
from PySide6.QtGui import QAction
from PySide6.QtWidgets import (
    QDockWidget,
    QHBoxLayout,
    QLabel,
    QMainWindow,
    QSpinBox,
    QTabWidget,
    QToolBar,
    QVBoxLayout,
    QWidget,
)

from everhart.desktop.background import Background
from everhart.desktop.browser import Browser
from everhart.desktop.compare_panel import ComparePanel
from everhart.desktop.contrast import ContrastPanel
from everhart.desktop.info_panel import InfoPanel
from everhart.desktop.jobs_panel import JobsPanel
from everhart.desktop.label_view import LabelView
from everhart.desktop.library import Library
from everhart.desktop.messages import MessageBar
from everhart.desktop.metrics_plot import MetricsPlot
from everhart.desktop.profile_panel import ProfilePanel
from everhart.desktop.reading import Reader
from everhart.desktop.run_panel import RunPanel
from everhart.desktop.scale_bar import length_words
from everhart.desktop.synthesize_view import SynthesizeView
from everhart.desktop.table_panel import TablePanel
from everhart.desktop.thumbnails import Thumbnails
from everhart.desktop.viewer import Viewer
from everhart.desktop.work import Work

__all__ = ["Layout"]

_TOOLBAR = (
    "open", "open_folder", "save", "", "denoise", "", "holes", "lines", "layers", "particles",
    "defects", "", "pan", "ruler", "region", "profile", "", "fit", "full",
)  # fmt: skip


class Layout:
    """The parts of the window, put in their places.

    Parameters
    ----------
    window
        The window.
    library, thumbnails, work
        What the parts show.
    reader, background
        What reads files, and the threads in which it does.
    """

    def __init__(
        self,
        window: QMainWindow,
        library: Library,
        thumbnails: Thumbnails,
        work: Work,
        reader: Reader,
        background: Background,
    ) -> None:
        self.messages = MessageBar()
        self.service_bar = MessageBar()
        self.viewer = Viewer()
        self.browser = Browser(library, thumbnails)
        self.contrast = ContrastPanel()
        self.run = RunPanel()
        self.compare = ComparePanel()
        self.info = InfoPanel()
        self.table = TablePanel()
        self.profile = ProfilePanel()
        self.plot = MetricsPlot()
        self.jobs = JobsPanel(work.queue)
        self.tools = QTabWidget()
        for name, part in (("Run", self.run), ("Compare", self.compare), ("About", self.info)):
            self.tools.addTab(part, name)
        self.results = QTabWidget()
        self.results.addTab(self.table, "Table")
        self.results.addTab(self.profile, "Profile")
        self.results.addTab(self.plot, "Plot")
        self.results.addTab(self.jobs, "Jobs")

        self.frame = QSpinBox()
        self.frame.setPrefix("Frame ")
        self.frame.setAccessibleName("Frame of the stack")
        self.frame.setKeyboardTracking(False)
        self.frame.hide()
        images = QWidget()
        column = QVBoxLayout(images)
        column.setContentsMargins(0, 0, 0, 0)
        column.setSpacing(0)
        column.addWidget(self.viewer, 1)
        under = QHBoxLayout()
        under.addWidget(self.frame)
        under.addStretch(1)
        column.addLayout(under)

        self.views = QTabWidget()
        self.views.setDocumentMode(True)
        self.images = images
        self.label = LabelView(background)
        self.synthesize = SynthesizeView(work, reader, background)
        self.views.addTab(images, "Images")
        self.views.addTab(self.label, "Label")
        self.views.addTab(self.synthesize, "Synthesise")
        centre = QWidget()
        column = QVBoxLayout(centre)
        column.setContentsMargins(0, 0, 0, 0)
        column.setSpacing(0)
        column.addWidget(self.service_bar)
        column.addWidget(self.messages)
        column.addWidget(self.views, 1)
        window.setCentralWidget(centre)

        right = QWidget()
        column = QVBoxLayout(right)
        column.setContentsMargins(0, 0, 0, 0)
        column.addWidget(self.contrast)
        column.addWidget(self.tools, 1)
        self.docks = {
            "images": _dock(window, "Images", self.browser, Qt.DockWidgetArea.LeftDockWidgetArea),
            "tools": _dock(window, "Tools", right, Qt.DockWidgetArea.RightDockWidgetArea),
            "results": _dock(
                window, "Results", self.results, Qt.DockWidgetArea.BottomDockWidgetArea
            ),
        }
        window.setCorner(Qt.Corner.BottomLeftCorner, Qt.DockWidgetArea.LeftDockWidgetArea)
        window.setCorner(Qt.Corner.BottomRightCorner, Qt.DockWidgetArea.RightDockWidgetArea)
        left, bottom = Qt.Orientation.Horizontal, Qt.Orientation.Vertical
        docks = self.docks
        window.resizeDocks([docks["images"], docks["tools"]], [262, 290], left)
        window.resizeDocks([docks["results"]], [190], bottom)

        self.toolbar = QToolBar("Toolbar")
        self.position, self.hover, self.where = QLabel(), QLabel(), QLabel("this computer")
        self.hover.setAccessibleName("Object under the mouse")
        self.where.setAccessibleName("Where jobs run")
        window.statusBar().addPermanentWidget(self.hover)
        window.statusBar().addPermanentWidget(self.position)
        window.statusBar().addPermanentWidget(self.where)

    def add_toolbar(self, window: QMainWindow, actions: Mapping[str, QAction]) -> None:
        """Put the most frequent actions into a toolbar."""
        bar = self.toolbar
        bar.setObjectName("toolbar")
        bar.setMovable(False)
        bar.setToolButtonStyle(Qt.ToolButtonStyle.ToolButtonTextOnly)
        bar.setIconSize(QSize(16, 16))
        for name in _TOOLBAR:
            if name:
                bar.addAction(actions[name])
            else:
                bar.addSeparator()
        window.addToolBar(bar)

    def show_results(self, panel: QWidget) -> None:
        """Bring a panel of the results to the front."""
        self.docks["results"].show()
        self.results.setCurrentWidget(panel)

    def show_frames(self, frames: int, frame: int) -> None:
        """Offer the frames of a stack; nothing for one image."""
        blocked = self.frame.blockSignals(True)
        self.frame.setRange(1, frames)
        self.frame.setSuffix(f" of {frames}")
        self.frame.setValue(frame + 1)
        self.frame.blockSignals(blocked)
        self.frame.setVisible(frames > 1)

    def tell_cursor(self) -> None:
        """Say where the cursor is, and the grey level there of each image."""
        cursor, panes = self.viewer.state.cursor, self.viewer.panes
        if cursor is None or not panes:
            self.position.setText("")
            return
        values = [pane.value_at(cursor) for pane in panes]
        if all(value is None for value in values):
            self.position.setText("")
            return
        size = panes[0].pixel_size_nm
        place = f"x {cursor.x():.1f}, y {cursor.y():.1f} px"
        if size is not None:
            x, y = (max(v, 0.0) for v in (cursor.x() * size[1], cursor.y() * size[0]))
            place += f" ({length_words(x)}, {length_words(y)})"
        grey = ", ".join("-" if value is None else f"{value:.5g}" for value in values)
        self.position.setText(f"{place}   grey {grey}")


def _dock(window: QMainWindow, title: str, widget: QWidget, area: Qt.DockWidgetArea) -> QDockWidget:
    dock = QDockWidget(title)
    dock.setObjectName(title)
    dock.setWidget(widget)
    # Without a title bar there is more room; the menu View shows and hides.
    dock.setTitleBarWidget(QWidget())
    window.addDockWidget(area, dock)
    return dock

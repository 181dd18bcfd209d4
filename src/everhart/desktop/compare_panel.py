"""What is shown beside an image: two methods, their residual, a reference; and how."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from PySide6.QtCore import Signal
from PySide6.QtWidgets import (
    QCheckBox,
    QComboBox,
    QFormLayout,
    QLabel,
    QPushButton,
    QVBoxLayout,
    QWidget,
)

from everhart.desktop.run_panel import FileLine
from everhart.desktop.viewer import MODES

__all__ = ["ComparePanel"]


class ComparePanel(QWidget):
    """Chooses what is compared.

    Parameters
    ----------
    parent
        Owner.
    """

    changed = Signal()
    mode_changed = Signal(str)
    metrics_wanted = Signal()

    def __init__(self, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self.a, self.b = QComboBox(), QComboBox()
        self.residual = QCheckBox("&Residual: image minus A")
        self.reference = FileLine("reference")
        self.mode = QComboBox()
        for key, words in MODES.items():
            self.mode.addItem(words, key)
        self.metrics = QPushButton("&Metrics of the selected images")
        self.metrics.setToolTip(
            "Run compare with A and B on the selected images, by the reference if there is one"
        )
        form = QFormLayout()
        form.setRowWrapPolicy(QFormLayout.RowWrapPolicy.WrapLongRows)
        form.setFieldGrowthPolicy(QFormLayout.FieldGrowthPolicy.AllNonFixedFieldsGrow)
        lines: tuple[tuple[str, str, QWidget], ...] = (
            ("Method &A:", "Method A", self.a),
            ("Method &B:", "Method B", self.b),
            ("Re&ference:", "Reference", self.reference),
            ("&Show:", "How images are shown", self.mode),
        )
        for words, name, widget in lines:
            widget.setAccessibleName(name)
            form.addRow(words, widget)
        help_ = QLabel(
            "A method that was not run yet is run on the image. Panes are linked in place, zoom, "
            "contrast and cursor. T, F and S switch between side by side, flicker and swipe.",
            wordWrap=True,
        )
        layout = QVBoxLayout(self)
        layout.setContentsMargins(6, 6, 6, 6)
        layout.addLayout(form)
        layout.addWidget(self.residual)
        layout.addWidget(self.metrics)
        layout.addWidget(help_)
        layout.addStretch(1)
        for box in (self.a, self.b):
            box.currentIndexChanged.connect(lambda *_: self.changed.emit())
        self.residual.toggled.connect(lambda *_: self.changed.emit())
        self.reference.changed.connect(self._refer)
        self.mode.currentIndexChanged.connect(
            lambda *_: self.mode_changed.emit(str(self.mode.currentData()))
        )
        self.metrics.clicked.connect(lambda *_: self.metrics_wanted.emit())

    @property
    def methods(self) -> list[str]:
        """The methods that are chosen, without those twice."""
        chosen = [str(box.currentData()) for box in (self.a, self.b) if box.currentData()]
        return list(dict.fromkeys(chosen))

    @property
    def reference_path(self) -> Path | None:
        """The reference, None if there is none."""
        path = self.reference.path
        return path if path is not None and path.exists() else None

    def show_methods(self, names: Sequence[str]) -> None:
        """Offer methods; those that are chosen stay."""
        for box in (self.a, self.b):
            chosen = box.currentData()
            blocked = box.blockSignals(True)
            box.clear()
            box.addItem("(none)", None)
            for name in names:
                box.addItem(name, name)
            box.setCurrentIndex(max(box.findData(chosen), 0))
            box.blockSignals(blocked)

    def choose_a(self, method: str) -> None:
        """Choose method A, if it is one that can be chosen."""
        index = self.a.findData(method)
        if index >= 0:
            self.a.setCurrentIndex(index)

    def choose_mode(self, mode: str) -> None:
        """Choose how several images are shown."""
        self.mode.setCurrentIndex(self.mode.findData(mode))

    def _refer(self) -> None:
        path = self.reference.path
        if path is None or path.exists():
            self.changed.emit()

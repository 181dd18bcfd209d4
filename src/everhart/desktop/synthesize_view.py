"""Draw images with a generator, look at them in a grid, audit it by real images."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from PySide6.QtCore import QSize, Qt, Signal
from PySide6.QtGui import QIcon, QPixmap
from PySide6.QtWidgets import (
    QComboBox,
    QFormLayout,
    QHBoxLayout,
    QLabel,
    QLineEdit,
    QListWidget,
    QListWidgetItem,
    QPushButton,
    QSpinBox,
    QVBoxLayout,
    QWidget,
)

from everhart.desktop.backend import Request
from everhart.desktop.background import Background
from everhart.desktop.generator_backend import GeneratorBackend
from everhart.desktop.jobs import Job
from everhart.desktop.library import Entry, empty_icon
from everhart.desktop.reading import Reader
from everhart.desktop.rendering import grey_image
from everhart.desktop.results import Record
from everhart.desktop.run_panel import FileLine
from everhart.desktop.work import Work

__all__ = ["SynthesizeView"]

_GRID_PX = 118
_MARK = Qt.ItemDataRole.UserRole


class SynthesizeView(QWidget):
    """Draws synthetic micrographs.

    Parameters
    ----------
    work
        What runs it.
    reader, background
        What makes the thumbnails.
    parent
        Owner.
    """

    said = Signal(str)
    open_wanted = Signal(object)
    """The path of an image that was clicked twice."""

    def __init__(
        self, work: Work, reader: Reader, background: Background, parent: QWidget | None = None
    ) -> None:
        super().__init__(parent)
        self._work, self._reader, self._background = work, reader, background
        self._backend = GeneratorBackend()
        self.pending = 0
        """How many thumbnails are being made."""
        self._blank = empty_icon("")
        self.model = FileLine("generator, a .safetensors file")
        self.real = FileLine("folder of real images", is_folder=True)
        self.label = QLineEdit(placeholderText="none")
        self.count = QSpinBox(minimum=1, maximum=1000, value=8)
        self.seed = QSpinBox(minimum=0, maximum=2**31 - 1)
        self.steps = QSpinBox(minimum=1, maximum=1000, value=100)
        self.sampler = QComboBox()
        self.sampler.addItems(["ddpm", "ddim", "dpm"])
        form = QFormLayout()
        form.setFieldGrowthPolicy(QFormLayout.FieldGrowthPolicy.AllNonFixedFieldsGrow)
        lines: tuple[tuple[str, str, QWidget], ...] = (
            ("&Generator:", "Generator", self.model),
            ("&Label:", "Label of the images", self.label),
            ("&Images:", "Number of images", self.count),
            ("S&eed:", "Seed", self.seed),
            ("Sam&pler:", "Sampler", self.sampler),
            ("S&teps:", "Steps of an image", self.steps),
            ("&Real images:", "Real images for the audit", self.real),
        )
        for words, name, widget in lines:
            widget.setAccessibleName(name)
            form.addRow(words, widget)
        self.draw = QPushButton("&Draw")
        self.audit = QPushButton("&Audit")
        self.audit.setToolTip("Is it like the real images, and more than copies of them?")
        self.verdict = QLabel(wordWrap=True)
        self.grid = QListWidget()
        self.grid.setViewMode(QListWidget.ViewMode.IconMode)
        self.grid.setResizeMode(QListWidget.ResizeMode.Adjust)
        self.grid.setMovement(QListWidget.Movement.Static)
        self.grid.setUniformItemSizes(True)
        self.grid.setIconSize(QSize(_GRID_PX, _GRID_PX))
        self.grid.setGridSize(QSize(_GRID_PX + 12, _GRID_PX + 30))
        self.grid.setAccessibleName("Synthetic images")
        side = QWidget()
        side.setMaximumWidth(330)
        column = QVBoxLayout(side)
        column.addLayout(form)
        buttons = QHBoxLayout()
        buttons.addWidget(self.draw)
        buttons.addWidget(self.audit)
        column.addLayout(buttons)
        column.addWidget(self.verdict)
        column.addStretch(1)
        row = QHBoxLayout(self)
        row.setContentsMargins(0, 0, 0, 0)
        row.addWidget(side)
        row.addWidget(self.grid, 1)
        self.draw.clicked.connect(lambda: self._run("synthesize"))
        self.audit.clicked.connect(lambda: self._run("audit"))
        self.grid.itemActivated.connect(lambda item: self.open_wanted.emit(item.data(_MARK)))
        work.made.connect(self._take)
        work.told.connect(self._tell)

    def _run(self, operation: str) -> None:
        model, real = self.model.path, self.real.path
        if model is None or not model.is_file():
            self.said.emit("No generator was chosen: give the .safetensors file of a trained one.")
            return
        if operation == "audit" and (real is None or not real.is_dir()):
            self.said.emit("No real images were chosen: give the folder of those to compare with.")
            return
        values: dict[str, object] = {
            "seed": self.seed.value(),
            "steps": self.steps.value(),
            "sampler": self.sampler.currentText(),
        }
        if operation == "audit":
            # Fewer than four have no distribution.
            values |= {"real": str(real), "n": max(self.count.value(), 4)}
        elif self.label.text().strip():
            values["label"] = self.label.text().strip()
        if operation == "synthesize":
            self.grid.clear()
            values["n"] = self.count.value()
        self._work.queue.add(Request(operation, values, (model,)), self._backend)

    def _take(self, job: Job, entry: Entry) -> None:
        if job.request.operation != "synthesize":
            return
        item = QListWidgetItem(self._blank, entry.path.name)
        item.setData(_MARK, entry.path)
        self.grid.addItem(item)

        def show(pixels: NDArray[np.uint8]) -> None:
            self.pending -= 1
            item.setIcon(QIcon(QPixmap.fromImage(grey_image(pixels))))

        def fail(fault: str) -> None:
            self.pending -= 1
            self.said.emit(fault)

        self.pending += 1
        self._background.submit(
            lambda: self._reader.thumbnail(entry.path, 2 * _GRID_PX), show, fail
        )

    def _tell(self, _: Job, record: Record) -> None:
        if record.operation == "audit":
            self.verdict.setText(str(record.summary.get("words", "")))

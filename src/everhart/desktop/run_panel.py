"""Choose an operation, fill in its form, run it on what is selected."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from PySide6.QtCore import Signal
from PySide6.QtWidgets import (
    QComboBox,
    QDoubleSpinBox,
    QFileDialog,
    QHBoxLayout,
    QLabel,
    QLineEdit,
    QPushButton,
    QScrollArea,
    QVBoxLayout,
    QWidget,
)

from everhart.desktop.backend import OperationInfo
from everhart.desktop.form import SchemaForm
from everhart.errors import EverhartError

__all__ = ["FileLine", "RunPanel", "methods_of"]


def methods_of(operations: Sequence[OperationInfo]) -> list[str]:
    """Return the names of all denoisers, as the default of ``compare`` has them."""
    for operation in operations:
        if operation.name == "compare":
            names = operation.schema["properties"]["methods"].get("default", [])
            return [str(name) for name in names]
    return []


class FileLine(QWidget):
    """A line for a file, with a button that looks for it.

    Parameters
    ----------
    words
        What the file is.
    is_folder
        Whether it is a folder.
    """

    changed = Signal()

    def __init__(self, words: str, *, is_folder: bool = False) -> None:
        super().__init__()
        self._words, self._is_folder = words, is_folder
        self.line = QLineEdit(placeholderText="none")
        self.line.setClearButtonEnabled(True)
        self.line.setAccessibleName(words)
        browse = QPushButton("…")
        browse.setAccessibleName(f"Choose {words}")
        browse.setMaximumWidth(34)
        layout = QHBoxLayout(self)
        layout.setContentsMargins(0, 0, 0, 0)
        layout.addWidget(self.line, 1)
        layout.addWidget(browse)
        browse.clicked.connect(self._browse)
        self.line.textChanged.connect(self.changed)
        self.setFocusProxy(self.line)

    @property
    def path(self) -> Path | None:
        """The file, None if none was chosen."""
        text = self.line.text().strip()
        return Path(text) if text else None

    def _browse(self) -> None:
        title = f"Choose {self._words}"
        if self._is_folder:
            name = QFileDialog.getExistingDirectory(self, title)
        else:
            name, _ = QFileDialog.getOpenFileName(self, title)
        if name:
            self.line.setText(name)


class RunPanel(QWidget):
    """What is run on the selected images.

    Parameters
    ----------
    parent
        Owner.
    """

    run_wanted = Signal(str, dict, dict)
    """Operation, parameters, and roles."""
    refused = Signal(str)

    def __init__(self, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self._operations: list[OperationInfo] = []
        self._remembered: dict[str, dict[str, Any]] = {}
        self._form: SchemaForm | None = None
        self._roles: dict[str, FileLine] = {}
        self._count = 0
        self.operation = QComboBox()
        self.operation.setAccessibleName("Operation")
        self.summary = QLabel(wordWrap=True)
        self.pixel_size = QDoubleSpinBox(decimals=4, maximum=1e6)
        self.pixel_size.setSpecialValueText("of the file")
        self.pixel_size.setSuffix(" nm")
        self.pixel_size.setKeyboardTracking(False)
        self.pixel_size.setToolTip("Pixel size in place of what the files say")
        self.pixel_size.setAccessibleName("Pixel size in place of what the file says")
        self.button = QPushButton("&Run")
        self.button.setDefault(True)
        self.button.setEnabled(False)
        self._area = QScrollArea(widgetResizable=True)
        self._area.setFrameShape(QScrollArea.Shape.NoFrame)
        layout = QVBoxLayout(self)
        layout.setContentsMargins(6, 6, 6, 6)
        layout.addWidget(self.operation)
        layout.addWidget(self.summary)
        layout.addWidget(self._area, 1)
        layout.addWidget(self.button)
        self.operation.currentIndexChanged.connect(lambda: self._build())
        self.button.clicked.connect(self.run)

    @property
    def form(self) -> SchemaForm:
        """The form of the operation that is chosen."""
        assert self._form is not None
        return self._form

    def show_operations(self, operations: Sequence[OperationInfo]) -> None:
        """Offer operations; the one that is chosen stays, if it is among them."""
        chosen = self.operation.currentText()
        self._operations = list(operations)
        blocked = self.operation.blockSignals(True)
        self.operation.clear()
        self.operation.addItems([operation.name for operation in operations])
        self.operation.setCurrentIndex(max(self.operation.findText(chosen), 0))
        self.operation.blockSignals(blocked)
        self._build()

    def choose(self, name: str) -> None:
        """Choose an operation."""
        self.operation.setCurrentText(name)

    def tell_selection(self, count: int) -> None:
        """Say how many images it would be run on."""
        self._count = count
        self.button.setEnabled(count > 0)
        self.button.setText("&Run" if count < 2 else f"&Run on {count} images")

    def run(self) -> None:
        """Ask for the operation to be run as the form says."""
        if self._form is None or not self._count:
            return
        try:
            values = self._form.values()
        except EverhartError as error:
            self.refused.emit(str(error))
            return
        name = self.operation.currentText()
        self._remembered[name] = values
        roles = {role: line.path for role, line in self._roles.items() if line.path is not None}
        self.run_wanted.emit(name, values, roles)

    def values_of(self, operation: str) -> Mapping[str, Any]:
        """Return the parameters that an operation was run with last."""
        return self._remembered.get(operation, {})

    def _build(self) -> None:
        index = self.operation.currentIndex()
        if not 0 <= index < len(self._operations):
            return
        chosen = self._operations[index]
        self.summary.setText(chosen.summary.replace("--reference", "a reference"))
        self.pixel_size.setParent(None)  # it is in the form that is replaced now
        body = QWidget()
        column = QVBoxLayout(body)
        column.setContentsMargins(0, 0, 6, 0)
        methods = methods_of(self._operations)
        self._form = SchemaForm(chosen.schema, {"method": methods})
        self._form.set_values(self._remembered.get(chosen.name, {}))
        column.addWidget(self._form)
        self._roles = {}
        for role in chosen.roles:
            line = FileLine(role.replace("_", " "))
            self._roles[role] = line
            self._form.add_row(f"{role.replace('_', ' ').capitalize()}:", line)
        self._form.add_row("Pixel size:", self.pixel_size)
        column.addStretch(1)
        self._area.setWidget(body)
        # The page of the tab is seen behind it.
        for part in (body, self._area.viewport()):
            part.setAutoFillBackground(False)

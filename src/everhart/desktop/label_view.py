"""Make label images with brush and polygon: for fine-tuning, and for inpainting."""

from __future__ import annotations

from pathlib import Path
from typing import Final

import numpy as np
from numpy.typing import NDArray
from PySide6.QtCore import Signal
from PySide6.QtGui import QAction, QActionGroup, QShowEvent
from PySide6.QtWidgets import QFileDialog, QLabel, QSpinBox, QToolBar, QVBoxLayout, QWidget
from typing_extensions import override

from everhart.desktop.background import Background, sentence
from everhart.desktop.mask import Mask
from everhart.desktop.mask_pane import MaskPane
from everhart.desktop.reading import Picture
from everhart.desktop.rendering import Rendering
from everhart.desktop.saving import free_name
from everhart.desktop.view_state import ViewState
from everhart.errors import UsageError
from everhart.micrograph import HistoryEntry, Micrograph

__all__ = ["LabelView"]

_TOOLS: Final = {
    "brush": ("Brush", "Paint the label"),
    "erase": ("Eraser", "Take labels away"),
    "polygon": ("Polygon", "Click corners; a double click or Enter closes, Esc gives up"),
    "pan": ("Move", "Drag to move the image"),
}


class LabelView(QWidget):
    """Labels the image with the focus.

    Parameters
    ----------
    background
        The thread in which files are written.
    parent
        Owner.
    """

    said = Signal(str, str)
    """A sentence, and its kind."""

    def __init__(self, background: Background, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self._background = background
        self._picture: Picture | None = None
        self._drafts: dict[Path, np.ndarray[tuple[int, int], np.dtype[np.uint8]]] = {}
        self._unsaved: set[Path] = set()
        self.painted = Mask(self)
        self.state = ViewState(self)
        self.pane = MaskPane(self.painted, self.state)
        self.bar = QToolBar()
        self.tools: dict[str, QAction] = {}
        group = QActionGroup(self)
        for name, (words, tip) in _TOOLS.items():
            action = self.bar.addAction(words)
            action.setCheckable(True)
            action.setToolTip(tip)
            action.triggered.connect(lambda _=False, name=name: self.choose(name))
            group.addAction(action)
            self.tools[name] = action
        self.tools["brush"].setChecked(True)
        self.bar.addSeparator()
        self.label = QSpinBox(minimum=1, maximum=255)
        self.brush = QSpinBox(minimum=1, maximum=500, value=16, suffix=" px")
        for words, box in ((" Label ", self.label), (" Brush ", self.brush)):
            self.bar.addWidget(QLabel(words))
            box.setAccessibleName(words.strip())
            self.bar.addWidget(box)
        self.bar.addSeparator()
        self.undo = self.painted.undo_stack.createUndoAction(self, "Undo")
        self.redo = self.painted.undo_stack.createRedoAction(self, "Redo")
        self.bar.addActions([self.undo, self.redo])
        self.bar.addSeparator()
        self.open_action = self.bar.addAction("Open…")
        self.save_action = self.bar.addAction("Save…")
        self.open_action.setToolTip("Go on with a label image")
        self.save_action.setToolTip("Save the labels as an image (Ctrl+Alt+S)")
        layout = QVBoxLayout(self)
        layout.setContentsMargins(0, 0, 0, 0)
        layout.setSpacing(0)
        layout.addWidget(self.bar)
        layout.addWidget(self.pane, 1)
        self.label.valueChanged.connect(self._set_label)
        self.brush.valueChanged.connect(self._set_size)
        self.open_action.triggered.connect(lambda: self.ask_to_open())
        self.save_action.triggered.connect(lambda: self.ask_to_save())
        self._set_size(self.brush.value())

    def show_picture(self, picture: Picture, rendering: Rendering) -> None:
        """Label another image; labels of the one before are kept until the window is closed."""
        if self._picture is not None and self._picture.path == picture.path:
            return
        self._keep()
        self._picture = picture
        size = picture.image.pixel_size_nm
        self.state.ratio = 1.0 if size is None else size[0] / size[1]
        self.pane.show_image(rendering, f"{picture.path.name}: labels", size)
        shape = (picture.image.shape[0], picture.image.shape[1])
        kept = self._drafts.get(picture.path)
        self.painted.start(np.zeros(shape, np.uint8) if kept is None else kept)
        self.pane.fit()

    def choose(self, tool: str) -> None:
        """Choose what the mouse does."""
        self.pane.tool = tool
        self.pane.corners = []
        self.tools[tool].setChecked(True)
        self.pane.update()

    def ask_to_open(self) -> None:
        """Ask for a label image and go on with it."""
        if self._picture is None:
            self.said.emit("No image has the focus: open the one to label first.", "error")
            return
        name, _ = QFileDialog.getOpenFileName(
            self, "Open labels", str(self._picture.path.parent), "Label images (*.png *.tif *.tiff)"
        )
        if name:
            self.open(Path(name))

    def open(self, source: Path) -> None:
        """Go on with a label image; strokes that were not saved come back with Undo."""
        picture, shape = self._picture, self.painted.labels.shape

        def take(labels: NDArray[np.uint8]) -> None:
            if self._picture is not picture or picture is None:
                words = f"{source.name} was not opened: another image is shown by now."
                self.said.emit(words, "error")
            elif self.painted.undo_stack.isClean() and picture.path not in self._unsaved:
                self.painted.start(labels)
            else:
                self.painted.replace(labels)

        self._background.submit(
            lambda: _read(source, shape), take, lambda fault: self.said.emit(fault, "error")
        )

    def ask_to_save(self) -> None:
        """Ask for a name and save the label image."""
        if self._picture is None:
            self.said.emit("No image has the focus: open the one to label first.", "error")
            return
        path = self._picture.path
        wanted = free_name(path.with_name(f"{path.stem}-labels.png"))
        name, _ = QFileDialog.getSaveFileName(
            self, "Save labels", str(wanted), "Label images (*.png *.tif)"
        )
        if name:
            self.save(Path(name), overwrite=Path(name).exists())

    def save(self, target: Path, *, overwrite: bool = False) -> None:
        """Write the label image, uint8, with the pixel size of the image."""
        from everhart.io import write

        assert self._picture is not None
        entry = HistoryEntry("label", {"image": self._picture.path.name})
        image = Micrograph(
            self.painted.labels.copy(), self._picture.image.pixel_size_nm, history=(entry,)
        )
        try:
            write(image, target, overwrite=overwrite)
        except Exception as error:
            self.said.emit(sentence(error), "error")
            return
        self.painted.undo_stack.setClean()
        self._unsaved.discard(self._picture.path)
        self.said.emit(f"Saved: {target}", "done")

    @property
    def has_unsaved(self) -> bool:
        """Whether there are labels that were not saved."""
        return not self.painted.undo_stack.isClean() or bool(self._unsaved)

    def _keep(self) -> None:
        if self._picture is None:
            return
        path = self._picture.path
        self._drafts[path] = self.painted.labels
        # What was kept once is still unsaved where nothing was painted since.
        if not self.painted.undo_stack.isClean():
            self._unsaved.add(path)

    def _set_label(self, label: int) -> None:
        self.pane.label = label
        self.pane.update()

    def _set_size(self, size: int) -> None:
        self.pane.radius_px = size / 2
        self.pane.update()

    @override
    def showEvent(self, event: QShowEvent) -> None:
        super().showEvent(event)
        self.pane.fit()


def _read(path: Path, shape: tuple[int, ...]) -> np.ndarray[tuple[int, int], np.dtype[np.uint8]]:
    from everhart.io import read

    pixels = read(path).pixels
    if pixels.shape != shape:
        raise UsageError(
            f"{path.name} is of {pixels.shape} pixels and the image of {shape}: open the labels of "
            "this image."
        )
    if pixels.dtype.kind not in "bui" or pixels.min() < 0 or pixels.max() > 255:
        raise UsageError(f"{path.name} holds no labels from 0 to 255: open a label image.")
    return pixels.astype(np.uint8)

"""Panes side by side that look at the same place: tiles, flicker, or a swipe."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from PySide6.QtCore import QPointF, QSizeF, Qt, QTimer, Signal, SignalInstance
from PySide6.QtGui import QResizeEvent
from PySide6.QtWidgets import QGridLayout, QLabel, QStackedLayout, QWidget
from typing_extensions import override

from everhart.desktop.marks import Marks
from everhart.desktop.pane import ImagePane
from everhart.desktop.reading import Picture
from everhart.desktop.rendering import Rendering
from everhart.desktop.view_state import ViewState

__all__ = ["MODES", "Item", "Viewer"]

MODES: Final = {"tiles": "Side by side", "flicker": "Flicker", "swipe": "Swipe"}
"""How several images are shown, with its words."""
_FLICKER_MS = 500


@dataclass(eq=False)
class Item:
    """An image to be shown.

    Parameters
    ----------
    caption
        What is written over it.
    picture
        The image; for a residual that of what was taken away.
    rendering
        How it is drawn.
    is_residual
        Whether it is a difference, which has its own contrast.
    marks
        Outlines over it.
    """

    caption: str
    picture: Picture
    rendering: Rendering
    is_residual: bool = False
    marks: Marks | None = None


class Viewer(QWidget):
    """Shows one image or several; all are linked in place, zoom, contrast and cursor.

    Parameters
    ----------
    parent
        Owner.
    """

    active_changed = Signal()
    """Another image has the focus, or other images are shown."""
    hovered = Signal(object)
    picked = Signal(object)

    def __init__(self, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self.state = ViewState(self)
        self.items: list[Item] = []
        self.mode = "tiles"
        self._active = 0
        self._shown = 0
        self._tool = "pan"
        self._hidden: frozenset[str] = frozenset()
        self._panes: list[ImagePane] = []
        self._fitted_for: tuple[int, int] | None = None
        self._was_fitted = True
        self._flicker = QTimer(self, interval=_FLICKER_MS)
        self._flicker.timeout.connect(self._turn)
        self._blank = QLabel("Drop images or a folder here, or press Ctrl+O.\n\nF1 shows all keys.")
        self._blank.setObjectName("blank")
        self._blank.setAlignment(Qt.AlignmentFlag.AlignCenter)
        self._tiles = QWidget()
        self._tiles.setObjectName("tiles")
        self._tiles.setStyleSheet("#tiles { background: #282a2e }")  # as behind the images
        self._grid = QGridLayout(self._tiles)
        self._grid.setContentsMargins(0, 0, 0, 0)
        self._grid.setSpacing(3)
        self._stack = QStackedLayout(self)
        self._stack.addWidget(self._blank)
        self._stack.addWidget(self._tiles)

    # -- what is shown --------------------------------------------------------------------
    @property
    def active(self) -> Item | None:
        """The image that operations are meant for."""
        return self.items[self._active] if self.items else None

    @property
    def panes(self) -> list[ImagePane]:
        """The panes in use."""
        return self._panes[: self._needed()]

    @property
    def active_pane(self) -> ImagePane | None:
        """The pane in which the active image is."""
        if not self.items:
            return None
        return self._panes[self._active] if self.mode == "tiles" else self._panes[0]

    def show_items(self, items: Sequence[Item], active: int = 0) -> None:
        """Show images; where the view is stays, unless the size of the image changes."""
        self.items = list(items)
        self._active = min(active, max(len(items) - 1, 0))
        self._shown = self._active
        self._arrange()
        if self.items:
            first = self.items[0].picture.image
            size = first.pixel_size_nm
            self.state.ratio = 1.0 if size is None else size[0] / size[1]
            shape = (first.shape[0], first.shape[1])
            if shape != self._fitted_for or self._was_fitted:
                self._fitted_for = shape
                self.fit()
        self.active_changed.emit()

    def set_mode(self, mode: str) -> None:
        """Show several images in another way; see :data:`MODES`."""
        self.mode = mode
        self._shown = self._active
        self._arrange()
        if self._was_fitted:
            self.fit()

    def set_tool(self, tool: str) -> None:
        """Choose what dragging does: pan, ruler, profile or region."""
        self._tool = tool
        for pane in self._panes:
            pane.tool = tool

    def set_active(self, index: int) -> None:
        """Give an image the focus."""
        if index != self._active and 0 <= index < len(self.items):
            self._active = index
            self._tell_panes()
            self.active_changed.emit()

    def set_levels(self, levels: tuple[float, float]) -> None:
        """Set black and white: of all images, or of the residual that has the focus."""
        active = self.active
        if active is None:
            return
        for item in self.items:
            if item is active or not (active.is_residual or item.is_residual):
                item.rendering.set_levels(levels)
        for pane in self._panes:
            pane.update()

    def set_marks(self, item: Item, marks: Marks | None) -> None:
        """Draw outlines over an image."""
        item.marks = marks
        self._tell_panes()

    def hide_kinds(self, kinds: frozenset[str]) -> None:
        """Leave kinds of outlines out."""
        self._hidden = kinds
        self._tell_panes()

    def light(self, indices: frozenset[int], *, look: bool = False) -> None:
        """Draw outlines of the active image thicker, and go there."""
        pane, item = self.active_pane, self.active
        if pane is None or item is None or item.marks is None:
            return
        pane.light(indices)
        if look and indices:
            self._was_fitted = False
            self.state.look_at(item.marks.middle(min(indices)))

    # -- where it looks -------------------------------------------------------------------
    def fit(self) -> None:
        """Show the images whole."""
        if self.items:
            self._grid.activate()
            self._panes[0].fit()
            self._was_fitted = True

    def zoom_to(self, zoom: float) -> None:
        """Show so many pixels of the screen for a pixel."""
        self._was_fitted = False
        self.state.zoom_to(zoom / self.devicePixelRatioF())

    def zoom_by(self, factor: float) -> None:
        """Zoom around the middle."""
        self._was_fitted = False
        self.state.zoom_by(factor, QPointF(self.state.centre))

    @override
    def resizeEvent(self, event: QResizeEvent) -> None:
        super().resizeEvent(event)
        if self._was_fitted and self.items:
            QTimer.singleShot(0, self._fit_again)

    def _fit_again(self) -> None:
        if self._was_fitted:
            self.fit()

    # -- panes ----------------------------------------------------------------------------
    def _needed(self) -> int:
        return len(self.items) if self.mode == "tiles" else min(len(self.items), 1)

    def _arrange(self) -> None:
        needed = self._needed()
        while len(self._panes) < needed:
            self._panes.append(self._new_pane(len(self._panes)))
        for pane in self._panes:
            self._grid.removeWidget(pane)
            pane.hide()
        columns = _columns(needed, QSizeF(self.size()))
        for number in range(needed):
            self._grid.addWidget(self._panes[number], number // columns, number % columns)
            self._panes[number].show()
        self._stack.setCurrentWidget(self._tiles if needed else self._blank)
        if self.mode == "flicker" and len(self.items) > 1:
            self._flicker.start()
        else:
            self._flicker.stop()
        self._tell_panes()

    def _new_pane(self, number: int) -> ImagePane:
        pane = ImagePane(self.state, self._tiles)
        pane.tool = self._tool
        pane.pressed.connect(lambda: self._press(number))
        pane.hovered.connect(lambda index: self._tell(self.hovered, pane, index))
        pane.picked.connect(lambda index: self._tell(self.picked, pane, index))
        pane.moved_by_hand.connect(self._moved)
        return pane

    def _press(self, number: int) -> None:
        if self.mode == "tiles":
            self.set_active(number)

    def _tell(self, signal: SignalInstance, pane: ImagePane, index: int | None) -> None:
        if pane is self.active_pane:  # of which the table is
            signal.emit(index)

    def _moved(self) -> None:
        self._was_fitted = False

    def _tell_panes(self) -> None:
        for number, pane in enumerate(self.panes):
            item = self.items[number if self.mode == "tiles" else self._shown]
            image = item.picture.image
            lit = pane.lit if pane.marks is item.marks else frozenset()
            pane.show_image(item.rendering, item.caption, image.pixel_size_nm)
            pane.hidden = self._hidden
            pane.is_active = self.mode == "tiles" and len(self.items) > 1 and number == self._active
            if self.mode == "swipe" and len(self.items) > 1:
                other = self.items[1 if self._shown == 0 else self._shown]
                pane.show_image(self.items[0].rendering, self.items[0].caption, image.pixel_size_nm)
                pane.show_over(other.rendering, other.caption)
            pane.set_marks(item.marks)
            pane.light(lit)

    def _turn(self) -> None:
        """Show the next image in the one pane of a flicker."""
        self._shown = (self._shown + 1) % max(len(self.items), 1)
        self._tell_panes()


def _columns(count: int, size: QSizeF) -> int:
    """Return the number of columns in which panes are largest, taking images as square."""
    best, most = 1, 0.0
    for columns in range(1, count + 1):
        rows = math.ceil(count / columns)
        side = min(size.width() / columns, size.height() / rows)
        if side > most * 1.001:
            best, most = columns, side
    return best

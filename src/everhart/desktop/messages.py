"""A sentence above the images: what went wrong, or was done."""

from __future__ import annotations

from PySide6.QtCore import Qt, Signal
from PySide6.QtWidgets import QFrame, QHBoxLayout, QLabel, QToolButton, QWidget

__all__ = ["MessageBar"]

_COLOURS = {
    "error": ("#7a1f1f", "#ffffff"),
    "warning": ("#7a5b00", "#ffffff"),
    "done": ("#1f5a35", "#ffffff"),
}
_MOST = 50


class MessageBar(QFrame):
    """Shows the last sentence; those before it are behind a button.

    Parameters
    ----------
    parent
        Owner.
    """

    said = Signal(str)

    def __init__(self, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self.setObjectName("message")
        self._before: list[tuple[str, str]] = []
        self._now: tuple[str, str] | None = None
        self.label = QLabel(wordWrap=True)
        self.label.setTextInteractionFlags(Qt.TextInteractionFlag.TextSelectableByMouse)
        self.label.setTextFormat(Qt.TextFormat.PlainText)
        self.back = QToolButton()
        self.close_button = QToolButton()
        self.close_button.setText("✕")
        self.close_button.setAccessibleName("Close the message")
        for button in (self.back, self.close_button):
            button.setAutoRaise(True)
        layout = QHBoxLayout(self)
        layout.setContentsMargins(10, 4, 6, 4)
        layout.addWidget(self.label, 1)
        layout.addWidget(self.back)
        layout.addWidget(self.close_button)
        self.back.clicked.connect(self._go_back)
        self.close_button.clicked.connect(self.clear)
        self.hide()

    @property
    def text(self) -> str:
        """The sentence that is shown, "" for none."""
        return "" if self._now is None else self._now[1]

    def say(self, text: str, kind: str = "error") -> None:
        """Show a sentence; `kind` is ``"error"``, ``"warning"`` or ``"done"``."""
        if self._now == (kind, text):
            return
        # What was done needs no place behind; what went wrong does.
        if self._now is not None and self._now[0] != "done":
            self._before = [*self._before, self._now][-_MOST:]
        self._show((kind, text))
        self.said.emit(text)

    def clear(self) -> None:
        """Show nothing."""
        self._now, self._before = None, []
        self.hide()

    def _go_back(self) -> None:
        if self._before:
            self._show(self._before.pop())

    def _show(self, message: tuple[str, str]) -> None:
        self._now = message
        kind, text = message
        behind, ink = _COLOURS[kind]
        self.setStyleSheet(
            f"#message {{ background: {behind}; }} #message * {{ color: {ink}; border: none; "
            "background: transparent; }"
        )
        self.label.setText(text)
        self.label.setAccessibleName(text)
        self.back.setText(f"{len(self._before)} before")
        self.back.setVisible(bool(self._before))
        self.show()

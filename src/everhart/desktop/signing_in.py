"""Signing in to a service, and knowing whether it answers."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING

from PySide6.QtCore import QObject, Signal
from PySide6.QtWidgets import QDialog, QDialogButtonBox, QFormLayout, QLabel, QLineEdit, QWidget

if TYPE_CHECKING:
    from everhart.desktop.remote import ServiceBackend

__all__ = ["Health", "SignInDialog"]

_ASK_EVERY_S = 1.5


class SignInDialog(QDialog):
    """Asks for address and token.

    Parameters
    ----------
    url
        The address to begin with.
    parent
        Owner.
    """

    def __init__(self, url: str, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self.setWindowTitle("Sign in to a service")
        self.url = QLineEdit(url)
        self.url.setPlaceholderText("http://127.0.0.1:8765")
        self.url.setAccessibleName("Address")
        self.token = QLineEdit()
        self.token.setEchoMode(QLineEdit.EchoMode.Password)
        self.token.setPlaceholderText("none for a service on this computer")
        self.token.setAccessibleName("Token")
        buttons = QDialogButtonBox()
        buttons.addButton("Sign in", QDialogButtonBox.ButtonRole.AcceptRole)
        buttons.addButton(QDialogButtonBox.StandardButton.Cancel)
        layout = QFormLayout(self)
        layout.addRow("&Address:", self.url)
        layout.addRow("&Token:", self.token)
        layout.addRow(QLabel("The token is not stored: it is forgotten when the window is closed."))
        layout.addRow(buttons)
        buttons.accepted.connect(self.accept)
        buttons.rejected.connect(self.reject)
        self.resize(460, self.sizeHint().height())


class Health(QObject):
    """A thread that asks a service every second or two whether it is ready.

    Parameters
    ----------
    backend
        The service.
    parent
        Owner.
    """

    changed = Signal(bool)
    """It answers again, or does not any more."""

    def __init__(self, backend: ServiceBackend, parent: QObject | None = None) -> None:
        super().__init__(parent)
        self._backend = backend
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name="health", daemon=True)
        self._thread.start()

    def close(self) -> None:
        """End the thread."""
        self._stop.set()

    def _run(self) -> None:
        was_ready = True
        while not self._stop.wait(_ASK_EVERY_S):
            is_ready = self._backend.is_ready
            if is_ready != was_ready and not self._stop.is_set():
                was_ready = is_ready
                self.changed.emit(is_ready)

"""The service in the window: sign in, sign out, its images, and what is said when it is away."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import TYPE_CHECKING

from PySide6.QtCore import QObject
from PySide6.QtWidgets import QInputDialog

from everhart.desktop.actions import ActionSpec
from everhart.desktop.signing_in import Health, SignInDialog

if TYPE_CHECKING:
    from everhart.desktop.remote import ServiceBackend
    from everhart.desktop.window import MainWindow

__all__ = ["ServiceMenu"]


class ServiceMenu(QObject):
    """What the menu Service does.

    Parameters
    ----------
    window
        The window.
    """

    def __init__(self, window: MainWindow) -> None:
        super().__init__(window)
        self.window = window
        self.backend: ServiceBackend | None = None
        self._health: Health | None = None
        self.is_away = False

    def specs(self) -> list[ActionSpec]:
        """Return the actions of the menu."""
        menu = "&Service"
        return [
            ActionSpec("sign_in", menu, "&Sign in…", self.ask, "Ctrl+L",
                       "Run operations on a service"),
            ActionSpec("sign_out", menu, "Sign &out", self.sign_out,
                       tip="Run operations here again"),
            ActionSpec("fetch", menu, "&Images of the service…", self.ask_for_images,
                       "Ctrl+Shift+L", "Open images that are on the service"),
        ]  # fmt: skip

    def ask(self) -> None:
        """Ask for address and token, and sign in."""
        url = str(self.window.settings.value("service") or "")
        dialog = SignInDialog(url, self.window)
        dialog.accepted.connect(
            lambda: self.sign_in(dialog.url.text().strip(), dialog.token.text().strip())
        )
        dialog.open()

    def sign_in(self, url: str, token: str) -> None:
        """Let operations run on a service, once it has answered."""
        try:
            from everhart.desktop.remote import ServiceBackend
        except ModuleNotFoundError as error:
            self.window.say(
                f"Services cannot be reached ({error.name} is missing): install it with "
                'pip install "everhart[service]".'
            )
            return
        try:
            backend = ServiceBackend(url or "http://127.0.0.1:8765", token)
        except Exception as error:
            self.window.say(str(error))
            return

        def done(_: object) -> None:
            self.sign_out()
            self.backend = backend
            self.window.settings.setValue("service", backend.url)
            self.window.work.backend = backend
            self.window.parts.where.setText(backend.url)
            self._health = Health(backend, self)
            self._health.changed.connect(self._hear)
            self.window.show_operations()
            self.window.say(f"Signed in to {backend.url}: operations run there.", "done")

        def failed(fault: str) -> None:
            backend.close()
            self.window.say(fault)

        self.window.background.submit(backend.operations, done, failed)

    def sign_out(self) -> None:
        """Let operations run here again; jobs on the service go on there."""
        if self.backend is None:
            return
        self.close()
        self.window.work.backend = self.window.local
        self.window.parts.where.setText(self.window.local.title)
        self.window.parts.service_bar.clear()
        self.window.show_operations()

    def close(self) -> None:
        """End the connection."""
        if self._health is not None:
            self._health.close()
            self._health = None
        if self.backend is not None:
            self.backend.close()
            self.backend = None
        self.is_away = False

    def ask_for_images(self) -> None:
        """Ask for a part of the names, and open such images of the service."""
        if self.backend is None:
            self.window.say("Nobody is signed in: choose Service, Sign in first.")
            return
        text, is_ok = QInputDialog.getText(
            self.window, "Images of the service", "Names that contain (all if empty):"
        )
        if is_ok:
            self.open_images(text.strip())

    def open_images(self, name: str) -> None:
        """Fetch the newest images whose name contains a text, and open them."""
        backend = self.backend
        if backend is None:
            return
        address = hashlib.sha256(backend.url.encode()).hexdigest()[:12]
        folder = self.window.work.store.folder.parent / "service" / address

        def done(paths: list[Path]) -> None:
            if paths:
                self.window.open_paths(paths)
            else:
                self.window.say(f"There are no images of such a name at {backend.url}.", "warning")

        self.window.background.submit(
            lambda: backend.fetch_images(name, folder), done, self.window.say
        )

    def _hear(self, is_ready: bool) -> None:
        bar, backend = self.window.parts.service_bar, self.backend
        if backend is None:
            return
        self.is_away = not is_ready
        if is_ready:
            bar.clear()
            self.window.parts.where.setText(backend.url)
            self.window.say(f"{backend.url} answers again; jobs go on.", "done")
        else:
            self.window.parts.where.setText(f"{backend.url} (away)")
            bar.say(
                f"{backend.url} does not answer. Jobs wait for it and go on when it is back; sign "
                "out to work on this computer.",
                "warning",
            )

"""The application: made, shown, and left with exit status 0."""

from __future__ import annotations

import signal
import sys
from collections.abc import Sequence
from pathlib import Path

from PySide6.QtCore import QSettings, QTimer
from PySide6.QtWidgets import QApplication

from everhart.desktop.garbage import collected_here
from everhart.desktop.window import MainWindow
from everhart.micrograph import __version__

__all__ = ["make_application", "run"]

_LOOK_EVERY_MS = 300


def make_application() -> QApplication:
    """Return the application of Qt; there is one in a process."""
    app = QApplication.instance()
    if not isinstance(app, QApplication):
        app = QApplication(sys.argv[:1])
    app.setOrganizationName("Everhart")
    app.setApplicationName("Everhart")
    app.setApplicationVersion(__version__)
    QSettings.setDefaultFormat(QSettings.Format.IniFormat)
    return app


def run(paths: Sequence[Path] = (), *, quit_after_s: float | None = None) -> int:
    """Show the window until it is closed.

    Parameters
    ----------
    paths
        Images and folders to open; what was open last if there are none.
    quit_after_s
        Close the window after so long, for a check of the installation.

    Returns
    -------
    int
        Exit status.
    """
    app = make_application()
    with collected_here():
        return _shown(app, paths, quit_after_s)


def _shown(app: QApplication, paths: Sequence[Path], quit_after_s: float | None) -> int:
    window = MainWindow()
    # Ctrl-C in the terminal closes the window; Python looks at it only when it is called.
    signal.signal(signal.SIGINT, lambda *_: window.close())
    awake = QTimer(interval=_LOOK_EVERY_MS)
    awake.timeout.connect(lambda: None)
    awake.start()
    dark = window.settings.value("dark")
    if dark is not None:
        window.actions_by_name["dark"].setChecked(str(dark).lower() == "true")
    window.show()
    if paths:
        window.open_paths(paths)
    else:
        window.reopen()
    if quit_after_s is not None:
        QTimer.singleShot(round(1000 * quit_after_s), window.close)
    return app.exec()

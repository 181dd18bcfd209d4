"""``everhart desktop``."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import Annotated

import typer

from everhart.errors import UsageError


def desktop(
    inputs: Annotated[
        list[Path] | None,
        typer.Argument(
            metavar="[IN...]", help="Images or folders to open; what was open last if none."
        ),
    ] = None,
    quit_after_s: Annotated[
        float | None,
        typer.Option(
            min=0.0, metavar="S", help="Close the window again, to check an installation."
        ),
    ] = None,
) -> None:
    """Look at images, compare, measure, and run operations, in a window.

    \b
    Examples:
      everhart desktop
      everhart desktop lot7/
    """
    try:
        from everhart.desktop.application import run
    except ModuleNotFoundError as error:
        if error.name is None or not error.name.startswith(("PySide6", "shiboken6", "pyqtgraph")):
            raise
        raise UsageError(
            f"The desktop client is not installed ({error.name} is missing): "
            'install it with pip install "everhart[desktop]".'
        ) from error
    _check_screen()
    status = run([Path(path) for path in inputs or ()], quit_after_s=quit_after_s)
    if status:
        raise typer.Exit(status)


def _check_screen() -> None:
    """Refuse where there is no screen; Qt would abort the process."""
    named = any(os.environ.get(n) for n in ("DISPLAY", "WAYLAND_DISPLAY", "QT_QPA_PLATFORM"))
    if sys.platform.startswith("linux") and not named:
        raise UsageError(
            "There is no screen (DISPLAY and WAYLAND_DISPLAY are not set): run it in a desktop "
            "session, or sign in to the machine with a screen."
        )

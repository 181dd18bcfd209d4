"""Light and dark colours, on platforms that do not know of them too."""

from __future__ import annotations

from PySide6.QtCore import Qt
from PySide6.QtGui import QColor, QGuiApplication, QPalette
from PySide6.QtWidgets import QApplication

__all__ = ["is_dark", "set_dark"]


def is_dark() -> bool:
    """Say whether the window is drawn in dark colours now."""
    return QGuiApplication.palette().color(QPalette.ColorRole.Window).lightness() < 128


def set_dark(wanted: bool) -> None:
    """Take dark or light colours, whatever the system has chosen."""
    scheme = Qt.ColorScheme.Dark if wanted else Qt.ColorScheme.Light
    QGuiApplication.styleHints().setColorScheme(scheme)
    if is_dark() != wanted:  # the platform has one scheme only
        QApplication.setPalette(_dark_palette() if wanted else QPalette())


def _dark_palette() -> QPalette:
    role, group = QPalette.ColorRole, QPalette.ColorGroup
    palette = QPalette()
    for which, colour in (
        (role.Window, "#2b2d30"),
        (role.WindowText, "#dfe1e5"),
        (role.Base, "#1e1f22"),
        (role.AlternateBase, "#26282b"),
        (role.Text, "#dfe1e5"),
        (role.PlaceholderText, "#868a91"),
        (role.Button, "#393b40"),
        (role.ButtonText, "#dfe1e5"),
        (role.BrightText, "#ffffff"),
        (role.Highlight, "#2f65ca"),
        (role.HighlightedText, "#ffffff"),
        (role.ToolTipBase, "#393b40"),
        (role.ToolTipText, "#dfe1e5"),
        (role.Link, "#6b9bfa"),
        (role.Light, "#4e5157"),
        (role.Midlight, "#43454a"),
        (role.Mid, "#6f737a"),
        (role.Dark, "#1e1f22"),
        (role.Shadow, "#000000"),
    ):
        palette.setColor(which, QColor(colour))
    for which in (role.Text, role.WindowText, role.ButtonText):
        palette.setColor(group.Disabled, which, QColor("#6f737a"))
    return palette

"""What menus, toolbar and keys can do: one list, from which the help is made too."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from PySide6.QtGui import QAction, QKeySequence
from PySide6.QtWidgets import QMainWindow

__all__ = ["ActionSpec", "add_actions", "help_html", "separator"]

Key = QKeySequence.StandardKey | str


@dataclass(frozen=True)
class ActionSpec:
    """Something that can be done.

    Parameters
    ----------
    name
        By which it is found.
    menu
        Menu in which it is; "" for none.
    text
        Words, with a letter for the keyboard.
    do
        What it calls; of one that is checked, with whether it is on.
    key
        Keys: a standard one of the platform, or a text.
    tip
        One sentence.
    is_checked
        Whether it is on or off at the start, None for one that is only done.
    """

    name: str
    menu: str
    text: str
    do: Callable[..., object]
    key: Key = ""
    tip: str = ""
    is_checked: bool | None = None


def separator(menu: str) -> ActionSpec:
    """Return a line between the actions of a menu."""
    return ActionSpec("", menu, "", lambda: None)


def add_actions(window: QMainWindow, specs: list[ActionSpec]) -> dict[str, QAction]:
    """Put actions into the menus of a window; an empty name makes a separator.

    Returns
    -------
    dict
        The actions by name.
    """
    made: dict[str, QAction] = {}
    menus = {}
    for spec in specs:
        if spec.menu not in menus:
            menus[spec.menu] = window.menuBar().addMenu(spec.menu)
        menu = menus[spec.menu]
        if not spec.name:
            menu.addSeparator()
            continue
        action = QAction(spec.text, window)
        action.setShortcut(QKeySequence(spec.key))
        words = spec.tip or spec.text.replace("&", "").rstrip("…")
        keys = action.shortcut().toString(QKeySequence.SequenceFormat.NativeText)
        action.setToolTip(f"{words} ({keys})" if keys else words)
        action.setStatusTip(words)
        if spec.name in _ROLES:
            action.setMenuRole(_ROLES[spec.name])
        if spec.is_checked is None:
            action.triggered.connect(lambda _=False, do=spec.do: do())
        else:
            action.setCheckable(True)
            action.setChecked(spec.is_checked)
            action.toggled.connect(spec.do)
        menu.addAction(action)
        made[spec.name] = action
    return made


# Where macOS wants them.
_ROLES = {"quit": QAction.MenuRole.QuitRole, "about": QAction.MenuRole.AboutRole}
_MOUSE: Mapping[str, str] = {
    "Wheel": "zoom at the mouse",
    "Drag": "move; with a tool, lay the ruler, the region or the profile",
    "Double click": "show the image whole",
    "Arrow keys": "move, when an image has the focus",
}


def help_html(specs: list[ActionSpec], actions: Mapping[str, QAction]) -> str:
    """Return a table of all keys."""
    rows = []
    menu = ""
    for spec in specs:
        if not spec.name or actions[spec.name].shortcut().isEmpty():
            continue
        if spec.menu != menu:
            menu = spec.menu
            rows.append(f"<tr><td colspan=2><b>{menu.replace('&', '')}</b></td></tr>")
        keys = actions[spec.name].shortcut().toString(QKeySequence.SequenceFormat.NativeText)
        words = spec.text.replace("&", "").rstrip("…")
        rows.append(f"<tr><td>{keys}&nbsp;&nbsp;&nbsp;</td><td>{words}</td></tr>")
    rows.append("<tr><td colspan=2><b>Mouse</b></td></tr>")
    rows += [
        f"<tr><td>{k}&nbsp;&nbsp;&nbsp;</td><td>{words}</td></tr>" for k, words in _MOUSE.items()
    ]
    return f"<table>{''.join(rows)}</table>"

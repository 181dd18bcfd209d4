"""What the plots have in common: colours, and names in their title, where they hide no curve."""

from __future__ import annotations

import html
from collections.abc import Sequence
from typing import Any

__all__ = ["COLOURS", "colour_plot", "coloured_names"]

# Of Okabe and Ito, told apart by the colour blind.
COLOURS = ("#0072b2", "#e69f00", "#009e73", "#cc79a7", "#56b4e9", "#d55e00")
"""Colours of curves, in their order."""
_LONGEST = 26


def coloured_names(names: Sequence[str]) -> str:
    """Return names as HTML, each with the colour of its curve."""
    told = []
    for number, name in enumerate(names):
        short = name if len(name) <= _LONGEST else f"{name[: _LONGEST - 1]}…"
        colour = COLOURS[number % len(COLOURS)]
        told.append(f'<span style="color: {colour}">■ {html.escape(short)}</span>')
    return "&nbsp;&nbsp; ".join(told)


def colour_plot(plot: Any, behind: str, ink: str) -> None:
    """Give a plot of pyqtgraph the colours of the window."""
    plot.setBackground(behind)
    for side in ("left", "bottom"):
        axis = plot.getAxis(side)
        axis.setPen(ink)
        axis.setTextPen(ink)
    plot.getPlotItem().titleLabel.setAttr("color", ink)

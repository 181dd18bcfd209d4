"""Lengths: the round one of a scale bar, and how a length is written."""

from __future__ import annotations

import math

from PySide6.QtCore import QPointF, QRectF, Qt
from PySide6.QtGui import QColor, QPainter

__all__ = ["draw_scale_bar", "length_words", "round_length"]

_PAD_PX = 14.0
_THICK_PX = 5.0


def round_length(most: float) -> float:
    """Return the largest of 1, 2, 5 times a power of ten that is not above `most`.

    Examples
    --------
    >>> round_length(730.0), round_length(0.049)
    (500.0, 0.02)
    """
    decade = 10.0 ** math.floor(math.log10(most))
    return max(n * decade for n in (1.0, 2.0, 5.0) if n * decade <= most * (1 + 1e-9))


def length_words(nm: float) -> str:
    """Write a length with the unit that suits it.

    Examples
    --------
    >>> length_words(2500.0), length_words(38.25), length_words(0.213)
    ('2.5 µm', '38.25 nm', '0.213 nm')
    """
    if nm >= 1e6:
        return f"{nm / 1e6:.4g} mm"
    return f"{nm / 1e3:.4g} µm" if nm >= 1e3 else f"{nm:.4g} nm"


def draw_scale_bar(painter: QPainter, window: QRectF, nm_per_screen_px: float) -> None:
    """Draw a bar of a round length, about a quarter of the width, at the lower right."""
    length = round_length(window.width() / 4 * nm_per_screen_px)
    wide = length / nm_per_screen_px
    words = length_words(length)
    text_height = painter.fontMetrics().height()
    right, bottom = window.right() - _PAD_PX, window.bottom() - _PAD_PX
    bar = QRectF(right - wide, bottom - _THICK_PX, wide, _THICK_PX)
    text_width = painter.fontMetrics().horizontalAdvance(words)
    behind = QRectF(bar)
    if text_width > wide:
        behind.setLeft(bar.center().x() - text_width / 2)
        behind.setRight(bar.center().x() + text_width / 2)
        shift = max(behind.right() - right, 0.0)
        behind.translate(-shift, 0)
        bar.translate(-shift, 0)
    behind.setTop(bar.top() - text_height - 2)
    # On any specimen: white on a dark veil.
    painter.fillRect(behind.adjusted(-7, -4, 7, 6), QColor(0, 0, 0, 130))
    painter.fillRect(bar, Qt.GlobalColor.white)
    painter.setPen(Qt.GlobalColor.white)
    painter.drawText(QPointF(bar.center().x() - text_width / 2, bar.top() - 4), words)

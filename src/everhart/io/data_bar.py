"""The data bar of an SEM image, found in the picture.

Microscopes print a bar with the imaging conditions below the specimen or over its last rows.
It is drawn, not imaged, and that is what tells it: one exact background level across the full
width, text in strong contrast on it with blank rows around, and a sharp upper border.
An image is better left with its bar than robbed of specimen, so all signs must be there.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

__all__ = ["find_data_bar"]

# The smallest frames with a bar that microscopes save have 480 rows; half may be a preview.
_SMALLEST_IMAGE = (240, 320)
# Height of a bar, as a part of the image.
_LOWEST, _HIGHEST = 0.015, 0.25
_LOWEST_ROWS = 9  # one line of the smallest text
# Bars drawn over the image can leave a few rows of specimen below them.
_ROWS_BELOW = 0.006
# Part of the grey range that JPEG moves a drawn level by.
_TOLERANCE = 0.03
# Part of the grey range within which most pixels of a drawn level are.
_EXACT = 0.012
# Contrast of text, as a part of the grey range.
_CONTRAST = 0.35
# Part of a row that is background: at least this in a bar, at most that in specimen.
_IN_BAR, _IN_FIELD = 0.45, 0.35
_BLANK, _EMPTY = 0.93, 0.985
# Part of a row of letters that is either background or text.
_TWO_LEVELS = 0.8
_COLUMNS = 1024  # more columns than this tell nothing more and cost time


def find_data_bar(pixels: ArrayLike) -> int:
    """Find the data bar at the bottom of an image.

    Parameters
    ----------
    pixels
        Array of shape ``(H, W)``, or ``(N, H, W)`` of which the first frame is looked at.

    Returns
    -------
    int
        Number of rows from the upper border of the bar to the bottom of the image; 0 if
        there is none.

    Examples
    --------
    >>> noise = np.random.default_rng(1).normal(100, 20, (256, 256))
    >>> find_data_bar(noise)
    0
    """
    image = np.asarray(pixels)
    if image.ndim == 3:
        image = image[0]
    height, width = image.shape
    if height < _SMALLEST_IMAGE[0] or width < _SMALLEST_IMAGE[1] or image.dtype.kind == "b":
        return 0
    # Most images are told by a glance at a thousand pixels of the last rows.
    rows = max(12, round(0.04 * height))
    glance = image[-rows :: max(1, rows // 16), :: max(1, width // 64)]
    if not _has_a_level(glance):
        return 0
    block = image[-round((_HIGHEST + 0.05) * height) :, :: max(1, width // _COLUMNS)]
    scaled = _scaled(block)
    if scaled is None:
        return 0
    for level in _levels(scaled[-rows:]):
        found = _bar_of_level(scaled, level, height)
        if found:
            return found
    return 0


def _scaled(block: NDArray[Any]) -> NDArray[np.float32] | None:
    """Scale to 0..1; None if there is no contrast."""
    values = np.nan_to_num(block.astype(np.float32), posinf=0.0, neginf=0.0)
    low, high = float(values.min()), float(values.max())
    if not high > low or not np.isfinite(high - low):
        return None
    return (values - np.float32(low)) / np.float32(high - low)


def _has_a_level(glance: NDArray[Any]) -> bool:
    """Say whether a fair part of the pixels has nearly the same value."""
    scaled = _scaled(glance)
    return scaled is not None and bool(_levels(scaled))


def _levels(scaled: NDArray[np.float32]) -> list[float]:
    """Return the levels that a bar's background can have, the most frequent first."""
    counts = np.bincount((scaled * 63).astype(np.int64).ravel(), minlength=64)
    # A level between two bins counts in both.
    pairs = counts + np.append(counts[1:], 0)
    found = []
    for bin_ in np.argsort(pairs)[::-1][:2]:
        if pairs[bin_] < 0.25 * scaled.size:
            break
        inside = scaled[(scaled >= bin_ / 63) & (scaled < (bin_ + 2) / 63)]
        if inside.size:
            found.append(float(np.median(inside)))
    return found


def _bar_of_level(scaled: NDArray[np.float32], level: float, height: int) -> int:
    """Return the rows of a bar with this background level, or 0."""
    distance = np.abs(scaled - np.float32(level))
    lines = _is_line(scaled)
    # First as JPEG leaves it; then exactly, for a black bar below a nearly black specimen.
    for tolerance in (_TOLERANCE, _EXACT / 3):
        background = distance <= tolerance
        top = _top(background, distance > _CONTRAST, lines, height)
        if top is not None and _is_drawn(background[top:], distance[top:]):
            return len(scaled) - top
    return 0


def _top(
    background: NDArray[np.bool_], text: NDArray[np.bool_], lines: NDArray[np.bool_], height: int
) -> int | None:
    """Return the row where the drawn rows at the bottom begin, or None."""
    part = background.mean(axis=1)
    # In a row of large letters there is little background, but hardly a third level.
    lettered = (part >= _IN_BAR / 3) & (part + text.mean(axis=1) >= _TWO_LEVELS)
    drawn = (part >= _IN_BAR) | lettered | lines
    # Lines between the fields of a bar may not reach its ends: two rows are bridged.
    drawn[1:-1] |= drawn[:-2] & drawn[2:]
    drawn[1:-2] |= drawn[:-3] & drawn[3:]

    bottom = _bottom(drawn, height)
    specimen = np.flatnonzero(~drawn[:bottom])
    top = int(specimen[-1]) + 1 if specimen.size else 0
    lowest, highest = max(_LOWEST_ROWS, _LOWEST * height), _HIGHEST * height
    if (
        top > 0
        and lowest <= bottom - top <= highest
        and part[max(0, top - 4) : top].mean() <= _IN_FIELD
    ):
        return top
    # The specimen above is of the same level (black, or saturated): a line drawn across the
    # image can show where the bar begins.
    across = np.flatnonzero(text.mean(axis=1) >= 0.98)
    across = across[(across <= bottom - lowest) & (across >= bottom - highest)]
    if across.size:
        return int(across[0])
    # Or its first rows are empty, and noise leaves no row of the specimen so.
    empty = np.flatnonzero(part >= _EMPTY)
    if empty.size and lowest <= bottom - empty[0] <= highest and part[: empty[0]].max() <= 0.9:
        return int(empty[0])
    return None


def _bottom(drawn: NDArray[np.bool_], height: int) -> int:
    """Return the end of the drawn rows, below which a few of specimen may be left."""
    bottom = len(drawn)
    most_below = max(2, round(_ROWS_BELOW * height))
    while bottom > len(drawn) - most_below and not drawn[bottom - 1]:
        bottom -= 1
    return bottom


def _is_line(scaled: NDArray[np.float32]) -> NDArray[np.bool_]:
    """Say which rows are one level from end to end."""
    # A level that all pixels have, a few of them have as well.
    few = scaled[:, scaled.shape[1] // 32 :: max(1, scaled.shape[1] // 16)]
    middle = np.median(few, axis=1, keepdims=True)
    return np.asarray((np.abs(scaled - middle) <= _EXACT).mean(axis=1) >= 0.98)


def _is_drawn(background: NDArray[np.bool_], distance: NDArray[np.float32]) -> bool:
    """Say whether a band is flat with text on it, and not specimen."""
    rows, width = background.shape
    # Drawn levels are exact; JPEG adds a ripple near the text.
    if background.mean() < 0.5 or np.mean(distance[background] <= _EXACT) < 0.8:
        return False
    edge = max(1, width // 25)
    if min(background[:, :edge].mean(), background[:, -edge:].mean()) < 0.5:
        return False
    blank = background.mean(axis=1) >= _BLANK
    if not blank[:4].any() or blank.sum() < max(2, 0.06 * rows):
        return False
    text = distance > _CONTRAST
    columns = np.flatnonzero(text.any(axis=0))
    if not 0.004 <= text.mean() <= 0.45 or not columns.size:
        return False
    if columns[-1] - columns[0] < 0.3 * width:
        return False
    # Letters: many short strokes in a row, sharp on both sides.
    strokes = np.count_nonzero(text[:, 1:] & ~text[:, :-1], axis=1)
    lettered = strokes >= 6
    if lettered.sum() < max(4, 0.08 * rows):
        return False
    return bool(text[lettered].sum() / strokes[lettered].sum() <= 0.6 * rows)

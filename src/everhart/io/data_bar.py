"""The data bar of an SEM image, found in the picture.

Microscopes print a bar with the imaging conditions below the specimen or over its last rows.
It is drawn, not imaged, and that is what tells it: one exact background level across the full
width, text in strong contrast on it with blank rows around, and a sharp upper border.
An image is better left with its bar than robbed of specimen, so all signs must be there.
"""

from __future__ import annotations

from collections.abc import Callable
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
_COLUMNS = 512  # more columns than this tell nothing more and cost time
# Most bars are less high than this part of the image: it is looked at first.
_STRIP = 0.14


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
    values = np.ascontiguousarray(block)
    scale = _scale(values)
    if scale is None:
        return 0
    # Most bars end, and their specimen begins, within a strip: the rest is looked at if not.
    for part in (values[-round(_STRIP * height) :], values):
        scaled = scale(part)
        for level in _levels(scaled[-rows:]):
            found = _bar_of_level(scaled, level, height, whole=part is values)
            if found:
                return found
    return 0


def _scale(values: NDArray[Any]) -> Callable[[NDArray[Any]], NDArray[np.uint8]] | None:
    """Return what scales these pixels, or a part of them, to 0..255; None without contrast."""
    if values.dtype.kind == "f":
        finite = np.isfinite(values)
        low = float(np.min(values, initial=np.inf, where=finite))
        high = float(np.max(values, initial=-np.inf, where=finite))
        low, high = min(low, 0.0) if not finite.all() else low, high
    else:
        low, high = float(values.min()), float(values.max())
    span = high - low
    if not span > 0 or not np.isfinite(span):
        return None
    if values.dtype == np.uint8 and span == 255:
        return lambda part: part
    if values.dtype == np.uint8:
        table = np.clip((np.arange(256) - low) * (255 / span), 0, 255).astype(np.uint8)
        return lambda part: table[part]

    def scaled(part: NDArray[Any]) -> NDArray[np.uint8]:
        plain = part.astype(np.float32)
        if values.dtype.kind == "f":
            plain = np.nan_to_num(plain, copy=False, posinf=0.0, neginf=0.0)
        return ((plain - np.float32(low)) * np.float32(255 / span)).astype(np.uint8)

    return scaled


def _has_a_level(glance: NDArray[Any]) -> bool:
    """Say whether a fair part of the pixels has nearly the same value."""
    scale = _scale(glance)
    return scale is not None and bool(_levels(scale(glance)))


def _levels(scaled: NDArray[np.uint8]) -> list[int]:
    """Return the levels that a bar's background can have, the most frequent first."""
    counts = np.bincount(scaled.ravel(), minlength=256)
    coarse = counts.reshape(64, 4).sum(axis=1)
    # A level between two bins counts in both.
    pairs = coarse + np.append(coarse[1:], 0)
    found = []
    for bin_ in np.argsort(pairs)[::-1][:2].tolist():
        if pairs[bin_] < 0.25 * scaled.size:
            break
        inside = counts[4 * bin_ : 4 * (bin_ + 2)]
        middle = np.searchsorted(np.cumsum(inside), inside.sum() / 2)
        found.append(4 * bin_ + int(middle))
    return found


def _bar_of_level(scaled: NDArray[np.uint8], level: int, height: int, *, whole: bool) -> int:
    """Return the rows of a bar with this background level, or 0.

    `whole` says whether the rows are all that a bar can have, and not the lower ones alone.
    """
    distance = np.maximum(scaled, np.uint8(level)) - np.minimum(scaled, np.uint8(level))
    lines = _is_line(scaled)
    text = distance > _CONTRAST * 255
    # First as JPEG leaves it; then exactly, for a black bar below a nearly black specimen.
    for tolerance in (_TOLERANCE, _EXACT / 3):
        background = distance <= tolerance * 255
        top = _top(background, text, lines, height, whole=whole)
        if top is not None and _is_drawn(background[top:], distance[top:]):
            return len(scaled) - top
    return 0


def _part(mask: NDArray[np.bool_]) -> NDArray[np.float64]:
    """Return the part of each row that is true."""
    return np.asarray(np.count_nonzero(mask, axis=1) / mask.shape[1])


def _top(
    background: NDArray[np.bool_],
    text: NDArray[np.bool_],
    lines: NDArray[np.bool_],
    height: int,
    *,
    whole: bool,
) -> int | None:
    """Return the row where the drawn rows at the bottom begin, or None."""
    part = _part(background)
    # In a row of large letters there is little background, but hardly a third level.
    lettered = (part >= _IN_BAR / 3) & (part + _part(text) >= _TWO_LEVELS)
    drawn = (part >= _IN_BAR) | lettered | lines
    # Lines between the fields of a bar may not reach its ends: two rows are bridged.
    drawn[1:-1] |= drawn[:-2] & drawn[2:]
    drawn[1:-2] |= drawn[:-3] & drawn[3:]

    bottom = _bottom(drawn, height)
    specimen = np.flatnonzero(~drawn[:bottom])
    top = int(specimen[-1]) + 1 if specimen.size else 0
    lowest, highest = max(_LOWEST_ROWS, _LOWEST * height), _HIGHEST * height
    if (
        top > (0 if whole else 4)
        and lowest <= bottom - top <= highest
        and part[max(0, top - 4) : top].mean() <= _IN_FIELD
    ):
        return top
    if not whole:
        return None
    # The specimen above is of the same level (black, or saturated): a line drawn across the
    # image can show where the bar begins.
    across = np.flatnonzero(_part(text) >= 0.98)
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


def _is_line(scaled: NDArray[np.uint8]) -> NDArray[np.bool_]:
    """Say which rows are one level from end to end."""
    # A level that all pixels have, a few of them have as well.
    few = scaled[:, scaled.shape[1] // 32 :: max(1, scaled.shape[1] // 16)]
    middle = np.median(few, axis=1, keepdims=True)
    level = middle.astype(np.uint8)
    distance = np.maximum(scaled, level) - np.minimum(scaled, level)
    return np.asarray(_part(distance <= _EXACT * 255) >= 0.98)


def _is_drawn(background: NDArray[np.bool_], distance: NDArray[np.uint8]) -> bool:
    """Say whether a band is flat with text on it, and not specimen."""
    rows, width = background.shape
    # Drawn levels are exact; JPEG adds a ripple near the text.
    if background.mean() < 0.5 or np.mean(distance[background] <= _EXACT * 255) < 0.8:
        return False
    edge = max(1, width // 25)
    if min(background[:, :edge].mean(), background[:, -edge:].mean()) < 0.5:
        return False
    blank = _part(background) >= _BLANK
    if not blank[:4].any() or blank.sum() < max(2, 0.06 * rows):
        return False
    text = distance > _CONTRAST * 255
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

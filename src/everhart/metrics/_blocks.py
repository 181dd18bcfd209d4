"""Means over blocks of an image: what neighbouring pixels share does not look like evidence."""

from __future__ import annotations

import math

import numpy as np

from everhart.metrics._pair import Float

_BLOCK = 32


def block_means(values: Float) -> Float:
    """Return the means over square blocks of an image, ``(rows, columns)`` of them.

    Blocks of 32 pixels, or smaller ones where there would be fewer than 4 a side.
    """
    height, width = values.shape[-2:]
    block = max(1, min(_BLOCK, height // 4, width // 4))
    return binned(values, block)


def binned(values: Float, block: int) -> Float:
    """Return the means over square blocks of pixels; what fills no block is left out."""
    rows, columns = (n // block for n in values.shape[-2:])
    cut = values[..., : rows * block, : columns * block]
    tiled = cut.reshape(*values.shape[:-2], rows, block, columns, block)
    return np.asarray(tiled.mean(axis=(-3, -1)), np.float64)


def standard_error(blocks: Float) -> float:
    """Return the standard error of the mean of blocks; NaN of a single one."""
    return float(blocks.std(ddof=1) / math.sqrt(blocks.size)) if blocks.size > 1 else math.nan

"""Labels drawn over their image."""

from __future__ import annotations

from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from everhart.errors import UsageError
from everhart.micrograph import Micrograph, field_of

__all__ = ["COLOURS", "draw_labels"]

COLOURS: Final = (
    (0, 114, 178),
    (230, 159, 0),
    (0, 158, 115),
    (204, 121, 167),
    (240, 228, 66),
    (86, 180, 233),
    (213, 94, 0),
    (153, 153, 153),
)
"""Okabe and Ito's colours, told apart by the colour blind too; they come again after the last."""

_SHARE: Final = 0.35


def draw_labels(
    image: Micrograph | NDArray[Any], labels: Micrograph | NDArray[Any], *, objects: bool = False
) -> NDArray[np.uint8]:
    """Tint an image by its labels, with their borders drawn.

    Parameters
    ----------
    image
        Image ``(H, W)``; a data bar is left out.
    labels
        Its labels, of the same shape.
    objects
        Whether 0 is background, which is left as it is.

    Returns
    -------
    ndarray
        RGB ``(H, W, 3)``, uint8; grey levels from the 0.5th to the 99.5th percentile.

    Raises
    ------
    UsageError
        If the shapes differ.
    """
    pixels, numbers = np.asarray(field_of(image)), np.asarray(field_of(labels))
    if pixels.shape != numbers.shape or pixels.ndim != 2:
        raise UsageError(
            f"An image of shape {pixels.shape} and labels of {numbers.shape} were given: give one "
            "image with its labels."
        )
    values = pixels.astype(np.float32)
    low, high = np.percentile(values[np.isfinite(values)], (0.5, 99.5))
    unit = (np.nan_to_num(values) - low) / max(float(high - low), 1e-12)
    grey = np.round(255 * np.clip(unit, 0, 1))
    out = np.repeat(grey[..., None], 3, axis=-1)
    palette = np.asarray(COLOURS, np.float32)
    colours = palette[(numbers.astype(np.int64) - objects) % len(palette)]
    tinted = (numbers > 0) if objects else np.ones(numbers.shape, np.bool_)
    out[tinted] = (1 - _SHARE) * out[tinted] + _SHARE * colours[tinted]
    edge = np.zeros(numbers.shape, np.bool_)
    edge[:-1] |= numbers[:-1] != numbers[1:]
    edge[:, :-1] |= numbers[:, :-1] != numbers[:, 1:]
    out[edge] = (255, 255, 255)
    return out.round().astype(np.uint8)

"""The checks that every registration of two images shares."""

from __future__ import annotations

import numpy as np

from everhart.errors import UsageError
from everhart.micrograph import Array, Micrograph, field_of


def checked_pair(moving: Micrograph | Array, reference: Micrograph | Array) -> tuple[Array, Array]:
    """Return two finite single frames of one shape as float64."""
    a = np.asarray(field_of(moving), np.float64)
    b = np.asarray(field_of(reference), np.float64)
    if a.shape != b.shape or a.ndim != 2:
        raise UsageError(
            f"Images of shape {a.shape} and {b.shape} were given: registration takes two single "
            "frames of the same (height, width); crop or split them first."
        )
    if not (np.isfinite(a).all() and np.isfinite(b).all()):
        raise UsageError(
            "An image with NaN or infinite pixels was given: registration needs finite pixels; "
            "fill them first."
        )
    return a, b

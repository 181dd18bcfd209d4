"""What all measures of label images share."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from everhart.errors import UsageError

__all__ = ["Counts", "Labels", "contingency", "label_pair"]

Counts = NDArray[np.int64]
Labels = NDArray[Any]


def label_pair(a: ArrayLike, b: ArrayLike) -> tuple[Labels, Labels]:
    """Return two label images as arrays, checked to be of one shape and of whole numbers."""
    first, second = np.asarray(a), np.asarray(b)
    if first.shape != second.shape:
        raise UsageError(
            f"Labels of shape {first.shape} and {second.shape} were given: they must be of one "
            "shape."
        )
    if first.size == 0:
        raise UsageError("Labels without a pixel were given: give at least one.")
    for labels in (first, second):
        if labels.dtype.kind not in "biu":
            raise UsageError(
                f"Labels of dtype {labels.dtype} were given: labels are whole numbers; convert "
                "them first."
            )
    return first, second


def contingency(a: Labels, b: Labels) -> tuple[Counts, Labels, Labels]:
    """Return the pixels by the labels of two images, and the labels."""
    names, first = np.unique(a, return_inverse=True)
    others, second = np.unique(b, return_inverse=True)
    flat = first.ravel() * len(others) + second.ravel()
    table = np.bincount(flat, minlength=len(names) * len(others))
    return table.reshape(len(names), len(others)), names, others

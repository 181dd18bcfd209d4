"""The data bar of an SEM image, found in the picture."""

from __future__ import annotations

from numpy.typing import ArrayLike

__all__ = ["find_data_bar"]


def find_data_bar(pixels: ArrayLike) -> int:
    """Find the rows of the data bar."""
    return 0

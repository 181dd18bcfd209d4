"""Warnings about files that were read all the same."""

from __future__ import annotations

import warnings
from pathlib import Path

__all__ = ["FileWarning", "warn"]


class FileWarning(UserWarning):
    """Something in a file could not be used or had to be guessed; the image was read."""


def warn(path: Path, message: str) -> None:
    """Warn about a file, on behalf of whoever called the reader."""
    warnings.warn(f"{path}: {message}", FileWarning, stacklevel=3)

"""The names that ``--method`` and ``--model`` know, in a module that loads nothing."""

from __future__ import annotations

from typing import Final

CLASSICAL: Final = ("median", "gaussian", "bilateral", "nlm", "tv", "wavelet", "bm3d")
"""Denoisers that need no training."""

SHIPPED: Final = ("sem-general",)
"""Learned models that come with the package."""

"""Images of formulae, so that figures of other programs on them can be written down."""

from __future__ import annotations

import numpy as np
import pytest


def formula_pair(height: int, width: int) -> tuple[np.ndarray, np.ndarray]:
    """Return a noisy and a clean image in [0, 1], black for 4 px around and fading in over 12."""
    y, x = np.mgrid[:height, :width].astype(np.float64)
    clean = 0.5 + 0.1 * np.sin(x / 5 + y / 11)
    clean += 0.2 * (np.hypot(y - 0.4 * height, x - 0.4 * width) < 0.2 * height)
    clean -= 0.2 * (np.abs(x - 0.75 * width) < 5)
    hashed = 43758.5453 * np.sin(12.9898 * x + 78.233 * y)
    noisy = clean + 0.3 * (hashed - np.floor(hashed) - 0.5)
    border = np.minimum.reduce([y, x, height - 1 - y, width - 1 - x])
    fade = np.clip((border - 4) / 12, 0, 1)
    return noisy * fade, clean * fade


@pytest.fixture(scope="session")
def small_pair() -> tuple[np.ndarray, np.ndarray]:
    """Noisy and clean image of 96 x 128."""
    return formula_pair(96, 128)


@pytest.fixture(scope="session")
def large_pair() -> tuple[np.ndarray, np.ndarray]:
    """Noisy and clean image of 512 x 600."""
    return formula_pair(512, 600)

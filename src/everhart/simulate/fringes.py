"""Faint periodic detail, such as the lattice fringes of a crystal, laid over a scene."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

__all__ = ["add_fringes"]


def add_fringes(
    image: NDArray[np.float32], rng: np.random.Generator, *, crystals: int = 3
) -> NDArray[np.float32]:
    """Lay lattice fringes over parts of a scene.

    Each crystal is a half-plane or a disc in which one to three plane waves of periods from
    2.2 to 9 pixels are added, of an amplitude of 0.5 to 12 % of white: at a usual dose they are
    fainter than the noise of a pixel, and seen only because they repeat.

    Parameters
    ----------
    image
        Brightness of shape ``(H, W)`` in 0 to 1.
    rng
        Source of randomness.
    crystals
        Largest number of crystals.

    Returns
    -------
    ndarray of float32
        The scene with fringes, clipped to 0 to 1.

    Examples
    --------
    >>> out = add_fringes(np.full((64, 64), 0.5, np.float32), np.random.default_rng(0))
    >>> bool(0.001 < out.std() < 0.2)
    True
    """
    height, width = image.shape
    y, x = np.mgrid[:height, :width].astype(np.float32)
    out = image.copy()
    for _ in range(int(rng.integers(1, crystals + 1))):
        centre_y, centre_x = rng.uniform(0, height), rng.uniform(0, width)
        if rng.random() < 0.5:
            angle = rng.uniform(0, 2 * np.pi)
            depth = (y - centre_y) * np.sin(angle) + (x - centre_x) * np.cos(angle)
        else:
            depth = rng.uniform(0.15, 0.6) * max(height, width) - np.hypot(
                y - centre_y, x - centre_x
            )
        inside = np.clip(depth / rng.uniform(1, 8) + 0.5, 0, 1)
        amplitude = np.exp(rng.uniform(np.log(0.005), np.log(0.12)))
        direction = rng.uniform(0, np.pi)
        for _ in range(int(rng.integers(1, 4))):
            period = np.exp(rng.uniform(np.log(2.2), np.log(9)))
            phase = (y * np.sin(direction) + x * np.cos(direction)) * (2 * np.pi / period)
            wave = np.sin(phase + rng.uniform(0, 2 * np.pi))
            out += (amplitude * rng.uniform(0.4, 1)) * inside * wave
            direction += rng.uniform(np.pi / 4, np.pi / 2)
    return np.clip(out, 0, 1).astype(np.float32)

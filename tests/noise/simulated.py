"""Structured scenes and detector noise of known truth, independent of everhart.simulate."""

from __future__ import annotations

import numpy as np
from scipy.ndimage import convolve1d, gaussian_filter

CAUSAL = np.array([0.584, 0.343, 0.061, 0.013])


def blobs(seed: int = 1, shape: tuple[int, int] = (384, 448)) -> np.ndarray:
    rng = np.random.default_rng(seed)
    out = np.full(shape, 40.0)
    y, x = np.mgrid[: shape[0], : shape[1]]
    for _ in range(60):
        cy, cx, radius = rng.uniform(0, shape[0]), rng.uniform(0, shape[1]), rng.uniform(5, 40)
        out[(y - cy) ** 2 + (x - cx) ** 2 < radius**2] = rng.uniform(60, 210)
    return gaussian_filter(out, 1.0)


def lines(axis: int = 1, pitch: int = 16, shape: tuple[int, int] = (384, 448)) -> np.ndarray:
    x = np.arange(shape[axis])
    profile = gaussian_filter(np.where(x // (pitch // 2) % 2, 60.0, 180.0), 1.2)
    return np.broadcast_to(profile if axis else profile[:, None], shape).copy()


def expose(
    scene: np.ndarray,
    rng: np.random.Generator,
    *,
    gain: float = 0.0,
    readout: float = 0.0,
    kernel: np.ndarray | None = None,
) -> np.ndarray:
    """Poisson arrivals of `gain` grey levels each and readout noise, filtered along x."""
    arrivals = rng.poisson(np.maximum(scene, 0) / gain) * gain - scene if gain else 0.0
    noise = arrivals + rng.normal(scale=np.sqrt(readout), size=scene.shape)
    if kernel is not None:
        kernel = kernel / kernel.sum()
        noise = convolve1d(noise, kernel, axis=1, origin=-(len(kernel) // 2), mode="wrap")
    return scene + noise


def passed(kernel: np.ndarray) -> float:
    """Fraction of white noise variance that a filter of unit sum leaves."""
    return float(np.sum((kernel / kernel.sum()) ** 2))

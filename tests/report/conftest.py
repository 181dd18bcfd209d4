"""Comparisons made once for all tests of the report."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from everhart.align import shift_image
from everhart.micrograph import Micrograph
from everhart.report import Comparison, compare

METHODS = ("median", "gaussian", "tv")


@pytest.fixture(scope="session")
def specimen() -> np.ndarray:
    """Discs on a dark ground, smooth enough to be moved by a fraction of a pixel."""
    from scipy.ndimage import gaussian_filter

    rng = np.random.default_rng(7)
    y, x = np.mgrid[:220, :300]
    clean = np.full(y.shape, 50.0)
    for cy, cx, r in rng.uniform((10, 10, 6), (210, 290, 26), (40, 3)):
        clean[(y - cy) ** 2 + (x - cx) ** 2 < r**2] = rng.uniform(110, 200)
    return gaussian_filter(clean, 1.2)


@pytest.fixture(scope="session")
def frames(specimen: np.ndarray) -> Micrograph:
    """Three noisy frames of it."""
    rng = np.random.default_rng(8)
    noisy = rng.normal(specimen, 16, (3, *specimen.shape))
    pixels = np.clip(np.rint(noisy), 0, 255).astype(np.uint8)
    return Micrograph(pixels, pixel_size_nm=5.0)


@pytest.fixture(scope="session")
def noisy(frames: Micrograph) -> Micrograph:
    return replace(frames, pixels=frames.pixels[0])


@pytest.fixture(scope="session")
def with_reference(noisy: Micrograph, specimen: np.ndarray) -> Comparison:
    """With a reference that has drifted by (1.3, -2.4) px and has another contrast."""
    drifted = 1.1 * shift_image(specimen.astype(np.float32), (1.3, -2.4)) + 5
    return compare(noisy, METHODS, reference=drifted, alignment="shift")

"""The gradient magnitude similarity deviation."""

from __future__ import annotations

import itertools
import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.ndimage import gaussian_filter

from everhart import UsageError
from everhart.metrics import gmsd

Pair = tuple[np.ndarray, np.ndarray]


def slow_gmsd(a: np.ndarray, b: np.ndarray) -> float:
    """Xue (2014), eq. 1 to 6, pixel by pixel, of 8-bit images."""

    def halved(image: np.ndarray) -> np.ndarray:
        rows, columns = (n // 2 for n in image.shape)
        out = np.empty((rows, columns))
        for y in range(rows):
            for x in range(columns):
                out[y, x] = image[2 * y : 2 * y + 2, 2 * x : 2 * x + 2].mean()
        return np.pad(out, 1, mode="edge")

    def gradient(image: np.ndarray, y: int, x: int) -> float:
        part = image[y : y + 3, x : x + 3]
        across = (part[:, 2] - part[:, 0]).sum() / 3
        down = (part[2] - part[0]).sum() / 3
        return math.hypot(across, down)

    p, q = halved(a), halved(b)
    similarity = []
    for y in range(p.shape[0] - 2):
        for x in range(p.shape[1] - 2):
            g, h = gradient(p, y, x), gradient(q, y, x)
            similarity.append((2 * g * h + 170) / (g * g + h * h + 170))
    mean = sum(similarity) / len(similarity)
    return math.sqrt(sum((s - mean) ** 2 for s in similarity) / len(similarity))


@pytest.mark.parametrize("shape", [(24, 30), (25, 31)])
def test_equals_the_formulae(rng: np.random.Generator, shape) -> None:
    a = 255 * gaussian_filter(rng.random(shape), 1)
    b = a + 20 * rng.normal(size=shape)
    assert gmsd(a, b, data_range=255) == pytest.approx(slow_gmsd(a, b), abs=1e-12)


# Of piq 0.8.0 (Apache-2.0): piq.gmsd(noisy, clean, data_range=1.0) in float64 on the images of
# conftest.py, in an environment of its own; their black border makes its borders ours.
def test_agrees_with_piq(small_pair: Pair, large_pair: Pair) -> None:
    assert gmsd(*small_pair, data_range=1) == pytest.approx(0.0961243457, abs=1e-9)
    assert gmsd(*large_pair, data_range=1) == pytest.approx(0.1292913631, abs=1e-9)


def test_of_two_halves() -> None:
    # Ramps: in the left half 0 against s (similarity c / (s^2 + c)), in the right half alike.
    x = np.arange(4096.0)
    ramp = np.broadcast_to(np.minimum(x, 2048.0), (8, 4096))
    flat = np.where(x < 2048, 2048.0, ramp)
    # After 2 x 2 binning the ramp falls by 2 a pixel; Prewitt spans two pixels: 4.
    low = 170 / (16 + 170)
    assert gmsd(ramp, flat, data_range=255) == pytest.approx((1 - low) / 2, abs=1e-3)


@given(st.integers(0, 2**32 - 1), st.floats(0, 1), st.floats(-1e3, 1e3), st.floats(0.1, 1e3))
@settings(max_examples=25)
def test_is_symmetric_and_knows_no_offset(
    seed: int, mix: float, offset: float, full: float
) -> None:
    rng = np.random.default_rng(seed)
    a = rng.random((16, 17))
    b = (1 - mix) * a + mix * rng.random((16, 17))
    value = gmsd(a, b, data_range=1)
    assert 0 <= value <= 0.5
    assert value == pytest.approx(gmsd(b, a, data_range=1), abs=1e-12)
    assert value == pytest.approx(gmsd(a, b + offset, data_range=1), abs=1e-8)
    assert value == pytest.approx(gmsd(full * a, full * b, data_range=full), abs=1e-9)
    assert gmsd(a, a, data_range=1) == 0


def test_rises_with_noise_and_with_blur(small_pair: Pair, rng: np.random.Generator) -> None:
    _, clean = small_pair
    noise = rng.normal(size=clean.shape)
    noisy = [gmsd(clean + s * noise, clean, data_range=1) for s in (0.01, 0.02, 0.05, 0.1)]
    blurred = [gmsd(gaussian_filter(clean, s), clean, data_range=1) for s in (0.5, 1, 2, 4)]
    for values in (noisy, blurred):
        assert all(after > before + 0.002 for before, after in itertools.pairwise(values))


def test_of_stacks_and_wrong_calls(rng: np.random.Generator) -> None:
    a, b, c = rng.random((3, 12, 12))
    both = gmsd(np.stack([a, b]), np.stack([c, c]), data_range=1)
    assert both == pytest.approx((gmsd(a, c, data_range=1) + gmsd(b, c, data_range=1)) / 2)
    with pytest.raises(UsageError, match="4 x 4"):
        gmsd(a[:3], b[:3], data_range=1)
    with pytest.raises(UsageError, match="data range"):
        gmsd(a, b, data_range=-1)

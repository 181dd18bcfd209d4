"""Pratt's figure of merit and the edge preservation index."""

from __future__ import annotations

import itertools
import math

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from scipy.ndimage import gaussian_filter
from scipy.signal import convolve2d

from everhart import UsageError
from everhart.metrics import edge_figure_of_merit, edge_preservation_index, figure_of_merit

Pair = tuple[np.ndarray, np.ndarray]


def slow_figure_of_merit(found: np.ndarray, true: np.ndarray) -> float:
    """Abdou and Pratt (1979) with all distances."""
    here, there = np.argwhere(found), np.argwhere(true)
    total = 0.0
    for point in here:
        nearest = min(((point - other) ** 2).sum() for other in there)
        total += 1 / (1 + nearest / 9)
    return total / max(len(here), len(there))


@given(st.integers(0, 2**32 - 1), st.floats(0.02, 0.5), st.floats(0.02, 0.5))
@settings(max_examples=25)
def test_merit_of_maps_equals_the_formula(seed: int, share: float, other: float) -> None:
    rng = np.random.default_rng(seed)
    found, true = rng.random((12, 15)) < share, rng.random((12, 15)) < other
    assume(found.any() and true.any())
    value = figure_of_merit(found, true)
    assert value == pytest.approx(slow_figure_of_merit(found, true), abs=1e-12)
    assert 0 < value <= 1
    assert figure_of_merit(true, true) == 1


def test_merit_of_maps_written_down() -> None:
    true = np.zeros((10, 20), bool)
    true[:, 5] = True
    for shift, expected in ((1, 0.9), (3, 0.5), (9, 0.1)):
        assert figure_of_merit(np.roll(true, shift, axis=1), true) == pytest.approx(expected)
    half = true.copy()
    half[5:] = False
    assert figure_of_merit(half, true) == 0.5  # the other half is missing
    twice = true | np.roll(true, 3, axis=1)
    assert figure_of_merit(twice, true) == 0.75  # an edge of its own, 3 px off
    none = np.zeros_like(true)
    assert figure_of_merit(none, true) == figure_of_merit(true, none) == 0
    assert figure_of_merit(none, none) == 1


def test_an_edge_that_moved() -> None:
    image = np.zeros((40, 60))
    image[:, 30:] = 5.0
    for shift, expected in ((0, 1.0), (1, 0.9), (-3, 0.5), (9, 0.1)):
        moved = np.zeros_like(image)
        moved[:, 30 + shift :] = 5.0
        assert edge_figure_of_merit(moved, image) == pytest.approx(expected, abs=1e-6)


def test_a_faded_edge_is_missed_and_a_new_one_counted() -> None:
    image = np.zeros((60, 90))
    image[:, 30:] = 5.0
    image[:, 60:] = 10.0
    faded = image.copy()
    faded[:30, 60:] = 5.5  # a tenth of the step is left in the upper half
    found = edge_figure_of_merit(faded, image)
    # Less a quarter, but for a few edge pixels along the new corner.
    assert 0.6 < found < 0.8
    more = image.copy()
    more[:, 80:] = 15.0
    # All edges are there, and a third 20 px off: (2 + 1 / (1 + 400/9)) / 3.
    assert edge_figure_of_merit(more, image) == pytest.approx((2 + 9 / 409) / 3, abs=1e-3)


def test_edges_agree_with_canny_of_scikit_image(small_pair: Pair) -> None:
    from skimage.feature import canny
    from skimage.filters import threshold_otsu

    noisy, clean = (gaussian_filter(image, 0.7) for image in small_pair)
    calm = gaussian_filter(clean, 1.5)
    # Its gradients are Sobel's, 8 times the slope. The threshold by another way: the ridges are
    # its own edges at almost no threshold.
    slope = np.hypot(*np.gradient(calm))
    ridges = slope[canny(clean, 1.5, 1e-9, 1e-9)]
    high = threshold_otsu(np.append(ridges, 0))
    maps = [canny(x, 1.5, 4 * high, 8 * high, mode="nearest") for x in (noisy, clean)]
    expected = figure_of_merit(*maps)
    assert 0.5 < expected < 0.98
    # It smooths along the edge too and interpolates between pixels: a few edges of noise less.
    assert edge_figure_of_merit(noisy, clean) == pytest.approx(expected, abs=0.08)


@given(st.floats(0.05, 50), st.floats(-1e4, 1e4), st.booleans())
@settings(max_examples=20)
def test_merit_of_images_knows_no_contrast(gain: float, offset: float, inverted: bool) -> None:
    rng = np.random.default_rng(5)
    image = gaussian_filter(rng.random((40, 44)), 2)
    noisy = image + 0.01 * rng.normal(size=image.shape)
    other = (-gain if inverted else gain) * noisy + offset
    expected = edge_figure_of_merit(noisy, image)
    assert 0.3 < expected < 1
    assert edge_figure_of_merit(other, image) == pytest.approx(expected, abs=0.01)
    assert edge_figure_of_merit(image, image) == 1


def test_merit_falls_with_noise_and_with_blur(small_pair: Pair, rng: np.random.Generator) -> None:
    _, clean = small_pair
    noise = rng.normal(size=clean.shape)
    noisy = [edge_figure_of_merit(clean + s * noise, clean) for s in (0.01, 0.05, 0.15, 0.5)]
    blurred = [edge_figure_of_merit(gaussian_filter(clean, s), clean) for s in (1, 3, 8)]
    for values in (noisy, blurred):
        assert all(before > after + 0.02 for before, after in itertools.pairwise(values))


def test_merit_where_there_is_nothing(rng: np.random.Generator) -> None:
    plane, image = np.full((16, 16), 0.1), rng.random((16, 16))
    assert math.isnan(edge_figure_of_merit(image, plane))
    assert edge_figure_of_merit(plane, image) == 0


@given(st.integers(0, 2**32 - 1), st.floats(0, 1), st.floats(0.01, 100), st.floats(-1e3, 1e3))
@settings(max_examples=25)
def test_preservation_is_a_correlation_of_laplacians(
    seed: int, mix: float, gain: float, offset: float
) -> None:
    rng = np.random.default_rng(seed)
    a = rng.random((11, 14))
    b = (1 - mix) * a + mix * rng.random((11, 14))
    kernel = [[0, 1, 0], [1, -4, 1], [0, 1, 0]]
    filtered = [convolve2d(x, kernel, mode="valid").ravel() for x in (a, b)]
    value = edge_preservation_index(a, b)
    assert value == pytest.approx(np.corrcoef(*filtered)[0, 1], abs=1e-9)
    assert value == pytest.approx(edge_preservation_index(b, a), abs=1e-12)
    assert value == pytest.approx(edge_preservation_index(gain * a + offset, b), abs=1e-6)
    assert edge_preservation_index(a, -a) == pytest.approx(-1)
    assert edge_preservation_index(a, a) == pytest.approx(1)


def test_preservation_with_white_noise(rng: np.random.Generator) -> None:
    # The Laplacian of white noise of sigma 1 has the variance 20 (its squared taps).
    clean = gaussian_filter(rng.normal(size=(256, 256)), 1.0)
    power = np.var(convolve2d(clean, [[0, 1, 0], [1, -4, 1], [0, 1, 0]], mode="valid"))
    values = []
    for sigma in (0.01, 0.05, 0.2):
        noisy = clean + sigma * rng.normal(size=clean.shape)
        values.append(edge_preservation_index(noisy, clean))
        assert values[-1] == pytest.approx(math.sqrt(power / (power + 20 * sigma**2)), abs=0.01)
    assert values == sorted(values, reverse=True)


def test_preservation_where_there_is_no_edge(rng: np.random.Generator) -> None:
    y, x = np.mgrid[:20, :20]
    ramp = 0.1 * y + 0.7 * x + 1000.3
    assert math.isnan(edge_preservation_index(rng.random((20, 20)), ramp))


def test_wrong_calls() -> None:
    image = np.zeros((16, 16))
    with pytest.raises(UsageError, match="8 x 8"):
        edge_figure_of_merit(image[:7], image[:7])
    with pytest.raises(UsageError, match="sigma_px"):
        edge_figure_of_merit(image, image, sigma_px=0)
    with pytest.raises(UsageError, match="finite"):
        edge_figure_of_merit(image, np.full((16, 16), np.inf))
    with pytest.raises(UsageError, match="3 x 3"):
        edge_preservation_index(image[:2], image[:2])
    with pytest.raises(UsageError, match="two maps"):
        figure_of_merit(image, image[:8])

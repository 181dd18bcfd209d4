"""Filters by their response, and fitted to images."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from everhart.synthesize.even_filters import (
    BANDS,
    CELLS,
    REACH_PX,
    _folded,
    _multiplicity,
    cell_power,
    filtered,
    fitted_filters,
    mean_over_frequencies,
    within_reach,
)

Float = NDArray[np.float64]


def apply(images: Float, response: Float) -> Float:
    found: Float = filtered(within_reach(torch.from_numpy(images)), response).numpy()
    return found


def smooth(seed: int) -> Float:
    """Return a response that goes up and down once or twice, zero at the lowest frequencies."""
    rng = np.random.default_rng(seed)
    row, column = np.mgrid[:CELLS, :CELLS] / REACH_PX
    response = rng.uniform(0.2, 0.6) * np.cos(rng.uniform(0, 4) * row + rng.uniform(0, 4) * column)
    response[:2, :2] = 0
    return np.asarray(response)


@settings(max_examples=8, deadline=None)
@given(height=st.integers(19, 40), width=st.integers(19, 40), seed=st.integers(0, 99))
def test_filters_of_two_kinds_of_images_are_found(height: int, width: int, seed: int) -> None:
    rng = np.random.default_rng(seed)
    first, second, rest = rng.normal(size=(3, 150, 1, height, width))
    # Some of what is in the first is in the second, too.
    second = 0.8 * second + 0.6 * first
    responses = smooth(seed), smooth(seed + 1)
    wanted = apply(first, responses[0]) + apply(second, responses[1]) + 0.2 * rest
    found = fitted_filters(wanted, first, second, 2)
    for one, other in zip(found, responses, strict=True):
        assert np.sqrt(np.mean((one - other) ** 2)) < 0.05
        assert not one[:2, :2].any()


def test_what_is_left_has_little_in_common_with_images_of_a_steep_spectrum() -> None:
    rng = np.random.default_rng(0)
    steep = np.exp(-0.7 * np.hypot(*np.mgrid[:CELLS, :CELLS]))
    first = apply(rng.normal(size=(100, 1, 48, 48)), steep)
    second, rest = rng.normal(size=(2, *first.shape))
    wanted = apply(first, smooth(3)) + 0.3 * apply(second, BANDS[1]) + 0.1 * rest
    found = fitted_filters(wanted, first, second, 0)
    left = wanted - apply(first, found[0]) - apply(second, found[1])
    inside = (..., slice(8, -8), slice(8, -8))
    for other in (first, second):
        for lag in ((0, 0), (0, 1), (1, 0), (2, 1)):
            moved = np.roll(other, lag, (-2, -1))[inside]
            common = np.mean(left[inside] * moved) / np.std(moved)
            assert abs(common) < 0.02 * wanted.std()


def test_filters_are_the_same_however_the_images_are_cut_and_wherever_their_grey_levels_lie() -> (
    None
):
    rng = np.random.default_rng(0)
    first, second, rest = rng.normal(size=(3, 1, 1, 512, 384))
    responses = smooth(5), smooth(6)
    wanted = apply(first, responses[0]) + apply(second, responses[1]) + rest

    def cut(images: Float, edge: int) -> Float:
        rows = images.reshape(512 // edge, edge, 384 // edge, edge)
        return np.asarray(rows.swapaxes(1, 2).reshape(-1, 1, edge, edge))

    for edge in (32, 64, 128):
        found = fitted_filters(cut(wanted, edge), cut(first, edge), cut(second, edge), 2)
        for one, other in zip(found, responses, strict=True):
            assert np.sqrt(np.mean((one - other) ** 2)) < 0.05
    whole = fitted_filters(wanted, first, second, 2)
    assert np.array_equal(whole, found)  # large images are cut by themselves
    brighter = fitted_filters(wanted + 0.5, first + 1, second - 2, 2)
    assert np.asarray(brighter) == pytest.approx(np.asarray(whole), abs=1e-9)


@pytest.mark.parametrize("shape", [(3, 3), (8, 8), (12, 12), (12, 40), (15, 17)])
def test_images_smaller_than_the_filters_say_little_and_harm_nothing(
    shape: tuple[int, int],
) -> None:
    first, second, rest = np.random.default_rng(0).normal(size=(3, 200, 1, *shape))
    found = np.asarray(fitted_filters(0.4 * first - 0.2 * second + rest, first, second, 0))
    assert np.abs(found).max() < 1
    made = [apply(x, f) for x, f in zip((first, second), found, strict=True)]
    kept = np.mean((made[0] + made[1]) * (0.4 * first - 0.2 * second)) / 0.2
    assert 0 < kept < 1.1


def test_what_is_known_of_strong_frequencies_is_not_bent_by_weaker_ones() -> None:
    """Stripes along a diagonal, whose spectrum is not the same for both signs of a frequency."""
    rng = np.random.default_rng(0)
    white = rng.normal(size=(60, 1, 40, 40))
    first = np.sum([np.roll(white, (n, n), (-2, -1)) for n in range(4)], axis=0)
    second, rest = rng.normal(size=(2, *first.shape))
    response = smooth(7)
    wanted = apply(first, response) + 0.2 * rest
    found = fitted_filters(wanted, first, second, 2)
    off = apply(first, found[0] - response)
    assert off.std() < 0.08 * apply(first, response).std()
    assert np.abs(found[1]).max() < 0.05


@pytest.mark.parametrize("shape", [(8, 8), (7, 8), (9, 5), (1, 4)])
def test_folded_frequencies_stand_for_all(shape: tuple[int, int]) -> None:
    spectrum = np.random.default_rng(0).random(shape)
    assert np.sum(_folded(spectrum) * _multiplicity(shape)) == pytest.approx(spectrum.sum())


def test_two_images_of_nothing_have_no_filter() -> None:
    nothing = np.zeros((3, 1, 20, 20))
    for response in fitted_filters(nothing, nothing, nothing, 2):
        assert not response.any()


@given(st.integers(0, 99))
@settings(max_examples=10, deadline=None)
def test_white_noise_that_is_filtered_has_the_power_of_the_response(seed: int) -> None:
    response = 1 + smooth(seed)
    wide = torch.randn((60, 1, 80, 80), generator=torch.Generator().manual_seed(seed))
    made = filtered(wide.double(), response).numpy()
    assert made.shape == (60, 1, 64, 64)
    assert cell_power(made, made)[3:6, 3:6] == pytest.approx(response[3:6, 3:6] ** 2, rel=0.12)
    assert float(np.mean(made**2)) == pytest.approx(mean_over_frequencies(response**2), rel=0.05)


def test_bands_are_the_image_together() -> None:
    image = np.random.default_rng(0).normal(size=(1, 1, 30, 23))
    assert sum(apply(image, band) for band in BANDS) == pytest.approx(image, abs=1e-5)

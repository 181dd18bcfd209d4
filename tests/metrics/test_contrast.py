"""Contrast to noise, and the regions that it is taken of."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.ndimage import binary_erosion, gaussian_filter

from everhart import EverhartError, UsageError
from everhart.metrics import cnr, contrast_regions


def halves(height: int = 64, width: int = 128) -> np.ndarray:
    return np.broadcast_to(np.arange(width) >= width // 2, (height, width))


def test_of_values_written_down() -> None:
    image = np.array([[1.0, 3.0, 10.0, 14.0]])
    left = np.array([[True, True, False, False]])
    # Means 2 and 12, variances 1 and 4.
    assert cnr(image, left, ~left) == pytest.approx(10 / math.sqrt(2.5))
    assert cnr(image, ~left, left) == cnr(image, left, ~left)


@given(st.floats(0, 8), st.floats(0.1, 10), st.floats(-1e4, 1e4), st.booleans())
@settings(max_examples=25)
def test_is_contrast_over_sigma_at_any_gain(
    contrast: float, gain: float, offset: float, inverted: bool
) -> None:
    mask = halves()
    image = contrast * mask + np.random.default_rng(1).normal(size=mask.shape)
    found = cnr(image, mask, ~mask)
    # Standard errors: of the mean 1/64 each, of the noise 1/128 of the value.
    assert found == pytest.approx(contrast, abs=4 * (0.022 + contrast / 128))
    other = (-gain if inverted else gain) * image + offset
    assert cnr(other, mask, ~mask) == pytest.approx(found, rel=1e-6, abs=1e-6)


def test_without_noise() -> None:
    mask = halves()
    assert cnr(0.1 * mask + 0.1, mask, ~mask) == math.inf
    mask = np.arange(128) < 40
    assert math.isnan(
        cnr(np.full((64, 128), 0.1), mask * np.ones((64, 1)), ~mask * np.ones((64, 1)))
    )


def test_falls_with_noise_and_rises_with_blur(rng: np.random.Generator) -> None:
    mask = halves()
    noise = rng.normal(size=mask.shape)
    images = [mask + s * noise for s in (0.1, 0.3, 1.0)]
    values = [cnr(image, reference=mask.astype(float)) for image in images]
    assert values[0] > 2 * values[1] > 4 * values[2]
    assert cnr(gaussian_filter(images[2], 1), reference=mask.astype(float)) > 2 * values[2]


@pytest.mark.parametrize(("smoothing", "margin"), [(2.0, 4), (0.0, 0), (1.0, 2)])
def test_regions_equal_otsu_by_search_and_erosion(
    rng: np.random.Generator, smoothing: float, margin: int
) -> None:
    y, x = np.mgrid[:96, :120]
    image = 100.0 + 50 * (np.hypot(y - 40, x - 50) < 25) + rng.normal(scale=8, size=y.shape)
    calm = gaussian_filter(image, smoothing, mode="nearest") if smoothing else image
    # Otsu (1979), eq. 14: the level that maximises the variance between the classes, by trial.
    levels = np.linspace(calm.min(), calm.max(), 257)[1:-1]
    shares = [(calm > level).mean() for level in levels]
    between = [
        w * (1 - w) * (calm[calm > t].mean() - calm[calm <= t].mean()) ** 2
        for w, t in zip(shares, levels, strict=True)
    ]
    above = calm > levels[int(np.argmax(between))]
    square = np.ones((2 * margin + 1,) * 2, bool)
    expected = [binary_erosion(m, square, border_value=1) for m in (~above, above)]
    found = contrast_regions(image, smoothing_px=smoothing, margin_px=margin)
    for mask, other in zip(found, expected, strict=True):
        assert np.mean(mask != other) < 0.002  # the histogram's bins are as wide as the trial's


def test_regions_keep_off_edges() -> None:
    image = gaussian_filter(halves().astype(float), 1)
    dark, bright = contrast_regions(image)
    columns = [np.flatnonzero(mask.all(axis=0)) for mask in (dark, bright)]
    assert (columns[0].max(), columns[1].min()) == (59, 68)  # 4 px to each side of 63 | 64
    assert not (dark & bright).any()


@pytest.mark.parametrize("kind", ["constant", "noise", "fine lines"])
def test_no_two_regions(rng: np.random.Generator, kind: str) -> None:
    image = {
        "constant": np.full((64, 64), 3.0),
        "noise": rng.normal(size=(64, 64)),
        "fine lines": np.broadcast_to(np.arange(64) // 3 % 2, (64, 64)),
    }[kind]
    with pytest.raises(EverhartError, match="no two regions"):
        contrast_regions(image)


def test_wrong_calls() -> None:
    image, mask = np.zeros((16, 16)), np.ones((16, 16), bool)
    with pytest.raises(UsageError, match="masks of both"):
        cnr(image, mask)
    with pytest.raises(UsageError, match=r"shape \(8, 16\)"):
        cnr(image, mask, mask[:8])
    with pytest.raises(UsageError, match="empty"):
        cnr(image, mask, ~mask)
    with pytest.raises(UsageError, match="finite"):
        contrast_regions(np.full((16, 16), np.nan))
    with pytest.raises(UsageError, match="margin of -1"):
        contrast_regions(image, margin_px=-1)

"""Metrics of grey level."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from everhart import Micrograph, UsageError
from everhart.metrics import affine_match, affine_psnr, mse, nrmse, psnr

images = hnp.arrays(
    np.float64, (6, 7), elements=st.floats(-1e3, 1e3, allow_nan=False, allow_subnormal=False)
)


@given(images, images)
def test_psnr_is_symmetric(a: np.ndarray, b: np.ndarray) -> None:
    assert psnr(a, b, data_range=255) == psnr(b, a, data_range=255)


@given(images, images)
def test_affine_psnr_is_at_least_psnr(a: np.ndarray, b: np.ndarray) -> None:
    assert affine_psnr(a, b, data_range=255) >= psnr(a, b, data_range=255) - 1e-6


@given(st.floats(0.01, 100), st.floats(-1000, 1000), st.integers(0, 2**32 - 1))
def test_affine_psnr_does_not_see_gain_and_offset(gain: float, offset: float, seed: int) -> None:
    rng = np.random.default_rng(seed)
    a, b = rng.normal(size=(2, 12, 12))
    before = affine_psnr(a, b, data_range=1)
    assert affine_psnr(gain * a + offset, b, data_range=1) == pytest.approx(before, abs=1e-4)


@given(st.floats(0.1, 10), st.integers(0, 2**32 - 1))
def test_psnr_does_not_see_the_unit(scale: float, seed: int) -> None:
    a, b = np.random.default_rng(seed).normal(size=(2, 9, 9))
    assert psnr(scale * a, scale * b, data_range=scale) == pytest.approx(psnr(a, b, data_range=1))


def test_psnr_agrees_with_scikit_image(rng: np.random.Generator) -> None:
    from skimage.metrics import peak_signal_noise_ratio

    a, b = rng.integers(0, 256, (2, 40, 50)).astype(np.uint8)
    assert psnr(a, b, data_range=255) == pytest.approx(peak_signal_noise_ratio(b, a))


def test_8_bit_differences_do_not_wrap() -> None:
    dark, bright = np.zeros((4, 4), np.uint8), np.full((4, 4), 200, np.uint8)
    assert mse(dark, bright) == 200.0**2


def test_affine_match_finds_the_map(rng: np.random.Generator) -> None:
    reference = rng.random((30, 30)) * 200
    gain, offset = affine_match(reference * 0.4 + 7, reference)
    assert gain == pytest.approx(2.5)
    assert offset == pytest.approx(-17.5)


def test_affine_match_at_a_large_offset(rng: np.random.Generator) -> None:
    reference = rng.random((30, 30))
    gain, _ = affine_match(reference + 1e6, reference)
    assert gain == pytest.approx(1.0, abs=1e-6)


@pytest.mark.parametrize("level", [0.0, 0.1, 60000.1])
def test_affine_match_of_a_constant_image(level: float, rng: np.random.Generator) -> None:
    reference = rng.random((8, 8))
    gain, offset = affine_match(np.full((8, 8), level), reference)
    assert gain == 1.0
    assert level + offset == pytest.approx(reference.mean())


def test_equal_images(rng: np.random.Generator) -> None:
    a = rng.random((8, 8))
    assert psnr(a, a, data_range=1) == math.inf
    assert nrmse(a, a) == 0.0


def test_nrmse_of_a_constant_reference_is_not_a_number() -> None:
    assert math.isnan(nrmse(np.ones((4, 4)), np.zeros((4, 4))))


def test_a_micrograph_is_compared_without_its_data_bar(rng: np.random.Generator) -> None:
    clean = rng.random((12, 8))
    barred = clean.copy()
    barred[10:] = 5.0
    assert psnr(Micrograph(barred, data_bar_rows=2), clean[:10], data_range=1) == math.inf


def test_shapes_must_agree() -> None:
    with pytest.raises(UsageError, match=r"\(4, 4\) and \(4, 5\)"):
        psnr(np.zeros((4, 4)), np.zeros((4, 5)), data_range=1)


@pytest.mark.parametrize("data_range", [0, -1, math.nan, math.inf])
def test_data_range_must_be_one(data_range: float) -> None:
    with pytest.raises(UsageError, match="data range"):
        psnr(np.zeros((4, 4)), np.ones((4, 4)), data_range=data_range)

"""Metrics for where there is no clean image."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.ndimage import gaussian_filter, median_filter

from everhart import UsageError
from everhart.metrics import mse, residual_whiteness, second_frame_mse, structure_leakage

CAUSAL = np.array([0.584, 0.343, 0.061, 0.013])


def scene(rng: np.random.Generator, side: int = 192) -> np.ndarray:
    return gaussian_filter(np.kron(rng.random((side // 24, side // 24)), np.ones((24, 24))), 1.0)


def scan_noise(rng: np.random.Generator, shape: tuple[int, ...]) -> np.ndarray:
    from scipy.ndimage import convolve1d

    return convolve1d(rng.normal(size=shape), CAUSAL / np.linalg.norm(CAUSAL), axis=-1, mode="wrap")


@pytest.mark.parametrize("known", [False, True])
def test_second_frame_error_is_unbiased(known: bool) -> None:
    errors = []
    for seed in range(40):
        rng = np.random.default_rng(seed)
        clean = scene(rng, 96)
        first, second = clean + 0.2 * scan_noise(rng, (2, *clean.shape))
        denoised = gaussian_filter(first, 1.2)
        noise = {"noise_variance": 0.04} if known else {"first_frame": first}
        estimate = second_frame_mse(denoised, second, **noise)
        errors.append((estimate.mse - mse(denoised, clean)) / estimate.standard_error)
    pulls = np.array(errors)
    assert abs(pulls.mean()) < 3.5 / math.sqrt(len(pulls))
    assert 0.6 < pulls.std() < 1.5  # the stated standard error is the real scatter


def test_second_frame_psnr(rng: np.random.Generator) -> None:
    clean = scene(rng)
    first, second = clean + rng.normal(scale=0.2, size=(2, *clean.shape))
    estimate = second_frame_mse(first, second, first)  # nothing was done: the error is the noise
    assert estimate.noise_variance == pytest.approx(0.04, rel=0.05)
    assert estimate.psnr(data_range=1) == pytest.approx(-10 * math.log10(0.04), abs=0.3)


def test_second_frame_psnr_of_a_perfect_image_may_be_unknown() -> None:
    from everhart.metrics import SecondFrameError

    assert math.isnan(SecondFrameError(-1e-5, 1e-4, 0.1).psnr(data_range=1))


@pytest.mark.parametrize("first", [None, np.zeros((8, 8))])
def test_second_frame_error_needs_one_account_of_the_noise(first: np.ndarray | None) -> None:
    image = np.zeros((8, 8))
    variance = None if first is None else 1.0
    with pytest.raises(UsageError, match="variance of the noise"):
        second_frame_mse(image, image, first, noise_variance=variance)


def test_whiteness_of_what_it_should_be(rng: np.random.Generator) -> None:
    clean = scene(rng)
    assert residual_whiteness(clean, clean + rng.normal(size=clean.shape)) > 0.99


def test_whiteness_knows_the_noise_of_the_scan(rng: np.random.Generator) -> None:
    noise = scan_noise(rng, (192, 192))
    own = np.correlate(CAUSAL, CAUSAL, "full") / np.sum(CAUSAL**2)
    correlation = own[None, :]
    assert residual_whiteness(np.zeros_like(noise), noise) < 0.75
    assert residual_whiteness(np.zeros_like(noise), noise, noise_correlation=correlation) > 0.98


def test_whiteness_falls_where_structure_is_removed(rng: np.random.Generator) -> None:
    clean = scene(rng)
    noisy = clean + rng.normal(scale=0.1, size=clean.shape)
    values = [residual_whiteness(gaussian_filter(noisy, s), noisy) for s in (2, 4, 8)]
    assert values == sorted(values, reverse=True)


@given(st.floats(0.01, 100), st.floats(-100, 100))
@settings(max_examples=20)
def test_they_do_not_see_gain_and_offset(gain: float, offset: float) -> None:
    rng = np.random.default_rng(3)
    noisy = scene(rng, 96) + rng.normal(scale=0.1, size=(96, 96))
    denoised = gaussian_filter(noisy, 2)
    for metric in (residual_whiteness, structure_leakage):
        plain = metric(denoised, noisy)
        assert metric(gain * denoised + offset, gain * noisy + offset) == pytest.approx(
            plain, abs=1e-4
        )


def test_leakage_orders_blurs(rng: np.random.Generator) -> None:
    clean = scene(rng)
    noisy = clean + rng.normal(scale=0.05, size=clean.shape)
    values = [structure_leakage(gaussian_filter(noisy, s), noisy) for s in (1, 2, 4)]
    assert 0.3 < values[0] < min(values[1:])
    assert abs(structure_leakage(clean, noisy)) < 0.05


def test_noise_that_grows_with_the_signal_is_no_leakage(rng: np.random.Generator) -> None:
    # Bright fine structure on a dark flat: strong noise and strong gradients in one place.
    clean = np.full((192, 192), 10.0)
    clean[:, 96:] = 110 + 60 * gaussian_filter(rng.normal(size=(192, 96)), 2) * 7
    clean = np.maximum(clean, 1)
    noisy = rng.poisson(clean).astype(float)
    assert abs(structure_leakage(clean, noisy)) < 0.08
    assert structure_leakage(median_filter(noisy, 11), noisy) > 0.15


@pytest.mark.parametrize("metric", [residual_whiteness, structure_leakage])
def test_nothing_removed_is_not_a_number(metric) -> None:
    image = np.random.default_rng(0).random((32, 32))
    assert math.isnan(metric(image, image))


@pytest.mark.parametrize("metric", [residual_whiteness, structure_leakage])
def test_stacks_are_refused(metric) -> None:
    with pytest.raises(UsageError, match="one image"):
        metric(np.zeros((2, 32, 32)), np.ones((2, 32, 32)))


@pytest.mark.parametrize("shape", [(3,), (2, 3), (3, 4)])
def test_a_correlation_map_has_a_centre(shape: tuple[int, ...]) -> None:
    noise = np.random.default_rng(0).random((32, 32))
    with pytest.raises(UsageError, match="odd"):
        residual_whiteness(np.zeros((32, 32)), noise, noise_correlation=np.zeros(shape))

"""The noise of a single image, against simulated and real truth."""

from __future__ import annotations

import json
import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.ndimage import gaussian_filter

from everhart import Micrograph, UsageError
from everhart.noise import NoiseEstimate, estimate_noise

SEEDS = range(4)


@pytest.mark.parametrize("name", ["blobs", "lines-x", "lines-y"])
def test_white_noise_of_one_level(simulated, name: str) -> None:
    scene = simulated.blobs() if name == "blobs" else simulated.lines(int(name == "lines-x"))
    for seed in SEEDS:
        for sigma in (2.0, 10.0):
            rng = np.random.default_rng(seed)
            found = estimate_noise(simulated.expose(scene, rng, readout=sigma**2))
            assert found.sigma == pytest.approx(sigma, rel=0.06)
            assert found.white
            assert not found.signal_dependent
            assert found.readout_variance == pytest.approx(sigma**2, rel=0.12)


@pytest.mark.parametrize("name", ["blobs", "lines-x", "lines-y"])
@pytest.mark.parametrize(("gain", "readout"), [(3.0, 60.0), (0.5, 4.0)])
def test_gain_and_readout(simulated, name: str, gain: float, readout: float) -> None:
    scene = simulated.blobs() if name == "blobs" else simulated.lines(int(name == "lines-x"))
    found = [
        estimate_noise(
            simulated.expose(scene, np.random.default_rng(seed), gain=gain, readout=readout)
        )
        for seed in SEEDS
    ]
    for estimate in found:
        assert estimate.gain == pytest.approx(gain, rel=0.15)
        assert estimate.sigma == pytest.approx(math.sqrt(gain * scene.mean() + readout), rel=0.05)
        # The model is the line, whatever part of it is called readout.
        for level in (50, 120, 180):
            assert estimate.variance_at(level) == pytest.approx(gain * level + readout, rel=0.15)
    mean_gain = np.mean([estimate.gain for estimate in found])
    assert mean_gain == pytest.approx(gain, rel=0.1)
    if name == "blobs":
        mean_readout = np.mean([estimate.readout_variance for estimate in found])
        assert mean_readout == pytest.approx(readout, rel=0.4, abs=3)


@pytest.mark.parametrize("name", ["blobs", "lines-x", "lines-y"])
def test_noise_correlated_along_the_scan_line(simulated, name: str) -> None:
    scene = simulated.blobs() if name == "blobs" else simulated.lines(int(name == "lines-x"))
    kernel = simulated.CAUSAL
    own = np.correlate(kernel, kernel, "full")[3:] / np.sum(kernel**2)
    left = simulated.passed(kernel)
    for seed in SEEDS:
        rng = np.random.default_rng(seed)
        found = estimate_noise(simulated.expose(scene, rng, gain=7, readout=100, kernel=kernel))
        assert found.sigma == pytest.approx(math.sqrt(left * (7 * scene.mean() + 100)), rel=0.06)
        assert found.gain == pytest.approx(left * 7, rel=0.15)
        assert found.correlation_along("x")[1:4] == pytest.approx(own[1:4], abs=0.05)
        assert found.correlation_along("y")[1:4] == pytest.approx(0, abs=0.04)
        assert not found.white
        expected = found.sigma * math.sqrt(1 + 2 * own[1:4].sum())
        assert found.low_frequency_sigma == pytest.approx(expected, rel=0.1)


def test_a_scan_along_y_is_found_as_well(simulated) -> None:
    rng = np.random.default_rng(0)
    scene = simulated.blobs()
    noisy = simulated.expose(scene, rng, readout=400, kernel=simulated.CAUSAL)
    upright, turned = estimate_noise(noisy), estimate_noise(noisy.T)
    assert turned.sigma == pytest.approx(upright.sigma, rel=0.02)
    assert turned.correlation == pytest.approx(upright.correlation.T, abs=0.03)


def test_noise_smoothed_in_both_directions(simulated, rng: np.random.Generator) -> None:
    """A camera's or a resized image: the high-pass sees a quarter of it, and that is corrected."""
    noise = gaussian_filter(rng.normal(size=(384, 448)), 0.6)
    noise *= 10 / noise.std()
    found = estimate_noise(simulated.blobs() + noise)
    assert found.sigma == pytest.approx(10, rel=0.15)
    assert found.correlation_along("x")[1] == pytest.approx(0.5, abs=0.08)
    assert found.correlation_along("y")[1] == pytest.approx(0.5, abs=0.08)


def test_skew(simulated) -> None:
    found = []
    for seed in range(6):
        scene = np.tile(np.linspace(40, 80, 512), (512, 1))
        noisy = simulated.expose(scene, np.random.default_rng(seed), gain=10)
        found.append(estimate_noise(noisy).skew)
    assert np.mean(found) == pytest.approx(1 / math.sqrt(6), abs=0.06)  # Poisson, mean 6
    symmetric = estimate_noise(simulated.expose(scene, np.random.default_rng(0), readout=100))
    assert abs(symmetric.skew) < 0.1


def test_clipping_is_seen_and_left_out(simulated) -> None:
    rng = np.random.default_rng(0)
    scene = simulated.blobs() * 1.1
    free = simulated.expose(scene, rng, gain=3, readout=30)
    clipped = np.clip(np.rint(free), 0, 255).astype(np.uint8)
    found = estimate_noise(clipped)
    assert found.saturated_high == pytest.approx(np.mean(clipped == 255))
    assert found.gain == pytest.approx(3, rel=0.2)


def test_a_12_bit_clip_in_a_16_bit_file(simulated) -> None:
    image = simulated.expose(simulated.blobs() * 20, np.random.default_rng(0), readout=4000)
    found = estimate_noise(np.clip(image, 0, 4095).astype(np.uint16))
    assert found.saturated_high > 0.001


def test_an_image_that_is_not_clipped_is_not_called_so(rng: np.random.Generator) -> None:
    found = estimate_noise(rng.normal(128, 20, (200, 200)).astype(np.uint8))
    assert found.saturated_low == found.saturated_high == 0.0


@given(st.floats(0.001, 300), st.floats(-1e4, 6e4))
@settings(max_examples=12, deadline=None)
def test_the_unit_does_not_matter(scale: float, offset: float) -> None:
    rng = np.random.default_rng(5)
    ramp = np.tile(np.linspace(20, 200, 160), (160, 1))
    noisy = rng.poisson(ramp / 2) * 2.0
    one, other = estimate_noise(noisy), estimate_noise(noisy * scale + offset)
    assert other.sigma == pytest.approx(scale * one.sigma, rel=1e-3)
    assert other.gain == pytest.approx(scale * one.gain, rel=1e-3)
    levels = np.array([60.0, 150.0])
    assert other.variance_at(levels * scale + offset) == pytest.approx(
        scale**2 * one.variance_at(levels), rel=1e-2
    )


def test_inverted_contrast_has_a_negative_gain(simulated) -> None:
    noisy = simulated.expose(simulated.blobs(), np.random.default_rng(0), gain=2, readout=10)
    found = estimate_noise(255 - noisy)
    assert found.gain == pytest.approx(-2, rel=0.15)
    assert found.variance_at(255 - 150) == pytest.approx(310, rel=0.15)


@pytest.mark.parametrize("level", [0.0, 60000.0])
@pytest.mark.parametrize("shape", [(16, 16), (200, 300), (8, 500)])
def test_a_constant_image_has_no_noise(level: float, shape: tuple[int, int]) -> None:
    found = estimate_noise(np.full(shape, level))
    assert found.sigma == 0
    assert found.white
    assert not found.signal_dependent


def test_a_clean_scene_has_next_to_none(simulated) -> None:
    assert estimate_noise(simulated.blobs()).sigma < 0.3
    assert estimate_noise(simulated.lines()).sigma < 0.3


@pytest.mark.parametrize("shape", [(8, 8), (16, 16), (17, 64), (1500, 1600)])
def test_sizes(shape: tuple[int, int]) -> None:
    noisy = np.random.default_rng(2).normal(100, 5, shape)
    assert estimate_noise(noisy).sigma == pytest.approx(5, rel=0.35 if min(shape) < 20 else 0.05)


def test_pixels_that_are_not_numbers(rng: np.random.Generator) -> None:
    noisy = rng.normal(100, 5, (200, 200))
    noisy[30:60, 30:60] = np.nan
    noisy[100, 100] = np.inf
    assert estimate_noise(noisy).sigma == pytest.approx(5, rel=0.05)


def test_1_bit_and_bool_images() -> None:
    image = np.random.default_rng(0).random((64, 64)) > 0.5
    assert math.isfinite(estimate_noise(image).sigma)


def test_the_data_bar_is_no_noise(rng: np.random.Generator) -> None:
    noisy = rng.normal(100, 5, (220, 200))
    noisy[200:] = 255 * (rng.random((20, 200)) > 0.5)
    assert estimate_noise(Micrograph(noisy, data_bar_rows=20)).sigma == pytest.approx(5, rel=0.05)


@pytest.mark.parametrize("shape", [(2, 64, 64), (7, 100)])
def test_what_is_refused(shape: tuple[int, ...]) -> None:
    with pytest.raises(UsageError, match="one image"):
        estimate_noise(np.zeros(shape))


def test_no_finite_pixel() -> None:
    with pytest.raises(UsageError, match="finite"):
        estimate_noise(np.full((32, 32), np.nan))


def test_it_is_json(simulated) -> None:
    found = estimate_noise(simulated.expose(simulated.blobs(), np.random.default_rng(0), gain=2))
    back = json.loads(json.dumps(found.to_dict(), allow_nan=False))
    assert back["gain"] == found.gain
    assert len(back["correlation"]) == len(back["correlation"][0]) == 11
    json.dumps(NoiseEstimate.constant(3.0).to_dict(), allow_nan=False)


@pytest.mark.parametrize("name", ["time010", "time031", "line006", "line021", "line044"])
def test_real_pairs(sem_pair, name: str) -> None:
    from everhart.align import register_pair
    from everhart.metrics import affine_match

    image, reference = sem_pair(name)
    noisy, clean = register_pair(image, reference)[:2]
    gain, offset = affine_match(clean, noisy)
    truth = noisy - (gain * clean + offset)
    found = estimate_noise(image)
    assert found.sigma == pytest.approx(truth.std(), rel=0.08)
    assert found.correlation_along("x")[1:4] == pytest.approx([0.48, 0.09, 0.02], abs=0.05)
    assert found.correlation_along("y")[1:4] == pytest.approx(0, abs=0.03)
    assert found.gain == pytest.approx(3.55, rel=0.12)

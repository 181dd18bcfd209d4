"""The error of denoisers from repeated frames, and the ranking by it."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.ndimage import convolve1d, gaussian_filter

from everhart import UsageError
from everhart.metrics import (
    left_out_error,
    left_out_target,
    mse,
    paired_difference,
    rank_methods,
)

DENOISERS = {
    "identity": lambda frame: frame,
    "blur": lambda frame: gaussian_filter(frame, 1.5),
    "biased": lambda frame: 0.8 * frame + 0.3,
}


def scene(side: int = 96) -> np.ndarray:
    rng = np.random.default_rng(5)
    return gaussian_filter(np.kron(rng.random((side // 12, side // 12)), np.ones((12, 12))), 1.0)


def noise(rng: np.random.Generator, n_frames: int, side: int, sigmas: float | np.ndarray):
    """Noise with a memory along the scan line, of a strength of its own in each frame."""
    white = rng.normal(size=(n_frames, side, side))
    taps = np.array([0.8, 0.5, 0.33])
    return np.reshape(sigmas, (-1, 1, 1)) * convolve1d(white, taps / np.linalg.norm(taps), axis=-1)


def estimate(denoiser, frames, turns=(0,)):
    """Return the estimated error, and the restored frames."""
    pictures = [denoiser(frames[number]) for number in turns]
    targets = [
        left_out_target(np.delete(frames, number, axis=0), frames[number]) for number in turns
    ]
    return left_out_error(pictures, targets), pictures


@pytest.mark.parametrize("n_frames", [2, 3, 8])
@pytest.mark.parametrize("name", DENOISERS)
def test_the_estimate_is_unbiased(name: str, n_frames: int) -> None:
    clean = scene()
    # Two frames tell their variance only if it is one; more need not be alike.
    sigmas = 0.2 if n_frames == 2 else np.linspace(0.1, 0.3, n_frames)
    off = []
    for seed in range(40):
        frames = clean + noise(np.random.default_rng(seed), n_frames, clean.shape[0], sigmas)
        found, (picture,) = estimate(DENOISERS[name], frames)
        off.append(found.mse - mse(picture, clean))
    assert abs(np.mean(off)) < 4 * np.std(off, ddof=1) / math.sqrt(len(off))
    assert np.std(off) < 0.1 * found.mse + 0.002  # or the line above would say nothing


def test_the_standard_error_covers_the_scatter() -> None:
    clean = scene()
    pulls = []
    for seed in range(40):
        frames = clean + noise(np.random.default_rng(seed), 4, clean.shape[0], 0.2)
        found, pictures = estimate(DENOISERS["identity"], frames, turns=(0, 1, 2, 3))
        truth = np.mean([mse(picture, clean) for picture in pictures])
        pulls.append((found.mse - truth) / found.standard_error)
    # Blocks differ in their own error too, of which the true error has the same.
    assert 0.2 < np.std(pulls) < 1.3
    assert abs(np.mean(pulls)) < 0.6


def test_two_frames_in_turn_need_no_equal_noise() -> None:
    clean = scene()
    off = []
    for seed in range(40):
        frames = clean + noise(np.random.default_rng(seed), 2, 96, np.array([0.1, 0.3]))
        found, pictures = estimate(DENOISERS["blur"], frames, turns=(0, 1))
        off.append(found.mse - np.mean([mse(picture, clean) for picture in pictures]))
    assert abs(np.mean(off)) < 4 * np.std(off, ddof=1) / math.sqrt(len(off))


@given(st.integers(3, 6), st.integers(0, 10_000))
@settings(max_examples=25, deadline=None)
def test_it_is_the_mean_over_pairs_of_other_frames(n_others: int, seed: int) -> None:
    rng = np.random.default_rng(seed)
    picture, others = rng.normal(size=(16, 16)), rng.normal(3, 1, size=(n_others, 16, 16))
    products = [
        (picture - others[j]) * (picture - others[k])
        for j in range(n_others)
        for k in range(n_others)
        if j != k
    ]
    found = left_out_error([picture], [left_out_target(others)])
    assert found.mse == pytest.approx(float(np.mean(products)), rel=1e-9)


def test_the_difference_is_known_better_than_the_errors() -> None:
    clean = scene(192)
    frames = clean + noise(np.random.default_rng(1), 3, 192, 0.2)
    weak, _ = estimate(lambda frame: gaussian_filter(frame, 0.9), frames)
    strong, _ = estimate(lambda frame: gaussian_filter(frame, 1.0), frames)
    difference, uncertainty = paired_difference(weak, strong)
    assert difference == pytest.approx(weak.mse - strong.mse)
    assert uncertainty < 0.5 * strong.standard_error
    assert paired_difference(weak, weak) == (0.0, 0.0)


def test_ranking_and_ties() -> None:
    clean = scene(192)
    frames = clean + noise(np.random.default_rng(2), 4, 192, 0.2)
    methods = {
        "raw": lambda frame: frame,
        "one": lambda frame: gaussian_filter(frame, 1.5),
        "twin": lambda frame: gaussian_filter(frame, 1.5) + 1e-6,
        "flat": lambda frame: np.full_like(frame, frame.mean()),
    }
    errors = {name: estimate(method, frames)[0] for name, method in methods.items()}
    ranked = {entry.name: entry for entry in rank_methods(errors)}
    true = {name: mse(method(frames[0]), clean) for name, method in methods.items()}
    assert sorted(true, key=lambda name: round(true[name], 5))[2:] == list(ranked)[2:]
    assert ranked["one"].place == ranked["twin"].place == 1
    assert ranked["one"].tied_with == ("twin",)
    assert sorted(entry.place for entry in ranked.values()) == [1, 1, 3, 4]


def test_one_block_ties_everything() -> None:
    frames = np.random.default_rng(0).normal(size=(3, 2, 1))
    errors = {n: estimate(d, frames)[0] for n, d in DENOISERS.items() if n != "blur"}
    assert {entry.place for entry in rank_methods(errors)} <= {1, 2}


def test_psnr_with_its_uncertainty() -> None:
    clean = scene(192)
    frames = clean + noise(np.random.default_rng(3), 3, 192, 0.2)
    found, _ = estimate(DENOISERS["identity"], frames)
    assert found.psnr(data_range=1) == pytest.approx(-10 * math.log10(0.04), abs=0.3)
    up = -10 * math.log10(found.mse - found.standard_error)
    assert up - found.psnr(data_range=1) == pytest.approx(found.psnr_standard_error_db, rel=0.1)


def test_wrong_calls() -> None:
    image = np.zeros((8, 8))
    target = left_out_target([image, image])
    with pytest.raises(UsageError, match="No other frame"):
        left_out_target([])
    with pytest.raises(UsageError, match="does not tell its own noise"):
        left_out_target([image])
    with pytest.raises(UsageError, match=r"\(8, 8\) and \(4, 4\)"):
        left_out_target([image, np.zeros((4, 4))])
    with pytest.raises(UsageError, match="0 restored frames and 1 targets"):
        left_out_error([], [target])
    small = left_out_error([np.zeros((2, 2))], [left_out_target([np.zeros((2, 2))] * 2)])
    with pytest.raises(UsageError, match="blocks were given"):
        paired_difference(left_out_error([image], [target]), small)

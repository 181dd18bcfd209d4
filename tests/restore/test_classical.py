"""The denoisers that need no training."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from scipy.ndimage import convolve1d, gaussian_filter

from everhart import UsageError
from everhart.metrics import mse, psnr, ssim
from everhart.noise import NoiseEstimate, estimate_noise
from everhart.restore import classical
from everhart.restore.classical import METHODS, choose_parameters, denoise_classical
from everhart.restore.names import CLASSICAL
from everhart.restore.risk import estimated_risk, noise_probe

CAUSAL = np.array([0.584, 0.343, 0.061, 0.013])


def scene(shape: tuple[int, int] = (144, 168), seed: int = 0) -> np.ndarray:
    rng = np.random.default_rng(seed)
    out = np.full(shape, 50.0)
    y, x = np.mgrid[: shape[0], : shape[1]]
    for _ in range(14):
        cy, cx, radius = rng.uniform(0, shape[0]), rng.uniform(0, shape[1]), rng.uniform(6, 25)
        out[(y - cy) ** 2 + (x - cx) ** 2 < radius**2] = rng.uniform(80, 200)
    return gaussian_filter(out, 1.0)


def exposed(clean: np.ndarray, seed: int = 0, gain: float = 3.0) -> np.ndarray:
    rng = np.random.default_rng(seed)
    return (rng.poisson(clean / gain) * gain + rng.normal(0, 4, clean.shape)).astype(np.float32)


def scanned(clean: np.ndarray, seed: int = 0, gain: float = 7.0) -> np.ndarray:
    rng = np.random.default_rng(seed)
    noise = rng.poisson(clean / gain) * gain - clean
    kernel = CAUSAL / CAUSAL.sum()
    noise = convolve1d(noise, kernel, axis=1, origin=-2, mode="wrap")
    return (clean + noise).astype(np.float32)


def test_the_names_are_those_of_the_command_line() -> None:
    assert METHODS == CLASSICAL


# -- how good ---------------------------------------------------------------------------------
# What each must gain over the noisy image, in dB; about 1 dB below what it does.
GAINS = {
    "median": 4.0,
    "gaussian": 4.0,
    "bilateral": 5.0,
    "nlm": 7.5,
    "tv": 7.0,
    "wavelet": 7.5,
    "bm3d": 7.5,
}


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("expose", [exposed, scanned])
def test_noise_goes_and_grey_levels_stay(method: str, expose) -> None:
    clean = scene()
    noisy = expose(clean)
    restored = denoise_classical(noisy, method)
    assert restored.dtype == np.float32
    assert restored.shape == noisy.shape
    gained = psnr(restored, clean, data_range=255) - psnr(noisy, clean, data_range=255)
    assert gained > GAINS[method] - (0 if expose is exposed else 1.5)
    slope = np.polyfit(clean.ravel(), restored.ravel(), 1)[0]
    assert 0.95 < slope < 1.02
    assert restored.mean() == pytest.approx(clean.mean(), rel=0.01 if method != "median" else 0.03)


@pytest.mark.parametrize("method", ["nlm", "tv", "wavelet"])
def test_knowing_the_correlation_helps(method: str) -> None:
    """Correlated noise taken for white is taken for structure, and stays."""
    clean = scene()
    noisy = scanned(clean)
    known = estimate_noise(noisy)
    as_white = NoiseEstimate(known.sigma, known.gain, known.readout_variance, known.pedestal)
    assert mse(denoise_classical(noisy, method, known), clean) < 0.95 * mse(
        denoise_classical(noisy, method, as_white), clean
    )


@pytest.mark.parametrize("method", METHODS)
def test_parameters_follow_the_noise(method: str) -> None:
    clean = scene()
    quiet = choose_parameters(exposed(clean, gain=0.3), method)
    loud = choose_parameters(exposed(clean, gain=10), method)
    assert quiet.keys() == loud.keys()
    if method in ("median", "gaussian"):  # the others carry the noise in their unit
        assert next(iter(loud.values())) > next(iter(quiet.values()))


@pytest.mark.parametrize("method", METHODS)
def test_the_choice_is_nearly_the_best(method: str) -> None:
    """Compare with the best of all candidates, by the truth that the method does not know."""
    clean = scene()
    noisy = scanned(clean)
    noise = estimate_noise(noisy)
    candidates = classical._METHODS[method].candidates
    first = next(iter(candidates))
    others = {k: v for k, v in choose_parameters(noisy, method, noise).items() if k != first}
    errors = [
        mse(denoise_classical(noisy, method, noise, **others, **{first: value}), clean)
        for value in candidates[first]
    ]
    chosen = mse(denoise_classical(noisy, method, noise), clean)
    assert 10 * np.log10(chosen / min(errors)) < 1.0


# -- any range, any size ----------------------------------------------------------------------
@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize(("gain", "offset"), [(1 / 255, 0), (200.0, 0), (1.0, 60000.0), (-1, 255)])
def test_the_range_does_not_matter(method: str, gain: float, offset: float) -> None:
    noisy = exposed(scene((96, 112)))
    plain = denoise_classical(noisy, method)
    other = denoise_classical((gain * noisy + offset).astype(np.float32), method)
    back = (other.astype(np.float64) - offset) / gain
    # float32 holds a level of 60000 to 0.004.
    assert np.sqrt(np.mean((back - plain) ** 2)) < 0.35
    assert mse(back, scene((96, 112))) == pytest.approx(mse(plain, scene((96, 112))), rel=0.1)


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("level", [0.0, 0.5, 60000.0])
def test_a_constant_image_stays(method: str, level: float) -> None:
    image = np.full((32, 40), level, np.float32)
    assert np.array_equal(denoise_classical(image, method), image)


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("shape", [(1, 1), (1, 40), (5, 7), (16, 16), (16, 300), (33, 17)])
def test_small_images(method: str, shape: tuple[int, int]) -> None:
    noisy = np.random.default_rng(1).normal(100, 10, shape).astype(np.float32)
    restored = denoise_classical(noisy, method)
    assert restored.shape == shape
    assert np.isfinite(restored).all()
    assert abs(restored.mean() - noisy.mean()) < 6
    assert restored.std() <= noisy.std() + 1e-3


@pytest.mark.parametrize("method", METHODS)
def test_an_image_without_noise_is_hardly_changed(method: str) -> None:
    clean = scene().astype(np.float32)
    assert psnr(denoise_classical(clean, method), clean, data_range=255) > 45


@pytest.mark.parametrize("method", METHODS)
def test_1_bit_and_extreme_images(method: str) -> None:
    rng = np.random.default_rng(0)
    one_bit = (rng.random((64, 64)) > 0.5).astype(np.float32)
    spike = np.zeros((64, 64), np.float32)
    spike[30, 30] = 65535
    for image in (one_bit, spike, 1e-20 * one_bit, 1e20 * one_bit):
        assert np.isfinite(denoise_classical(image, method)).all()


@pytest.mark.parametrize("method", METHODS)
def test_tiles_do_not_show(method: str, monkeypatch: pytest.MonkeyPatch) -> None:
    noisy = exposed(scene((230, 250)))
    noise = estimate_noise(noisy)
    chosen = choose_parameters(noisy, method, noise)
    whole = denoise_classical(noisy, method, noise, **chosen)
    monkeypatch.setattr(classical, "_TILE", 100)
    tiled = denoise_classical(noisy, method, noise, **chosen)
    # Total variation is global in theory and local in practice.
    assert np.abs(tiled - whole).max() < (0.02 if method != "tv" else 0.3) * noise.sigma


@pytest.mark.parametrize("method", METHODS)
def test_the_input_is_left_alone_and_the_result_repeats(method: str) -> None:
    noisy = exposed(scene((64, 64)))
    before = noisy.copy()
    first = denoise_classical(noisy, method)
    assert np.array_equal(noisy, before)
    assert np.array_equal(first, denoise_classical(noisy, method))


# -- given parameters, bad calls --------------------------------------------------------------
def test_given_parameters_are_kept() -> None:
    noisy = exposed(scene((64, 64)))
    assert choose_parameters(noisy, "nlm", patch_px=3)["patch_px"] == 3
    assert choose_parameters(noisy, "gaussian", sigma_px=1.3) == {"sigma_px": 1.3}
    soft = denoise_classical(noisy, "gaussian", sigma_px=1.3)
    assert soft == pytest.approx(gaussian_filter(noisy, 1.3), abs=1e-3)


def test_bad_calls() -> None:
    image = exposed(scene((32, 32)))
    with pytest.raises(UsageError, match="did you mean 'median'"):
        denoise_classical(image, "medain")
    with pytest.raises(UsageError, match="Known: size_px"):
        denoise_classical(image, "median", radius=3)
    with pytest.raises(UsageError, match="odd"):
        denoise_classical(image, "median", size_px=4)
    with pytest.raises(UsageError, match="positive"):
        denoise_classical(image, "tv", weight=0)
    with pytest.raises(UsageError, match="one image"):
        denoise_classical(np.zeros((2, 32, 32), np.float32), "tv")
    with pytest.raises(UsageError, match="NaN"):
        denoise_classical(np.full((32, 32), np.nan, np.float32), "tv")


# -- the risk estimate ------------------------------------------------------------------------
def test_probe_has_the_correlation_of_the_noise() -> None:
    from everhart.noise import autocorrelation

    correlation = estimate_noise(scanned(scene())).correlation
    probe = noise_probe((400, 410), correlation)
    assert probe.std() == pytest.approx(1, abs=0.02)
    assert autocorrelation(probe, 5) == pytest.approx(correlation, abs=0.02)
    assert noise_probe((3, 4), correlation).shape == (3, 4)


@pytest.mark.parametrize("width", [0.6, 1.2, 2.4])
@pytest.mark.parametrize("white", [True, False])
def test_risk_is_the_error_without_the_truth(width: float, white: bool) -> None:
    correlation = NoiseEstimate.constant(1).correlation
    if not white:
        own = np.correlate(CAUSAL, CAUSAL, "full") / np.sum(CAUSAL**2)
        correlation = correlation * 0
        correlation[5, 2:9] = own
    clean = (scene() / 10).astype(np.float32)

    def denoise(image: np.ndarray) -> np.ndarray:
        return gaussian_filter(image, width)

    found, truth = [], []
    for seed in range(1, 9):
        noisy = clean + noise_probe(clean.shape, correlation, seed=seed)
        probe = noise_probe(clean.shape, correlation, seed=100 + seed)
        found.append(estimated_risk(denoise, noisy, probe) / clean.size)
        truth.append(mse(denoise(noisy), clean))
    assert np.mean(found) == pytest.approx(np.mean(truth), abs=0.02)


# -- real images ------------------------------------------------------------------------------
def test_real_pairs_reach_what_was_measured(shared_data: Path) -> None:
    """At least the figures of the data's README, which hand-set constants gave on 10 pairs."""
    from PIL import Image

    from everhart.align import common_margin, estimate_shift, shift_image

    measured = {
        "median": (28.8, 0.78),
        "gaussian": (28.5, 0.80),
        "tv": (28.9, 0.83),
        "nlm": (29.4, 0.80),
    }
    scores: dict[str, list[tuple[float, float]]] = {method: [] for method in measured}
    for name in ("line006", "line024"):
        noisy, clean = (
            np.asarray(Image.open(shared_data / "sem-pairs" / f"{name}_{kind}.png"), np.float32)
            for kind in ("noisy", "clean")
        )
        drift = estimate_shift(clean, noisy)
        inside = common_margin(drift)
        truth = shift_image(clean, drift)[inside]
        noise = estimate_noise(noisy)
        for method in measured:
            restored = np.clip(denoise_classical(noisy, method, noise), 0, 255)[inside]
            scores[method].append(
                (psnr(restored, truth, data_range=255), ssim(restored, truth, data_range=255))
            )
    for method, (decibel, similarity) in measured.items():
        mean = np.mean(scores[method], axis=0)
        assert mean[0] >= decibel, method
        assert mean[1] >= similarity - 0.02, method  # of two pairs, not of ten

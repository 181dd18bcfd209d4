"""Learned denoisers: exactness of tiling, and images that are out of the ordinary."""

from __future__ import annotations

import json

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from everhart import Micrograph, UsageError, denoise
from everhart.noise import estimate_noise
from everhart.restore import make_denoiser
from everhart.restore.architectures import RestorationUNet
from everhart.restore.classical import denoise_classical
from everhart.restore.engine_torch import TorchEngine
from everhart.restore.network import LearnedDenoiser
from everhart.restore.unet_config import RestorationUNetConfig


@pytest.fixture(scope="module")
def random_network() -> RestorationUNet:
    """A network with random weights: it mixes all pixels that it can reach."""
    torch.manual_seed(0)
    config = RestorationUNetConfig(widths=(8, 8, 8), stem=2, output="blend", edge_plane=True)
    return RestorationUNet(config)


@pytest.fixture(scope="module")
def shipped() -> object:
    return make_denoiser("sem-general", device="cpu", precision="fp32")


@settings(max_examples=10, deadline=None)
@given(st.integers(16, 220), st.integers(16, 220), st.integers(80, 160), st.integers(0, 99))
def test_tiled_equals_untiled(
    random_network: RestorationUNet, height: int, width: int, tile_px: int, seed: int
) -> None:
    denoiser = LearnedDenoiser(TorchEngine(random_network, device="cpu", precision="fp32"))
    image = np.random.default_rng(seed).normal(size=(height, width)).astype(np.float32)
    whole = denoiser.denoise(image, tile_px=10_000)
    tiled = denoiser.denoise(image, tile_px=tile_px)
    assert np.abs(tiled - whole).max() <= 1e-5


def test_tiled_equals_untiled_with_the_shipped_model(shipped) -> None:  # type: ignore[no-untyped-def]
    image = np.random.default_rng(1).normal(size=(400, 520)).astype(np.float32)
    network = LearnedDenoiser.load(_shipped_path(), device="cpu", precision="fp32")
    whole = network.denoise(image, tile_px=10_000)
    assert np.abs(network.denoise(image, tile_px=360) - whole).max() <= 1e-5


def _shipped_path():  # type: ignore[no-untyped-def]
    from everhart.restore.models import find_model

    return find_model("sem-general")


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16, np.int16, np.float32, np.float64])
@pytest.mark.parametrize("shape", [(16, 16), (17, 333), (64, 16), (5, 7)])
def test_any_size_and_dtype_comes_back_the_same_kind(shipped, dtype, shape) -> None:  # type: ignore[no-untyped-def]
    image = np.random.default_rng(0).normal(120, 20, shape).clip(0, 255).astype(dtype)
    out = shipped(image)
    assert out.shape == shape
    assert out.dtype == dtype
    assert abs(out.astype(float).mean() - image.astype(float).mean()) < 5


def _scene(rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    y, x = np.mgrid[:128, :128]
    clean = 60 + 80.0 * (np.hypot(y - 64, x - 64) < 40) + 20 * np.sin(x / 9)
    return clean + rng.normal(0, 15, clean.shape), clean


@pytest.mark.parametrize(("gain", "offset"), [(0.5, 0), (2, 0), (1, 30_000), (0.01, -5), (-1, 255)])
def test_follows_gain_offset_and_inversion(shipped, rng, gain: float, offset: float) -> None:  # type: ignore[no-untyped-def]
    noisy, clean = _scene(rng)
    plain = shipped(noisy)
    moved = (shipped(noisy * gain + offset) - offset) / gain
    if gain > 0:
        assert np.allclose(moved, plain, atol=0.05)
    else:  # an inverted image is another image, but is restored as well
        assert np.std(moved - clean) < 1.15 * np.std(plain - clean)


@pytest.mark.parametrize("gain", [0.5, 1.0, 2.0])
@pytest.mark.parametrize("seed", range(3))
def test_grey_level_is_faithful(shipped, gain: float, seed: int) -> None:  # type: ignore[no-untyped-def]
    """Slope of the output's grey level against the truth's is 1 within 0.01.

    A grey level is a mean over a place; pixel by pixel, the slope of any estimate of least
    error is below 1 by the share of the variance that the noise has hidden.
    """
    noisy, clean = _scene(np.random.default_rng(seed))
    out = shipped(gain * noisy + 7)
    level, truth = (a.reshape(8, 16, 8, 16).mean((1, 3)) for a in (out, gain * clean + 7))
    slope, offset = np.polyfit(truth.ravel(), level.ravel(), 1)
    assert slope == pytest.approx(1, abs=0.01)
    assert offset + slope * 100 * gain == pytest.approx(100 * gain, abs=1.0 * gain)


def test_images_out_of_the_ordinary(shipped, rng) -> None:  # type: ignore[no-untyped-def]
    noisy, clean = _scene(rng)
    holes = noisy.astype(np.float32).copy()
    holes[20:24, 30:40] = np.nan
    holes[100, 100] = np.inf
    restored = shipped(holes)
    assert np.isfinite(restored).all()
    assert np.std(restored - clean) < 0.5 * np.std(noisy - clean)
    constant = np.full((40, 50), 77, np.uint8)
    assert np.array_equal(shipped(constant), constant)
    assert np.array_equal(shipped(np.full((20, 20), np.nan, np.float32)), np.zeros((20, 20)))
    binary = clean > 100
    out = shipped(binary)
    assert out.dtype == np.bool_
    assert (out != binary).mean() < 0.02
    sixteen = (noisy * 3 + 40_000).astype(np.uint16)
    assert np.std(shipped(sixteen) / 3.0 - 40_000 / 3 - clean) < 0.5 * np.std(noisy - clean)


@pytest.mark.parametrize("level", [2e4, -1e7])
def test_a_hot_pixel_spoils_nothing_around_it(shipped, rng, level: float) -> None:  # type: ignore[no-untyped-def]
    noisy, _ = _scene(rng)
    hot = noisy.copy()
    hot[50, 60] = level
    out = shipped(hot)
    away = np.ones(out.shape, bool)
    away[42:59, 52:69] = False
    assert np.abs(out - shipped(noisy))[away].max() < 5
    assert out[50, 60] == pytest.approx(level, rel=0.1)


def test_micrographs_and_stacks(shipped, rng) -> None:  # type: ignore[no-untyped-def]
    noisy, _ = _scene(rng)
    stack = np.stack([noisy, noisy[::-1]]).astype(np.uint8)
    stack[:, 120:] = 9  # a data bar
    m = Micrograph(stack, (2.0, 3.0), {"beam": {"kv": 5}}, data_bar_rows=8)
    out = shipped(m)
    assert out.shape == m.shape
    assert out.pixel_size_nm == (2.0, 3.0)
    assert out.metadata == m.metadata
    assert (out.pixels[:, 120:] == 9).all()
    assert out.history[-1].parameters["method"] == "sem-general"
    assert out.history[-1].model_hash == shipped.model_hash
    assert np.array_equal(out.pixels[0, :120], shipped(stack[0, :120]))


def test_bf16_is_close_to_fp32(shipped, rng) -> None:  # type: ignore[no-untyped-def]
    noisy, clean = _scene(rng)
    fast = make_denoiser("sem-general", device="cpu", precision="bf16")(noisy)
    error, error_fast = (np.mean((out - clean) ** 2) for out in (shipped(noisy), fast))
    assert 10 * np.log10(error_fast / error) < 0.05


@pytest.mark.parametrize(
    ("call", "words"),
    [
        ({"method": "medain"}, "did you mean 'median'"),
        ({"method": "sem-genral"}, "did you mean 'sem-general'"),
        ({"method": "median", "model": "sem-general"}, "give one of the two"),
        ({"model": "none.safetensors"}, "no model file"),
        ({"model": "sem-general", "sigma": 3}, "'sigma' was given for the learned model"),
        ({"model": "median"}, "give it as the method"),
        ({"method": "NLM"}, "did you mean 'nlm'"),
        ({"method": "qqqq"}, "Unknown method or model 'qqqq'. Known: median"),
        ({"method": "median", "size": 3}, "Known: size_px"),
        ({"method": "median", "size_px": "3"}, "odd number"),
        ({"precision": "half"}, "auto, fp32 and bf16"),
        ({"device": "tpu"}, "auto, cpu and cuda"),
    ],
)
def test_wrong_calls(call: dict, words: str) -> None:
    with pytest.raises(UsageError, match=words):
        make_denoiser(**call)  # said before any image is looked at


@pytest.mark.parametrize(
    ("call", "words"),
    [
        ({"memory_mb": 0}, "memory_mb=0 was given"),
        ({"memory_mb": np.nan}, "memory_mb=nan was given"),
        ({"tile_px": -5}, "tile_px=-5 was given"),
    ],
)
def test_wrong_limits(call: dict, words: str) -> None:
    with pytest.raises(UsageError, match=words):
        denoise(np.zeros((20, 20)), **call)


@pytest.mark.parametrize("method", ["nlm", "tv"])
def test_noise_that_is_known_is_taken_as_it_is(rng: np.random.Generator, method: str) -> None:
    _, clean = _scene(rng)
    noisy = Micrograph(rng.poisson(clean / 3) * 3.0)
    noise = estimate_noise(noisy.pixels)
    out = denoise(noisy, method, noise=noise)
    expected = denoise_classical(noisy.pixels, method, noise)
    assert np.allclose(out.pixels, expected, atol=0.02)
    json.dumps(out.history[-1].to_dict())

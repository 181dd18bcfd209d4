from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.ndimage import gaussian_filter

from everhart import UsageError, write
from everhart.align import shift_image
from everhart.restore.corruption import NoiseRange
from everhart.restore.sources import (
    CleanConfig,
    PairsConfig,
    SimulatedConfig,
    augment,
    load_clean,
    load_pairs,
    load_source,
)


def _scene(seed: int, size: int = 96) -> np.ndarray:
    image = gaussian_filter(np.random.default_rng(seed).normal(size=(size, size)), 5)
    return (image - image.min()) / np.ptp(image)


@pytest.fixture
def pairs_folder(tmp_path: Path) -> Path:
    for name in ("noisy", "clean"):
        (tmp_path / name).mkdir()
    for seed in range(3):
        clean = 40 + 150 * _scene(seed)
        noisy = shift_image(clean, (1.5, -2.0)) + np.random.default_rng(seed).normal(0, 9, (96, 96))
        write((0.5 * clean + 10).astype(np.uint8), tmp_path / "clean" / f"field{seed}.tif")
        write(noisy.clip(0, 255).astype(np.uint8), tmp_path / "noisy" / f"field{seed}.tif")
    return tmp_path


def _pairs(folder: Path, /, **settings: object) -> PairsConfig:
    return PairsConfig.model_validate({"kind": "pairs", "folder": str(folder)} | settings)


def test_pairs_are_registered_and_matched_in_grey(pairs_folder: Path) -> None:
    source = load_pairs(_pairs(pairs_folder, match_grey=True))
    assert len(source.pairs) == 3
    for noisy, clean in source.pairs:
        # Registered and matched, only the noise is left between them.
        assert np.std(noisy - clean) * 30 < 14
        assert noisy.std() == pytest.approx(1, abs=0.1)
    unmatched = load_pairs(_pairs(pairs_folder))
    assert unmatched.pairs[0][1].mean() < source.pairs[0][1].mean() - 0.5
    unregistered = load_pairs(_pairs(pairs_folder, registration="none", match_grey=True))
    errors = [np.std(n - c) for s in (source, unregistered) for n, c in s.pairs]
    assert max(errors[:3]) < min(errors[3:])


def test_crops_are_drawn_from_both_alike(pairs_folder: Path, rng: np.random.Generator) -> None:
    source = load_pairs(_pairs(pairs_folder, match_grey=True))
    noisy, clean = augment(source.draw(rng, 64), rng)
    assert noisy.shape == clean.shape == (64, 64)
    blurred = gaussian_filter(noisy, 2)
    assert np.corrcoef(blurred.ravel(), clean.ravel())[0, 1] > 0.97
    with pytest.raises(UsageError, match="lower crop_px"):
        source.draw(rng, 128)


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"noisy": "*.tif"}, "no partner|no image matches"),
        ({"clean": "clean/field*.png"}, "no partner"),
        ({"exclude": ["field*"]}, "no image matches"),
        ({"folder": "/nowhere/at/all"}, "no folder"),
        ({"folder": "$EVERHART_NOT_SET/x"}, "is not set"),
    ],
)
def test_wrong_folders_are_named(pairs_folder: Path, settings: dict, words: str) -> None:
    with pytest.raises(UsageError, match=words):
        load_pairs(_pairs(pairs_folder, **settings))


def test_a_dollar_is_not_always_a_variable(pairs_folder: Path) -> None:
    share = pairs_folder / "c$"
    share.mkdir()
    assert _pairs(share).path == share


def test_patterns_have_one_star(pairs_folder: Path) -> None:
    with pytest.raises(ValueError, match="exactly one"):
        _pairs(pairs_folder, noisy="noisy/field0.tif")
    with pytest.raises(ValueError, match="exactly one"):
        CleanConfig.model_validate({"kind": "clean", "folder": ".", "images": "*/*.tif"})


@pytest.mark.parametrize("sigma", [(0.0, 0.1), (0.2, 0.1), (0.1, np.inf)])
def test_ranges_of_noise_are_checked(sigma: tuple[float, float]) -> None:
    with pytest.raises(ValueError, match="lowest and the highest value, both above 0"):
        NoiseRange(sigma=sigma)


def test_hidden_files_are_no_images(pairs_folder: Path) -> None:
    for name in ("noisy", "clean"):
        (pairs_folder / name / ".DS_Store").write_bytes(b"\0")
    assert len(load_pairs(_pairs(pairs_folder)).pairs) == 3


def test_clean_images_get_new_noise_each_time(pairs_folder: Path) -> None:
    config = CleanConfig.model_validate(
        {"kind": "clean", "folder": str(pairs_folder), "images": "clean/*"}
    )
    source = load_clean(config)
    first, again, other = (source.draw(np.random.default_rng(seed), 64)[0] for seed in (1, 1, 2))
    assert np.array_equal(first, again)
    assert not np.array_equal(first, other)
    with pytest.raises(UsageError, match="no image matches"):
        load_clean(config.model_copy(update={"images": "none*"}))


def test_simulated_scenes_come_from_the_seed() -> None:
    config = SimulatedConfig(kind="simulated", scenes=2, scene_px=64)
    sources = [load_source(config, seed) for seed in (3, 3, 4)]
    assert sources[0].sha256 == sources[1].sha256 != sources[2].sha256


@settings(max_examples=40, deadline=None)
@given(st.integers(0, 10**9))
def test_corruption_is_finite_and_around_its_expectation(seed: int) -> None:
    rng = np.random.default_rng(seed)
    scene = _scene(seed % 7, 128).astype(np.float32)
    noisy, expected = NoiseRange(sigma=(0.01, 0.2), row_noise=0.0).corrupt(scene, rng)
    assert noisy.dtype == expected.dtype == np.float32
    assert np.isfinite(noisy).all()
    residual = noisy - expected
    # Noise of at most 0.2 (more where it is bright), averaged over 16,384 correlated pixels.
    assert abs(residual.mean()) < 0.02
    assert 0.003 < residual.std() < 0.45

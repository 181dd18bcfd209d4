"""The augmentation: what each operation does, and that it leaves the rest alone."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from everhart.synthesize.augment import OPERATIONS, AugmentConfig, augment

NOISE = 0.1
SHADED = {"shading", "contamination", "charging", "gamma", "gain", "dose"}


def _image(seed: int = 0, noise: float = NOISE) -> tuple[np.ndarray, np.ndarray]:
    """Bars with noise, and the classes of their pixels."""
    mask = np.zeros((96, 128), np.int64)
    mask[:, 40:60] = 1
    mask[30:50] = 2
    clean = np.array([-0.5, 0.4, 0.1])[mask]
    rng = np.random.default_rng(seed)
    return (clean + noise * rng.normal(size=mask.shape)).astype(np.float32), mask


def _rough(pixels: np.ndarray) -> float:
    """Standard deviation of the noise, by a measure that is not the augmentation's own."""
    step = pixels[4:26, 4:36]
    return float(np.median(np.abs(step - np.median(step, axis=1, keepdims=True))) / 0.6745)


@pytest.mark.parametrize("name", OPERATIONS)
@settings(max_examples=12, deadline=None)
@given(seed=st.integers(0, 1000))
def test_every_operation_keeps_shape_mask_and_noise(name: str, seed: int) -> None:
    pixels, mask = _image(seed)
    done = augment(pixels, mask, np.random.default_rng(seed), (name,), unchanged=0)
    assert done.pixels.shape == pixels.shape
    assert done.pixels.dtype == np.float32
    assert np.isfinite(done.pixels).all()
    assert done.mask is not None
    assert set(np.unique(done.mask)) <= {0, 1, 2}
    number = OPERATIONS.index(name)
    assert done.told[number] != 0
    assert np.count_nonzero(done.told) == 1


@pytest.mark.parametrize("name", [name for name in OPERATIONS if name not in SHADED])
def test_what_interpolation_or_blur_takes_from_the_noise_is_put_back(name: str) -> None:
    ratios = []
    for seed in range(30):
        pixels, _ = _image(seed)
        done = augment(pixels, None, np.random.default_rng(seed), (name,), unchanged=0)
        ratios.append(_rough(done.pixels) / _rough(pixels))
    assert np.mean(ratios) == pytest.approx(1, abs=0.04)


@pytest.mark.parametrize("name", ["rotate", "shear", "stretch", "drift", "jitter", "flip_x"])
def test_image_and_mask_move_alike(name: str) -> None:
    pixels, mask = _image(noise=0.0)
    moved = 0
    for seed in range(8):
        done = augment(pixels, mask, np.random.default_rng(seed), (name,), unchanged=0)
        assert done.mask is not None
        moved += not np.array_equal(done.mask, mask)
        told = np.array([-0.5, 0.4, 0.1])[done.mask]
        inside = np.abs(done.pixels - told) < 0.05
        assert inside.mean() > 0.9  # edges are between two classes
    assert moved >= 4


def test_a_thinner_dose_is_noisier_as_told() -> None:
    levels = []
    for seed in range(20):
        pixels, _ = _image(seed)
        done = augment(pixels, None, np.random.default_rng(seed), ("dose",), unchanged=0)
        left = 1 - 0.65 * float(done.told[OPERATIONS.index("dose")])
        flat = done.pixels[4:26, 44:58]
        levels.append(float(flat.std()) / NOISE * np.sqrt(left))
    # The brightest part has more than the mean noise, as counts have.
    assert 0.95 < np.mean(levels) < 1.5


def test_charging_follows_the_scan() -> None:
    pixels, _ = _image(noise=0.0)
    done = augment(pixels, None, np.random.default_rng(1), ("charging",), unchanged=0)
    change = done.pixels - pixels
    assert change[10, 62:70].mean() < change[10, 20:36].mean() - 0.01
    assert abs(float(change[10, :30].mean())) < 0.01


def test_nothing_is_told_of_what_is_unchanged() -> None:
    pixels, mask = _image()
    rng = np.random.default_rng(0)
    done = [augment(pixels, mask, rng, OPERATIONS, unchanged=0.5) for _ in range(200)]
    alone = [d for d in done if not d.told.any()]
    assert 70 < len(alone) < 130
    assert all(d.pixels is pixels for d in alone)
    counts = np.count_nonzero([d.told for d in done], axis=0)
    assert (counts > 0).all()


def test_unknown_operations_are_refused() -> None:
    given_: dict[str, Any] = {"operations": ["rotat"]}
    with pytest.raises(ValidationError, match="rotate"):
        AugmentConfig(**given_)

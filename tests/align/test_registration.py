from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.ndimage import affine_transform, gaussian_filter

from everhart import Micrograph, UsageError, read
from everhart.align import common_margin, estimate_shift, register_pair, shift_image


def _texture(seed: int, shape: tuple[int, int] = (160, 200)) -> np.ndarray:
    image = gaussian_filter(np.random.default_rng(seed).normal(size=shape), 4)
    return (image / image.std()).astype(np.float32)


@settings(max_examples=25, deadline=None)
@given(st.floats(-12, 12), st.floats(-12, 12), st.integers(0, 10**6))
def test_a_known_shift_is_found_in_noise(dy: float, dx: float, seed: int) -> None:
    image = _texture(seed)
    rng = np.random.default_rng(seed + 1)
    moved = shift_image(image, (dy, dx)) * 0.7 + 3 + 0.5 * rng.normal(size=image.shape)
    noisy = image + 0.5 * rng.normal(size=image.shape)
    found = estimate_shift(moved, noisy)
    assert np.allclose(found, (-dy, -dx), atol=0.15)


def test_bound_picks_the_wanted_period_of_a_lattice() -> None:
    x = np.arange(256)
    lattice = np.sin(2 * np.pi * x / 16)[None] + np.sin(2 * np.pi * x / 16)[:, None]
    found = estimate_shift(shift_image(lattice, (2.5, -3.0)), lattice, max_shift_px=6)
    assert np.allclose(found, (-2.5, 3.0), atol=0.1)


def test_constant_images_do_not_move() -> None:
    assert estimate_shift(np.ones((32, 32)), np.ones((32, 32))) == (0.0, 0.0)


def test_shapes_must_agree() -> None:
    with pytest.raises(UsageError, match="same"):
        estimate_shift(np.zeros((32, 32)), np.zeros((32, 33)))


def test_shift_keeps_what_a_micrograph_knows() -> None:
    m = Micrograph(_texture(0), pixel_size_nm=2.0)
    moved = shift_image(m, (1.5, 0.0))
    assert moved.pixel_size_nm == (2.0, 2.0)
    assert moved.history[-1].operation == "shift"


def test_common_margin_keeps_the_shared_part() -> None:
    rows, columns = common_margin((1.2, -3.0), extra_px=1)
    assert (rows, columns) == (slice(3, -3), slice(4, -4))


@pytest.mark.parametrize("seed", range(3))
def test_an_affine_drift_is_undone(seed: int) -> None:
    clean = _texture(seed, (256, 256))
    truth = np.array([[1.004, 0.001, 1.7], [-0.002, 1.005, -2.3]])
    field = affine_transform(clean, truth[:, :2], truth[:, 2], order=3, mode="nearest")
    noisy = field + 0.7 * np.random.default_rng(seed + 1000).normal(size=field.shape)
    fixed, moved, matrix = register_pair(noisy, clean)
    corners = np.array([[0, 0, 1], [255, 0, 1], [0, 255, 1], [255, 255, 1.0]])
    assert np.abs(corners @ (matrix - truth).T).max() < 0.15
    assert fixed.shape == moved.shape
    _, shifted, _ = register_pair(noisy, clean, model="shift")
    assert np.std(moved - fixed) < np.std(shifted - noisy[: shifted.shape[0], : shifted.shape[1]])


def test_a_pair_of_nothing_in_common_falls_back_to_the_shift() -> None:
    rng = np.random.default_rng(0)
    _, _, matrix = register_pair(rng.normal(size=(64, 64)), rng.normal(size=(64, 64)))
    assert np.abs(matrix[:, :2] - np.eye(2)).max() <= 0.05


def test_real_pairs_of_two_dwell_times_differ_by_a_stretch(shared_data: Path) -> None:
    noisy = read(shared_data / "sem-pairs" / "time012_noisy.png")
    clean = read(shared_data / "sem-pairs" / "time012_clean.png")
    residual = {}
    for model in ("shift", "affine"):
        fixed, moved, matrix = register_pair(noisy, clean, model=model)  # type: ignore[arg-type]
        blurred = gaussian_filter(fixed, 1.5)
        residual[model] = np.std(blurred - moved)
    assert residual["affine"] < 0.85 * residual["shift"]
    assert 0.003 < matrix[0, 0] - 1 < 0.008


def test_pixels_that_are_no_numbers_are_refused() -> None:
    damaged = _texture(0)
    damaged[3, 4] = np.nan
    with pytest.raises(UsageError, match="finite"):
        estimate_shift(damaged, _texture(0))
    with pytest.raises(UsageError, match="finite"):
        register_pair(_texture(0), damaged)


def test_images_that_share_nothing_once_registered_are_refused() -> None:
    y, x = np.mgrid[:16, :16]
    one, other = (np.exp(-((y - c) ** 2 + (x - c) ** 2) / 4.0) for c in (4, 11))
    with pytest.raises(UsageError, match="nothing of them is shared"):
        register_pair(one, other, model="shift")


def test_the_affine_map_moves_no_further_than_the_bound() -> None:
    # A lattice: at 13 px the true shift is beyond the bound, and one period less is not.
    y, x = np.mgrid[:192, :192]
    lattice = np.sin(2 * np.pi * x / 16) + np.sin(2 * np.pi * y / 16)
    rng = np.random.default_rng(5)
    noisy = lattice + 0.3 * rng.normal(size=lattice.shape)
    clean = shift_image(lattice, (3.0, -3.0)) + 0.002 * x
    _, _, matrix = register_pair(noisy, clean, max_shift_px=6)
    assert np.abs(matrix[:, 2]).max() < 7
    _, _, tight = register_pair(_texture(0), shift_image(_texture(0), (2.4, 0.0)), max_shift_px=2)
    centre = np.array([(n - 1) / 2 for n in (160, 200)])
    assert np.abs(tight @ (*centre, 1.0) - centre).max() <= 2

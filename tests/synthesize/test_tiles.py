"""Sampling in tiles: against sampling at once, and on Gaussian data where the answer is known."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache
from itertools import pairwise
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from everhart.errors import UsageError
from everhart.synthesize.samplers import SAMPLERS, ddim, dpm_solver
from everhart.synthesize.schedule import NoiseSchedule, spaced_steps
from everhart.synthesize.tiles import Corner, NoiseField, TileGrid, sample_tiled

SCHEDULE = NoiseSchedule("cosine", 1000, "v")
HEIGHT, WIDTH, TILE = 1500, 48, 24
COLUMNS = np.arange(WIDTH)
MEAN = torch.tensor(0.4 * np.sin(COLUMNS / 3.0), dtype=torch.float32)
COVARIANCE = torch.tensor(
    0.09 * np.exp(-((COLUMNS[:, None] - COLUMNS) ** 2) / (2 * 0.9**2)) + 0.04 * np.eye(WIDTH),
    dtype=torch.float64,
)
"""Of each row of the image: rows are independent draws; columns are correlated with their near."""


@cache
def _gain(left: int, width: int, t: int) -> tuple[Tensor, Tensor]:
    """What tells the noise from an image of which only some columns are seen."""
    a, s = SCHEDULE.level(t)
    part = slice(left, left + width)
    spread = a**2 * COVARIANCE[part, part] + s**2 * torch.eye(width, dtype=torch.float64)
    return (s * torch.linalg.inv(spread)).float(), a * MEAN[part]


def known(x: Tensor, t: Tensor, corners: Sequence[Corner]) -> Tensor:
    """Say what the ideal network of tiles says, which knows what is in a tile and no more."""
    step = int(t[0])
    a, s = SCHEDULE.level(step)
    said = []
    for tile, (_, left) in zip(x[:, 0], corners, strict=True):
        gain, mean = _gain(left, tile.shape[1], step)
        noise = (tile - mean) @ gain
        said.append((noise - s * tile) / a)
    return torch.stack(said)[:, None]


def statistics(image: Tensor) -> tuple[Tensor, Tensor]:
    return image.mean(0), torch.cov(image.T).double()


def off(found: Tensor, wanted: Tensor) -> float:
    return float((found - wanted).abs().max() / wanted.abs().max())


@pytest.mark.parametrize("sampler", SAMPLERS)
def test_tiles_have_mean_and_covariance_of_the_whole(sampler: Any) -> None:
    steps = {"ddpm": 100, "ddim": 60, "dpm": 25}[sampler]
    drawn = {}
    for tile in (WIDTH, TILE):
        grid = TileGrid((HEIGHT, WIDTH), (750, tile), 0.5 if tile < WIDTH else 0.0)
        drawn[tile] = sample_tiled(known, grid, SCHEDULE, sampler=sampler, steps=steps, seed=(3,))
    (mean, spread), (whole_mean, whole_spread) = (statistics(drawn[t]) for t in (TILE, WIDTH))
    # The same noise, so that what is left is what tiles do.
    assert off(mean, whole_mean) < 0.02
    assert off(spread, whole_spread) < 0.02
    assert off(whole_mean, MEAN) < 0.1  # the scatter of 1500 draws
    assert off(whole_spread, COVARIANCE) < 0.15


def test_the_grain_is_as_strong_at_seams() -> None:
    def ideal(x: Tensor, t: Tensor, corners: Sequence[Corner]) -> Tensor:
        a, s = SCHEDULE.level(int(t[0]))
        noise = s * x / (a**2 * 0.04 + s**2)
        return (noise - s * x) / a

    grid = TileGrid((192, 192), (64, 64), 0.25)
    image = sample_tiled(ideal, grid, SCHEDULE, steps=40, seed=(1,))
    at_once = sample_tiled(ideal, TileGrid((192, 192), (192, 192)), SCHEDULE, steps=40, seed=(1,))
    torch.testing.assert_close(image, at_once, atol=2e-4, rtol=0)
    starts = grid.starts(1)
    seams = np.concatenate([np.arange(s, s + 16) for s in starts[1:]])
    inside = np.setdiff1d(np.arange(192), seams)
    assert float(image[:, seams].var() / image[:, inside].var()) == pytest.approx(1, abs=0.05)


@pytest.mark.parametrize("sampler", ["ddim", "dpm"])
def test_one_tile_is_the_plain_sampler(sampler: Any) -> None:
    field = NoiseField((5,), WIDTH).rows(0, 0, 50)[None, None]

    def predict(x: Tensor, t: Tensor) -> Tensor:
        return known(x, t, [(0, 0)])

    plain = {"ddim": ddim, "dpm": dpm_solver}[sampler](predict, field, SCHEDULE, 20)
    grid = TileGrid((50, WIDTH), (99, 99))
    tiled = sample_tiled(known, grid, SCHEDULE, sampler=sampler, steps=20, seed=(5,))
    torch.testing.assert_close(tiled, plain[0, 0], atol=1e-5, rtol=0)


def test_what_the_network_sees_is_bounded_and_covers_all() -> None:
    seen: list[tuple[int, ...]] = []
    covered = torch.zeros(300, 200)

    def predict(x: Tensor, t: Tensor, corners: Sequence[Corner]) -> Tensor:
        seen.append(tuple(x.shape))
        for top, left in corners:
            covered[top : top + 32, left : left + 48] += 1
        return torch.zeros_like(x)

    sample_tiled(predict, TileGrid((300, 200), (32, 48)), SCHEDULE, steps=3, batch_size=4)
    assert {shape[1:] for shape in seen} == {(1, 32, 48)}
    assert max(shape[0] for shape in seen) == 4
    assert covered.min() >= 3  # in every step


def test_a_start_is_kept_and_its_grain_is_made_new() -> None:
    start = (MEAN + 0.5).repeat(1000, 1)
    given = start.clone()
    grid = TileGrid((1000, WIDTH), (500, TILE), 0.5)
    drawn = sample_tiled(known, grid, SCHEDULE, steps=50, start=start, start_level=0.3)
    # What was known of the mean draws it back a little, and not all of the way.
    away = float((drawn.mean(0) - MEAN).mean())
    assert 0.1 < away < 0.48
    assert float(drawn.std(0).mean()) > 0.6 * 0.13**0.5
    whole = sample_tiled(known, grid, SCHEDULE, steps=50, start=given, start_level=1.0)
    assert abs(float((whole.mean(0) - MEAN).mean())) < 0.03


def test_noise_does_not_depend_on_what_is_asked_for() -> None:
    field = NoiseField((1, 2), 7)
    whole = field.rows(4, 0, 300)
    assert torch.equal(whole[100:201], field.rows(4, 100, 201))
    assert not torch.equal(whole, field.rows(5, 0, 300))
    assert float(whole.std()) == pytest.approx(1, abs=0.05)


@given(
    size=st.integers(1, 300),
    tile=st.integers(1, 80),
    overlap=st.floats(0, 0.5),
    shift=st.floats(0, 1),
)
def test_tiles_cover_and_their_weights_add_up(
    size: int, tile: int, overlap: float, shift: float
) -> None:
    grid = TileGrid((size, 1), (tile, 1), overlap)
    starts = grid.starts(0, shift)
    real = min(tile, size)
    assert starts[0] == 0
    assert starts[-1] == size - real
    assert all(0 < b - a <= real for a, b in pairwise(starts))
    total = np.zeros(size)
    for start, weights in zip(starts, grid.weights(0, starts), strict=True):
        assert weights.min() > 0
        total[start : start + real] += weights
    np.testing.assert_allclose(total, 1, atol=1e-5)


def test_wrong_calls_are_refused() -> None:
    grid = TileGrid((8, 8), (4, 4))
    with pytest.raises(UsageError, match="overlap"):
        TileGrid((8, 8), (4, 4), 0.6)
    with pytest.raises(UsageError, match="ddpm"):
        sample_tiled(known, grid, SCHEDULE, sampler="ddp")  # type: ignore[arg-type]
    with pytest.raises(UsageError, match="start_level"):
        sample_tiled(known, grid, SCHEDULE, start=torch.zeros(8, 8), start_level=1.5)
    assert spaced_steps(1000, 2)[-1] == 499
    with pytest.raises(UsageError, match="leaves none"):
        sample_tiled(known, grid, SCHEDULE, steps=2, start=torch.zeros(8, 8), start_level=0.2)

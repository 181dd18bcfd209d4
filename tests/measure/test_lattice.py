"""Lattices: exact vectors, any rotation, strays, missing sites, and what is none."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import everhart as eh
from everhart.measure.lattice import fit_lattice


def hexagonal(rotation_deg: float = 0.0, pitch: float = 50.0) -> np.ndarray:
    i, j = np.mgrid[:7, :9].reshape(2, -1)
    points = np.stack([i * pitch * np.sqrt(3) / 2, (j + 0.5 * (i % 2)) * pitch], axis=1)
    turn = np.radians(rotation_deg)
    return points @ np.array([[np.cos(turn), -np.sin(turn)], [np.sin(turn), np.cos(turn)]])


@settings(max_examples=25, deadline=None)
@given(st.floats(-28, 28), st.integers(0, 1000))
def test_hexagonal_in_any_direction(rotation: float, seed: int) -> None:
    rng = np.random.default_rng(seed)
    points = hexagonal(rotation) + rng.normal(0, 0.5, (63, 2))
    middle = 31
    found = fit_lattice(np.delete(points, middle, axis=0))
    assert found is not None
    assert found.pitch_a == pytest.approx(50, abs=5 * found.pitch_a_sd)
    assert found.pitch_b == pytest.approx(50, abs=5 * found.pitch_b_sd)
    assert found.rotation_deg == pytest.approx(rotation, abs=5 * found.rotation_sd_deg)
    assert found.angle_deg == pytest.approx(60, abs=0.5)
    assert np.hypot(*(found.missing - points[middle]).T) == pytest.approx([0], abs=3)
    assert found.residual.std() == pytest.approx(0.5, rel=0.3)


def test_a_rectangle_and_a_stray() -> None:
    i, j = np.mgrid[:5, :8].reshape(2, -1)
    points = np.stack([i * 80.0 + 3, j * 30.0 + 5], axis=1)
    found = fit_lattice(np.concatenate([points, [[120.0, 101.0]]]))
    assert found is not None
    assert (found.pitch_a, found.pitch_b) == pytest.approx((30, 80))
    assert found.angle_deg == pytest.approx(90)
    assert found.rotation_deg == pytest.approx(0, abs=1e-9)
    assert found.member.tolist() == [True] * 40 + [False]
    assert not len(found.missing)


def test_a_site_with_something_on_it_is_not_missing() -> None:
    points = hexagonal()
    found = fit_lattice(np.delete(points, 31, axis=0), points[[31]] + 2.0)
    assert found is not None
    assert not len(found.missing)


def test_no_lattice() -> None:
    rng = np.random.default_rng(0)
    for points in (
        rng.uniform(0, 500, (60, 2)),
        np.stack([np.arange(10.0), np.arange(10.0)], axis=1),
        hexagonal()[:5],
        np.zeros((0, 2)),
    ):
        assert fit_lattice(points) is None
    with pytest.raises(eh.UsageError, match="y and x"):
        fit_lattice(np.zeros((4, 3)))

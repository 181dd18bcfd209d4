"""Edges and ellipses: what was drawn is what is measured."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.ndimage import gaussian_filter1d

from everhart.measure.edges import fit_edge_profile, steepest
from everhart.measure.ellipse import Ellipse, fit_ellipse


@settings(max_examples=30)
@given(
    st.floats(-20, 20), st.floats(-20, 20), st.floats(5, 80), st.floats(0, 0.6), st.floats(0, 3.1),
    st.integers(0, 10**6),
)  # fmt: skip
def test_an_ellipse_is_found_with_outliers(
    y: float, x: float, radius: float, stretch: float, angle: float, seed: int
) -> None:
    u, v = stretch * np.cos(2 * angle), stretch * np.sin(2 * angle)
    truth = Ellipse(y, x, radius, u, v)
    rng = np.random.default_rng(seed)
    around = np.linspace(0, 2 * np.pi, 120, endpoint=False)
    rho = truth.radius_at(around)
    rho[:18] *= rng.uniform(0.6, 0.9)  # a dent
    rho += rng.normal(0, 0.002 * radius, 120)
    start = Ellipse(y + 0.05 * radius, x - 0.05 * radius, 0.95 * radius, 0.9 * u, 0.9 * v)
    fit = fit_ellipse(y + rho * np.sin(around), x + rho * np.cos(around), start)
    assert np.hypot(fit.y - y, fit.x - x) < 0.005 * radius
    assert abs(fit.radius / radius - 1) < 0.005
    assert abs(fit.aspect - np.exp(-stretch)) < 0.01
    assert fit.inliers < 0.9


@pytest.mark.parametrize(("wall", "rim"), [(3.3, 10.0), (1.0, 4.0), (0.05, 6.0)])
@pytest.mark.parametrize("blur", [0.5, 1.0])
def test_the_edge_is_not_where_the_blurred_profile_is_steepest(
    wall: float, rim: float, blur: float
) -> None:
    fine = np.arange(-20, 20, 0.02)
    inside = 40 + 130 * np.exp(np.minimum(fine, 0) / wall)
    outside = 90 + 80 * np.exp(-np.maximum(fine, 0) / rim)
    profile = gaussian_filter1d(np.where(fine < 0, inside, outside), blur / 0.02)
    rng = np.random.default_rng(0)
    true_place = 0.7  # of the edge, as the distances are counted
    distance = rng.uniform(-14, 14, 20_000)
    grey = np.interp(distance - true_place, fine, profile) + rng.normal(0, 10, distance.shape)
    fit = fit_edge_profile(distance, grey)
    assert fit is not None
    assert abs(fit.position_px - true_place) < 0.12
    place, _ = steepest(profile[None, ::10], 0.2)
    if wall == 3.3:
        assert place[0] - 20 < -0.4


def test_too_few_samples_are_no_profile() -> None:
    assert fit_edge_profile(np.linspace(-5, 5, 50), np.linspace(0, 1, 50)) is None
    assert fit_edge_profile(np.linspace(-5, 5, 5000), np.ones(5000)) is None


def test_an_edge_at_the_end_of_a_ray_is_none() -> None:
    ramp = np.arange(12.0) ** 2
    position, _ = steepest(np.stack([ramp, np.tanh(np.arange(12) - 5.25)]), 0.5)
    assert np.isnan(position[0])
    assert position[1] == pytest.approx(5.25 / 2, abs=0.02)

"""Roughness without noise: what was drawn is found, and the error is as large as is said."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from scipy.ndimage import gaussian_filter1d
from scipy.special import gamma

from everhart.errors import EverhartError, UsageError
from everhart.measure._edge_spectrum import k_correlation, make_tapers
from everhart.measure._roughness_model import Known
from everhart.measure.roughness import Roughness, fit_roughness
from everhart.simulate.roughness import palasantzas_psd, rough_edges

Float = NDArray[np.float64]


def drawn(
    seed: int,
    noise: float,
    *,
    edges: int = 40,
    rows: int = 1000,
    dy: float = 2.0,
    pair: float = 0.0,
) -> Float:
    """Draw edges of sigma 1, correlation length 20 and H 0.75, aliased by their rows."""
    rng = np.random.default_rng(seed)
    fine = rough_edges(
        edges, rows * 4, rng, sigma=1.0, correlation_length=20 / dy * 4, hurst=0.75,
        pair_correlation=pair,
    )  # fmt: skip
    return fine[:, ::4] + rng.normal(0, noise, (edges, rows))


def test_the_autocorrelation_is_the_transform_of_the_spectrum() -> None:
    frequency = np.arange(200_000) * 1e-5
    psd = palasantzas_psd(frequency, 1.0, 20.0, 0.75)
    for lag in (0.0, 5.0, 20.0, 60.0):
        wave = psd * np.cos(2 * np.pi * frequency * lag)
        summed = float(wave.sum() - wave[0] / 2) * 1e-5
        assert k_correlation(np.array([lag]), 20.0, 0.75)[0] == pytest.approx(summed, abs=2e-3)


def test_an_exponent_of_one_half_is_an_exponential() -> None:
    lag = np.linspace(0, 100, 50)
    np.testing.assert_allclose(k_correlation(lag, 12.0, 0.5), np.exp(-lag / 12), atol=1e-12)
    assert gamma(0.5) == pytest.approx(np.sqrt(np.pi))


@pytest.mark.parametrize("n", [65, 128])
def test_the_expected_spectrum_is_the_mean_of_measured_ones(n: int) -> None:
    rng = np.random.default_rng(1)
    tapers = make_tapers(n)
    covariance = k_correlation(np.arange(n), 12.0, 0.6)
    full = covariance[np.abs(np.subtract.outer(np.arange(n), np.arange(n)))]
    edges = rng.standard_normal((20_000, n)) @ np.linalg.cholesky(full + 1e-9 * np.eye(n)).T
    t = np.arange(n) - (n - 1) / 2
    edges -= edges.mean(axis=1, keepdims=True)
    edges -= np.outer(edges @ t / (t @ t), t)
    measured = 3.0 * (np.abs(tapers.transform(edges)) ** 2).mean(axis=(0, 1))
    expected = tapers.expected(covariance, 3.0)
    assert tapers.frequencies(3.0).shape == expected.shape
    np.testing.assert_allclose(measured, expected, rtol=0.04)


@pytest.mark.parametrize("noise", [0.0, 0.5, 1.0, 1.5])
def test_noise_is_taken_out(noise: float) -> None:
    found = [fit_roughness(drawn(seed, noise), 2.0) for seed in range(5)]
    for value, truth, margin in (
        ([f.sigma.value for f in found], 1.0, 0.03),
        ([f.correlation_length.value for f in found], 20.0, 3.0),
        ([f.hurst.value for f in found], 0.75, 0.12),
    ):
        assert abs(np.mean(value) - truth) < margin
    assert np.std([f.sigma.value for f in found]) < 0.035
    assert np.mean([f.noise.value for f in found]) == pytest.approx(noise, abs=0.06)
    biased = np.mean([f.biased.value for f in found])
    assert biased == pytest.approx(np.hypot(0.974, noise), rel=0.03)


def deviations(found: list[Roughness]) -> Float:
    """Return the errors over the quoted standard deviations, ``(3, runs)``."""
    figures = [(f.sigma, f.correlation_length, f.hurst) for f in found]
    truth = (1.0, 20.0, 0.75)
    return np.array(
        [[(e.value - t) / e.sd for e, t in zip(row, truth, strict=True)] for row in figures]
    ).T


@pytest.mark.slow
@pytest.mark.parametrize("noise", [0.5, 1.0, 1.5])
def test_the_quoted_deviations_cover_the_truth(noise: float) -> None:
    off = deviations([fit_roughness(drawn(1000 + s, noise), 2.0) for s in range(150)])
    covered = np.mean(np.abs(off) < 1, axis=1)
    # 68.3 % are wanted; 150 runs tell it to 3.8 %.
    assert (covered > 0.57).all(), covered
    assert (covered < 0.79).all(), covered


def test_blur_along_the_edge_is_told_from_the_exponent() -> None:
    rng = np.random.default_rng(11)
    fine = rough_edges(
        40, 8000, rng, sigma=1.0, correlation_length=80.0, hurst=0.75, pair_correlation=0.0
    )
    blurred = gaussian_filter1d(fine, 0.9 * 8, axis=1)[:, ::8]
    noisy = blurred + rng.normal(0, 0.1, blurred.shape)
    found = fit_roughness(noisy, 2.0, known=Known(0.7, 0.4))
    assert found.sigma.value == pytest.approx(1.0, abs=2.5 * found.sigma.sd)
    assert found.hurst.value == pytest.approx(0.75, abs=0.15)
    assert found.correlation_length.value == pytest.approx(20, rel=0.15)
    assert found.noise.value == pytest.approx(0.1, abs=0.01)
    # Pixels much finer than the probe.
    fit_roughness(noisy, 2.0, known=Known(30.0, 15.0))


def test_noise_that_rows_share_is_not_roughness() -> None:
    rng = np.random.default_rng(12)
    white = rng.normal(0, 1, (40, 1002))
    taps = np.array([0.6, 0.3, 0.1])
    coloured = sum(tap * white[:, i : i + 1000] for i, tap in enumerate(taps))
    shape = np.correlate(taps, taps, "full")[2:] / (taps @ taps)
    edges = drawn(13, 0.0) + coloured * 1.5
    found = fit_roughness(edges, 2.0, known=Known(0.0, 0.3, tuple(shape)))
    assert found.sigma.value == pytest.approx(1.0, abs=3 * found.sigma.sd)
    assert found.noise.value == pytest.approx(1.5 * np.sqrt(taps @ taps), rel=0.03)
    assert found.fits
    assert fit_roughness(edges, 2.0).sigma.value > 1.2


def test_a_correlation_that_no_noise_has_does_no_harm() -> None:
    found = fit_roughness(drawn(16, 0.3), 2.0, known=Known(0.0, 0.3, (1.0, 0.9, 0.1)))
    assert np.isfinite([found.sigma.value, found.sigma.sd, found.misfit]).all()


def test_a_spectrum_of_another_shape_says_so() -> None:
    rng = np.random.default_rng(14)
    edges = drawn(15, 0.3)
    wave = 0.5 * np.sin(2 * np.pi * np.arange(1000) / 7 + rng.uniform(0, 6, (40, 1)))
    found = fit_roughness(edges + wave, 2.0)
    assert not found.fits
    assert found.misfit > 3
    assert found.sigma.sd > 1.5 * fit_roughness(edges, 2.0).sigma.sd


def test_few_noisy_edges_have_a_larger_deviation() -> None:
    many, few = (fit_roughness(drawn(3, 1.0, edges=n), 2.0) for n in (40, 10))
    assert 1.5 < few.sigma.sd / many.sigma.sd < 2.7
    assert few.hurst.sd > 1.5 * many.hurst.sd


def test_edges_that_move_together_count_once() -> None:
    apart, together = (fit_roughness(drawn(4, 0.0, pair=p), 2.0, pairs=True) for p in (0.0, 0.99))
    assert together.edges == pytest.approx(20, abs=1.5)
    assert apart.edges == pytest.approx(40, abs=2)
    assert together.together == pytest.approx(0.99, abs=0.01)
    assert together.sigma.sd > 1.25 * apart.sigma.sd


def test_jitter_of_the_rows_is_no_roughness() -> None:
    edges = drawn(5, 0.3)
    shaken = edges + np.random.default_rng(6).normal(0, 1.0, edges.shape[1])
    still = fit_roughness(edges, 2.0, pairs=True, common=True)
    found = fit_roughness(shaken, 2.0, pairs=True, common=True)
    assert found.sigma.value == pytest.approx(still.sigma.value, rel=1e-6)
    assert found.common.value == pytest.approx(1.0, abs=2.5 * found.common.sd)
    assert 0.01 < found.common.sd < 0.04
    assert found.biased.value > 1.3
    left_in = fit_roughness(shaken, 2.0, pairs=True)
    assert left_in.noise.value == pytest.approx(np.hypot(0.3, 1.0), abs=0.12)


def test_noise_alone_is_no_roughness() -> None:
    found = fit_roughness(np.random.default_rng(7).normal(0, 1, (20, 500)), 1.0)
    assert found.noise.value == pytest.approx(1, abs=0.1)
    assert found.sigma.value < 3 * found.sigma.sd


@pytest.mark.parametrize(("edges", "rows"), [(16, 300), (40, 1000), (8, 100)])
def test_noise_is_not_taken_for_roughness_shorter_than_a_row(edges: int, rows: int) -> None:
    off, largest = [], 0.0
    for seed in range(12):
        noise = np.random.default_rng(seed).normal(0, 0.3, (edges, rows))
        found = fit_roughness(noise, 1.0, pairs=True, common=True)
        off.append(found.sigma.value / found.sigma.sd)
        largest = max(largest, found.sigma.sd)
        one = found.of_one(0.09)[1]
        assert one.value < 2.5 * one.sd
    # Two deviations: 95 % of the runs.
    assert np.sum(np.array(off) > 2) <= 1, off
    assert max(off) < 3.5
    assert largest < 0.3


@settings(max_examples=10, deadline=None)
@given(st.floats(-1e3, 1e3), st.floats(-0.1, 0.1), st.floats(0.1, 10))
def test_place_tilt_and_unit_do_not_matter(shift: float, slope: float, scale: float) -> None:
    edges = drawn(8, 0.5, edges=8, rows=128)
    plain = fit_roughness(edges, 2.0)
    moved = fit_roughness(scale * (edges + shift + slope * np.arange(128)), 2.0 * scale)
    assert moved.sigma.value == pytest.approx(scale * plain.sigma.value, rel=2e-3)
    assert moved.sigma.sd == pytest.approx(scale * plain.sigma.sd, rel=2e-2)
    assert moved.hurst.value == pytest.approx(plain.hurst.value, abs=1e-2)
    assert moved.correlation_length.value == pytest.approx(
        scale * plain.correlation_length.value, rel=1e-2
    )


def test_twice_the_integral_of_the_spectrum_is_the_variance() -> None:
    edges = drawn(9, 0.5)
    found = fit_roughness(edges, 2.0)
    step = found.frequency[1] - found.frequency[0]
    assert 2 * step * found.psd.sum() == pytest.approx(found.biased.value**2, rel=0.03)
    assert 2 * step * found.model.sum() == pytest.approx(found.biased.value**2, rel=0.03)
    assert 2 * step * found.floor.sum() == pytest.approx(found.noise.value**2, rel=0.01)


@pytest.mark.parametrize(
    ("edges", "pairs"),
    [(np.zeros(100), False), (np.zeros((2, 63)), False), (np.full((2, 80), np.nan), False),
     (np.ones((3, 80)), True)],
)  # fmt: skip
def test_what_is_no_set_of_edges_is_refused(edges: Float, pairs: bool) -> None:
    with pytest.raises(UsageError):
        fit_roughness(edges, 1.0, pairs=pairs)


def test_straight_edges_have_no_roughness_to_measure() -> None:
    with pytest.raises(EverhartError, match="straight"):
        fit_roughness(np.arange(100.0) * np.ones((3, 1)), 1.0)

"""The generalised Anscombe transform and its exact unbiased inverse."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from everhart import UsageError
from everhart.restore.stabilise import Anscombe


def expected_transform(mean: float, sigma: float, transform: Anscombe) -> tuple[float, float]:
    """Mean and variance of the transform of Poisson + Gauss noise, by quadrature."""
    from scipy.stats import poisson

    arrivals = np.arange(int(mean + 12 * math.sqrt(mean) + 30))
    weights = poisson.pmf(arrivals, mean)
    nodes, node_weights = np.polynomial.hermite_e.hermegauss(80)
    node_weights = node_weights / node_weights.sum()
    values = transform.forward(arrivals[:, None] + sigma * nodes).astype(float)
    first = weights @ values @ node_weights
    second = weights @ values**2 @ node_weights
    return float(first), float(second - first**2)


@pytest.mark.parametrize("sigma", [0.0, 0.5, 1.0, 3.0, 10.0])
@pytest.mark.parametrize("mean", [1.0, 2.0, 5.0, 20.0, 100.0])
def test_inverse_is_unbiased(mean: float, sigma: float) -> None:
    transform = Anscombe(1.0, readout_variance=sigma**2)
    level, _ = expected_transform(mean, sigma, transform)
    found = float(transform.inverse(np.array([level]))[0])
    # The closed form's own error (Makitalo & Foi, figure 3) is far below the noise.
    assert abs(found - mean) < 0.06 * math.sqrt(mean + sigma**2)


@pytest.mark.parametrize("sigma", [0.0, 1.0, 5.0])
@pytest.mark.parametrize("mean", [5.0, 20.0, 100.0])
def test_variance_is_one(mean: float, sigma: float) -> None:
    _, variance = expected_transform(mean, sigma, Anscombe(1.0, readout_variance=sigma**2))
    assert variance == pytest.approx(1.0, abs=0.08)


def test_the_algebraic_inverse_would_be_biased() -> None:
    transform = Anscombe(1.0)
    level, _ = expected_transform(2.0, 0.0, transform)
    algebraic = level**2 / 4 - 3 / 8
    exact = float(transform.inverse(np.array([level]))[0])
    assert abs(exact - 2) < 0.1 * abs(algebraic - 2)


@given(st.floats(0.01, 50), st.floats(-1000, 1000), st.floats(0, 100), st.sampled_from([-1.0, 1.0]))
def test_there_and_back(gain: float, pedestal: float, readout: float, sign: float) -> None:
    """Far above the readout the inverse differs from the algebraic one by a quarter arrival."""
    transform = Anscombe(sign * gain, pedestal, readout * gain**2)
    image = pedestal + sign * gain * np.linspace(30, 500, 50)
    back = transform.inverse(transform.forward(image))
    assert np.abs(back - image).max() < 0.3 * gain + 1e-5 * np.abs(image).max()


@given(st.floats(0.1, 10), st.floats(0, 50))
def test_inverse_rises(gain: float, readout: float) -> None:
    levels = Anscombe(gain, 0.0, readout).inverse(np.linspace(0, 60, 2000))
    assert (np.diff(levels.astype(float)) >= -1e-4 * gain).all()


def test_correlated_noise_of_an_sem_is_stabilised(rng: np.random.Generator) -> None:
    from scipy.ndimage import convolve1d

    kernel = np.array([0.584, 0.343, 0.061, 0.013])
    kernel /= kernel.sum()
    left = float(np.sum(kernel**2))
    transform = Anscombe(7 * left, 0.0, 50 * left)
    for level in (40, 100, 200):
        frame = rng.poisson(level / 7, (400, 400)) * 7.0 + rng.normal(0, 50**0.5, (400, 400))
        stable = transform.forward(convolve1d(frame, kernel, axis=1, mode="wrap"))
        assert stable.std() == pytest.approx(1, abs=0.06)
        mean = transform.inverse(np.full((1, 1), stable.mean()))[0, 0]
        assert mean == pytest.approx(level, rel=0.01)


@pytest.mark.parametrize("gain", [0.0, math.nan, math.inf])
def test_a_gain_that_is_none(gain: float) -> None:
    with pytest.raises(UsageError, match="gain"):
        Anscombe(gain)


@pytest.mark.parametrize("readout", [-1.0, math.nan, math.inf])
def test_a_variance_that_is_none(readout: float) -> None:
    with pytest.raises(UsageError, match="readout variance"):
        Anscombe(1.0, readout_variance=readout)

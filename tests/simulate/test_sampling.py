import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from everhart.errors import UsageError
from everhart.simulate import apply_taps, exponential_taps, sample_noise
from everhart.simulate.sampling import EXACT_BELOW, sample_arrivals

TAPS = (0.584, 0.342, 0.059, 0.015)


def compound_cdf(x, arrivals):
    counts = np.arange(1, int(arrivals + 12 * np.sqrt(arrivals) + 30))
    weights = stats.poisson.pmf(counts, arrivals)
    return np.exp(-arrivals) + (weights[:, None] * stats.gamma.cdf(x, counts[:, None])).sum(axis=0)


@pytest.mark.parametrize("arrivals", [0.5, 5.0, 23.0, EXACT_BELOW, 60.0, 400.0])
def test_pulses_follow_the_compound_distribution(arrivals, rng):
    gain = 3.0
    signal = np.full(40_000, arrivals * gain, np.float32)
    drawn = sample_arrivals(signal, rng, gain=gain) / gain
    found = stats.kstest(
        drawn[drawn > 0],
        lambda x: (compound_cdf(x, arrivals) - np.exp(-arrivals)) / (1 - np.exp(-arrivals)),
    )
    assert found.statistic < 1.9 / np.sqrt(drawn.size) + 0.001
    assert np.mean(drawn == 0) == pytest.approx(np.exp(-arrivals), abs=0.01)


@pytest.mark.parametrize("level", [20.0, 170.0])
def test_moments_of_filtered_noise(level, rng):
    gain, readout = 3.94, 3.0
    noise = sample_noise(
        np.full((700, 700), level, np.float32), rng, gain=gain, taps=TAPS, readout_sigma=readout
    ).astype(np.float64)
    taps = np.array(TAPS) / sum(TAPS)
    shot = 2 * gain * level
    variance = shot * (taps**2).sum() + readout**2
    assert noise.mean() == pytest.approx(level, abs=0.15)
    assert noise.var() == pytest.approx(variance, rel=0.012)
    skew = 6 * gain**2 * level * (taps**3).sum() / variance**1.5
    assert stats.skew(noise, axis=None) == pytest.approx(skew, abs=0.02)
    centred = noise - noise.mean()
    for lag in (1, 2, 3):
        wanted = shot * (taps[:-lag] @ taps[lag:]) / variance
        assert np.mean(centred[:, lag:] * centred[:, :-lag]) / noise.var() == pytest.approx(
            wanted, abs=0.006
        )
    assert abs(np.mean(centred[1:] * centred[:-1])) / noise.var() < 0.006


def test_the_first_column_is_as_noisy_as_the_others(rng):
    noise = sample_noise(np.full((20_000, 6), 100, np.float32), rng, gain=4.0, taps=TAPS)
    spread = noise.std(axis=0)
    np.testing.assert_allclose(spread, spread.mean(), rtol=0.03)


def test_equal_pulses_have_half_the_variance(rng):
    signal = np.full((300, 300), 100, np.float32)
    equal = sample_noise(signal, rng, gain=4.0, compound=False)
    assert equal.var() == pytest.approx(400, rel=0.03)
    assert np.all(np.mod(equal, 4) == 0)


def test_rows_share_their_offset(rng):
    noise = sample_noise(np.zeros((2000, 50), np.float32), rng, gain=0, row_offset_sigma=2.0)
    assert np.ptp(noise, axis=1).max() == 0
    assert noise[:, 0].std() == pytest.approx(2.0, rel=0.06)


def test_a_mixed_image_has_the_right_mean_everywhere(rng):
    signal = np.tile(np.linspace(0, 250, 64, dtype=np.float32), (4000, 1))
    noise = sample_noise(signal, rng, gain=4.0)
    error = np.sqrt(8 * np.maximum(signal[0], 1) / 4000)
    assert np.all(np.abs(noise.mean(axis=0) - signal[0]) < 4.5 * error)
    assert np.all(noise[:, 0] == 0)


@given(
    shape=st.tuples(st.integers(1, 20), st.integers(1, 20)),
    taps=st.lists(st.floats(0.01, 1), min_size=1, max_size=6),
    seed=st.integers(0, 2**31),
)
@settings(max_examples=40, deadline=None)
def test_taps_are_causal_and_keep_the_level(shape, taps, seed):
    image = np.random.default_rng(seed).uniform(0, 1, shape).astype(np.float32)
    filtered = apply_taps(image, taps)
    weights = np.array(taps) / sum(taps)
    padded = np.concatenate([np.repeat(image[:, :1], len(taps) - 1, axis=1), image], axis=1)
    wanted = [np.convolve(row, weights, "valid") for row in padded]
    np.testing.assert_allclose(filtered, wanted, atol=1e-5)
    noisy = sample_noise(image, np.random.default_rng(seed), gain=0.1, taps=taps)
    assert noisy.shape == shape
    assert noisy.dtype == np.float32
    assert np.isfinite(noisy).all()


def test_the_input_stays_as_it_is(rng):
    image = np.full((8, 8), 5, np.float32)
    for gain in (0.0, 1.0):
        result = sample_noise(image, rng, gain=gain, readout_sigma=1.0)
        assert not np.shares_memory(result, image)
    assert np.all(image == 5)


def test_exponential_taps():
    taps = np.array(exponential_taps(2.0))
    assert taps.sum() == pytest.approx(1)
    np.testing.assert_allclose(taps[1:] / taps[:-1], np.exp(-0.5))


@pytest.mark.parametrize(
    "wrong",
    [
        {"gain": -1},
        {"gain": float("nan")},
        {"gain": 1, "taps": ()},
        {"gain": 1, "taps": (1, -1)},
        {"gain": 1, "readout_sigma": -2},
    ],
)
def test_wrong_calls(wrong, rng):
    with pytest.raises(UsageError):
        sample_noise(np.zeros((4, 4), np.float32), rng, **wrong)


def test_a_stack_is_refused(rng):
    with pytest.raises(UsageError, match="one by one"):
        sample_noise(np.zeros((2, 4, 4), np.float32), rng, gain=1)

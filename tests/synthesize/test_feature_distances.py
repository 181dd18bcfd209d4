"""Fréchet distance, precision and recall: even for equal sets, and able to fail."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from everhart.synthesize.audit import audit
from everhart.synthesize.feature_distances import frechet_distance, precision_and_recall
from everhart.synthesize.ratio import Ratio, draws_of, ratio_of

FEATURES = 120
MIXING = np.random.default_rng(99).normal(size=(10, FEATURES))


def _features(seed: int, count: int) -> np.ndarray:
    """Features as those of a network: many, correlated, with a long tail of small ones."""
    rng = np.random.default_rng(seed)
    large = rng.normal(size=(count, 10)) * np.linspace(3, 0.5, 10)
    return large @ MIXING + 0.3 * rng.normal(size=(count, FEATURES)) + 5


def _ratio(made: np.ndarray, real: np.ndarray, seed: int = 0) -> Ratio:
    draws = draws_of(len(made), len(real), np.random.default_rng(seed))
    found, _, _ = ratio_of(
        "features",
        lambda rows, others, of_real: frechet_distance(
            (real if of_real else made)[rows], real[others]
        ),
        draws,
    )
    assert found is not None
    return found


def _shares(made: np.ndarray, real: np.ndarray) -> tuple[float, float, float]:
    draws = draws_of(len(made), len(real), np.random.default_rng(0))
    precision, recall = precision_and_recall(made, real, draws)
    assert precision.real == recall.real
    assert precision.low <= precision.real <= precision.high
    return precision.value, recall.value, precision.real


def test_the_distance_is_that_of_normal_distributions() -> None:
    rng = np.random.default_rng(0)
    reference = rng.normal(size=(4000, 3)) * [1, 2, 3]
    moved = reference + np.array([2, 0, 0])
    assert frechet_distance(moved, reference) == pytest.approx(2, rel=0.03)  # in its deviations
    wider = reference.mean(axis=0) + 1.5 * (reference - reference.mean(axis=0))
    assert frechet_distance(wider, reference) == pytest.approx(0.5 * np.sqrt(3), rel=1e-6)
    # Features that say nothing change nothing, though there are more of them than images then.
    few, others = reference[:30], moved[30:60]
    padded = [np.pad(x, ((0, 0), (0, 50))) for x in (others, few)]
    assert frechet_distance(*padded) == pytest.approx(frechet_distance(others, few), rel=1e-6)


@given(st.integers(0, 1000), st.floats(0.1, 50), st.floats(-100, 100), st.integers(4, 40))
@settings(max_examples=30, deadline=None)
def test_the_distance_knows_no_unit_and_no_rotation(
    seed: int, scale: float, offset: float, count: int
) -> None:
    one, two = _features(seed, count), _features(seed + 5000, count)
    turn, _ = np.linalg.qr(np.random.default_rng(seed).normal(size=(FEATURES, FEATURES)))
    plain = frechet_distance(one, two)
    assert plain >= 0
    changed = frechet_distance(scale * one @ turn + offset, scale * two @ turn + offset)
    assert changed == pytest.approx(plain, rel=1e-5)


def test_images_that_are_all_alike_have_a_distance() -> None:
    same = np.repeat(_features(0, 1), 8, axis=0)
    assert frechet_distance(same, same) == pytest.approx(0, abs=1e-9)
    assert np.isfinite(frechet_distance(_features(1, 8), same))
    assert np.isfinite(frechet_distance(same, _features(1, 8)))


def test_equal_sets_are_as_far_as_the_floor_over_seeds() -> None:
    found = [
        _ratio(_features(2 * seed, 48), _features(2 * seed + 1, 96), seed) for seed in range(12)
    ]
    values = [r.value for r in found]
    assert np.mean(values) == pytest.approx(1, abs=0.06)
    assert np.std(values) < 0.15
    assert sum(r.low <= 1 <= r.high for r in found) >= 9
    shares = np.array(
        [_shares(_features(2 * seed, 48), _features(2 * seed + 1, 96)) for seed in range(12)]
    )
    assert shares[:, 0].mean() == pytest.approx(shares[:, 2].mean(), abs=0.03)
    assert shares[:, 1].mean() == pytest.approx(shares[:, 2].mean(), abs=0.03)


@pytest.mark.parametrize("how", ["moved", "wider", "poorer"])
def test_other_sets_are_further(how: str) -> None:
    made, real = _features(0, 48), _features(1, 96)
    if how == "moved":
        made = made + 2.5 * MIXING[4]
    elif how == "wider":
        made = made.mean(axis=0) + 2 * (made - made.mean(axis=0))
    else:
        made = made.mean(axis=0) + 0.3 * (made - made.mean(axis=0))
    found = _ratio(made, real)
    assert found.low > 1
    assert found.low < found.value < found.high


def test_precision_falls_for_garbage_and_recall_for_sameness() -> None:
    made, real = _features(0, 48), _features(1, 96)
    _, _, floor = _shares(made, real)
    assert floor > 0.6
    rng = np.random.default_rng(0)
    garbage = np.where(np.arange(48)[:, None] < 24, made, made + 30 * rng.normal(size=made.shape))
    assert _shares(garbage, real)[0] < 0.6 * floor
    collapsed = np.repeat(made[:3], 16, axis=0) + 0.05 * rng.normal(size=made.shape)
    precision, recall, _ = _shares(collapsed, real)
    assert recall < 0.3 * floor
    assert precision > recall


def test_the_audit_takes_features_into_its_mean() -> None:
    rng = np.random.default_rng(3)
    images = [rng.normal(0, 0.3, (16, 16)).astype(np.float32) for _ in range(60)]
    made, learned, real = images[:20], images[20:24], images[24:]

    def features(some: list[np.ndarray]) -> np.ndarray:
        shift = (6.0 if some is made else 0.0) * MIXING[0]
        return _features(len(some), len(some)) + shift

    plain = audit(made, learned, real)
    found = audit(made, learned, real, features=features)  # type: ignore[arg-type]
    assert plain.precision is None
    assert plain.recall is None
    assert plain.to_dict()["precision"] is None
    assert found.ratios[:4] == plain.ratios
    assert found.ratios[4].name == "network features"
    assert found.ratios[4].value > 1.1
    assert found.geometric_mean_of_pixels == plain.geometric_mean == plain.geometric_mean_of_pixels
    assert found.geometric_mean > found.geometric_mean_of_pixels
    told = found.to_dict()
    assert told["geometric_mean_of"][-1] == "network features"
    assert set(told["recall"]) == {"value", "real", "low", "high"}
    assert "recall" in found.summary()
    assert "of these 5" in found.summary()

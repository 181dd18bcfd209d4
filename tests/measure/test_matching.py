"""The failure rate: one found circle for one true one, and what is left on both sides."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from everhart import UsageError
from everhart.measure import failure_rate


@given(st.integers(1, 25), st.integers(0, 25), st.integers(0, 12), st.integers(0, 10**6))
def test_what_was_left_out_and_what_was_added_is_counted(
    total: int, missed: int, added: int, seed: int
) -> None:
    rng = np.random.default_rng(seed)
    missed = min(missed, total)
    y, x = np.divmod(np.arange(total), 5)
    truth = np.stack([y * 50.0, x * 50.0, rng.uniform(10, 20, total)], axis=1)
    found = truth[missed:].copy()
    found[:, :2] += rng.uniform(-1, 1, found[:, :2].shape)
    false = np.stack(
        [np.full(added, 500.0) + 60 * np.arange(added), np.zeros(added), np.full(added, 15.0)], 1
    )
    everything = rng.permutation(np.concatenate([found, false]))
    rate = failure_rate(everything, truth)
    assert (rate.total, rate.undetected, rate.false_detections) == (total, missed, added)
    assert rate.failure_rate == missed / total
    for a, b in rate.pairs:
        assert np.hypot(*(everything[a, :2] - truth[b, :2])) < 2


def test_one_to_one() -> None:
    # Two found for one true one: one is false. The nearest found of the first true circle is
    # needed by the second.
    assert failure_rate([(0, 0, 10), (1, 0, 10)], [(0, 0, 10)]).false_detections == 1
    rate = failure_rate([(2, 0, 10), (0.5, 0, 10)], [(1.5, 0, 10), (4, 0, 10)])
    assert rate.undetected == 0


def test_tolerances_are_parts_of_the_true_radius() -> None:
    truth = [(0, 0, 20)]
    assert failure_rate([(4.9, 0, 20)], truth).undetected == 0
    assert failure_rate([(5.1, 0, 20)], truth).undetected == 1
    assert failure_rate([(0, 0, 15.1)], truth).undetected == 0
    assert failure_rate([(0, 0, 25.1)], truth).undetected == 1
    assert failure_rate([(5.1, 0, 20)], truth, centre_tolerance=0.3).undetected == 0


def test_tables_with_radius_or_diameter_and_nothing_found() -> None:
    truth = pd.DataFrame({"y_px": [1.0], "x_px": [2.0], "diameter_px": [8.0]})
    found = pd.DataFrame({"y_px": [1.0], "x_px": [2.0], "radius_px": [4.0]})
    assert failure_rate(found, truth).failure_rate == 0
    assert failure_rate(found.iloc[:0], truth).failure_rate == 1
    assert failure_rate([], truth).failure_rate == 1


@pytest.mark.parametrize(
    ("found", "truth", "values", "said"),
    [
        ([], [], {}, "No true circle"),
        (pd.DataFrame({"y": [1]}), [(1, 1, 1)], {}, "radius_px"),
        ([(1, 2)], [(1, 1, 1)], {}, r"\(n, 3\)"),
        ([], [(1, 1, 1)], {"centre_tolerance": 0}, "centre_tolerance"),
    ],
)
def test_wrong_calls(found: object, truth: object, values: dict, said: str) -> None:
    with pytest.raises(UsageError, match=said):
        failure_rate(found, truth, **values)

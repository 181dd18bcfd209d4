"""Statistics over images against values made by hand and an independent implementation."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from everhart.report.dataset_table import (
    holm,
    mean_first,
    overall,
    paired_differences,
    win_matrix,
    worst_first,
)

NAN = np.nan
PSNR = pd.DataFrame(
    {
        "a": [30.0, 30.0, 30.0, 30.0, NAN],
        "b": [29.0, 30.04, 31.0, 29.9, 28.0],
        "c": [20.0, 20.0, NAN, 20.0, np.inf],
    },
    index=["1", "2", "3", "4", "5"],
)


def test_win_matrix_by_hand():
    wins = win_matrix(PSNR, "psnr_db", tie_margin=0.05)
    assert wins.to_numpy().tolist() == [[0, 2, 3], [1, 0, 3], [0, 1, 0]]
    none = win_matrix(PSNR, "psnr_db", tie_margin=0.0)
    assert none.loc["b", "a"] == 2
    wide = win_matrix(PSNR, "psnr_db", tie_margin=5.0)
    assert wide.to_numpy().tolist() == [[0, 0, 3], [0, 0, 3], [0, 1, 0]]


def test_low_is_better_where_it_is():
    seconds = pd.DataFrame({"fast": [1.0, 1.0], "slow": [2.0, 3.0]})
    assert win_matrix(seconds, "seconds", tie_margin=0).to_numpy().tolist() == [[0, 2], [0, 0]]
    assert mean_first(seconds, "seconds") == ["fast", "slow"]
    assert worst_first(seconds, "seconds", "slow") == ["1", "0"]
    (row,) = paired_differences(seconds, "seconds", tie_margin=0).to_dict("records")
    assert (row["difference"], row["wins"], row["losses"]) == (-1.5, 2, 0)
    leakage = pd.DataFrame({"x": [-0.1], "y": [0.2]})  # nearest to zero is best
    assert win_matrix(leakage, "structure_leakage", tie_margin=0).loc["x", "y"] == 1


def test_equal_and_infinite_values_tie():
    same = pd.DataFrame({"a": [np.inf, 30.0], "b": [np.inf, 30.0]})
    (row,) = paired_differences(same, "psnr_db", tie_margin=0).to_dict("records")
    assert (row["wins"], row["ties"], row["losses"], row["p"], row["n"]) == (0, 2, 0, 1.0, 2)


def test_paired_differences_agree_with_the_t_test(rng):
    images = rng.normal(25, 4, (12, 1))  # images differ far more than methods
    wide = pd.DataFrame(images + rng.normal([0, 0.5, 1], 0.4, (12, 3)), columns=["a", "b", "c"])
    found = paired_differences(wide, "psnr_db", tie_margin=0.1)
    assert list(zip(found["method"], found["other"], strict=True)) == [
        ("a", "b"), ("a", "c"), ("b", "c"),
    ]  # fmt: skip
    for row in found.to_dict("records"):
        test = stats.ttest_rel(wide[row["method"]], wide[row["other"]])
        interval = test.confidence_interval(0.95)
        assert (row["low"], row["high"]) == pytest.approx((interval.low, interval.high))
        gains = wide[row["method"]] - wide[row["other"]]
        assert row["wins"] == (gains > 0.1).sum()
        decided = row["wins"] + row["losses"]
        assert row["p"] == pytest.approx(stats.binomtest(row["wins"], decided).pvalue)
        assert row["p_holm"] >= row["p"]


def test_one_image_has_no_interval():
    (row,) = paired_differences(PSNR[["a", "b"]].iloc[:1], "psnr_db", tie_margin=0).to_dict(
        "records"
    )
    assert row["difference"] == 1.0
    assert np.isnan(row["low"])
    assert row["n"] == 1


def test_holm_by_hand():
    # 3 x .01, 2 x .02, 1 x .03 -> .03, .04, and .04 again, since none may fall
    assert holm(np.array([0.03, 0.01, 0.02])).tolist() == pytest.approx([0.04, 0.03, 0.04])
    assert holm(np.array([0.9, 0.8])).tolist() == [1.0, 1.0]
    assert holm(np.array([])).size == 0


@given(
    st.lists(st.tuples(*[st.floats(0, 60) | st.just(NAN)] * 3), min_size=1, max_size=12),
    st.floats(0, 3),
)
def test_wins_ties_and_losses_are_all_images(rows, margin):
    wide = pd.DataFrame(rows, columns=["a", "b", "c"], dtype=float)
    wins = win_matrix(wide, "psnr_db", tie_margin=margin)
    for row in paired_differences(wide, "psnr_db", tie_margin=margin).to_dict("records"):
        assert row["wins"] + row["ties"] + row["losses"] == row["n"]
        assert wins.loc[row["method"], row["other"]] == row["wins"]
        assert wins.loc[row["other"], row["method"]] == row["losses"]
    # Nobody is better than itself, and renaming or reordering methods changes no count.
    assert not np.diag(wins).any()
    turned = win_matrix(wide[["c", "a", "b"]], "psnr_db", tie_margin=margin)
    assert turned.loc["a", "b"] == wins.loc["a", "b"]


def test_mean_over_common_images_decides():
    # c has one image only, the easiest: its own mean would be the best.
    wide = pd.DataFrame({"a": [40.0, 20.0], "b": [39.0, 21.0], "c": [39.5, NAN]})
    assert mean_first(wide, "psnr_db") == ["a", "c", "b"]


def test_worst_first_keeps_order_of_equals_and_leaves_out_failures():
    assert worst_first(PSNR, "psnr_db", "a") == ["1", "2", "3", "4"]
    assert worst_first(PSNR, "psnr_db", "b") == ["5", "1", "4", "2", "3"]


def test_overall():
    table = PSNR.reset_index(names="image").melt("image", var_name="method", value_name="psnr_db")
    found = overall(table, ["a", "b", "c"]).set_index("method")
    assert found.loc["a", "n"] == 4
    assert found.loc["b", "mean"] == pytest.approx(29.588)
    assert found.loc["b", "sd"] == pytest.approx(np.std([29.0, 30.04, 31.0, 29.9, 28.0], ddof=1))
    assert found.loc["b", "lowest"] == 28.0
    assert np.isinf(found.loc["c", "mean"])
    assert np.isnan(found.loc["c", "sd"])

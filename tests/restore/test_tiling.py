from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from everhart.errors import UsageError
from everhart.restore.tiling import plan_tiles


@settings(max_examples=200)
@given(
    st.integers(1, 40),
    st.integers(1, 40),
    st.sampled_from([1, 4, 16]),
    st.integers(0, 70),
    st.integers(1, 300_000),
)
def test_cores_cover_once_and_windows_reach_far_enough(
    rows: int, columns: int, stride: int, halo: int, limit: int
) -> None:
    shape = (rows * stride, columns * stride)
    covered = np.zeros(shape, int)
    for tile in plan_tiles(shape, halo=halo, stride=stride, max_window_pixels=limit):
        covered[tile.core] += 1
        for core, window, length in zip(tile.core, tile.window, shape, strict=True):
            assert window.start % stride == 0
            assert window.stop % stride == 0
            assert window.start == 0 or core.start - window.start >= halo
            assert window.stop == length or window.stop - core.stop >= halo
    assert (covered == 1).all()


def test_the_limit_is_kept_where_the_halo_lets_it() -> None:
    tiles = list(plan_tiles((2080, 3104), halo=96, stride=16, max_window_pixels=600_000))
    sizes = [np.prod([w.stop - w.start for w in t.window]) for t in tiles]
    assert max(sizes) <= 600_000
    # The halos of a sensible plan cost less than two thirds again of the image.
    assert sum(sizes) < 1.66 * 2080 * 3104


def test_sizes_must_be_on_the_grid() -> None:
    with pytest.raises(UsageError, match="multiple of 16"):
        list(plan_tiles((17, 32), halo=0, stride=16, max_window_pixels=100))

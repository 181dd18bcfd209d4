"""The grey scale: symmetric noise where it was skewed, and grey levels that come back."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from everhart.synthesize.grey_scale import GreyRange, grey_range


def shot_noise(electrons: float, n: int = 4) -> list[NDArray[np.uint16]]:
    rng = np.random.default_rng(0)
    level = np.repeat(np.linspace(0.3, 1.0, 4), 32) * electrons
    return [(100 * rng.poisson(np.tile(level, (128, 1)))).astype(np.uint16) for _ in range(n)]


def skewness(values: NDArray[np.float32]) -> float:
    flat = [values[:, 32 * k + 4 : 32 * k + 28].ravel() for k in range(4)]
    return float(np.median([((f - f.mean()) ** 3).mean() / f.std() ** 3 for f in flat]))


def test_shot_noise_becomes_symmetric() -> None:
    images = shot_noise(20)
    found = grey_range(images)
    assert found is not None
    assert found.offset is not None
    before = np.median([skewness(i.astype(np.float32)) for i in images])
    after = np.median([skewness(found.normalise(i)) for i in images])
    assert before > 0.2
    assert abs(after) < 0.08


def test_symmetric_noise_keeps_its_grey_levels() -> None:
    rng = np.random.default_rng(1)
    images = [rng.normal(1000, 50, (96, 96)).astype(np.uint16) for _ in range(3)]
    assert grey_range(images) == grey_range(images, "linear")
    assert grey_range([np.full((64, 64), 7, np.uint8)]) is None


@given(
    st.lists(st.integers(0, 65535), min_size=4, max_size=20),
    st.sampled_from([None, 1.0, 500.0, 1e5]),
)
def test_grey_levels_come_back(levels: list[int], offset: float | None) -> None:
    middle, half = (30_000.0, 40_000.0) if offset is None else (9.0, 2.0)
    grey = GreyRange(middle, half, "uint16", offset)
    pixels = np.array([levels], np.uint16)
    seen = grey.normalise(pixels)
    assert np.allclose(grey.restore(seen), pixels, rtol=3e-6, atol=1)
    order = np.argsort(pixels[0], kind="stable")
    assert np.all(np.diff(seen[0][order]) >= 0)


def test_the_middle_grey_is_what_the_network_sees_as_zero() -> None:
    grey = GreyRange(5.0, 1.0, "float64", 20.0)
    assert grey.normalise(np.array([[grey.middle_grey]])) == pytest.approx(0, abs=1e-6)

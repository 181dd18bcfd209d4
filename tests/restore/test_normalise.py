from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from everhart.restore.normalise import GreyScale, fill_non_finite, to_dtype


@given(
    st.sampled_from(["u1", "u2", "i2", "u4", "i8", "f2", "f4", "f8"]),
    st.integers(0, 2**32),
    st.sampled_from([0, 1000, 60_000]),
)
def test_there_and_back_again(dtype: str, seed: int, offset: int) -> None:
    rng = np.random.default_rng(seed)
    kind = np.dtype(dtype)
    low = min(offset, 200 if kind.itemsize == 1 else 30_000)
    pixels = rng.integers(low, low + 50, (20, 30)).astype(kind)
    scale = GreyScale.of(pixels)
    values = scale.normalise(pixels)
    assert values.dtype == np.float32
    assert abs(values.mean()) < 0.05
    assert np.allclose(scale.restore(values, kind).astype(float), pixels, rtol=1e-3, atol=1e-2)


def test_a_few_dead_pixels_do_not_set_the_scale() -> None:
    pixels = np.random.default_rng(0).normal(100, 10, (256, 256))
    expected = GreyScale.of(pixels)
    pixels[::100, ::100] = 1e9
    scale = GreyScale.of(pixels)
    assert scale.mean == pytest.approx(expected.mean, abs=0.5)
    assert scale.deviation == pytest.approx(expected.deviation, rel=0.05)


def test_constant_images_have_no_deviation() -> None:
    assert GreyScale.of(np.full((9, 9), 60_000.3)).deviation == 0
    assert GreyScale.of(np.full((9, 9), np.nan)).deviation == 0


@pytest.mark.parametrize("dtype", [np.bool_, np.uint8, np.int16, np.uint64, np.float16])
def test_conversion_rounds_and_clips(dtype: type) -> None:
    out = to_dtype(np.array([-1e30, 0.2, 0.7, 1e30]), np.dtype(dtype))
    assert out.dtype == dtype
    if np.dtype(dtype).kind in "iu":
        info = np.iinfo(dtype)
        assert out[0] == info.min
        assert out[1:3].tolist() == [0, 1]
        assert out[3] >= info.max * 0.999


def test_non_finite_pixels_are_filled_from_their_neighbours() -> None:
    x = np.arange(25.0).reshape(5, 5)
    damaged = x.copy()
    damaged[2, 2] = np.nan
    assert fill_non_finite(damaged)[2, 2] == pytest.approx(12)
    assert fill_non_finite(x) is x
    damaged[:] = np.nan
    damaged[0, 0] = 7.0
    assert np.allclose(fill_non_finite(damaged), 7)
    assert (fill_non_finite(np.full((3, 3), np.inf)) == 0).all()

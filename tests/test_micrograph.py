from __future__ import annotations

import json

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from everhart import HistoryEntry, Micrograph, UsageError
from everhart.micrograph import field_of, like


def test_array_and_shape() -> None:
    m = Micrograph(np.arange(12, dtype=np.uint16).reshape(3, 4), 1.5)
    assert np.asarray(m).dtype == np.uint16
    assert np.asarray(m, dtype=float).sum() == 66
    assert (m.shape, m.ndim, m.n_frames, m.pixel_size_nm) == ((3, 4), 2, 1, (1.5, 1.5))


@pytest.mark.parametrize("size", [0, -1, np.nan, np.inf, (1, 2, 3), (1, 0), "1 nm", (1, None)])
def test_a_pixel_size_is_positive_or_none(size: object) -> None:
    with pytest.raises(UsageError, match="pixel size"):
        Micrograph(np.zeros((2, 2)), size)  # type: ignore[arg-type]


@pytest.mark.parametrize("shape", [(3,), (2, 3, 4, 5), (0, 3)])
def test_only_grey_images_and_stacks(shape: tuple[int, ...]) -> None:
    with pytest.raises(UsageError, match="shape"):
        Micrograph(np.zeros(shape))


def test_complex_pixels_are_refused() -> None:
    with pytest.raises(UsageError, match="complex"):
        Micrograph(np.zeros((2, 2), complex))


def test_the_data_bar_is_left_out_and_put_back() -> None:
    pixels = np.arange(24, dtype=np.uint8).reshape(6, 4)
    m = Micrograph(pixels, data_bar_rows=2)
    assert np.array_equal(field_of(m), pixels[:4])
    out = m.with_field_of_view(np.zeros((4, 4), np.uint8), "zero", {"by": 1})
    assert np.array_equal(out.pixels[4:], pixels[4:])
    assert not out.pixels[:4].any()
    assert out.crop_data_bar().shape == (4, 4)
    with pytest.raises(UsageError, match="data bar"):
        Micrograph(pixels, data_bar_rows=6)


def test_a_stack_may_become_one_image() -> None:
    m = Micrograph(np.arange(48.0).reshape(2, 6, 4), data_bar_rows=1)
    mean = m.with_field_of_view(m.field_of_view.mean(0), "average")
    assert mean.shape == (6, 4)
    assert np.array_equal(mean.pixels[5], m.pixels[0, 5])


def test_like_gives_back_what_it_was_given() -> None:
    array = np.zeros((3, 3))
    assert isinstance(like(array, array + 1, "add"), np.ndarray)
    m = like(Micrograph(array, 2.0), array + 1, "add", {"value": 1}, "ab" * 32)
    assert (m.pixel_size_nm, m.history[0].operation) == ((2.0, 2.0), "add")
    assert m.history[0].model_hash == "ab" * 32


def test_xarray_axes_are_in_nm() -> None:
    array = Micrograph(np.zeros((2, 3, 4)), (2.0, 0.5)).to_xarray()
    assert array.dims == ("frame", "y", "x")
    assert array.y.values.tolist() == [0, 2, 4]
    assert array.x.attrs["units"] == "nm"
    assert Micrograph(np.zeros((3, 4))).to_xarray().x.attrs["units"] == "px"


@given(
    st.text(max_size=20),
    st.dictionaries(st.text(max_size=8), st.integers() | st.floats(allow_nan=False) | st.text()),
    st.none() | st.text(),
)
def test_history_survives_json(operation: str, parameters: dict, model_hash: str | None) -> None:
    entry = HistoryEntry(operation, parameters, model_hash)
    assert HistoryEntry.from_dict(json.loads(json.dumps(entry.to_dict()))) == entry

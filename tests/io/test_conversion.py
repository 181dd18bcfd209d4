"""Another dtype: exact, or scaled as asked, never otherwise."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from everhart import Micrograph
from everhart.errors import UsageError
from everhart.io.conversion import change_dtype, grey_ends


@given(
    pixels=arrays(np.int16, (3, 4), elements=st.integers(-300, 300)),
    dtype=st.sampled_from(["uint8", "uint16", "int32", "float32"]),
)
def test_without_a_scale_grey_levels_stay_or_nothing_is_done(pixels: np.ndarray, dtype: str):
    limits = np.iinfo(dtype) if dtype != "float32" else np.iinfo("int32")
    image = Micrograph(pixels, 2.0)
    if limits.min <= pixels.min() and pixels.max() <= limits.max:
        changed = change_dtype(image, dtype)
        np.testing.assert_array_equal(changed.pixels, pixels)
        assert (changed.dtype, changed.history) == (np.dtype(dtype), ())
    else:
        with pytest.raises(UsageError, match="--scale"):
            change_dtype(image, dtype)


def test_floats_lose_digits_and_nothing_else():
    image = Micrograph(np.array([[0.1, np.nan], [1e300, 2.0]]))
    with pytest.raises(UsageError, match="do not fit into float32"):
        change_dtype(image, "float32")  # 1e300 is none
    changed = change_dtype(Micrograph(image.pixels[:1]), "float32")
    assert changed.pixels[0, 0] == np.float32(0.1)
    with pytest.raises(UsageError, match="do not fit into float32"):
        change_dtype(Micrograph(np.array([[2**31 - 1]])), "float32")


@pytest.mark.parametrize(
    ("dtype", "scale", "expected"),
    [
        ("uint8", "minmax", [[0, 64], [126, 255]]),
        ("uint8", (0.0, 510.0), [[50, 75], [100, 150]]),
        ("uint8", (150.0, 200.0), [[0, 1], [250, 255]]),
        ("uint16", "round", [[100, 150], [199, 300]]),
        ("float32", "minmax", [[0, 0.25125], [0.495, 1]]),
    ],
)
def test_a_scale(dtype: str, scale, expected):
    image = Micrograph(np.array([[100, 150.25], [199, 300]]), 2.0)
    changed = change_dtype(image, dtype, scale)
    np.testing.assert_allclose(changed.pixels, expected, atol=2e-3)
    assert changed.dtype == np.dtype(dtype)
    assert changed.pixel_size_nm == (2.0, 2.0)
    assert changed.history[-1].operation == "scale"
    if isinstance(scale, tuple):
        assert changed.history[-1].parameters["from"] == list(scale)


def test_the_range_of_the_old_dtype():
    deep = np.array([[0, 65535, 32896]], np.uint16)
    assert change_dtype(Micrograph(deep), "uint8", "dtype").pixels.tolist() == [[0, 255, 128]]
    mask = Micrograph(np.array([[False, True]]))
    assert change_dtype(mask, "uint8", "dtype").pixels.tolist() == [[0, 255]]
    with pytest.raises(UsageError, match="no largest value"):
        change_dtype(Micrograph(np.zeros((2, 2))), "uint8", "dtype")


def test_the_data_bar_does_not_set_the_scale():
    pixels = np.array([[10.0, 20.0], [0.0, 99.0]])
    image = Micrograph(pixels, data_bar_rows=1)
    assert grey_ends(image, "minmax") == (10.0, 20.0)
    assert change_dtype(image, "uint8", "minmax").pixels.tolist() == [[0, 255], [0, 255]]


def test_a_stack_has_one_scale():
    pixels = np.stack([np.full((4, 4), 1.0), np.full((4, 4), 3.0)])
    pixels[0, 0, 0] = 2.0
    changed = change_dtype(Micrograph(pixels), "uint8", "minmax").pixels
    assert changed[:, 1, 1].tolist() == [0, 255]
    assert changed[0, 0, 0] == 128


@pytest.mark.parametrize(
    ("pixels", "dtype", "scale", "message"),
    [
        ([[0.0, np.nan]], "uint8", "minmax", "NaN or infinite"),
        ([[1.0, 1.0]], "uint8", "minmax", "nothing to scale"),
        ([[1.0, 2.0]], "uint8", (2.0, 1.0), "black must be less"),
        ([[1.0, 300.0]], "uint8", "round", "holds 0 to 255"),
        ([[1.0, 2.0]], "uint8", "auto", "BLACK,WHITE or round, minmax"),
        ([[1.0, 2.0]], "uint64", "minmax", "8 to 32 bits"),
        ([[1.0, 2.0]], "bool", None, "8 to 32 bits"),
    ],
)
def test_refused(pixels, dtype: str, scale, message: str):
    with pytest.raises(UsageError, match=message):
        change_dtype(Micrograph(np.array(pixels)), dtype, scale)

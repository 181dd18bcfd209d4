"""Pictures of the report: contrast, scales, crops, encoding."""

from __future__ import annotations

import base64

import cv2
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from everhart.report import pictures
from everhart.report.pictures import Region


def test_window_ignores_the_noise(rng, specimen):
    noisy = np.asarray(specimen + rng.normal(0, 40, specimen.shape), np.float32)
    low, high = pictures.contrast_window(noisy, None, np.dtype(np.float32))
    assert low > specimen.min() - 25
    assert high < specimen.max() + 35
    assert pictures.contrast_window(noisy, None, np.dtype(np.uint8)) == (
        max(np.floor(low), 0),
        min(np.ceil(high), 255),
    )


@pytest.mark.parametrize("value", [0.0, 255.0, np.nan])
def test_window_of_a_constant(value):
    flat = np.full((32, 32), value, np.float32)
    low, high = pictures.contrast_window(flat, flat, np.dtype(np.float32))
    assert low < high
    assert np.ptp(pictures.to_grey(flat, (low, high))) == 0


def test_signed_grey_is_symmetric():
    values = np.array([[-9, -1, -0.5, 0, 0.5, 1, 9, np.nan]], np.float32)
    grey = pictures.to_signed_grey(values, 1.0).astype(int)[0]
    assert grey[3] == grey[7] == 128
    assert grey[0] == grey[1] == 0
    assert grey[5] == grey[6] == 255
    assert grey[4] - 128 == pytest.approx(128 - grey[2], abs=1)


def test_residual_scale_is_one_round_number():
    assert pictures.residual_scale([np.full((9, 9), 0.0123), np.full((9, 9), -0.0345)]) == 0.035
    assert pictures.residual_scale([np.zeros((9, 9))]) == 1.0
    assert pictures.residual_scale([]) == 1.0


def test_structure_is_found():
    image = np.zeros((200, 300), np.float32)
    image[140:180:8, 210:280] = 1
    x, y = pictures.structured_point(image, 60)
    assert 200 < x < 290
    assert 130 < y < 190


@given(
    height=st.integers(1, 60),
    width=st.integers(1, 60),
    side=st.integers(1, 80),
    longest=st.integers(1, 80),
)
def test_regions_lie_inside(height, width, side, longest):
    image = np.random.default_rng(0).random((height, width)).astype(np.float32)
    x, y = pictures.structured_point(image, side)
    assert 0 <= x < width
    assert 0 <= y < height
    region = pictures.detail_region(image.shape, (x, y), longest)
    assert region.of(image).shape == (min(height, longest), min(width, longest))
    assert region.x <= x < region.x + region.width
    assert region.y <= y < region.y + region.height


def test_overview_is_small_enough(rng):
    image = rng.random((100, 333)).astype(np.float32)
    assert pictures.overview(image) is image
    small = pictures.overview(image, 111)
    assert small.shape == (33, 111)
    assert small.mean() == pytest.approx(image.mean(), abs=0.01)


def test_png_is_lossless(rng):
    grey = rng.integers(0, 256, (40, 50)).astype(np.uint8)
    uri = pictures.data_uri(grey)
    head, data = uri.split(",")
    assert head == "data:image/png;base64"
    decoded = cv2.imdecode(np.frombuffer(base64.b64decode(data), np.uint8), cv2.IMREAD_UNCHANGED)
    np.testing.assert_array_equal(decoded, grey)


@given(st.floats(1e-3, 1e9))
def test_round_length(available):
    length = pictures.round_length(available)
    assert available / 2.5 - 1e-9 <= length <= available * (1 + 1e-6)
    assert f"{length:e}"[0] in "125"


def test_region():
    image = np.arange(20).reshape(4, 5)
    np.testing.assert_array_equal(Region(1, 2, 3, 1).of(image), [[11, 12, 13]])

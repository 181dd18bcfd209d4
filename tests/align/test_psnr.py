"""PSNR matching equals the loop over shifts, exactly, and finds what was moved."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from everhart import UsageError
from everhart.align import match_psnr
from everhart.align import psnr as module
from everhart.metrics import psnr


def loop(moving: np.ndarray, reference: np.ndarray, crop: int | None, reach: int) -> np.ndarray:
    """Squared errors of every shift, one shift after the other, in Python's integers."""
    height, width = reference.shape
    size = [min(crop or n, n - 2 * reach) for n in reference.shape]
    top, left = (height - size[0]) // 2, (width - size[1]) // 2
    fixed = reference[top : top + size[0], left : left + size[1]].astype(object)
    errors = np.zeros((2 * reach + 1, 2 * reach + 1), object)
    for dy in range(-reach, reach + 1):
        for dx in range(-reach, reach + 1):
            seen = moving[top - dy : top - dy + size[0], left - dx : left - dx + size[1]]
            errors[reach + dy, reach + dx] = int(((fixed - seen.astype(object)) ** 2).sum())
    return errors


def images(draw: st.DrawFn) -> tuple[np.ndarray, np.ndarray, int | None, int]:
    dtype = draw(st.sampled_from([np.uint8, np.uint16, np.int16, np.bool_]))
    reach = draw(st.integers(0, 4))
    shape = tuple(draw(st.integers(2 * reach + 1, 2 * reach + 14)) for _ in range(2))
    rng = np.random.default_rng(draw(st.integers(0, 2**32)))
    kind = draw(st.sampled_from(["noise", "flat", "stripes", "extremes"]))
    low, high = (0, 1) if dtype is np.bool_ else (np.iinfo(dtype).min, np.iinfo(dtype).max)
    pair = []
    for _ in range(2):
        if kind == "noise":
            image = rng.integers(low, high, shape, endpoint=True)
        elif kind == "flat":
            image = np.full(shape, rng.integers(low, high, endpoint=True))
        elif kind == "stripes":  # many shifts that are equally good
            image = np.broadcast_to(rng.integers(low, high, shape[1], endpoint=True), shape)
        else:  # nearly equal errors of large numbers
            image = np.where(rng.random(shape) < 0.5, low, high) - rng.integers(0, 2, shape)
            image = np.clip(image, low, high)
        pair.append(image.astype(dtype))
    crop = draw(st.one_of(st.none(), st.integers(1, 20)))
    return pair[0], pair[1], crop, reach


@settings(max_examples=150)
@given(st.composite(images)())
def test_the_search_equals_the_loop_exactly(case: tuple) -> None:
    moving, reference, crop, reach = case
    expected = loop(moving, reference, crop, reach)
    found = match_psnr(moving, reference, crop_px=crop, max_shift_px=reach)
    assert found.squared_errors.dtype == np.int64
    assert (found.squared_errors == expected).all()
    best = np.argwhere(expected == expected.min()) - reach
    shortest = min(best.tolist(), key=lambda s: (s[0] ** 2 + s[1] ** 2, s))
    assert list(found.shift_px) == shortest


def test_16_bits_at_their_ends_are_exact_where_one_transform_is_not() -> None:
    rng = np.random.default_rng(3)
    reference = rng.choice(np.array([0, 1, 65534, 65535], np.uint16), (900, 1000))
    a = reference.astype(np.int64) - 32768
    assert module._rounding_bound(a, a) > 0.5  # else the second way is not tested
    # One step of one pixel apart: a difference of 1 in sums of 10^15.
    moving = np.roll(reference, (2, -3), (0, 1))
    moving[500, 500] ^= 1
    found = match_psnr(moving, reference, crop_px=None, max_shift_px=6)
    assert found.shift_px == (-2, 3)
    assert found.squared_errors[6 - 2, 6 + 3] == 1
    part = reference[6:-6, 6:-6].astype(np.int64)
    for dy, dx in ((0, 0), (-6, 6), (5, -1)):
        seen = moving[6 - dy : 894 - dy, 6 - dx : 994 - dx].astype(np.int64)
        assert found.squared_errors[6 + dy, 6 + dx] == ((part - seen) ** 2).sum()


def test_floating_point_images_equal_the_loop_to_rounding(rng: np.random.Generator) -> None:
    scene = rng.normal(1e6, 1, (60, 70))
    moving, reference = scene[5:45, 3:53], scene[8:48, 10:60]
    found = match_psnr(moving, reference, crop_px=20, max_shift_px=9)
    assert found.shift_px == (-3, -7)
    assert found.mean_squared_error == 0
    assert found.psnr_db == np.inf
    crop = reference[10:30, 15:35]
    for dy, dx in ((0, 0), (9, -9), (-4, 2)):
        seen = moving[10 - dy : 30 - dy, 15 - dx : 35 - dx]
        direct = ((crop - seen) ** 2).sum()
        assert found.squared_errors[9 + dy, 9 + dx] == pytest.approx(direct, rel=1e-9)


def test_what_it_reports(rng: np.random.Generator) -> None:
    scene = rng.integers(0, 256, (200, 220)).astype(np.uint8)
    noisy = np.clip(scene + rng.normal(0, 10, scene.shape), 0, 255).astype(np.uint8)
    found = match_psnr(noisy[20:180, 10:200], scene[13:173, 22:212], max_shift_px=12, crop_px=64)
    assert found.shift_px == (7, -12)
    assert found.border_px == (7, 12)
    assert found.at_limit
    crop = scene[13:173, 22:212][48:112, 63:127]
    seen = noisy[20:180, 10:200][41:105, 75:139]
    assert found.psnr_db == pytest.approx(psnr(seen, crop, data_range=255))


def test_the_search_of_the_paper_is_the_default(rng: np.random.Generator) -> None:
    scene = rng.integers(0, 256, (480, 480)).astype(np.uint8)
    found = match_psnr(scene[40:440, 0:400], scene[:400, 40:440])
    assert found.shift_px == (40, -40)
    assert found.squared_errors.shape == (81, 81)
    # 256 of 336 that the search needs: the border outside of them is not looked at.
    spoilt = scene[:400, 40:440].copy()
    spoilt[:72] = 0
    assert match_psnr(scene[40:440, 0:400], spoilt).psnr_db == np.inf


@pytest.mark.parametrize(
    ("values", "said"),
    [
        ({"max_shift_px": 32}, "larger than 64 pixels"),
        ({"max_shift_px": 1.5}, "whole number"),
        ({"crop_px": 0}, "whole number"),
    ],
)
def test_wrong_calls(values: dict, said: str) -> None:
    with pytest.raises(UsageError, match=said):
        match_psnr(np.zeros((64, 64)), np.zeros((64, 64)), **values)

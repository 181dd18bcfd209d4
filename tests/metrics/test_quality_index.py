"""The universal image quality index."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from everhart import UsageError
from everhart.metrics import uiq

Pair = tuple[np.ndarray, np.ndarray]


def slow_uiq(a: np.ndarray, b: np.ndarray) -> float:
    """Wang and Bovik (2002): three factors in each window, with N - 1 as there."""
    found = []
    for y in range(a.shape[0] - 7):
        for x in range(a.shape[1] - 7):
            p, q = a[y : y + 8, x : x + 8].ravel(), b[y : y + 8, x : x + 8].ravel()
            (vp, cov), (_, vq) = np.cov(p, q)
            correlation = cov / np.sqrt(vp * vq)
            luminance = 2 * p.mean() * q.mean() / (p.mean() ** 2 + q.mean() ** 2)
            contrast = 2 * np.sqrt(vp * vq) / (vp + vq)
            found.append(correlation * luminance * contrast)
    return float(np.mean(found))


def test_equals_the_formulae(rng: np.random.Generator) -> None:
    a, b = rng.random((2, 14, 17))
    assert uiq(a, b) == pytest.approx(slow_uiq(a, b), abs=1e-12)
    assert uiq(a, (a + b) / 2) == pytest.approx(slow_uiq(a, (a + b) / 2), abs=1e-12)


# Of image-similarity-measures 0.3.6 (MIT): uiq(clean[..., None], noisy[..., None]) on the images
# of conftest.py less 16 px all around, in an environment of its own; it works in float32. (sewar
# 0.4.10 gives 0.965: it takes the means over a window for sums, which is not the paper's index.)
def test_agrees_with_image_similarity_measures(small_pair: Pair) -> None:
    noisy, clean = (image[16:-16, 16:-16] for image in small_pair)
    assert uiq(noisy, clean) == pytest.approx(0.3575746, abs=1e-6)


@given(st.integers(0, 2**32 - 1), st.floats(0, 1), st.floats(1e-6, 1e6))
@settings(max_examples=25)
def test_is_symmetric_bounded_and_knows_no_unit(seed: int, mix: float, gain: float) -> None:
    rng = np.random.default_rng(seed)
    a = rng.random((12, 13)) + 0.1
    b = (1 - mix) * a + mix * rng.random((12, 13))
    value = uiq(a, b)
    assert -1 <= value <= 1
    assert value == pytest.approx(uiq(b, a), abs=1e-12)
    assert value == pytest.approx(uiq(gain * a, gain * b), abs=1e-9)
    assert uiq(a, a) == pytest.approx(1, abs=1e-12)


@pytest.mark.parametrize(
    ("a", "b", "expected"),
    [
        (0.1, 0.1, 1.0),  # 0.1 has no exact binary value, nor has its mean
        (0.1, 0.3, 0.6),  # 2 * 0.03 / 0.1
        (60_000, 20_000, 0.6),
        (0, 0, 1.0),
        (0, 5, 0.0),
    ],
)
def test_of_constant_images(a: float, b: float, expected: float) -> None:
    assert uiq(np.full((20, 20), a), np.full((20, 20), b)) == pytest.approx(expected, abs=1e-12)


def test_any_noise_on_a_plane_is_0(rng: np.random.Generator) -> None:
    plane = np.full((64, 64), 100.0)
    assert uiq(plane + 1e-3 * rng.normal(size=plane.shape), plane) == pytest.approx(0, abs=1e-6)


def test_offset_of_16_bits_keeps_the_digits(rng: np.random.Generator) -> None:
    a = rng.integers(0, 3, (24, 24)) + 60_000
    b = rng.integers(0, 3, (24, 24)) + 60_000
    assert uiq(a.astype(np.uint16), b.astype(np.uint16)) == pytest.approx(slow_uiq(a, b), abs=1e-9)


def test_falls_with_noise(small_pair: Pair, rng: np.random.Generator) -> None:
    _, clean = small_pair
    noise = rng.normal(size=clean.shape)
    values = [uiq(clean + s * noise, clean) for s in (0.001, 0.01, 0.03, 0.1, 0.3)]
    assert all(before > after + 0.02 for before, after in itertools.pairwise(values))


def test_of_stacks_and_too_small_an_image(rng: np.random.Generator) -> None:
    a, b, c = rng.random((3, 10, 10))
    assert uiq(np.stack([a, b]), np.stack([c, c])) == pytest.approx((uiq(a, c) + uiq(b, c)) / 2)
    with pytest.raises(UsageError, match="8 x 8"):
        uiq(a[:7], b[:7])

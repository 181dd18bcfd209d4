"""Phase congruency and FSIM."""

from __future__ import annotations

import itertools
import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.ndimage import gaussian_filter
from scipy.signal import convolve2d

from everhart import Micrograph, UsageError
from everhart.metrics import fsim, fsim_binning, phase_congruency

Pair = tuple[np.ndarray, np.ndarray]


def slow_phase_congruency(image: np.ndarray) -> np.ndarray:
    """Kovesi (1999) by its formulae: loops, double precision, and filters taken to space.

    Another way than that of the package at each step where there are two: angles by sine and
    cosine, energy by his sum term by term, the noise by inverse transforms of the filters.
    """
    height, width = image.shape
    fy, fx = np.meshgrid(np.fft.fftfreq(height), np.fft.fftfreq(width), indexing="ij")
    radius, theta = np.sqrt(fy**2 + fx**2), np.arctan2(-fy, fx)
    radius[0, 0] = 1
    spectrum = np.fft.fft2(image)
    energies, amplitudes = np.zeros(image.shape), np.zeros(image.shape)
    for orientation in range(4):
        angle = orientation * math.pi / 4
        sine = np.sin(theta) * math.cos(angle) - np.cos(theta) * math.sin(angle)
        cosine = np.cos(theta) * math.cos(angle) + np.sin(theta) * math.sin(angle)
        spread = np.exp(-(np.arctan2(sine, cosine) ** 2) / (2 * (math.pi / 4 / 1.2) ** 2))
        even, odd, in_space, filters = [], [], [], []
        for scale in range(4):
            wavelength = 6 * 2**scale
            gabor = np.exp(-(np.log(radius * wavelength) ** 2) / (2 * math.log(0.55) ** 2))
            gabor *= 1 / (1 + (radius / 0.45) ** 30)
            gabor[0, 0] = 0
            filters.append(gabor * spread)
            response = np.fft.ifft2(spectrum * filters[-1])
            even.append(response.real)
            odd.append(response.imag)
            in_space.append(np.fft.ifft2(filters[-1]).real * math.sqrt(height * width))
        sum_even, sum_odd = sum(even), sum(odd)
        norm = np.sqrt(sum_even**2 + sum_odd**2) + 1e-30
        mean_even, mean_odd = sum_even / norm, sum_odd / norm
        energy = np.zeros(image.shape)
        for e, o in zip(even, odd, strict=True):
            energy += e * mean_even + o * mean_odd - np.abs(e * mean_odd - o * mean_even)
            amplitudes += np.sqrt(e**2 + o**2)
        median = np.median(even[0] ** 2 + odd[0] ** 2)
        power = -median / math.log(0.5) / (filters[0] ** 2).sum()
        squares = sum((f**2).sum() for f in in_space)
        products = sum((in_space[i] * in_space[j]).sum() for i in range(4) for j in range(i + 1, 4))
        tau = math.sqrt((2 * power * squares + 4 * power * products) / 2)
        threshold = tau * math.sqrt(math.pi / 2) + 2 * math.sqrt((2 - math.pi / 2) * tau**2)
        energies += np.maximum(energy - threshold / 1.7, 0)
    return energies / (amplitudes + 1e-30)


def slow_fsim(a: np.ndarray, b: np.ndarray) -> float:
    """Zhang (2011), section III, of 8-bit images at full size."""

    def gradient(image: np.ndarray) -> np.ndarray:
        kernel = np.array([[3, 0, -3], [10, 0, -10], [3, 0, -3]]) / 16
        padded = np.pad(image, 1, mode="edge")
        return np.hypot(*(convolve2d(padded, k, mode="valid") for k in (kernel, kernel.T)))

    pc1, pc2 = slow_phase_congruency(a), slow_phase_congruency(b)
    g1, g2 = gradient(a), gradient(b)
    s_pc = (2 * pc1 * pc2 + 0.85) / (pc1**2 + pc2**2 + 0.85)
    s_g = (2 * g1 * g2 + 160) / (g1**2 + g2**2 + 160)
    pc_m = np.maximum(pc1, pc2)
    return float((s_pc * s_g * pc_m).sum() / pc_m.sum())


@pytest.mark.parametrize("shape", [(48, 64), (45, 63), (64, 33)])
def test_phase_congruency_equals_the_formulae(rng: np.random.Generator, shape) -> None:
    image = gaussian_filter(rng.random(shape), 1.5) + 0.02 * rng.random(shape)
    expected = slow_phase_congruency(image)
    assert expected.max() > 0.3
    np.testing.assert_allclose(phase_congruency(image), expected, atol=2e-5)


def test_fsim_equals_the_formulae(small_pair: Pair) -> None:
    noisy, clean = (255 * image[10:-10, 10:-15] for image in small_pair)
    assert fsim(noisy, clean, data_range=255) == pytest.approx(slow_fsim(noisy, clean), abs=2e-6)


# Of piq 0.8.0 (Apache-2.0): piq.fsim(noisy, clean, data_range=1.0, chromatic=False) in float64 on
# the images of conftest.py, in an environment of its own. It adds 1e-8 where we add nothing; the
# black border makes its gradients (black around the image) and its binning ours.
def test_fsim_agrees_with_piq(small_pair: Pair, large_pair: Pair) -> None:
    assert fsim(*small_pair, data_range=1) == pytest.approx(0.812604, abs=2e-5)
    assert fsim_binning(large_pair[0].shape) == 2
    assert fsim(*large_pair, data_range=1) == pytest.approx(0.879839, abs=2e-5)


def test_a_line_has_its_congruency_on_itself() -> None:
    image = np.full((64, 64), 7.0)
    image[:, 20] = 9.0
    found = phase_congruency(image)
    assert np.all(found.argmax(axis=1) == 20)
    # The waves of one orientation are in phase there; those of the others are 0.
    assert found[:, 20].min() > 0.3


def test_noise_has_hardly_any_congruency(rng: np.random.Generator) -> None:
    found = phase_congruency(rng.normal(size=(128, 128)))
    assert found.mean() < 0.05  # the threshold is two sigma, over 1.7
    assert 0 <= found.min() <= found.max() <= 1


def test_a_constant_image_has_no_features() -> None:
    assert phase_congruency(np.full((16, 16), 0.1)).max() == 0
    assert math.isnan(fsim(np.full((16, 16), 0.1), np.full((16, 16), 0.2), data_range=1))


@given(st.floats(0.01, 1e4), st.floats(-1e5, 1e5), st.booleans())
@settings(max_examples=20)
def test_congruency_knows_no_contrast(gain: float, offset: float, inverted: bool) -> None:
    image = gaussian_filter(np.random.default_rng(3).random((32, 32)), 1)
    other = (-gain if inverted else gain) * image + offset
    np.testing.assert_allclose(phase_congruency(other), phase_congruency(image), atol=1e-3)


@given(st.integers(0, 2**32 - 1), st.floats(0, 1), st.sampled_from([1.0, 255.0, 65535.0]))
@settings(max_examples=20)
def test_fsim_is_symmetric_and_knows_no_unit(seed: int, mix: float, full: float) -> None:
    rng = np.random.default_rng(seed)
    a = gaussian_filter(rng.random((32, 40)), 1)
    b = (1 - mix) * a + mix * rng.random((32, 40))
    value = fsim(a, b, data_range=1)
    assert 0 < value <= 1 + 1e-7
    assert value == pytest.approx(fsim(b, a, data_range=1), abs=1e-9)
    assert value == pytest.approx(fsim(full * a, full * b, data_range=full), abs=1e-5)
    assert value == pytest.approx(fsim(a.T, b.T, data_range=1), abs=5e-3)
    assert fsim(a, a, data_range=1) == pytest.approx(1, abs=1e-7)


def test_fsim_falls_with_noise_and_with_blur(small_pair: Pair, rng: np.random.Generator) -> None:
    _, clean = small_pair
    noise = rng.normal(size=clean.shape)
    noisy = [fsim(clean + s * noise, clean, data_range=1) for s in (0.01, 0.03, 0.1, 0.3)]
    blurred = [fsim(gaussian_filter(clean, s), clean, data_range=1) for s in (0.5, 1, 2, 4)]
    for values in (noisy, blurred):
        assert all(before > after + 0.005 for before, after in itertools.pairwise(values))


def test_binning_hides_what_is_finer(large_pair: Pair) -> None:
    values = [fsim(*large_pair, data_range=1, binning=n) for n in (1, 2, 4)]
    assert values[0] < values[1] - 0.05 < values[2] - 0.05
    assert fsim(*large_pair, data_range=1) == values[1]


def test_a_micrograph_is_judged_without_its_data_bar(small_pair: Pair) -> None:
    noisy, clean = (image.astype(np.float32) for image in small_pair)
    bars = [
        np.vstack([image, np.full((10, 128), level)]) for image, level in ((noisy, 0), (clean, 1))
    ]
    images = [Micrograph(pixels.astype(np.float32), data_bar_rows=10) for pixels in bars]
    expected = fsim(noisy, clean, data_range=1)
    assert fsim(*images, data_range=1) == pytest.approx(expected)
    assert fsim(np.stack([noisy, clean]), np.stack([clean, clean]), data_range=1) == pytest.approx(
        (expected + 1) / 2
    )


def test_wrong_calls() -> None:
    image = np.zeros((16, 16))
    with pytest.raises(UsageError, match="8 x 8"):
        fsim(image[:7], image[:7], data_range=1)
    with pytest.raises(UsageError, match="16 x 16 pixels was given: FSIM needs 24 x 24"):
        fsim(image, image, data_range=1, binning=3)
    with pytest.raises(UsageError, match="binning of 0"):
        fsim(image, image, data_range=1, binning=0)
    with pytest.raises(UsageError, match="data range"):
        fsim(image, image, data_range=0)
    with pytest.raises(UsageError, match="one image"):
        phase_congruency(np.zeros((2, 16, 16)))

"""BM3D: its transforms, the variance of its coefficients, and what it restores."""

import numpy as np
import pytest
from numba import njit
from numpy.typing import NDArray
from scipy.ndimage import convolve1d

import everhart as eh
from everhart.restore import bm3d as module
from everhart.restore.bm3d import bm3d
from everhart.restore.classical import denoise_classical

TAPS = np.array([0.584, 0.343, 0.061, 0.013])


@pytest.fixture(scope="module")
def clean() -> NDArray[np.float64]:
    return np.asarray(eh.simulate("nand", shape=(128, 160), seed=3).image, np.float64)  # type: ignore[operator]


def correlated(rng: np.random.Generator, shape: tuple[int, int]) -> NDArray[np.float64]:
    noise = convolve1d(rng.normal(size=shape), TAPS, axis=1, mode="wrap")
    return np.asarray(noise / np.linalg.norm(TAPS))


def covariance() -> NDArray[np.float64]:
    lags = np.correlate(TAPS, TAPS, "full") / (TAPS @ TAPS)
    out = np.zeros((7, 7))
    out[3] = lags
    return out


def error_db(image: NDArray[np.floating], clean: NDArray[np.float64]) -> float:
    return float(-10 * np.log10(np.mean((image - clean) ** 2)))


@pytest.mark.parametrize("transform", [module._cosine, module._biorthogonal])
def test_transforms_invert(transform) -> None:  # type: ignore[no-untyped-def]
    forward, inverse = transform()
    np.testing.assert_allclose(inverse @ forward, np.eye(8), atol=1e-5)
    np.testing.assert_allclose(np.linalg.norm(forward, axis=1), 1, atol=1e-6)


def test_the_variance_of_coefficients_is_that_of_the_noise() -> None:
    forward, _ = module._cosine()
    table = module._coefficient_covariance(covariance(), forward, white=False)
    rng = np.random.default_rng(0)
    noise = correlated(rng, (2048, 2048))
    middle = table.shape[0] // 2
    for dy, dx in ((0, 0), (0, 3), (2, -1)):
        corners = np.stack(np.mgrid[8:2030:9, 8:2030:9], -1).reshape(-1, 2)
        rows, columns = np.arange(8)[:, None], np.arange(8)[None, :]
        here = noise[corners[:, :1, None] + rows, corners[:, 1:, None] + columns]
        there = noise[corners[:, :1, None] + dy + rows, corners[:, 1:, None] + dx + columns]
        a, b = forward @ here @ forward.T, forward @ there @ forward.T
        measured = np.mean(a * b, axis=0).T  # coefficients are stored transposed
        np.testing.assert_allclose(measured, table[middle + dy, middle + dx], atol=0.06)


def test_groups_of_overlapping_blocks(clean: NDArray[np.float64]) -> None:
    from everhart.restore._bm3d_kernels import _haar, _variances

    forward, _ = module._cosine()
    table = module._coefficient_covariance(covariance(), forward, white=False)
    places = np.array([[0, 0], [0, 2], [1, 1], [5, 5], [20, 20], [21, 20], [0, 1], [40, 3]])
    out = np.zeros((8, 64), np.float32)
    _variances(places, 8, table, np.zeros((8, 64), np.float32), out)
    rng = np.random.default_rng(1)
    total = np.zeros((8, 64))
    draws = 3000
    for _ in range(draws):
        noise = correlated(rng, (64, 40))
        blocks = np.stack([noise[y : y + 8, x : x + 8] for y, x in places])
        coefficients = (forward @ blocks @ forward.T).transpose(2, 0, 1)  # transposed blocks
        group = np.ascontiguousarray(coefficients.reshape(8, 64), np.float32)
        _haar(group, 8, np.empty_like(group))
        total += group.astype(np.float64) ** 2
    np.testing.assert_allclose(total / draws, out, rtol=0.2, atol=0.05)


def test_blocks_are_not_alike_for_the_noise_they_share() -> None:
    from everhart.restore._bm3d_kernels import MARGIN, _match

    noise = correlated(np.random.default_rng(9), (120, 120)).astype(np.float32)
    noise = np.pad(noise, ((0, 0), (0, MARGIN)))
    shares = []
    for shared in (np.zeros((1, 1), np.float32), (128 * covariance()).astype(np.float32)):
        near = 0
        for y in range(30, 90, 5):
            for x in range(30, 90, 5):
                places, distances = np.empty((16, 2), np.int64), np.empty(16, np.float32)
                line = np.empty(64, np.float32)
                found = _match(noise, y, x, 19, 16, 1e6, shared, places, distances, line)
                assert found == 16
                near += int(np.sum((places[1:, 0] == y) & (abs(places[1:, 1] - x) <= 1)))
        shares.append(near / 144 / 15)
    assert shares[0] > 0.08  # both neighbours are nearly always among the 15
    assert shares[1] < 0.03  # 2 of 1520 would be by chance


def test_independent_values_of_a_block() -> None:
    """Against the covariance matrix of the 64 pixels, written out."""
    noise = covariance()
    rows, columns = np.divmod(np.arange(64), 8)
    down, right = rows[:, None] - rows, columns[:, None] - columns
    matrix = np.where(
        (abs(down) <= 3) & (abs(right) <= 3),
        noise[3 + np.clip(down, -3, 3), 3 + np.clip(right, -3, 3)],
        0.0,
    )
    expected = np.trace(matrix) ** 2 / np.trace(matrix @ matrix)
    assert module._independent_values(noise) == pytest.approx(expected)
    assert module._independent_values(np.ones((1, 1))) == 64
    assert module._independent_values(np.ones((15, 15))) == pytest.approx(1)


def test_noise_of_few_independent_values_is_searched_nearby() -> None:
    """On a smooth picture under isotropic noise, where a wide search finds likeness by chance."""
    y, x = np.mgrid[:128, :160] / 40
    clean = 0.5 + 0.2 * np.sin(x + y**2)
    sigma = 0.1
    taps = np.exp(-(np.arange(-3, 4) ** 2) / 2)
    noise = np.random.default_rng(10).normal(size=clean.shape)
    for axis in (0, 1):
        noise = convolve1d(noise, taps / np.linalg.norm(taps), axis=axis, mode="wrap")
    lags = np.correlate(taps, taps, "full") / (taps @ taps)
    unit = ((clean + sigma * noise) / sigma).astype(np.float32)
    near = bm3d(unit, np.outer(lags, lags)) * sigma
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(module, "_FEW", 0.0)
        far = bm3d(unit, np.outer(lags, lags)) * sigma
    assert error_db(near, clean) > error_db(far, clean) + 0.15  # 0.26 to 0.37 with other noise


@pytest.mark.parametrize(("sigma", "gain"), [(0.05, 4.8), (0.15, 6.2)])
def test_white_noise(clean: NDArray[np.float64], sigma: float, gain: float) -> None:
    rng = np.random.default_rng(2)
    noisy = clean + rng.normal(0, sigma, clean.shape)
    restored = bm3d((noisy / sigma).astype(np.float32)) * sigma
    assert error_db(restored, clean) > error_db(noisy, clean) + gain
    assert abs(float(restored.mean() - clean.mean())) < 0.1 * sigma


def test_knowing_the_correlation_is_worth_a_decibel(clean: NDArray[np.float64]) -> None:
    rng = np.random.default_rng(4)
    sigma = 0.12
    noisy = clean + sigma * correlated(rng, clean.shape)
    unit = (noisy / sigma).astype(np.float32)
    blind, told = bm3d(unit) * sigma, bm3d(unit, covariance()) * sigma
    assert error_db(told, clean) > error_db(blind, clean) + 1.0  # 1.3 to 1.5


def test_threads_change_nothing(clean: NDArray[np.float64]) -> None:
    rng = np.random.default_rng(5)
    unit = (clean / 0.1 + rng.normal(size=clean.shape)).astype(np.float32)
    np.testing.assert_array_equal(bm3d(unit, workers=3), bm3d(unit))


def test_compiles_where_nothing_can_be_written(monkeypatch: pytest.MonkeyPatch) -> None:
    """In a container of which nothing may be written, numba finds no place for its machine code."""
    from numba.core import caching

    from everhart.restore import _bm3d_kernels as kernels

    monkeypatch.setattr(caching.CacheImpl, "_locator_classes", [])
    with pytest.raises(RuntimeError, match="no locator"):
        njit(cache=True)(kernels._transpose.py_func)
    compiled = kernels._compiled(kernels._transpose.py_func)
    blocks = np.arange(128, dtype=np.float32).reshape(8, 16)
    out = np.empty_like(blocks)
    compiled(blocks, 2, out)
    np.testing.assert_array_equal(out[:, 8:], blocks[:, 8:].T)


def test_the_second_pass_follows_the_contrast(clean: NDArray[np.float64]) -> None:
    """Under weak noise, blocks may differ by more than the noise does and still be alike."""
    sigma = 0.04
    noisy = clean + np.random.default_rng(8).normal(0, sigma, clean.shape)
    restored = bm3d((noisy / sigma).astype(np.float32)) * sigma
    assert error_db(restored, clean) > error_db(noisy, clean) + 4.48  # 4.45 with a limit of 1


def test_from_the_image_alone(clean: NDArray[np.float64]) -> None:
    """As ``--method bm3d`` runs it: noise, correlation and strength from the image."""
    rng = np.random.default_rng(6)
    grey = 40 + 150 * clean
    noisy = (grey + 15 * correlated(rng, clean.shape)).astype(np.float32)
    restored = denoise_classical(noisy, "bm3d")
    assert error_db(restored, grey) > error_db(noisy, grey) + 4.0  # 4.2 to 5.0 with other noise
    assert error_db(restored, grey) > error_db(denoise_classical(noisy, "nlm"), grey)


@pytest.mark.parametrize("shape", [(8, 8), (5, 30), (9, 100), (40, 7)])
def test_small_images(shape: tuple[int, int]) -> None:
    noisy = np.random.default_rng(7).normal(100, 10, shape).astype(np.float32)
    restored = denoise_classical(noisy, "bm3d", strength=1.0)
    assert restored.shape == shape
    assert restored.std() < noisy.std()

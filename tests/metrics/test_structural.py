"""SSIM and MS-SSIM."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.ndimage import gaussian_filter

from everhart import UsageError
from everhart.metrics import ms_ssim, ms_ssim_scales, ssim
from everhart.metrics.structural import MS_SSIM_WEIGHTS


def pair(rng: np.random.Generator, shape: tuple[int, int] = (200, 230)) -> tuple[np.ndarray, ...]:
    clean = gaussian_filter(rng.random(shape), 3)
    clean = (clean - clean.min()) / np.ptp(clean)
    return clean + rng.normal(scale=0.1, size=shape), clean


@given(st.integers(0, 2**32 - 1), st.floats(0, 3))
@settings(max_examples=25)
def test_ssim_is_symmetric_and_bounded(seed: int, mix: float) -> None:
    rng = np.random.default_rng(seed)
    a = rng.random((16, 17))
    b = (1 - mix) * a + mix * rng.random((16, 17))
    value = ssim(a, b, data_range=1)
    assert -1 <= value <= 1
    assert value == pytest.approx(ssim(b, a, data_range=1), abs=1e-12)
    assert 0 <= ms_ssim(a, b, data_range=1) <= 1


def test_an_inverted_image_has_a_negative_ssim(rng: np.random.Generator) -> None:
    _, clean = pair(rng)
    assert ssim(1 - clean, clean, data_range=1) < 0


def test_equal_images_have_one(rng: np.random.Generator) -> None:
    noisy, _ = pair(rng)
    assert ssim(noisy, noisy, data_range=1) == pytest.approx(1.0)
    assert ms_ssim(noisy, noisy, data_range=1) == pytest.approx(1.0)


@pytest.mark.parametrize("offset", [0.0, 100.0, 60000.0])
def test_ssim_agrees_with_scikit_image(rng: np.random.Generator, offset: float) -> None:
    from skimage.metrics import structural_similarity

    noisy, clean = (255 * image + offset for image in pair(rng))
    expected = structural_similarity(
        noisy,
        clean,
        data_range=255,
        gaussian_weights=True,
        sigma=1.5,
        use_sample_covariance=False,
    )
    assert ssim(noisy, clean, data_range=255) == pytest.approx(expected, abs=1e-6)


def test_ms_ssim_agrees_with_torchmetrics(rng: np.random.Generator) -> None:
    torch = pytest.importorskip("torch")
    image = pytest.importorskip("torchmetrics.functional.image")
    noisy, clean = pair(rng)
    expected = image.multiscale_structural_similarity_index_measure(
        torch.tensor(noisy)[None, None],
        torch.tensor(clean)[None, None],
        data_range=1.0,
        betas=MS_SSIM_WEIGHTS,
        normalize="relu",
    )
    # Its coarse scales keep a border that ours cut, hence not to the last digit.
    assert ms_ssim(noisy, clean, data_range=1) == pytest.approx(float(expected), abs=2e-3)


def test_ms_ssim_worked_out_by_its_equation(rng: np.random.Generator) -> None:
    from skimage.metrics import structural_similarity

    def terms(a: np.ndarray, b: np.ndarray) -> tuple[float, float]:
        # With equal local means the luminance term is 1, and SSIM is contrast-structure.
        full = structural_similarity(
            a, b, data_range=1, gaussian_weights=True, use_sample_covariance=False, full=True
        )[1][5:-5, 5:-5]

        def mean(x: np.ndarray) -> np.ndarray:
            return gaussian_filter(x, 1.5, truncate=3.5)[5:-5, 5:-5]

        ma, mb = mean(a), mean(b)
        luminance = (2 * ma * mb + 1e-4) / (ma**2 + mb**2 + 1e-4)
        return float(full.mean()), float((full / luminance).mean())

    a, b = pair(rng, (48, 56))
    assert ms_ssim_scales(a.shape) == 3
    weights = np.array(MS_SSIM_WEIGHTS[:3]) / sum(MS_SSIM_WEIGHTS[:3])
    product = 1.0
    for scale in range(3):
        full, contrast = terms(a, b)
        product *= (full if scale == 2 else contrast) ** weights[scale]
        a, b = (x.reshape(x.shape[0] // 2, 2, -1, 2).mean((1, 3)) for x in (a, b))
    expected = product
    a, b = pair(np.random.default_rng(20261121), (48, 56))
    assert ms_ssim(a, b, data_range=1) == pytest.approx(expected, abs=1e-9)


@pytest.mark.parametrize(
    ("side", "scales"), [(10, 0), (11, 1), (21, 1), (22, 2), (88, 4), (175, 4), (176, 5), (4000, 5)]
)
def test_scales_are_fewer_for_small_images(side: int, scales: int) -> None:
    assert ms_ssim_scales((side, side + 5)) == scales


def test_a_stack_is_averaged(rng: np.random.Generator) -> None:
    noisy, clean = pair(rng, (32, 32))
    other = clean + rng.normal(scale=0.3, size=clean.shape)
    both = ssim(np.stack([noisy, other]), np.stack([clean, clean]), data_range=1)
    single = [ssim(image, clean, data_range=1) for image in (noisy, other)]
    assert both == pytest.approx(np.mean(single))


@pytest.mark.parametrize("metric", [ssim, ms_ssim])
def test_too_small_an_image(metric) -> None:
    with pytest.raises(UsageError, match="11 x 11"):
        metric(np.zeros((10, 40)), np.zeros((10, 40)), data_range=1)

from __future__ import annotations

import numpy as np
import pytest
import torch
from skimage.metrics import structural_similarity

from everhart.nn import CharbonnierLoss, EdgeLoss, MSSSIMLoss, SSIMLoss, WeightedLoss
from everhart.nn.losses import LOSSES


def _pair(seed: int, size: int = 192) -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(seed)
    clean = torch.rand(1, 1, size, size, generator=generator)
    clean = torch.nn.functional.avg_pool2d(clean, 9, 1, 4) * 2
    return clean + 0.1 * torch.randn(clean.shape, generator=generator), clean


def test_ssim_loss_equals_scikit_image() -> None:
    noisy, clean = _pair(1)
    _, full = structural_similarity(
        noisy[0, 0].numpy(),
        clean[0, 0].numpy(),
        data_range=1.0,
        gaussian_weights=True,
        sigma=1.5,
        use_sample_covariance=False,
        full=True,
    )
    expected = full[5:-5, 5:-5].mean()  # the loss uses whole windows only
    assert 1 - SSIMLoss(1.0)(noisy, clean).item() == pytest.approx(expected, abs=1e-4)


def test_ms_ssim_loss_equals_torchmetrics() -> None:
    functional = pytest.importorskip("torchmetrics.functional.image")
    noisy, clean = _pair(2)
    expected = functional.multiscale_structural_similarity_index_measure(
        noisy, clean, data_range=1.0, betas=(0.0448, 0.2856, 0.3001, 0.2363, 0.1333)
    )
    assert 1 - MSSSIMLoss(1.0)(noisy, clean).item() == pytest.approx(expected.item(), abs=5e-3)


def test_ms_ssim_takes_small_images() -> None:
    noisy, clean = _pair(3, size=32)
    assert 0 < MSSSIMLoss()(noisy, clean).item() < 1


def test_charbonnier_is_quadratic_then_linear() -> None:
    loss = CharbonnierLoss(epsilon=0.1)
    zero = torch.zeros(1, 1, 2, 2)
    small = loss(zero + 1e-3, zero).item() - loss(zero, zero).item()
    assert small == pytest.approx(1e-6 / 0.2, rel=0.01)
    assert loss(zero + 10, zero).item() == pytest.approx(10, rel=1e-3)


def test_edge_loss_measures_slopes_and_ignores_offsets() -> None:
    ramp = torch.arange(16.0).repeat(16, 1)[None, None]
    assert EdgeLoss()(ramp + 5, ramp).item() == pytest.approx(0, abs=1e-5)
    # A ramp of slope 1 in x against none: gradient error 1 in x, 0 in y.
    assert EdgeLoss()(2 * ramp, ramp).item() == pytest.approx(0.5, abs=1e-5)


@pytest.mark.parametrize("name", LOSSES)
def test_every_loss_is_least_for_the_truth_and_has_a_gradient(name: str) -> None:
    noisy, clean = _pair(4)
    noisy.requires_grad_()
    loss, parts = WeightedLoss({name: 2.0}, data_range=1.0)(noisy, clean)
    perfect, _ = WeightedLoss({name: 2.0}, data_range=1.0)(clean, clean)
    assert perfect < loss
    assert loss.item() == pytest.approx(2 * parts[name].item())
    loss.backward()
    assert noisy.grad is not None
    assert np.isfinite(noisy.grad.numpy()).all()


@pytest.mark.parametrize("name", ["ssim", "ms_ssim", "edge"])
def test_losses_are_exact_where_the_network_computes_in_bf16(name: str) -> None:
    """In bfloat16 the variances of SSIM's windows cancel, and its gradient points elsewhere."""
    noisy, clean = _pair(5)
    gradients = []
    for bf16 in (False, True):
        x = (noisy + 2).requires_grad_()
        with torch.autocast("cpu", torch.bfloat16, enabled=bf16):
            loss, _ = WeightedLoss({name: 1.0}, data_range=5.0)(x, clean + 2)
        loss.backward()
        gradients.append((loss.item(), x.grad))
    assert gradients[0][0] == gradients[1][0]
    assert torch.equal(gradients[0][1], gradients[1][1])

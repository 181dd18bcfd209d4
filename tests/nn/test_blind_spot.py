"""FBI-Net, the Noise2Noise U-Net, PGE-Net, and what they are trained by."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

from everhart.nn import FBINet, FBINetConfig, N2NUNet, N2NUNetConfig, PGENet
from everhart.nn.anscombe import (
    estimated_affine_loss,
    restored_level,
    stabilised,
    stabilised_variance,
)
from everhart.nn.fbi_net import LayerDropoutConfig
from everhart.nn.pge_net import noise_levels, stabilisation_loss


def _with_positive_weights(net: nn.Module) -> nn.Module:
    """Positive weights: no influence is hidden by a dead rectifier or a cancellation."""
    for parameter in net.parameters():
        parameter.data = parameter.data.abs() + 0.01
    return net.double()


def _seen(net: nn.Module, size: int, at: tuple[int, int]) -> Tensor:
    """Offsets ``(n, 2)`` of the input pixels on which an output pixel depends."""
    x = torch.rand(1, 1, size, size, dtype=torch.float64, requires_grad=True)
    net(x)[0, 0, at[0], at[1]].backward()
    assert x.grad is not None
    return torch.nonzero(x.grad[0, 0]) - torch.tensor(at)


@pytest.mark.parametrize("layers", [2, 3, 5, 17])
def test_the_blind_spot_is_exact_and_all_around_it_is_seen(layers: int) -> None:
    config = FBINetConfig(layers=layers, filters=2)
    radius = config.receptive_radius
    seen = _seen(_with_positive_weights(FBINet(config)), 2 * radius + 5, (radius + 2, radius + 2))
    offsets = {(int(y), int(x)) for y, x in seen}
    assert (0, 0) not in offsets
    assert int(seen.abs().max()) == radius == 3 * layers - 3
    near = {(y, x) for y in range(-2, 3) for x in range(-2, 3)} - {(0, 0)}
    assert near <= offsets
    if layers == 17:
        assert len(offsets) > 0.94 * (2 * radius + 1) ** 2


def test_without_the_blind_spot_the_pixel_itself_is_seen() -> None:
    net = FBINet(FBINetConfig(layers=4, filters=2, blind_spot=False))
    seen = _seen(_with_positive_weights(net), 25, (12, 12))
    assert (seen == 0).all(1).any()


def test_the_paper_s_size() -> None:
    net = FBINet(FBINetConfig(out_channels=2))
    assert (net.config.layers, net.config.filters, net.config.receptive_radius) == (17, 64, 48)


@pytest.mark.parametrize("place", [1, 2, 3, 4, 5])
def test_dropout_in_the_layers_is_for_training_only(place: int) -> None:
    torch.manual_seed(0)
    config = FBINetConfig(
        layers=5, filters=4, dropout=LayerDropoutConfig(after_blocks=(place,), ratio=0.5)
    )
    net, x = FBINet(config), torch.randn(1, 1, 16, 16)
    assert not torch.equal(net(x), net(x))
    net.eval()
    assert torch.equal(net(x), net(x))
    plain = FBINet(config.model_copy(update={"dropout": None}))
    plain.load_state_dict(net.state_dict())
    assert torch.equal(net(x), plain(x))


@pytest.mark.parametrize("levels", [1, 2, 3])
def test_reach_of_the_noise2noise_unet(levels: int) -> None:
    config = N2NUNetConfig(filters=2, levels=levels)
    net = _with_positive_weights(N2NUNet(config))
    size = (3 * config.receptive_radius // config.stride + 2) * config.stride
    reach = 0
    for offset in range(config.stride):
        at = size // 2 // config.stride * config.stride + offset
        reach = max(reach, int(_seen(net, size, (at, at)).abs().max()))
    assert reach == config.receptive_radius


def test_the_affine_loss_is_an_unbiased_estimate() -> None:
    """Over draws of the noise its mean is the squared error, whatever the coefficients."""
    g = torch.Generator().manual_seed(0)
    clean = torch.rand(1, 1, 24, 24, generator=g)
    variance = 0.05 + 0.1 * clean  # differs from pixel to pixel
    noise = torch.randn(4000, 1, 24, 24, generator=g) * variance.sqrt()
    noisy = clean + noise
    # Coefficients that depend on the noise of the neighbours, not on the pixel's own.
    slope = 0.4 + 0.3 * torch.tanh(noisy.roll(1, 3))
    offset = 0.5 * noisy.roll(1, 2) + 0.1
    estimate = estimated_affine_loss(noisy, slope, offset, variance)
    error = (slope * noisy + offset - clean) ** 2
    difference = (estimate - error).mean((1, 2, 3))
    standard_error = difference.std() / len(difference) ** 0.5
    assert abs(difference.mean()) < 4 * standard_error
    assert standard_error < 0.01 * error.mean()
    # Were the pixel's own noise seen, the estimate would be biased by far.
    cheating = estimated_affine_loss(noisy, slope, noisy, variance)
    truth = (slope * noisy + noisy - clean) ** 2
    assert abs((cheating - truth).mean()) > 0.05 * truth.mean()


@pytest.mark.parametrize("gain", [0.0, 1e-4, 0.05, 0.5])
def test_stabilisation_and_its_inverse(gain: float) -> None:
    """The noise gets one variance, and the mean of the stabilised becomes the mean again."""
    g = torch.Generator().manual_seed(1)
    alpha, beta = torch.tensor(gain), torch.tensor(1.0)
    # Below an electron or two a pixel no transform gives the noise one variance.
    for level in (-1.0, 0.0, 2.0) if gain < 0.5 else (1.5, 2.0):
        noise = torch.randn(400_000, generator=g) * (0.8 * gain * level + beta).clamp(min=0).sqrt()
        if gain >= 0.05:
            signal = torch.full((400_000,), (level + 1.2) / gain)
            noise = gain * (torch.poisson(signal, generator=g) - signal)
            noise += torch.randn(400_000, generator=g) * (beta - gain * 1.2).clamp(min=0.01).sqrt()
            true_beta = (beta - gain * 1.2).clamp(min=0.01) + gain * 1.2
        else:
            true_beta = beta
        stable = stabilised(level + noise, alpha, true_beta)
        assert stable.var() / stabilised_variance(alpha, true_beta) == pytest.approx(1, abs=0.08)
        assert restored_level(stable.mean(), alpha, true_beta) == pytest.approx(level, abs=0.03)


@pytest.mark.parametrize("sigma", [0.2, 1.0])
@pytest.mark.parametrize("seed", range(3))
def test_noise_level_under_structure(sigma: float, seed: int) -> None:
    g = torch.Generator().manual_seed(seed)
    y, x = torch.meshgrid(torch.arange(128.0), torch.arange(128.0), indexing="ij")
    scene = torch.tanh(8 * torch.sin(x / 7) * torch.sin(y / 11))[None, None]
    images = scene + sigma * torch.randn(1, 1, 128, 128, generator=g)
    assert torch.allclose(noise_levels(images), torch.tensor(sigma), rtol=0.12)


def test_pge_net_learns_the_noise_without_truth() -> None:
    """Gain and readout of Poisson-Gaussian noise on flat-topped scenes, by the loss alone."""
    torch.manual_seed(0)
    g = torch.Generator().manual_seed(0)
    gain, readout = 0.06, 0.02
    y, x = torch.meshgrid(torch.arange(64.0), torch.arange(64.0), indexing="ij")

    def batch() -> Tensor:
        phase = 6 * torch.rand(2, generator=g)
        scene = torch.tanh(3 * torch.sin(x / 9 + phase[0]) * torch.sin(y / 8 + phase[1]))
        electrons = (1.5 * scene + 2).clamp(min=0) / gain
        noisy = gain * torch.poisson(electrons, generator=g) - 2
        return (noisy + readout**0.5 * torch.randn(64, 64, generator=g))[None, None]

    net = PGENet()
    optimiser = torch.optim.Adam(net.parameters(), lr=2e-3)
    found = []
    for step in range(120):
        images = torch.cat([batch() for _ in range(2)])
        alpha, beta = net(images)
        loss = stabilisation_loss(images, alpha, beta)
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        if step >= 90:
            found.append((float(alpha.detach().mean()), float(beta.detach().mean())))
    alpha_found, beta_found = torch.tensor(found).mean(0)
    assert alpha_found == pytest.approx(gain, rel=0.3)
    # The variance at the darkest, the middle and the brightest grey level.
    for level in (-1.4, 0.0, 1.4):
        truth = gain * (level + 2) + readout
        assert alpha_found * level + beta_found == pytest.approx(truth, rel=0.2)


@pytest.mark.parametrize("filters", [24, 32])
def test_gradients_in_bfloat16_are_numbers(filters: int) -> None:
    torch.manual_seed(0)
    net = FBINet(FBINetConfig(layers=17, filters=filters, out_channels=2))
    net.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    with torch.autocast("cpu", torch.bfloat16):
        out = net(torch.randn(1, 1, 64, 64))
    out.float().square().mean().backward()
    assert all(torch.isfinite(p.grad).all() for p in net.parameters() if p.grad is not None)

from __future__ import annotations

import pytest
import torch

from everhart.nn import UNet, UNetConfig
from everhart.nn.unet import Output
from everhart.nn.unet import UNetConfig as Config


@pytest.mark.parametrize("stem", [1, 2])
@pytest.mark.parametrize("output", ["direct", "residual", "blend"])
def test_shape_and_planes(stem: int, output: Output) -> None:
    config = UNetConfig(in_channels=2, widths=(8, 12, 16), stem=stem, output=output)
    net = UNet(config)
    out = net(torch.randn(2, 2, 4 * config.stride, 3 * config.stride))
    assert out.shape == (2, 1, 4 * config.stride, 3 * config.stride)


def test_residual_network_starts_as_the_identity() -> None:
    x = torch.randn(1, 1, 32, 32)
    assert torch.equal(UNet(UNetConfig(widths=(8, 16), output="residual"))(x), x)


@pytest.mark.parametrize(
    "config",
    [Config(widths=(4, 4, 4), stem=2), Config(widths=(4, 4), stem=1), Config(widths=(4,), stem=3)],
    ids=["stem2", "stem1", "stem3"],
)
def test_receptive_radius_is_the_influence_of_a_pixel(config: Config) -> None:
    """The farthest input pixel with a gradient, wherever the output pixel sits, is that far."""
    torch.manual_seed(0)
    net = UNet(config).double()
    for parameter in net.parameters():
        # Positive weights: no influence is hidden by a dead rectifier.
        parameter.data = parameter.data.abs() + 0.01
    size = (3 * config.receptive_radius // config.stride + 2) * config.stride
    reach = 0
    for offset in range(config.stride):
        x = torch.rand(1, 1, size, size, dtype=torch.float64, requires_grad=True)
        centre = size // 2 // config.stride * config.stride + offset
        net(x)[0, 0, centre, centre].backward()
        assert x.grad is not None
        touched = torch.nonzero(x.grad[0, 0])
        reach = max(reach, int((touched - centre).abs().max()))
    assert reach == config.receptive_radius

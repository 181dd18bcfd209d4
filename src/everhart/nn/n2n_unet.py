"""The U-Net of Noise2Noise."""

from __future__ import annotations

import torch
from pydantic import BaseModel, ConfigDict, Field
from torch import Tensor, nn


class N2NUNetConfig(BaseModel):
    """Shape of a :class:`N2NUNet`.

    Examples
    --------
    >>> N2NUNetConfig().stride
    32
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    in_channels: int = Field(1, ge=1, description="input planes: the image, then extra planes")
    filters: int = Field(48, ge=1, description="feature maps on the way down; twice that back up")
    levels: int = Field(5, ge=1, le=8, description="how often the resolution is halved")

    @property
    def stride(self) -> int:
        """Edge of the input block on which the coarsest pixel sits; sizes are padded to it."""
        return int(2**self.levels)

    @property
    def receptive_radius(self) -> int:
        """Pixels around an output pixel on which it can depend, where it sits worst.

        At full resolution two convolutions on the way down and three back up, at the levels
        between one and two, one at the coarsest; and a cell of the coarsest stands for its whole
        block.
        """
        cells = 5 + sum(3 * 2**level for level in range(1, self.levels)) + 2**self.levels
        return int(cells + 2**self.levels - 1)


class N2NUNet(nn.Module):
    """Encoder-decoder with five poolings and one convolution a level on the way down.

    The network of [1]_, table 2: 48 feature maps down, 96 up, leaky rectifiers of slope 0.1, the
    input itself as the last skip connection, no normalisation.

    Parameters
    ----------
    config
        Shape of the network.

    Notes
    -----
    Shape: input ``(N, in_channels, H, W)`` with H and W multiples of ``config.stride``; output
    ``(N, 1, H, W)``.

    References
    ----------
    .. [1] J. Lehtinen et al., "Noise2Noise: learning image restoration without clean data",
       ICML 2018, arXiv:1803.04189, appendix A.1.

    Examples
    --------
    >>> net = N2NUNet(N2NUNetConfig(filters=4, levels=2))
    >>> net(torch.zeros(1, 1, 32, 48)).shape
    torch.Size([1, 1, 32, 48])
    """

    def __init__(self, config: N2NUNetConfig | None = None) -> None:
        super().__init__()
        self.config = config or N2NUNetConfig()
        planes, down, up = self.config.in_channels, self.config.filters, 2 * self.config.filters
        levels = self.config.levels
        self.start = _conv(planes, down)
        self.encoders = nn.ModuleList(_conv(down, down) for _ in range(levels))
        self.bottom = _conv(down, down)
        self.pool = nn.MaxPool2d(2)
        self.upsample = nn.Upsample(scale_factor=2, mode="nearest")
        self.decoders = nn.ModuleList(
            nn.Sequential(_conv((down if level == 0 else up) + down, up), _conv(up, up))
            for level in range(levels - 1)
        )
        last = (down if levels == 1 else up) + planes
        narrow, narrower = max(1, 4 * down // 3), max(1, 2 * down // 3)
        self.finish = nn.Sequential(_conv(last, narrow), _conv(narrow, narrower))
        self.head = nn.Conv2d(narrower, 1, 3, padding=1)
        nn.init.kaiming_normal_(self.head.weight, nonlinearity="linear")
        nn.init.zeros_(self.head.bias)  # type: ignore[arg-type]

    def forward(self, x: Tensor) -> Tensor:
        """Restore a batch; see the class for shapes."""
        skips = [x]
        features = self.start(x)
        for encode in self.encoders:
            features = self.pool(encode(features))
            skips.append(features)
        skips.pop()
        features = self.bottom(features)
        for decode in self.decoders:
            features = decode(torch.cat([self.upsample(features), skips.pop()], dim=1))
        features = torch.cat([self.upsample(features), skips.pop()], dim=1)
        out: Tensor = self.head(self.finish(features))
        return out


def _conv(channels_in: int, channels_out: int) -> nn.Sequential:
    convolution = nn.Conv2d(channels_in, channels_out, 3, padding=1)
    nn.init.kaiming_normal_(convolution.weight, a=0.1, nonlinearity="leaky_relu")
    nn.init.zeros_(convolution.bias)  # type: ignore[arg-type]
    return nn.Sequential(convolution, nn.LeakyReLU(0.1, inplace=True))

"""FBI-Net: a blind-spot network without shifted copies, and its plain form."""

from __future__ import annotations

from typing import Literal

import torch
import torch.nn.functional as F
from pydantic import BaseModel, ConfigDict, Field
from torch import Tensor, nn

_RING = ((1, 1, 1), (1, 0, 1), (1, 1, 1))
_FULL = ((1, 1, 1), (1, 1, 1), (1, 1, 1))
_KNIGHTS = ((0, 1, 0, 1, 0), (1, 0, 0, 0, 1), (0, 0, 1, 0, 0), (1, 0, 0, 0, 1), (0, 1, 0, 1, 0))
_DIAGONALS = ((1, 0, 1), (0, 1, 0), (1, 0, 1))
DILATION = 3
"""Pixels from tap to tap in the layers after the second."""

_Taps = tuple[tuple[int, ...], ...]


def tap_patterns(blind_spot: bool) -> tuple[_Taps, _Taps, _Taps]:
    """Return which taps the kernels have: of the first layer, the second, and all further ones."""
    return _RING if blind_spot else _FULL, _KNIGHTS, _DIAGONALS


class LayerDropoutConfig(BaseModel):
    """Dropout inside of a :class:`FBINet`, for comparison with dropout of the input.

    The places, D1 to D5: behind the first convolution, behind the second, in the middle of the
    dilated ones, on the average of the layers, and before the last 1 x 1 convolution.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    after_blocks: tuple[Literal[1, 2, 3, 4, 5], ...] = Field(
        min_length=1, description="places D1 to D5, by their numbers"
    )
    ratio: float = Field(0.6, ge=0, lt=1, description="share of the features that is zeroed")


class FBINetConfig(BaseModel):
    """Shape of a :class:`FBINet`.

    Examples
    --------
    >>> FBINetConfig().receptive_radius
    48
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    in_channels: int = Field(1, ge=1, description="input planes: the image, then extra planes")
    out_channels: int = Field(1, ge=1, description="output planes")
    layers: int = Field(17, ge=2, description="convolutions that are wider than a pixel")
    filters: int = Field(64, ge=1, description="feature maps of each layer")
    blind_spot: bool = Field(True, description="whether an output pixel must not see its own input")
    dropout: LayerDropoutConfig | None = Field(None, description="dropout in the layers")

    @property
    def receptive_radius(self) -> int:
        """Pixels around an output pixel on which it can depend: 1 + 2 + 3 a further layer."""
        return 3 + DILATION * (self.layers - 2)


class FBINet(nn.Module):
    """Network in which no output pixel depends on the input pixel at its own place.

    The first convolution leaves out the centre. Those that follow have few, spread taps, such
    that no path leads back to the centre: the second has the eight knight's moves and the centre,
    the others are dilated by 3 and have the four diagonals and the centre. A first step is of one
    pixel; with a knight's move it can reach a multiple of 3 only at (3, 0) or (0, 3), and a sum of
    diagonal steps of 3 is never that far off. Beside that chain, which has
    no skip connections, the features of all layers are merged by residual blocks of 1 x 1
    convolutions, averaged, and reduced to the output [1]_. After the authors' description and their
    implementation (MIT licence).

    Parameters
    ----------
    config
        Shape of the network. Without `blind_spot` the first convolution has its centre too.

    Notes
    -----
    Shape: input ``(N, in_channels, H, W)``, any H and W; output ``(N, out_channels, H, W)``.

    Of the pixels in the receptive field (97 x 97 with 17 layers) 94 % are seen; the others are
    on a lattice of 3 pixels, the nearest at (3, 3).

    References
    ----------
    .. [1] J. Byun, S. Cha, T. Moon, "FBI-Denoiser: fast blind image denoiser for
       Poisson-Gaussian noise", CVPR 2021, arXiv:2105.10967, section 3.3.

    Examples
    --------
    >>> net = FBINet(FBINetConfig(layers=4, filters=8))
    >>> x = torch.rand(1, 1, 21, 21, requires_grad=True)
    >>> net(x)[0, 0, 10, 10].backward()
    >>> x.grad[0, 0, 10, 10].item(), bool((x.grad[0, 0, 9:12, 9:12] != 0).sum() == 8)
    (0.0, True)
    """

    def __init__(self, config: FBINetConfig | None = None) -> None:
        super().__init__()
        self.config = config or FBINetConfig()
        width = self.config.filters
        first, second, further = tap_patterns(self.config.blind_spot)
        self.first = _TapConv(self.config.in_channels, width, first)
        self.second = _TapConv(width, width, second)
        self.further = nn.ModuleList(
            _TapConv(width, width, further, DILATION) for _ in range(self.config.layers - 2)
        )
        self.activations = nn.ModuleList(_prelu(width) for _ in range(self.config.layers))
        self.mergers = nn.ModuleList(_prelu(width) for _ in range(self.config.layers - 1))
        self.blocks = nn.ModuleList(_PointwiseBlock(width) for _ in range(self.config.layers))
        self.average_activation = _prelu(width)
        self.last_block = _PointwiseBlock(width)
        self.head = nn.Conv2d(width, self.config.out_channels, 1)
        nn.init.xavier_normal_(self.head.weight)
        nn.init.zeros_(self.head.bias)  # type: ignore[arg-type]

    def forward(self, x: Tensor) -> Tensor:
        """Return the output planes; see the class for shapes."""
        raw = self._dropped(self.activations[0](self.first(x)), 1)
        merged = self.blocks[0](raw)
        total = merged
        middle = 1 + len(self.further) // 2
        for index, convolution in enumerate([self.second, *self.further]):
            raw = self.activations[index + 1](convolution(raw))
            raw = self._dropped(raw, 2) if index == 0 else raw
            raw = self._dropped(raw, 3) if index == middle else raw
            merged = self.blocks[index + 1](self.mergers[index]((raw + merged) / 2))
            total = total + merged
        average = self.average_activation(self._dropped(total / self.config.layers, 4))
        out: Tensor = self.head(self._dropped(self.last_block(average), 5))
        return out

    def _dropped(self, features: Tensor, place: int) -> Tensor:
        dropout = self.config.dropout
        if dropout is None or place not in dropout.after_blocks:
            return features
        return F.dropout(features, dropout.ratio, self.training)


class _TapConv(nn.Conv2d):
    """Convolution with the taps of a pattern only; the size stays."""

    def __init__(
        self,
        channels_in: int,
        channels_out: int,
        taps: _Taps,
        dilation: int = 1,
    ) -> None:
        size = len(taps)
        reach = dilation * (size // 2)
        super().__init__(channels_in, channels_out, size, padding=reach, dilation=dilation)
        self.taps: Tensor
        self.register_buffer("taps", torch.tensor(taps, dtype=torch.float32), persistent=False)
        used = channels_in * int(self.taps.sum())
        nn.init.normal_(self.weight, std=(2 / used) ** 0.5)
        nn.init.zeros_(self.bias)  # type: ignore[arg-type]

    def forward(self, x: Tensor) -> Tensor:
        weight = self.weight * self.taps
        if x.device.type == "cpu" and self.out_channels % 16:
            # Torch 2.13 on processors: the bfloat16 gradient of a dilated convolution of, say, 24
            # maps is no number, or the process dies.
            with torch.autocast("cpu", enabled=False):
                exact: Tensor = self._conv_forward(x.to(weight.dtype), weight, self.bias)
            return exact
        out: Tensor = self._conv_forward(x, weight, self.bias)
        return out


class _PointwiseBlock(nn.Module):
    """Residual block of two 1 x 1 convolutions, which sees no neighbour."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.inner = nn.Conv2d(width, width, 1)
        self.outer = nn.Conv2d(width, width, 1)
        self.inner_activation, self.activation = _prelu(width), _prelu(width)
        for convolution in (self.inner, self.outer):
            nn.init.kaiming_normal_(convolution.weight, nonlinearity="relu")
            nn.init.zeros_(convolution.bias)  # type: ignore[arg-type]

    def forward(self, x: Tensor) -> Tensor:
        residual = self.outer(self.inner_activation(self.inner(x)))
        out: Tensor = self.activation((x + residual) / 2)
        return out


def _prelu(width: int) -> nn.PReLU:
    return nn.PReLU(width, init=0.0)

"""U-Net for restoration, with a pixel-unshuffle stem."""

from __future__ import annotations

from typing import Literal

import torch
from pydantic import BaseModel, ConfigDict, Field
from torch import Tensor, nn

Output = Literal["direct", "residual", "blend"]


class UNetConfig(BaseModel):
    """Shape of a :class:`UNet`.

    Examples
    --------
    >>> UNetConfig(widths=(16, 32)).stride
    4
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    in_channels: int = Field(1, ge=1, description="input planes: the image, then extra planes")
    out_channels: int = Field(1, ge=1, description="output planes")
    widths: tuple[int, ...] = Field(
        (32, 64, 128, 256), min_length=1, description="feature maps at each level, finest first"
    )
    stem: int = Field(
        2, ge=1, le=4, description="pixel-unshuffle factor before the first level; 1 for none"
    )
    output: Output = Field(
        "direct",
        description="direct: the image; residual: the input plus what is learned; blend: the "
        "image mixed pixel by pixel with the input, in learned shares",
    )

    @property
    def stride(self) -> int:
        """Edge of the input block on which the coarsest pixel sits; sizes are padded to it."""
        return int(self.stem * 2 ** (len(self.widths) - 1))

    @property
    def receptive_radius(self) -> int:
        """Pixels around an output pixel on which it can depend, where it sits worst.

        In cells of each level, the two 3 x 3 convolutions on the way down reach 2 and the two on
        the way up 2 more; a cell that is repeated or pooled stands for its whole block, which
        is 1 more. The bottom has two convolutions only, the head one at the finest level, and
        a cell of the stem its other pixels.
        """
        bottom = len(self.widths) - 1
        cells = 1 + sum(5 * 2**level for level in range(bottom)) + 2 * 2**bottom
        return int(self.stem * cells + self.stem - 1)


class UNet(nn.Module):
    """Encoder-decoder with skip connections, without normalisation layers.

    After Ronneberger et al. [1]_, in the form that restoration wants: no batch statistics
    (they would tie the grey level to the batch), and a pixel-unshuffle stem [2]_, which moves
    the costly first level to half resolution. Learning the image is quicker than learning the
    noise where the noise is strong, and slower where there is little; the output ``"blend"``
    is for models that must do both.

    Parameters
    ----------
    config
        Shape of the network.

    Notes
    -----
    Shape: input ``(N, in_channels, H, W)`` with H and W multiples of ``config.stride``;
    output ``(N, out_channels, H, W)``.

    References
    ----------
    .. [1] O. Ronneberger, P. Fischer, T. Brox, "U-Net", MICCAI 2015, arXiv:1505.04597.
    .. [2] W. Shi et al., "Real-time single image and video super-resolution using an
       efficient sub-pixel convolutional neural network", CVPR 2016, arXiv:1609.05158.

    Examples
    --------
    >>> net = UNet(UNetConfig(widths=(8, 16)))
    >>> net(torch.zeros(1, 1, 32, 48)).shape
    torch.Size([1, 1, 32, 48])
    """

    def __init__(self, config: UNetConfig | None = None) -> None:
        super().__init__()
        self.config = config or UNetConfig()
        widths, cells = self.config.widths, self.config.stem**2
        self.unshuffle = nn.PixelUnshuffle(self.config.stem)
        self.encoders = nn.ModuleList()
        channels = self.config.in_channels * cells
        for width in widths:
            self.encoders.append(_double_conv(channels, width))
            channels = width
        self.pool = nn.MaxPool2d(2)
        self.reducers = nn.ModuleList()
        self.decoders = nn.ModuleList()
        for fine, coarse in zip(widths[-2::-1], widths[:0:-1], strict=True):
            # 1 x 1 before the interpolation: the same function, a quarter of the work.
            self.reducers.append(nn.Conv2d(coarse, fine, 1))
            self.decoders.append(_double_conv(2 * fine, fine))
        self.upsample = nn.Upsample(scale_factor=2, mode="nearest")
        self.head = nn.Conv2d(widths[0], self.config.out_channels * cells, 3, padding=1)
        self.shuffle = nn.PixelShuffle(self.config.stem)
        self.apply(_init)
        if self.config.output == "residual":
            nn.init.zeros_(self.head.weight)  # start from the identity
        if self.config.output == "blend":
            self.gate = nn.Conv2d(widths[0], self.config.out_channels * cells, 3, padding=1)
            nn.init.zeros_(self.gate.weight)
            nn.init.constant_(self.gate.bias, -3.0)  # type: ignore[arg-type]

    def forward(self, x: Tensor) -> Tensor:
        """Restore a batch; see the class for shapes."""
        features = self.unshuffle(x)
        skips: list[Tensor] = []
        for level, encode in enumerate(self.encoders):
            features = encode(features if level == 0 else self.pool(features))
            skips.append(features)
        skips.pop()
        for reduce, decode in zip(self.reducers, self.decoders, strict=True):
            up = self.upsample(reduce(features))
            features = decode(torch.cat([up, skips.pop()], dim=1))
        out: Tensor = self.shuffle(self.head(features)).to(x.dtype)
        image = x[:, : self.config.out_channels]
        if self.config.output == "residual":
            return out + image
        if self.config.output == "blend":
            share = torch.sigmoid(self.shuffle(self.gate(features)).to(x.dtype))
            return torch.lerp(out, image, share)
        return out


def _double_conv(channels_in: int, channels_out: int) -> nn.Sequential:
    return nn.Sequential(
        nn.Conv2d(channels_in, channels_out, 3, padding=1),
        nn.ReLU(inplace=True),
        nn.Conv2d(channels_out, channels_out, 3, padding=1),
        nn.ReLU(inplace=True),
    )


def _init(module: nn.Module) -> None:
    if isinstance(module, nn.Conv2d):
        nn.init.kaiming_normal_(module.weight, nonlinearity="relu")
        if module.bias is not None:
            nn.init.zeros_(module.bias)

"""U-Net for restoration, with a pixel-unshuffle stem."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from everhart.nn.unet_config import Output, UNetConfig

__all__ = ["Output", "UNet", "UNetConfig"]


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

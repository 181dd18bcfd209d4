"""PatchGAN: judges every patch of a picture by itself."""

from __future__ import annotations

import torch
from torch import Tensor, nn

__all__ = ["PatchGAN"]


class PatchGAN(nn.Module):
    """Discriminator that says of every patch of 70 x 70 pixels whether it is real.

    Parameters
    ----------
    in_channels
        Planes of its input: the condition and the picture to be judged.
    width
        Feature maps of the first layer; they double to eight times that.
    layers
        Layers that halve the resolution; 3 make patches of 70 pixels, 2 of 34, 1 of 16.

    Notes
    -----
    Shape: input ``(N, in_channels, H, W)``, output one logit a patch, ``(N, 1, h, w)``; with three
    layers h is ``H // 8 - 2``. Kernels are 4 x 4, weights start from N(0, 0.02), features are
    normalised by image (the reference trains batches of 1, for which its batch norm is that).

    References
    ----------
    P. Isola et al., "Image-to-image translation with conditional adversarial networks", CVPR 2017,
    arXiv:1611.07004, section 3.2.2 and appendix 6.1.2.

    Examples
    --------
    >>> PatchGAN(2, width=8)(torch.zeros(1, 2, 128, 128)).shape
    torch.Size([1, 1, 14, 14])
    """

    def __init__(self, in_channels: int = 2, width: int = 64, layers: int = 3) -> None:
        super().__init__()
        parts: list[nn.Module] = [
            nn.Conv2d(in_channels, width, 4, stride=2, padding=1),
            nn.LeakyReLU(0.2),
        ]
        channels = width
        for layer in range(1, layers + 1):
            wide = min(width * 2**layer, 8 * width)
            stride = 2 if layer < layers else 1
            parts += [
                nn.Conv2d(channels, wide, 4, stride=stride, padding=1, bias=False),
                nn.InstanceNorm2d(wide, affine=True),
                nn.LeakyReLU(0.2),
            ]
            channels = wide
        parts.append(nn.Conv2d(channels, 1, 4, padding=1))
        self.judge = nn.Sequential(*parts)
        self.receptive_px = _receptive(layers)
        self.apply(_init)

    def forward(self, x: Tensor) -> Tensor:
        """Return a logit for every patch; see the class for shapes."""
        return self.judge(x)  # type: ignore[no-any-return]


def _receptive(layers: int) -> int:
    """Return the edge in pixels of what one logit depends on."""
    strides = [2] * layers + [1, 1]
    edge = 1
    for stride in reversed(strides):
        edge = (edge - 1) * stride + 4
    return edge


def _init(module: nn.Module) -> None:
    if isinstance(module, nn.Conv2d):
        nn.init.normal_(module.weight, 0.0, 0.02)
    elif isinstance(module, nn.InstanceNorm2d):
        assert module.weight is not None
        nn.init.normal_(module.weight, 1.0, 0.02)
    bias = getattr(module, "bias", None)
    if isinstance(bias, torch.Tensor):
        nn.init.zeros_(bias)

"""PGE-Net: the parameters of Poisson-Gaussian noise from one image, learned without any truth."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from pydantic import BaseModel, ConfigDict, Field
from torch import Tensor, nn

from everhart.nn.anscombe import stabilised, stabilised_variance
from everhart.nn.unet import UNet, UNetConfig

__all__ = ["PGENet", "PGENetConfig", "noise_levels", "stabilisation_loss"]

_PATCH = 5
_GROUPS = 4


class PGENetConfig(BaseModel):
    """Shape of a :class:`PGENet`."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    widths: tuple[int, ...] = Field((16, 32, 64), min_length=1, description="maps at each level")

    @property
    def unet(self) -> UNetConfig:
        """Config of the U-Net inside."""
        return UNetConfig(out_channels=2, widths=self.widths, stem=2)


class PGENet(nn.Module):
    """Estimates the noise of an image as a line of variance over grey level.

    A U-Net with two output planes, squared so that they are positive, and averaged over the
    image [1]_. It is trained by :func:`stabilisation_loss`.

    Parameters
    ----------
    config
        Shape of the U-Net.

    Notes
    -----
    Shape: input ``(N, 1, H, W)``, H and W multiples of ``config.unet.stride``; output two tensors
    ``(N, 1, 1, 1)``: the gain, which is the slope of the variance, and the variance at grey level
    0 of a normalised image, which is its mean grey level. (The paper has the variance
    at no signal; where there is none in the image, that is an extrapolation.)

    References
    ----------
    .. [1] J. Byun, S. Cha, T. Moon, "FBI-Denoiser: fast blind image denoiser for
       Poisson-Gaussian noise", CVPR 2021, arXiv:2105.10967, section 3.2.
    """

    def __init__(self, config: PGENetConfig | None = None) -> None:
        super().__init__()
        self.config = config or PGENetConfig()
        self.unet = UNet(self.config.unet)
        # Start at a noise that images have: squared, a gain of 0.04 and a variance of 0.16.
        nn.init.normal_(self.unet.head.weight, std=1e-3)
        with torch.no_grad():
            gain, variance = self.unet.head.bias.chunk(2)  # type: ignore[union-attr]
            gain.fill_(0.2)
            variance.fill_(0.4)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Return gain and variance of each image; see the class."""
        planes = self.unet(x).float() ** 2
        gain, variance = planes.mean((2, 3), keepdim=True).chunk(2, dim=1)
        return gain, variance.clamp(min=1e-6)


def noise_levels(images: Tensor, groups: int = _GROUPS) -> Tensor:
    """Estimate the standard deviation of white noise in parts of images, by brightness.

    Patches of 5 x 5 pixels are sorted by their mean and split into groups. In each group, the
    eigenvalues of the patches' covariance are those of the noise but for the few largest, which
    are of the structure: the largest are left out until the mean of the others is not above their
    median [1]_. A patch's own mean is taken out, so that sorting by it does no harm.

    Parameters
    ----------
    images
        Shape ``(N, 1, H, W)``.
    groups
        Number of brightness groups.

    Returns
    -------
    Tensor
        Standard deviations ``(N, groups)``, darkest group first; gradients flow through them.

    References
    ----------
    .. [1] G. Chen, F. Zhu, P. A. Heng, "An efficient statistical method for image noise level
       estimation", ICCV 2015, 477-485, algorithm 1.

    Examples
    --------
    >>> noise = torch.randn(1, 1, 128, 128, generator=torch.Generator().manual_seed(0))
    >>> bool((noise_levels(2 * noise) - 2).abs().max() < 0.1)
    True
    """
    patches = F.unfold(images, _PATCH)  # (N, 25, L)
    means = patches.mean(1, keepdim=True)
    order = means.detach().argsort(dim=2)
    per_group = patches.shape[2] // groups
    patches = (patches - means).gather(2, order.expand_as(patches))[:, :, : groups * per_group]
    grouped = patches.reshape(*patches.shape[:2], groups, per_group).transpose(1, 2)
    grouped = grouped - grouped.mean(3, keepdim=True)
    covariance = grouped @ grouped.transpose(2, 3) / per_group
    # The smallest is that of the mean, which was taken out.
    eigenvalues = torch.linalg.eigvalsh(covariance.float())[..., 1:]
    count = torch.arange(1, eigenvalues.shape[-1] + 1, device=images.device)
    averages = eigenvalues.cumsum(-1) / count
    with torch.no_grad():
        medians = (eigenvalues[..., (count - 1) // 2] + eigenvalues[..., count // 2]) / 2
        kept = torch.where(medians >= averages, count, 1).amax(-1, keepdim=True)
    level: Tensor = averages.gather(-1, kept - 1)[..., 0].clamp(min=1e-12).sqrt()
    return level


def stabilisation_loss(images: Tensor, gain: Tensor, variance: Tensor) -> Tensor:
    """Return how far the noise is from one level once an image is stabilised.

    ``mean (eta - 1)^2``, where eta is the noise level, by :func:`noise_levels`, of the image
    stabilised with the given parameters, in units of what it should be. The paper takes one
    eta for a whole image; one for each of four groups of brightness tells gain from variance
    also where dark and bright are mixed everywhere.

    Parameters
    ----------
    images
        Noisy images ``(N, 1, H, W)``.
    gain, variance
        Parameters of their noise, ``(N, 1, 1, 1)``.

    References
    ----------
    J. Byun, S. Cha, T. Moon, CVPR 2021, arXiv:2105.10967, section 3.2.
    """
    unit = stabilised(images, gain, variance) / stabilised_variance(gain, variance).sqrt()
    return ((noise_levels(unit) - 1) ** 2).mean()

"""The generalised Anscombe transform in torch, and the loss of an affine denoiser under it."""

from __future__ import annotations

import torch
from torch import Tensor

__all__ = ["estimated_affine_loss", "restored_level", "stabilised", "stabilised_variance"]

_ROOT = 1.5**0.5


def stabilised_variance(gain: Tensor, variance: Tensor) -> Tensor:
    """Return the variance that the noise has at all grey levels after :func:`stabilised`.

    Parameters
    ----------
    gain, variance
        Noise of an image: its variance at a grey level x is ``gain * x + variance``.
    """
    return variance + 0.375 * gain**2


def stabilised(x: Tensor, gain: Tensor, variance: Tensor) -> Tensor:
    """Give noise whose variance is ``gain * x + variance`` one variance at all grey levels.

    This is the generalised Anscombe transform [1]_

    ``f(x) = 2 / gain * sqrt(gain * x + 3/8 * gain^2 + variance)``,

    less ``f(0)`` and times the standard deviation ``s = sqrt(3/8 * gain^2 + variance)``: so it
    has slope 1 at 0, becomes the identity where the noise does not depend on the signal
    (``gain = 0``, where f itself has no limit), and leaves noise of variance ``s^2``.

    Parameters
    ----------
    x
        Image, any shape.
    gain
        Slope of the variance, at least 0; broadcast with `x`.
    variance
        Variance at ``x = 0``, above 0.

    Returns
    -------
    Tensor
        Stabilised image of the shape of `x`.

    References
    ----------
    .. [1] M. Makitalo, A. Foi, "Optimal inversion of the generalized Anscombe transformation for
       Poisson-Gaussian noise", IEEE Transactions on Image Processing 22 (2013), 91-103, eq. 2.

    Examples
    --------
    >>> g = torch.Generator().manual_seed(0)
    >>> counts = torch.poisson(torch.full((400, 400), 30.0), generator=g)
    >>> stable = stabilised(counts - 30, torch.tensor(1.0), torch.tensor(30.0))
    >>> round(float(stable.var() / stabilised_variance(torch.tensor(1.0), torch.tensor(30.0))), 1)
    1.0
    """
    c = stabilised_variance(gain, variance)
    # Not cut off at 0, where the root has no finite slope: its product with the slope 0 of the
    # cut would be no number, and end a training on images with dark, noisy parts.
    root = torch.sqrt((gain * x + c).clamp(min=1e-12))
    # 2 sqrt(c) / gain * (root - sqrt(c)), without the division by gain; where the argument of the
    # root is cut off, so is x.
    cut = torch.maximum(x, -c / gain.clamp(min=1e-12))
    return 2 * torch.sqrt(c) * cut / (root + torch.sqrt(c))


def restored_level(stable: Tensor, gain: Tensor, variance: Tensor) -> Tensor:
    """Return the grey level whose expected transform is given (the exact unbiased inverse).

    Parameters
    ----------
    stable
        Denoised image in the units of :func:`stabilised`.
    gain, variance
        As there.

    References
    ----------
    M. Makitalo, A. Foi, IEEE Transactions on Image Processing 22 (2013), 91-103, eq. 10: the
    closed form, here as its difference to the algebraic inverse, which has a limit at ``gain = 0``.
    """
    c = stabilised_variance(gain, variance)
    y = stable / torch.sqrt(c)
    # In units of arrivals, f = d; far above 0 its correction is a quarter of an arrival.
    d = (y + 2 * torch.sqrt(c) / gain.clamp(min=1e-6)).clamp(min=_ROOT)
    y = torch.maximum(y, _ROOT - 2 * torch.sqrt(c) / gain.clamp(min=1e-6))
    bias = 0.25 + _ROOT / (4 * d) - 11 / (8 * d**2) + 5 * _ROOT / (8 * d**3)
    return y * torch.sqrt(c) + gain * (y**2 / 4 + bias)


def estimated_affine_loss(noisy: Tensor, slope: Tensor, offset: Tensor, variance: Tensor) -> Tensor:
    """Return an unbiased estimate of the squared error of an affine denoiser, without the truth.

    The denoiser is ``slope * noisy + offset`` pixel by pixel, where slope and offset do not depend
    on the pixel itself (a blind-spot network). Then

    ``E (slope * z + offset - x)^2 = E [(z - slope * z - offset)^2 + 2 * slope * s^2 - s^2]``

    for noise ``z - x`` of mean 0 and variance s^2.

    Parameters
    ----------
    noisy
        Noisy image z.
    slope, offset
        Coefficients at each pixel, of the same shape.
    variance
        Variance s^2 of the noise, broadcast with them.

    Returns
    -------
    Tensor
        The estimate at each pixel; its mean is the loss. Single values can be negative.

    References
    ----------
    S. Cha, T. Moon, "Neural adaptive image denoiser", ICASSP 2018 (the estimate);
    J. Byun, S. Cha, T. Moon, CVPR 2021, arXiv:2105.10967, section 3.1 (under the Anscombe
    transform).
    """
    return (noisy - slope * noisy - offset) ** 2 + (2 * slope - 1) * variance

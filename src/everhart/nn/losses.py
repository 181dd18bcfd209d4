"""Losses for restoration; each takes ``(prediction, target)`` of shape ``(N, C, H, W)``.

All of them work on normalised images, and those with a notion of range take it as
``data_range``, in the units of the images.
"""

from __future__ import annotations

from collections.abc import Mapping

import torch
import torch.nn.functional as F
from torch import Tensor, nn

MS_SSIM_WEIGHTS = (0.0448, 0.2856, 0.3001, 0.2363, 0.1333)
"""Exponents of the five scales, Wang et al. 2003, section 3.2."""


class CharbonnierLoss(nn.Module):
    """Mean of ``sqrt(error^2 + epsilon^2)``: quadratic near zero, linear for outliers.

    References
    ----------
    P. Charbonnier et al., "Two deterministic half-quadratic regularization algorithms for
    computed imaging", ICIP 1994; W.-S. Lai et al., "Deep Laplacian pyramid networks",
    CVPR 2017, eq. 2.

    Examples
    --------
    >>> x = torch.zeros(1, 1, 4, 4)
    >>> round(CharbonnierLoss(epsilon=0.5)(x, x).item(), 3)
    0.5
    """

    def __init__(self, epsilon: float = 1e-3) -> None:
        super().__init__()
        self.epsilon = epsilon

    def forward(self, prediction: Tensor, target: Tensor) -> Tensor:
        """Return the loss as a scalar."""
        return torch.sqrt((prediction - target) ** 2 + self.epsilon**2).mean()


class RMSELoss(nn.Module):
    """Mean over the images of each one's root mean square error.

    Its optimum is the conditional mean, as that of the squared error is, so that grey levels
    stay true where the noise hides which of two levels is there. But images of little noise
    count as much as noisy ones, as they do in a mean of PSNRs.

    Examples
    --------
    >>> x = torch.zeros(2, 1, 4, 4)
    >>> RMSELoss()(x + torch.tensor([1.0, 3.0])[:, None, None, None], x).item()
    2.0
    """

    def forward(self, prediction: Tensor, target: Tensor) -> Tensor:
        """Return the loss as a scalar."""
        squared = ((prediction - target) ** 2).mean((1, 2, 3))
        # The slope of the root at 0 is infinite: keep away from it.
        return squared.clamp(min=1e-12).sqrt().mean()


class PSNRLoss(nn.Module):
    """Minus the mean over the images of the PSNR, in bel (10 dB).

    Each image counts by the relative improvement of its error, however much noise it has: of
    the losses here the one that teaches images of little noise best.

    Parameters
    ----------
    data_range
        Range L of the images; it shifts the loss and changes no gradient.
    floor
        Squared error, in units of ``data_range^2``, below which nothing is gained (70 dB by
        default), so that images which are almost restored do not rule the others.

    Examples
    --------
    >>> x = torch.zeros(1, 1, 4, 4)
    >>> round(PSNRLoss()(x + 0.1, x).item(), 3)
    -2.0
    """

    def __init__(self, data_range: float = 1.0, floor: float = 1e-7) -> None:
        super().__init__()
        self.data_range = data_range
        self.floor = floor

    def forward(self, prediction: Tensor, target: Tensor) -> Tensor:
        """Return the loss as a scalar."""
        squared = ((prediction - target) ** 2).mean((1, 2, 3)) / self.data_range**2
        return torch.log10(squared + self.floor).mean()


class SSIMLoss(nn.Module):
    """One minus the mean SSIM over Gaussian windows (11 x 11, sigma 1.5).

    Parameters
    ----------
    data_range
        Range L of the images in the constants ``C1 = (0.01 L)^2``, ``C2 = (0.03 L)^2``.

    References
    ----------
    Z. Wang et al., "Image quality assessment: from error visibility to structural
    similarity", IEEE TIP 13 (2004), 600-612, eq. 13.
    """

    def __init__(self, data_range: float = 1.0) -> None:
        super().__init__()
        self.data_range = data_range
        self.window: Tensor
        self.register_buffer("window", _gaussian_window(11, 1.5), persistent=False)

    def forward(self, prediction: Tensor, target: Tensor) -> Tensor:
        """Return the loss as a scalar."""
        ssim, _ = _ssim_maps(prediction, target, self.window, self.data_range)
        return 1 - ssim.mean()


class MSSSIMLoss(nn.Module):
    """One minus the multi-scale SSIM.

    Images too small for all five scales use the first that fit (at least 11 pixels must
    remain), their exponents scaled to the same sum. Images below 11 pixels have none.

    Parameters
    ----------
    data_range
        As for :class:`SSIMLoss`.

    References
    ----------
    Z. Wang, E. P. Simoncelli, A. C. Bovik, "Multiscale structural similarity for image
    quality assessment", Asilomar 2003, eq. 7.
    """

    def __init__(self, data_range: float = 1.0) -> None:
        super().__init__()
        self.data_range = data_range
        self.window: Tensor
        self.register_buffer("window", _gaussian_window(11, 1.5), persistent=False)

    def forward(self, prediction: Tensor, target: Tensor) -> Tensor:
        """Return the loss as a scalar."""
        shortest = min(prediction.shape[-2:])
        n_scales = sum(shortest // 2**scale >= 11 for scale in range(len(MS_SSIM_WEIGHTS)))
        weights = torch.tensor(MS_SSIM_WEIGHTS[:n_scales], device=prediction.device)
        weights = weights * (sum(MS_SSIM_WEIGHTS) / weights.sum())
        value = torch.ones(prediction.shape[:2], device=prediction.device)
        for scale, weight in enumerate(weights):
            ssim, contrast = _ssim_maps(prediction, target, self.window, self.data_range)
            term = ssim if scale == n_scales - 1 else contrast
            # Early in training a term can be negative, and a negative base has no power.
            value = value * term.mean((2, 3)).clamp(min=1e-4) ** weight
            prediction, target = F.avg_pool2d(prediction, 2), F.avg_pool2d(target, 2)
        return 1 - value.mean()


class EdgeLoss(nn.Module):
    """Mean absolute difference of the Sobel gradients, in x and in y.

    The kernels are scaled such that a unit ramp has gradient 1.
    """

    def __init__(self) -> None:
        super().__init__()
        sobel = torch.tensor([[-1.0, 0.0, 1.0], [-2.0, 0.0, 2.0], [-1.0, 0.0, 1.0]]) / 8
        self.kernels: Tensor
        self.register_buffer("kernels", torch.stack([sobel, sobel.T])[:, None], persistent=False)

    def forward(self, prediction: Tensor, target: Tensor) -> Tensor:
        """Return the loss as a scalar."""
        error = (prediction - target).flatten(0, 1)[:, None]
        return F.conv2d(error, self.kernels.to(error)).abs().mean()


LOSSES: dict[str, type[nn.Module]] = {
    "mse": nn.MSELoss,
    "rmse": RMSELoss,
    "psnr": PSNRLoss,
    "l1": nn.L1Loss,
    "charbonnier": CharbonnierLoss,
    "ssim": SSIMLoss,
    "ms_ssim": MSSSIMLoss,
    "edge": EdgeLoss,
}
"""Losses by the names that configs use."""


class WeightedLoss(nn.Module):
    """Weighted sum of losses by name.

    Parameters
    ----------
    weights
        Weight by loss name; the names are those of :data:`LOSSES`.
    data_range
        Range handed to the losses that need one.

    Raises
    ------
    KeyError
        If a name is not known (configs are checked before they come here).

    Examples
    --------
    >>> loss = WeightedLoss({"l1": 1.0, "mse": 0.5})
    >>> total, parts = loss(torch.ones(1, 1, 16, 16), torch.zeros(1, 1, 16, 16))
    >>> total.item(), sorted(parts)
    (1.5, ['l1', 'mse'])
    """

    def __init__(self, weights: Mapping[str, float], data_range: float = 1.0) -> None:
        super().__init__()
        self.weights = dict(weights)
        self.terms = nn.ModuleDict()
        for name in self.weights:
            needs_range = name in ("psnr", "ssim", "ms_ssim")
            self.terms[name] = LOSSES[name](data_range) if needs_range else LOSSES[name]()

    def forward(self, prediction: Tensor, target: Tensor) -> tuple[Tensor, dict[str, Tensor]]:
        """Return the weighted sum and the unweighted terms by name."""
        prediction, target = prediction.float(), target.float()
        # Under autocast the windows of SSIM would be products in bfloat16, whose three digits a
        # variance, the difference of two squares, does not survive.
        with torch.autocast(prediction.device.type, enabled=False):
            parts = {name: term(prediction, target) for name, term in self.terms.items()}
        total = torch.stack([self.weights[name] * part for name, part in parts.items()]).sum()
        return total, parts


def _gaussian_window(size: int, sigma: float) -> Tensor:
    x = torch.arange(size, dtype=torch.float32) - size // 2
    window = torch.exp(-(x**2) / (2 * sigma**2))
    return window / window.sum()


def _band(window: Tensor, length: int) -> Tensor:
    """Return the matrix that filters a column of `length` pixels, whole windows only."""
    rows = length - len(window) + 1
    band = window.new_zeros(rows, length)
    for offset, weight in enumerate(window):
        band.diagonal(offset)[:rows] = weight
    return band


def _ssim_maps(x: Tensor, y: Tensor, window: Tensor, data_range: float) -> tuple[Tensor, Tensor]:
    """Return the maps of SSIM and of its contrast-structure factor, over valid windows."""
    n, c, height, width = x.shape
    planes = torch.stack([x, y, x * x, y * y, x * y]).reshape(5 * n * c, height, width)
    # As products with banded matrices: on a processor, a convolution of one channel is a
    # hundred times slower than a matrix product of the size of a training crop.
    planes = _band(window, height).to(planes) @ planes @ _band(window, width).to(planes).T
    mx, my, xx, yy, xy = planes.reshape(5, n, c, *planes.shape[-2:])
    c1, c2 = (0.01 * data_range) ** 2, (0.03 * data_range) ** 2
    contrast = (2 * (xy - mx * my) + c2) / (xx - mx**2 + yy - my**2 + c2)
    return contrast * (2 * mx * my + c1) / (mx**2 + my**2 + c1), contrast

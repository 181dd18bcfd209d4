"""A classifier of noisy images, whose gradient guides a generator."""

from __future__ import annotations

import torch
from pydantic import BaseModel, ConfigDict, Field, model_validator
from torch import Tensor, nn
from torch.nn import functional as F

from everhart.errors import UsageError
from everhart.nn.diffusion_unet import POSITION_PLANES, ResidualStage, time_features

__all__ = ["NoisyClassifier", "NoisyClassifierConfig"]


class NoisyClassifierConfig(BaseModel):
    """Shape of a :class:`NoisyClassifier`.

    Examples
    --------
    >>> NoisyClassifierConfig(classes=2).widths
    (16, 32, 64)
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    classes: int = Field(ge=2, description="classes to tell")
    widths: tuple[int, ...] = Field(
        (16, 32, 64), min_length=1, description="feature maps at each level, finest first"
    )
    groups: int = Field(8, ge=1, description="groups of the group normalisation")
    stem: int = Field(1, ge=1, le=4, description="pixel-unshuffle factor before the first level")
    position: bool = Field(True, description="whether it is told where a patch lies")

    @model_validator(mode="after")
    def _fitting(self) -> NoisyClassifierConfig:
        for width in self.widths:
            if width % self.groups:
                raise ValueError(f"a width of {width} is no multiple of groups = {self.groups}")
        return self


class NoisyClassifier(nn.Module):
    """The way down of a diffusion U-Net, and the mean over all places [1]_.

    Parameters
    ----------
    config
        Shape of the network.

    Notes
    -----
    Shape: input ``(N, 1, H, W)`` of any H and W, times ``(N,)``, position ``(N, 3, H, W)``; output
    ``(N, classes)``, logarithms of probabilities but for a constant.

    References
    ----------
    .. [1] P. Dhariwal, A. Nichol, "Diffusion models beat GANs on image synthesis", NeurIPS 2021,
       section 4.

    Examples
    --------
    >>> net = NoisyClassifier(NoisyClassifierConfig(classes=3, position=False))
    >>> net(torch.zeros(2, 1, 30, 41), torch.tensor([3, 999])).shape
    torch.Size([2, 3])
    """

    def __init__(self, config: NoisyClassifierConfig) -> None:
        super().__init__()
        self.config = c = config
        width, time_width = c.widths[0], 4 * c.widths[0]
        self.time = nn.Sequential(
            nn.Linear(width, time_width), nn.SiLU(), nn.Linear(time_width, time_width)
        )
        planes = 1 + POSITION_PLANES * c.position
        self.first = nn.Conv2d(planes * c.stem**2, width, 3, padding=1)
        self.stages = nn.ModuleList()
        for wide in c.widths:
            self.stages.append(ResidualStage(width, wide, time_width, c.groups))
            width = wide
        self.last_norm = nn.GroupNorm(c.groups, width)
        self.last = nn.Linear(width, c.classes)

    def forward(self, x: Tensor, t: Tensor, position: Tensor | None = None) -> Tensor:
        """Say how likely each class is; see the class for shapes."""
        if (position is not None) != self.config.position:
            told = "none was" if position is None else "one was"
            raise UsageError(
                f"A classifier with position = {self.config.position} was called, and {told} given."
            )
        planes = x if position is None else torch.cat([x, position.to(x)], dim=1)
        stride = self.config.stem * 2 ** (len(self.config.widths) - 1)
        bottom, right = -x.shape[-2] % stride, -x.shape[-1] % stride
        if bottom or right:
            planes = F.pad(planes, (0, right, 0, bottom), mode="replicate")
        features = self.first(F.pixel_unshuffle(planes, self.config.stem))
        time = self.time(time_features(t, self.config.widths[0]).to(x.dtype))
        for level, stage in enumerate(self.stages):
            if level:
                features = F.avg_pool2d(features, 2)
            features = stage(features, time)
        pooled = F.silu(self.last_norm(features)).mean(dim=(2, 3))
        scores: Tensor = self.last(pooled)
        return scores

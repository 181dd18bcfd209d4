"""U-Net of a diffusion model: what noise is in an image, told how much there is."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import torch
from pydantic import BaseModel, ConfigDict, Field, model_validator
from torch import Tensor, nn
from torch.nn import functional as F

from everhart.errors import UsageError, unknown_name

__all__ = [
    "POSITION_PLANES",
    "Condition",
    "DiffusionUNet",
    "DiffusionUNetConfig",
    "ResidualStage",
    "time_features",
]

POSITION_PLANES = 3
"""Where a patch lies: y and x in the whole image, from -1 to 1, and log2 of its reduction."""


class DiffusionUNetConfig(BaseModel):
    """Shape of a :class:`DiffusionUNet`.

    Examples
    --------
    >>> DiffusionUNetConfig(widths=(16, 32, 32), classes=3).in_channels
    1
    >>> DiffusionUNetConfig(position=True, mask_classes=4).in_channels
    8
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    image_channels: int = Field(1, ge=1, description="planes of the image")
    widths: tuple[int, ...] = Field(
        (32, 64, 96), min_length=1, description="feature maps at each level, finest first"
    )
    blocks: int = Field(1, ge=1, description="residual blocks a level on the way down")
    attention: tuple[bool, ...] | None = Field(
        None, description="levels with self-attention; none: the coarsest alone"
    )
    head_width: int = Field(32, ge=1, description="feature maps of one attention head")
    groups: int = Field(8, ge=1, description="groups of the group normalisation")
    stem: int = Field(1, ge=1, le=4, description="pixel-unshuffle factor before the first level")
    classes: int = Field(0, ge=0, description="classes of labels; 0 for none")
    mask_classes: int = Field(0, ge=0, description="classes of a mask given as planes; 0 for none")
    position: bool = Field(False, description="whether it is told where a patch lies")
    augmentation: int = Field(
        0, ge=0, description="numbers that tell how a training sample was changed; 0 for none"
    )

    @model_validator(mode="after")
    def _fitting(self) -> DiffusionUNetConfig:
        for width in self.widths:
            if width % self.groups:
                raise ValueError(f"a width of {width} is no multiple of groups = {self.groups}")
        if self.attention is not None and len(self.attention) != len(self.widths):
            raise ValueError("attention has one entry a level")
        for width, attends in zip(self.widths, self.attends, strict=True):
            if attends and width % min(self.head_width, width):
                raise ValueError(
                    f"a width of {width} is no multiple of head_width = {self.head_width}"
                )
        return self

    @property
    def attends(self) -> tuple[bool, ...]:
        """Which levels have self-attention."""
        if self.attention is not None:
            return self.attention
        return (False,) * (len(self.widths) - 1) + (True,)

    @property
    def in_channels(self) -> int:
        """Planes of the input: image, position, mask."""
        return self.image_channels + POSITION_PLANES * self.position + self.mask_classes

    @property
    def stride(self) -> int:
        """Sizes are padded to multiples of this."""
        return int(self.stem * 2 ** (len(self.widths) - 1))


@dataclass(frozen=True)
class Condition:
    """What a sample is to be; whatever is None is left open.

    Parameters
    ----------
    label
        ``(N,)`` class numbers; ``classes`` (one more than the last) stands for none.
    position
        ``(N, 3, H, W)``; see :data:`POSITION_PLANES`.
    mask
        ``(N, mask_classes, H, W)``, one plane a class; all zeros where it is not given.
    augmentation
        ``(N, augmentation)``; zeros for an unchanged sample.
    """

    label: Tensor | None = None
    position: Tensor | None = None
    mask: Tensor | None = None
    augmentation: Tensor | None = None

    def take(self, some: slice) -> Condition:
        """Return the condition of some of the samples."""
        return Condition(*(None if part is None else part[some] for part in self._parts))

    def to(self, device: str) -> Condition:
        """Return it on a device."""
        return Condition(*(None if part is None else part.to(device) for part in self._parts))

    @property
    def _parts(self) -> tuple[Tensor | None, ...]:
        return self.label, self.position, self.mask, self.augmentation


class DiffusionUNet(nn.Module):
    """Residual U-Net with time embedding and self-attention.

    The network of DDPM [1]_ as the library diffusers builds it (`UNet2DModel`), so that weights go
    from one to the other; with planes for position and mask beside the image, labels, and the
    augmentation of the sample [2]_, which keeps it out of what is drawn. Labels are
    dropped in training for guidance without a classifier [3]_.

    Parameters
    ----------
    config
        Shape of the network.

    Notes
    -----
    Shape: input ``(N, image_channels, H, W)`` of any H and W, times ``(N,)``; output of the
    shape of the input: the noise or v, as it was trained.

    References
    ----------
    .. [1] J. Ho, A. Jain, P. Abbeel, "Denoising diffusion probabilistic models", NeurIPS 2020,
       arXiv:2006.11239.
    .. [2] T. Karras et al., "Elucidating the design space of diffusion-based generative
       models", NeurIPS 2022, arXiv:2206.00364, appendix F.2: non-leaking augmentation.
    .. [3] J. Ho, T. Salimans, "Classifier-free diffusion guidance", 2022, arXiv:2207.12598.

    Examples
    --------
    >>> net = DiffusionUNet(DiffusionUNetConfig(widths=(8, 16)))
    >>> net(torch.zeros(2, 1, 30, 41), torch.tensor([3, 999])).shape
    torch.Size([2, 1, 30, 41])
    """

    def __init__(self, config: DiffusionUNetConfig | None = None) -> None:
        super().__init__()
        self.config = c = config or DiffusionUNetConfig()
        cells, width, time_width = c.stem**2, c.widths[0], 4 * c.widths[0]
        head = c.head_width
        self.time = nn.Sequential(
            nn.Linear(width, time_width), nn.SiLU(), nn.Linear(time_width, time_width)
        )
        if c.classes:
            self.label = nn.Embedding(c.classes + 1, time_width)
        if c.augmentation:
            self.augmentation = nn.Linear(c.augmentation, time_width, bias=False)
        self.first = nn.Conv2d(c.in_channels * cells, width, 3, padding=1)
        self.down = nn.ModuleList()
        skips = [width]
        for level, (wide, attends) in enumerate(zip(c.widths, c.attends, strict=True)):
            last = level == len(c.widths) - 1
            blocks = []
            for _ in range(c.blocks):
                blocks.append(
                    ResidualStage(width, wide, time_width, c.groups, head if attends else None)
                )
                width = wide
                skips.append(width)
            reduce = nn.Identity() if last else nn.Conv2d(width, width, 3, stride=2, padding=1)
            if not last:
                skips.append(width)
            self.down.append(nn.ModuleDict({"blocks": nn.ModuleList(blocks), "reduce": reduce}))
        self.middle = nn.ModuleList(
            [
                ResidualStage(width, width, time_width, c.groups, head),
                ResidualStage(width, width, time_width, c.groups),
            ]
        )
        self.up = nn.ModuleList()
        for level in range(len(c.widths) - 1, -1, -1):
            wide = c.widths[level]
            blocks = []
            for _ in range(c.blocks + 1):
                seen = width + skips.pop()
                attends = c.attends[level]
                blocks.append(
                    ResidualStage(seen, wide, time_width, c.groups, head if attends else None)
                )
                width = wide
            enlarge = nn.Conv2d(width, width, 3, padding=1) if level else nn.Identity()
            self.up.append(nn.ModuleDict({"blocks": nn.ModuleList(blocks), "enlarge": enlarge}))
        self.last_norm = nn.GroupNorm(c.groups, width)
        self.last = nn.Conv2d(width, c.image_channels * cells, 3, padding=1)
        # An untrained network says zero: the loss starts at the variance of its target.
        nn.init.zeros_(self.last.weight)
        nn.init.zeros_(self.last.bias)  # type: ignore[arg-type]

    def forward(self, x: Tensor, t: Tensor, condition: Condition | None = None) -> Tensor:
        """Predict the noise (or v) in a batch; see the class for shapes."""
        height, width = x.shape[-2:]
        planes = self._planes(x, condition or Condition())
        stride = self.config.stride
        bottom, right = -height % stride, -width % stride
        if bottom or right:
            planes = F.pad(planes, (0, right, 0, bottom), mode="replicate")
        features = self.first(F.pixel_unshuffle(planes, self.config.stem))
        time = self._embedding(t, condition or Condition(), x.dtype)
        skips = [features]
        for stage in self.down:
            for block in stage["blocks"]:  # type: ignore[index]
                features = block(features, time)
                skips.append(features)
            if not isinstance(reduce := stage["reduce"], nn.Identity):  # type: ignore[index]
                features = reduce(features)
                skips.append(features)
        for block in self.middle:
            features = block(features, time)
        for stage in self.up:
            for block in stage["blocks"]:  # type: ignore[index]
                features = block(torch.cat([features, skips.pop()], dim=1), time)
            if not isinstance(enlarge := stage["enlarge"], nn.Identity):  # type: ignore[index]
                features = enlarge(F.interpolate(features, scale_factor=2.0, mode="nearest"))
        out = self.last(F.silu(self.last_norm(features)))
        out = F.pixel_shuffle(out, self.config.stem)
        return out[..., :height, :width]

    @property
    def block_names(self) -> tuple[str, ...]:
        """Names of the blocks whose features can be had, from the input to the output."""
        down = [
            f"down.{level}.{n}"
            for level in range(len(self.config.widths))
            for n in range(self.config.blocks)
        ]
        up = [
            f"up.{level}.{n}"
            for level in reversed(range(len(self.config.widths)))
            for n in range(self.config.blocks + 1)
        ]
        return (*down, "middle.0", "middle.1", *up)

    def features(
        self, x: Tensor, t: Tensor, names: Iterable[str], condition: Condition | None = None
    ) -> dict[str, Tensor]:
        """Return the feature maps of some blocks.

        Parameters
        ----------
        x, t, condition
            As for a call of the network.
        names
            Of :attr:`block_names`; the level is that of the resolution, 0 the finest.

        Returns
        -------
        dict
            Feature maps ``(N, C, h, w)`` by name.

        Raises
        ------
        UsageError
            For an unknown name.
        """
        kept: dict[str, Tensor] = {}
        handles = []
        for name in names:
            block = self._block(name)

            def keep(_: Any, __: Any, out: Tensor, name: str = name) -> None:
                kept[name] = out

            handles.append(block.register_forward_hook(keep))
        try:
            self(x, t, condition)
        finally:
            for handle in handles:
                handle.remove()
        return kept

    def _block(self, name: str) -> nn.Module:
        if name not in self.block_names:
            raise unknown_name("block", name, self.block_names)
        part, *numbers = name.split(".")
        level, number = int(numbers[0]), int(numbers[-1])
        if part == "middle":
            return self.middle[number]
        stages = self.down if part == "down" else self.up[::-1]
        return stages[level]["blocks"][number]  # type: ignore[index, no-any-return]

    def _planes(self, x: Tensor, condition: Condition) -> Tensor:
        """Put position and mask beside the image; zeros where they are left open."""
        planes = [x]
        for wanted, given, what in (
            (POSITION_PLANES * self.config.position, condition.position, "position"),
            (self.config.mask_classes, condition.mask, "mask"),
        ):
            if given is not None and not wanted:
                raise UsageError(f"A {what} was given to a model that takes none: leave it out.")
            if wanted:
                shape = (len(x), wanted, *x.shape[-2:])
                if given is None:
                    planes.append(x.new_zeros(shape))
                elif tuple(given.shape) != shape:
                    raise UsageError(
                        f"A {what} of shape {tuple(given.shape)} was given: it is {shape}."
                    )
                else:
                    planes.append(given.to(x))
        return torch.cat(planes, dim=1)

    def _embedding(self, t: Tensor, condition: Condition, dtype: torch.dtype) -> Tensor:
        time: Tensor = self.time(time_features(t, self.config.widths[0]).to(dtype))
        if self.config.classes:
            label = condition.label
            if label is None:
                label = torch.full_like(t, self.config.classes, dtype=torch.long)
            time = time + self.label(label)
        elif condition.label is not None:
            raise UsageError("A label was given to a model that has no classes: leave it out.")
        if self.config.augmentation and condition.augmentation is not None:
            time = time + self.augmentation(condition.augmentation.to(time))
        return time


def time_features(t: Tensor, width: int) -> Tensor:
    """Return cosines and sines of times ``(N,)`` at many rates, ``(N, width)``."""
    half = width // 2
    rates = torch.exp(
        -math.log(10_000) * torch.arange(half, dtype=torch.float32, device=t.device) / half
    )
    angles = t.float()[:, None] * rates
    return torch.cat([angles.cos(), angles.sin()], dim=1)


class ResidualStage(nn.Module):
    """A residual block told the time, and self-attention where it is wanted.

    Parameters
    ----------
    before, after
        Feature maps of input and output.
    time
        Numbers that tell the time.
    groups
        Groups of the group normalisation.
    head_width
        Feature maps of an attention head; None for no attention.
    """

    def __init__(
        self, before: int, after: int, time: int, groups: int, head_width: int | None = None
    ) -> None:
        super().__init__()
        self.norm1 = nn.GroupNorm(groups, before)
        self.conv1 = nn.Conv2d(before, after, 3, padding=1)
        self.time = nn.Linear(time, after)
        self.norm2 = nn.GroupNorm(groups, after)
        self.conv2 = nn.Conv2d(after, after, 3, padding=1)
        self.shortcut = nn.Conv2d(before, after, 1) if before != after else nn.Identity()
        self.attention = (
            nn.Identity() if head_width is None else _Attention(after, groups, head_width)
        )

    def forward(self, x: Tensor, time: Tensor) -> Tensor:
        """Return the features ``(N, after, h, w)``."""
        features = self.conv1(F.silu(self.norm1(x)))
        features = features + self.time(F.silu(time))[:, :, None, None]
        features = self.conv2(F.silu(self.norm2(features)))
        out: Tensor = self.attention(self.shortcut(x) + features)
        return out


class _Attention(nn.Module):
    """Self-attention over all places of a feature map, added to it."""

    def __init__(self, width: int, groups: int, head_width: int) -> None:
        super().__init__()
        self.heads = width // min(head_width, width)
        self.norm = nn.GroupNorm(groups, width)
        self.query = nn.Linear(width, width)
        self.key = nn.Linear(width, width)
        self.value = nn.Linear(width, width)
        self.out = nn.Linear(width, width)

    def forward(self, x: Tensor) -> Tensor:
        n, width, h, w = x.shape
        places = self.norm(x).flatten(2).transpose(1, 2)

        def split(values: Tensor) -> Tensor:
            return values.view(n, h * w, self.heads, -1).transpose(1, 2)

        seen = F.scaled_dot_product_attention(
            split(self.query(places)), split(self.key(places)), split(self.value(places))
        )
        mixed: Tensor = self.out(seen.transpose(1, 2).reshape(n, h * w, width))
        return x + mixed.transpose(1, 2).reshape(n, width, h, w)

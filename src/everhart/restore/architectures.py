"""The networks of learned denoisers: what they are given, and what they make of it."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import Annotated, Any, Literal

import torch
from pydantic import BaseModel, ConfigDict, Field, model_validator
from torch import Tensor, nn

from everhart.nn.anscombe import restored_level, stabilised, stabilised_variance
from everhart.nn.fbi_net import FBINet, FBINetConfig, LayerDropoutConfig
from everhart.nn.n2n_unet import N2NUNet, N2NUNetConfig
from everhart.nn.pge_net import PGENet, PGENetConfig
from everhart.nn.unet import UNet
from everhart.restore.unet_config import RestorationUNetConfig

_KNOWN_PX = 256
"""Edge of the windows from which what is to be known of a large image is measured."""


class RestorationNetwork(nn.Module, ABC):
    """A network on a normalised image ``(N, planes, H, W)``, H and W multiples of `stride`."""

    stride: int
    """Grid of the coarsest level, in pixels."""
    receptive_radius: int
    """Pixels around an output pixel on which it can depend."""
    mask_plane: bool
    """Whether the second input plane is the mask of the pixels that are there."""

    @property
    @abstractmethod
    def maps_per_pixel(self) -> float:
        """Estimate of the feature maps that live at once, per input pixel."""

    def know(self, image: Tensor) -> Tensor | None:
        """Return what the network must know of a whole image to restore a part of it."""
        del image
        return None

    @abstractmethod
    def forward(self, x: Tensor, known: Tensor | None = None) -> Tensor:
        """Return the restored normalised image ``(N, 1, H, W)``."""


class RestorationUNet(RestorationNetwork):
    """U-Net on a normalised image, with the extra planes added on the way."""

    def __init__(self, config: RestorationUNetConfig) -> None:
        super().__init__()
        self.config = config
        self.unet = UNet(config.unet)
        self.stride, self.receptive_radius = config.stride, config.receptive_radius
        self.mask_plane = config.mask_plane
        if config.edge_plane:
            sobel = torch.tensor([[-1.0, 0.0, 1.0], [-2.0, 0.0, 2.0], [-1.0, 0.0, 1.0]]) / 8
            self.sobel: Tensor
            self.register_buffer("sobel", torch.stack([sobel, sobel.T])[:, None], persistent=False)

    @property
    def maps_per_pixel(self) -> float:
        """Estimate of the feature maps that live at once, per input pixel."""
        return self.config.maps_per_pixel

    def forward(self, x: Tensor, known: Tensor | None = None) -> Tensor:
        """Return the restored normalised image ``(N, 1, H, W)``."""
        del known
        if self.config.edge_plane:
            gradient = nn.functional.conv2d(x[:, :1], self.sobel.to(x), padding=1)
            x = torch.cat([x, gradient.norm(dim=1, keepdim=True)], dim=1)
        return self.unet(x)  # type: ignore[no-any-return]


class RestorationN2NUNetConfig(BaseModel):
    """Network of a learned denoiser: the U-Net of the Noise2Noise paper."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    kind: Literal["n2n_unet"] = "n2n_unet"
    filters: int = Field(48, ge=1, description="feature maps on the way down; twice that back up")
    levels: int = Field(5, ge=1, le=8, description="how often the resolution is halved")
    mask_plane: bool = Field(False, description="give the mask of input dropout as an extra plane")

    @property
    def stride(self) -> int:
        """Grid of the coarsest level, in pixels."""
        return int(2**self.levels)


class RestorationN2NUNet(RestorationNetwork):
    """The U-Net of the Noise2Noise paper on a normalised image."""

    def __init__(self, config: RestorationN2NUNetConfig) -> None:
        super().__init__()
        self.config = config
        inner = N2NUNetConfig(
            in_channels=1 + config.mask_plane, filters=config.filters, levels=config.levels
        )
        self.unet = N2NUNet(inner)
        self.stride, self.receptive_radius = inner.stride, inner.receptive_radius
        self.mask_plane = config.mask_plane

    @property
    def maps_per_pixel(self) -> float:
        """Estimate of the feature maps that live at once, per input pixel."""
        return 7.0 * self.config.filters

    def forward(self, x: Tensor, known: Tensor | None = None) -> Tensor:
        """Return the restored normalised image ``(N, 1, H, W)``."""
        del known
        return self.unet(x)  # type: ignore[no-any-return]


class RestorationFBINetConfig(BaseModel):
    """Network of a learned denoiser: FBI-Net, and how its output is used."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    kind: Literal["fbi_net"] = "fbi_net"
    layers: int = Field(17, ge=2, description="convolutions that are wider than a pixel")
    filters: int = Field(64, ge=1, description="feature maps of each layer")
    blind_spot: bool = Field(True, description="whether an output pixel must not see its own input")
    output: Literal["direct", "affine", "anscombe"] = Field(
        "direct",
        description="direct: the image; affine: slope and offset for each noisy pixel; anscombe: "
        "the same on the image stabilised by its noise, which a PGE-Net estimates",
    )
    dropout: LayerDropoutConfig | None = Field(None, description="dropout in the layers")
    pge: PGENetConfig | None = Field(None, description="shape of the PGE-Net, for anscombe")
    mask_plane: bool = Field(False, description="give the mask of input dropout as an extra plane")

    @model_validator(mode="after")
    def _pge_for_anscombe(self) -> RestorationFBINetConfig:
        if self.pge is not None and self.output != "anscombe":
            raise ValueError("pge is for output: anscombe; leave it out")
        if self.output == "anscombe" and self.mask_plane:
            raise ValueError("output: anscombe takes no mask_plane")
        return self

    @property
    def stride(self) -> int:
        """Grid to which sizes are padded, in pixels: that of the PGE-Net, if there is one."""
        return (self.pge or PGENetConfig()).unet.stride if self.output == "anscombe" else 1


def fbi_net_config(config: RestorationFBINetConfig) -> FBINetConfig:
    """Return the shape of the FBI-Net inside."""
    return FBINetConfig(
        in_channels=1 + config.mask_plane,
        out_channels=1 if config.output == "direct" else 2,
        layers=config.layers,
        filters=config.filters,
        blind_spot=config.blind_spot,
        dropout=config.dropout,
    )


class RestorationFBINet(RestorationNetwork):
    """FBI-Net on a normalised image; as FBI-denoiser with a PGE-Net beside it."""

    def __init__(self, config: RestorationFBINetConfig) -> None:
        super().__init__()
        self.config = config
        inner = fbi_net_config(config)
        self.fbi = FBINet(inner)
        self.pge = PGENet(config.pge) if config.output == "anscombe" else None
        self.stride, self.receptive_radius = config.stride, inner.receptive_radius
        self.mask_plane = config.mask_plane

    @property
    def maps_per_pixel(self) -> float:
        """Estimate of the feature maps that live at once, per input pixel."""
        return 7.0 * self.config.filters

    def know(self, image: Tensor) -> Tensor | None:
        """Return gain and variance of the noise, ``(1, 2, 1, 1)``, from parts of a large image."""
        if self.pge is None:
            return None
        stride = self.stride
        sizes = [min(n // stride * stride, _KNOWN_PX) for n in image.shape[-2:]]
        rooms = [n - size for n, size in zip(image.shape[-2:], sizes, strict=True)]
        windows = {
            tuple(
                int(share * room) // stride * stride for share, room in zip(at, rooms, strict=True)
            )
            for at in ((0.5, 0.5), (0, 0), (0, 1), (1, 0), (1, 1))
        }
        found = [
            torch.cat(self.pge(image[..., y : y + sizes[0], x : x + sizes[1]]), dim=1)
            for y, x in sorted(windows)
        ]
        return torch.stack(found).mean(0)

    def noise(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Return gain and variance of the noise of each image of a batch, by the PGE-Net."""
        assert self.pge is not None
        return self.pge(x)  # type: ignore[no-any-return]

    def coefficients(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Return slope and offset at each pixel of an image as FBI-Net sees it."""
        slope, offset = self.fbi(x).float().chunk(2, dim=1)
        return slope, offset

    def forward(self, x: Tensor, known: Tensor | None = None) -> Tensor:
        """Return the restored normalised image ``(N, 1, H, W)``."""
        if self.config.output == "direct":
            return self.fbi(x)  # type: ignore[no-any-return]
        if self.config.output == "affine":
            slope, offset = self.coefficients(x)
            return slope * x[:, :1] + offset
        gain, variance = self.noise(x) if known is None else known.float().chunk(2, dim=1)
        stable = stabilised(x.float(), gain, variance)
        slope, offset = self.coefficients(stable)
        return restored_level(slope * stable + offset, gain, variance)

    def stable_view(self, x: Tensor, gain: Tensor, variance: Tensor) -> tuple[Tensor, Tensor]:
        """Return the stabilised image and the variance that its noise has."""
        return stabilised(x.float(), gain, variance), stabilised_variance(gain, variance)


NetworkConfig = Annotated[
    RestorationUNetConfig | RestorationN2NUNetConfig | RestorationFBINetConfig,
    Field(discriminator="kind"),
]

_ARCHITECTURES: dict[str, tuple[type[Any], type[Any]]] = {
    "RestorationUNet": (RestorationUNetConfig, RestorationUNet),
    "RestorationN2NUNet": (RestorationN2NUNetConfig, RestorationN2NUNet),
    "RestorationFBINet": (RestorationFBINetConfig, RestorationFBINet),
}
"""Config and network by the name of the architecture in a model file."""

ARCHITECTURES = tuple(_ARCHITECTURES)
"""Names of the architectures that a model file may have."""


def make_network(
    config: RestorationUNetConfig | RestorationN2NUNetConfig | RestorationFBINetConfig,
) -> RestorationNetwork:
    """Make the network that a config describes, with random weights."""
    for config_type, network_type in _ARCHITECTURES.values():
        if isinstance(config, config_type):
            network: RestorationNetwork = network_type(config)
            return network
    raise TypeError(type(config))


def network_from_header(architecture: str, config: dict[str, Any]) -> RestorationNetwork:
    """Make the network that the header of a model file describes.

    Raises
    ------
    KeyError
        If the architecture is not known.
    ValueError
        If the config does not fit it.
    """
    config_type, network_type = _ARCHITECTURES[architecture]
    network: RestorationNetwork = network_type(config_type.model_validate(config))
    return network


def config_for_header(network: RestorationNetwork) -> tuple[str, dict[str, Any]]:
    """Return the name of a network's architecture and its config, for a model file."""
    config: Any = network.config
    plain = config.model_dump(mode="json", exclude={"kind"})
    # What is not used is not said, so that an older Everhart reads the file, too.
    return type(network).__name__, {k: v for k, v in plain.items() if k != "mask_plane" or v}

"""Config of the network that most denoisers have; it can be read without torch."""

from __future__ import annotations

from typing import Literal

from pydantic import BaseModel, ConfigDict, Field

from everhart.nn.unet_config import Output, UNetConfig


class RestorationUNetConfig(BaseModel):
    """Network of a learned denoiser: a U-Net and the extra planes that it is given."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    kind: Literal["unet"] = "unet"
    widths: tuple[int, ...] = Field((32, 64, 128, 256), min_length=1)
    stem: int = Field(2, ge=1, le=4)
    output: Output = "direct"
    edge_plane: bool = Field(False, description="give the Sobel magnitude as an extra plane")
    mask_plane: bool = Field(False, description="give the mask of input dropout as an extra plane")

    @property
    def unet(self) -> UNetConfig:
        """Config of the U-Net inside."""
        return UNetConfig(
            in_channels=1 + self.mask_plane + self.edge_plane,
            widths=self.widths,
            stem=self.stem,
            output=self.output,
        )

    @property
    def stride(self) -> int:
        """Grid of the coarsest level, in pixels."""
        return self.unet.stride

    @property
    def receptive_radius(self) -> int:
        """Pixels around an output pixel on which it can depend."""
        return self.unet.receptive_radius + int(self.edge_plane)

    @property
    def maps_per_pixel(self) -> float:
        """Estimate of the feature maps that live at once, per input pixel.

        At the finest level the skip, the upsampled features, their concatenation and two
        convolution outputs live at once; oneDNN adds working copies of the order of one.
        """
        return 7 * self.widths[0] / self.stem**2

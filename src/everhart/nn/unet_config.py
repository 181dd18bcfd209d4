"""Shape of the U-Net: what can be known of it without torch."""

from __future__ import annotations

from typing import Literal

from pydantic import BaseModel, ConfigDict, Field

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

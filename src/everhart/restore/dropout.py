"""Input dropout: pixels of the input that are zeroed in training, and the same masks at use."""

from __future__ import annotations

from typing import Self, TypeAlias

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Field, model_validator

Image: TypeAlias = NDArray[np.float32]


class InputDropoutConfig(BaseModel):
    """Input dropout of a training.

    Each pixel of the input is kept or zeroed by an independent draw, the target stays whole, and
    at use nothing is dropped: that is the method of ReNIn, with a ratio of 0.6. All other settings
    are variations of it. What zero is depends on the normalisation: the image's mean grey
    with ``image``, black with ``range``.

    References
    ----------
    ReNIn, "Efficient and robust SEM image denoising for wafer defect inspection": input dropout
    in the training of relaxed Noise2Noise; the ratio is the share of the pixels that is dropped.
    """

    model_config = ConfigDict(extra="forbid")

    ratio: float = Field(0.6, ge=0, lt=1, description="share of the pixels that is dropped")
    patch_px: int = Field(1, ge=1, le=64, description="edge of the squares that drop as one")
    ratio_min: float | None = Field(
        None, ge=0, lt=1, description="with ratio_max: draw the ratio anew for each crop"
    )
    ratio_max: float | None = Field(None, ge=0, lt=1, description="largest ratio that is drawn")
    whole_share: float = Field(0.0, ge=0, lt=1, description="share of the crops left whole")
    mask_plane: bool = Field(False, description="give the network the mask as a second plane")
    rescale: bool = Field(False, description="divide what is kept by the share that is kept")
    test_masks: int = Field(
        0, ge=0, le=64, description="at use, average over so many masks; 0: the whole image"
    )

    @model_validator(mode="after")
    def _both_ends(self) -> Self:
        if (self.ratio_min is None) != (self.ratio_max is None):
            raise ValueError("give both ratio_min and ratio_max, or none of them")
        if self.ratio_min is not None and self.ratio_min > (self.ratio_max or 0):
            raise ValueError("ratio_min is at most ratio_max")
        return self

    @property
    def inference(self) -> dict[str, float | int | bool]:
        """What a model file must say of it; nothing where the whole image is given at use."""
        if not self.test_masks:
            return {}
        ratio = self.ratio
        if self.ratio_min is not None and self.ratio_max is not None:
            ratio = (self.ratio_min + self.ratio_max) / 2
        return Inference(
            masks=self.test_masks, ratio=ratio, patch_px=self.patch_px, rescale=self.rescale
        ).model_dump()

    def draw(self, rng: np.random.Generator, shape: tuple[int, int]) -> tuple[Image, float]:
        """Draw a mask, 1 where a pixel is kept, and the share that is kept on average."""
        if rng.random() < self.whole_share:
            return np.ones(shape, np.float32), 1.0
        ratio = self.ratio
        if self.ratio_min is not None and self.ratio_max is not None:
            ratio = float(rng.uniform(self.ratio_min, self.ratio_max))
        return kept(rng, shape, ratio, self.patch_px), 1 - ratio


class Inference(BaseModel):
    """What a model file says of masks at use; see :class:`InputDropoutConfig`."""

    model_config = ConfigDict(extra="forbid")

    masks: int = Field(0, ge=0, le=64)
    ratio: float = Field(0.0, ge=0, lt=1)
    patch_px: int = Field(1, ge=1, le=64)
    rescale: bool = False

    def applied(self, image: Image, mask: Image) -> Image:
        """Return a masked image."""
        return image * (mask / np.float32(1 - self.ratio) if self.rescale else mask)


def kept(rng: np.random.Generator, shape: tuple[int, int], ratio: float, patch_px: int) -> Image:
    """Draw a mask of squares that are kept (1) or dropped (0), each by itself.

    Parameters
    ----------
    rng
        Source of randomness.
    shape
        ``(H, W)`` of the mask.
    ratio
        Probability of dropping.
    patch_px
        Edge of a square. The grid of the squares starts anywhere.
    """
    if patch_px == 1:
        return (rng.random(shape) >= ratio).astype(np.float32)
    counts = [n // patch_px + 2 for n in shape]
    top, left = (int(rng.integers(patch_px)) for _ in range(2))
    squares = (rng.random(counts) >= ratio).astype(np.float32)
    large = squares.repeat(patch_px, 0).repeat(patch_px, 1)
    return large[top : top + shape[0], left : left + shape[1]]


def masks_at_use(inference: Inference, shape: tuple[int, ...]) -> list[Image | None]:
    """Return the masks over which the output is averaged; one None for the whole image.

    They depend on the shape alone: an image gives the same result each time, in tiles or not.
    """
    if not inference.masks:
        return [None]
    size = (shape[0], shape[1])
    return [
        kept(np.random.default_rng([number, *size]), size, inference.ratio, inference.patch_px)
        for number in range(inference.masks)
    ]

"""Config of a pretraining on images without labels: ``task: poisson-denoise`` or ``pix2pix``."""

from __future__ import annotations

import math
from typing import Any, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, field_validator, model_validator

from everhart.restore.config import CardConfig
from everhart.restore.source_base import FolderConfig, Pattern
from everhart.segment.config import SegmentNetworkConfig, SelectionConfig
from everhart.training.config import OptimiserConfig

__all__ = ["PretrainingConfig", "UnlabelledConfig"]


class UnlabelledConfig(FolderConfig):
    """Images, to which noise is given; or noisy images with a clean partner each."""

    images: Pattern = Field("*", description="pattern of the images, with one *")
    clean: Pattern | None = Field(
        None,
        description="pattern of clean partners: the images are then the noisy ones, and no noise "
        "is given to them",
    )


class PretrainingConfig(BaseModel):
    """Config of a pretraining.

    =============== ===============================================================
    poisson-denoise an encoder-decoder learns to take Poisson noise off that was put on the
                    images, with a dose drawn at random
    pix2pix         the same network is the generator of a conditional GAN
    =============== ===============================================================
    """

    model_config = ConfigDict(extra="forbid")

    task: Literal["poisson-denoise", "pix2pix"]
    seed: int = Field(0, ge=0, description="seed of weights and samples")
    data: UnlabelledConfig
    train: SelectionConfig | None = Field(
        None, description="images to learn from; by default all that are left"
    )
    validation: SelectionConfig | None = Field(None, description="images to judge by")
    gap: int = Field(0, ge=0, description="neighbours of validation images that are left out")
    validation_samples: int = Field(32, ge=1, description="number of validation crops")
    dose_e_per_px: tuple[float, float] = Field(
        (2.0, 200.0), description="electrons a pixel of a white pixel, drawn log-uniformly"
    )
    crop_px: int = Field(128, ge=32, description="edge of the training crops in pixels")
    network: SegmentNetworkConfig = Field(default_factory=SegmentNetworkConfig)
    l1_weight: float = Field(100.0, ge=0, description="pix2pix: weight of the L1 loss")
    patchgan_width: int = Field(64, ge=1, description="pix2pix: first width of the PatchGAN")
    optimiser: OptimiserConfig = Field(default_factory=OptimiserConfig)
    weights_dtype: Literal["float32", "float16"] = Field(
        "float32", description="precision of the stored weights"
    )
    card: CardConfig = Field(default_factory=lambda: CardConfig(name="pretrained"))

    @model_validator(mode="before")
    @classmethod
    def _defaults_of_the_task(cls, given: Any) -> Any:
        """Fill in the reference's rate, so that the saved config says it."""
        if not isinstance(given, dict) or given.get("task") != "pix2pix":
            return given
        optimiser = given.get("optimiser", {})
        if isinstance(optimiser, dict):
            return {**given, "optimiser": {"learning_rate": 2e-4, **optimiser}}
        return given

    @field_validator("dose_e_per_px")
    @classmethod
    def _ordered(cls, dose: tuple[float, float]) -> tuple[float, float]:
        if not 0 < dose[0] <= dose[1] < math.inf:
            raise ValueError("give the lowest and the highest dose, both above 0")
        return dose

    @field_validator("crop_px")
    @classmethod
    def _even_crop(cls, crop: int) -> int:
        if crop % 32:
            raise ValueError("a crop is a multiple of 32 pixels, such as 128")
        return crop

    @model_validator(mode="after")
    def _pix2pix_parts(self) -> Self:
        optimiser = self.optimiser
        if self.task == "pix2pix" and optimiser.keep_best:
            raise ValueError("pix2pix has no figure that says what is best: leave keep_best out")
        if self.task == "poisson-denoise" and self.data.clean is not None:
            raise ValueError("poisson-denoise puts noise on its images: leave data.clean out")
        if optimiser.keep_best and self.validation is None:
            raise ValueError("optimiser.keep_best needs validation images to tell what is best")
        return self

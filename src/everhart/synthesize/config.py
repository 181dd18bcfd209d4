"""Config of a generator's training: ``everhart train CONFIG.yaml`` with ``task: diffusion``."""

from __future__ import annotations

from typing import Literal

from pydantic import BaseModel, ConfigDict, Field, model_validator

from everhart.nn.diffusion_unet import DiffusionUNetConfig
from everhart.synthesize.augment import AugmentConfig
from everhart.synthesize.patches import StageConfig
from everhart.synthesize.schedule import Prediction, ScheduleName
from everhart.synthesize.training_images import ImagesConfig
from everhart.training.config import OptimiserConfig

__all__ = ["DiffusionConfig", "NetworkConfig", "ScheduleConfig"]


class NetworkConfig(BaseModel):
    """What can be chosen of the network; the rest follows from the data."""

    model_config = ConfigDict(extra="forbid")

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
    position: bool = Field(True, description="whether it is told where a patch lies")

    def complete(self, classes: int, mask_classes: int, augmentation: int) -> DiffusionUNetConfig:
        """Return the whole shape of the network."""
        return DiffusionUNetConfig(
            **self.model_dump(),
            classes=classes,
            mask_classes=mask_classes,
            augmentation=augmentation,
        )


class ScheduleConfig(BaseModel):
    """Config of the noise schedule."""

    model_config = ConfigDict(extra="forbid")

    name: ScheduleName = Field("cosine", description="how the noise grows")
    steps: int = Field(1000, ge=2, description="steps from image to noise")
    prediction: Prediction = Field("v", description="what the network says: noise or v")
    shift: float = Field(
        1.0,
        gt=0,
        le=16,
        description="noise over image is so many times that of the plain schedule: above 1 more of "
        "the training goes to large shapes, as images of 128 pixels and more need it",
    )


class DiffusionConfig(BaseModel):
    """Config of a generator's training."""

    model_config = ConfigDict(extra="forbid")

    task: Literal["diffusion"] = "diffusion"
    seed: int = Field(0, ge=0, description="seed of weights and samples")
    data: ImagesConfig
    start_from: str | None = Field(
        None, description="file of a trained generator whose weights to start from"
    )
    freeze: tuple[str, ...] = Field(
        (),
        description="parts of the network that stay as they are in start_from, such as down.0; "
        "down stands for all of its parts",
    )
    curriculum: list[StageConfig] = Field(
        default_factory=lambda: [StageConfig()],
        min_length=1,
        description="stages of the training, such as small patches of reduced images first",
    )
    cycles: int = Field(
        1,
        ge=1,
        description="how often to go through the curriculum, so that reduced images, from which "
        "large ones are drawn, are not forgotten",
    )
    schedule: ScheduleConfig = Field(default_factory=ScheduleConfig)
    network: NetworkConfig = Field(default_factory=NetworkConfig)
    flips: tuple[Literal["horizontal", "vertical"], ...] = Field(
        (), description="flips that leave the images what they are: samples will be flipped, too"
    )
    coarse_loss: bool = Field(
        False,
        description="beside the error of pixels count that of images reduced by 2, 4, ... to 32 "
        "pixels, by so much more: what two ends of an image have in common is learned sooner",
    )
    augmentation: AugmentConfig | None = Field(
        None, description="changes that the model is told of, and that samples do not show"
    )
    label_dropout: float = Field(
        0.15, ge=0, le=1, description="share of the samples without label, for guidance"
    )
    mask_dropout: float = Field(
        0.15, ge=0, le=1, description="share of the samples without mask, for guidance"
    )
    validation_samples: int = Field(
        64, ge=1, description="patches of the held-out images to judge by, with data.held_out"
    )
    optimiser: OptimiserConfig = Field(
        default_factory=lambda: OptimiserConfig(batch_size=8, learning_rate=5e-4, ema_decay=0.999)
    )
    name: str = Field("generator", description="name on the model's card")
    summary: str = Field("", description="what it draws, for the card")
    licence: str = Field("", description="licence of the weights, for the card")
    weights_dtype: Literal["float32", "float16"] = Field(
        "float32", description="precision of the stored weights"
    )

    @model_validator(mode="after")
    def _fitting(self) -> DiffusionConfig:
        if self.optimiser.keep_best and not self.data.held_out:
            raise ValueError("optimiser.keep_best needs data.held_out to tell what is best")
        if self.freeze and self.start_from is None:
            raise ValueError("freeze keeps what was learned before: give start_from, too")
        return self

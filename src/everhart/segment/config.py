"""Config of a segmentation's training: ``everhart train CONFIG.yaml`` with ``task: segment``."""

from __future__ import annotations

from typing import Literal, Self

from pydantic import BaseModel, ConfigDict, Field, field_validator, model_validator

from everhart.errors import unknown_name
from everhart.nn.segmentation_losses import IGNORE, SEGMENTATION_LOSSES
from everhart.nn.unet import UNetConfig
from everhart.restore.config import CardConfig
from everhart.restore.source_base import FolderConfig, Pattern
from everhart.segment.elastic import ElasticConfig
from everhart.synthesize.augment import AugmentConfig
from everhart.training.config import OptimiserConfig

__all__ = [
    "REST",
    "AugmentationConfig",
    "LabelledConfig",
    "SegmentConfig",
    "SegmentNetworkConfig",
    "SelectionConfig",
]

REST = "rest"
"""In place of a label value: every value that no other class has."""


class LabelledConfig(FolderConfig):
    """Images with a label image each."""

    images: Pattern = Field("images/*", description="pattern of the images, with one *")
    labels: Pattern = Field("labels/*", description="pattern of the label images, with one *")
    pairing: Literal["name", "order"] = Field(
        "name",
        description="name: the * stands for the same text in an image and its labels; order: the "
        "first image has the first labels, both sorted by name",
    )
    pixel_size_nm: float | None = Field(
        None, gt=0, description="pixel size in nm, in place of what the files say"
    )


class SelectionConfig(BaseModel):
    """Some of the fields, by name or by their place in the sorted order."""

    model_config = ConfigDict(extra="forbid")

    fields: list[str] = Field(
        default_factory=list, description="glob patterns of the images' names without suffix"
    )
    blocks: list[tuple[int, int]] = Field(
        default_factory=list, description="first and last place in the sorted order, from 0"
    )

    @model_validator(mode="after")
    def _one_kind(self) -> Self:
        if not self.fields and not self.blocks:
            raise ValueError("give fields, such as ['grain_*'], or blocks, such as [[0, 9]]")
        for first, last in self.blocks:
            if not 0 <= first <= last:
                raise ValueError(f"the block [{first}, {last}] is none: give [first, last] from 0")
        return self


class AugmentationConfig(AugmentConfig):
    """How crops are changed: flips, quarter turns, magnification, bends, and EM-TrivialAugment."""

    flips: bool = Field(True, description="flip crops at random")
    turns: bool = Field(
        False, description="quarter turns; not for scanned images whose noise has a direction"
    )
    zoom: tuple[float, float] = Field((1.0, 1.0), description="range of the magnification")
    elastic: ElasticConfig | None = Field(
        None, description="bend crops (sigma_px, spacing_px); not where lines are straight"
    )
    count: int = Field(1, ge=0, description="operations of EM-TrivialAugment a crop")

    @field_validator("zoom")
    @classmethod
    def _ordered(cls, zoom: tuple[float, float]) -> tuple[float, float]:
        if not 0.25 <= zoom[0] <= zoom[1] <= 4:
            raise ValueError("give the smallest and the largest magnification, 0.25 to 4")
        return zoom


class SegmentNetworkConfig(BaseModel):
    """Shape of the U-Net; that of the model to start from, where there is one."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    widths: tuple[int, ...] = Field((32, 64, 128, 256), min_length=1)
    stem: int = Field(2, ge=1, le=4)

    def unet(self, classes: int) -> UNetConfig:
        """Config of the network for so many classes."""
        return UNetConfig(out_channels=classes, widths=self.widths, stem=self.stem)


class SegmentConfig(BaseModel):
    """Config of a segmentation's training."""

    model_config = ConfigDict(extra="forbid")

    task: Literal["segment"]
    seed: int = Field(0, ge=0, description="seed of weights and samples")
    data: LabelledConfig
    classes: dict[str, int | list[int] | Literal["rest"]] = Field(
        description="label values by class name, such as {background: 0, particle: rest}"
    )
    ignore: int | list[int] | None = Field(
        None, description="label values of pixels that do not count"
    )
    border_px: int = Field(
        0,
        ge=0,
        le=16,
        description="for labels with one value an object: learn the objects' rims of this width, "
        "so that touching objects come apart",
    )
    fill_holes: Literal["auto"] | bool = Field(
        False,
        description="give objects the background that they enclose, at use; auto: if hardly any "
        "object that is learned from has a hole, for labels with one value an object",
    )
    train: SelectionConfig | None = Field(
        None, description="fields to learn from; by default all that are left"
    )
    validation: SelectionConfig | None = Field(None, description="fields to judge by")
    gap: int | None = Field(
        None,
        ge=0,
        description="neighbours in the sorted order of a validation field that are not learned "
        "from; 0 where neighbours are not alike",
    )
    validation_samples: int = Field(32, ge=1, description="number of validation crops")
    common_pixel_size_nm: float | None = Field(
        None, gt=0, description="bring all images to this pixel size in nm, at use, too"
    )
    scale: float = Field(
        1.0,
        gt=0.1,
        le=4,
        description="enlarge all images by this factor, at use, too: below 1 the network sees more "
        "of its surroundings for the same work, and borders are coarser",
    )
    normalisation: Literal["image", "set"] = Field(
        "image",
        description="image: every image is brought to its own mean and deviation; set: all "
        "to those of the images learned from, where a grey level means the same in all of them",
    )
    crop_px: int = Field(
        128, ge=32, description="edge of the training crops in pixels, after all enlarging"
    )
    augmentation: AugmentationConfig | None = Field(default_factory=lambda: AugmentationConfig())
    start_from: str | None = Field(
        None,
        description="name or file of a denoiser or a segmentation whose weights to start from, all "
        "but the head",
    )
    network: SegmentNetworkConfig | None = Field(
        None, description="shape of the network; by default that of start_from, or the usual one"
    )
    loss: dict[str, float] = Field(
        default={"cross_entropy": 1.0, "dice": 1.0}, description="weights of the losses by name"
    )
    class_weights: Literal["none", "balanced"] | dict[str, float] = Field(
        "none", description="balanced: by the inverse of a class's share of the pixels"
    )
    optimiser: OptimiserConfig = Field(default_factory=OptimiserConfig)
    weights_dtype: Literal["float32", "float16"] = Field(
        "float32", description="precision of the stored weights"
    )
    card: CardConfig = Field(default_factory=lambda: CardConfig(name="segmentation"))

    @field_validator("loss")
    @classmethod
    def _known_losses(cls, loss: dict[str, float]) -> dict[str, float]:
        for name, weight in loss.items():
            if name not in SEGMENTATION_LOSSES:
                raise ValueError(str(unknown_name("loss", name, SEGMENTATION_LOSSES)))
            if weight < 0:
                raise ValueError(f"the weight of {name} is {weight}: give 0 or more")
        if not any(loss.values()):
            raise ValueError("give at least one loss a weight above 0")
        return loss

    @field_validator("crop_px")
    @classmethod
    def _even_crop(cls, crop: int) -> int:
        if crop % 32:
            raise ValueError("a crop is a multiple of 32 pixels, such as 128")
        return crop

    @model_validator(mode="after")
    def _classes_are_told_apart(self) -> Self:
        if not 2 <= len(self.classes) < IGNORE:
            raise ValueError(f"give 2 to {IGNORE - 1} classes")
        every = [value for values in self.values().values() for value in values]
        every += self.ignored()
        if len(set(every)) < len(every):
            twice = next(value for value in every if every.count(value) > 1)
            raise ValueError(f"the label value {twice} stands in two places: give it to one class")
        if sum(value == REST for value in self.classes.values()) > 1:
            raise ValueError("one class at most takes the rest")
        if isinstance(self.class_weights, dict) and self.class_weights.keys() != set(self.classes):
            raise ValueError("class_weights has one weight for each class")
        if self.border_px and list(self.classes.values()) not in ([0, REST], [[0], REST]):
            raise ValueError(
                "border_px is for single objects: give classes {background: 0, object: rest}"
            )
        if self.border_px and self.ignored():
            raise ValueError(
                "border_px and ignore were given: a value that does not count would be learned as "
                "an object; leave ignore, or give border_px: 0"
            )
        if self.fill_holes and not self.border_px:
            raise ValueError("fill_holes is for single objects: give border_px, too")
        return self

    @model_validator(mode="after")
    def _validation_is_apart(self) -> Self:
        if self.scale != 1 and self.common_pixel_size_nm is not None:
            raise ValueError("give scale or common_pixel_size_nm, not both")
        if self.validation is not None and self.gap is None:
            raise ValueError(
                "validation needs a gap: how many neighbours of a validation field are not learned "
                "from, such as 2 for slices, 0 for fields that have nothing in common"
            )
        if self.optimiser.keep_best and self.validation is None:
            raise ValueError("optimiser.keep_best needs validation fields to tell what is best")
        return self

    def values(self) -> dict[str, list[int]]:
        """Return the label values by class; none for that of the rest."""
        given = {name: ([] if v == REST else v) for name, v in self.classes.items()}
        return {name: [v] if isinstance(v, int) else list(v) for name, v in given.items()}  # type: ignore[arg-type]

    def ignored(self) -> list[int]:
        """Return the label values of pixels that do not count."""
        if self.ignore is None:
            return []
        return [self.ignore] if isinstance(self.ignore, int) else list(self.ignore)

"""What a generator's model file says beside its weights."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Self

from everhart.synthesize.config import DiffusionConfig
from everhart.synthesize.grey_scale import GreyRange
from everhart.synthesize.scatter import Scatter
from everhart.synthesize.schedule import NoiseSchedule
from everhart.synthesize.training_images import TrainingImages
from everhart.training.model_file import ModelHeader

__all__ = ["ARCHITECTURE", "CLIP", "KIND", "Said", "normalisation_of"]

KIND = "generator"
ARCHITECTURE = "DiffusionUNet"

CLIP = 1.0 / 0.9
"""Images are held within these limits while they are drawn."""


def normalisation_of(images: TrainingImages, config: DiffusionConfig) -> dict[str, Any]:
    """Return what a generator's header says beside the network: grey levels, schedule, names."""
    return {
        "kind": "grey range",
        "middle": images.grey.middle,
        "half": images.grey.half,
        "dtype": images.grey.dtype,
        "offset": images.grey.offset,
        "schedule": config.schedule.model_dump(),
        "classes": list(images.classes),
        "mask_values": list(images.mask_values),
        "pixel_size_nm": images.pixel_size_nm,
        "shape": list(images.images[0].pixels.shape),
        "stages": [[stage.patch_px, stage.reduction] for stage in config.curriculum],
    }


@dataclass(frozen=True)
class Said:
    """The same, read from a model file.

    Parameters
    ----------
    grey
        How grey levels become what the network sees.
    schedule
        Noise schedule that it was trained with.
    classes, mask_values
        Names of the labels; values of the label images.
    shape
        Height and width of the training images.
    stages
        Edge of the patches (None: whole images) and reduction of each stage.
    pixel_size_nm
        Pixel size of the training images, where they had one.
    scatter
        By reduction: what images are off by from what the network sees; empty in models that were
        trained before this was measured.
    """

    grey: GreyRange
    schedule: NoiseSchedule
    classes: tuple[str, ...]
    mask_values: tuple[int, ...]
    shape: tuple[int, int]
    stages: tuple[tuple[int | None, int], ...]
    pixel_size_nm: tuple[float, float] | None
    scatter: dict[int, Scatter]

    @classmethod
    def of(cls, header: ModelHeader) -> Self:
        """Read a generator's header."""
        said = header.normalisation
        size = said["pixel_size_nm"]
        return cls(
            GreyRange.from_header(said),
            NoiseSchedule(**said["schedule"]),
            tuple(said["classes"]),
            tuple(said["mask_values"]),
            (said["shape"][0], said["shape"][1]),
            # Models of before had no note of their stages: they know whole images.
            tuple((patch, reduction) for patch, reduction in said.get("stages", [[None, 1]])),
            None if size is None else (float(size[0]), float(size[1])),
            {int(n): Scatter.from_header(of) for n, of in said.get("scatter", {}).items()},
        )

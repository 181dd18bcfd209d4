"""Training samples of a segmentation: crops, with their labels changed alike."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from everhart.nn.segmentation_losses import IGNORE
from everhart.restore.source_base import Image, random_window
from everhart.segment.config import AugmentationConfig
from everhart.segment.elastic import bent
from everhart.segment.labelled import Field
from everhart.segment.resample import resized, resized_labels
from everhart.synthesize.augment import augment

__all__ = ["Crops", "changed"]

_SPAN = 2.0
"""EM-TrivialAugment takes grey levels from about -1 to 1; networks see deviations, -2 to 2."""

Labels = NDArray[np.uint8]


class Crops:
    """Random crops of labelled fields.

    Parameters
    ----------
    fields
        The fields.
    crop_px
        Edge of the crops.
    augmentation
        How they are changed; None for not at all.
    """

    def __init__(
        self, fields: Sequence[Field], crop_px: int, augmentation: AugmentationConfig | None
    ) -> None:
        self.fields, self.crop_px, self.augmentation = list(fields), crop_px, augmentation

    def __call__(self, rng: np.random.Generator) -> tuple[Image, NDArray[np.int64]]:
        """Draw one sample: an image ``(1, crop, crop)`` and classes ``(crop, crop)``."""
        field = self.fields[int(rng.integers(len(self.fields)))]
        size = self.crop_px
        if self.augmentation is not None:
            zoom = float(np.exp(rng.uniform(*np.log(self.augmentation.zoom))))
            size = int(np.clip(round(self.crop_px / zoom), 8, min(field.pixels.shape)))
        window = random_window(rng, field.pixels.shape, size)
        pixels, classes = field.pixels[window], field.classes[window]
        if size != self.crop_px:
            by, shape = (self.crop_px / size,) * 2, (self.crop_px, self.crop_px)
            pixels, classes = resized(pixels, by, shape), resized_labels(classes, by, shape)
        if self.augmentation is not None:
            pixels, classes = changed(pixels, classes, self.augmentation, rng)
        return np.ascontiguousarray(pixels)[None], np.asarray(classes, np.int64)


def changed(
    pixels: Image, classes: Labels, config: AugmentationConfig, rng: np.random.Generator
) -> tuple[Image, Labels]:
    """Change a crop as a microscope could have, image and labels alike.

    Parameters
    ----------
    pixels, classes
        Of one shape.
    config
        What is done.
    rng
        Decides on it.

    Returns
    -------
    pixels, classes
        Of the same shape.
    """
    if config.flips:
        for axis in (0, 1):
            if rng.random() < 0.5:
                pixels, classes = np.flip(pixels, axis), np.flip(classes, axis)
    if config.turns and pixels.shape[0] == pixels.shape[1]:
        turns = int(rng.integers(4))
        pixels, classes = np.rot90(pixels, turns), np.rot90(classes, turns)
    if config.elastic is not None:
        pixels, classes = bent(pixels, classes, config.elastic, rng)
    pixels = np.ascontiguousarray(pixels, np.float32) / np.float32(_SPAN)
    mask = np.ascontiguousarray(classes).astype(np.int64)
    for _ in range(config.count):
        pixels, moved, _ = augment(
            pixels,
            mask,
            rng,
            config.operations,
            strength=config.strength,
            unchanged=config.unchanged,
        )
        assert moved is not None
        mask = moved
    return pixels * np.float32(_SPAN), mask.astype(np.uint8)


def class_shares(fields: Sequence[Field], classes: int) -> NDArray[np.float64]:
    """Return the share of each class of the pixels that count."""
    counts = np.zeros(classes, np.int64)
    for field in fields:
        counts += np.bincount(field.classes[field.classes != IGNORE].ravel(), minlength=classes)
    return counts / max(int(counts.sum()), 1)

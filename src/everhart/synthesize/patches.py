"""Patches at several reductions: what a generator learns from, stage by stage."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Field

from everhart.errors import UsageError
from everhart.synthesize.augment import AugmentConfig, augment
from everhart.synthesize.training_images import TrainingImage, TrainingImages

__all__ = [
    "Patch",
    "StageConfig",
    "check_stages",
    "draw_patch",
    "position_planes",
    "reduce_image",
    "stage_at",
]

Image = NDArray[np.float32]


class StageConfig(BaseModel):
    """One stage of the curriculum.

    Examples
    --------
    >>> StageConfig(patch_px=32, reduction=4).share
    1.0
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    patch_px: int | None = Field(
        None, ge=8, description="edge of the patches in pixels; none for the whole image"
    )
    reduction: int = Field(1, ge=1, description="images are reduced by so much, by averaging")
    share: float = Field(1.0, gt=0, description="share of the steps, relative to the others")
    batch_size: int | None = Field(
        None, ge=1, description="patches a step; none for that of the optimiser"
    )
    noise: Literal["shifted", "plain"] = Field(
        "shifted",
        description="of a schedule with a shift: shifted, where large shapes are learned; plain, "
        "where grain is, for a last stage",
    )


class Patch(NamedTuple):
    """A patch of an image.

    Attributes
    ----------
    pixels
        ``(h, w)``.
    position
        ``(3, h, w)``; see :data:`everhart.nn.diffusion_unet.POSITION_PLANES`.
    mask
        Classes of the pixels ``(h, w)``, or None.
    label
        Number of the image's class.
    told
        What the model is told of the augmentation; empty without.
    """

    pixels: Image
    position: Image
    mask: NDArray[np.int64] | None
    label: int
    told: Image


def stage_at(stages: Sequence[StageConfig], share_done: float) -> StageConfig:
    """Return the stage that a training is in.

    Parameters
    ----------
    stages
        The curriculum.
    share_done
        Part of the steps that is done, 0 to 1.
    """
    ends = np.cumsum([stage.share for stage in stages])
    number = int(np.searchsorted(ends / ends[-1], share_done + 1e-9, side="right"))
    return stages[min(number, len(stages) - 1)]


def reduce_image(pixels: Image, by: int) -> Image:
    """Reduce an image by averaging blocks of ``by x by`` pixels; what is left over is cut off.

    Examples
    --------
    >>> reduce_image(np.array([[0, 2, 9], [4, 6, 9]], np.float32), 2)
    array([[3.]], dtype=float32)
    """
    height, width = (n // by * by for n in pixels.shape)
    blocks = pixels[:height, :width].reshape(height // by, by, width // by, by)
    return np.ascontiguousarray(blocks.mean(axis=(1, 3), dtype=np.float32))


def position_planes(
    shape: tuple[int, int], whole: tuple[int, int], corner: tuple[int, int], reduction: int
) -> Image:
    """Return where each pixel of a patch lies.

    Parameters
    ----------
    shape, whole
        Sizes of the patch and of the reduced image that it is from.
    corner
        First row and column of the patch in it.
    reduction
        By how much the image is reduced.

    Returns
    -------
    ndarray
        ``(3, h, w)``: y and x from -1 to 1 over the whole image, and log2 of the reduction.

    Examples
    --------
    >>> position_planes((2, 2), (4, 4), (0, 2), 4)[:, 0, 0].round(2)
    array([-0.75,  0.25,  2.  ], dtype=float32)
    """
    y, x = (
        (2 * (start + np.arange(n) + 0.5) / size - 1).astype(np.float32)
        for start, n, size in zip(corner, shape, whole, strict=True)
    )
    grid = np.meshgrid(y, x, indexing="ij")
    return np.stack([*grid, np.full(shape, np.log2(reduction), np.float32)])


def draw_patch(
    images: Sequence[TrainingImage],
    stage: StageConfig,
    rng: np.random.Generator,
    augmentation: AugmentConfig | None = None,
    flips: Sequence[str] = (),
) -> Patch:
    """Draw a patch of a stage from one of the images, flipped and augmented before it is cut out.

    Flips come first: what is told of the augmentation, and where the patch lies, is of the image
    that it is cut from.
    """
    image = images[int(rng.integers(len(images)))]
    pixels, mask = image.pixels, image.mask
    for way in flips:
        if rng.random() < 0.5:
            axis = 1 if way == "horizontal" else 0
            # Views: to copy a large image for a small patch would be most of the work.
            pixels, mask = np.flip(pixels, axis), None if mask is None else np.flip(mask, axis)
    by = stage.reduction
    if by > 1:
        pixels = reduce_image(pixels, by)
    whole = (pixels.shape[0], pixels.shape[1])
    if mask is not None and by > 1:
        # The middle pixel of each block: classes cannot be averaged.
        mask = mask[by // 2 :: by, by // 2 :: by][: whole[0], : whole[1]]
    told = np.zeros(0, np.float32)
    if augmentation is not None:
        pixels, mask, told = augment(
            np.ascontiguousarray(pixels),
            None if mask is None else np.ascontiguousarray(mask),
            rng,
            augmentation.operations,
            strength=augmentation.strength,
            unchanged=augmentation.unchanged,
        )
    shape = whole if stage.patch_px is None else (stage.patch_px, stage.patch_px)
    top, left = (int(rng.integers(n - m + 1)) for n, m in zip(whole, shape, strict=True))
    window = slice(top, top + shape[0]), slice(left, left + shape[1])
    if mask is not None:
        mask = np.ascontiguousarray(mask[window])
    position = position_planes(shape, whole, (top, left), by)
    return Patch(np.ascontiguousarray(pixels[window]), position, mask, image.label, told)


def check_stages(stages: Sequence[StageConfig], images: TrainingImages) -> None:
    """Check that every stage has room in every image.

    Raises
    ------
    UsageError
        If a patch is larger than the reduced image, or whole images differ in size.
    """
    height, width = images.smallest
    for stage in stages:
        smallest = min(height // stage.reduction, width // stage.reduction)
        if stage.patch_px is not None and stage.patch_px > smallest:
            raise UsageError(
                f"A stage with patch_px = {stage.patch_px} and reduction = {stage.reduction} was "
                f"given, and the smallest image has {height} x {width} pixels, which leaves "
                f"{smallest}: lower one of them."
            )
        if stage.patch_px is None:
            shapes = {i.pixels.shape for i in (*images.images, *images.held_out)}
            if len(shapes) > 1:
                raise UsageError(
                    f"A stage of whole images was given, and the images have {len(shapes)} sizes: "
                    "give patch_px, or images of one size."
                )

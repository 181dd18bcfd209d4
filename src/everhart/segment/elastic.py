"""Elastic deformation of crops: specimens bend, and their labels bend with them."""

from __future__ import annotations

from typing import Self

import cv2
import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Field, model_validator

from everhart.restore.source_base import Image

__all__ = ["ElasticConfig", "bent", "displacements"]

_LEAST_SPACING = 6.0
"""Spacing of the control points in deviations, below which the image would often fold over."""


class ElasticConfig(BaseModel):
    """How crops are bent."""

    model_config = ConfigDict(extra="forbid")

    sigma_px: float = Field(
        gt=0, description="standard deviation of the control points' displacements in pixels"
    )
    spacing_px: float = Field(ge=4, description="distance of the control points in pixels")

    @model_validator(mode="after")
    def _does_not_fold(self) -> Self:
        if self.spacing_px < _LEAST_SPACING * self.sigma_px:
            raise ValueError(
                f"a spacing of {self.spacing_px:g} with a sigma of {self.sigma_px:g} folds the "
                f"image over itself: give a spacing of {_LEAST_SPACING:g} sigma or more"
            )
        return self


def displacements(
    shape: tuple[int, int], config: ElasticConfig, rng: np.random.Generator
) -> NDArray[np.float32]:
    """Draw a smooth field of displacements.

    Parameters
    ----------
    shape
        Height and width in pixels.
    config
        Size and spacing of the displacements of the control points.
    rng
        Draws them, and where the grid of the control points begins.

    Returns
    -------
    ndarray of float32
        Displacements ``(2, H, W)`` in y and x, in pixels.

    Examples
    --------
    >>> field = displacements(
    ...     (64, 64), ElasticConfig(sigma_px=3, spacing_px=32), np.random.default_rng(0)
    ... )
    >>> field.shape, bool(1 < field.std() < 4)
    ((2, 64, 64), True)
    """
    # Cubic interpolation needs a point before and two after each place.
    points = [int(np.ceil(n / config.spacing_px)) + 4 for n in shape]
    begins = rng.uniform(1, 2, 2)
    y, x = (
        (np.arange(n) / config.spacing_px + begin).astype(np.float32)
        for n, begin in zip(shape, begins, strict=True)
    )
    at_y, at_x = (np.ascontiguousarray(part) for part in np.meshgrid(y, x, indexing="ij"))
    drawn = rng.normal(0, config.sigma_px, (2, *points)).astype(np.float32)
    return np.stack([cv2.remap(part, at_x, at_y, cv2.INTER_CUBIC) for part in drawn])


def bent(
    pixels: Image,
    classes: NDArray[np.uint8],
    config: ElasticConfig,
    rng: np.random.Generator,
) -> tuple[Image, NDArray[np.uint8]]:
    """Bend a crop and its labels alike.

    Control points on a square grid are moved at random and every pixel follows the points around
    it, by bicubic interpolation [1]_; smooth displacements that are independent of each other
    a little further away are what [2]_ proposed. What comes from beyond the crop's edge is
    mirrored. A label comes from the nearest pixel.

    Parameters
    ----------
    pixels, classes
        Image and number of the class of every pixel, ``(H, W)``.
    config
        How much.
    rng
        Draws the displacements.

    Returns
    -------
    pixels, classes
        Of the same shape.

    References
    ----------
    .. [1] O. Ronneberger, P. Fischer, T. Brox, "U-Net", MICCAI 2015, arXiv:1505.04597, section
       3.1.
    .. [2] P. Simard, D. Steinkraus, J. Platt, "Best practices for convolutional neural networks
       applied to visual document analysis", ICDAR 2003.
    """
    height, width = pixels.shape
    by_y, by_x = displacements((height, width), config, rng)
    from_y = by_y + np.arange(height, dtype=np.float32)[:, None]
    from_x = by_x + np.arange(width, dtype=np.float32)[None]
    # Cubic, as linear interpolation would take noise out of what is bent, and of that alone.
    moved = cv2.remap(
        np.ascontiguousarray(pixels, np.float32),
        from_x,
        from_y,
        cv2.INTER_CUBIC,
        borderMode=cv2.BORDER_REFLECT_101,
    )
    labels = cv2.remap(
        np.ascontiguousarray(classes),
        from_x,
        from_y,
        cv2.INTER_NEAREST,
        borderMode=cv2.BORDER_REFLECT_101,
    )
    return np.asarray(moved, np.float32), np.asarray(labels, np.uint8)

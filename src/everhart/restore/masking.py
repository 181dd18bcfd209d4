"""Noise2Void: pixels are hidden in the input and predicted from what is around them."""

from __future__ import annotations

from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Field

Image: TypeAlias = NDArray[np.float32]


class MaskingConfig(BaseModel):
    """Blind spots of a training by masking.

    References
    ----------
    A. Krull, T.-O. Buchholz, F. Jug, "Noise2Void: learning denoising from single noisy images",
    CVPR 2019: pixels are replaced by neighbours, the loss is taken there alone.
    C. Broaddus et al., "Removing structured noise with self-supervised blind-spot networks",
    ISBI 2020: the mask extends along the direction of the noise's correlation.
    """

    model_config = ConfigDict(extra="forbid")

    share: float = Field(0.015, gt=0, le=0.2, description="share of the pixels that are hidden")
    radius_px: int = Field(2, ge=1, description="where the values that replace them are taken from")
    scan_line_px: int = Field(
        0,
        ge=0,
        description="pixels to either side along the scan line that are hidden with each, for "
        "noise that is correlated there",
    )

    def apply(self, noisy: Image, rng: np.random.Generator) -> tuple[Image, Image]:
        """Hide pixels of an image.

        Parameters
        ----------
        noisy
            Image ``(H, W)``.
        rng
            Source of randomness.

        Returns
        -------
        masked, mask
            The image with other values at the hidden pixels and their neighbours along the scan
            line, and a mask that is 1 at the hidden pixels, where the loss is to be taken.
        """
        height, width = noisy.shape
        count = max(1, round(self.share * noisy.size))
        places = rng.choice(noisy.size, count, replace=False)
        rows, columns = np.divmod(places, width)
        mask = np.zeros_like(noisy)
        mask[rows, columns] = 1
        masked = noisy.copy()
        for step in range(-self.scan_line_px, self.scan_line_px + 1):
            there = (columns + step >= 0) & (columns + step < width)
            y, x = rows[there], columns[there] + step
            dy, dx = self._moves(rng, y.size)
            # Mirrored at the border, so that a pixel is never replaced by itself.
            from_y, from_x = y + dy, x + dx
            from_y = np.where((from_y < 0) | (from_y >= height), y - dy, from_y)
            from_x = np.where((from_x < 0) | (from_x >= width), x - dx, from_x)
            masked[y, x] = noisy[from_y, from_x]
        return masked, mask

    def _moves(
        self, rng: np.random.Generator, count: int
    ) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """Draw steps to neighbours, none of them to the pixel itself.

        With a mask along the scan line they lead to another line: on its own, the noise of the
        neighbours tells what is to be hidden.
        """
        side = 2 * self.radius_px + 1
        if self.scan_line_px:
            dy = rng.integers(1, self.radius_px + 1, count) * rng.choice((-1, 1), count)
            return dy, rng.integers(-self.radius_px, self.radius_px + 1, count)
        number = rng.integers(side * side - 1, size=count)
        number += number >= side * side // 2  # leave out the middle
        return number // side - self.radius_px, number % side - self.radius_px

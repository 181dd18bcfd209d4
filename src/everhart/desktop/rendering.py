"""Grey levels to what a screen shows: contrast, histogram, and smaller copies for zooming out."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray
from PySide6.QtGui import QImage

__all__ = ["Rendering", "grey_image"]

_BINS = 256
_SAMPLED = 1 << 20
"""About so many pixels are looked at for histogram and contrast of a larger image."""
_SMALLEST_PX = 64


class Rendering:
    """An image as it is drawn.

    Everything is made when it is constructed, which is done in a thread.

    Parameters
    ----------
    pixels
        Image ``(H, W)``.
    field_rows
        Rows that are specimen, for the contrast; the rest is a data bar.
    symmetric
        Whether 0 is in the middle of the contrast, as for a residual.
    levels
        Black and white; the 0.5th and 99.5th percentile of the field of view if none are given.
    """

    def __init__(
        self,
        pixels: NDArray[Any],
        field_rows: int | None = None,
        *,
        symmetric: bool = False,
        levels: tuple[float, float] | None = None,
    ) -> None:
        self.pixels = pixels
        self.symmetric = symmetric
        sample = _sample(pixels[:field_rows])
        low, high = (float(sample.min()), float(sample.max())) if sample.size else (0.0, 1.0)
        self.range = (low, high if high > low else low + 1)
        self.counts, self.edges = np.histogram(sample, _BINS, self.range)
        self.own_levels = _own_levels(sample, symmetric)
        self.levels = levels or self.own_levels
        self._images: list[QImage] = []
        self._draw()

    def set_levels(self, levels: tuple[float, float]) -> None:
        """Draw with another black and white."""
        if levels != self.levels:
            self.levels = levels
            self._draw()

    def level(self, scale: float) -> tuple[QImage, int]:
        """Return the copy to draw at so many screen pixels a pixel, and by how much it is smaller.

        Drawing 6 million pixels on a window of one million is slow, and shows moiré.
        """
        number = 0
        while scale < 0.75 and number + 1 < len(self._images):
            number, scale = number + 1, scale * 2
        return self._images[number], 2**number

    def _draw(self) -> None:
        import cv2

        grey = _stretched(self.pixels, self.levels)
        images = [grey_image(grey)]
        while min(grey.shape) >= 2 * _SMALLEST_PX:
            # Odd rows and columns are dropped, so that each copy has exactly half the scale.
            height, width = (n // 2 for n in grey.shape)
            small = cv2.resize(
                grey[: 2 * height, : 2 * width], (width, height), interpolation=cv2.INTER_AREA
            )
            grey = np.asarray(small, np.uint8)
            images.append(grey_image(grey))
        self._images = images


def grey_image(grey: NDArray[np.uint8]) -> QImage:
    """Make a picture of Qt of uint8 pixels ``(H, W)``; it has its own copy of them."""
    height, width = grey.shape
    held = np.ascontiguousarray(grey)
    return QImage(held.data, width, height, width, QImage.Format.Format_Grayscale8).copy()


def _sample(pixels: NDArray[Any]) -> NDArray[np.float32]:
    step = max(1, int(np.sqrt(pixels.size / _SAMPLED)))
    values = pixels[::step, ::step].astype(np.float32).ravel()
    return np.asarray(values[np.isfinite(values)], np.float32)


def _own_levels(sample: NDArray[np.float32], symmetric: bool) -> tuple[float, float]:
    if not sample.size:
        return 0.0, 1.0
    if symmetric:
        far = float(np.percentile(np.abs(sample), 99.5)) or 1.0
        return -far, far
    black, white = (float(v) for v in np.percentile(sample, (0.5, 99.5)))
    return black, white if white > black else black + 1


def _stretched(pixels: NDArray[Any], levels: tuple[float, float]) -> NDArray[np.uint8]:
    black, white = levels
    factor = 255 / max(white - black, 1e-30)
    if pixels.dtype in (np.dtype(np.uint8), np.dtype(np.uint16)):
        values = np.arange(np.iinfo(pixels.dtype).max + 1, dtype=np.float64)
        table = np.rint(np.clip((values - black) * factor, 0, 255)).astype(np.uint8)
        return np.asarray(np.take(table, pixels), np.uint8)
    scaled = (pixels.astype(np.float32) - np.float32(black)) * np.float32(factor)
    np.nan_to_num(scaled, copy=False)
    return np.asarray(np.rint(np.clip(scaled, 0, 255)), np.uint8)

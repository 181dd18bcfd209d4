"""Where in an image its periodic pattern is."""

from __future__ import annotations

import cv2
import numpy as np
from numpy.typing import NDArray

from everhart.measure._filtered import blurred, shrunk

__all__ = ["mask_of_shape", "presence"]

Image = NDArray[np.float32]

_PRESENT = 0.5  # of the pattern's contrast, where the pattern is


def mask_of_shape(mask: NDArray[np.bool_], shape: tuple[int, ...]) -> NDArray[np.bool_]:
    """Return a mask in another shape."""
    size = (int(shape[1]), int(shape[0]))
    return np.asarray(
        cv2.resize(mask.astype(np.uint8), size, interpolation=cv2.INTER_NEAREST), bool
    )


def presence(
    image: Image, reference: Image, period_px: float, *, fill: bool, array: bool
) -> NDArray[np.bool_]:
    """Return where the pattern is: an array may end within the image.

    Holes in the region are filled: there something is missing, or covered.
    """
    from scipy.ndimage import binary_fill_holes

    reach = float(np.clip(period_px, 6, min(image.shape) / 4))
    factor = max(int(reach / 12), 1)
    size = [max(n // factor, 1) for n in image.shape]
    small, ideal = (shrunk(i, size) for i in (image, reference))
    sigma = 0.4 * reach / factor

    def local(values: Image) -> Image:
        return blurred(values, sigma)

    mean, mean_ideal = local(small), local(ideal)
    common = local(small * ideal) - mean * mean_ideal
    power = local(ideal * ideal) - mean_ideal * mean_ideal
    there = common > _PRESENT * np.maximum(power, 0.1 * float(np.median(power)))
    if not fill:
        return mask_of_shape(there, image.shape)
    filled = np.asarray(binary_fill_holes(there), bool)
    if not filled.any():
        return np.zeros(image.shape, bool)
    disc = cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (2 * int(0.3 * reach / factor) + 1,) * 2)
    pad = disc.shape[0]
    start = np.pad(filled.astype(np.uint8), pad)
    # What sticks out, such as a speck that looks like a bit of the pattern, goes; bays are closed.
    closed = cv2.morphologyEx(start, cv2.MORPH_CLOSE, disc)[pad:-pad, pad:-pad]
    grown = cv2.morphologyEx(np.pad(closed, pad, mode="edge"), cv2.MORPH_OPEN, disc)
    # The last features have no neighbours, whose rims reach into their surroundings.
    width = 2 * int(np.ceil(0.2 * reach / factor)) + 1
    small_disc = cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (width, width))
    kept = cv2.erode(grown, small_disc)[pad:-pad, pad:-pad].astype(bool)
    if array:
        kept &= ~_cut_off(small, ideal, reach / factor)
    return mask_of_shape(kept, image.shape)


def _cut_off(image: Image, reference: Image, period_px: float) -> NDArray[np.bool_]:
    """Return the strips at the border of the image where an array is left away.

    An array of complete features leaves out those that the border would cut: in too small a part
    of a period for the look at whole ones.
    """
    from scipy.ndimage import label

    def local(values: Image) -> Image:
        return blurred(values, 0.13 * period_px)

    centred = reference - float(np.median(reference))
    power = local(centred * centred)
    away = local((image - reference) * centred) < -_PRESENT * power
    away &= power > 0.3 * float(power.mean())
    numbers, _ = label(away)
    edge = max(int(0.15 * period_px), 1)
    border = np.concatenate([numbers[:edge].ravel(), numbers[-edge:].ravel(),
                             numbers[:, :edge].ravel(), numbers[:, -edge:].ravel()])  # fmt: skip
    gone = np.isin(numbers, np.unique(border[border > 0]))
    size = 2 * int(np.ceil(0.35 * period_px)) + 1
    disc = cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (size, size))
    return np.asarray(cv2.dilate(gone.astype(np.uint8), disc), bool)

"""What an image shows where nothing is wrong: its own periods, or another image laid on it."""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from everhart.errors import EverhartError, UsageError
from everhart.measure._filtered import blurred, enlarged, shrunk
from everhart.measure._folding import Folded, fold
from everhart.measure._period import find_period
from everhart.measure._scatter import Classes

__all__ = ["Expected", "against_image", "against_period", "without_shading", "without_slow"]

Float = NDArray[np.float64]
Image = NDArray[np.float32]

_FEWEST_PERIODS = 4.0
_FEWEST_CELLS = 16.0
_SEEN = 0.25  # of a row
_EXPLAINED = 0.5  # offsets of rows alone reach 0.4


@dataclass(frozen=True, eq=False)
class Expected:
    """What an image would show without defects.

    Parameters
    ----------
    image
        ``(H, W)``, in the grey levels of the image.
    inside
        Where it is known, ``(H, W)`` bool.
    classes
        Which pixels are alike: in the same place of the period, or of like brightness and slope.
    folded
        The fold, if periods were laid on one another.
    smallest_px
        Shortest period, or the largest defect times four where there is none.
    """

    image: Image
    inside: NDArray[np.bool_]
    classes: Classes
    folded: Folded | None
    smallest_px: float

    @property
    def vectors(self) -> Float | None:
        """Periods ``(n, 2)`` in pixels, if there are any."""
        return None if self.folded is None else self.folded.period.vectors

    @property
    def contrast(self) -> float:
        """From the 5th to the 95th percentile of the pattern."""
        if not self.inside.any():
            return 1.0
        low, high = np.percentile(self.image[self.inside], (5, 95))
        return float(high - low)


def without_shading(image: Image) -> Image:
    """Take out what changes over a sixth of the image."""
    sigma = max(image.shape) / 6
    small = shrunk(image, [max(n // 8, 1) for n in image.shape])
    slow = enlarged(blurred(small, sigma / 8), image.shape)
    return np.asarray(image - slow + np.float32(slow.mean()), np.float32)


def against_period(image: Image) -> Expected:
    """Fold an image by its period, or say why not."""
    period = find_period(image)
    if period is None:
        raise EverhartError(
            "No period was found in the image: defects are differences from a pattern that repeats "
            "at least four times; give --reference, an image of the same pattern without defects."
        )
    count = period.count(image.shape)
    array = len(period.waves) == 2
    if count < (_FEWEST_CELLS if array else _FEWEST_PERIODS):
        raise EverhartError(
            f"The pattern repeats {count:.1f} times in the image, and at least "
            f"{_FEWEST_CELLS if array else _FEWEST_PERIODS:.0f} times are needed to tell what is "
            "usual; give a larger field of view, or --reference."
        )
    folded = fold(image, period)
    part = float(folded.inside.mean())
    if part < 0.1 or count * part < (_FEWEST_CELLS / 2 if array else _FEWEST_PERIODS):
        raise EverhartError(
            f"The period that was found ({period.shortest_px:.1f} px) fits {100 * part:.0f} % of "
            "the image: there is no regular pattern in enough of it; give --reference, or crop it."
        )
    explained = _explained(image, folded)
    if explained < _EXPLAINED:
        raise EverhartError(
            f"The lines that were found repeat with {period.shortest_px:.1f} px and explain "
            f"{100 * explained:.0f} % of how rows or columns differ: that is what offsets of "
            "single rows look like, and no pattern; give --reference, or an image of lines."
        )
    return Expected(
        folded.reference, folded.inside, folded.classes, folded, folded.period.shortest_px
    )


def _explained(image: Image, folded: Folded) -> float:
    """Return the part of the variance of rows (or columns) that the period has.

    1 where no offsets of rows can be taken for the pattern: arrays, and tilted lines.
    """
    vectors = folded.period.vectors
    across = int(np.argmax(np.abs(vectors[0])))
    tilt = abs(float(vectors[0][1 - across] / vectors[0][across]))
    period = float(np.hypot(*vectors[0]))
    if len(vectors) == 2 or tilt * image.shape[1 - across] > period / 4:
        return 1.0
    there = folded.inside.sum(axis=1 - across)
    used = there > _SEEN * image.shape[1 - across]
    seen, repeated = (
        ((values * folded.inside).sum(axis=1 - across) / np.maximum(there, 1))[used]
        for values in (image, folded.reference)
    )
    if used.sum() < 3 or seen.std() == 0 or repeated.std() == 0:
        return 0.0
    return float(np.corrcoef(seen, repeated)[0, 1] ** 2)


def against_image(image: Image, reference: Float) -> Expected:
    """Lay a reference on the image, in its brightness; places like one another are classes."""
    from scipy.ndimage import affine_transform

    from everhart.align import register_pair

    if reference.shape != image.shape:
        raise UsageError(
            f"A reference of {reference.shape[0]} x {reference.shape[1]} pixels was given for an "
            f"image of {image.shape[0]} x {image.shape[1]}: give one of the same shape."
        )
    span = float(np.ptp(reference)) or 1.0
    known = without_shading(((reference - reference.min()) / span).astype(np.float32))
    _, _, matrix = register_pair(image, known)
    moved = affine_transform(known, matrix[:, :2], matrix[:, 2], order=3, mode="nearest")
    rows, columns = np.indices(image.shape, dtype=np.float32)
    y = matrix[0, 0] * rows + matrix[0, 1] * columns + matrix[0, 2]
    x = matrix[1, 0] * rows + matrix[1, 1] * columns + matrix[1, 2]
    inside = (y >= 0) & (x >= 0) & (y <= image.shape[0] - 1) & (x <= image.shape[1] - 1)
    smooth, ideal = (blurred(i, 2.0) for i in (image, np.asarray(moved, np.float32)))
    level, other = ideal[inside].astype(np.float64), smooth[inside].astype(np.float64)
    correlation = float(np.corrcoef(level, other)[0, 1]) if level.std() > 0 else 0.0
    if not inside.any() or not correlation > 0.3:
        raise EverhartError(
            f"The reference does not fit the image (correlation {correlation:.2f}): give an image "
            "of the same field or pattern, displaced by less than 40 pixels."
        )
    gain = float(np.cov(level, other)[0, 1] / level.var())
    offset = float(other.mean() - gain * level.mean())
    expected = (gain * moved + offset).astype(np.float32)
    slope = cv2.magnitude(cv2.Sobel(ideal, cv2.CV_32F, 1, 0), cv2.Sobel(ideal, cv2.CV_32F, 0, 1))
    parts = np.linspace(0, 1, 9)[1:-1]
    by_slope = np.searchsorted(np.quantile(slope, parts), slope)
    by_level = np.searchsorted(np.quantile(ideal, parts), ideal)
    index = (8 * by_slope + by_level).astype(np.int32)
    return Expected(
        expected, np.asarray(inside, bool), lambda _: (index, None), None, min(image.shape) / 8
    )


def without_slow(difference: Image, inside: NDArray[np.bool_], sigma: float) -> Image:
    """Take out what is left of shading and of the offsets of rows, defects held down."""
    spread = 1.4826 * float(np.median(np.abs(difference[inside]))) if inside.any() else 1.0
    held = np.clip(difference, -2 * spread, 2 * spread) * inside
    count = np.maximum(inside.sum(axis=1, keepdims=True), 1)
    rows = held.sum(axis=1, keepdims=True) / count
    rows[inside.mean(axis=1) < 0.25] = 0
    factor = max(int(sigma / 8), 1)
    size = [max(n // factor, 1) for n in difference.shape]
    small, there = (
        blurred(shrunk(i, size), sigma / factor)
        for i in (((held - rows) * inside).astype(np.float32), inside.astype(np.float32))
    )
    wide = enlarged(np.asarray(small / np.maximum(there, 0.05), np.float32), difference.shape)
    return np.asarray(difference - wide - rows, np.float32)

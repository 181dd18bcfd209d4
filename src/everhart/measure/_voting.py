"""Gradient voting: where lines along the gradients of an image meet, at what distance."""

from __future__ import annotations

from dataclasses import dataclass, replace

import cv2
import numpy as np
from numpy.typing import NDArray

Image = NDArray[np.float32]
Float = NDArray[np.float64]

SMOOTH_PX = 1.5
"""Blur before gradients are taken, in pixels of the level."""

_BANDS = 6  # an octave of radii
_GROUPS = 12  # of grey levels
_QUANTILE = 0.1  # of the gradients' magnitude: that much of an image is flat
_MAX_CORRELATION = 2.0
_MAX_CANDIDATES = 1500  # of one level
_LEAST_SCORE = 0.1  # a full circle has 3, ovals in strong noise 0.2


@dataclass(frozen=True, eq=False)
class Level:
    """Gradients of an image reduced by a power of two.

    Parameters
    ----------
    scale
        Pixels of the full image that a pixel stands for, along each axis.
    grad_y, grad_x
        Gradient of the blurred image, in units of its noise.
    noise
        Standard deviation of each component of the gradient where there is no edge, by the grey
        level of the pixel: the gradients here are divided by it.
    usual_noise
        That at the middle grey level.
    correlation
        How much longer the noise of a gradient is correlated than by its own blur, 1 for noise
        that is white in this level: see :func:`make_levels`.
    """

    scale: int
    grad_y: Image
    grad_x: Image
    noise: Image
    usual_noise: float
    correlation: float = 1.0

    def to_full(self, position: Float) -> Float:
        """Return positions in pixels of the full image."""
        return np.asarray((position + 0.5) * self.scale - 0.5)


def make_levels(image: Image, count: int) -> list[Level]:
    """Return the levels of an image, each half as large as the one before.

    White noise loses half of its standard deviation from one level to the next. Noise that
    was filtered loses less: neighbouring pixels have it in common, and fewer of them speak for
    themselves.
    """
    levels: list[Level] = []
    for number in range(count):
        level = _make_level(image, 1 << number)
        if level is None:
            break
        if levels:
            lost = 2 * level.usual_noise / levels[-1].usual_noise
            levels[-1] = replace(levels[-1], correlation=float(np.clip(lost, 1, _MAX_CORRELATION)))
        levels.append(level)
        half = (image.shape[1] // 2, image.shape[0] // 2)
        if min(half) < 8:
            break
        even = image[: 2 * half[1], : 2 * half[0]]
        image = np.asarray(cv2.resize(even, half, interpolation=cv2.INTER_AREA), np.float32)
    return levels


def _make_level(image: Image, scale: int) -> Level | None:
    """Return the gradients of an image that was reduced by `scale`; None where there are none.

    The noise is from the lowest tenth of the gradient's magnitude (Rayleigh distributed for
    noise): edges do not get there, and whatever filter has been over the image is accounted for.
    It grows with the signal: a line of variance over grey level is put through groups of
    equal grey.
    """
    blurred = cv2.GaussianBlur(image, (0, 0), SMOOTH_PX, borderType=cv2.BORDER_REPLICATE)
    grad_x = cv2.Scharr(blurred, cv2.CV_32F, 1, 0, scale=1 / 32, borderType=cv2.BORDER_REPLICATE)
    grad_y = cv2.Scharr(blurred, cv2.CV_32F, 0, 1, scale=1 / 32, borderType=cv2.BORDER_REPLICATE)
    step = max(int(np.sqrt(image.size / 500_000)), 1)
    few = (slice(None, None, step), slice(None, None, step))
    slope, level, usual = _variance_line(
        np.ravel(blurred[few]), np.ravel(np.hypot(grad_y[few], grad_x[few]))
    )
    if not usual > 0:
        return None
    variance = slope * (blurred - np.float32(level)) + np.float32(usual)
    # No line holds far from the grey levels that most of the image has.
    noise = np.sqrt(np.clip(variance, 0.25 * usual, 6 * usual), dtype=np.float32)
    return Level(
        scale, np.asarray(grad_y / noise), np.asarray(grad_x / noise), noise, float(np.sqrt(usual))
    )


def _variance_line(grey: Image, magnitude: Image) -> tuple[float, float, float]:
    """Return slope, grey level and variance there of the noise of a gradient's component."""
    rayleigh = -2 * np.log(1 - _QUANTILE)  # its square, for a variance of 1
    # Without any noise, what rounding leaves is no edge.
    floor = (1e-4 * float(magnitude.max())) ** 2
    usual = max(float(np.quantile(magnitude, _QUANTILE)) ** 2 / rayleigh, floor)
    groups = np.array_split(np.argsort(grey, kind="stable"), _GROUPS)
    levels = np.array([float(grey[g].mean()) for g in groups if len(g) > 50])
    variances = np.array(
        [float(np.quantile(magnitude[g], _QUANTILE)) ** 2 / rayleigh for g in groups if len(g) > 50]
    )
    if len(levels) < _GROUPS or np.ptp(levels) == 0:
        return 0.0, float(np.mean(grey)), usual
    # The median of the slopes between all pairs: groups on an edge do not count.
    first, second = np.triu_indices(len(levels), 1)
    apart = levels[second] - levels[first]
    far = apart > 0.1 * np.ptp(levels)
    slope = float(np.median((variances[second] - variances[first])[far] / apart[far]))
    middle = float(np.median(levels))
    at_middle = float(np.median(variances - slope * (levels - middle)))
    return slope, middle, max(at_middle, 0.25 * usual)


def vote(level: Level, radii: tuple[float, float], sign: float) -> Float:
    """Return candidates ``(y, x, radius)`` in pixels of the level, the best first.

    Every pixel with a gradient above the noise votes for the centres that it may belong to, at
    each radius on its line; a vote counts the more, up to one, the surer the gradient is, and
    never more for more contrast.

    Parameters
    ----------
    level
        Gradients.
    radii
        Smallest and largest radius, in pixels of the level.
    sign
        1 for circles that are darker inside, -1 for brighter ones.
    """
    magnitude = cv2.magnitude(level.grad_x, level.grad_y)
    rows, columns = np.nonzero(magnitude > 2.5)
    strength = magnitude[rows, columns].astype(np.float32)
    step_y = level.grad_y[rows, columns] * (-sign / strength)
    step_x = level.grad_x[rows, columns] * (-sign / strength)
    weight = strength**2 / (strength**2 + np.float32(9))
    count = max(round(_BANDS * np.log2(radii[1] / radii[0])), 1) + 1
    bands = np.geomspace(radii[0], radii[1], count)
    height, width = magnitude.shape
    best = np.zeros(magnitude.shape, np.float32)
    radius = np.zeros(magnitude.shape, np.float32)
    for r in bands:
        y = np.rint(rows + np.float32(r) * step_y).astype(np.int32)
        x = np.rint(columns + np.float32(r) * step_x).astype(np.int32)
        inside = (y >= 0) & (y < height) & (x >= 0) & (x < width)
        votes = np.bincount(
            y[inside] * width + x[inside], weight[inside], minlength=height * width
        ).reshape(height, width)
        # Ovals and dented circles do not have one centre.
        blur = max(0.12 * float(r), 1.0)
        smooth = cv2.GaussianBlur(votes.astype(np.float32), (0, 0), blur) / np.float32(r)
        better = smooth > best
        best[better], radius[better] = smooth[better], r
    return _maxima(best, radius, float(radii[0]))


def _maxima(score: Image, radius: Image, smallest: float) -> Float:
    """Return the highest places, none closer to a higher one than half of the least radius."""
    reach = 2 * max(int(smallest / 2), 1) + 1
    kernel = np.ones((reach, reach), np.uint8)
    peaks = (score > _LEAST_SCORE) & (score == cv2.dilate(score, kernel))
    rows, columns = np.nonzero(peaks)
    order = np.argsort(-score[rows, columns], kind="stable")[:_MAX_CANDIDATES]
    rows, columns = rows[order], columns[order]
    return np.stack([rows, columns, radius[rows, columns]], axis=1).astype(np.float64)

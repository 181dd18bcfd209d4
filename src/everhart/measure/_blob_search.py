"""Blobs in a difference image that its own scatter does not explain."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from everhart.measure._filtered import blurred, shrunk
from everhart.measure._scatter import (
    Classes,
    class_scatter,
    modelled_scatter,
    normal_scores,
    skewness,
)

__all__ = ["FIRST_SIGMA_PX", "Peak", "Scale", "search"]

Float = NDArray[np.float64]
Image = NDArray[np.float32]

FIRST_SIGMA_PX = 1.5
_MARGIN_PX = 2
_LEAST_WEIGHT = 0.4  # of a filter, on places that are known
_TAIL = 0.2  # part of the peaks that the tail is fitted to
_LARGE = 0.02  # part of the peaks that may be of defects, or so many:
_MANY = 400
_GAUSSIAN_TAIL = 2.0


@dataclass(frozen=True, eq=False)
class Scale:
    """The image filtered at one scale.

    Parameters
    ----------
    sigma_px
        Of the filter.
    step
        Pixels of the image to a pixel here; the first is in the middle of its block.
    mean
        Weighted mean of the difference around each place, less what is usual there.
    scatter
        Its standard deviation where nothing is wrong.
    skew
        Its skewness there.
    there
        Where defects were looked for.
    threshold
        Normal score of the mean that is exceeded by chance as often as allowed.
    growth
        By how much the square of the scatter grows with the brightness.
    """

    sigma_px: float
    step: int
    mean: Image
    scatter: Image
    skew: Image
    there: NDArray[np.bool_]
    threshold: float
    growth: float

    def to_full(self, index: float) -> float:
        """Return the coordinate in the image of a row or column."""
        return self.step * index + (self.step - 1) / 2


@dataclass(frozen=True)
class Peak:
    """A place where the filtered difference is beyond the threshold."""

    scale: int
    row: int
    column: int
    z: float
    expected: float  # peaks as high or higher that chance makes in the image


def search(
    difference: Image,
    ideal: Image,
    inside: NDArray[np.bool_],
    classes: Classes,
    largest_sigma: float,
    false_alarms: float,
) -> tuple[list[Scale], list[Peak]]:
    """Filter at several scales, and find what chance does not explain.

    At each scale the difference is averaged with a Gaussian weight. What that mean scatters is
    found for each class (place in the period) from all periods, so that noise, its correlation and
    the natural roughness are in it, and is at least what a model of noise and roughness says
    (:mod:`everhart.measure._scatter`). Means are made normal scores by their skewness. The tail of
    the peaks of these is taken to be exponential in their square, as in a Gaussian field, with a
    slope that is fitted between quantiles that a few defects do not reach [1]_.

    Parameters
    ----------
    difference
        Image less what it would be without defects, ``(H, W)``.
    ideal
        The latter.
    inside
        Where to look.
    classes
        Which pixels are alike.
    largest_sigma
        Of the largest filter, px.
    false_alarms
        Alarms allowed by chance in the image, over all scales.

    References
    ----------
    .. [1] R. J. Adler, J. E. Taylor, "Random Fields and Geometry", Springer (2007): expected
       number of peaks over a level. J. Pickands III, "Statistical inference using extreme order
       statistics", Annals of Statistics 3 (1975), 119-131: fitting the excess over a level.
    """
    sigmas = [FIRST_SIGMA_PX]
    while sigmas[-1] * 2 <= largest_sigma:
        sigmas.append(2 * sigmas[-1])
    weight = inside.astype(np.float32)
    # What is outside of the image or the pattern has no weight.
    layers = [difference * weight, ideal * weight, weight]
    unfiltered = weight
    scales: list[Scale] = []
    peaks: list[Peak] = []
    step, done = 1, 0.0
    for number, sigma in enumerate(sigmas):
        # Each blur goes on from the one before; shrinking by area blurs by a twelfth of a step².
        more = np.sqrt(sigma**2 - done) / step
        layers = [blurred(layer, more, mirrored=False) for layer in layers]
        done = sigma**2
        scale, own = _one_scale(
            (*layers, _variance_factor(unfiltered, layers[2], sigma / step)),
            inside, classes, sigma, step, false_alarms / len(sigmas),
        )  # fmt: skip
        scales.append(scale)
        peaks += [Peak(number, *p[:3], p[3] * len(sigmas)) for p in own]
        if number + 1 < len(sigmas):
            step *= 2
            layers, unfiltered = [_halved(layer) for layer in layers], _halved(unfiltered)
            done += (step**2 - (step // 2) ** 2) / 12
    return scales, peaks


def _variance_factor(weight: Image, filtered: Image, sigma: float) -> Image:
    """Return the variance of the mean of noise around each place, 1 where no place is missing.

    At the border a mean is of fewer pixels: the square of a Gaussian is a narrower one.
    """
    squares = blurred(weight, sigma / np.sqrt(2), mirrored=False)
    factor = np.maximum(squares, 1e-6) / np.square(np.maximum(filtered, 1e-3))
    return np.asarray(factor, np.float32)


def _halved(image: Image) -> Image:
    height, width = image.shape
    part = image[: height // 2 * 2, : width // 2 * 2]
    return shrunk(part, (height // 2, width // 2))


def _one_scale(
    layers: tuple[Image, ...], inside: NDArray[np.bool_], classes: Classes, sigma: float,
    step: int, allowed: float,
) -> tuple[Scale, list[tuple[int, int, float, float]]]:  # fmt: skip
    """Return a scale and its peaks: row, column, z and how many chance makes as high."""
    from scipy.ndimage import maximum_filter

    weighted, weighted_ideal, weight, factor = layers
    known = np.maximum(weight, 1e-3)
    mean = np.asarray(weighted / known, np.float32)
    ideal = np.asarray(weighted_ideal / known, np.float32)
    index, grid = classes(float(step))
    rows, columns = (step * np.arange(n) + step // 2 for n in mean.shape)
    here = index[np.ix_(rows, columns)]
    there = inside[np.ix_(rows, columns)] & (weight > _LEAST_WEIGHT)
    edge = -(-_MARGIN_PX // step)
    there[:edge], there[-edge:], there[:, :edge], there[:, -edge:] = False, False, False, False
    middle, spread = class_scatter(mean, here, grid, there)
    mean -= middle
    modelled, growth = modelled_scatter(spread, ideal, there)
    spread = np.maximum(spread, modelled)
    scatter = np.asarray(spread * np.sqrt(factor), np.float32)
    raw = np.asarray(mean / scatter, np.float32)
    skew = skewness(raw, ideal, there)
    z = np.abs(normal_scores(raw, skew))
    z[~there] = 0
    top = (z == maximum_filter(z, 3)) & (z > 0)
    row, column = np.nonzero(top)
    heights = z[row, column].astype(np.float64)
    threshold, chance = _tail(heights, allowed)
    found = np.flatnonzero(heights > threshold)
    own = [
        (int(row[i]), int(column[i]), float(heights[i]), float(chance(heights[i]))) for i in found
    ]
    return Scale(sigma, step, mean, scatter, skew, there, threshold, growth), own


def _tail(heights: Float, allowed: float) -> tuple[float, Callable[[float], float]]:
    """Return the height that is exceeded `allowed` times by chance, and the rate over heights."""
    if heights.size < 20:
        return np.inf, lambda _: np.inf
    squares = np.sort(heights**2)
    # As far out as may be: the tail of rare places is not that of common ones.
    unknown = min(_LARGE, max(_MANY / squares.size, 1e-3))
    first, last = (int((1 - part) * (squares.size - 1)) for part in
                   (unknown * _TAIL / _LARGE, unknown))  # fmt: skip
    begin, end = squares[first], squares[last]
    # Mean excess where the highest are known only to be higher: they may be defects.
    above = squares[first:]
    excess = np.minimum(above, end) - begin
    slope = float(excess.sum() / max(np.count_nonzero(above < end), 1))
    slope = max(slope, _GAUSSIAN_TAIL)
    count = float(above.size)

    def chance(height: float) -> float:
        return count * float(np.exp(-(height**2 - begin) / slope))

    return float(np.sqrt(max(begin + slope * np.log(count / allowed), begin))), chance

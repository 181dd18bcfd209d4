"""Blobs in a difference image that its own scatter does not explain."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from everhart.measure._filtered import blurred, shrunk

__all__ = ["Peak", "Scale", "search"]

Float = NDArray[np.float64]
Image = NDArray[np.float32]
Index = NDArray[np.int32]
#: Numbers the classes of pixels that are alike, for a step in pixels, and says their grid.
Classes = Callable[[float], tuple[Index, tuple[int, int]]]

FIRST_SIGMA_PX = 1.5
_MARGIN_PX = 2
_TAIL = 0.2  # part of the peaks that the tail is fitted to
_LARGE = 0.02  # part of the peaks that may be of defects, or so many:
_MANY = 400
_EDGES_MOVE = 0.025  # periods
_GAUSSIAN_TAIL = 2.0
_SAMPLES = 1_500_000


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
        Its standard deviation over the periods, or more where its tails are long.
    threshold
        ``|mean| / scatter`` that is exceeded by chance as often as allowed.
    """

    sigma_px: float
    step: int
    mean: Image
    scatter: Image
    threshold: float

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
    inside: NDArray[np.bool_],
    classes: Classes,
    largest_sigma: float,
    false_alarms: float,
) -> tuple[list[Scale], list[Peak]]:
    """Filter at several scales, and find what chance does not explain.

    At each scale the difference is averaged with a Gaussian weight, pixels weighted by the inverse
    variance of their class. The scatter of that mean is found for each class (place in the
    period) from all periods, so that noise, its correlation and the natural roughness are in it.
    The tail of the peaks of ``|mean| / scatter`` is taken to be exponential in its square, as in a
    Gaussian field, with a slope that is fitted between quantiles that a few defects do not
    reach [1]_.

    Parameters
    ----------
    difference
        Image less reference, ``(H, W)``.
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
    index, grid = classes(1.0)
    spread = _class_quantiles(difference, index, grid, inside)[1]
    floor = 0.2 * float(np.median(spread[spread > 0])) if (spread > 0).any() else 1.0
    weight_cell = 1 / np.maximum(spread, max(floor, 1e-12)) ** 2
    weight_cell /= weight_cell.max()
    weight = weight_cell.astype(np.float32).ravel()[index]
    weight *= inside
    sigmas = [FIRST_SIGMA_PX]
    while sigmas[-1] * 2 <= largest_sigma:
        sigmas.append(2 * sigmas[-1])
    weighted = difference * weight
    scales: list[Scale] = []
    peaks: list[Peak] = []
    step, done = 1, 0.0
    for number, sigma in enumerate(sigmas):
        # Each blur goes on from the one before; shrinking by area blurs by a twelfth of a step².
        more = np.sqrt(sigma**2 - done) / step
        weighted, weight = blurred(weighted, more), blurred(weight, more)
        done = sigma**2
        scale, own = _one_scale(
            weighted, weight, inside, classes, sigma, step, false_alarms / len(sigmas)
        )
        scales.append(scale)
        peaks += [Peak(number, *p[:3], p[3] * len(sigmas)) for p in own]
        if number + 1 < len(sigmas):
            step *= 2
            weighted, weight = _halved(weighted), _halved(weight)
            done += (step**2 - (step // 2) ** 2) / 12
    return scales, peaks


def _halved(image: Image) -> Image:
    height, width = image.shape
    part = image[: height // 2 * 2, : width // 2 * 2]
    return shrunk(part, (height // 2, width // 2))


def _one_scale(
    weighted: Image, weight: Image, inside: NDArray[np.bool_], classes: Classes, sigma: float,
    step: int, allowed: float,
) -> tuple[Scale, list[tuple[int, int, float, float]]]:  # fmt: skip
    """Return a scale and its peaks: row, column, z and how many chance makes as high."""
    from scipy.ndimage import maximum_filter

    least = 1e-6 * float(weight.max())
    mean = np.asarray(weighted / np.maximum(weight, least), np.float32)
    index, grid = classes(max(float(step), 1.0))
    rows, columns = (step * np.arange(n) + step // 2 for n in mean.shape)
    here = index[np.ix_(rows, columns)]
    there = inside[np.ix_(rows, columns)].copy()
    edge = int(np.ceil((_MARGIN_PX + 0.5 * sigma) / step))
    there[:edge], there[-edge:], there[:, :edge], there[:, -edge:] = False, False, False, False
    middle, spread = _class_quantiles(mean, here, grid, there)
    spread = _spread_over_neighbours(spread)
    mean -= middle.astype(np.float32).ravel()[here]
    scatter = np.maximum(spread, 1e-12).astype(np.float32).ravel()[here]
    z = np.abs(mean) / scatter
    z[~there] = 0
    top = (z == maximum_filter(z, 3)) & (z > 0)
    row, column = np.nonzero(top)
    heights = z[row, column].astype(np.float64)
    threshold, chance = _tail(heights, allowed)
    found = np.flatnonzero(heights > threshold)
    own = [
        (int(row[i]), int(column[i]), float(heights[i]), float(chance(heights[i]))) for i in found
    ]
    return Scale(sigma, step, mean, scatter, threshold), own


def _class_quantiles(
    values: Image, index: Index, grid: tuple[int, int], inside: NDArray[np.bool_]
) -> tuple[Float, Float]:
    """Return the median and the spread of each class, ``(nv, nu)``.

    The spread is the larger of half of what two thirds are within, and of the tails'.
    """
    every = max(int(np.sqrt(values.size / _SAMPLES)), 1)
    chosen = np.s_[::every, ::every]
    flat, number = values[chosen][inside[chosen]], index[chosen][inside[chosen]]
    size = grid[0] * grid[1]
    low, high = (float(flat.min()), float(flat.max())) if flat.size else (0.0, 1.0)
    span = max(high - low, 1e-30) * 1.000001
    # One sort for all classes: the class is the whole part, the value the fraction.
    key = np.sort(number + (flat.astype(np.float64) - low) / span)
    count = np.bincount(number, minlength=size)
    start = np.concatenate([[0], np.cumsum(count)[:-1]])

    def at(part: float) -> Float:
        place = start + part * np.maximum(count - 1, 0)
        below = np.minimum(np.floor(place).astype(np.intp), max(key.size - 1, 0))
        above = np.minimum(below + 1, np.maximum(start + count - 1, 0))
        fraction = place - below
        value = key[below] * (1 - fraction) + key[np.maximum(above, below)] * fraction
        return np.asarray((value - np.arange(size)) * span + low, np.float64)

    if not key.size:
        return np.zeros(grid), np.zeros(grid)
    middle, lower, upper = at(0.5), at(0.15866), at(0.84134)
    spread = (upper - lower) / 2
    # Far tails are told where there are many periods; a few defects must not be in them.
    far, deviations = (0.98, 2.0537) if np.median(count) > 400 else (0.95, 1.6449)
    spread = np.maximum(spread, (at(far) - middle) / deviations)
    spread = np.maximum(spread, (middle - at(1 - far)) / deviations)
    known = count >= 8
    if known.any() and not known.all():
        middle = np.where(known, middle, 0.0)
        spread = np.where(known, spread, spread[known].max())
    return middle.reshape(grid), spread.reshape(grid)


def _spread_over_neighbours(spread: Float) -> Float:
    """Let each class have the spread of the largest beside it: edges move over several."""
    from scipy.ndimage import gaussian_filter, maximum_filter

    size = tuple(2 * max(round(_EDGES_MOVE * n), 1) + 1 if n > 1 else 1 for n in spread.shape)
    wide = maximum_filter(spread, size, mode="wrap")
    sigma = (0.7 if spread.shape[0] > 1 else 0.0, 0.7)
    return np.asarray(np.maximum(gaussian_filter(wide, sigma, mode="wrap"), spread), np.float64)


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

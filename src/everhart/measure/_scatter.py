"""How far a filtered difference scatters at each place of a pattern where nothing is wrong."""

from __future__ import annotations

from collections.abc import Callable

import cv2
import numpy as np
from numpy.typing import NDArray

__all__ = [
    "Classes",
    "class_scatter",
    "modelled_scatter",
    "normal_scores",
    "raw_heights",
    "skewness",
]

Float = NDArray[np.float64]
Image = NDArray[np.float32]
Index = NDArray[np.int32]
Mask = NDArray[np.bool_]
#: Numbers the classes of pixels that are alike, for a step in pixels, and says their grid: a
#: torus where classes are places in a period, and ``None`` where neighbours are not alike.
Classes = Callable[[float], tuple[Index, tuple[int, int] | None]]

_SAMPLES = 1_500_000
_FEWEST = 8
_DISPLACED = 6.0  # standard deviations that an edge may be displaced by
_SKEW_PART = 0.02  # of the values, beyond which the skewness is looked at
_SKEW_DEVIATIONS = 2.0537  # of a normal value that is exceeded in that part
_LEVELS = 6
_LARGEST_SKEW = 1.5


def class_scatter(
    values: Image, index: Index, grid: tuple[int, int] | None, inside: Mask
) -> tuple[Image, Image]:
    """Return the median of each pixel's class, and the standard deviation, ``(H, W)`` each.

    Both are from quantiles, which a few defects do not move. The variance of places in a period is
    averaged with those around: that of a hundred periods is known to a fifth only.
    """
    from scipy.ndimage import gaussian_filter

    every = max(int(np.sqrt(values.size / _SAMPLES)), 1)
    chosen = np.s_[::every, ::every]
    flat, number = values[chosen][inside[chosen]], index[chosen][inside[chosen]]
    size = int(index.max()) + 1 if grid is None else grid[0] * grid[1]
    if not flat.size:
        return np.zeros_like(values), np.zeros_like(values)
    low, high = float(flat.min()), float(flat.max())
    span = max(high - low, 1e-30) * 1.000001
    # One sort for all classes: the class is the whole part, the value the fraction.
    key = np.sort(number + (flat.astype(np.float64) - low) / span)
    count = np.bincount(number, minlength=size)
    start = np.concatenate([[0], np.cumsum(count)[:-1]])

    def at(part: float) -> Float:
        place = start + part * np.maximum(count - 1, 0)
        below = np.minimum(np.floor(place).astype(np.intp), key.size - 1)
        above = np.minimum(below + 1, np.maximum(start + count - 1, 0))
        fraction = place - below
        value = key[below] * (1 - fraction) + key[np.maximum(above, below)] * fraction
        return np.asarray((value - np.arange(size)) * span + low, np.float64)

    middle = at(0.5)
    spread = (at(0.84134) - at(0.15866)) / 2
    known = count >= _FEWEST
    if known.any() and not known.all():
        middle = np.where(known, middle, 0.0)
        spread = np.where(known, spread, spread[known].max())
    if grid is not None:
        sigma = (1.0 if grid[0] > 1 else 0.0, 1.0)
        power = gaussian_filter(np.square(spread).reshape(grid), sigma, mode="wrap")
        spread = np.sqrt(power).ravel()
    return (
        np.asarray(middle[index], np.float32),
        np.asarray(np.maximum(spread, 1e-12)[index], np.float32),
    )


def modelled_scatter(measured: Image, ideal: Image, inside: Mask) -> tuple[Image, float]:
    """Return the standard deviation by a model of noise and of edges that move, and `q`.

    The variance of the noise grows with the brightness `b`, and an edge that is displaced
    by `d` changes the image by its slope times `d`: ``variance = p + q b + r slope²``, of which
    ``sqrt(r)`` is the standard deviation of the displacement. A place beside an edge, which the
    usual displacement does not reach, is given the variance that a displacement of up to six
    standard deviations makes likely: otherwise the largest of many bulges would be a defect.

    Parameters
    ----------
    measured
        Standard deviation of each place, from :func:`class_scatter`.
    ideal
        The image without defects, filtered as the difference was.
    inside
        Where they are known.
    """
    gy, gx = np.gradient(ideal)
    slope = np.hypot(gy, gx)
    every = max(int(np.sqrt(inside.sum() / 50_000)), 1)
    chosen = np.zeros_like(inside)
    chosen[::every, ::every] = inside[::every, ::every]
    if np.count_nonzero(chosen) < 50:
        return measured, 0.0
    brightness = ideal - float(ideal[inside].min())
    variance = np.square(measured[chosen], dtype=np.float64)
    p, q, r = _fitted(
        variance, brightness[chosen].astype(np.float64), np.square(slope[chosen], dtype=np.float64)
    )
    steepest = _steepest_within(ideal, slope, _DISPLACED * float(np.sqrt(r)))
    power = p + q * brightness + r * np.square(steepest)
    return np.asarray(np.sqrt(np.maximum(power, 1e-24)), np.float32), q


def _fitted(variance: Float, brightness: Float, slope2: Float) -> tuple[float, float, float]:
    """Fit variances, which have errors in proportion to them, by terms that are not negative."""
    from scipy.optimize import nnls

    terms = np.stack([np.ones_like(variance), brightness, slope2], axis=1)
    size = np.maximum(terms.max(axis=0), 1e-30)
    expected = np.full(variance.shape, max(float(variance.mean()), 1e-30))
    for _ in range(4):
        solved, _ = nnls(terms / size / expected[:, None], variance / expected)
        expected = np.maximum(terms / size @ solved, 1e-3 * float(variance.mean()) + 1e-30)
    p, q, r = (solved / size).tolist()
    return p, q, r


def _steepest_within(ideal: Image, slope: Image, reach: float) -> Image:
    """Return the steepest way from each pixel to one within a distance."""
    steepest = slope.copy()
    radii = np.unique(np.rint(np.linspace(1, max(min(reach, 12.0), 1), 5))).astype(int)
    for radius in radii[radii <= max(reach, 0.0)]:
        disc = cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (2 * int(radius) + 1,) * 2)
        rise = cv2.dilate(ideal, disc) - ideal
        fall = ideal - cv2.erode(ideal, disc)
        np.maximum(steepest, np.maximum(rise, fall) / np.float32(radius), out=steepest)
    return steepest


def skewness(z: Image, ideal: Image, inside: Mask) -> Image:
    """Return the skewness of values of median 0 and standard deviation 1, by brightness.

    A sum of few electrons is skewed, most so where the image is dark. It is from quantiles [1]_.

    References
    ----------
    .. [1] D. V. Hinkley, "On power transformations to symmetry", Biometrika 62 (1975), 101-111:
       skewness from the quantiles on both sides of the median.
    """
    found = np.zeros(z.shape, np.float32)
    if np.count_nonzero(inside) < 1000:
        return found
    every = max(round(np.sqrt(z.size / _SAMPLES)), 1)
    some = np.s_[::every, ::every]
    levels = np.quantile(ideal[some][inside[some]], np.linspace(0, 1, _LEVELS + 1)[1:-1])
    group = np.searchsorted(levels, ideal).astype(np.int32)
    sampled, known = z[some][inside[some]], group[some][inside[some]]
    skews = []
    for number in range(_LEVELS):
        own = sampled[known == number]
        if own.size < 200:
            skews.append(0.0)
            continue
        low, high = np.quantile(own, (_SKEW_PART, 1 - _SKEW_PART))
        part = float((high + low) / max(high - low, 1e-12))
        skews.append(float(np.clip(6 * part / _SKEW_DEVIATIONS, -_LARGEST_SKEW, _LARGEST_SKEW)))
    return np.asarray(np.array(skews, np.float32)[group])


def normal_scores(z: Image, skew: Image) -> Image:
    """Return values as improbable as these for a normal variable.

    The long tail is taken to be that of a gamma variable, by the approximation of Wilson and
    Hilferty [1]_. The short tail is left as long as a normal one.

    References
    ----------
    .. [1] E. B. Wilson, M. M. Hilferty, "The distribution of chi-square", PNAS 17 (1931), 684-688.
    """
    size = np.maximum(np.abs(skew), 1e-3)
    height = np.abs(z)
    # Quantiles are from the median on, moments from the mean.
    cube = np.cbrt(1 + size / 2 * (height - size / 6))
    score = np.minimum(6 / size * (cube - 1) + size / 6, height)
    return np.asarray(np.where(z * skew > 0, np.copysign(score, z), z), np.float32)


def raw_heights(score: float, skew: Image) -> Image:
    """Return which values have a normal score, on the side of the longer tail."""
    size = np.maximum(np.abs(skew), 1e-3)
    cube = 1 + size / 6 * (score - size / 6)
    return np.asarray(np.maximum(2 / size * (cube**3 - 1) + size / 6, score), np.float32)

"""A distance from synthetic to real images, over that of real images from each other."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

__all__ = ["Draw", "Ratio", "draws_of", "ratio_of"]

Float = NDArray[np.float64]
Rows = NDArray[np.intp]

_RESAMPLES = 100


@dataclass(frozen=True)
class Ratio:
    """A distance from synthetic to real images over that from real to real ones.

    Parameters
    ----------
    name
        What is compared, such as one of :data:`everhart.synthesize.distances.DISTANCES`.
    value
        1 where the synthetic images are as far from real ones as real ones from each other.
    low, high
        Interval that holds 95 % of the bootstrap.
    """

    name: str
    value: float
    low: float
    high: float


@dataclass(frozen=True, eq=False)
class Draw:
    """Numbers of images of one resample, all of one count.

    Parameters
    ----------
    first, second
        Disjoint parts of the real images: their distance is the floor.
    made
        Synthetic images, none twice, that are compared with `second`.
    made_again, real_again
        Images drawn with repetition, for the interval.
    """

    first: Rows
    second: Rows
    made: Rows
    made_again: Rows
    real_again: Rows


def draws_of(made: int, real: int, rng: np.random.Generator) -> list[Draw]:
    """Draw the resamples of an audit: of equal sizes, as distances of few images are larger.

    Parameters
    ----------
    made, real
        Numbers of synthetic and of real images.
    rng
        What they are drawn with.
    """
    size = min(real // 2, made)
    draws = []
    for _ in range(_RESAMPLES):
        order = rng.permutation(real)
        draws.append(
            Draw(
                order[:size],
                order[size : 2 * size],
                rng.permutation(made)[:size],
                rng.integers(made, size=size),
                rng.integers(real, size=size),
            )
        )
    return draws


def ratio_of(
    name: str, distance: Callable[[Rows, Rows, bool], float], draws: Sequence[Draw]
) -> tuple[Ratio | None, float, float]:
    """Return the ratio of a distance, and the mean distances that it is of.

    Parameters
    ----------
    name
        Of the ratio.
    distance
        ``distance(rows, real_rows, real)``: of images from real ones, where `real` says whether
        the former are real, too.
    draws
        The resamples.

    Returns
    -------
    ratio
        None where real images are all alike, so that there is nothing to compare with.
    found, floor
        Mean distances of synthetic from real, and of real from real images.
    """
    floor = float(np.mean([distance(d.first, d.second, True) for d in draws]))
    found = float(np.mean([distance(d.made, d.second, False) for d in draws]))
    if floor <= 1e-12:
        return None, found, floor
    again = [distance(d.made_again, d.real_again, False) for d in draws]
    # Repeated images are further from others than different ones are: the bootstrap tells of the
    # scatter alone, not of the value.
    spread = np.quantile(again, (0.025, 0.975)) / max(float(np.mean(again)), 1e-12)
    value = found / floor
    return Ratio(name, value, float(value * spread[0]), float(value * spread[1])), found, floor

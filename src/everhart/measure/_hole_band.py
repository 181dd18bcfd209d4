"""One hole while it is being fitted, and the pixels around its contour."""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

__all__ = ["Band", "HoleFit", "bin_basis", "cut_band", "even_angles", "harmonic_basis"]

Float = NDArray[np.float64]

_NEEDED_PX = 1.5  # of the band beyond the edge


@dataclass(eq=False)
class HoleFit:
    """One hole while it is being fitted, in pixels.

    Parameters
    ----------
    y, x
        The centre that angles are about.
    harmonics
        ``(2 K + 1,)``: mean radius, then cosine and sine parts of orders 1 to K. The first order
        is zero: it is the centre's.
    offset, gain
        Brightness and contrast, against the template.
    covariance
        Of (harmonics, offset, gain), where order 1 stands for x and y of the centre.
    free, free_variance
        The same parameters by this hole's pixels alone, without what is known from the others,
        and their variances.
    lost
        Whether the fit ran away.
    """

    y: float
    x: float
    harmonics: Float
    offset: float = 0.0
    gain: float = 1.0
    covariance: Float = field(default_factory=lambda: np.zeros((0, 0)))
    free: Float = field(default_factory=lambda: np.zeros(0))
    free_variance: Float = field(default_factory=lambda: np.zeros(0))
    lost: bool = False

    @property
    def orders(self) -> int:
        """Highest harmonic."""
        return (len(self.harmonics) - 1) // 2

    def radius_at(self, angle: Float) -> Float:
        """Return the radius in directions (radians, from +x towards +y)."""
        return np.asarray(harmonic_basis(angle, self.orders) @ self.harmonics)


def harmonic_basis(angle: Float, orders: int) -> Float:
    """Return 1, cos t, sin t, cos 2t, ... of angles ``(n,)``, shape ``(n, 2 orders + 1)``."""
    parts = [np.ones_like(angle)]
    for order in range(1, orders + 1):
        parts += [np.cos(order * angle), np.sin(order * angle)]
    return np.stack(parts, axis=1)


def even_angles(count: int) -> Float:
    """Return angles that divide the circle evenly, in radians from 0."""
    return np.asarray(np.arange(count) * (2 * np.pi / count), np.float64)


@lru_cache(maxsize=16)
def bin_basis(bins: int, orders: int) -> Float:
    return harmonic_basis(even_angles(bins), orders)


@dataclass(frozen=True, eq=False)
class Band:
    """Pixels of the band around one contour."""

    rows: NDArray[np.intp]
    columns: NDArray[np.intp]
    grey: Float
    distance: Float
    angle_bin: NDArray[np.intp]
    bins: int


def cut_band(image: NDArray[np.float32], hole: HoleFit, reach: float, bins: int) -> Band | None:
    """Cut the band out; None where it is not within the image."""
    table = bin_basis(bins, hole.orders) @ hole.harmonics
    far = float(table.max()) + reach + 1
    height, width = image.shape
    top, left = int(np.floor(hole.y - far)), int(np.floor(hole.x - far))
    bottom, right = int(np.ceil(hole.y + far)) + 1, int(np.ceil(hole.x + far)) + 1
    # Near the border the outer part of a band may be missing, but no part of the edge.
    needed = float(table.max()) + min(reach, _NEEDED_PX)
    room = min(hole.y, hole.x, height - 1 - hole.y, width - 1 - hole.x) + 0.5
    if needed > room:
        return None
    rows = np.arange(max(top, 0), min(bottom, height))
    columns = np.arange(max(left, 0), min(right, width))
    dy, dx = rows - hole.y, columns - hole.x
    square = np.square(dy)[:, None] + np.square(dx)[None, :]
    least = max(float(table.min()) - reach - 1, 0.0)
    row, column = np.nonzero((square > least**2) & (square < far**2))
    angle = np.arctan2(dy[row].astype(np.float32), dx[column].astype(np.float32))
    place = (angle * np.float32(bins / (2 * np.pi))) % np.float32(bins)
    low = place.astype(np.intp)
    closed = np.append(table, table[:2])  # the angle may be rounded to the full circle
    radius = closed[low] + (place - low) * (closed[low + 1] - closed[low])
    distance = np.sqrt(square[row, column]) - radius
    used = np.abs(distance) <= reach
    row, column = rows[row[used]], columns[column[used]]
    nearest = np.rint(place[used]).astype(np.intp) % bins
    return Band(row, column, image[row, column].astype(np.float64), distance[used], nearest, bins)

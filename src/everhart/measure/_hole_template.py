"""The profile across the edge that all holes of an image have in common."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

__all__ = ["Template", "fit_template"]

Float = NDArray[np.float64]

_GRID_PX = 0.05  # of the tabulated profile
_BIN_PX = 0.125
_KNOT_PX = 0.75
_SURE = 3.0  # standard deviations below which a slope of the profile is none
_TAPER_PX = 1.0


@dataclass(frozen=True, eq=False)
class Template:
    """The profile across the edge, as a cubic spline.

    Parameters
    ----------
    grid
        Distances from the contour in px, positive outwards, evenly spaced.
    value, slope
        Grey level there, and its derivative.
    basis
        ``(len(grid), n)``: the splines on the grid.
    covariance
        ``(n, n)``: covariance of their coefficients, for white noise of variance 1.
    """

    grid: Float
    value: Float
    slope: Float
    basis: Float
    covariance: Float

    def at(self, distance: Float) -> tuple[Float, Float]:
        """Return value and slope at distances; constant beyond the band."""
        place = (distance - self.grid[0]) / _GRID_PX
        low = np.clip(place.astype(np.intp), 0, len(self.grid) - 2)
        part = np.clip(place - low, 0.0, 1.0)
        value = self.value[low] + part * (self.value[low + 1] - self.value[low])
        slope = self.slope[low] + part * (self.slope[low + 1] - self.slope[low])
        beyond = (place < 0) | (place > len(self.grid) - 1)
        return value, np.where(beyond, 0.0, slope)


def fit_template(distance: Float, grey: Float, weight: Float, reach: float) -> Template:
    """Fit the profile that the bands of all holes have in common.

    Parameters
    ----------
    distance
        Distance of each pixel from its contour, px.
    grey
        Its grey level, brightness and contrast of the hole taken out.
    weight
        One over the variance of that.
    reach
        Largest distance.

    Returns
    -------
    Template
        A least-squares cubic spline with knots every 0.75 px.
    """
    from scipy.interpolate import BSpline

    number = np.rint((distance + reach) / _BIN_PX).astype(np.intp)
    total = np.bincount(number, weight)
    used = total > 0
    d = np.bincount(number, weight * distance)[used] / total[used]
    g = np.bincount(number, weight * grey)[used] / total[used]
    total = total[used]
    count = max(round(2 * reach / _KNOT_PX), 4)
    inner = np.linspace(-reach, reach, count + 1)
    knots = np.concatenate([[-reach] * 3, inner, [reach] * 3])
    n = len(knots) - 4
    splines = BSpline(knots, np.eye(n), 3)
    at = splines(np.clip(d, -reach, reach))
    normal = (at.T * total) @ at
    normal += np.eye(n) * (1e-9 * float(np.trace(normal)) / n)
    covariance = np.linalg.inv(normal)
    coefficients = covariance @ ((at.T * total) @ g)
    grid = np.asarray(np.arange(-reach, reach + 0.5 * _GRID_PX, _GRID_PX), np.float64)
    inside = np.clip(grid, -reach, reach)
    basis = splines(inside)
    derived = splines.derivative()(inside)
    slope = derived @ coefficients
    # What noise gives the slope would draw the contours to it, and so grow from round to round,
    # above all at the ends of the band, where little holds it.
    sd = np.sqrt(np.einsum("gi,ij,gj->g", derived, covariance, derived))
    sure = np.maximum(1 - np.square(_SURE * sd / np.maximum(np.abs(slope), 1e-30)), 0)
    slope = slope * sure * np.clip((reach - np.abs(grid)) / _TAPER_PX, 0, 1)
    value = np.asarray(basis @ coefficients, np.float64)
    rise = np.asarray(slope, np.float64)
    return Template(
        grid, value, rise, np.asarray(basis, np.float64), np.asarray(covariance, np.float64)
    )

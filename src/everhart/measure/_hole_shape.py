"""From a fitted contour to size, shape and roughness, with their standard deviations."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from everhart.measure._hole_band import HoleFit, even_angles
from everhart.measure.units import Unit

__all__ = ["Shape", "shape_of"]

Float = NDArray[np.float64]

_POINTS = 360


@dataclass(frozen=True, eq=False)
class Shape:
    """Size and shape of one contour.

    Parameters
    ----------
    contour
        ``(360, 2)``: y and x in px.
    y_px, x_px
        Centroid of the area within.
    y_sd, x_sd
        Standard deviations of the centroid, in the unit.
    cd, cd_sd
        Diameter of the circle of equal area, in the unit.
    ellipticity, ellipticity_sd
        1 - minor / major axis of the ellipse with the second moments of the area.
    angle_deg, angle_sd_deg
        Direction of the major axis, from +x towards +y, 0 to 180.
    cer, cer_sd
        Three standard deviations of the contour about the ellipse, noise taken out, in the unit.
    """

    contour: Float
    y_px: float
    x_px: float
    y_sd: float
    x_sd: float
    cd: float
    cd_sd: float
    ellipticity: float
    ellipticity_sd: float
    angle_deg: float
    angle_sd_deg: float
    cer: float
    cer_sd: float


def shape_of(
    hole: HoleFit, outwards_px: float, outwards_sd: float, count: int, unit: Unit
) -> Shape:
    """Measure one contour.

    Parameters
    ----------
    hole
        The fit.
    outwards_px, outwards_sd
        How far the edge is outside of the fitted contour, the same for all holes, and its
        standard deviation.
    count
        Number of holes that the profile was found on. The profile was laid on their mean, so that
        the radius of one is as unsure as its distance from the mean.
    unit
        Size of the pixels.

    Returns
    -------
    Shape
        Lengths in the unit, positions in px.
    """
    angle = even_angles(_POINTS)
    radius = hole.radius_at(angle) + outwards_px
    y, x = hole.y + radius * np.sin(angle), hole.x + radius * np.cos(angle)
    area, centre, moments = _moments((y - hole.y) * unit.y, (x - hole.x) * unit.x)
    scale = float(np.sqrt(unit.y * unit.x))
    cd = 2 * float(np.sqrt(area / np.pi))
    variance = np.diag(hole.covariance)
    radius_variance = (1 - 1 / count) * variance[0] + outwards_sd**2
    (small, large), axes = np.linalg.eigh(moments)
    ellipticity = 1 - float(np.sqrt(small / large))
    direction = float(np.degrees(np.arctan2(axes[0, 1], axes[1, 1])) % 180)
    # r = R + a cos 2t has minor / major = 1 - 2 a / R.
    mean = float(radius.mean())
    second_sd = float(np.sqrt(variance[3:5].mean())) if len(variance) > 6 else 0.0
    ellipticity_sd = 2 * second_sd / mean
    turned = np.degrees(ellipticity_sd / (2 * max(ellipticity, 1e-9)))
    cer, cer_sd = _roughness(hole, scale)
    return Shape(
        np.stack([y, x], axis=1),
        hole.y + centre[0] / unit.y, hole.x + centre[1] / unit.x,
        float(np.sqrt(variance[2])) * unit.y, float(np.sqrt(variance[1])) * unit.x,
        cd, 2 * float(np.sqrt(radius_variance)) * scale,
        ellipticity, ellipticity_sd, direction, float(min(turned, 52.0)), cer, cer_sd,
    )  # fmt: skip


def _moments(y: Float, x: Float) -> tuple[float, Float, Float]:
    """Return area, centroid and central second moments (y, x) of a polygon."""
    next_y, next_x = np.roll(y, -1), np.roll(x, -1)
    cross = x * next_y - next_x * y
    area = float(cross.sum()) / 2
    centre = np.array([((y + next_y) @ cross), ((x + next_x) @ cross)]) / (6 * area)
    y, x, next_y, next_x = y - centre[0], x - centre[1], next_y - centre[0], next_x - centre[1]
    cross = x * next_y - next_x * y
    yy = float((y**2 + y * next_y + next_y**2) @ cross) / 12
    xx = float((x**2 + x * next_x + next_x**2) @ cross) / 12
    xy = float((x * next_y + 2 * x * y + 2 * next_x * next_y + next_x * y) @ cross) / 24
    return area, centre, np.array([[yy, xy], [xy, xx]]) / area


def _roughness(hole: HoleFit, scale: float) -> tuple[float, float]:
    """Return 3 sigma of the harmonics beyond the ellipse, without what noise gives them."""
    beyond, noise = hole.free[5:-2], hole.free_variance[5:-2]
    if not len(beyond):
        return float("nan"), float("nan")
    excess = np.square(beyond) - noise
    variance = float(excess.sum()) / 2
    real = np.maximum(excess, 0)
    spread = float(np.sqrt((np.square(noise) / 2 + noise * real).sum()))
    sigma = float(np.sqrt(max(variance, 0.0)))
    sd = spread / (2 * sigma) if variance > spread else float(np.sqrt(spread)) / 2
    return 3 * sigma * scale, 3 * sd * scale

"""Shape of a closed outline, and how sure it is: area, perimeter, axes, by moments."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

__all__ = ["Shape", "resampled", "shape_of", "shape_with_noise"]

Float = NDArray[np.float64]

_DRAWS = 24
_DRAWN_POINTS = 128


class Shape(NamedTuple):
    """Shape of outlines; each an array of the shape of the draws.

    Attributes
    ----------
    area, perimeter
        Of the polygon.
    y, x
        Centroid.
    major, minor
        Axes of the ellipse of equal second moments.
    angle
        Direction of the major axis in radians, from +x towards +y.
    """

    area: Float
    perimeter: Float
    y: Float
    x: Float
    major: Float
    minor: Float
    angle: Float

    @property
    def circularity(self) -> Float:
        """4 pi area over the square of the perimeter."""
        return np.asarray(4 * np.pi * self.area / np.maximum(self.perimeter, 1e-30) ** 2)


def shape_of(points: Float) -> Shape:
    """Return the shape of closed polygons.

    Parameters
    ----------
    points
        ``(..., n, 2)``: y and x, the last joined to the first.

    Returns
    -------
    Shape
        Arrays of the leading shape.

    Examples
    --------
    >>> turn = np.linspace(0, 2 * np.pi, 200, endpoint=False)
    >>> ellipse = shape_of(np.stack([5 * np.sin(turn), 10 * np.cos(turn)], axis=-1))
    >>> round(float(ellipse.major / ellipse.minor), 3), round(float(ellipse.angle), 3)
    (2.0, 0.0)
    """
    # About a point inside: moments about a far origin would be differences of large numbers.
    origin = points.mean(axis=-2, keepdims=True)
    y, x = (points - origin)[..., 0], (points - origin)[..., 1]
    y2 = np.concatenate([y[..., 1:], y[..., :1]], axis=-1)
    x2 = np.concatenate([x[..., 1:], x[..., :1]], axis=-1)
    cross = x * y2 - x2 * y
    signed = cross.sum(axis=-1) / 2
    area = np.where(signed == 0, 1e-30, signed)
    cx = ((x + x2) * cross).sum(axis=-1) / (6 * area)
    cy = ((y + y2) * cross).sum(axis=-1) / (6 * area)
    xx = ((x * x + x * x2 + x2 * x2) * cross).sum(axis=-1) / (12 * area) - cx**2
    yy = ((y * y + y * y2 + y2 * y2) * cross).sum(axis=-1) / (12 * area) - cy**2
    xy = ((x * y2 + 2 * x * y + 2 * x2 * y2 + x2 * y) * cross).sum(axis=-1) / (24 * area) - cx * cy
    half = np.hypot((xx - yy) / 2, xy)
    mean = (xx + yy) / 2
    major = 4 * np.sqrt(np.maximum(mean + half, 0))
    minor = 4 * np.sqrt(np.maximum(mean - half, 0))
    angle = 0.5 * np.arctan2(2 * xy, xx - yy)
    perimeter = np.hypot(y2 - y, x2 - x).sum(axis=-1)
    return Shape(
        np.abs(signed), perimeter, cy + origin[..., 0, 0], cx + origin[..., 0, 1],
        major, minor, angle,
    )  # fmt: skip


def resampled(points: Float, spacing: float = 1.0) -> Float:
    """Return points at equal distances along a closed polygon.

    Parameters
    ----------
    points
        ``(n, 2)``, the last joined to the first.
    spacing
        About the distance, at least 16 points are given.
    """
    closed = np.concatenate([points, points[:1]])
    along = np.concatenate([[0.0], np.cumsum(np.hypot(*np.diff(closed, axis=0).T))])
    count = max(int(np.ceil(along[-1] / spacing)), 16)
    at = np.arange(count) * along[-1] / count
    return np.stack([np.interp(at, along, closed[:, k]) for k in (0, 1)], axis=1)


def shape_with_noise(
    points: Float, edge_sigma: float, smoothing: float, scale: tuple[float, float],
    rng: np.random.Generator,
) -> tuple[Shape, dict[str, float]]:  # fmt: skip
    """Return the shape of an outline, and standard deviations from outlines drawn with its noise.

    The outline is moved along its normal by noise of the standard deviation that grey noise over
    the slope of the edge gives, correlated along it as a Gaussian filter leaves it.

    Parameters
    ----------
    points
        ``(n, 2)`` in pixels, about a pixel apart.
    edge_sigma
        Standard deviation of one point, in pixels.
    smoothing
        Standard deviation of the Gaussian filter that the image had, in pixels.
    scale
        Height and width of a pixel in the unit of the result.
    rng
        Source of randomness.

    Returns
    -------
    shape : Shape
        In the unit; circularity is without the part that noise takes from it.
    sd : dict
        Standard deviations: ``area``, ``diameter``, ``circularity``, ``aspect``, ``angle``, ``y``,
        ``x``, ``major``, ``minor``.
    """
    from scipy.ndimage import gaussian_filter1d

    size = np.array(scale)
    exact = shape_of(points * size)
    tangent = np.roll(points, -1, axis=0) - np.roll(points, 1, axis=0)
    normal = np.stack([tangent[:, 1], -tangent[:, 0]], axis=1)
    normal /= np.maximum(np.hypot(*normal.T), 1e-12)[:, None]
    white = rng.standard_normal((_DRAWS, len(points)))
    smooth = gaussian_filter1d(white, smoothing, axis=1, mode="wrap") if smoothing > 0 else white
    smooth *= edge_sigma / max(float(smooth.std()), 1e-30)
    # Long outlines with fewer points: their noise is little against their length.
    step = len(points) // _DRAWN_POINTS + 1
    kept = points[::step]
    drawn = shape_of((kept + smooth[:, ::step, None] * normal[::step]) * size)
    plain = exact if step == 1 else shape_of(kept * size)
    turn = np.angle(np.exp(2j * (drawn.angle - exact.angle))) / 2
    sd = {
        name: float(np.std(getattr(drawn, name)))
        for name in ("area", "circularity", "y", "x", "major", "minor")
    }
    sd["aspect"] = float(np.std(drawn.major / np.maximum(drawn.minor, 1e-30)))
    sd["diameter"] = sd["area"] / float(np.sqrt(np.pi * max(float(exact.area), 1e-30)))
    sd["angle"] = float(np.sqrt(np.mean(turn**2)))
    # Noise lengthens the outline; by as much again as drawn noise does.
    longer = float(np.mean(drawn.perimeter)) - float(plain.perimeter)
    perimeter = np.asarray(max(float(exact.perimeter) - longer, 0.5 * float(exact.perimeter)))
    # No outline is shorter than the circle of its area.
    perimeter = np.maximum(perimeter, 2 * np.sqrt(np.pi * exact.area))
    return exact._replace(perimeter=perimeter), sd

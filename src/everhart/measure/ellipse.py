"""Robust geometric fit of an ellipse to edge points."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

__all__ = ["Ellipse", "fit_ellipse"]

Float = NDArray[np.float64]

_ROUGHNESS = 0.01  # scatter of an edge that is no reason to leave a point out, of the radius
_ABSOLUTE_ROUNDS = 15  # of least absolute distances, before outliers are left out


@dataclass(frozen=True)
class Ellipse:
    """An ellipse, in pixels.

    Parameters
    ----------
    y, x
        Its centre.
    radius
        Radius of the circle of equal area.
    stretch_cos, stretch_sin
        ``ln(major / minor)`` times the cosine and the sine of twice the direction of the major
        axis (from +x towards +y): smooth in the shape, where an angle is not.
    rms
        Root mean square of the robustly weighted radial distances of the points.
    inliers
        Part of the points that have a weight.
    """

    y: float
    x: float
    radius: float
    stretch_cos: float = 0.0
    stretch_sin: float = 0.0
    rms: float = 0.0
    inliers: float = 1.0

    @property
    def aspect(self) -> float:
        """Minor over major axis."""
        return float(np.exp(-np.hypot(self.stretch_cos, self.stretch_sin)))

    @property
    def angle_deg(self) -> float:
        """Direction of the major axis, from +x towards +y, 0 to 180."""
        return float(np.degrees(0.5 * np.arctan2(self.stretch_sin, self.stretch_cos)) % 180)

    def radius_at(self, angle: Float) -> Float:
        """Return the distance of the contour from the centre in a direction (radians)."""
        return _radius_at(angle, self.radius, self.stretch_cos, self.stretch_sin)


def _radius_at(angle: Float, radius: float, u: float, v: float) -> Float:
    # With a = R exp(m / 2), b = R exp(-m / 2): a b / sqrt(b^2 cos^2 + a^2 sin^2).
    m = float(np.hypot(u, v))
    ratio = np.sinh(m) / m if m > 1e-9 else 1.0
    turned = u * np.cos(2 * angle) + v * np.sin(2 * angle)
    return np.asarray(radius / np.sqrt(np.maximum(np.cosh(m) - ratio * turned, 1e-6)))


def fit_ellipse(y: Float, x: Float, start: Ellipse, *, rounds: int = 30) -> Ellipse:
    """Fit an ellipse by radial distances, with Tukey weights against outliers.

    Parameters
    ----------
    y, x
        Edge points, shape ``(n,)``.
    start
        Where to begin: the centre within, and the radius near the points'.
    rounds
        Largest number of Gauss-Newton steps.

    Returns
    -------
    Ellipse
        The fit. Points further away than 4.7 robust standard deviations do not count.

    Examples
    --------
    >>> angle = np.linspace(0, 6, 40)
    >>> fit = fit_ellipse(5 + 9 * np.sin(angle), 3 + 16 * np.cos(angle), Ellipse(5.5, 2, 12))
    >>> [round(v, 3) for v in (fit.y, fit.x, fit.radius, fit.aspect)]
    [5.0, 3.0, 12.0, 0.562]
    """
    p = np.array([start.y, start.x, start.radius, start.stretch_cos, start.stretch_sin])
    weight = np.ones(len(y))
    left = np.zeros(len(y))
    for number in range(rounds):
        dy, dx = y - p[0], x - p[1]
        angle = np.arctan2(dy, dx)
        model = _radius_at(angle, p[2], p[3], p[4])
        left = np.hypot(dy, dx) - model
        spread = max(1.4826 * float(np.median(np.abs(left))), _ROUGHNESS * float(p[2]))
        if number < _ABSOLUTE_ROUNDS:  # a dent must not hide in the error of the start
            weight = spread / np.maximum(np.abs(left), 0.2 * spread)
        else:
            weight = np.square(np.maximum(1 - np.square(left / (4.7 * spread)), 0))
        slope = _jacobian(angle, model, p)
        normal = (slope.T * weight) @ slope + 1e-9 * np.eye(5)
        step = np.linalg.solve(normal, (slope.T * weight) @ left)
        p = p + step
        p[2] = max(p[2], 0.5)
        p[3:] = np.clip(p[3:], -1.5, 1.5)
        if number > _ABSOLUTE_ROUNDS and np.abs(step[:3]).max() < 1e-5:
            break
    total = max(float(weight.sum()), 1e-12)
    rms = float(np.sqrt((weight * left**2).sum() / total))
    y0, x0, radius, u, v = (float(value) for value in p)
    return Ellipse(y0, x0, radius, u, v, rms, float((weight > 0).mean()))


def _jacobian(angle: Float, model: Float, p: Float) -> Float:
    """Return the derivatives of the contour's place along each ray, shape ``(n, 5)``."""
    h = 1e-5
    slope_u = (_radius_at(angle, p[2], p[3] + h, p[4]) - model) / h
    slope_v = (_radius_at(angle, p[2], p[3], p[4] + h) - model) / h
    # A shift of the centre moves the contour along the ray, and turns the ray.
    turn = (_radius_at(angle + h, p[2], p[3], p[4]) - model) / h / model
    by_y = np.sin(angle) - turn * np.cos(angle)
    by_x = np.cos(angle) + turn * np.sin(angle)
    return np.stack([by_y, by_x, model / p[2], slope_u, slope_v], axis=1)

"""First contours of holes, from the steepest places along rays."""

from __future__ import annotations

import cv2
import numpy as np
from numpy.typing import NDArray

from everhart.measure._contour import Contours, radius_at
from everhart.measure._hole_band import HoleFit, even_angles, harmonic_basis
from everhart.measure.edges import STEP_PX, sample_rays, steepest

__all__ = ["first_contours", "longest_reach"]

Float = NDArray[np.float64]

_SMOOTH = 2
_SHAPED = 8  # harmonics of a contour that is no ellipse


def first_contours(image: NDArray[np.float32], found: Contours) -> list[HoleFit]:
    """Refine contours that were found in a reduced image.

    Parameters
    ----------
    image
        ``(H, W)``, rising outwards.
    found
        The contours.

    Returns
    -------
    list of HoleFit
        One each, to about the width of the edge.
    """
    blurred: dict[int, NDArray[np.float32]] = {}
    fits = []
    for centre, harmonics in zip(found.centre, found.harmonics, strict=True):
        radius = float(harmonics[0])
        # Noise is averaged over what is small for the hole.
        blur = int(np.clip(round(radius / 16), 1, 4))
        if blur not in blurred:
            smooth = cv2.GaussianBlur(image, (0, 0), blur, borderType=cv2.BORDER_REPLICATE)
            blurred[blur] = np.asarray(smooth, np.float32)
        count = int(np.clip(4 * radius, 32, 256))
        angles = even_angles(count)
        base = radius_at(harmonics[None], angles)[0]
        reach = max(4.0, 0.25 * radius)
        offsets = np.arange(-reach, reach + STEP_PX, STEP_PX)
        rho = np.maximum(base[:, None] + offsets, 0)
        y = centre[0] + rho * np.sin(angles)[:, None]
        x = centre[1] + rho * np.cos(angles)[:, None]
        profiles = sample_rays(blurred[blur], y, x)
        # Neighbouring rays see the same edge.
        width = max(count // 24, 1)
        wrapped = np.concatenate([profiles[-width:], profiles, profiles[:width]])
        smooth_rays = cv2.blur(wrapped, (1, 2 * width + 1))[width:-width]
        position, slope = steepest(np.asarray(smooth_rays, np.float64))
        good = np.isfinite(position) & (slope > 0)
        fit = HoleFit(float(centre[0]), float(centre[1]), np.array([radius, 0, 0, 0, 0]))
        if good.sum() >= count // 2:
            _fit(fit, angles[good], (base + offsets[0] + position)[good])
        else:
            fit.harmonics[3:] = harmonics[3:]
        fits.append(fit)
    return fits


def _fit(fit: HoleFit, angles: Float, rho: Float) -> None:
    """Fit a contour to edge points: an ellipse, or a free shape where that says much more."""
    harmonics, left = _robust(angles, rho, _SMOOTH)
    if len(angles) > 6 * _SHAPED:
        shaped, less = _robust(angles, rho, _SHAPED)
        if np.square(less).sum() < 0.5 * np.square(left).sum():
            harmonics = shaped
    fit.x += float(harmonics[1])
    fit.y += float(harmonics[2])
    harmonics[1:3] = 0
    fit.harmonics = harmonics


def _robust(angles: Float, rho: Float, orders: int) -> tuple[Float, Float]:
    """Return harmonics by least squares with Tukey weights, and what they leave."""
    basis = harmonic_basis(angles, orders)
    weight = np.ones(len(rho))
    for _ in range(5):
        root = np.sqrt(weight)
        harmonics = np.linalg.lstsq(basis * root[:, None], rho * root, rcond=None)[0]
        left = rho - basis @ harmonics
        spread = max(1.4826 * float(np.median(np.abs(left))), 0.1)
        weight = np.square(np.maximum(1 - np.square(left / (4.7 * spread)), 0))
    return np.asarray(harmonics, np.float64), left


def longest_reach(fits: list[HoleFit]) -> float:
    """Return half of the width of the band around the edges: the rim, and no neighbour's."""
    from scipy.spatial import cKDTree

    centres = np.array([[f.y, f.x] for f in fits])
    radius = np.array([float(f.harmonics[0]) for f in fits])
    reach = float(np.clip(0.22 * np.median(radius), 4, 10))
    if len(fits) > 1:
        distance, index = (np.asarray(a)[:, 1] for a in cKDTree(centres).query(centres, k=2))
        gap = distance - radius - radius[index]
        reach = min(reach, max(float(np.quantile(gap, 0.1)) / 2, 2.5))
    return min(reach, max(0.6 * float(radius.min()), 2.5))

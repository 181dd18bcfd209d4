"""The closed contour around a candidate: the best path through its radial gradients."""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from everhart.measure._voting import SMOOTH_PX, Level

Float = NDArray[np.float64]

_RAYS = 48
_STEPS = 37
_REACH = (0.6, 1.6)  # of the candidate's radius
_CHUNK = 32_000 // _RAYS  # OpenCV maps no more than 32767 rows
_ORDER = 2  # harmonics of the contour: centre and ellipse

# Neighbouring samples of blurred noise are not independent: this many pixels of the contour are.
_INDEPENDENT_PX = 2 * np.sqrt(np.pi) * SMOOTH_PX


@dataclass(frozen=True, eq=False)
class Contours:
    """Contours around candidates, as harmonics of the radius over the angle.

    Parameters
    ----------
    centre
        ``(n, 2)``: y and x.
    harmonics
        ``(n, 5)``: mean radius, and the cosine and sine parts of orders 1 and 2.
    z
        Mean radial gradient along the contour, in its standard deviations for noise alone.
    coverage
        Part of the contour that has an edge.
    contrast
        Height of the step that has this gradient once blurred, in grey levels.
    """

    centre: Float
    harmonics: Float
    z: Float
    coverage: Float
    contrast: Float

    def taken(self, index: NDArray[np.intp]) -> Contours:
        """Return some of them."""
        return Contours(
            self.centre[index],
            self.harmonics[index],
            self.z[index],
            self.coverage[index],
            self.contrast[index],
        )


def trace(level: Level, candidates: Float, sign: float) -> Contours:
    """Trace the contours around candidates ``(n, 3)`` of y, x and radius.

    Three rounds: each starts at the centre and radius that the one before found.
    """
    angles = np.arange(_RAYS, dtype=np.float64) * (2 * np.pi / _RAYS)
    basis = _basis(angles)
    centre, radius = candidates[:, :2], candidates[:, 2]
    harmonics = np.zeros((len(candidates), basis.shape[1]))
    for _ in range(3):
        rho = radius[:, None] * np.linspace(*_REACH, _STEPS)
        gradient = _radial(level, centre, rho[:, None, :], angles, sign)
        path = _best_paths(_scores(gradient))
        traced = np.take_along_axis(rho, path, axis=1)
        harmonics = traced @ np.linalg.pinv(basis).T
        # Twice with what is far from the smooth contour (a dent, a neighbour) counted less.
        for _ in range(2):
            harmonics = _refit(traced, basis, harmonics)
        centre = centre + harmonics[:, [2, 1]]
        harmonics[:, 1:3] = 0
        radius = np.maximum(harmonics[:, 0], 1.0)
    smooth = harmonics @ basis.T
    along = _radial(level, centre, smooth[:, :, None], angles, sign)[:, :, 0]
    independent = np.maximum(2 * np.pi * radius / (_INDEPENDENT_PX * level.correlation), 1.0)
    z = along.mean(axis=1) * np.sqrt(independent)
    # A dent or the roughness of the edge may be off the smooth contour by some of its radius.
    near = smooth[:, :, None] * (1 + np.linspace(-0.08, 0.08, 5))
    strongest = _radial(level, centre, near, angles, sign).max(axis=2)
    typical = np.median(np.maximum(strongest, 0), axis=1)
    bar = np.maximum(2.5, 0.3 * typical)
    coverage = (strongest > bar[:, None]).mean(axis=1)
    here = _sampled(level.noise, centre, smooth[:, :, None], angles)[:, :, 0]
    contrast = (along * here).mean(axis=1) * np.sqrt(2 * np.pi) * SMOOTH_PX
    return Contours(centre, harmonics, z, coverage, contrast)


def radius_at(harmonics: Float, angles: Float) -> Float:
    """Return the radius of contours ``(n, 5)`` at angles ``(m,)``, shape ``(n, m)``."""
    return np.asarray(harmonics @ _basis(angles).T)


def _basis(angles: Float) -> Float:
    parts = [np.ones_like(angles)]
    for order in range(1, _ORDER + 1):
        parts += [np.cos(order * angles), np.sin(order * angles)]
    return np.stack(parts, axis=1)


def _radial(level: Level, centre: Float, rho: Float, angles: Float, sign: float) -> Float:
    """Return the outward gradient at ``(n, rays, steps)`` places; 0 outside of the image."""
    cos, sin = np.cos(angles)[None, :, None], np.sin(angles)[None, :, None]
    along_y = _sampled(level.grad_y, centre, rho, angles) * sin
    return np.asarray(sign * (along_y + _sampled(level.grad_x, centre, rho, angles) * cos))


def _sampled(image: NDArray[np.float32], centre: Float, rho: Float, angles: Float) -> Float:
    """Return an image at distances ``(n, rays or 1, steps)`` from the centres."""
    rho = np.broadcast_to(rho, (len(rho), _RAYS, rho.shape[-1]))
    out = np.empty(rho.shape)
    cos, sin = np.cos(angles)[None, :, None], np.sin(angles)[None, :, None]
    for start in range(0, len(rho), _CHUNK):
        part = slice(start, start + _CHUNK)
        y = (centre[part, 0, None, None] + rho[part] * sin).astype(np.float32)
        x = (centre[part, 1, None, None] + rho[part] * cos).astype(np.float32)
        flat = (-1, rho.shape[2])
        seen = cv2.remap(
            image,
            x.reshape(flat),
            y.reshape(flat),
            cv2.INTER_LINEAR,
            borderMode=cv2.BORDER_CONSTANT,
        )
        out[part] = seen.reshape(y.shape)
    return out


def _scores(gradient: Float) -> Float:
    """Return what a contour gains at a place: more for a stronger edge, up to a point."""
    positive = np.maximum(gradient, 0)
    strongest = np.percentile(positive, 98, axis=(1, 2), keepdims=True)
    return np.asarray(np.minimum(positive, strongest) / (strongest + 3))


def _best_paths(score: Float) -> NDArray[np.intp]:
    """Return the closed path of the highest sum through ``(n, rays, steps)``.

    From ray to ray it moves by one step at most. By dynamic programming around the circle,
    three times: the path of the middle round does not know where it began.
    """
    n, rays, steps = score.shape
    rounds = 3 * rays
    total = score[:, 0].copy()
    came = np.empty((rounds, n, steps), np.int8)
    edge = np.full((n, 1), -np.inf)
    for ray in range(1, rounds):
        below = np.concatenate([edge, total[:, :-1]], axis=1)
        above = np.concatenate([total[:, 1:], edge], axis=1)
        choice = np.where(below > total, -1, 0)
        best = np.maximum(total, below)
        choice = np.where(above > best, 1, choice)
        total = np.maximum(best, above) + score[:, ray % rays]
        came[ray] = choice
    place = np.argmax(total, axis=1)
    path = np.empty((n, rays), np.intp)
    who = np.arange(n)
    for ray in range(rounds - 1, rays - 1, -1):
        if ray < 2 * rays:
            path[:, ray - rays] = place
        place = place + came[ray, who, place]
    return path


def _refit(traced: Float, basis: Float, harmonics: Float) -> Float:
    """Fit the harmonics again with Tukey weights of what they left."""
    left = traced - harmonics @ basis.T
    spread = 1.4826 * np.median(np.abs(left), axis=1, keepdims=True)
    spread = np.maximum(spread, 0.02 * harmonics[:, :1])
    weight = np.square(np.maximum(1 - np.square(left / (4.7 * spread)), 0))
    normal = np.einsum("nr,ri,rj->nij", weight, basis, basis)
    right = np.einsum("nr,ri,nr->ni", weight, basis, traced)
    normal += 1e-9 * np.eye(basis.shape[1])
    return np.asarray(np.linalg.solve(normal, right[..., None])[..., 0])

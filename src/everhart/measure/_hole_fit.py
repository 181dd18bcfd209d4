"""Contours of many holes at once: one edge profile in common, a contour for each.

The grey levels in a band around the edge are ``a + b T(rho - r(theta))``: T is the profile
across the edge that all holes of the image have in common, r the contour as harmonics of the angle
about the hole's centre, a and b the brightness and contrast of the hole. Each pixel is used once,
as it is, with the weight that its noise gives it: no interpolation, and no threshold on a single
noisy line. T and the contours are found in turn.

How far harmonics, brightness and contrast of holes scatter is found on all of them, and taken as
known for each (an empirical prior): what no hole shows needs no freedom. Without that, contours
follow the noise, and the profile gets sharper than it is.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from everhart.measure._hole_band import Band, HoleFit, cut_band
from everhart.measure._hole_correlation import correlate
from everhart.measure._hole_noise import Noise
from everhart.measure._hole_normal import normal_equations
from everhart.measure._hole_template import Template, fit_template

__all__ = ["fit_holes"]

Float = NDArray[np.float64]

_SETTLED_PX = 0.05  # a step after which none is needed on the same profile
_LARGEST_STEP_PX = 1.5
_FIRST_SCATTER = 0.03  # of harmonics that were not fitted yet, of the radius
_LEAST_SCATTER = 1e-3  # px, or of the contrast


def fit_holes(
    image: NDArray[np.float32],
    holes: list[HoleFit],
    reach: float,
    orders: int,
    correlation: Float | None = None,
) -> Template | None:
    """Fit the contours of all holes, in place, and the profile that they have in common.

    Parameters
    ----------
    image
        ``(H, W)``, edges rising outwards.
    holes
        Where to begin: contours within about the width of the edge's profile. Those that leave the
        image or run away are marked as lost.
    reach
        Half of the width of the band, px.
    orders
        Harmonics of the contour in the end.
    correlation
        Autocorrelation of the noise over lags in y and x, its middle at lag 0; None for noise
        that is nearly white, whose correlation is measured on what the fit leaves.

    Returns
    -------
    Template or None
        The profile, with the covariance for the noise of the image; None if all holes are lost.
    """
    largest = max(float(h.harmonics[0]) for h in holes)
    bins = int(2 ** np.clip(np.ceil(np.log2(6 * max(orders, 4))), 6, 9))
    bins = bins if largest > 10 else 64
    noise: Noise | None = None
    template: Template | None = None
    plan = [min(4, orders), orders, orders, orders]
    # The round after which the correlation of the noise is known.
    correlated = 1 if correlation is None else 0
    started = [(h.y, h.x, float(h.harmonics[0])) for h in holes]
    for number, wanted in enumerate(plan):
        bands = [None if h.lost else cut_band(image, h, reach, bins) for h in holes]
        for hole, band in zip(holes, bands, strict=True):
            hole.lost |= band is None
        template, noise = _common(holes, bands, reach, template, noise)
        if template is None or noise is None:
            break
        widest = max(wanted, *(hole.orders for hole in holes))
        for hole in holes:
            _widen(hole, widest)
        precision = _precision(holes)
        for hole, band, start in zip(holes, bands, started, strict=True):
            if band is None:
                continue
            if not _settle(
                image, hole, band, reach, template, noise, precision, 2 if number else 4
            ):
                hole.lost = True
            radius = float(hole.harmonics[0])
            away = np.hypot(hole.y - start[0], hole.x - start[1])
            if away > 0.3 * start[2] or abs(radius - start[2]) > 0.3 * start[2]:
                hole.lost = True
        if number == correlated:
            _, noise.inflation = correlate(image, holes, reach, bins, template, noise, correlation)
    if template is None or noise is None:
        return None
    ratio, _ = correlate(image, holes, reach, bins, template, noise, correlation)
    for hole in holes:
        if not hole.lost:
            root = np.sqrt(ratio[: len(hole.covariance)])
            hole.covariance = hole.covariance * np.outer(root, root)
            hole.free_variance = hole.free_variance * root**2
    return template


def _settle(
    image: NDArray[np.float32], hole: HoleFit, band: Band, reach: float, template: Template,
    noise: Noise, precision: Float, rounds: int,
) -> bool:  # fmt: skip
    """Make steps until they are small; False where the hole is lost."""
    here: Band | None = band
    for number in range(rounds):
        if number:
            here = cut_band(image, hole, reach, band.bins)
        moved = None if here is None else _step(hole, here, template, noise, precision)
        if moved is None or moved < _SETTLED_PX:
            return moved is not None
    return True


def _widen(hole: HoleFit, orders: int) -> None:
    missing = 2 * orders + 1 - len(hole.harmonics)
    if missing > 0:
        hole.harmonics = np.concatenate([hole.harmonics, np.zeros(missing)])


def _common(
    holes: list[HoleFit], bands: list[Band | None], reach: float,
    template: Template | None, noise: Noise | None,
) -> tuple[Template | None, Noise | None]:  # fmt: skip
    """Fit the profile to all bands, and the noise to what it leaves."""
    kept = [(h, b) for h, b in zip(holes, bands, strict=True) if b is not None]
    if not kept:
        return None, None
    # The profile has no scale and level of its own: those of the mean hole.
    offset = float(np.mean([h.offset for h, _ in kept]))
    gain = float(np.mean([h.gain for h, _ in kept]))
    for hole, _ in kept:
        hole.gain /= gain
        hole.offset -= offset * hole.gain
    distance = np.concatenate([b.distance for _, b in kept])
    grey = np.concatenate([(b.grey - h.offset) / h.gain for h, b in kept])
    gains = np.concatenate([np.full(len(b.grey), h.gain) for h, b in kept])
    weight = gains**2
    if template is not None and noise is not None:
        level = offset + gain * template.at(distance)[0]
        weight = weight / (noise.at(level) * noise.inflation)
    else:  # of the noise nothing is known but what a first profile leaves
        first = fit_template(distance, grey, weight, reach)
        left = grey - first.at(distance)[0]
        weight = weight / max(float(np.square(left).mean()), 1e-20)
    found = fit_template(distance, grey, weight, reach)
    level = found.at(distance)[0]
    left = gains * (grey - level)
    # Each hole has fitted away its own parameters.
    spent = sum(len(h.harmonics) + 2 for h, _ in kept) + found.basis.shape[1]
    # Of pixels with noise in common fewer are independent, and more of it is fitted away.
    independent = len(left) / (1.0 if noise is None else max(noise.inflation, 1.0))
    free = independent / max(independent - spent, 0.3 * independent)
    measured = Noise.of(level, np.square(left) * free)
    if noise is not None:
        measured.inflation = noise.inflation
    return found, measured


def _precision(holes: list[HoleFit]) -> Float:
    """Return one over the variance that each parameter has among the holes; 0 for a free one."""
    fitted = [h for h in holes if not h.lost]
    if not fitted:
        fitted = holes
    n = max(len(h.harmonics) for h in holes)
    radius = float(np.mean([h.harmonics[0] for h in fitted]))
    scatter = np.full(n, (_FIRST_SCATTER * radius) ** 2)
    known = min(len(h.free) - 2 for h in fitted)
    precision = np.zeros(n + 2)
    if known <= 3:  # nothing is known yet
        return precision
    free = np.array([h.free[:known] for h in fitted])
    noise = np.array([h.free_variance[:known] for h in fitted])
    excess = (np.square(free) - noise).mean(axis=0)
    for order in range(2, (known + 1) // 2):
        # One order has two parts a hole: with its neighbours, where shapes change smoothly.
        first, last = (order, order) if order == 2 else (max(order - 1, 3), order + 1)
        scatter[2 * order - 1 : 2 * order + 1] = excess[2 * first - 1 : 2 * last + 1].mean()
    for place, mean in ((-2, 0.0), (-1, 1.0)):
        seen = np.array([h.free[place] - mean for h in fitted])
        if len(seen) > 5:
            own = np.array([h.free_variance[place] for h in fitted])
            real = max(float((np.square(seen) - own).mean()), _LEAST_SCATTER**2)
            precision[place] = 1 / real
    precision[3:n] = 1 / np.maximum(scatter[3:], _LEAST_SCATTER**2)
    return precision


def _step(
    hole: HoleFit, band: Band, template: Template, noise: Noise, precision: Float
) -> float | None:
    """Make one Gauss-Newton step; return its size in px, or None where no edge holds it."""
    if len(band.grey) < 2 * len(hole.harmonics) + 8:
        return None
    normal, right, _, _ = normal_equations(hole, band, template, noise)
    scale = np.sqrt(np.diag(normal))
    if not (np.isfinite(scale).all() and (scale > 0).all()):
        return None
    outer = np.outer(scale, scale)
    # Directions without an edge (a gap in the contour) do not move.
    ridge = 1e-6 * np.eye(len(scale))
    here = np.concatenate([hole.harmonics, [hole.offset, hole.gain]])
    alone = np.linalg.inv(normal / outer + ridge) / outer
    hole.free = here + alone @ right
    hole.free_variance = np.diag(alone).copy()
    from_mean = here.copy()
    from_mean[-1] -= 1
    inverse = np.linalg.inv((normal + np.diag(precision)) / outer + ridge) / outer
    step = inverse @ (right - precision * from_mean)
    contour = step[:-2]
    size = float(np.abs(contour).sum())
    contour *= min(1.0, _LARGEST_STEP_PX / max(size, 1e-12)) if size > 4 * _LARGEST_STEP_PX else 1
    harmonics = hole.harmonics + contour
    hole.x += float(harmonics[1])
    hole.y += float(harmonics[2])
    harmonics[1:3] = 0
    hole.harmonics = harmonics
    hole.offset += float(step[-2])
    hole.gain += float(step[-1])
    hole.covariance = inverse
    if not (hole.gain > 0.1 and harmonics[0] > 1 and np.isfinite(harmonics).all()):
        return None
    return float(np.sqrt(np.square(contour).sum()))

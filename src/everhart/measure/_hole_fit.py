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

from dataclasses import dataclass, field
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

__all__ = ["HoleFit", "Template", "fit_holes", "fit_template"]

Float = NDArray[np.float64]

_GRID_PX = 0.05  # of the tabulated profile
_BIN_PX = 0.125
_KNOT_PX = 0.75
_NEEDED_PX = 1.5  # of the band beyond the edge
_SETTLED_PX = 0.05  # a step after which none is needed on the same profile
_SURE = 3.0  # standard deviations below which a slope of the profile is none
_TAPER_PX = 1.0
_LARGEST_STEP_PX = 1.5
_FIRST_SCATTER = 0.03  # of harmonics that were not fitted yet, of the radius
_LEAST_SCATTER = 1e-3  # px, or of the contrast
_LEVELS = 12  # groups of grey level for the line of variance over level


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
def _bin_basis(bins: int, orders: int) -> Float:
    return harmonic_basis(even_angles(bins), orders)


@dataclass(frozen=True, eq=False)
class _Band:
    """Pixels of the band around one contour."""

    rows: NDArray[np.intp]
    columns: NDArray[np.intp]
    grey: Float
    distance: Float
    angle_bin: NDArray[np.intp]
    bins: int


def _band(image: NDArray[np.float32], hole: HoleFit, reach: float, bins: int) -> _Band | None:
    """Cut the band out; None where it is not within the image."""
    table = _bin_basis(bins, hole.orders) @ hole.harmonics
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
    return _Band(row, column, image[row, column].astype(np.float64), distance[used], nearest, bins)


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


class Noise:
    """Variance of the noise over grey level, and its correlation from pixel to pixel."""

    def __init__(self, variance: float) -> None:
        self.inflation = 1.0  # of the variance of a sum over an edge, by the correlation
        self.level = 0.0
        self.variance = variance
        self.slope = 0.0
        self.least = 0.05 * variance

    def at(self, level: Float) -> Float:
        """Return the variance at grey levels."""
        return np.asarray(np.maximum(self.variance + self.slope * (level - self.level), self.least))

    @classmethod
    def of(cls, level: Float, squared: Float) -> Noise:
        """Measure the line of variance over level from squared residuals."""
        some = level[:: max(level.size // 20_000, 1)]
        limits = np.unique(np.quantile(some, np.arange(1, _LEVELS) / _LEVELS))
        group = np.searchsorted(limits, level)
        mean = float(squared.mean())
        noise = cls(max(mean, 1e-20))
        noise.level = float(level.mean())
        counts = np.bincount(group)
        many = counts > 20
        if many.sum() < 3:
            return noise
        x = (np.bincount(group, level)[many] / counts[many]) - noise.level
        v = np.bincount(group, squared)[many] / counts[many]
        # Larger variances are less well known, in proportion.
        root = 1 / np.maximum(v, 0.05 * mean)
        basis = np.stack([np.ones_like(x), x], axis=1) * root[:, None]
        (at_mean, slope), *_ = np.linalg.lstsq(basis, v * root, rcond=None)
        if at_mean > 0:
            noise.variance, noise.slope = float(at_mean), float(slope)
        return noise


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
        bands = [None if h.lost else _band(image, h, reach, bins) for h in holes]
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
            _, noise.inflation = _correlate(image, holes, reach, bins, template, noise, correlation)
    if template is None or noise is None:
        return None
    ratio, _ = _correlate(image, holes, reach, bins, template, noise, correlation)
    for hole in holes:
        if not hole.lost:
            root = np.sqrt(ratio[: len(hole.covariance)])
            hole.covariance = hole.covariance * np.outer(root, root)
            hole.free_variance = hole.free_variance * root**2
    return template


def _settle(
    image: NDArray[np.float32], hole: HoleFit, band: _Band, reach: float, template: Template,
    noise: Noise, precision: Float, rounds: int,
) -> bool:  # fmt: skip
    """Make steps until they are small; False where the hole is lost."""
    here: _Band | None = band
    for number in range(rounds):
        if number:
            here = _band(image, hole, reach, band.bins)
        moved = None if here is None else _step(hole, here, template, noise, precision)
        if moved is None or moved < _SETTLED_PX:
            return moved is not None
    return True


def _widen(hole: HoleFit, orders: int) -> None:
    missing = 2 * orders + 1 - len(hole.harmonics)
    if missing > 0:
        hole.harmonics = np.concatenate([hole.harmonics, np.zeros(missing)])


def _common(
    holes: list[HoleFit], bands: list[_Band | None], reach: float,
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


def _normal(
    hole: HoleFit, band: _Band, template: Template, noise: Noise
) -> tuple[Float, Float, Float, Float]:
    """Return normal matrix, right side, and weight and slope of each pixel.

    The pixels of one direction are summed first: all have the same harmonics.
    """
    value, slope = template.at(band.distance)
    weight = 1 / noise.at(value)
    left = band.grey - hole.offset - hole.gain * value
    # A particle or a neighbour's edge is no noise: beyond six standard deviations it counts less.
    unusual = np.abs(left) * np.sqrt(weight) / 6
    weight = weight / np.maximum(unusual, 1.0)
    weight = weight / noise.inflation
    moved = -hole.gain * slope  # by a larger radius
    bins = band.bins

    def binned(values: Float) -> Float:
        return np.asarray(np.bincount(band.angle_bin, values, bins), np.float64)

    basis = _bin_basis(bins, hole.orders)
    strength = binned(weight * moved**2)
    by_offset = basis.T @ binned(weight * moved)
    by_gain = basis.T @ binned(weight * moved * value)
    n = basis.shape[1]
    normal = np.empty((n + 2, n + 2))
    normal[:n, :n] = (basis.T * strength) @ basis
    normal[:n, n] = normal[n, :n] = by_offset
    normal[:n, n + 1] = normal[n + 1, :n] = by_gain
    normal[n, n] = weight.sum()
    normal[n, n + 1] = normal[n + 1, n] = weight @ value
    normal[n + 1, n + 1] = weight @ value**2
    right = np.concatenate(
        [basis.T @ binned(weight * moved * left), [weight @ left, (weight * left) @ value]]
    )
    return normal, right, weight, moved


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
    hole: HoleFit, band: _Band, template: Template, noise: Noise, precision: Float
) -> float | None:
    """Make one Gauss-Newton step; return its size in px, or None where no edge holds it."""
    if len(band.grey) < 2 * len(hole.harmonics) + 8:
        return None
    normal, right, _, _ = _normal(hole, band, template, noise)
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


def _correlate(
    image: NDArray[np.float32], holes: list[HoleFit], reach: float, bins: int,
    template: Template, noise: Noise, correlation: Float | None,
) -> tuple[Float, float]:  # fmt: skip
    """Work out what noise that neighbouring pixels have in common does to the variances.

    The least-squares covariance is that of independent pixels. With the correlation of the
    residuals the true one is ``H^-1 (J' W C W J) H^-1``: it is worked out on some of the
    holes, and its ratio to the first taken for all.

    Returns
    -------
    ratio : ndarray
        True variance over that of the fit, for each parameter.
    inflation : float
        The same for the place of an edge, over that for white noise.
    """
    import cv2

    kept = [h for h in holes if not h.lost]
    patches = []
    for hole in kept[:: max(len(kept) // 24, 1)]:
        band = _band(image, hole, reach, bins)
        if band is not None:
            patches.append((hole, band, _normal(hole, band, template, noise)))
    if not patches:
        return np.ones(max(len(h.covariance) for h in holes)), 1.0
    if correlation is None:
        kernel = _residual_correlation(patches, template)
    else:
        kernel = correlation.astype(np.float32)
    ratios, edges = [], []
    for hole, band, (_, _, weight, moved) in patches[:: max(len(patches) // 6, 1)]:
        value = template.at(band.distance)[0]
        basis = _bin_basis(bins, hole.orders)[band.angle_bin]
        jacobian = np.concatenate(
            [basis * moved[:, None], np.ones((len(value), 1)), value[:, None]], axis=1
        )
        # In units of each pixel's noise, whose correlation is the kernel.
        root = np.sqrt(weight)
        fields = np.concatenate([jacobian @ hole.covariance, moved[:, None]], axis=1)
        fields *= root[:, None]
        rows, columns = band.rows - band.rows.min(), band.columns - band.columns.min()
        patch = np.zeros((rows.max() + 1, columns.max() + 1), np.float32)
        found = []
        for one in fields.T:
            patch[rows, columns] = one
            spread = cv2.filter2D(patch, cv2.CV_32F, kernel, borderType=cv2.BORDER_CONSTANT)
            found.append(float(one @ spread[rows, columns]) / max(float(one @ one), 1e-30))
        ratios.append(np.maximum(found[:-1], 0.05))
        edges.append(max(found[-1], 0.05))
    return np.mean(ratios, axis=0) / noise.inflation, float(np.mean(edges))


def _residual_correlation(
    patches: list[tuple[HoleFit, _Band, tuple[Float, Float, Float, Float]]], template: Template
) -> NDArray[np.float32]:
    """Return the correlation of residuals over lags in y and x, zero where it is chance."""
    from scipy.fft import irfft2, rfft2

    lag = 8
    size = 2 * lag + 1
    products, pairs = np.zeros((size, size)), np.zeros((size, size))
    for hole, band, (_, _, weight, _) in patches:
        rows, columns = band.rows - band.rows.min(), band.columns - band.columns.min()
        shape = (int(rows.max()) + 1 + lag, int(columns.max()) + 1 + lag)
        value = template.at(band.distance)[0]
        field_ = np.zeros(shape)
        field_[rows, columns] = (band.grey - hole.offset - hole.gain * value) * np.sqrt(weight)
        there = np.zeros(shape)
        there[rows, columns] = 1
        for total, of in ((products, field_), (pairs, there)):
            power = irfft2(np.abs(rfft2(of)) ** 2, shape)
            total += np.roll(power, (lag, lag), (0, 1))[:size, :size]
    correlation = products / np.maximum(pairs, 1)
    correlation /= max(float(correlation[lag, lag]), 1e-30)
    chance = 3 / np.sqrt(np.maximum(pairs, 1))
    return np.where(np.abs(correlation) > chance, correlation, 0).astype(np.float32)

"""The course of each interface to a fraction of a pixel, from the grey levels around it."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from everhart.measure._interfaces import Candidate, Image, trace_path

__all__ = ["Course", "measure_courses"]

Float = NDArray[np.float64]

_ROUNDS = 4
_PATH_NOISE_PX = 0.4
_LEVEL_STRETCH = 6.0  # columns for each squared pixel of noise


@dataclass(eq=False)
class Course:
    """An interface along the layers.

    Parameters
    ----------
    sign
        1 where it gets brighter downwards, else -1.
    path
        Row at each column, smooth, shape ``(W,)``.
    width_px
        Standard deviation of the transition.
    above, below
        Grey levels on both sides at each column, smooth.
    rows
        Row at each column as measured, with its noise; NaN where there is none.
    coverage
        Part of the columns along which the step is there.
    noise_variance
        About the variance of the noise of `rows`, squared pixels.
    level_factor
        By how much the noise of the mean row has more variance than with known grey levels.
    """

    sign: float
    path: Float
    width_px: float
    above: Float
    below: Float
    rows: Float
    coverage: float = 1.0
    noise_variance: float = 1.0
    level_factor: float = 1.0

    @property
    def step(self) -> Float:
        """Grey level below less that above."""
        return self.below - self.above


def measure_courses(pixels: Image, candidates: list[Candidate], noise_reach: int) -> list[Course]:
    """Trace interfaces, and measure where each is in every column.

    The course starts from the best path through the gradients. Then, in each column, the model of
    the edge (two grey levels and an error function between) is shifted: to first order the shift is
    the correlation of what the model leaves with the model's derivative, which is the estimate of
    least noise and linear in it. Levels are those of the neighbourhood along the interface, so that
    grain and shading do not look like roughness; neighbouring interfaces are part of the model. The
    path around which the shift is measured is the smoothed result.

    Parameters
    ----------
    pixels
        Sheared image, NaN where there is none.
    candidates
        The interfaces, top to bottom.
    noise_reach
        Columns beyond which noise is independent.

    Returns
    -------
    list of Course
        One a candidate.
    """
    from scipy.ndimage import gaussian_filter1d

    places = [c.row for c in candidates]
    gaps = np.diff(places)
    courses = []
    reaches = []
    for i, candidate in enumerate(candidates):
        free = max(12.0, 6 * candidate.width_px)
        up = min(free, gaps[i - 1] / 2 if i > 0 else candidate.row)
        down = min(free, gaps[i] / 2 if i < len(gaps) else len(pixels) - 1 - candidate.row)
        path = trace_path(pixels, candidate, float(up), float(down))
        nothing = np.zeros(path.size)
        smooth = gaussian_filter1d(path, 2.0)
        courses.append(
            Course(
                candidate.sign,
                smooth,
                candidate.width_px,
                nothing,
                nothing,
                path,
                noise_variance=path.size / 48,
            )
        )
        reaches.append((gaps[i - 1] if i > 0 else np.inf, gaps[i] if i < len(gaps) else np.inf))
    for step in range(_ROUNDS):
        for i, course in enumerate(courses):
            others = [(c, 1 if j > i else -1) for j, c in enumerate(courses) if j != i and step > 0]
            _improve(pixels, course, others, reaches[i], noise_reach, last=step == _ROUNDS - 1)
    return courses


def _improve(
    pixels: Image,
    course: Course,
    others: list[tuple[Course, int]],
    gaps: tuple[float, float],
    noise_reach: int,
    *,
    last: bool,
) -> None:
    """Measure one interface again around its path, in place."""
    from scipy.ndimage import gaussian_filter1d
    from scipy.special import ndtr

    width = course.path.size
    free = max(4.5 * course.width_px + 3, 8.0)
    up, down = (
        int(np.ceil(min(free, max(gap / 2, gap - 2 * course.width_px, 3.0)))) for gap in gaps
    )
    near = np.rint(course.path).astype(np.intp)
    rows = near[None, :] + np.arange(-up, down + 1)[:, None]
    there = (rows >= 0) & (rows < len(pixels))
    seen = np.take_along_axis(pixels, np.clip(rows, 0, len(pixels) - 1), axis=0).astype(np.float64)
    there &= np.isfinite(seen)
    seen = np.where(there, seen, 0)
    for other, side in others:
        passed = ndtr((rows - other.path) / other.width_px)
        seen -= np.where(there, other.step * (passed if side > 0 else passed - 1), 0)
    distance = rows - course.path
    if course.width_px > 0:
        course.width_px = _fitted_width(distance[there], seen[there], course.width_px, free)
    w = course.width_px
    inside = ndtr(distance / w)
    peak = np.exp(-0.5 * (distance / w) ** 2) / (np.sqrt(2 * np.pi) * w)
    basis = np.stack([1 - inside, inside, peak]) * there
    normal = np.einsum("ikx,jkx->xij", basis, basis)
    right = np.einsum("ikx,kx->xi", basis, seen)
    # Levels from a stretch along the interface: what noise they have left moves the edge like
    # roughness of that length, by 1 to 2 % of a column's variance for 10 columns.
    stretch = float(np.clip(_LEVEL_STRETCH * course.noise_variance, 4.0, width / 4))
    normal_near = gaussian_filter1d(normal, stretch, axis=0, mode="nearest")
    right_near = gaussian_filter1d(right, stretch, axis=0, mode="nearest")
    ridge = 1e-9 * np.trace(normal_near, axis1=1, axis2=2)[:, None, None] * np.eye(3)
    solved = np.linalg.solve(normal_near + ridge + 1e-12 * np.eye(3), right_near[..., None])[..., 0]
    course.above, course.below = solved[:, 0], solved[:, 1]
    together = normal.sum(axis=0)
    course.level_factor = max(float(np.linalg.pinv(together)[2, 2] * together[2, 2]), 1.0)
    usual = float(np.median(course.step))
    course.coverage = float(np.mean(course.step * np.sign(usual) > 0.35 * abs(usual)))
    step = np.where(course.step * np.sign(usual) > 0.25 * abs(usual), course.step, usual)
    left = right[:, 2] - course.above * normal[:, 0, 2] - course.below * normal[:, 1, 2]
    # Brighter below: an edge that is further down leaves too little light.
    shift = -left / (step * np.maximum(normal[:, 2, 2], 1e-30))
    # A column that is not wholly in the image has another mean: none at all.
    whole = there.all(axis=0)
    spread = 1.4826 * float(np.median(np.abs(shift[whole]))) if whole.any() else 0.0
    odd = np.abs(shift) > 6 * spread + 0.5
    course.rows = np.where(whole & ~odd, course.path + shift, np.nan)
    apart = course.rows[noise_reach:] - course.rows[:-noise_reach]
    noise = 0.5 * float(np.nanmean(apart**2)) if np.isfinite(apart).any() else 1.0
    course.noise_variance = noise
    if last:
        return
    length = float(np.clip(noise / (2 * np.sqrt(np.pi) * _PATH_NOISE_PX**2), 1.0, width / 16))
    limit = max(2 * w, 1.0)
    moved = np.where(whole & ~odd, np.clip(shift, -limit, limit), 0.0)
    course.path = gaussian_filter1d(course.path + moved, length, mode="nearest")


def _fitted_width(distance: Float, grey: Float, start: float, reach: float) -> float:
    """Fit the width of the transition to the profile that all columns have in common."""
    from scipy.optimize import least_squares
    from scipy.special import ndtr

    bins = np.rint((distance + reach + 2) * 2).astype(np.intp)
    count = np.bincount(bins)
    used = count >= max(8, 0.02 * count.max())
    if used.sum() < 7:
        return start
    d = np.bincount(bins, distance)[used] / count[used]
    g = np.bincount(bins, grey)[used] / count[used]
    scale = float(np.ptp(g))
    if scale == 0:
        return start
    g = (g - g.min()) / scale

    def residual(p: Float) -> Float:
        inside = ndtr((d - p[2]) / np.exp(p[3]))
        return np.asarray(p[0] + (p[1] - p[0]) * inside - g)

    low = [-2.0, -2.0, -2.0, np.log(0.3)]
    high = [3.0, 3.0, 2.0, np.log(max(reach / 2, 1.0))]
    first = [g[0], g[-1], 0.0, float(np.clip(np.log(start), low[3] + 1e-6, high[3] - 1e-6))]
    fit = least_squares(residual, first, bounds=(low, high), max_nfev=60)
    return float(np.exp(fit.x[3]))

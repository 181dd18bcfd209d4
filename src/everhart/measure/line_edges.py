"""Edges of lines, in each row to a fraction of a pixel."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

import cv2
import numpy as np
from numpy.typing import NDArray

from everhart.measure._line_pattern import (
    PatternEdge,
    find_pattern_edges,
    profile_across,
)
from everhart.noise.estimate import estimate_noise
from everhart.noise.model import NoiseEstimate

__all__ = ["Crossings", "TracedEdge", "find_crossings", "trace_edges"]

Float = NDArray[np.float64]
Image = NDArray[np.float32]

_BLOCKS = 64
_BLOCK_ROWS = 8  # at least
_COVERAGE = 0.9
_BIN_PX = 0.25
_SMOOTHINGS_PX = (0.6, 0.8, 1.0, 1.3, 1.7, 2.2, 3.0, 4.0, 5.5)
_STEP_PX = 0.5
_OFF_PX = 0.5
_IN_COMMON = 0.2  # correlation
_STEP_Z = 5.5  # half of the step over the noise of a pixel, from which on a row is read by itself


@dataclass(frozen=True, eq=False)
class TracedEdge:
    """An edge followed down the image, coarsely.

    Parameters
    ----------
    pattern
        The edge in the averaged profile.
    path
        Column at each row, smooth, shape ``(H,)``.
    reach
        Columns on each side in which no other edge is.
    coverage
        Part of the blocks of rows in which it was found.
    """

    pattern: PatternEdge
    path: Float
    reach: float
    coverage: float


@dataclass(frozen=True, eq=False)
class Crossings:
    """Edges in each row.

    Parameters
    ----------
    columns
        ``(edges, H)``, in px, NaN where there is no edge in a row.
    smoothing_px
        Standard deviation of the Gaussian across the edges that rows were smoothed with; what it
        shifts the crossings by on average is put back.
    noise_px
        Standard deviation of an edge in one row that the image's noise leads one to expect.
    profiles
        Of each direction of edges, the profile that they have in common: distances in px and mean
        grey levels.
    noise
        Noise of the image.
    """

    columns: Float
    smoothing_px: float
    noise_px: float
    profiles: tuple[tuple[Float, Float], ...]
    noise: NoiseEstimate


def trace_edges(image: Image, slope: float) -> list[TracedEdge]:
    """Find the edges of lines that run along y and follow them in blocks of rows.

    Parameters
    ----------
    image
        Image of shape ``(H, W)``, float32.
    slope
        Columns a row.

    Returns
    -------
    list of TracedEdge
        From the left to the right; empty where there is no pattern.
    """
    x, profile, noise = profile_across(image, slope)
    edges = find_pattern_edges(x, profile, noise)
    height, width = image.shape
    count = int(np.clip(height // _BLOCK_ROWS, 4, _BLOCKS))
    stops = np.linspace(0, height, count + 1).astype(np.intp)
    middle = (height - 1) / 2
    y = (stops[:-1] + stops[1:] - 1) / 2
    smooth = _blurred_across(image, 1.0)
    blocks = np.stack([_block(smooth, a, b, slope) for a, b in pairwise(stops)])
    places = np.array([e.x for e in edges])
    traced = []
    for i, edge in enumerate(edges):
        gaps = np.abs(np.delete(places, i) - edge.x)
        reach = min(0.5 * float(gaps.min()) if len(gaps) else width / 4, width / 4)
        guess = edge.x + slope * (y - middle)
        level = (edge.dark + edge.bright) / 2
        found = _nearest_crossing(blocks, guess, reach, level, edge.rises)
        here = np.isfinite(found)
        coverage = float(np.mean(here))
        if here.sum() < 4:
            continue
        shift = np.interp(y, y[here], (found - guess)[here])
        # A block that another edge was taken in is far from its neighbours.
        usual = cv2.medianBlur(shift.astype(np.float32)[:, None], 5)[:, 0]
        shift = np.where(np.abs(shift - usual) > 0.5 * reach, usual, shift)
        path = np.interp(np.arange(height), y, shift) + edge.x
        path += slope * (np.arange(height) - middle)
        traced.append(TracedEdge(edge, path, reach, coverage))
    return traced


def _blurred_across(image: Image, width: float) -> Image:
    return np.asarray(cv2.GaussianBlur(image, (0, 0), width, sigmaY=1e-3), np.float32)


def _block(image: Image, start: int, stop: int, slope: float) -> Float:
    """Average a block of rows along the tilt."""
    rows = image[start:stop]
    shift = np.rint(slope * (np.arange(len(rows)) - (len(rows) - 1) / 2)).astype(np.intp)
    if not shift.any():
        return np.asarray(rows.mean(axis=0, dtype=np.float64))
    width = image.shape[1]
    total = np.zeros(width)
    for row, s in zip(rows, shift, strict=True):
        total += row[np.clip(np.arange(width) + s, 0, width - 1)]
    return total / len(rows)


def _nearest_crossing(
    rows: Float | Image, guess: Float, reach: float, level: float, rises: bool
) -> Float:
    """Return where rows cross a level in the right direction, nearest to a guess, by a line.

    NaN where there is no such place within the reach.
    """
    height, width = rows.shape
    half = max(int(np.ceil(reach)), 1) + 1
    start = np.rint(guess).astype(np.intp) - half
    columns = start[:, None] + np.arange(2 * half + 1)
    inside = (columns >= 0) & (columns < width)
    seen = rows[np.arange(height)[:, None], np.clip(columns, 0, width - 1)].astype(np.float64)
    above = (seen - level) * (1.0 if rises else -1.0)
    left, right = above[:, :-1], above[:, 1:]
    with np.errstate(divide="ignore", invalid="ignore"):
        place = columns[:, :-1] + left / (left - right)
    crosses = (left <= 0) & (right > 0) & inside[:, :-1] & inside[:, 1:]
    distance = np.where(crosses, np.abs(place - guess[:, None]), np.inf)
    nearest = np.argmin(distance, axis=1)
    row = np.arange(height)
    return np.where(distance[row, nearest] <= reach, place[row, nearest], np.nan)


def _grey_at(image: Image, columns: Float) -> Float:
    """Return the grey level of each row at a column between pixels; NaN where that is NaN."""
    here = np.clip(np.nan_to_num(columns), 0, image.shape[1] - 1.001)
    left = here.astype(np.intp)
    part = here - left
    rows = np.arange(len(columns))
    grey = (1 - part) * image[rows, left] + part * image[rows, left + 1]
    return np.where(np.isfinite(columns), grey, np.nan)


def find_crossings(image: Image, traced: Sequence[TracedEdge]) -> Crossings:
    """Find where each row crosses the middle of each edge.

    The edge is half way between the darkest level beside it and the brightest of its rim, in the
    profile that the rows have in common once they are aligned. Each row is smoothed by a Gaussian
    across the edge, of the width that gives the least noise there; how far that moves the crossing
    of the common profile is put back.

    Where noise is so strong that a row crosses the level at random places, the crossing is first
    found with the rows around it smoothed along the edge. From there the row by itself says how far
    off it is: its grey level is off by the slope times that. To first order this does not
    depend on the place where it is asked, so that rows are as independent as their noise is, and
    no roughness is smoothed away.

    Parameters
    ----------
    image
        Image of shape ``(H, W)``, float32.
    traced
        Edges to be measured.

    Returns
    -------
    Crossings
        A row an edge.
    """
    noise = estimate_noise(image)
    # So many rows to each side have the noise of a row in common.
    shared = int(np.argmin(np.append(noise.correlation_along("y"), 0) > _IN_COMMON)) - 1
    flat = image - _row_offsets(image, traced)[:, None]
    paths = [edge.path for edge in traced]
    columns = np.empty((0, 0))
    length, width, noise_px = 0.0, 1.0, 0.0
    sides: dict[bool, _Side] = {}
    for last in (False, True):
        sides = {
            rises: _common_profile(flat, traced, paths, rises)
            for rises in {edge.pattern.rises for edge in traced}
        }
        width, length, noise_px = _choose_smoothing(list(sides.values()), noise)
        plain = _blurred_across(flat, width)
        smooth = plain
        if length > 0:
            kernel = cv2.getGaussianKernel(2 * int(np.ceil(4 * length)) + 2 * shared + 1, length)
            # A row is asked at a place that its own noise had no part in.
            middle = len(kernel) // 2
            kernel[middle - shared : middle + shared + 1] = 0
            along = cv2.sepFilter2D(plain, cv2.CV_32F, np.ones(1), kernel / kernel.sum())
            smooth = np.asarray(along, np.float32)
        found = []
        for edge, path in zip(traced, paths, strict=True):
            side = sides[edge.pattern.rises]
            dark, bright = _own_levels(flat, edge, path, side)
            level = (dark + bright) / 2
            at = _nearest_crossing(smooth, path, edge.reach, level, edge.pattern.rises)
            if length > 0:
                # The mean slope at these places, not that of the aligned profile: what is off
                # here would leave some of the smoothed course in the rows.
                ahead, behind = (_grey_at(plain, at + d) for d in (_STEP_PX, -_STEP_PX))
                slope = float(np.nanmean(ahead - behind)) / (2 * _STEP_PX)
                at = at + (level - _grey_at(plain, at)) / slope
            found.append(at - side.moved_by(width))
        columns = np.array(found)
        if not last:
            # Rows aligned by what was found, over a few of them so that noise does not blur them.
            paths = [
                _eased(c, edge.path, noise_px) for c, edge in zip(columns, traced, strict=True)
            ]
    profiles = tuple((side.distance, side.grey) for side in sides.values())
    return Crossings(columns, width, noise_px, profiles, noise)


def _eased(columns: Float, path: Float, noise_px: float) -> Float:
    from scipy.ndimage import gaussian_filter1d

    there = np.isfinite(columns)
    if there.sum() < 0.5 * len(columns):
        return path
    rows = np.arange(len(columns))
    filled = np.interp(rows, rows[there], columns[there] - path[there])
    # Noise of 0.2 px blurs no profile.
    length = (noise_px / 0.2) ** 2 / (2 * np.sqrt(np.pi))
    if length > 0.3:
        filled = gaussian_filter1d(filled, min(length, 40.0), mode="nearest")
    return np.asarray(path + filled)


@dataclass(frozen=True, eq=False)
class _Side:
    """The profile that edges of one direction have in common; distances grow to the bright side."""

    distance: Float
    grey: Float
    dark: float
    bright: float
    dark_at: float
    bright_at: float
    sign: float

    @property
    def level(self) -> float:
        return (self.dark + self.bright) / 2

    def crossing(self, grey: Float) -> float:
        """Return where a profile is half way, nearest to 0."""
        above = grey > self.level
        rising = np.flatnonzero(~above[:-1] & above[1:])
        if not len(rising):
            return 0.0
        part = (self.level - grey[rising]) / (grey[rising + 1] - grey[rising])
        places = self.distance[rising] + part * _BIN_PX
        return float(places[np.argmin(np.abs(places))])

    def smoothed(self, width: float) -> Float:
        from scipy.ndimage import gaussian_filter1d

        return np.asarray(gaussian_filter1d(self.grey, width / _BIN_PX, mode="nearest"))

    def moved_by(self, width: float) -> float:
        """Return by how many columns smoothing moves the crossing."""
        return self.sign * (self.crossing(self.smoothed(width)) - self.crossing(self.grey))

    def slope(self, width: float) -> float:
        """Return the slope at the crossing once smoothed, grey levels a pixel."""
        smooth = self.smoothed(width)
        after = np.searchsorted(self.distance, self.crossing(smooth))
        place = int(np.clip(after, 1, len(smooth) - 1))
        return float(smooth[place] - smooth[place - 1]) / _BIN_PX


def _gathered(
    image: Image, edge: TracedEdge, path: Float, reach: int
) -> tuple[Float, NDArray[np.float32]]:
    """Return distances from the path, positive to the bright side, and grey levels."""
    columns = np.rint(path).astype(np.intp)[:, None] + np.arange(-reach, reach + 1)
    inside = np.clip(columns, 0, image.shape[1] - 1)
    grey = image[np.arange(len(path))[:, None], inside]
    sign = 1.0 if edge.pattern.rises else -1.0
    return sign * (columns - path[:, None]), grey


def _common_profile(
    image: Image, traced: Sequence[TracedEdge], paths: Sequence[Float], rises: bool
) -> _Side:
    """Average all rows of all edges of one direction, aligned by their paths."""
    chosen = [(e, p) for e, p in zip(traced, paths, strict=True) if e.pattern.rises == rises]
    # Half of the way to the next edges: beyond that the profile is theirs.
    reach = int(np.ceil(np.median([e.reach for e, _ in chosen])))
    bins = int(reach / _BIN_PX)
    total, count = np.zeros(2 * bins + 1), np.zeros(2 * bins + 1)
    for edge, path in chosen:
        distance, grey = _gathered(image, edge, path, reach)
        index = np.rint(distance / _BIN_PX).astype(np.intp).ravel() + bins
        used = (index >= 0) & (index <= 2 * bins)
        total += np.bincount(index[used], grey.ravel()[used], 2 * bins + 1)
        count += np.bincount(index[used], minlength=2 * bins + 1)
    at = np.asarray((np.arange(2 * bins + 1) - bins) * _BIN_PX, np.float64)
    seen = count > 0
    profile = np.interp(at, at[seen], total[seen] / count[seen])
    low = int(np.argmin(profile[: bins + 1]))
    high = bins + int(np.argmax(profile[bins:]))
    return _Side(
        at, profile, float(profile[low]), float(profile[high]), float(at[low]), float(at[high]),
        1.0 if rises else -1.0,
    )  # fmt: skip


def _own_levels(image: Image, edge: TracedEdge, path: Float, side: _Side) -> tuple[float, float]:
    """Return the dark and the bright level of one edge: brightness may differ over the image."""
    distance, grey = _gathered(image, edge, path, int(np.ceil(side.distance[-1])))
    expected = np.interp(distance, side.distance, side.grey)
    near = np.abs(distance) <= max(abs(side.dark_at), abs(side.bright_at)) + 1
    a, b = expected[near].astype(np.float64), grey[near].astype(np.float64)
    gain = float(((a - a.mean()) * (b - b.mean())).sum() / max(((a - a.mean()) ** 2).sum(), 1e-30))
    offset = float(b.mean() - gain * a.mean())
    return gain * side.dark + offset, gain * side.bright + offset


def _choose_smoothing(sides: Sequence[_Side], noise: NoiseEstimate) -> tuple[float, float, float]:
    """Choose the smoothing across with the least noise of the edge, and what is needed along."""
    along_x = noise.correlation_along("x")
    lag = np.arange(len(along_x))
    best = (np.inf, 1.0, 0.0, 1.0)
    for width in _SMOOTHINGS_PX:
        worst, height, deviation = 0.0, np.inf, 0.0
        for side in sides:
            if width > 0.35 * (side.bright_at - side.dark_at) and width > 1.0:
                worst = np.inf
                continue
            smooth = side.smoothed(width)
            # Where noise is strong a row is asked some way off its edge.
            slope = max(side.slope(float(np.hypot(width, _OFF_PX))), 1e-30)
            # Noise after a Gaussian: its autocorrelation against that of the Gaussian.
            overlap = np.exp(-(lag**2) / (4 * width**2)) / (2 * np.sqrt(np.pi) * width)
            passed = float(along_x[0] * overlap[0] + 2 * (along_x[1:] @ overlap[1:]))
            at_level = float(noise.variance_at(side.level)) or noise.sigma**2
            sigma = float(np.sqrt(max(at_level * passed, 0)))
            if sigma / slope >= worst:
                worst, deviation = sigma / slope, sigma
                height = (float(smooth.max()) - float(smooth.min())) / 2
        if worst < best[0]:
            best = (worst, width, deviation, height)
    noise_px, width, deviation, height = best
    short = _STEP_Z * deviation / max(height, 1e-30)
    length = short**2 / (2 * np.sqrt(np.pi))
    # Less changes nothing.
    return width, length if length > 0.35 else 0.0, noise_px


def _row_offsets(image: Image, traced: Sequence[TracedEdge]) -> Image:
    """Return by how much each row is brighter than the others, where that is beyond its noise.

    Taken from the middle between edges, which the roughness of edges does not reach.
    """
    height, width = image.shape
    order = sorted(traced, key=lambda edge: edge.pattern.x)
    parts: list[Float] = []
    for left, right in pairwise(order):
        middle = np.rint((left.path + right.path) / 2).astype(np.intp)
        half = int(0.2 * float(np.median(right.path - left.path)))
        columns = np.clip(middle[:, None] + np.arange(-half, half + 1), 0, width - 1)
        seen = image[np.arange(height)[:, None], columns].astype(np.float64).mean(axis=1)
        parts.append(seen - seen.mean())
    if len(parts) < 4:
        return np.zeros(height, np.float32)
    stacked = np.array(parts)
    offset = stacked.mean(axis=0)
    scatter = float(np.mean(stacked.var(axis=0, ddof=1))) / len(parts)
    variance = float(offset.var())
    # What independent noise of the parts gives is no offset.
    if variance <= 1.5 * scatter:
        return np.zeros(height, np.float32)
    return np.asarray(offset * (1 - scatter / variance), np.float32)

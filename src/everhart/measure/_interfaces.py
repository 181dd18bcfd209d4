"""Interfaces of a layered specimen: how they are tilted, where they are, and their course."""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

__all__ = ["Candidate", "Sheared", "find_candidates", "find_slope", "trace_path"]

Float = NDArray[np.float64]
Image = NDArray[np.float32]

_STEEPEST = 0.84  # slope of 40 degrees, the largest that is looked for along each axis
_SCALES_PX = (1.5, 3.0, 6.0, 12.0)
_Z = 6.5
_BLOCKS = 16


def find_slope(image: Image) -> tuple[float, float]:
    """Find the slope of layers that run along the x axis.

    Columns are moved by a slope times x; the one is looked for at which the grey levels
    averaged along the rows have the largest gradients. On copies of 128 and 256 pixels.

    Parameters
    ----------
    image
        Image of shape ``(H, W)``, float32, finite.

    Returns
    -------
    slope : float
        Rows a column, to about a row over the width of the smaller copy.
    score : float
        Mean square gradient of the averaged profile, in grey levels a row of the copy, squared;
        without the part of the noise, so about 0 where there are no layers.
    """
    slope, score = 0.0, 0.0
    width = 2 * _STEEPEST
    for size in (128, 256):
        factor = size / max(image.shape)
        small = image
        if factor < 1:
            reduced = cv2.resize(image, None, fx=factor, fy=factor, interpolation=cv2.INTER_AREA)
            small = np.asarray(reduced, np.float32)
        gradient = np.gradient(cv2.GaussianBlur(small, (0, 0), 1.0), axis=0).astype(np.float32)
        count = max(int(width * small.shape[1]), 8)
        slopes = slope + np.linspace(-width / 2, width / 2, count)
        scores = [_sharpness(gradient, float(m)) for m in slopes]
        best = int(np.argmax(scores))
        slope, score = float(slopes[best]), float(scores[best])
        width = 6 / small.shape[1]
    return slope, score


def _sharpness(gradient: Image, slope: float) -> float:
    sheared = Sheared.make(gradient, slope).pixels
    there = np.isfinite(sheared)
    count = there.sum(axis=1)
    rows = count >= 0.5 * sheared.shape[1]
    if not rows.any():
        return 0.0
    seen = np.where(there, sheared, 0)[rows].astype(np.float64)
    n = count[rows].astype(np.float64)
    total, squares = seen.sum(axis=1), np.square(seen).sum(axis=1)
    # The square of a mean has the variance of the noise over n in it; this has not. Columns of
    # blurred noise are independent only every few pixels.
    blur = 4.0
    return float(np.mean(((total**2 - blur * squares) / (n * n)).clip(-1e30)) * rows.mean())


@dataclass(frozen=True, eq=False)
class Sheared:
    """An image whose columns were moved by whole pixels, so that tilted layers lie level.

    Parameters
    ----------
    pixels
        ``(rows, W)``, float32, NaN where a column has no such row.
    first
        For each column the row of the image that is at row 0 here.
    """

    pixels: Image
    first: NDArray[np.intp]

    @classmethod
    def make(cls, image: Image, slope: float) -> Sheared:
        """Move the columns of an image by a slope, rows a column, about its middle."""
        height, width = image.shape
        shift = np.rint(slope * (np.arange(width) - (width - 1) / 2)).astype(np.intp)
        if not shift.any():
            return cls(image, shift)
        below, above = int(shift.min()), int(shift.max())
        rows = np.arange(-above, height - below)[:, None] + shift[None, :]
        there = (rows >= 0) & (rows < height)
        taken = np.take_along_axis(image, np.clip(rows, 0, height - 1), axis=0)
        return cls(np.where(there, taken, np.float32(np.nan)), shift - above)


@dataclass(frozen=True)
class Candidate:
    """An interface as the profile across the layers shows it.

    Parameters
    ----------
    row
        Where, in rows of the sheared image.
    sign
        1 where it gets brighter downwards, else -1.
    width_px
        Standard deviation of the transition in the averaged profile.
    z
        Height of the gradient over its standard deviation.
    """

    row: float
    sign: float
    width_px: float
    z: float


def find_candidates(pixels: Image) -> list[Candidate]:
    """Find interfaces in the profile across level layers.

    The gradient of the averaged profile is compared with its scatter between blocks of columns,
    at several scales: the finest at which an interface stands out counts. Offsets of rows are in
    all blocks alike; they show as scatter from row to row inside the layers, and count as well.

    Parameters
    ----------
    pixels
        Sheared image, NaN where there is none.

    Returns
    -------
    list of Candidate
        From the top to the bottom.
    """
    from scipy.ndimage import binary_erosion, gaussian_filter1d, median_filter, percentile_filter

    blocks = np.array_split(pixels, _BLOCKS, axis=1)
    found: list[Candidate] = []
    whole = np.stack([np.isfinite(block).all(axis=1) for block in blocks], axis=1)
    with np.errstate(invalid="ignore"):
        means = np.stack([block.mean(axis=1, dtype=np.float64) for block in blocks], axis=1)
    used = np.flatnonzero(whole.sum(axis=1) >= _BLOCKS // 2)
    if used.size < 24:
        return []
    whole, means = whole[used[0] : used[-1] + 1], means[used[0] : used[-1] + 1]
    level = np.nanmean(np.where(whole, means, np.nan), axis=1, keepdims=True)
    filled = np.where(whole, means, level)
    offsets = _row_offsets(filled, whole)
    for scale in _SCALES_PX:
        reach = int(np.ceil(3 * scale))
        if 4 * reach > len(filled):
            break
        near = np.ones((2 * reach + 1, 1), bool)
        inside = binary_erosion(whole, near, border_value=1)
        count = inside.sum(axis=1)
        slopes = gaussian_filter1d(filled, scale, axis=0, order=1, mode="nearest")
        slopes = np.where(inside, slopes, 0)
        n = np.maximum(count, 2)
        mean = slopes.sum(axis=1) / n
        scatter = (np.where(inside, slopes - mean[:, None], 0) ** 2).sum(axis=1) / (n - 1) / n
        # At a rough interface blocks differ because it wanders; that is no noise. Where
        # interfaces are close to each other only the rows further away tell.
        window = int(min(max(12 * scale, 31), len(mean) // 2))
        further = max(len(mean) // 3, window)
        near_by = median_filter(scatter, window, mode="nearest")
        around = percentile_filter(scatter, 40, further, mode="nearest")
        error = np.sqrt(np.minimum(near_by, around))
        # A Gaussian's derivative passes this of offsets that differ from row to row.
        error = np.hypot(error, offsets / np.sqrt(4 * np.sqrt(np.pi) * scale**3))
        tiny = 1e-7 * float(np.abs(filled).max()) + 1e-12 * float(np.ptp(level))
        z = np.where(count >= _BLOCKS // 2, mean / np.maximum(error, max(tiny, 1e-30)), 0)
        for sign in (1.0, -1.0):
            height = sign * z
            for row, width in _peaks(height):
                place = float(row + used[0])
                if any(abs(place - c.row) < 2.5 * max(scale, c.width_px) for c in found):
                    continue
                own = float(np.sqrt(max(width**2 - scale**2, 0.25)))
                found.append(Candidate(place, sign, own, float(height[row])))
    return sorted(found, key=lambda c: c.row)


def _row_offsets(means: Float, whole: NDArray[np.bool_]) -> float:
    """Return the standard deviation of offsets that whole rows have beside each other.

    Second differences of the mean profile, most of which lie inside of layers, without the part
    that the scatter between the blocks explains.
    """
    inside = whole[:-2] & whole[1:-1] & whole[2:]
    bends = np.where(inside, np.diff(means, 2, axis=0), 0)
    count = inside.sum(axis=1)
    used = count >= _BLOCKS // 2
    if used.sum() < 8:
        return 0.0
    n = count[used]
    mean = bends[used].sum(axis=1) / n
    scatter = (np.where(inside[used], bends[used] - mean[:, None], 0) ** 2).sum(axis=1)
    noise = float(np.median(scatter / (n - 1) / n))
    spread = (1.4826 * float(np.median(np.abs(mean)))) ** 2
    return float(np.sqrt(max(spread - noise, 0.0) / 6))


def _peaks(height: Float) -> list[tuple[int, float]]:
    """Return place and width (standard deviation) of the peaks that stand out, highest first.

    A peak falls to less than half on both sides before it meets a higher one.
    """
    inner = height[1:-1]
    tops = np.flatnonzero((inner > height[:-2]) & (inner >= height[2:]) & (inner > _Z)) + 1
    found = []
    for top in tops[np.argsort(-height[tops], kind="stable")]:
        ends = []
        for side in (height[top::-1], height[top:]):
            below = np.flatnonzero(side < 0.5 * side[0])
            higher = np.flatnonzero(side > side[0])
            if below.size and (not higher.size or below[0] < higher[0]):
                ends.append(int(below[0]))
        if len(ends) == 2:
            found.append((int(top), (sum(ends) - 1) / 2.355))
    return found


def trace_path(pixels: Image, candidate: Candidate, above: float, below: float) -> Float:
    """Return the course of an interface: the best path through its gradients.

    Columns are averaged in blocks that are wide enough for the gradient to stand out of the
    noise; from block to block the path may fall or rise by half of their width. By dynamic
    programming.

    Parameters
    ----------
    pixels
        Sheared image, NaN where there is none.
    candidate
        The interface.
    above, below
        How far up and down from the candidate the path may go, in rows.

    Returns
    -------
    ndarray
        Row at each column, shape ``(W,)``, whole rows joined by straight lines.
    """
    from scipy.ndimage import gaussian_filter1d

    scale = max(1.5, candidate.width_px)
    reach = int(np.ceil(3 * scale))
    top = max(round(candidate.row - above), 0)
    end = min(round(candidate.row + below) + 1, len(pixels))
    strip = pixels[max(top - reach, 0) : end + reach].astype(np.float64)
    strip = np.where(np.isfinite(strip), strip, np.nanmedian(strip))
    gradient = candidate.sign * gaussian_filter1d(strip, scale, axis=0, order=1, mode="nearest")
    gradient = gradient[min(top, reach) :][: end - top]
    peak = float(gradient.mean(axis=1).max())
    noise = float(np.std(gradient - gradient.mean(axis=1, keepdims=True)))
    width = gradient.shape[1]
    size = int(np.clip(np.ceil((4 * noise / max(peak, 1e-30)) ** 2), 1, max(width // 16, 1)))
    edges = np.linspace(0, width, max(width // size, 2) + 1).astype(np.intp)
    sums = np.add.reduceat(gradient, edges[:-1], axis=1)
    score = (sums / np.diff(edges)).T / max(peak, 1e-30)
    step = max(size // 2, 1)
    middles = (edges[:-1] + edges[1:] - 1) / 2
    return np.interp(np.arange(width), middles, _best_path(score, step)) + top


def _best_path(score: Float, step: int) -> Float:
    """Return the path of the highest sum through ``(blocks, rows)``, steep ones costing."""
    n, rows = score.shape
    moves = np.unique(np.clip(np.arange(-step, step + 1), 1 - rows, rows - 1))
    total = score[0].copy()
    came = np.zeros((n, rows), np.intp)
    for i in range(1, n):
        best = np.full(rows, -np.inf)
        for move in moves:
            # From row r - move to row r.
            source = slice(max(-move, 0), rows - max(move, 0))
            target = slice(max(move, 0), rows - max(-move, 0))
            gain = total[source] - 0.2 * (move / step) ** 2
            better = gain > best[target]
            best[target] = np.where(better, gain, best[target])
            came[i, target] = np.where(better, move, came[i, target])
        total = best + score[i]
    path = np.empty(n)
    row = int(np.argmax(total))
    for i in range(n - 1, -1, -1):
        path[i] = row
        row -= int(came[i, row])
    return path

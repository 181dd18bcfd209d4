"""The pattern of lines and spaces: which way it runs, how it is tilted, and where its edges are."""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

__all__ = ["PatternEdge", "find_pattern_edges", "find_tilt", "profile_across"]

Float = NDArray[np.float64]
Image = NDArray[np.float32]

_STEEPEST = 0.27  # slope of 15 degrees
_BLOCKS = 128
_WAVES = 32
_PROMINENCE = 0.3  # of the profile's range, for a dark region
_PEAK = 0.12  # of the profile's range, for the bright edge of a line
_TWO_LEVELS = 0.12  # of the range, between dark spaces and the tops of lines between bright edges
_Z = 8.0


def find_tilt(image: Image) -> tuple[float, float]:
    """Find the tilt of lines that run along y, without knowing their pitch.

    Means of blocks of rows are transformed along x. At the waves that the blocks have most of, the
    blocks are summed with the phases of a tilt: with the right one they add up.

    Parameters
    ----------
    image
        Image of shape ``(H, W)``, float32, finite.

    Returns
    -------
    slope : float
        Columns a row.
    power : float
        Power of the summed waves, in squared grey levels, 0 for none.
    """
    from scipy.fft import rfft

    height, width = image.shape
    count = min(_BLOCKS, height)
    stops = np.linspace(0, height, count + 1).astype(np.intp)
    sums = np.add.reduceat(image, stops[:-1], axis=0, dtype=np.float64)
    blocks = sums / np.diff(stops)[:, None]
    blocks -= blocks.mean(axis=1, keepdims=True)
    blocks -= cv2.GaussianBlur(blocks, (0, 0), width / 8, sigmaY=1e-3)
    waves = rfft(blocks * np.hanning(width), axis=1)[:, 2 : max(width // 4, 4)]
    frequency = np.arange(2, 2 + waves.shape[1]) / width
    strongest = np.argsort(np.mean(np.abs(waves) ** 2, axis=0))[::-1][:_WAVES]
    waves, frequency = waves[:, strongest], frequency[strongest]
    y = (stops[:-1] + stops[1:] - 1) / 2 - (height - 1) / 2
    step = min(0.25 / (float(frequency.max()) * height), _STEEPEST / 32)
    slopes = np.linspace(-_STEEPEST, _STEEPEST, 2 * int(np.ceil(_STEEPEST / step)) + 1)
    power = np.zeros(len(slopes))
    for wave, f in zip(waves.T, frequency, strict=True):
        turned = np.exp(2j * np.pi * f * slopes[:, None] * y)
        power += np.abs(turned @ wave / count) ** 2
    best = int(np.argmax(power))
    slope = float(slopes[best])
    if 0 < best < len(slopes) - 1:
        before, top, after = power[best - 1 : best + 2]
        slope += 0.5 * (before - after) / (before - 2 * top + after) * float(slopes[1] - slopes[0])
    # White noise has the same power at every slope on average: what is beyond it counts.
    return slope, float((power[best] - np.median(power)) * 4 / width**2)


def profile_across(image: Image, slope: float) -> tuple[Float, Float, Float]:
    """Average an image along tilted lines.

    Parameters
    ----------
    image
        Image of shape ``(H, W)``.
    slope
        Columns a row.

    Returns
    -------
    x : ndarray
        Where a line at this place of the profile is in the middle row, whole columns.
    profile : ndarray
        Mean grey level.
    noise : ndarray
        Standard deviation of the mean, from the scatter between blocks of rows.
    """
    height, width = image.shape
    shift = np.rint(slope * (np.arange(height) - (height - 1) / 2)).astype(np.intp)
    first, last = -int(shift.max()), width - 1 - int(shift.min())
    parts = 16
    total = np.zeros((parts, last - first + 1))
    count = np.zeros_like(total)
    for row in range(height):
        part = row * parts // height
        start = -int(shift[row]) - first
        total[part, start : start + width] += image[row]
        count[part, start : start + width] += 1
    there = count.sum(axis=0) >= 0.5 * height
    total, count = total[:, there], count[:, there]
    profile = total.sum(axis=0) / count.sum(axis=0)
    apart = total - count * profile
    blocks = np.maximum((count > 0).sum(axis=0), 2)
    variance = (apart**2).sum(axis=0) / count.sum(axis=0) ** 2 * blocks / (blocks - 1)
    x = np.arange(first, last + 1, dtype=np.float64)[there]
    return x, profile, np.sqrt(variance)


@dataclass(frozen=True)
class PatternEdge:
    """An edge in the averaged profile: the border of a dark region.

    Parameters
    ----------
    x
        Where the averaged profile is half way, in columns of the middle row.
    rises
        Whether it gets brighter to the right.
    dark, bright
        Grey levels on both sides, in the averaged profile.
    region
        Number of the dark region that it is the border of.
    """

    x: float
    rises: bool
    dark: float
    bright: float
    region: int


def find_pattern_edges(x: Float, profile: Float, noise: Float) -> list[PatternEdge]:
    """Find the borders of the dark regions in a profile across lines.

    A scanning microscope shows the edges of a line bright, and between them its top, which is
    brighter than the space beside it. So minima of the profile are spaces or tops; if there are two
    levels of them the lower is that of the spaces. Either way the outlines of the pattern are the
    borders of the darkest regions.

    Parameters
    ----------
    x, profile, noise
        As :func:`profile_across` gives them.

    Returns
    -------
    list of PatternEdge
        From the left to the right; empty where the profile does not stand out of its noise.
    """
    from scipy.ndimage import gaussian_filter1d
    from scipy.signal import find_peaks

    smooth = gaussian_filter1d(profile, 1.0, mode="nearest")
    low, high = np.percentile(smooth, [2, 98])
    span = float(high - low)
    if span <= _Z * float(np.median(noise)) or span <= 1e-9 * max(abs(float(high)), 1e-30):
        return []
    # Beyond the border a dark region may have its other side.
    padded = np.concatenate([[high + span], smooth, [high + span]])
    minima = find_peaks(-padded, prominence=_PROMINENCE * span)[0] - 1
    minima = _darkest(minima, smooth, span)
    edges: list[PatternEdge] = []
    for i, place in enumerate(minima):
        before = int(minima[i - 1]) if i else 0
        after = int(minima[i + 1]) if i + 1 < len(minima) else len(smooth) - 1
        # What has no border is no region.
        region = edges[-1].region + 1 if edges else 0
        # From the dark region out to the left, then to the right.
        for piece, sign in ((slice(place, before - 1 if before else None, -1), -1),
                            (slice(place, after + 1), 1)):  # fmt: skip
            found = _flank(smooth[piece], span)
            if found is None:
                continue
            distance, bright = found
            edges.append(
                PatternEdge(
                    float(x[place]) + sign * distance,
                    sign > 0,
                    float(smooth[place]),
                    bright,
                    region,
                )
            )
    return edges


def _darkest(minima: NDArray[np.intp], smooth: Float, span: float) -> NDArray[np.intp]:
    """Leave the tops of lines between bright edges out, where they differ from the spaces."""
    levels = np.sort(smooth[minima])
    if len(levels) < 2:
        return minima
    below = np.arange(1, len(levels))
    means = np.cumsum(levels)[:-1] / below, (levels.sum() - np.cumsum(levels)[:-1]) / below[::-1]
    between = below * below[::-1] * (means[1] - means[0]) ** 2
    split = int(np.argmax(between)) + 1
    spaces, tops = levels[:split], levels[split:]
    apart = float(np.median(tops) - np.median(spaces))
    spread = max(float(np.median(np.abs(part - np.median(part)))) for part in (spaces, tops))
    # Between two spaces there is one top: neither are much more numerous than the others.
    alternate = abs(len(tops) - len(spaces)) <= 1 + 0.3 * len(spaces)
    if apart < max(_TWO_LEVELS * span, 4 * spread) or not alternate:
        return minima
    return np.asarray(minima[smooth[minima] <= levels[split - 1]])


def _flank(piece: Float, span: float) -> tuple[float, float] | None:
    """Return where a profile that starts in the dark is half way up, and how bright it gets."""
    from scipy.signal import find_peaks

    peaks = find_peaks(np.append(piece, piece.min() - span), prominence=_PEAK * span)[0]
    bright_peaks = peaks[piece[peaks] > piece[0] + 0.4 * span]
    if not len(bright_peaks):
        return None
    top = float(piece[bright_peaks[0]])
    level = (float(piece[0]) + top) / 2
    above = int(np.argmax(piece > level))
    if above == 0:
        return None
    below = above - 1
    part = (level - piece[below]) / (piece[above] - piece[below])
    return below + float(part), top

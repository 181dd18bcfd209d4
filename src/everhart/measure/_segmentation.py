"""Particles as regions: a threshold that knows the noise."""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from everhart.errors import EverhartError
from everhart.measure._background import (
    local_mean,
    lower_scatter,
    otsu,
    plane_of,
    white_noise,
)
from everhart.measure._filtered import smoothed
from everhart.measure._separation import separate, solidity
from everhart.noise.model import NoiseEstimate

__all__ = ["Labels", "Regions", "find_polarity", "segment"]

Image = NDArray[np.float32]
Labels = NDArray[np.int32]
Mask = NDArray[np.bool_]

_SMOOTHING_PX = (1.0, 1.5, 2.0, 3.0, 4.0)
_CLEAR = 7.0  # distance of the classes, in standard deviations of the smoothed noise
_Z = 4.5  # of a pixel over the background
_Z_PEAK = 7.0  # of a particle's brightest pixel
_APART = 0.73  # of the variance between Otsu's classes; 0.64 in blurred noise, up to 0.7 in a step
_STEEP = 2.4  # of gradients at borders, over those of all; 1.3 in blurred noise, 1.75 in stripes


@dataclass(frozen=True, eq=False)
class Regions:
    """Regions of an image, and what they were found by.

    Parameters
    ----------
    labels
        ``(H, W)``; 0 is background.
    smooth
        The image, brighter in the particles, smoothed by a Gaussian of `smoothing_px`.
    background
        Its local background level.
    smoothing_px
        Standard deviation of the Gaussian.
    noise
        Standard deviation of the noise in `smooth`.
    contrast
        Usual distance of particles from the background, in grey levels.
    """

    labels: Labels
    smooth: Image
    background: Image
    smoothing_px: float
    noise: float
    contrast: float


def find_polarity(values: Image) -> str:
    """Tell whether particles are brighter or darker than what is around them.

    Otsu's classes of the smoothed image: particles are many pieces, background is one piece with
    many holes, so that pieces less holes are more for the class of the particles.

    Parameters
    ----------
    values
        Image of shape ``(H, W)``.

    Returns
    -------
    str
        ``"bright"`` or ``"dark"``.
    """
    smooth = smoothed(values, 2.5)
    mask = (smooth > otsu(smooth)).astype(np.uint8)
    kernel = np.ones((3, 3), np.uint8)
    counts = []
    shares = []
    for side in (mask, 1 - mask):
        opened = cv2.morphologyEx(side, cv2.MORPH_OPEN, kernel)
        count, _, stats, _ = cv2.connectedComponentsWithStats(opened)
        counts.append(int((stats[1:count, cv2.CC_STAT_AREA] >= 20).sum()))
        frame = np.concatenate([side[0], side[-1], side[:, 0], side[:, -1]])
        shares.append(float(frame.mean()))
    if counts[0] == counts[1]:
        return "bright" if shares[0] <= shares[1] else "dark"
    return "bright" if counts[0] > counts[1] else "dark"


def segment(values: Image, noise: NoiseEstimate, smallest_px: float) -> Regions:
    """Find particles that are brighter than their background.

    The image is smoothed no more than its measured noise asks for: until Otsu's classes are
    apart by 7 standard deviations of what noise is left. The background is the local mean
    of what is below a threshold of 4.5 standard deviations of the background's own scatter; a
    particle is what is above it and reaches 7. So particles that are fainter than others are
    found too.

    Parameters
    ----------
    values
        Image of shape ``(H, W)``, particles bright.
    noise
        Its noise.
    smallest_px
        Diameter below which a region is left out.

    Returns
    -------
    Regions
        With touching particles apart.

    Raises
    ------
    EverhartError
        If nothing stands out of the noise, or particles and background are not two kinds.
    """
    values = values - plane_of(values)
    slight = smoothed(values, 2.0)
    white = white_noise(values, slight > otsu(slight), noise)
    for size in _SMOOTHING_PX:
        smooth = smoothed(values, size)
        # What a Gaussian leaves of noise whose spectrum is flat over its pass band.
        left = white / (2 * np.sqrt(np.pi) * size)
        left = max(left, 1e-6 * float(np.ptp(smooth)))
        threshold = otsu(smooth)
        bright = smooth > threshold
        low, high = float(np.median(smooth[~bright])), float(np.median(smooth[bright]))
        if high - low > _CLEAR * left:
            break
    if high - low <= _Z_PEAK * left:
        # Few particles among much background are no class of their own.
        low = float(np.median(smooth))
        bright = smooth > low + _Z_PEAK * left
        if np.count_nonzero(bright) < 0.25 * np.pi * smallest_px**2:
            raise EverhartError(
                f"No particles were found: nothing stands out of the noise ({white:.3g} grey "
                "levels) by 7 standard deviations; average more frames or denoise the image, or "
                "give labels."
            )
        high = float(np.median(smooth[bright]))
        bright = smooth > (low + high) / 2
    contrast = high - low
    background = np.full(smooth.shape, np.float32(low))
    limit = (low + high) / 2
    mask = smooth > limit
    for _ in range(3):
        # Faint particles below the first threshold make the background look rougher than it is.
        scatter = min(lower_scatter(smooth[~mask] - background[~mask], left), 0.1 * contrast)
        limit = max(_Z * scatter, 0.12 * contrast)
        mask = smooth - background > limit
        if mask.mean() > 0.98:
            break
        background = local_mean(smooth, ~cv2.dilate(mask.astype(np.uint8), _disk(3)).astype(bool))
    mask = _without_holes(smooth - background > limit, 0.25 * np.pi * smallest_px**2)
    count, pieces, stats, _ = cv2.connectedComponentsWithStats(
        mask.astype(np.uint8), connectivity=4
    )
    peak = np.zeros(count)
    # Background, which is most of the image, has no peak.
    np.maximum.at(peak, pieces[mask].astype(np.intp), (smooth - background)[mask])
    area = stats[:, cv2.CC_STAT_AREA]
    kept = (area >= 0.25 * np.pi * smallest_px**2) & (peak > _Z_PEAK * scatter)
    kept[0] = False
    if not kept.any():
        raise EverhartError(
            f"No particles of at least {smallest_px:g} pixels were found that stand out of the "
            "background's own scatter by 7 standard deviations; set min_diameter_px lower or the "
            "polarity, or give labels."
        )
    # At the foot of their edges neighbours run together: half of the way up they do less.
    excess = np.where(kept[pieces], smooth - background, 0)
    top = cv2.dilate(cv2.GaussianBlur(excess, (0, 0), 1.5), _disk(4))
    mask = _without_holes(excess > np.maximum(limit, 0.5 * top), 0.25 * np.pi * smallest_px**2)
    labels = separate(mask)
    sizes = np.bincount(labels.ravel())
    small = sizes < 0.25 * np.pi * smallest_px**2
    small[0] = False
    labels[small[labels]] = 0
    _check_two_kinds(smooth, labels)
    return Regions(labels, smooth, background, size, left, contrast)


def _check_two_kinds(smooth: Image, labels: Labels) -> None:
    """Refuse grey levels of one kind: the hills of blurred noise, stripes of rows, or one step.

    Two kinds have most of the variance between Otsu's classes. Sparse or faint particles have less
    of it, but their borders are edges: in noise a gradient does not know of the level.
    """
    bright = smooth > otsu(smooth)
    share = float(bright.mean())
    apart = float(smooth[bright].mean()) - float(smooth[~bright].mean()) if 0 < share < 1 else 0.0
    if share * (1 - share) * apart**2 > _APART * float(smooth.var()):
        return
    inside = (labels > 0).astype(np.uint8)
    near = np.ones((3, 3), np.uint8)
    border = cv2.dilate(inside, near) != cv2.erode(inside, near)
    gradient = np.hypot(*np.gradient(smooth))
    steep = float(np.median(gradient[border])) if border.any() else 0.0
    if steep > _STEEP * float(np.median(gradient)):
        return
    raise EverhartError(
        "No particles were found: the grey levels are of one kind, as in blurred noise, offsets of "
        "rows or a single step, and not of particles and a background; give an image with more "
        "contrast, or labels."
    )


def _without_holes(mask: Mask, small: float) -> Mask:
    """Fill holes that are small or convex; what several particles enclose is neither."""
    outside = (~mask).astype(np.uint8)
    count, holes, stats, _ = cv2.connectedComponentsWithStats(outside, connectivity=8)
    height, width = mask.shape
    out = mask.copy()
    for k in range(1, count):
        x, y, w, h, area = (int(v) for v in stats[k])
        if x == 0 or y == 0 or x + w == width or y + h == height:
            continue
        box = slice(y, y + h), slice(x, x + w)
        hole = holes[box] == k
        if area < small or solidity(hole) > 0.88:
            out[box][hole] = True
    return out


def _disk(radius: int) -> NDArray[np.uint8]:
    side = 2 * radius + 1
    return np.asarray(cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (side, side)), np.uint8)

"""Particles as regions: a threshold that knows the noise, and particles that touch taken apart."""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from everhart.errors import EverhartError
from everhart.noise.model import NoiseEstimate

__all__ = ["Regions", "find_polarity", "segment", "separate"]

Float = NDArray[np.float64]
Image = NDArray[np.float32]
Labels = NDArray[np.int32]
Mask = NDArray[np.bool_]

_SMOOTHING_PX = (1.0, 1.5, 2.0, 3.0, 4.0)
_CLEAR = 7.0  # distance of the classes, in standard deviations of the smoothed noise
_Z = 4.5  # of a pixel over the background
_Z_PEAK = 7.0  # of a particle's brightest pixel
_APART = 0.73  # of the variance between Otsu's classes; 0.64 in blurred noise, up to 0.7 in a step
_STEEP = 2.4  # of gradients at borders, over those of all; 1.3 in blurred noise, 1.75 in stripes
_NECK = 0.82  # of the smaller inscribed radius: a wider one is no neck
_CONVEX = 0.975
_RIPPLE_PX = 1.6  # of the border, which is no neck


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
    smooth = _blurred(values, 2.5)
    mask = (smooth > _otsu(smooth)).astype(np.uint8)
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


def _blurred(values: Image, sigma: float) -> Image:
    return np.asarray(cv2.GaussianBlur(values, (0, 0), sigma), np.float32)


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
    values = values - _plane(values)
    slight = _blurred(values, 2.0)
    white = _white_noise(values, slight > _otsu(slight), noise)
    for size in _SMOOTHING_PX:
        smooth = _blurred(values, size)
        # What a Gaussian leaves of noise whose spectrum is flat over its pass band.
        left = white / (2 * np.sqrt(np.pi) * size)
        left = max(left, 1e-6 * float(np.ptp(smooth)))
        threshold = _otsu(smooth)
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
        scatter = min(_lower_scatter(smooth[~mask] - background[~mask], left), 0.1 * contrast)
        limit = max(_Z * scatter, 0.12 * contrast)
        mask = smooth - background > limit
        if mask.mean() > 0.98:
            break
        background = _local_mean(smooth, ~cv2.dilate(mask.astype(np.uint8), _disk(3)).astype(bool))
    mask = _without_holes(smooth - background > limit, 0.25 * np.pi * smallest_px**2)
    count, pieces, stats, _ = cv2.connectedComponentsWithStats(
        mask.astype(np.uint8), connectivity=4
    )
    peak = np.zeros(count)
    np.maximum.at(peak, pieces.ravel().astype(np.intp), (smooth - background).ravel())
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
    bright = smooth > _otsu(smooth)
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


def _white_noise(values: Image, bright: Mask, noise: NoiseEstimate) -> float:
    """Return the standard deviation of white noise as strong as that of the image, at edges.

    The mean of the variances within both classes, by second differences along the axis where
    noise is whiter. A line of variance over grey level fails where the background is clipped to
    black.
    """
    axis = 0 if abs(noise.correlation_along("y")[1]) <= abs(noise.correlation_along("x")[1]) else 1
    rho = noise.correlation_along("xy"[1 - axis])
    second = np.diff(values, 2, axis=axis)
    passed = max(float(6 - 8 * rho[1] + 2 * rho[2]), 0.2)
    kernel = np.ones((7, 7), np.uint8)
    variances = []
    for mask in (bright, ~bright):
        deep = cv2.erode(mask.astype(np.uint8), kernel, borderValue=0) > 0
        deep = deep[1:-1] if axis == 0 else deep[:, 1:-1]
        if np.count_nonzero(deep) >= 200:
            variances.append(float(np.mean(second[deep] ** 2)) / passed)
    if not variances:
        return noise.low_frequency_sigma
    return float(np.sqrt(np.mean(variances) * max(float(noise.correlation.sum()), 0.1)))


def _otsu(values: Image) -> float:
    """Return Otsu's threshold, from a histogram between the extreme thousandths."""
    sample = values.ravel()[:: max(values.size // 1_000_000, 1)]
    low, high = np.quantile(sample, (0.001, 0.999))
    if high <= low:
        low, high = float(sample.min()), float(sample.max())
    counts, edges = np.histogram(np.clip(sample, low, high), 256)
    middle = (edges[1:] + edges[:-1]) / 2
    weight = np.cumsum(counts)
    moment = np.cumsum(counts * middle)
    rest = weight[-1] - weight
    with np.errstate(divide="ignore", invalid="ignore"):
        apart = moment / weight - (moment[-1] - moment) / rest
        between = np.where((weight > 0) & (rest > 0), weight * rest * apart**2, -1.0)
    # A gap between the classes has the same value all over: its middle.
    best = np.flatnonzero(between >= between.max() * (1 - 1e-9))
    return float(edges[1:][best].mean())


def _plane(values: Image) -> Image:
    """Return the plane through the background: what is far above it counts no more."""
    factor = min(96 / max(values.shape), 1.0)
    small = cv2.resize(values, None, fx=factor, fy=factor, interpolation=cv2.INTER_AREA)
    y, x = np.mgrid[: small.shape[0], : small.shape[1]]
    # From -1 to 1 over the image, for the copy and for the image itself.
    u, v = ((2 * (a + 0.5) / n - 1).ravel() for a, n in ((y, small.shape[0]), (x, small.shape[1])))
    design = np.stack([np.ones(u.size), u, v], axis=1)
    seen = small.ravel().astype(np.float64)
    used = np.ones(seen.size, bool)
    plane = np.zeros(3)
    for _ in range(12):
        plane = np.linalg.lstsq(design[used], seen[used], rcond=None)[0]
        left = seen - design @ plane
        below = -left[left < 0]
        used = left < 1.5 * 1.4826 * float(np.median(below)) if below.size else used
        if np.count_nonzero(used) < 0.1 * used.size:
            break
    height, width = values.shape
    rows = plane[1] * (2 * (np.arange(height) + 0.5) / height - 1)
    columns = plane[2] * (2 * (np.arange(width) + 0.5) / width - 1)
    return np.asarray(rows[:, None] + columns[None, :], np.float32)


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
        if area < small or _solidity(hole) > 0.88:
            out[box][hole] = True
    return out


def _lower_scatter(values: NDArray[np.floating], least: float) -> float:
    """Return the standard deviation of the background from the side away from particles."""
    if values.size == 0:
        return least
    sample = values[:: max(values.size // 500_000, 1)]
    middle = float(np.median(sample))
    below = middle - sample[sample < middle]
    return max(1.4826 * float(np.median(below)) if below.size else 0.0, least)


def _local_mean(values: Image, used: Mask) -> Image:
    """Return the mean of the used pixels around each pixel, on a reduced copy."""
    height, width = values.shape
    reach = max(height, width) / 8
    step = max(int(reach / 8), 1)
    shape = (max(width // step, 2), max(height // step, 2))
    weight = cv2.resize(used.astype(np.float32), shape, interpolation=cv2.INTER_AREA)
    level = cv2.resize(np.where(used, values, 0), shape, interpolation=cv2.INTER_AREA)
    typical = float(values[used].mean()) if used.any() else float(values.min())
    blur = reach / step
    # A little of the mean of all keeps the middle of large particles finite.
    weight = cv2.GaussianBlur(weight, (0, 0), blur) + 1e-3
    level = cv2.GaussianBlur(level, (0, 0), blur) + np.float32(1e-3 * typical)
    out = cv2.resize(level / weight, (width, height), interpolation=cv2.INTER_LINEAR)
    return np.asarray(out, np.float32)


def _disk(radius: int) -> NDArray[np.uint8]:
    side = 2 * radius + 1
    return np.asarray(cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (side, side)), np.uint8)


def separate(mask: Mask) -> Labels:
    """Take particles apart that touch, and leave elongated ones whole.

    Pieces that are convex are one particle. In others the distance to the border has a peak
    in each particle; a watershed cuts between the peaks. A cut stays only if it goes through a
    neck, that is if it is narrower than 0.82 of the smaller of the two inscribed circles and
    the two parts together are not convex. So a rod, along which the distance hardly falls,
    is not cut.

    Parameters
    ----------
    mask
        Where particles are, shape ``(H, W)``.

    Returns
    -------
    ndarray of int32
        A label a particle, from 1.
    """
    count, pieces, stats, _ = cv2.connectedComponentsWithStats(
        mask.astype(np.uint8), connectivity=4
    )
    labels = pieces.astype(np.int32)
    following = count
    for k in range(1, count):
        x, y, w, h, area = (int(v) for v in stats[k])
        if area < 24:
            continue
        rows, columns = slice(y, y + h), slice(x, x + w)
        piece = pieces[rows, columns] == k
        if _solidity(piece) > _CONVEX:
            continue
        parts = _cut(piece)
        for value in np.unique(parts[parts > 1]):
            labels[rows, columns][parts == value] = following
            following += 1
    return labels


def _solidity(piece: Mask) -> float:
    """Return the area of a piece over that of its convex hull."""
    outlines, _ = cv2.findContours(
        np.pad(piece, 1).astype(np.uint8), cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_NONE
    )
    points = np.concatenate(outlines)
    if len(points) < 5:
        return 1.0
    # Outlines go through the centres of pixels: half a pixel is missing all around.
    hull = cv2.convexHull(points)
    full = cv2.contourArea(hull) + cv2.arcLength(hull, True) / 2 + 1
    return float(np.count_nonzero(piece) / full)


def _cut(piece: Mask) -> Labels:
    """Cut one piece at its necks; 1 is the first part."""
    from skimage.segmentation import watershed

    padded = np.pad(piece, 2).astype(np.uint8)
    distance = cv2.distanceTransform(padded, cv2.DIST_L2, cv2.DIST_MASK_PRECISE)
    depth = np.asarray(distance, np.float32)
    smooth = _blurred(depth, 1.0)
    side = int(np.clip(0.5 * depth.max(), 3, 15)) | 1
    tops = (smooth == cv2.dilate(smooth, np.ones((side, side), np.uint8))) & (depth > 1.5)
    count, seeds = cv2.connectedComponents(tops.astype(np.uint8))
    if count <= 2:
        return piece.astype(np.int32)
    parts = watershed(-smooth, seeds, mask=padded > 0).astype(np.int32)  # type: ignore[no-untyped-call]
    parts = _without_false_cuts(parts, depth)
    return np.asarray(parts[2:-2, 2:-2], np.int32)


def _without_false_cuts(parts: Labels, depth: Image) -> Labels:
    """Join parts again between which there is no neck, the widest passage first."""
    radius = np.zeros(int(parts.max()) + 1)
    np.maximum.at(radius, parts.ravel(), depth.ravel())
    necks = _passages(parts, depth)
    parts = parts.copy()
    # Passages of a part that is joined become those of the whole.
    while necks:
        ratios = {
            pair: neck / min(radius[pair[0]], radius[pair[1]]) for pair, neck in necks.items()
        }
        order = sorted(ratios, key=lambda pair: -ratios[pair])
        joined = None
        for a, b in order:
            thinner = min(radius[a], radius[b])
            neck = necks[a, b]
            if neck > _NECK * thinner or thinner - neck < _RIPPLE_PX:
                joined = (a, b)
                break
            if ratios[a, b] > 0.6 and _solidity((parts == a) | (parts == b)) > _CONVEX:
                joined = (a, b)
                break
        if joined is None:
            break
        a, b = joined
        parts[parts == b] = a
        radius[a] = max(radius[a], radius[b])
        renamed: dict[tuple[int, int], float] = {}
        for (c, d), neck in necks.items():
            c, d = (a if v == b else v for v in (c, d))
            if c != d:
                pair = (min(c, d), max(c, d))
                renamed[pair] = max(renamed.get(pair, 0.0), neck)
        necks = renamed
    kept = np.unique(parts[parts > 0])
    numbers = np.zeros(int(parts.max()) + 1, np.int32)
    numbers[kept] = np.arange(1, len(kept) + 1)
    return numbers[parts]


def _passages(parts: Labels, depth: Image) -> dict[tuple[int, int], float]:
    """Return for each pair of parts that touch half of the width of the passage between them."""
    found: dict[tuple[int, int], float] = {}
    for axis in (0, 1):
        one = parts[:-1] if axis == 0 else parts[:, :-1]
        two = parts[1:] if axis == 0 else parts[:, 1:]
        at = (one != two) & (one > 0) & (two > 0)
        wide = np.maximum(
            depth[:-1] if axis == 0 else depth[:, :-1], depth[1:] if axis == 0 else depth[:, 1:]
        )
        for a, b, d in zip(one[at], two[at], wide[at], strict=True):
            pair = (int(min(a, b)), int(max(a, b)))
            found[pair] = max(found.get(pair, 0.0), float(d))
    return found

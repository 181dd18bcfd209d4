"""Particles that touch, taken apart at their necks."""

from __future__ import annotations

import cv2
import numpy as np
from numpy.typing import NDArray

from everhart.measure._filtered import smoothed

__all__ = ["separate", "solidity"]

Image = NDArray[np.float32]
Labels = NDArray[np.int32]
Mask = NDArray[np.bool_]

_NECK = 0.82  # of the smaller inscribed radius: a wider one is no neck
_CONVEX = 0.975
_RIPPLE_PX = 1.6  # of the border, which is no neck


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
        if solidity(piece) > _CONVEX:
            continue
        parts = _cut(piece)
        for value in np.unique(parts[parts > 1]):
            labels[rows, columns][parts == value] = following
            following += 1
    return labels


def solidity(piece: Mask) -> float:
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
    smooth = smoothed(depth, 1.0)
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
            if ratios[a, b] > 0.6 and solidity((parts == a) | (parts == b)) > _CONVEX:
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

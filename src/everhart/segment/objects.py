"""Single objects from classes."""

from __future__ import annotations

from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

__all__ = ["SMALLEST_PX", "holes_px", "separated"]

SMALLEST_PX = 12
"""Objects of fewer pixels are left out where nothing is known of their size."""


def separated(
    classes: NDArray[np.uint8],
    *,
    rims: bool,
    smallest_px: float = SMALLEST_PX,
    fill_holes: bool = False,
) -> NDArray[np.int32]:
    """Tell objects apart.

    Parameters
    ----------
    classes
        Classes ``(H, W)``; 0 is background. With `rims` 1 is the inside of an object and 2 its rim.
    rims
        Whether rims were learned: then each piece of inside is an object, and takes the rim
        that is nearest. Without, each class's pieces are objects, and those that touch are cut at
        their necks.
    smallest_px
        Objects of fewer pixels are left out.
    fill_holes
        Whether background that a single object encloses belongs to it.

    Returns
    -------
    ndarray of int32
        A number an object, from 1; 0 for background.

    Examples
    --------
    >>> row = np.array([[0, 2, 1, 1, 2, 2, 1, 1, 2, 0]], np.uint8).repeat(8, 0)
    >>> separated(row, rims=True)[0].tolist()
    [0, 1, 1, 1, 1, 2, 2, 2, 2, 0]
    """
    if rims:
        found = _without_small(_from_rims(classes), smallest_px)
        return _filled(found) if fill_holes else found
    from everhart.measure._separation import separate

    out = np.zeros(classes.shape, np.int32)
    for number in np.unique(classes[classes > 0]):
        pieces = separate(classes == number)
        out[pieces > 0] = pieces[pieces > 0] + out.max()
    out = _without_small(out, smallest_px)
    return _filled(out) if fill_holes else out


def holes_px(objects: NDArray[Any]) -> int:
    """Count pixels of background that single objects enclose.

    Parameters
    ----------
    objects
        One value an object, 0 for background.

    Examples
    --------
    >>> ring = np.ones((3, 4), int)
    >>> ring[1, 1] = 0
    >>> holes_px(ring)
    1
    """
    _, places = np.unique(objects, return_inverse=True)
    first = 0 if (objects == 0).any() else 1
    numbers = np.asarray(places.reshape(objects.shape) + first, np.int32)
    return int(((_filled(numbers) > 0) & (numbers == 0)).sum())


def _filled(objects: NDArray[np.int32]) -> NDArray[np.int32]:
    """Give each object the background that it alone encloses."""
    from scipy.ndimage import binary_fill_holes, find_objects

    out = objects.copy()
    for number, box in enumerate(find_objects(objects), 1):
        if box is not None:
            own = binary_fill_holes(objects[box] == number)
            out[box][own & (objects[box] == 0)] = number
    return out


def _from_rims(classes: NDArray[np.uint8]) -> NDArray[np.int32]:
    from skimage.segmentation import watershed

    there = classes > 0
    _, seeds = cv2.connectedComponents((classes == 1).astype(np.uint8), connectivity=4)
    # From the inside out: the nearest seed takes the rim.
    away = cv2.distanceTransform(
        (classes != 1).astype(np.uint8), cv2.DIST_L2, cv2.DIST_MASK_PRECISE
    )
    grown = watershed(away, seeds, mask=there)  # type: ignore[no-untyped-call]
    # What is rim alone is no object: every one that was learned from has an inside.
    return np.asarray(grown, np.int32)


def _without_small(objects: NDArray[np.int32], smallest_px: float) -> NDArray[np.int32]:
    sizes = np.bincount(objects.ravel())
    kept = sizes >= smallest_px
    kept[0] = False
    names = np.zeros(len(sizes), np.int32)
    names[kept] = np.arange(1, int(kept.sum()) + 1)
    return names[objects]

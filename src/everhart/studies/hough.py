"""The second judge of the wafer studies: OpenCV's Hough transform, with one setting for all images.

Everhart's own :func:`everhart.measure.circles` finds the holes of these images in raw frames too,
so it cannot tell methods apart. What the ReNIn paper counts are the holes that a detector of fixed
thresholds misses; this is such a one. Its thresholds were set once, so that it finds all
holes of the normal scene, and nothing else, in what a 3 x 3 median filter leaves of F32.
"""

from __future__ import annotations

import cv2
import numpy as np
import pandas as pd
from numpy.typing import NDArray

__all__ = ["hough_circles"]

_CANNY = 100.0
_VOTES = 20.0
_MARGIN = 0.2
"""Radii from 0.8 times the smallest to 1.2 times the largest are looked for."""


def hough_circles(
    image: NDArray[np.generic], diameters_px: pd.Series[float]
) -> NDArray[np.float64]:
    """Find circles of about the given diameters.

    Parameters
    ----------
    image
        Image of shape ``(H, W)`` with grey levels from 0 to 255.
    diameters_px
        Diameters that are there, which set the range.

    Returns
    -------
    ndarray
        ``(n, 3)``: y, x and radius in pixels.

    References
    ----------
    .. [1] H. K. Yuen et al., "Comparative study of Hough transform methods for circle finding",
       Image and Vision Computing 8 (1990), 71-77: gradients vote for centres, then for radii.
    """
    smallest = (1 - _MARGIN) * float(diameters_px.min()) / 2
    largest = (1 + _MARGIN) * float(diameters_px.max()) / 2
    found = cv2.HoughCircles(
        np.asarray(image, np.float64).round().clip(0, 255).astype(np.uint8),
        cv2.HOUGH_GRADIENT,
        dp=1.0,
        minDist=1.5 * smallest,
        param1=_CANNY,
        param2=_VOTES,
        minRadius=round(smallest),
        maxRadius=round(largest),
    )
    if found is None:
        return np.zeros((0, 3))
    return np.asarray(found, np.float64).reshape(-1, 3)[:, [1, 0, 2]]

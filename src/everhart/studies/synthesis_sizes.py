"""Sizes of the gate stacks that the studies of synthesis draw.

``everhart measure layers`` refuses layers over fins, as a column does not cross their thickness
there; fins are measured here, by the dark layer that covers them.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from everhart.errors import EverhartError
from everhart.micrograph import Micrograph
from everhart.studies.synthesis_data import smoothed, stack_layer, stack_levels

__all__ = ["FinSizes"]

Float = NDArray[np.float64]

_FLANK: Final = 3 / 64
"""Width of a flank, of that of the image."""

_REACH: Final = 3 / 32
"""How far the middle of the layer may be from its rim, of the width of the image."""


class FinSizes:
    """Measures the two fins of images of gate stacks.

    Parameters
    ----------
    like
        Real images, by which dark is told from bright.
    """

    def __init__(self, like: Sequence[NDArray[Any]]) -> None:
        self._levels = stack_levels(like)

    def __call__(self, image: Micrograph) -> Mapping[str, Float]:
        """Return height and width of both fins and their distance, in nm.

        Parameters
        ----------
        image
            Image ``(H, W)`` with a pixel size.

        Returns
        -------
        dict
            ``fin_height_nm`` and ``fin_width_nm``, of the left and of the right fin, and
            ``fin_pitch_nm``: to the middle of the layer, in height from its middle beside the fins,
            in width at half of the height.

        Raises
        ------
        EverhartError
            If there is no unbroken layer over two fins, its middle is not seen, or there is no
            pixel size.
        """
        if image.pixel_size_nm is None:
            raise EverhartError("The image has no pixel size: give one that has.")
        smooth = smoothed(image.pixels)
        layer = stack_layer(smooth, self._levels)
        if layer is None:
            raise EverhartError("The image shows no unbroken dark layer over two fins.")
        top = np.argmax(layer, axis=0)
        high = top < (top.min() + top.max()) / 2
        steps = np.flatnonzero(np.diff(high.astype(int)))
        flank, reach = (max(round(part * high.size), 1) for part in (_FLANK, _REACH))
        low = np.convolve(high, np.ones(2 * flank + 1), "same") == 0
        if not low.any():
            raise EverhartError("The fins stand too close for the layer beside them to be seen.")
        beside = _lowest(smooth[:, low].mean(axis=1), int(np.median(top[low])), reach)
        heights, widths, middles = [], [], []
        for left, right in steps.reshape(2, 2):
            quarter = max((right - left) // 4, 1)
            cap = slice(left + quarter, right - quarter + 1)
            upper = _lowest(smooth[:, cap].mean(axis=1), int(np.median(top[cap])), reach)
            height = beside - upper
            if height <= 0:
                raise EverhartError("A fin is no higher than what is beside it.")
            rows = slice(int(upper + 0.35 * height), int(upper + 0.65 * height) + 1)
            flanks = smooth[rows].mean(axis=0)
            sides = [_lowest(flanks, int(at), reach) for at in (left, right)]
            heights.append(height)
            if sides[1] <= sides[0]:
                raise EverhartError("The flanks of a fin cannot be told apart.")
            widths.append(sides[1] - sides[0])
            middles.append((sides[0] + sides[1]) / 2)
        y, x = image.pixel_size_nm
        return {
            "fin_height_nm": y * np.array(heights),
            "fin_width_nm": x * np.array(widths),
            "fin_pitch_nm": x * np.array([middles[1] - middles[0]]),
        }


def _lowest(profile: NDArray[np.float32], near: int, reach: int) -> float:
    """Return where a profile is lowest, close to a place: the apex of a parabola."""
    first, last = max(near - reach, 1), min(near + reach, len(profile) - 2)
    place = first + int(np.argmin(profile[first : last + 1])) if first <= last else 0
    before, here, after = (float(v) for v in profile[place - 1 : place + 2]) if place else (0,) * 3
    bend = before - 2 * here + after
    # At the rim of what is looked at it falls on, and a parabola would have its apex anywhere.
    if bend <= 0 or min(before, after) < here:
        raise EverhartError("The dark layer's middle is not seen near its rim.")
    return place + 0.5 * (before - after) / bend

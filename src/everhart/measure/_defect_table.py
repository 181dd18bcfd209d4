"""Defects as a table, a summary and outlines; and what could have been found."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from everhart.measure._blob_search import FIRST_SIGMA_PX, Scale
from everhart.measure._defect_reference import Expected
from everhart.measure._defect_shape import Defect
from everhart.measure._scatter import raw_heights
from everhart.measure.result import Outline
from everhart.measure.units import Unit

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["defect_table", "limit_summary", "limit_table", "outline_of", "pattern_summary"]

Image = NDArray[np.float32]
Index = NDArray[np.intp]

_SHARE = 0.9
_FOUND = 1.2816  # standard deviations over the threshold at which as many are found
_PLACES = 2000
_NEVER = 1e9  # contrast where nothing is looked for; black to white is 1
_BLUR_PX = 1.0  # of a disc in an image, as no image is sharper
_NOTHING = Defect(0, 0, 0, 0, (0, 0, 0, 0), 0, 0)


def defect_table(
    found: Sequence[Defect], unit: Unit, grey_levels: float, contrast: float
) -> pd.DataFrame:
    """Return a row a defect.

    Parameters
    ----------
    found
        Lengths in pixels, contrasts in units of `grey_levels`.
    unit
        Size of a pixel.
    grey_levels
        What a contrast of 1 is in the image.
    contrast
        Of the pattern.
    """
    import pandas as pd

    rows = [_row(n, one, unit, grey_levels, contrast) for n, one in enumerate(found, start=1)]
    return pd.DataFrame(rows, columns=list(_row(0, _NOTHING, unit, grey_levels, contrast)))


def _row(
    number: int, one: Defect, unit: Unit, grey_levels: float, contrast: float
) -> dict[str, Any]:
    name = unit.name
    row: dict[str, Any] = {"defect": number, "kind": one.kind, "x_px": one.x, "y_px": one.y}
    if name == "nm":
        row |= {"x_nm": one.x * unit.x, "y_nm": one.y * unit.y}
    length = float(np.sqrt(unit.y * unit.x))  # keeps the area, where pixels are not square
    return row | {
        f"x_sd_{name}": one.sd[1] * unit.x,
        f"y_sd_{name}": one.sd[0] * unit.y,
        f"size_{name}": one.size * length,
        f"size_sd_{name}": one.sd[2] * length,
        "contrast": one.contrast * grey_levels,
        "contrast_sd": one.sd[3] * grey_levels,
        "contrast_relative": one.contrast / max(contrast, 1e-12),
        "contrast_relative_sd": one.sd[3] / max(contrast, 1e-12),
        "z": one.z,
        "expected_by_chance": one.expected,
    }


def limit_table(
    scales: Sequence[Scale], expected: Expected, unit: Unit, grey_levels: float
) -> pd.DataFrame:
    """Return the contrast of a disc that is found in 90 of 100 cases, by its diameter.

    ``contrast`` is for discs anywhere in the pattern: nine of ten are found, those on quiet places
    surely, those on rough edges seldom. In the quietest tenth of the places,
    ``contrast_quietest`` is enough. Both are for bright discs where noise has its long
    tail on the bright side, and for dark ones otherwise: the other ones are seen better. Their edge
    is blurred by 1 px, and what is brighter is noisier.
    """
    import pandas as pd

    length = float(np.sqrt(unit.y * unit.x))
    contrast = max(expected.contrast, 1e-12)
    rows_in, columns_in = np.nonzero(scales[0].there)  # its step is 1
    chosen = slice(None, None, max(len(rows_in) // _PLACES, 1))
    rows = []
    for diameter in FIRST_SIGMA_PX * 2.0 ** np.arange(1, len(scales) + 2):
        anywhere, quietest = _needed(scales, (rows_in[chosen], columns_in[chosen]), float(diameter))
        rows.append(
            {
                f"size_{unit.name}": diameter * length,
                "contrast": anywhere * grey_levels,
                "contrast_relative": anywhere / contrast,
                "contrast_quietest": quietest * grey_levels,
                "contrast_relative_quietest": quietest / contrast,
            }
        )
    return pd.DataFrame(rows)


def _needed(
    scales: Sequence[Scale], places: tuple[Index, Index], diameter: float
) -> tuple[float, float]:
    """Return the contrast that is found in 90 % of discs anywhere, and of those on quiet places."""
    from scipy.special import ndtr

    rows, columns = places
    if not len(rows):
        return np.inf, np.inf
    heights, scatters, seen, growths = [], [], [], []
    for scale in scales:
        y, x = (
            np.minimum(place // scale.step, side - 1)
            for place, side in zip((rows, columns), scale.mean.shape, strict=True)
        )
        scatter = scale.scatter[y, x].astype(np.float64)
        height = scatter * raw_heights(scale.threshold, scale.skew[y, x])
        heights.append(np.where(scale.there[y, x], height, _NEVER))
        scatters.append(scatter)
        # What is brighter is noisier; noise is seen through the square of the filter.
        wide, narrow = (
            1 - np.exp(-(diameter**2) / (8 * (power + _BLUR_PX**2)))
            for power in (scale.sigma_px**2, scale.sigma_px**2 / 2)
        )
        seen.append(wide)
        growths.append(scale.growth * narrow)
    h, s = np.stack(heights), np.stack(scatters)
    d, g = np.array(seen)[:, None], np.array(growths)[:, None]
    # c d = h + f sqrt(s² + g c), solved for the contrast c.
    f2 = _FOUND**2
    more = f2 * g / (2 * d**2)
    root = np.sqrt(2 * more * h / d + more**2 + f2 * s**2 / d**2)
    needed = (h / d + more + root).min(axis=0)
    quietest = float(np.quantile(needed, 0.1))
    low, high = np.log(needed.min() / 4), np.log(np.quantile(needed, 0.99) * 4)
    if high > np.log(_NEVER):
        return np.inf, quietest
    for _ in range(40):
        middle = float(np.exp((low + high) / 2))
        # The surest scale finds it: that another one may as well adds little.
        chance = ndtr((middle * d - h) / np.sqrt(s**2 + g * middle)).max(axis=0).mean()
        low, high = (low, np.log(middle)) if chance > _SHARE else (np.log(middle), high)
    return float(np.exp(high)), quietest


def limit_summary(limits: pd.DataFrame, unit: Unit) -> dict[str, Any]:
    """Return the size found at the pattern's own contrast, and the contrast of a common size."""
    sizes = np.asarray(limits[f"size_{unit.name}"], np.float64)
    needed = np.asarray(limits["contrast_relative"], np.float64)
    reached = np.flatnonzero(needed <= 1)
    size = None
    if len(reached):
        i = int(reached[0])
        size = float(sizes[0])
        if i:
            part = np.log(needed[i - 1]) / np.log(needed[i - 1] / needed[i])
            size = float(sizes[i - 1] * (sizes[i] / sizes[i - 1]) ** part)
    return {
        f"detection_limit_size_{unit.name}": size,
        "detection_limit_contrast": float(limits["contrast"].iloc[-1]),
        "detection_limit_contrast_relative": float(needed[-1]),
        f"detection_limit_contrast_at_size_{unit.name}": float(sizes[-1]),
        "detection_limit_share": _SHARE,
    }


def pattern_summary(
    expected: Expected, difference: Image, unit: Unit, grey_levels: float
) -> dict[str, Any]:
    """Return the pattern's period and contrast, and what the image differs from it."""
    folded, inside = expected.folded, expected.inside
    name = unit.name
    summary: dict[str, Any] = {
        "searched_part": float(inside.mean()),
        "pattern": None if folded is None else ("lines", "array")[len(folded.period.waves) - 1],
    }
    for n, letter in enumerate("ab"):
        keys = [f"period_{letter}{part}_{name}" for part in ("", "_sd", "_x", "_y")]
        summary |= dict.fromkeys(keys)
        if folded is not None and n < len(folded.period.waves):
            y, x = folded.period.vectors[n] * (unit.y, unit.x)
            length = float(np.hypot(y, x))
            sd = folded.vectors_sd[n] * (unit.y, unit.x)
            length_sd = float(np.hypot(sd[0] * y, sd[1] * x) / length)
            values = (length, length_sd, float(x), float(y))
            summary |= dict(zip(keys, values, strict=True))
    left = difference[inside]
    spread = 1.4826 * float(np.median(np.abs(left))) if left.size else 0.0
    pairs = inside[:, 1:] & inside[:, :-1]
    held = np.clip(difference, -4 * spread, 4 * spread)
    power = float(np.mean(held[inside] ** 2)) if left.size else 1.0
    next_to_it = float(np.mean((held[:, 1:] * held[:, :-1])[pairs])) if pairs.any() else 0.0
    return summary | {
        "distortion_rms_px": None if folded is None else folded.distortion_px,
        "difference_sigma": spread * grey_levels,
        "difference_correlation_x": next_to_it / max(power, 1e-30),
        "pattern_contrast": expected.contrast * grey_levels,
    }


def outline_of(one: Defect) -> Outline:
    """Return a circle around a defect."""
    angle = np.linspace(0, 2 * np.pi, 60, endpoint=False)
    radius = max(0.5 * one.size + 3, 5.0)
    points = np.array([one.y, one.x]) + radius * np.stack([np.sin(angle), np.cos(angle)], axis=1)
    role = "missing" if one.kind.startswith("missing") else "edge"
    return Outline(points, one.kind, role, closed=True)

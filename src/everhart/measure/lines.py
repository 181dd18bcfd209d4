"""Lines and spaces: width, pitch and roughness, with the noise of edge detection taken out."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any, Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray

from everhart._callable_room import make_callable
from everhart.errors import EverhartError, UsageError, unknown_name
from everhart.measure._denoised import withhold_if_denoised
from everhart.measure._edge_blur import known_along
from everhart.measure._line_pattern import find_tilt
from everhart.measure._line_table import line_table, spectrum_table, summarise
from everhart.measure._roughness_model import Known
from everhart.measure.line_edges import TracedEdge, find_crossings, trace_edges
from everhart.measure.result import Measurement, Outline
from everhart.measure.roughness import fit_roughness
from everhart.measure.units import Unit, UnitName, unit_of
from everhart.micrograph import Micrograph, field_of
from everhart.noise.estimate import clipping

__all__ = ["lines"]

Float = NDArray[np.float64]

_SMALLEST = 64
_WHITE, _BLACK = 0.3, 0.6  # saturated pixels; at low dose many pixels have no electron
_COVERAGE = 0.9
_RIMS = 0.7  # with no more dark regions than that in the inverted image, the rims are dark
_MISSING = 0.05
_NARROWEST = 4.0  # line or space, px
_NARROW = 0.3  # part of the lines that may be narrower: beyond it rows differ, as of noise
_UNEQUAL = 4.0  # widest over narrowest line, of a pattern that is measured as one

# What no one can tell of a denoised image.
_UNTOLD = (
    "lwr_3sigma_unbiased", "ler_3sigma_unbiased", "ler_left_3sigma_unbiased",
    "ler_right_3sigma_unbiased", "correlation_length", "hurst", "edge_noise", "floor_", "model_",
)  # fmt: skip

_CONVENTION = (
    "half way between the darkest level beside the edge and the brightest of its rim, in the "
    "profile averaged over the rows"
)


def lines(
    image: Micrograph | ArrayLike,
    *,
    unit: UnitName = "nm",
    direction: Literal["auto", "vertical", "horizontal"] = "auto",
    polarity: Literal["bright", "dark"] = "bright",
) -> Measurement:
    """Measure lines: width (CD), pitch, and roughness without the noise of finding edges.

    Direction, tilt and edges are found by themselves; each row gives the place of each edge to a
    fraction of a pixel (:mod:`everhart.measure.line_edges`). Noise of the image makes edges look
    rougher than they are. Its part is a floor of the spectrum, which is fitted together with the
    spectrum of the roughness and taken out
    (:func:`everhart.measure.roughness.fit_roughness`). What all edges of a row do together is the
    scan's jitter, and is taken out of the unbiased LER.

    Parameters
    ----------
    image
        Image of shape ``(H, W)`` of any dtype and range, at least 64 pixels a side, with two lines
        or more that go through all of it, tilted by up to 15 degrees from an axis. Not denoised:
        a denoiser that smooths along the lines takes roughness away, and what noise it leaves
        cannot be told from roughness. If its history says that it was denoised, standard
        deviations and what needs the noise's level are left out, and ``warning`` says so.
    unit
        ``"nm"``, or ``"px"``.
    direction
        ``"vertical"`` for lines along y, ``"horizontal"`` for lines along x.
    polarity
        Whether the lines are the bright or the dark stripes. A bright rim of an edge belongs to
        the bright one, a dark rim (of an inverted image) to the dark one.

    Returns
    -------
    Measurement
        Table, a row a line that is wholly in the image: ``line``, ``center_nm`` (at the middle
        row, across), ``cd_nm``, ``lwr_3sigma_nm``, ``lwr_3sigma_unbiased_nm``,
        ``ler_left_3sigma_nm``, ``ler_left_3sigma_unbiased_nm``, the same for ``right``, each with
        its ``_sd`` (``cd_sd_nm``); ``missing``, the part of the rows without an edge, which are
        filled from their neighbours. Standard deviations are of the value as an estimate for an
        endless line.

        Summary: ``cd_nm``, ``pitch_nm``, ``lwr_3sigma_nm``, ``lwr_3sigma_unbiased_nm``,
        ``ler_3sigma_nm``, ``ler_3sigma_unbiased_nm``, ``correlation_length_nm``, ``hurst`` (both of
        the edges; None where there is no roughness beyond its own error), ``edge_noise_nm`` of one
        row, ``row_jitter_nm``, each with its ``_sd``; ``misfit`` (1 where the model of the
        spectrum holds), ``warning`` (None, or why figures are uncertain or left out), ``count``,
        ``rows``, ``tilt_deg``, ``direction``, ``polarity``, ``edge_convention``.

        Tables ``psd`` of the edges and ``psd_lwr`` of the widths: ``frequency_per_nm``,
        ``psd_nm3``, ``floor_nm3``, ``model_nm3``; two-sided, so that twice their integral is a
        variance.

    Raises
    ------
    UsageError
        If the image is a stack, too small, not finite, or has no pixel size while nm are asked for.
    EverhartError
        If there are no two lines that go through the image, or it is saturated.

    Examples
    --------
    >>> rng = np.random.default_rng(0)
    >>> x = np.arange(160.0)
    >>> row = 100 + 80 * (np.abs(x % 40 - 20) < 8.25)
    >>> found = lines(row + rng.normal(0, 5, (200, 160)), unit="px")
    >>> found.summary["count"], round(found.summary["pitch_px"], 1)
    (4, 40.0)
    """
    if direction not in ("auto", "vertical", "horizontal"):
        raise unknown_name("direction", str(direction), ("auto", "vertical", "horizontal"))
    if polarity not in ("bright", "dark"):
        raise unknown_name("polarity", str(polarity), ("bright", "dark"))
    size = unit_of(image, unit)
    pixels = _checked(image)
    values = pixels.astype(np.float32)
    tilts = {
        vertical: find_tilt(values if vertical else np.ascontiguousarray(values.T))
        for vertical in (True, False)
        if direction in ("auto", "vertical" if vertical else "horizontal")
    }
    vertical = max(tilts, key=lambda key: tilts[key][1])
    upright = values if vertical else np.ascontiguousarray(values.T)
    if not vertical:
        size = Unit(size.name, size.x, size.y)
    slope = tilts[vertical][0]
    traced, opposite = trace_edges(upright, slope), trace_edges(-upright, slope)
    rises = polarity == "bright"
    regions, others = ({edge.pattern.region for edge in found} for found in (traced, opposite))
    if 0 < len(others) <= _RIMS * len(regions):
        # Dark rims, as in an inverted image, each of them taken for a space: two a line.
        upright, traced, rises = -upright, opposite, not rises
    pairs = _pairs(traced, upright.shape, rises)
    edges = [edge for pair in pairs for edge in pair]
    crossings = find_crossings(upright, edges)
    columns, missing = _filled(crossings.columns, edges)
    good = [i for i in range(len(pairs)) if missing[2 * i : 2 * i + 2].max() <= _MISSING]
    _check_count(len(good))
    _check_alike(columns, good)
    kept = [j for i in good for j in (2 * i, 2 * i + 1)]
    measured = {id(edges[j]) for j in kept}
    beside = [edge.path for edge in traced if id(edge) not in measured]
    noise = crossings.noise
    known = known_along(
        crossings.profiles, noise.correlation_along("x"), noise.correlation_along("y"),
        size.x / size.y,
    )  # fmt: skip
    found = _measurement(
        columns[kept],
        missing[kept],
        beside,
        size,
        known,
        vertical=vertical,
        polarity=polarity,
    )
    return withhold_if_denoised(found, image, _UNTOLD)


def _checked(image: Any) -> NDArray[Any]:
    pixels = np.asarray(field_of(image))
    if pixels.ndim != 2 or min(pixels.shape) < _SMALLEST:
        raise UsageError(
            f"An array of shape {pixels.shape} was given: lines are measured in one image (height, "
            f"width) of at least {_SMALLEST} pixels a side; give the frames of a stack one by one."
        )
    if not np.isfinite(pixels).all():
        raise UsageError("An image with NaN or infinite pixels was given: fill them first.")
    if np.ptp(pixels) == 0:
        raise EverhartError(
            f"All pixels have the grey level {float(pixels[0, 0]):g}: there are no lines in the "
            "image; give one that has contrast and is not saturated."
        )
    low, high, _ = clipping(pixels)
    # A drawing of two levels is not saturated.
    if (high > _WHITE or low > _BLACK) and len(np.unique(pixels[::7, ::7])) > 2:
        raise EverhartError(
            f"{100 * (low + high):.0f} % of the pixels are saturated: edges are not where they "
            "seem; take the image with less gain or another brightness."
        )
    return pixels


def _pairs(
    traced: Sequence[TracedEdge], shape: tuple[int, ...], opening: bool
) -> list[tuple[TracedEdge, TracedEdge]]:
    """Return the left and right edges of lines that are wholly in the image.

    `opening`: whether a line begins where the image gets brighter.
    """
    pairs = []
    broken = narrow = others = 0
    for left, right in pairwise(traced):
        if left.pattern.rises is not opening or right.pattern.rises is opening:
            continue
        apart = right.pattern.region - left.pattern.region
        if apart != int(opening):
            continue
        if min(left.reach, right.reach) < _NARROWEST / 2:
            narrow += 1
            continue
        others += 1
        # What lies beyond the border may be another edge's.
        margin = 1.0
        if left.path.min() < margin or right.path.max() > shape[1] - 1 - margin:
            continue
        if min(left.coverage, right.coverage) < _COVERAGE:
            broken += 1
            continue
        pairs.append((left, right))
    if narrow > _NARROW * (narrow + others):
        raise EverhartError(
            f"{narrow} of {narrow + others} lines or their spaces are narrower than "
            f"{_NARROWEST:.0f} pixels: that is what offsets of single rows look like, and nothing "
            "to measure; give an image of lines and spaces with smaller pixels."
        )
    _check_count(len(pairs), broken)
    return pairs


def _check_count(count: int, broken: int = 0) -> None:
    if count >= 2:
        return
    found = "No line was" if count == 0 else "One line was"
    also = f" ({broken} more with edges that do not)" if broken else ""
    cure = (
        "crop the image to a part that they go through"
        if count + broken > 1
        else "give an image of lines and spaces along one axis, less noisy or with more of them"
    )
    raise EverhartError(
        f"{found} found that goes through the whole image{also}: pitch and roughness need two; "
        f"{cure}, or set the polarity."
    )


def _check_alike(columns: Float, good: Sequence[int]) -> None:
    """Refuse lines of all widths: they have no common CD, and mostly they are stripes of noise."""
    widths = [float(np.mean(columns[2 * i + 1] - columns[2 * i])) for i in good]
    if max(widths) > _UNEQUAL * min(widths):
        raise EverhartError(
            f"The lines found are between {min(widths):.1f} and {max(widths):.1f} pixels wide: CD "
            "and pitch are of lines of one kind; crop the image to such lines, or give one that "
            "shows lines and not the offsets of its rows."
        )


def _filled(columns: Float, edges: Sequence[TracedEdge]) -> tuple[Float, Float]:
    """Fill rows without an edge from their neighbours, and say how many there are."""
    rows = np.arange(columns.shape[1])
    filled = columns.copy()
    missing = np.empty(len(columns))
    for i, (found, edge) in enumerate(zip(columns, edges, strict=True)):
        there = np.isfinite(found)
        missing[i] = 1 - float(np.mean(there))
        if 0 < missing[i] < 1:
            shift = np.interp(rows, rows[there], (found - edge.path)[there])
            filled[i] = np.where(there, found, edge.path + shift)
    return filled, missing


@dataclass(frozen=True, eq=False)
class _Geometry:
    """From columns of rows to lengths across and along the lines."""

    across: float
    along: float
    tilt_deg: float

    @classmethod
    def make(cls, columns: Float, size: Unit) -> _Geometry:
        y = np.arange(columns.shape[1]) - (columns.shape[1] - 1) / 2
        slope = float(np.mean((columns @ y) / (y @ y)))
        angle = np.arctan(slope * size.x / size.y)
        return cls(
            size.x * float(np.cos(angle)),
            size.y / float(np.cos(angle)),
            float(np.degrees(angle)),
        )


def _measurement(
    columns: Float,
    missing: Float,
    beside: Sequence[Float],
    size: Unit,
    known: Known,
    *,
    vertical: bool,
    polarity: str,
) -> Measurement:
    geometry = _Geometry.make(columns, size)
    places = columns * geometry.across
    widths = places[1::2] - places[0::2]
    of_edges = fit_roughness(places, geometry.along, pairs=True, common=True, known=known)
    of_widths = fit_roughness(widths, geometry.along, known=known)
    name = size.name
    table = line_table(places, missing, of_edges, of_widths, name)
    summary = summarise(table, of_edges, of_widths, name)
    summary |= {
        "count": len(table),
        "rows": columns.shape[1],
        "tilt_deg": geometry.tilt_deg,
        "direction": "vertical" if vertical else "horizontal",
        "polarity": polarity,
        "edge_convention": _CONVENTION,
    }
    outlines = [
        _outline(found, str(i // 2 + 1) if i % 2 == 0 else "", "edge", vertical)
        for i, found in enumerate(columns)
    ]
    outlines += [_outline(path, "?", "doubt", vertical) for path in beside]
    return Measurement(
        "lines", table, summary, tuple(outlines),
        {"psd": spectrum_table(of_edges, name), "psd_lwr": spectrum_table(of_widths, name)},
    )  # fmt: skip


def _outline(columns: Float, label: str, kind: str, vertical: bool) -> Outline:
    rows = np.arange(columns.size, dtype=np.float64)
    points = np.stack([rows, columns] if vertical else [columns, rows], axis=1)
    return Outline(points, label, kind)


make_callable(__name__, "lines")

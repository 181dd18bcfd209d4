"""Layers in a cross-section: thickness and roughness, from an image or from its labels."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any, Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray

from everhart._callable_room import make_callable
from everhart.errors import EverhartError, UsageError, unknown_name
from everhart.measure._along import AlongStatistics, statistics_along
from everhart.measure._checked import checked_image, checked_labels, refuse_saturated
from everhart.measure._courses import Course, measure_courses
from everhart.measure._interfaces import Sheared, find_candidates, find_slope
from everhart.measure.result import Measurement, Outline
from everhart.measure.units import Unit, UnitName, unit_of
from everhart.micrograph import Micrograph
from everhart.noise.estimate import estimate_noise

__all__ = ["layers"]

Float = NDArray[np.float64]

_SMALLEST = 48
_COVERAGE = 0.8
_LABELS = 200
_WHITE = 0.3  # saturated pixels, as of lines; a black vacuum may take more
_FAINTEST = 0.05  # step of an interface, of the largest
_STRONG = 0.3  # likewise; an interface is not merely left out for its gaps
_THINNEST = 1.0  # rows
_ALONG_ROWS, _SMOOTH = 1.0, 0.7  # rows: slope over the image, median roughness
_CURVED = 0.5  # of the layers' own spacing
_WEAKEST = 0.25  # step of an interface where it is weakest, of its own median


@dataclass(frozen=True, eq=False)
class _Interfaces:
    """All interfaces of an image whose layers run along x."""

    rows: Float  # (interfaces, W), rows of the image
    grey: Float  # (interfaces + 1,) levels of the layers
    names: tuple[str, ...]  # of the interfaces + 1 layers
    noise_reach: int
    details: list[dict[str, float]]


def layers(
    image: Micrograph | ArrayLike,
    *,
    labels: ArrayLike | bool | None = None,
    unit: UnitName = "nm",
    direction: Literal["auto", "horizontal", "vertical"] = "auto",
) -> Measurement:
    """Measure the layers of a cross-section: thickness, its scatter, and rough interfaces.

    Interfaces are found by themselves: the tilt is that at which grey levels averaged along the
    layers have the largest gradients, interfaces are gradients of that profile beyond 6.5 of their
    standard deviations (from the scatter between blocks of columns, so that no noise level has to
    be given), each is followed by the best path through its gradients, and in every column the
    model of an edge is fitted. The result has noise, which is taken out of all roughness: noise of
    columns further apart than it reaches is independent, so that the autocovariance there is the
    layer's own; continued to lag 0 it gives the variance without noise. The tilt is then fitted to
    the interfaces, and thickness is perpendicular to them.

    Parameters
    ----------
    image
        Image of shape ``(H, W)`` of any dtype and range, at least 48 pixels a side, with layers
        that go through all of it and are flat but for their roughness, tilted by up to 40 degrees.
        Layers over fins or steps are refused: what a column crosses there is not their thickness.
    labels
        Label image of the same shape, in which each layer has its own number: thickness is then
        taken from it, and the image gives the pixel size alone. True where `image` itself is
        the label image. None to find layers in the image.
    unit
        ``"nm"``, or ``"px"``.
    direction
        Whether the layers run along x (``"horizontal"``) or y (``"vertical"``).

    Returns
    -------
    Measurement
        Table, a row a layer between two interfaces, from the top (or left): ``layer`` (number, or
        label), ``grey`` (its level), ``thickness_nm``, ``thickness_3sigma_nm`` (three standard
        deviations of the local thickness, without noise), ``roughness_top_nm`` and
        ``roughness_bottom_nm`` (standard deviation of the interfaces about a straight line, without
        noise), each with its ``_sd``; ``columns`` and ``columns_effective`` (number of independent
        ones). ``thickness_sd_nm`` is that of the mean of the layer of which the image shows a
        piece. Table ``interfaces``: the same, an interface a row, with correlation length, width of
        the transition, noise of one column. Summary: ``layers``, ``tilt_deg``, ``direction``,
        ``edge_convention``.

    Raises
    ------
    UsageError
        If the image is a stack, too small, not finite, or has no pixel size while nm are asked for;
        if labels do not fit it.
    EverhartError
        If there are no two interfaces, layers are not flat, or the image is saturated.

    Examples
    --------
    >>> y, x = np.mgrid[:96, :128]
    >>> film = 100.0 + 50 * (np.abs(y - 0.1 * x - 40.0) < 10)
    >>> found = layers(film, unit="px")
    >>> round(found.summary["tilt_deg"], 1)
    5.7
    >>> bool(abs(found.table["thickness_px"][0] - 20 * np.cos(np.arctan(0.1))) < 0.1)
    True
    """
    if direction not in ("auto", "horizontal", "vertical"):
        raise unknown_name("direction", str(direction), ("auto", "horizontal", "vertical"))
    size = unit_of(image, unit)
    pixels = checked_image(image, "layers", _SMALLEST)
    if labels is None or labels is False:
        found, vertical = _from_image(pixels.astype(np.float32), direction, pixels)
        convention = "half of the step between the grey levels on both sides (error function)"
    else:
        found, vertical = _from_labels(checked_labels(labels, pixels), direction)
        convention = "border of the labels"
    if vertical:
        size = Unit(size.name, size.x, size.y)
    return _measurement(found, size, vertical, convention)


def _from_image(
    values: NDArray[np.float32], direction: str, pixels: NDArray[Any]
) -> tuple[_Interfaces, bool]:
    refuse_saturated(pixels, "layers", _WHITE)
    slopes = {
        vertical: find_slope(np.ascontiguousarray(values.T) if vertical else values)
        for vertical in (False, True)
        if direction in ("auto", "vertical" if vertical else "horizontal")
    }
    vertical = max(slopes, key=lambda key: slopes[key][1])
    upright = np.ascontiguousarray(values.T) if vertical else values
    noise = estimate_noise(upright)
    along = np.abs(noise.correlation_along("x"))
    far = np.flatnonzero(along < 0.05)
    reach = int(far[0]) if far.size else along.size
    slope = slopes[vertical][0]
    for _ in range(2):
        sheared = Sheared.make(upright, slope)
        candidates = find_candidates(sheared.pixels)
        if len(candidates) < 2:
            break
        traced = measure_courses(sheared.pixels, candidates, reach)
        while (twin := _twin(traced)) is not None:
            candidates = [c for i, c in enumerate(candidates) if i != twin]
            traced = measure_courses(sheared.pixels, candidates, reach)
        steps = [abs(float(np.median(c.step))) for c in traced]
        strong = [c for c, step in zip(traced, steps, strict=True) if step > _STRONG * max(steps)]
        courses = [
            c
            for c, step in zip(traced, steps, strict=True)
            if step > _FAINTEST * max(steps)
            and c.coverage >= _COVERAGE
            and np.isfinite(c.rows).mean() > 0.5
        ]
        rows = np.array([c.rows + sheared.first for c in courses])
        if len(courses) < 2:
            break
        slope = _common_slope(rows)
    if len(candidates) < 2 or len(courses) < 2:
        count = min(len(candidates), len(courses)) if len(candidates) >= 2 else len(candidates)
        raise EverhartError(
            f"{('No interface was', 'One interface was')[min(count, 1)]} found that goes through "
            "the image: a layer needs two; give a cross-section with flat layers, of less noise, "
            "or its labels."
        )
    _check_same_neighbours([*strong, *courses])
    levels = [c.above for c in courses] + [courses[-1].below]
    grey = np.array([float(np.median(v)) for v in levels])
    details = [
        {
            "width_px": c.width_px,
            "step": float(np.median(c.step)),
            "coverage": c.coverage,
            "level_factor": c.level_factor,
        }
        for c in courses
    ]
    names = tuple(str(i) for i in range(len(courses) + 1))
    return _Interfaces(rows, grey, names, reach, details), vertical


def _check_same_neighbours(courses: Sequence[Course]) -> None:
    """Refuse an interface that is not between the same two layers all along.

    Over fins and steps the straightest way through the gradients jumps from one interface to
    another, and crosses places without any: often so many that it is left out for its gaps, and
    the others would pass.
    """
    weakest = [float(np.percentile(c.step / np.median(c.step), 2)) for c in courses]
    if min(weakest) < _WEAKEST:
        raise EverhartError(
            "An interface is not between the same two layers from one side of the image to the "
            "other: layers are measured where all of them are flat, not over fins, steps or where "
            "one ends; crop the image to such a part."
        )


def _common_slope(rows: Float) -> float:
    """Return the slope that all interfaces have in common, by least squares."""
    x = np.arange(rows.shape[1], dtype=np.float64)
    there = np.isfinite(rows)
    n = np.maximum(there.sum(axis=1, keepdims=True), 1)
    u = np.where(there, x - (there * x).sum(axis=1, keepdims=True) / n, 0)
    v = np.where(there, rows - np.nansum(rows, axis=1, keepdims=True) / n, 0)
    return float((u * v).sum() / max(float((u * u).sum()), 1e-30))


def _twin(traced: list[Course]) -> int | None:
    """Return the weaker of two courses of one interface, None where each is of its own.

    A slanted edge without noise is a staircase, which can be found twice: both courses step the
    same way, and lie on each other.
    """
    for i, (upper, lower) in enumerate(pairwise(traced)):
        both = np.isfinite(upper.rows) & np.isfinite(lower.rows)
        if not both.any():
            continue
        apart = abs(float(np.median(lower.rows[both] - upper.rows[both])))
        weaker = abs(float(np.median(upper.step))) < abs(float(np.median(lower.step)))
        if apart < _THINNEST and upper.sign == lower.sign:
            return i if weaker else i + 1
    return None


def _from_labels(labels: NDArray[np.int64], direction: str) -> tuple[_Interfaces, bool]:
    values = np.unique(labels)
    if len(values) > _LABELS:
        raise UsageError(
            f"An image of {len(values)} labels was given: at most {_LABELS} layers are measured; "
            "give a label image, or leave --labels (labels=) out to measure a picture."
        )
    if len(values) < 3:
        raise EverhartError(
            f"A label image of {len(values)} {'label' if len(values) == 1 else 'labels'} was "
            "given: a layer lies between two others, so give at least three."
        )
    vertical = direction == "vertical"
    if direction == "auto":
        # Borders of layers along x are steps from row to row.
        steps = [np.count_nonzero(np.diff(labels, axis=axis)) for axis in (0, 1)]
        vertical = steps[1] / labels.shape[0] > steps[0] / labels.shape[1]
    upright = labels.T if vertical else labels
    height = upright.shape[0]
    y = np.arange(height)[:, None]
    middle = [float(np.mean(np.broadcast_to(y, upright.shape)[upright == v])) for v in values]
    order = np.argsort(middle)
    rank = np.empty(len(values), np.int64)
    rank[order] = np.arange(len(values))
    depth = rank[np.searchsorted(values, upright)]
    # As many rows as belong to layers above: stray pixels move it by no more than their number.
    counts = [np.count_nonzero(depth <= k, axis=0) for k in range(len(values) - 1)]
    rows = np.array(counts, np.float64) - 0.5
    rows[(rows < 0.5) | (rows > height - 1.5)] = np.nan
    usable = np.isfinite(rows).mean(axis=1) > 0.5
    if usable.sum() < 2:
        raise EverhartError(
            "Fewer than two borders of labels go through the image: give layers, each from one "
            "side to the other, or set the direction."
        )
    kept = np.flatnonzero(usable)
    names = [str(values[order[k]]) for k in (*kept, kept[-1] + 1)]
    grey = np.full(len(kept) + 1, np.nan)
    rows = rows[kept]
    return _Interfaces(rows, grey, tuple(names), 1, [{} for _ in kept]), vertical


def _measurement(found: _Interfaces, size: Unit, vertical: bool, convention: str) -> Measurement:
    import pandas as pd

    name = size.name
    slope = _common_slope(found.rows)
    cosine = float(1 / np.hypot(1, slope * size.y / size.x))
    across = size.y * cosine
    # Columns are further apart along a tilted layer.
    along = size.x / cosine
    x = np.arange(found.rows.shape[1], dtype=np.float64)
    straight = found.rows - slope * (x - x.mean())
    _check_flat(straight)
    courses = [_about_line(rows, x) for rows in found.rows]
    factors = [detail.get("level_factor", 1.0) for detail in found.details]
    interfaces = [
        statistics_along(course * across, found.noise_reach, factor)
        for course, factor in zip(courses, factors, strict=True)
    ]
    thick = np.diff(straight, axis=0) * across
    rows: list[dict[str, Any]] = []
    for i, local in enumerate(thick):
        if np.isfinite(local).sum() < 24:
            continue
        stats = statistics_along(local, found.noise_reach, (factors[i] + factors[i + 1]) / 2)
        top, bottom = interfaces[i], interfaces[i + 1]
        rows.append(
            {
                "layer": found.names[i + 1],
                "grey": float(found.grey[i + 1]),
                f"thickness_{name}": stats.mean,
                f"thickness_sd_{name}": stats.mean_sd,
                f"thickness_3sigma_{name}": 3 * stats.sigma,
                f"thickness_3sigma_sd_{name}": 3 * stats.sigma_sd,
                f"roughness_top_{name}": top.sigma,
                f"roughness_top_sd_{name}": top.sigma_sd,
                f"roughness_bottom_{name}": bottom.sigma,
                f"roughness_bottom_sd_{name}": bottom.sigma_sd,
                "columns": stats.columns,
                "columns_effective": stats.effective,
            }
        )
    if not rows:
        raise EverhartError(
            "No layer is in the image along 24 columns: give a cross-section of less tilt, or one "
            "that shows more of the layers."
        )
    least = min(row[f"thickness_{name}"] for row in rows)
    if least < _THINNEST * across:
        raise EverhartError(
            f"A layer of {least / across:.1f} pixels was found: interfaces cross, or are closer "
            "than they can be told apart; give a cross-section with smaller pixels, or less noise."
        )
    tilt = float(np.degrees(np.arctan(slope * size.y / size.x)))
    summary: dict[str, Any] = {
        "layers": len(rows),
        "direction": "vertical" if vertical else "horizontal",
        # From +x towards +y, as the angles of circles; layers along y are turned from +y to +x.
        "tilt_deg": -tilt if vertical else tilt,
        "tilt_sd_deg": _tilt_sd(interfaces, x.size, along, cosine),
        "edge_convention": convention,
        "roughness": "standard deviation about a straight line, noise taken out",
        "warning": None,
    }
    roughest = float(np.median([stats.sigma for stats in interfaces])) / across
    from_image = bool(found.details[0])
    if from_image and not vertical and abs(slope) * x.size < _ALONG_ROWS and roughest < _SMOOTH:
        summary["warning"] = (
            "The interfaces follow the rows of the image, and offsets of rows that last several "
            "rows look the same: turn the specimen or the scan by a degree to tell them apart."
        )
    table = _interface_table(found, straight, interfaces, size, across, along)
    return Measurement(
        "layers",
        pd.DataFrame(rows),
        summary,
        _outlines(found, vertical),
        {"interfaces": table},
    )


def _check_flat(straight: Float) -> None:
    """Refuse layers that curve by more than their distance: columns do not cross them there."""
    middle = np.nanmedian(straight, axis=1)
    spread = np.nanpercentile(straight, 95, axis=1) - np.nanpercentile(straight, 5, axis=1)
    room = max(_CURVED * float(middle[-1] - middle[0]), 8.0)
    if (spread > max(room, 0.02 * straight.shape[1])).any():
        raise EverhartError(
            f"An interface wanders by {spread.max():.0f} pixels across the layers: thickness is "
            "measured where layers are flat, not over fins or steps; crop the image to such a part."
        )


def _about_line(rows: Float, x: Float) -> Float:
    there = np.isfinite(rows)
    if there.sum() < 3:
        return np.full(rows.shape, np.nan)
    line = np.polyfit(x[there], rows[there], 1)
    return np.asarray(rows - np.polyval(line, x))


def _tilt_sd(interfaces: Sequence[AlongStatistics], n: int, along: float, cosine: float) -> float:
    """Return the standard deviation of the common slope as an angle, in degrees."""
    # A line through n points of which only some are independent, over the length of the layer.
    length = n * along
    each = [12 * s.mean_sd**2 / length**2 for s in interfaces]
    del cosine
    return float(np.degrees(np.sqrt(sum(each)) / len(each)))


def _interface_table(
    found: _Interfaces,
    straight: Float,
    interfaces: list[AlongStatistics],
    size: Unit,
    across: float,
    along: float,
) -> Any:
    import pandas as pd

    name = size.name
    rows: list[dict[str, Any]] = []
    for i, stats in enumerate(interfaces):
        detail = found.details[i]
        rows.append(
            {
                "interface": f"{found.names[i]}/{found.names[i + 1]}",
                "position_px": float(np.nanmean(straight[i])),
                f"position_sd_{name}": stats.mean_sd,
                f"roughness_{name}": stats.sigma,
                f"roughness_sd_{name}": stats.sigma_sd,
                f"correlation_length_{name}": stats.correlation_px * along,
                f"column_noise_{name}": stats.noise,
                f"width_{name}": detail.get("width_px", float("nan")) * across,
                "step": detail.get("step", float("nan")),
                "coverage": detail.get("coverage", float("nan")),
                "columns": stats.columns,
            }
        )
    return pd.DataFrame(rows)


def _outlines(found: _Interfaces, vertical: bool) -> list[Outline]:
    x = np.arange(found.rows.shape[1], dtype=np.float64)
    lines = []
    for i, rows in enumerate(found.rows):
        there = np.isfinite(rows)
        points = np.stack([rows[there], x[there]], axis=1)
        label = f"{found.names[i]}/{found.names[i + 1]}"
        lines.append(Outline(points[:, ::-1] if vertical else points, label))
    return lines


make_callable(__name__, "layers")

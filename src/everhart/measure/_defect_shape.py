"""One defect from its peaks: where it is, how large, how strong, and of what kind."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from everhart.measure._blob_search import Peak, Scale

__all__ = ["Context", "Defect", "group_peaks", "kind_of", "measure_defect", "without_repeats"]

Float = NDArray[np.float64]
Image = NDArray[np.float32]

_CLEAR = 5.0  # z at which a finer scale shows the shape
_REPEATS = 16
_JOIN = 1.5  # sigmas of the filter over which peaks are of one defect
_HALF = 0.5
_LEFT_OF_DENT = 0.3  # of the power of the change


@dataclass(frozen=True)
class Defect:
    """A defect in pixels and grey levels; ``sd`` has the standard deviations of the first four.

    Parameters
    ----------
    y, x, size, contrast
        Centroid, diameter of the circle of equal area, and mean difference from the reference.
    sd
        Of these, ``(4,)``.
    z
        Highest peak.
    expected
        Peaks as high that chance makes in the image.
    kind
        What it is, or ``"unknown"``.
    """

    y: float
    x: float
    size: float
    contrast: float
    sd: tuple[float, float, float, float]
    z: float
    expected: float
    kind: str = "unknown"


@dataclass(frozen=True, eq=False)
class Context:
    """What is around: the image, its reference, and the period, ``(n, 2)``, if there is one."""

    image: Image
    reference: Image
    inside: NDArray[np.bool_]
    vectors: Float | None


def group_peaks(peaks: Sequence[Peak], scales: Sequence[Scale]) -> list[list[Peak]]:
    """Put peaks of all scales that overlap together, the highest of each group first."""
    order = sorted(peaks, key=lambda p: p.expected)
    place = [(scales[p.scale].to_full(p.row), scales[p.scale].to_full(p.column)) for p in order]
    group = list(range(len(order)))

    def root(i: int) -> int:
        while group[i] != i:
            i = group[i]
        return i

    for i, first in enumerate(order):
        for j in range(i):
            sigma = max(scales[first.scale].sigma_px, scales[order[j].scale].sigma_px)
            apart = np.hypot(place[i][0] - place[j][0], place[i][1] - place[j][1])
            if apart < _JOIN * sigma + 2:
                a, b = root(i), root(j)
                group[max(a, b)] = min(a, b)
    joined: dict[int, list[Peak]] = {}
    for i, peak in enumerate(order):
        joined.setdefault(root(i), []).append(peak)
    return list(joined.values())


def measure_defect(
    peaks: Sequence[Peak], scales: Sequence[Scale], context: Context, rng: np.random.Generator
) -> Defect:
    """Measure a defect, and again with what other periods have there added.

    The scatter of the second is the standard deviation: it has noise and natural roughness in it
    as they are at this place of the period.
    """
    best = max(peaks, key=lambda p: p.z)
    # The scale of the highest peak is as wide as the defect: one below shows its shape.
    finer = [p for p in peaks if p.scale == best.scale - 1 and p.z >= _CLEAR]
    chosen = max(finer, key=lambda p: p.z) if finer else best
    scale = scales[chosen.scale]
    reach = int(np.ceil(6 * scales[best.scale].sigma_px / scale.step)) + 2
    rows = slice(max(chosen.row - reach, 0), chosen.row + reach + 1)
    columns = slice(max(chosen.column - reach, 0), chosen.column + reach + 1)
    patch = scale.mean[rows, columns]
    start = chosen.row - rows.start, chosen.column - columns.start
    values = _shape(patch, start, scale)
    repeats = []
    for dy, dx in _shifts(context, scale, (rows, columns), rng):
        other = scale.mean[rows.start + dy : rows.start + dy + patch.shape[0],
                           columns.start + dx : columns.start + dx + patch.shape[1]]  # fmt: skip
        repeats.append(_shape(patch + other, start, scale))
    if len(repeats) >= 4:
        # Robust: another defect may be where the repeat is from.
        apart = np.abs(np.array(repeats) - values)
        spread = np.maximum(1.4826 * np.median(apart, axis=0), 1e-3)
    else:
        spread = np.full(4, np.nan)
    y, x = scale.to_full(rows.start + values[0]), scale.to_full(columns.start + values[1])
    sd = (spread[0] * scale.step, spread[1] * scale.step, spread[2], spread[3])
    strongest = min(peaks, key=lambda p: p.expected)
    return Defect(
        float(y), float(x), float(values[2]), float(values[3]),
        (float(sd[0]), float(sd[1]), float(sd[2]), float(sd[3])),
        max(p.z for p in peaks), strongest.expected,
    )  # fmt: skip


def without_repeats(found: Sequence[Defect]) -> list[Defect]:
    """Leave out what is within a surer defect: parts of one that is larger than its filters."""
    kept: list[Defect] = []
    for one in sorted(found, key=lambda d: d.expected):
        inside = any(
            np.hypot(one.y - k.y, one.x - k.x) < 0.65 * max(k.size, one.size) for k in kept
        )
        if not inside:
            kept.append(one)
    return kept


def _shape(patch: Image, start: tuple[int, int], scale: Scale) -> Float:
    """Return row, column, diameter (px of the image) and contrast of the blob at a place."""
    rows = slice(max(start[0] - 1, 0), start[0] + 2)
    columns = slice(max(start[1] - 1, 0), start[1] + 2)
    near = patch[rows, columns]
    top = np.unravel_index(int(np.argmax(np.abs(near))), near.shape)
    peak = float(near[top])
    signed = patch * np.float32(np.sign(peak) or 1)
    row, column = rows.start + int(top[0]), columns.start + int(top[1])
    _, labels = cv2.connectedComponents((signed >= _HALF * abs(peak)).astype(np.uint8))
    blob = labels == labels[row, column]
    weight = np.where(blob, signed, 0).astype(np.float64)
    total = float(weight.sum()) or 1.0
    ys, xs = np.arange(patch.shape[0]), np.arange(patch.shape[1])
    centre = float(weight.sum(axis=1) @ ys / total), float(weight.sum(axis=0) @ xs / total)
    wide = 2 * np.sqrt(blob.sum() / np.pi) * scale.step
    sigma = scale.sigma_px
    # A disc that is blurred keeps its half height until it is about as small as the blur.
    narrow = np.sqrt(max(wide**2 - (2.355 * sigma) ** 2, (1.5 * sigma) ** 2))
    part = np.clip((wide / sigma - 3) / 3, 0, 1)
    size = float(part * wide + (1 - part) * narrow)
    seen = 1 - np.exp(-(size**2) / (8 * sigma**2))
    return np.array([*centre, size, peak / max(seen, 0.1)])


def _shifts(
    context: Context, scale: Scale, window: tuple[slice, slice], rng: np.random.Generator
) -> list[tuple[int, int]]:
    """Return moves by whole periods, in pixels of the scale, that stay in the image."""
    height, width = scale.mean.shape
    rows, columns = window
    high, wide = min(rows.stop, height) - rows.start, min(columns.stop, width) - columns.start
    found: list[tuple[int, int]] = []
    for _ in range(40 * _REPEATS):
        if context.vectors is None:
            move = rng.uniform(-1, 1, 2) * scale.mean.shape
        elif len(context.vectors) == 2:
            move = rng.integers(-20, 21, 2) @ context.vectors / scale.step
        else:
            across = context.vectors[0]
            along = np.array([-across[1], across[0]]) / np.hypot(*across)
            far = max(height, width) * scale.step
            move = rng.integers(-20, 21) * across + rng.uniform(-far, far) * along
            move = move / scale.step
        dy, dx = (round(float(m)) for m in move)
        top, left = rows.start + dy, columns.start + dx
        if abs(dy) < high and abs(dx) < wide:
            continue
        if top < 0 or left < 0 or top + high > height or left + wide > width:
            continue
        middle = (
            int(scale.to_full(top + high / 2)),
            int(scale.to_full(left + wide / 2)),
        )
        shape = context.inside.shape
        if not context.inside[min(middle[0], shape[0] - 1), min(middle[1], shape[1] - 1)]:
            continue
        found.append((dy, dx))
        if len(found) == _REPEATS:
            break
    return found


def kind_of(defect: Defect, context: Context) -> str:
    """Tell the kind of a defect where its brightness and place in the period do.

    Parameters
    ----------
    defect
        As measured.
    context
        Where it is.

    Returns
    -------
    str
        ``missing_hole`` or ``missing_pillar`` (an array without one of its features), ``bridge``
        and ``break`` of bright lines, ``dent`` (an edge that is moved), ``particle`` (brighter than
        all of the pattern), or ``unknown``.
    """
    if context.vectors is None:
        return "unknown"
    period = float(np.hypot(*context.vectors.T).min())
    lines = len(context.vectors) == 1
    reach = int(np.ceil(max(0.55 * period, 0.6 * defect.size))) + 2
    cy, cx = round(defect.y), round(defect.x)
    rows = slice(max(cy - reach, 0), cy + reach + 1)
    columns = slice(max(cx - reach, 0), cx + reach + 1)
    reference = context.reference[rows, columns].astype(np.float64)
    sigma = max(1.0, min(defect.size / 8, period / 12))
    picture = cv2.GaussianBlur(context.image[rows, columns], (0, 0), sigma).astype(np.float64)
    ideal = cv2.GaussianBlur(context.reference[rows, columns], (0, 0), sigma).astype(np.float64)
    change = picture - ideal
    dy = np.arange(reference.shape[0])[:, None] + rows.start - defect.y
    dx = np.arange(reference.shape[1])[None, :] + columns.start - defect.x
    distance = np.hypot(dy, dx)
    low, high = (float(v) for v in np.percentile(reference, (5, 95)))
    contrast = max(high - low, 1e-12)
    core = distance <= max(0.35 * defect.size, 1.0)
    level = (float(np.median(picture[core])) - low) / contrast
    if not lines:
        whole = distance <= 0.55 * period
        gone, left = _gone(change[whole], ideal[whole])
        if 0.7 < gone < 1.35 and left < 0.6 and defect.size > 0.2 * period:
            return "missing_hole" if float(change[core].mean()) > 0 else "missing_pillar"
    usual_top = (float(context.reference.max()) - low) / contrast
    if defect.contrast > 0 and level > max(1.05, 0.95 * usual_top):
        return "particle"
    if lines:
        across = context.vectors[0] / np.hypot(*context.vectors[0])
        off = np.abs(dy * across[0] + dx * across[1])
        along = np.abs(dx * across[0] - dy * across[1])
        strip = (off <= 0.5 * period) & (along <= max(0.2 * defect.size, 1.5))
        gone, left = _gone(change[strip], ideal[strip])
        if gone > 0.6 and left < 0.75:
            return "bridge" if defect.contrast > 0 else "break"
    near = distance <= max(0.6 * defect.size, 2.0)
    if _moved_edge(picture, ideal, near, 0.35 * period) < _LEFT_OF_DENT:
        return "dent"
    return "unknown"


def _moved_edge(picture: Float, ideal: Float, near: NDArray[np.bool_], most: float) -> float:
    """Return what part of the change near a defect is left if the pattern there is displaced.

    The way is across the edge that is there, where the change is.
    """
    change = picture - ideal
    gradient = np.gradient(ideal)
    weight = np.square(change) * near
    yy, xx, xy = (
        float(np.sum(weight * a * b))
        for a, b in (
            (gradient[0], gradient[0]),
            (gradient[1], gradient[1]),
            (gradient[0], gradient[1]),
        )
    )
    # Main direction of the gradients, whichever way they rise.
    angle = 0.5 * np.arctan2(2 * xy, yy - xx)
    way = np.cos(angle), np.sin(angle)
    power = float(np.square(change[near]).sum())
    left = 1.0
    for distance in np.linspace(-most, most, 2 * max(round(most), 2) + 1):
        move = np.array([[1, 0, distance * way[1]], [0, 1, distance * way[0]]], np.float64)
        moved = cv2.warpAffine(
            ideal, move, ideal.shape[::-1], flags=cv2.INTER_LINEAR, borderMode=cv2.BORDER_REFLECT
        )
        apart = float(np.square((picture - moved)[near]).sum())
        left = min(left, apart / max(power, 1e-30))
    return left


def _gone(change: Float, ideal: Float) -> tuple[float, float]:
    """Return which part of the pattern is gone, and what of the change that does not explain."""
    shape = ideal - ideal.mean()
    moved = change - change.mean()
    power = float(shape @ shape)
    if power <= 0:
        return 0.0, 1.0
    part = -float(moved @ shape) / power
    left = moved + part * shape
    return part, float(np.sqrt((left @ left) / max(float(moved @ moved), 1e-30)))

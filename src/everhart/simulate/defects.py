"""Planted defects: what was changed, where, how large, and how well it can be seen."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TypeAlias

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from everhart.errors import UsageError, unknown_name
from everhart.simulate.scene import DEFECT_COLUMNS, empty_defects

__all__ = ["DEFECT_KINDS", "DefectRequest", "requested_defects"]

#: Kinds of defects, and the scenes that can carry them.
DEFECT_KINDS: Mapping[str, tuple[str, ...]] = {
    "bridge": ("lines",),
    "break": ("lines",),
    "missing_hole": ("nand",),
    "particle": ("nand", "lines", "particles", "stack"),
    "dent": ("nand", "lines", "particles"),
}

DefectRequest: TypeAlias = Sequence[str] | Mapping[str, int]
Image: TypeAlias = NDArray[np.float32]


def requested_defects(defects: DefectRequest, scene: str) -> list[str]:
    """Return the kinds to plant, one entry a defect.

    Parameters
    ----------
    defects
        Kinds (``["bridge", "break"]``), or how many of each (``{"bridge": 2}``).
    scene
        Name of the scene that is to carry them.

    Returns
    -------
    list of str
        Kinds in the order in which they are planted.

    Raises
    ------
    UsageError
        For an unknown kind, one that the scene cannot carry, or a negative number.

    Examples
    --------
    >>> requested_defects({"bridge": 2, "particle": 1}, "lines")
    ['bridge', 'bridge', 'particle']
    """
    if isinstance(defects, str):
        defects = (defects,)
    counts = dict(defects) if isinstance(defects, Mapping) else None
    wanted = list(counts) if counts is not None else list(defects)
    for kind in wanted:
        if kind not in DEFECT_KINDS:
            raise unknown_name("defect", str(kind), DEFECT_KINDS)
        if scene not in DEFECT_KINDS[kind]:
            allowed = [k for k, scenes in DEFECT_KINDS.items() if scene in scenes]
            raise UsageError(
                f"The defect {kind!r} was asked for in the scene {scene!r}, which can carry "
                f"{', '.join(allowed)}; choose one of these or the scene {DEFECT_KINDS[kind][0]!r}."
            )
    if counts is None:
        return wanted
    for kind, count in counts.items():
        if int(count) != count or count < 0:
            raise UsageError(
                f"{count!r} defects {kind!r} were asked for: give a whole number >= 0."
            )
    return [kind for kind, count in counts.items() for _ in range(int(count))]


@dataclass(frozen=True)
class Planted:
    """One planted defect, in pixels.

    `height_px` and `width_px` are the extent of the changed region; `contrast` is the mean
    change of brightness in it (scene brightness, signed).
    """

    kind: str
    y_px: float
    x_px: float
    height_px: float
    width_px: float
    contrast: float = float("nan")


def defect_table(planted: Sequence[Planted], pixel_size_nm: float) -> pd.DataFrame:
    """Return the truth of planted defects as a table in pixels and nm."""
    if not planted:
        return empty_defects()
    table = pd.DataFrame([vars(p) for p in planted])
    for name in ("y", "x", "height", "width"):
        table[f"{name}_nm"] = table[f"{name}_px"] * pixel_size_nm
    return table[list(DEFECT_COLUMNS)]


def measure_contrast(
    planted: Planted, before: Image, after: Image, threshold: float = 0.02
) -> Planted:
    """Return the defect with the mean change of brightness where it changed the image.

    The contrast is measured on the scene itself, so it is exact also where a defect partly
    hides something; pixels that change by less than `threshold` are not part of it.
    """
    half_h, half_w = planted.height_px / 2 + 1, planted.width_px / 2 + 1
    rows = slice(max(int(planted.y_px - half_h), 0), int(np.ceil(planted.y_px + half_h)) + 1)
    columns = slice(max(int(planted.x_px - half_w), 0), int(np.ceil(planted.x_px + half_w)) + 1)
    change = after[rows, columns] - before[rows, columns]
    changed = np.abs(change) > threshold
    contrast = float(change[changed].mean()) if changed.any() else 0.0
    return Planted(**{**vars(planted), "contrast": contrast})


def paint_particle(
    image: Image,
    rng: np.random.Generator,
    radius_px: float,
    *,
    y_px: float | None = None,
    x_px: float | None = None,
    brightness: float = 0.9,
) -> Planted:
    """Paint a lump of dust on a scene: round but uneven, brighter toward its edge.

    Parameters
    ----------
    image
        Scene brightness, changed in place.
    rng
        Source of randomness (position, shape).
    radius_px
        Mean radius in pixels.
    y_px, x_px
        Centre; drawn inside of the image where None.
    brightness
        Scene brightness of the middle.
    """
    height, width = image.shape
    margin = min(1.3 * radius_px + 1, 0.45 * min(height, width))
    y = float(rng.uniform(margin, height - 1 - margin)) if y_px is None else y_px
    x = float(rng.uniform(margin, width - 1 - margin)) if x_px is None else x_px
    orders = np.arange(2, 6)
    strength = rng.normal(0, 0.12, orders.size) / orders * 2
    phase = rng.uniform(0, 2 * np.pi, orders.size)
    reach = int(np.ceil(1.6 * radius_px)) + 2
    rows = slice(max(int(y) - reach, 0), min(int(y) + reach + 1, height))
    columns = slice(max(int(x) - reach, 0), min(int(x) + reach + 1, width))
    dy = np.arange(rows.start, rows.stop)[:, None] - y
    dx = np.arange(columns.start, columns.stop)[None, :] - x
    angle = np.arctan2(dy, dx)
    edge = radius_px * (1 + (strength * np.cos(angle[..., None] * orders + phase)).sum(axis=-1))
    distance = np.hypot(dy, dx)
    inside = np.clip(0.5 - (distance - edge), 0, 1)
    tilt = np.minimum(distance / np.maximum(edge, 1e-6), 1)
    lump = brightness * (0.8 + 0.35 * tilt**4)
    patch = image[rows, columns]
    patch += (inside * (lump - patch)).astype(np.float32)
    np.clip(patch, 0, 1, out=patch)
    ys, xs = np.nonzero(inside > 0.5)
    if ys.size == 0:
        return Planted("particle", y, x, 2 * radius_px, 2 * radius_px)
    return Planted("particle", y, x, float(np.ptp(ys) + 1), float(np.ptp(xs) + 1))


def paint_particles(
    image: Image,
    count: int,
    rng: np.random.Generator,
    radius_px: float,
    brightness: tuple[float, float] = (0.7, 1.0),
) -> list[Planted]:
    """Paint `count` dust particles of about a radius on a scene, in place; return their truth."""
    planted = []
    for _ in range(count):
        before = image.copy()
        size = radius_px * float(rng.uniform(0.7, 1.4))
        found = paint_particle(image, rng, size, brightness=float(rng.uniform(*brightness)))
        planted.append(measure_contrast(found, before, image))
    return planted

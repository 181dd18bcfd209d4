"""Scene `lines`: resist lines with known CD, pitch and roughness."""

from __future__ import annotations

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from everhart.errors import UsageError
from everhart.simulate.defects import (
    DefectRequest,
    Planted,
    defect_table,
    measure_contrast,
    paint_particles,
    requested_defects,
)
from everhart.simulate.roughness import rough_edges
from everhart.simulate.scene import (
    Image,
    Scene,
    Truth,
    check_range,
    checked_pixel_size,
    checked_shape,
    smooth_noise,
)

__all__ = ["lines"]


def lines(
    rng: np.random.Generator,
    *,
    shape: tuple[int, int] = (512, 512),
    pixel_size_nm: float | tuple[float, float] | None = None,
    cd_nm: float = 16.0,
    pitch_nm: float = 32.0,
    sigma_nm: float = 0.8,
    correlation_length_nm: float = 15.0,
    hurst: float = 0.6,
    pair_correlation: float = 0.2,
    line_level: float = 0.42,
    space_level: float = 0.22,
    edge_level: float = 0.5,
    edge_width_nm: float = 1.8,
    shadow: float = 0.3,
    texture: float = 0.015,
    offset_px: float | None = None,
    defects: DefectRequest = (),
) -> Scene:
    """Make vertical lines and spaces as a secondary-electron image shows them.

    Each edge is bright: the signal of a step falls off exponentially to both sides of it,
    faster towards the space, and the space is darker near the wall that shades it. The profile
    across an edge is integrated over each pixel in closed form, so edges are where the truth
    says to a small fraction of a pixel.

    Parameters
    ----------
    rng
        Source of randomness.
    shape
        ``(H, W)`` in pixels.
    pixel_size_nm
        Square pixels, in nm; 0.8 where None.
    cd_nm, pitch_nm
        Mean width of a line, and period, in nm.
    sigma_nm, correlation_length_nm, hurst
        Roughness of an edge: see :func:`everhart.simulate.roughness.palasantzas_psd`.
    pair_correlation
        Correlation of the two edges of a line, -1 to 1.
    line_level, space_level
        Scene brightness in 0 to 1 far from edges.
    edge_level
        Brightness that a single step adds at its brightest.
    edge_width_nm
        Decay length of the bright edge towards the line, in nm.
    shadow
        Fraction by which a space is darkened at the foot of its walls.
    texture
        Standard deviation of the grain of the surfaces (scene brightness).
    offset_px
        x of the centre of the first line; drawn where None.
    defects
        Kinds or numbers of ``bridge``, ``break``, ``dent`` and ``particle``.

    Returns
    -------
    Scene
        Truth: table ``lines`` (``line``, ``complete``, mean ``cd_px`` and ``cd_nm``, ``center_px``,
        ``lwr_3sigma_nm``, ``ler_left_3sigma_nm``, ``ler_right_3sigma_nm``), ``edges_px`` of shape
        ``(2 n, H)`` (left, right of each line; a dent is in them, a bridge or a break is not),
        labels 0 space and 1 line. Lines that the image's border cuts are in the truth and are
        not `complete`.

    Raises
    ------
    UsageError
        If a parameter is outside of its range or a defect cannot be carried.
    """
    height, width = checked_shape(shape)
    pixel = checked_pixel_size(0.8 if pixel_size_nm is None else pixel_size_nm)
    nm = pixel[0]
    for name, value in (("line_level", line_level), ("space_level", space_level)):
        check_range(name, value, 0, 1)
    check_range("edge_level", edge_level, 0)
    check_range("shadow", shadow, 0, 1)
    check_range("texture", texture, 0)
    check_range("edge_width_nm", edge_width_nm, 1e-6)
    check_range("pitch_nm", pitch_nm, 2 * nm)
    if not 0 < cd_nm < pitch_nm:
        raise UsageError(
            f"cd_nm = {cd_nm!r} was given with pitch_nm = {pitch_nm!r}: the line must be wider "
            "than 0 and narrower than the pitch."
        )
    kinds = requested_defects(defects, "lines")
    pitch, cd = pitch_nm / nm, cd_nm / nm
    first = float(rng.uniform(0, pitch)) if offset_px is None else float(offset_px) % pitch
    first -= pitch * np.ceil((first + cd / 2 + 0.5) / pitch)  # the line left of the image
    centers = first + pitch * np.arange(int(np.ceil((width - first) / pitch)) + 2)
    centers = centers[(centers + cd / 2 > -0.5) & (centers - cd / 2 < width - 0.5)]
    rough = rough_edges(
        2 * centers.size,
        height,
        rng,
        sigma=sigma_nm / nm,
        correlation_length=correlation_length_nm / nm,
        hurst=hurst,
        pair_correlation=pair_correlation,
    )
    edges = rough
    edges[0::2] += (centers - cd / 2)[:, None]
    edges[1::2] += (centers + cd / 2)[:, None]
    _keep_order(edges)
    smooth_edges = edges.copy()
    planted = _dent_edges(edges, kinds, rng, cd, width)
    breaks, bridges = _place_gaps(edges, kinds, rng, cd, pitch, width)

    style = _Style(line_level, space_level, edge_level, edge_width_nm / nm, shadow, pitch - cd)
    image = style.render(edges, (height, width))
    defect_free = style.render(smooth_edges, (height, width)) if kinds else None
    if defect_free is not None:
        planted = [measure_contrast(dent, defect_free, image) for dent in planted]
    for defect in (*breaks, *bridges):
        before = image.copy()
        style.paint_gap(image, edges, defect, fill=defect.kind == "bridge")
        planted.append(measure_contrast(defect, before, image))
    if texture > 0:
        grain = smooth_noise((height, width), rng, max(2.0 / nm, 1.0))
        image += np.float32(texture) * grain
        if defect_free is not None:
            defect_free += np.float32(texture) * grain
    np.clip(image, 0, 1, out=image)
    if defect_free is not None:
        np.clip(defect_free, 0, 1, out=defect_free)
    planted += paint_particles(image, kinds.count("particle"), rng, 0.35 * pitch)

    labels = _labels(edges, (height, width), [*breaks, *bridges])
    truth = Truth(
        labels=labels,
        label_names={0: "space", 1: "line"},
        tables={
            "lines": _line_table(edges, width, nm),
            "defects": defect_table(planted, nm),
        },
        edges_px=edges,
        edge_names=tuple(
            f"line {i} {side}" for i in range(centers.size) for side in ("left", "right")
        ),
    )
    return Scene(
        image,
        pixel,
        truth,
        "lines",
        {
            "cd_nm": cd_nm,
            "pitch_nm": pitch_nm,
            "sigma_nm": sigma_nm,
            "correlation_length_nm": correlation_length_nm,
            "hurst": hurst,
            "pair_correlation": pair_correlation,
        },
        defect_free,
    )


class _Style:
    """Brightness across a step, integrated over the pixel."""

    def __init__(
        self, line: float, space: float, edge: float, inner: float, shadow: float, gap: float
    ) -> None:
        self.line, self.space, self.edge = line, space, edge
        self.inner, self.outer = inner, max(0.35 * inner, 1e-3)
        self.shadow, self.shadow_length = shadow * space, max(gap / 4, 1.0)
        reach = 8 * max(self.inner, self.outer, self.shadow_length) + 2
        self.reach = reach
        # Signed distance from the edge, positive towards the line; fine enough for np.interp.
        self.table_x = np.linspace(-reach, reach, 8192)
        primitive = self._primitive
        self.table_y = primitive(self.table_x + 0.5) - primitive(self.table_x - 0.5)

    def _primitive(self, t: NDArray[np.float64]) -> NDArray[np.float64]:
        """Integral of the excess of a single step over the brightness of the space."""
        low, high = np.minimum(t, 0), np.maximum(t, 0)
        peak = self.outer * np.exp(low / self.outer) + self.inner * (1 - np.exp(-high / self.inner))
        dark = self.shadow_length * np.exp(low / self.shadow_length)
        return np.asarray(
            (self.line - self.space) * high + self.edge * peak - self.shadow * dark, np.float64
        )

    def _step(self, distance: NDArray[np.floating]) -> Image:
        return np.asarray(np.interp(distance, self.table_x, self.table_y), np.float32)

    def render(self, edges: NDArray[np.float64], shape: tuple[int, int]) -> Image:
        """Draw all lines; each pixel sums the excess of the edges near to it."""
        width = shape[1]
        image = np.full(shape, self.space, np.float32)
        plateau = np.float32(self.line - self.space)
        for left, right in zip(edges[0::2], edges[1::2], strict=True):
            start = max(int(np.floor(left.min() - self.reach)), 0)
            stop = min(int(np.ceil(right.max() + self.reach)) + 1, width)
            if start >= stop:
                continue
            x = np.arange(start, stop, dtype=np.float64)[None, :]
            image[:, start:stop] += self._step(x - left[:, None])
            image[:, start:stop] += self._step(right[:, None] - x) - plateau
        return image

    def paint_gap(
        self, image: Image, edges: NDArray[np.float64], gap: Planted, *, fill: bool
    ) -> None:
        """Cut a line (break) or fill a space (bridge) between two rows, with bright ends."""
        left, right = gap_edges(edges, gap)
        rows = np.arange(image.shape[0], dtype=np.float64)
        start = max(int(np.floor(left.min() - 3 * self.inner)) - 2, 0)
        stop = min(int(np.ceil(right.max() + 3 * self.inner)) + 3, image.shape[1])
        x = np.arange(start, stop, dtype=np.float64)[None, :]
        near = np.nonzero(np.abs(rows - gap.y_px) < gap.height_px / 2 + self.reach + gap.width_px)[
            0
        ]
        rows_near = slice(near[0], near[-1] + 1)
        along = gap_depth(rows[rows_near], x, left[rows_near], right[rows_near], gap)
        # The walls that are gone do not shine any more, so their bright edges go too.
        margin = 3 * (self.inner if fill else self.outer) + 0.5
        across = np.clip(x - left[rows_near, None] + margin, 0, 1)
        across *= np.clip(right[rows_near, None] - x + margin, 0, 1)
        profile = self.space + self._step(along if fill else -along)
        weight = across * np.clip(along + 0.5, 0, 1)
        patch = image[rows_near, start:stop]
        patch += (weight * (profile - patch)).astype(np.float32)
        # The new ends of the line (or of the space) are edges too: they shine on what remains.
        outside = across * np.clip(0.5 - along, 0, 1)
        plain = self.space if fill else self.line
        patch += (outside * (profile - plain)).astype(np.float32)


def gap_depth(
    rows: NDArray[np.float64],
    x: NDArray[np.float64],
    left: NDArray[np.float64],
    right: NDArray[np.float64],
    gap: Planted,
) -> NDArray[np.float64]:
    """Signed distance along y from the ends of a break or bridge, positive within it.

    The ends are bowed: the gap is higher at the walls than in its middle, as surface tension
    rounds the ends of a broken line and gives a bridge its meniscus.
    """
    width = np.maximum(right - left, 1e-6)[:, None]
    off_centre = np.clip(2 * (x - left[:, None]) / width - 1, -1, 1)
    bow = 0.25 * gap.width_px * off_centre**2
    return np.asarray(gap.height_px / 2 + bow - np.abs(rows - gap.y_px)[:, None], np.float64)


def gap_edges(
    edges: NDArray[np.float64], gap: Planted
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return the two edges between which a break or a bridge lies, one x a row."""
    row = int(np.clip(round(gap.y_px), 0, edges.shape[1] - 1))
    right = int(np.searchsorted(edges[:, row], gap.x_px))
    return edges[right - 1], edges[right]


def _keep_order(edges: NDArray[np.float64], gap_px: float = 0.25) -> None:
    """Part edges that roughness made cross: the later one is moved to the right."""
    for i in range(1, edges.shape[0]):
        np.maximum(edges[i], edges[i - 1] + gap_px, out=edges[i])


def _dent_edges(
    edges: NDArray[np.float64],
    kinds: list[str],
    rng: np.random.Generator,
    cd: float,
    width: int,
) -> list[Planted]:
    """Push single edges into their line, in place (a mouse bite)."""
    height = edges.shape[1]
    planted = []
    rows = np.arange(height)
    for _ in range(kinds.count("dent")):
        inside = np.nonzero((edges[:, height // 2] > 1) & (edges[:, height // 2] < width - 2))[0]
        if inside.size == 0:
            break
        edge = int(rng.choice(inside))
        depth = float(rng.uniform(0.25, 0.45)) * cd
        sigma = float(rng.uniform(0.25, 0.5)) * cd
        y = float(rng.uniform(0.15, 0.85) * (height - 1))
        sign = 1 if edge % 2 == 0 else -1
        x = float(np.interp(y, rows, edges[edge]))
        edges[edge] += sign * depth * np.exp(-0.5 * ((rows - y) / sigma) ** 2)
        _keep_order(edges[edge - edge % 2 : edge - edge % 2 + 2])
        planted.append(Planted("dent", y, x + sign * depth / 2, 2.355 * sigma, depth, float("nan")))
    return planted


def _place_gaps(
    edges: NDArray[np.float64],
    kinds: list[str],
    rng: np.random.Generator,
    cd: float,
    pitch: float,
    width: int,
) -> tuple[list[Planted], list[Planted]]:
    """Choose where lines break and where spaces are bridged."""
    height = edges.shape[1]
    found: dict[str, list[Planted]] = {"break": [], "bridge": []}
    taken: set[int] = set()
    for kind in [k for k in kinds if k in found]:
        # A break lies between edges 2 i and 2 i + 1, a bridge between 2 i + 1 and 2 i + 2.
        starts = range(0 if kind == "break" else 1, edges.shape[0] - 1, 2)
        middle = height // 2
        whole = [
            i
            for i in starts
            if edges[i, middle] > 1 and edges[i + 1, middle] < width - 2 and i not in taken
        ]
        if not whole:
            continue
        i = int(rng.choice(whole))
        taken.add(i)
        y = float(rng.uniform(0.2, 0.8) * (height - 1))
        row = round(y)
        size = float(rng.uniform(0.4, 1.0)) * (cd if kind == "break" else pitch - cd)
        gap = float(edges[i + 1, row] - edges[i, row])
        x = float(edges[i, row] + gap / 2)
        found[kind].append(Planted(kind, y, x, max(size, 2.0), gap))
    return found["break"], found["bridge"]


def _labels(
    edges: NDArray[np.float64], shape: tuple[int, int], gaps: list[Planted]
) -> NDArray[np.int32]:
    labels = np.zeros(shape, np.int32)
    columns = np.arange(shape[1])
    for left, right in zip(edges[0::2], edges[1::2], strict=True):
        start = max(int(left.min()) - 1, 0)
        stop = min(int(right.max()) + 2, shape[1])
        if start >= stop:
            continue
        x = columns[None, start:stop]
        labels[:, start:stop] |= (x >= left[:, None]) & (x < right[:, None])
    rows = np.arange(shape[0], dtype=np.float64)
    for gap in gaps:
        left, right = gap_edges(edges, gap)
        inside = gap_depth(rows, columns[None, :].astype(np.float64), left, right, gap) >= 0
        region = (columns >= left[:, None]) & (columns < right[:, None]) & inside
        labels[region] = int(gap.kind == "bridge")
    return labels


def _line_table(edges: NDArray[np.float64], width: int, nm: float) -> pd.DataFrame:
    left, right = edges[0::2], edges[1::2]
    cd = right - left
    three_sigma = 3 * nm
    return pd.DataFrame(
        {
            "line": np.arange(left.shape[0]),
            "complete": (left.min(axis=1) >= -0.5) & (right.max(axis=1) <= width - 0.5),
            "center_px": (left + right).mean(axis=1) / 2,
            "center_nm": (left + right).mean(axis=1) / 2 * nm,
            "cd_px": cd.mean(axis=1),
            "cd_nm": cd.mean(axis=1) * nm,
            "lwr_3sigma_nm": three_sigma * cd.std(axis=1),
            "ler_left_3sigma_nm": three_sigma * left.std(axis=1),
            "ler_right_3sigma_nm": three_sigma * right.std(axis=1),
        }
    )

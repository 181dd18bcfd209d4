"""Scene `nand`: a hexagonal array of channel holes, as in 3D NAND seen from above."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import cached_property

import cv2
import numpy as np
import pandas as pd
from numpy.typing import NDArray

from everhart.errors import UsageError, unknown_name
from everhart.simulate.defects import (
    DefectRequest,
    Planted,
    defect_table,
    measure_contrast,
    paint_particles,
    requested_defects,
)
from everhart.simulate.scene import (
    Image,
    Scene,
    Truth,
    check_range,
    checked_pixel_size,
    checked_shape,
    smooth_noise,
)

__all__ = ["HOLE_KINDS", "nand"]

#: Kinds of holes: the normal one and those that differ in structure.
HOLE_KINDS = ("normal", "oval", "dented", "faint-ring")

# The default array, 9 rows of 12 holes, fills an image of 2048 x 3072 pixels of 0.6 nm.
_DEFAULT_PIXELS = 2048 * 3072
_DEFAULT_PIXEL_NM = 0.6


@dataclass(frozen=True)
class _Hole:
    """One hole, in pixels: an ellipse, its harmonics and its dent."""

    y: float
    x: float
    radius: float  # of the circle with the ellipse's area
    aspect: float  # minor over major axis
    angle: float  # of the major axis, radians, from +x towards +y
    harmonics: NDArray[np.float64]  # (n, 3): order, relative strength, phase
    dent_depth: float  # relative to the radius
    dent_angle: float
    dent_width: float  # radians
    ring: float  # brightness of the inner ring
    kind: str

    def edge(self, angle: NDArray[np.floating]) -> NDArray[np.float64]:
        """Return the radius in a direction."""
        turned = angle - self.angle
        major = self.radius / np.sqrt(self.aspect)
        minor = self.radius * np.sqrt(self.aspect)
        radius = major * minor / np.hypot(minor * np.cos(turned), major * np.sin(turned))
        factor = np.ones_like(turned)
        for order, strength, phase in self.harmonics:
            factor += strength * np.cos(order * angle + phase)
        if self.dent_depth:
            away = np.angle(np.exp(1j * (angle - self.dent_angle)))
            factor -= self.dent_depth * np.exp(-0.5 * (away / self.dent_width) ** 2)
        return np.asarray(radius * factor, np.float64)

    @cached_property
    def outline(self) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Angles and radii of the contour.

        Between the points the radius is interpolated linearly: exact to 0.01 px for the
        sharpest dents.
        """
        points = 360 if self.radius < 40 else 1440
        angle = np.asarray(np.arange(points) * (2 * np.pi / points), np.float64)
        return angle, self.edge(angle)


def nand(
    rng: np.random.Generator,
    *,
    shape: tuple[int, int] = (2048, 3072),
    pixel_size_nm: float | tuple[float, float] | None = None,
    kind: str | Mapping[str, float] = "normal",
    pitch_nm: float = 146.0,
    diameter_nm: float = 98.0,
    diameter_sigma_nm: float = 1.5,
    placement_sigma_nm: float = 1.0,
    ellipticity: float = 0.02,
    contour_roughness: float = 0.008,
    rim_level: float = 0.45,
    rim_width_nm: float = 6.0,
    surface_level: float = 0.36,
    hole_level: float = 0.08,
    ring_level: float = 0.16,
    ring_radius: float = 0.62,
    ring_width_nm: float = 6.0,
    texture: float = 0.015,
    border: str = "complete",
    defects: DefectRequest = (),
) -> Scene:
    """Make a hexagonal array of holes with bright rims and a faint inner ring.

    Rows run along x, every other one is shifted by half a pitch. With the default shape there
    are 108 holes, 9 rows of 12; with another shape the default pixel size scales so that the
    field of view keeps its area.

    Parameters
    ----------
    rng
        Source of randomness.
    shape
        ``(H, W)`` in pixels.
    pixel_size_nm
        Square pixels, in nm; where None, 0.6 nm for 2048 x 3072 pixels and larger in inverse
        proportion to the root of the number of pixels.
    kind
        ``normal``, or one of the structurally different: ``oval`` (minor over major axis 0.72
        to 0.86), ``dented`` (an edge pushed in by 18 to 32 % of the radius), ``faint-ring`` (the
        inner ring barely visible); or the shares of kinds, as ``{"normal": 0.9, "oval": 0.1}``.
    pitch_nm, diameter_nm
        Distance of neighbouring centres in a row; mean diameter.
    diameter_sigma_nm, placement_sigma_nm
        Standard deviation of diameters, and of centres in y and in x.
    ellipticity
        Standard deviation of ``1 - minor / major`` of normal holes.
    contour_roughness
        Relative strength of the harmonics 3 to 7 of the contour.
    rim_level, rim_width_nm
        Brightness that the rim adds, and its decay length.
    surface_level, hole_level
        Brightness of the surface between the holes, and of their bottom.
    ring_level, ring_radius, ring_width_nm
        Brightness that the inner ring adds, its radius relative to the hole's, its width (full
        width at half maximum).
    texture
        Standard deviation of the grain of the surface.
    border
        ``complete``: only holes that lie in the image with their rims; ``cut``: the array goes
        on beyond the image's border.
    defects
        Kinds or numbers of ``missing_hole``, ``dent`` and ``particle``.

    Returns
    -------
    Scene
        Truth: table ``holes`` (``label``, ``row``, ``column``, ``kind``, ``complete``, ``y_px``,
        ``x_px`` of the contour's centroid, ``diameter_px`` of the circle of equal area,
        ``major_px`` and ``minor_px`` of the ellipse without harmonics and dent, its
        ``angle_deg``, ``ring_radius_px``, ``ring_contrast``, and the same in nm); the label map
        has each hole's label. A missing hole is in the table of defects and not in ``holes``.

    Raises
    ------
    UsageError
        If a parameter is outside of its range, or no hole fits in the image.
    """
    height, width = checked_shape(shape)
    if pixel_size_nm is None:
        pixel_size_nm = _DEFAULT_PIXEL_NM * float(np.sqrt(_DEFAULT_PIXELS / (height * width)))
    pixel = checked_pixel_size(pixel_size_nm)
    nm = pixel[0]
    shares = _kind_shares(kind)
    if border not in ("complete", "cut"):
        raise unknown_name("border", str(border), ("complete", "cut"))
    for name, level in (("surface_level", surface_level), ("hole_level", hole_level)):
        check_range(name, level, 0, 1)
    check_range("rim_level", rim_level, 0)
    check_range("rim_width_nm", rim_width_nm, 1e-6)
    check_range("ring_width_nm", ring_width_nm, 1e-6)
    check_range("ring_radius", ring_radius, 0, 1)
    check_range("texture", texture, 0)
    if not 0 < diameter_nm < pitch_nm:
        raise UsageError(
            f"diameter_nm = {diameter_nm!r} was given with pitch_nm = {pitch_nm!r}: the hole must "
            "be wider than 0 and narrower than the pitch."
        )
    kinds = requested_defects(defects, "nand")
    pitch, radius = pitch_nm / nm, diameter_nm / nm / 2
    reach = radius + rim_width_nm / nm
    sites = _lattice((height, width), pitch, reach if border == "complete" else -reach)
    if not sites:
        raise UsageError(
            f"No complete hole of pitch {pitch:.0f} px fits in an image of {height} x {width} "
            "pixels: give a larger pixel_size_nm, a smaller pitch_nm or border='cut'."
        )
    holes = []
    for _, _, y, x in sites:
        name = str(rng.choice(list(shares), p=list(shares.values())))
        jitter = rng.normal(0, placement_sigma_nm / nm, 2)
        size = max(radius + rng.normal(0, diameter_sigma_nm / nm / 2), 0.3 * radius)
        holes.append(
            _draw_hole(
                rng, name, y + jitter[0], x + jitter[1], size, ellipticity,
                contour_roughness, ring_level,
            )
        )  # fmt: skip
    order = rng.permutation(len(holes))
    missing = {int(i) for i in order[: kinds.count("missing_hole")]}
    dents = [int(i) for i in order[len(missing) :][: kinds.count("dent")]]
    undented = {i: holes[i] for i in dents}
    for i in dents:
        holes[i] = _dented(holes[i], rng)

    style = _Style(
        rim_level,
        rim_width_nm / nm,
        surface_level,
        hole_level,
        ring_radius,
        max(ring_width_nm / nm / 2.355, 0.5),
    )
    image = np.full((height, width), surface_level, np.float32)
    if texture > 0:
        image += np.float32(texture) * smooth_noise((height, width), rng, max(4.0 / nm, 1.0))
    defect_free = image.copy() if kinds else None
    labels = np.zeros((height, width), np.int32)
    planted: list[Planted] = []
    rows: list[dict[str, object]] = []
    for i, (hole, (row, column, _, _)) in enumerate(zip(holes, sites, strict=True)):
        if defect_free is not None:
            style.paint(defect_free, np.zeros_like(labels), undented.get(i, hole), 1)
        if i in missing:
            size = 2 * hole.radius
            found = Planted("missing_hole", hole.y, hole.x, size, size)
            with_hole = image.copy()
            style.paint(with_hole, np.zeros_like(labels), hole, 1)
            planted.append(measure_contrast(found, with_hole, image))
            continue
        label = len(rows) + 1
        if i in undented:
            before = image.copy()
            style.paint(before, np.zeros_like(labels), undented[i], 1)
            style.paint(image, labels, hole, label)
            planted.append(measure_contrast(_dent_truth(hole, undented[i]), before, image))
        else:
            style.paint(image, labels, hole, label)
        rows.append(_hole_row(hole, label, row, column, (height, width), style, nm))
    np.clip(image, 0, 1, out=image)
    if defect_free is not None:
        np.clip(defect_free, 0, 1, out=defect_free)
    planted += paint_particles(image, kinds.count("particle"), rng, 0.35 * radius)
    truth = Truth(
        labels=labels,
        label_names={0: "surface"},
        tables={"holes": pd.DataFrame(rows), "defects": defect_table(planted, nm)},
    )
    return Scene(
        image,
        pixel,
        truth,
        "nand",
        {
            "kind": kind if isinstance(kind, str) else dict(kind),
            "pitch_nm": pitch_nm,
            "diameter_nm": diameter_nm,
            "border": border,
        },
        defect_free,
    )


class _Style:
    """Brightness of a hole as a function of the distance from its contour."""

    def __init__(
        self,
        rim: float,
        rim_width: float,
        surface: float,
        bottom: float,
        ring_radius: float,
        ring_sigma: float,
    ) -> None:
        self.rim, self.rim_width = rim, rim_width
        self.surface, self.bottom = surface, bottom
        self.ring_radius, self.ring_sigma = ring_radius, ring_sigma
        # The wall falls away within a third of the rim's width, at least one pixel.
        self.wall = max(rim_width / 3, 0.4)
        self.reach = 6 * rim_width

    def paint(self, image: Image, labels: NDArray[np.int32], hole: _Hole, label: int) -> None:
        """Add a hole to the image and to the label map, in place."""
        largest = float(hole.outline[1].max()) + self.reach
        rows = slice(max(int(hole.y - largest), 0), min(int(hole.y + largest) + 2, image.shape[0]))
        columns = slice(
            max(int(hole.x - largest), 0), min(int(hole.x + largest) + 2, image.shape[1])
        )
        if rows.start >= rows.stop or columns.start >= columns.stop:
            return
        dy = np.arange(rows.start, rows.stop, dtype=np.float32)[:, None] - np.float32(hole.y)
        dx = np.arange(columns.start, columns.stop, dtype=np.float32)[None, :] - np.float32(hole.x)
        dy, dx = np.broadcast_arrays(dy, dx)
        radius, angle = cv2.cartToPolar(np.ascontiguousarray(dx), np.ascontiguousarray(dy))
        radii = hole.outline[1]
        table = np.append(radii, radii[0]).astype(np.float32)
        position = angle * np.float32(radii.size / (2 * np.pi))
        whole = np.clip(position.astype(np.int32), 0, radii.size - 1)
        edge = table[whole] + (position - whole) * (table[whole + 1] - table[whole])
        distance = radius - edge  # positive outside
        inside = np.clip(0.5 - distance, 0, 1)
        outward = np.exp(np.maximum(distance, 0) * np.float32(-1 / self.rim_width))
        inward = np.exp(np.minimum(distance, 0) * np.float32(1 / self.wall))
        # A rim fades in over the wall and is brightest at the contour.
        patch = image[rows, columns]
        ring = radius - self.ring_radius * edge
        bottom = self.bottom + hole.ring * np.exp(
            np.float32(-0.5 / self.ring_sigma**2) * ring * ring
        )
        peak = self.surface + self.rim
        patch += np.where(distance > 0, np.float32(self.rim), 0) * outward * (1 - inside)
        patch += inside * (bottom + (peak - bottom) * inward - patch)
        within = distance <= 0
        labels[rows, columns][within] = label


def _lattice(
    shape: tuple[int, int], pitch: float, margin: float
) -> list[tuple[int, int, float, float]]:
    """Return (row, column, y, x) of the hexagonal sites at least `margin` inside of the image."""
    height, width = shape
    step_y = pitch * np.sqrt(3) / 2
    centre_y, centre_x = (height - 1) / 2, (width - 1) / 2
    n_rows = int((height - 2 * margin) // step_y) + 1
    # Half a pitch is needed for the shifted rows.
    n_columns = int((width - 2 * margin - pitch / 2) // pitch) + 1
    sites = []
    for row in range(max(n_rows, 0)):
        y = centre_y + (row - (n_rows - 1) / 2) * step_y
        shift = pitch / 4 if row % 2 else -pitch / 4
        for column in range(max(n_columns, 0)):
            x = centre_x + (column - (n_columns - 1) / 2) * pitch + shift
            sites.append((row, column, float(y), float(x)))
    return sites


def _kind_shares(kind: str | Mapping[str, float]) -> dict[str, float]:
    if not isinstance(kind, str | Mapping):
        raise UsageError(
            f"kind = {kind!r} was given: give one of {', '.join(HOLE_KINDS)}, or a share for each."
        )
    shares = {kind: 1.0} if isinstance(kind, str) else {str(k): float(v) for k, v in kind.items()}
    for name in shares:
        if name not in HOLE_KINDS:
            raise unknown_name("kind of hole", name, HOLE_KINDS)
    total = sum(shares.values())
    if not total > 0 or min(shares.values()) < 0:
        raise UsageError(f"Shares {kind!r} of kinds were given: give numbers >= 0, not all 0.")
    return {name: share / total for name, share in shares.items()}


def _draw_hole(
    rng: np.random.Generator,
    kind: str,
    y: float,
    x: float,
    radius: float,
    ellipticity: float,
    roughness: float,
    ring: float,
) -> _Hole:
    orders = np.arange(3, 8)
    strength = np.abs(rng.normal(0, roughness, orders.size)) / np.sqrt(orders - 2)
    harmonics = np.stack([orders, strength, rng.uniform(0, 2 * np.pi, orders.size)], axis=1)
    aspect = 1 - min(abs(rng.normal(0, ellipticity)), 0.1)
    if kind == "oval":
        aspect = float(rng.uniform(0.72, 0.86))
    ring *= float(rng.uniform(0.85, 1.15))
    if kind == "faint-ring":
        ring *= float(rng.uniform(0.08, 0.2))
    hole = _Hole(
        y=float(y), x=float(x), radius=float(radius), aspect=aspect,
        angle=float(rng.uniform(0, np.pi)), harmonics=harmonics,
        dent_depth=0.0, dent_angle=0.0, dent_width=1.0, ring=ring, kind=kind,
    )  # fmt: skip
    return _dented(hole, rng) if kind == "dented" else hole


def _dented(hole: _Hole, rng: np.random.Generator) -> _Hole:
    return replace(
        hole,
        dent_depth=float(rng.uniform(0.18, 0.32)),
        dent_angle=float(rng.uniform(0, 2 * np.pi)),
        dent_width=float(rng.uniform(0.22, 0.4)),
    )


def _dent_truth(hole: _Hole, plain: _Hole) -> Planted:
    """Return the box of the crescent between the contours with and without the dent."""
    angle, inner = hole.outline
    outer = plain.edge(angle)
    near = outer - inner > 0.1 * (outer - inner).max()
    ys = np.concatenate([inner[near], outer[near]]) * np.tile(np.sin(angle[near]), 2) + hole.y
    xs = np.concatenate([inner[near], outer[near]]) * np.tile(np.cos(angle[near]), 2) + hole.x
    return Planted(
        "dent",
        float((ys.min() + ys.max()) / 2),
        float((xs.min() + xs.max()) / 2),
        float(np.ptp(ys)),
        float(np.ptp(xs)),
    )


def _hole_row(
    hole: _Hole,
    label: int,
    row: int,
    column: int,
    shape: tuple[int, int],
    style: _Style,
    nm: float,
) -> dict[str, object]:
    angle, radius = hole.outline
    y, x = hole.y + radius * np.sin(angle), hole.x + radius * np.cos(angle)
    inside = min(y.min(), x.min()) >= -0.5
    inside &= bool(y.max() <= shape[0] - 0.5 and x.max() <= shape[1] - 0.5)
    area = float(0.5 * np.mean(radius**2) * 2 * np.pi)
    moment = 2 * np.pi / 3 / area * radius**3  # of the sector, over its area
    lengths = {
        "y": hole.y + float(np.mean(moment * np.sin(angle))),
        "x": hole.x + float(np.mean(moment * np.cos(angle))),
        "diameter": 2 * float(np.sqrt(area / np.pi)),
        "major": 2 * hole.radius / float(np.sqrt(hole.aspect)),
        "minor": 2 * hole.radius * float(np.sqrt(hole.aspect)),
        "ring_radius": style.ring_radius * hole.radius,
    }
    return {
        "label": label,
        "row": row,
        "column": column,
        "kind": hole.kind,
        "complete": bool(inside),
        **{f"{name}_px": value for name, value in lengths.items()},
        **{f"{name}_nm": value * nm for name, value in lengths.items()},
        "area_nm2": area * nm**2,
        "angle_deg": float(np.degrees(hole.angle)),
        "ring_contrast": hole.ring,
    }

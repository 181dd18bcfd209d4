"""Scene `stack`: a device in cross-section, as a transmission electron microscope shows it."""

from __future__ import annotations

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from everhart.errors import UsageError
from everhart.simulate.defects import (
    DefectRequest,
    defect_table,
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

__all__ = ["STACK_CLASSES", "stack"]

#: Name of each label of the scene `stack`.
STACK_CLASSES = {
    0: "fill",
    1: "metal",
    2: "high-k",
    3: "oxide",
    4: "substrate",
    5: "trench oxide",
}


def stack(
    rng: np.random.Generator,
    *,
    shape: tuple[int, int] = (512, 512),
    pixel_size_nm: float | tuple[float, float] | None = None,
    fins: int = 2,
    fin_width_nm: float = 8.0,
    fin_height_nm: float = 18.0,
    fin_taper: float = 0.08,
    oxide_nm: float = 1.2,
    high_k_nm: float = 2.2,
    metal_nm: float = 6.0,
    roughness_nm: float = 0.15,
    correlation_length_nm: float = 4.0,
    interface_width_nm: float = 0.25,
    lattice_nm: float = 0.3136,
    lattice_contrast: float = 0.07,
    tilt_deg: float = 0.0,
    substrate_level: float = 0.45,
    trench_level: float = 0.68,
    oxide_level: float = 0.74,
    high_k_level: float = 0.14,
    metal_level: float = 0.32,
    fill_level: float = 0.60,
    texture: float = 0.02,
    defects: DefectRequest = (),
) -> Scene:
    """Make a gate stack over fins (or over a plane, with ``fins=0``) in bright field.

    From below: crystalline substrate with two sets of {111} lattice fringes, 70.5 degrees
    apart; between the fins the trench oxide; over both the conformal layers thin oxide, high-k
    (dark: heavy atoms) and metal (grainy); the fill. Layer boundaries are level sets of the exact
    distance to the outline of fins and trench, moved by a self-affine roughness of their own
    which is common to a column of the image.

    Parameters
    ----------
    rng
        Source of randomness.
    shape
        ``(H, W)`` in pixels.
    pixel_size_nm
        Square pixels, in nm; where None, 0.1 nm for 512 x 512 pixels and in inverse
        proportion to the shorter side.
    fins
        Number of fins; 0 for a planar stack.
    fin_width_nm, fin_height_nm, fin_taper
        Width at half of the height above the trench oxide, that height, and the slope of the
        side walls (horizontal over vertical).
    oxide_nm, high_k_nm, metal_nm
        Thickness of the conformal layers; 0 leaves one out.
    roughness_nm, correlation_length_nm
        Standard deviation and correlation length of each interface.
    interface_width_nm
        Width (standard deviation) over which the brightness changes at an interface.
    lattice_nm, lattice_contrast
        Spacing and amplitude of the fringes; fringes finer than 2.2 pixels are left out, as
        the camera cannot show them.
    tilt_deg
        Rotation of the lattice in the image.
    substrate_level, trench_level, oxide_level, high_k_level, metal_level, fill_level
        Brightness of the materials.
    texture
        Standard deviation of the speckle of the amorphous materials.
    defects
        Kinds or numbers of ``particle``.

    Returns
    -------
    Scene
        Truth: table ``layers`` (``layer``, ``thickness_nm`` as made, ``mean_thickness_nm`` and
        ``sigma_thickness_nm`` along the vertical over the columns where the outline is
        horizontal, and ``mean_thickness_px``); ``edges_px`` of shape ``(4, W)``: y of the topmost
        crossing of each interface in each column, top to bottom (fill/metal, metal/high-k,
        high-k/oxide, oxide/substrate or trench oxide); labels as in `STACK_CLASSES`.
    """
    height, width = checked_shape(shape)
    if pixel_size_nm is None:
        pixel_size_nm = 51.2 / min(height, width)
    pixel = checked_pixel_size(pixel_size_nm)
    nm = pixel[0]
    if int(fins) != fins or fins < 0:
        raise UsageError(f"fins = {fins!r} was given: give a whole number >= 0.")
    for name, value in (
        ("oxide_nm", oxide_nm),
        ("high_k_nm", high_k_nm),
        ("metal_nm", metal_nm),
        ("roughness_nm", roughness_nm),
        ("interface_width_nm", interface_width_nm),
        ("texture", texture),
        ("lattice_contrast", lattice_contrast),
    ):
        check_range(name, value, 0)
    check_range("fin_width_nm", fin_width_nm, nm)
    check_range("fin_height_nm", fin_height_nm, nm)
    check_range("fin_taper", fin_taper, 0, 1)
    levels = (
        fill_level, metal_level, high_k_level, oxide_level, substrate_level, trench_level,
    )  # fmt: skip
    for value in levels:
        check_range("level", value, 0, 1)
    kinds = requested_defects(defects, "stack")

    outline = _Outline.make(
        rng, (height, width), int(fins), fin_width_nm / nm, fin_height_nm / nm, fin_taper
    )
    distance = outline.distance((height, width))
    thickness = np.array([oxide_nm, high_k_nm, metal_nm]) / nm
    bounds = np.concatenate([[0.0], np.cumsum(thickness)])
    rough = rough_edges(
        4, width, rng, sigma=roughness_nm / nm, correlation_length=correlation_length_nm / nm,
        hurst=0.6,
    )  # fmt: skip
    levels_px = bounds[:, None] + rough  # (4, W), from the substrate outwards
    np.maximum.accumulate(levels_px, axis=0, out=levels_px)

    soft = max(interface_width_nm / nm, 0.3)
    image, labels = _compose(
        rng, distance, levels_px, outline, levels, soft, texture, metal_grain=5.0 / nm
    )
    if lattice_contrast > 0 and lattice_nm / nm >= 2.2:
        fringes = _fringes((height, width), rng, lattice_nm / nm, tilt_deg)
        body = _ramp(-(distance - levels_px[0]), soft) * outline.crystal((height, width), soft)
        image += np.float32(lattice_contrast) * body * fringes
    np.clip(image, 0, 1, out=image)
    defect_free = image.copy() if kinds else None
    # What is heavy is dark in bright field.
    planted = paint_particles(
        image, kinds.count("particle"), rng, max(2.0 / nm, 3.0), brightness=(0.03, 0.15)
    )

    edges = _crossings(distance, levels_px)[::-1]
    flat = outline.flat_columns(width, 2 * float(bounds[-1]) + 2)
    truth = Truth(
        labels=labels,
        label_names=STACK_CLASSES,
        tables={
            "layers": _layer_table(levels_px, (oxide_nm, high_k_nm, metal_nm), flat, nm),
            "defects": defect_table(planted, nm),
        },
        edges_px=edges,
        edge_names=("fill/metal", "metal/high-k", "high-k/oxide", "oxide/below"),
    )
    return Scene(
        image,
        pixel,
        truth,
        "stack",
        {
            "fins": int(fins),
            "fin_width_nm": fin_width_nm,
            "fin_height_nm": fin_height_nm,
            "oxide_nm": oxide_nm,
            "high_k_nm": high_k_nm,
            "metal_nm": metal_nm,
            "roughness_nm": roughness_nm,
            "correlation_length_nm": correlation_length_nm,
            "lattice_nm": lattice_nm,
        },
        defect_free,
    )


class _Outline:
    """The outline over which the layers are grown: plane, or trench oxide with fins."""

    def __init__(self, base: float, centers: NDArray[np.float64], fin: tuple[float, float, float]):
        self.base = base  # y of the plane, or of the trench oxide's surface
        self.centers = centers
        self.half, self.height, self.taper = fin  # half width at half height, height, slope

    @classmethod
    def make(
        cls,
        rng: np.random.Generator,
        shape: tuple[int, int],
        fins: int,
        fin_width: float,
        fin_height: float,
        taper: float,
    ) -> _Outline:
        height, width = shape
        if fins == 0:
            return cls(0.62 * height, np.zeros(0), (1.0, 0.0, 0.0))
        pitch = width / fins
        top_width = fin_width - taper * fin_height
        room = pitch - fin_width - taper * fin_height
        if top_width <= 0 or room <= 0 or fin_height > 0.55 * height:
            raise UsageError(
                f"{fins} fins of {fin_width:.0f} x {fin_height:.0f} px do not fit in an image of "
                f"{height} x {width} pixels: give fewer or smaller fins, or a larger pixel_size_nm."
            )
        centers = (np.arange(fins) + 0.5) * pitch - 0.5 + rng.uniform(-0.1, 0.1) * room
        base = 0.5 * height + 0.5 * min(fin_height, 0.5 * height)
        return cls(float(base), np.asarray(centers, np.float64), (fin_width / 2, fin_height, taper))

    def _half_widths(self) -> tuple[float, float]:
        slope = self.taper * self.height / 2
        return self.half - slope, self.half + slope  # at the top, at the trench oxide

    def distance(self, shape: tuple[int, int]) -> Image:
        """Signed Euclidean distance to the outline, positive above it."""
        y = np.arange(shape[0], dtype=np.float32)[:, None]
        x = np.arange(shape[1], dtype=np.float32)[None, :]
        plane = np.float32(self.base) - y
        if self.centers.size == 0:
            return np.array(np.broadcast_to(plane, shape), np.float32)
        top, bottom = self._half_widths()
        # By symmetry one side of the nearest fin is enough.
        nearest = self.centers[np.abs(x[0][:, None] - self.centers).argmin(axis=1)]
        u = np.abs(x - nearest[None, :].astype(np.float32))
        v = plane  # height above the trench oxide
        tall = np.float32(self.height)
        # Top: segment (0, tall)-(top, tall); wall: (top, tall)-(bottom, 0); plane: from bottom on.
        to_top = np.hypot(np.maximum(u - np.float32(top), 0), v - tall)
        wall_u, wall_v = np.float32(bottom - top), -tall
        along = ((u - np.float32(top)) * wall_u + (v - tall) * wall_v) / (wall_u**2 + wall_v**2)
        along = np.clip(along, 0, 1)
        to_wall = np.hypot(u - np.float32(top) - along * wall_u, v - tall - along * wall_v)
        to_plane = np.hypot(np.minimum(u - np.float32(bottom), 0), v)
        away = np.minimum(np.minimum(to_top, to_wall), to_plane)
        half_here = np.float32(top) + (tall - v) / tall * wall_u
        below = (v < 0) | ((v < tall) & (u < half_here))
        return np.asarray(np.where(below, -away, away), np.float32)

    def crystal(self, shape: tuple[int, int], soft: float) -> Image:
        """Share of a pixel that is substrate rather than trench oxide, below the outline."""
        if self.centers.size == 0:
            return np.ones(shape, np.float32)
        y = np.arange(shape[0], dtype=np.float32)[:, None]
        x = np.arange(shape[1], dtype=np.float32)[None, :]
        nearest = self.centers[np.abs(x[0][:, None] - self.centers).argmin(axis=1)]
        u = np.abs(x - nearest[None, :].astype(np.float32))
        v = np.float32(self.base) - y
        top, bottom = self._half_widths()
        slope = np.float32((bottom - top) / self.height)
        # Walls go on below the trench oxide, to its floor 60 % of the fin's height further down.
        wall = (np.float32(top) + (np.float32(self.height) - v) * slope - u) / np.sqrt(1 + slope**2)
        floor = -v - np.float32(0.6 * self.height)
        return _ramp(np.maximum(wall, floor), soft)

    def flat_columns(self, width: int, clearance: float) -> NDArray[np.bool_]:
        """Columns in which the layers lie flat, away from fins."""
        x = np.arange(width)
        if self.centers.size == 0:
            return np.ones(width, bool)
        away = np.abs(x[:, None] - self.centers).min(axis=1)
        top, bottom = self._half_widths()
        return np.asarray((away > bottom + clearance / 2) | (away < top - 1), bool)


def _ramp(inside_px: NDArray[np.floating], soft: float) -> Image:
    """Smooth step from 0 to 1 of about the error function's shape, width `soft` (sigma)."""
    scaled = np.asarray(inside_px, np.float32) * np.float32(1.702 / soft)
    return np.asarray(1 / (1 + np.exp(-np.clip(scaled, -30, 30))), np.float32)


def _compose(
    rng: np.random.Generator,
    distance: Image,
    levels_px: NDArray[np.float64],
    outline: _Outline,
    levels: tuple[float, ...],
    soft: float,
    texture: float,
    metal_grain: float,
) -> tuple[Image, NDArray[np.int32]]:
    """Fill the regions with their brightness and texture; return image and labels."""
    shape = (distance.shape[0], distance.shape[1])
    fill, metal, high_k, oxide, substrate, trench = (np.float32(v) for v in levels)
    crystal = outline.crystal(shape, soft)
    speckle = np.float32(texture) * smooth_noise(shape, rng, 2.0)
    grain = np.float32(1.5 * texture) * np.sign(smooth_noise(shape, rng, metal_grain))
    image = fill + speckle
    above = levels_px.astype(np.float32)
    for bound, material in (
        (3, metal + grain + 0.5 * speckle),
        (2, high_k + 0.7 * speckle),
        (1, oxide + speckle),
        (0, trench + speckle + (substrate - trench - 0.5 * speckle) * crystal),
    ):
        share = _ramp(above[bound] - distance, soft)
        image += share * (material - image)
    labels = np.zeros(shape, np.int32)
    for bound, label in ((3, 1), (2, 2), (1, 3), (0, 4)):
        labels[distance <= above[bound]] = label
    labels[(labels == 4) & (crystal < 0.5)] = 5
    return image.astype(np.float32), labels


def _fringes(
    shape: tuple[int, int], rng: np.random.Generator, spacing: float, tilt_deg: float
) -> Image:
    """Two sets of lattice fringes whose strength varies over the field."""
    y = np.arange(shape[0], dtype=np.float32)[:, None]
    x = np.arange(shape[1], dtype=np.float32)[None, :]
    total = np.zeros(shape, np.float32)
    # {111} planes of a diamond lattice seen along [110], 70.53 degrees apart, symmetric to the
    # surface normal when it is [001].
    for angle in (35.26, -35.26):
        direction = np.radians(90 + angle + tilt_deg)
        wave = 2 * np.pi / spacing
        phase = wave * (y * np.sin(direction) + x * np.cos(direction)) + rng.uniform(0, 2 * np.pi)
        strength = 1 + 0.3 * smooth_noise(shape, rng, max(shape) / 3)
        total += 0.5 * strength * np.cos(phase)
    return total


def _crossings(distance: Image, levels_px: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return y of the topmost crossing of each level in each column; NaN where there is none."""
    found = np.full(levels_px.shape, np.nan)
    columns = np.arange(distance.shape[1])
    for i, level in enumerate(levels_px):
        below = distance <= level
        row = below.argmax(axis=0)
        some = below.any(axis=0) & (row > 0)
        here = distance[row, columns].astype(np.float64)
        above = distance[np.maximum(row - 1, 0), columns].astype(np.float64)
        step = np.where(above > here, above - here, 1.0)
        found[i] = np.where(some, row - (level - here) / step, np.nan)
    return found


def _layer_table(
    levels_px: NDArray[np.float64],
    thickness_nm: tuple[float, ...],
    flat: NDArray[np.bool_],
    nm: float,
) -> pd.DataFrame:
    thick = np.diff(levels_px, axis=0)[:, flat] if flat.any() else np.diff(levels_px, axis=0)
    return pd.DataFrame(
        {
            "layer": ["oxide", "high-k", "metal"],
            "thickness_nm": thickness_nm,
            "mean_thickness_px": thick.mean(axis=1),
            "mean_thickness_nm": thick.mean(axis=1) * nm,
            "sigma_thickness_nm": thick.std(axis=1) * nm,
        }
    )

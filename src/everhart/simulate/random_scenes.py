"""Scenes of all kinds with broadly random parameters, to train general denoisers on."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import cv2
import numpy as np
from numpy.typing import NDArray

from everhart.errors import unknown_name
from everhart.simulate.lines import lines
from everhart.simulate.nand import HOLE_KINDS, nand
from everhart.simulate.particles import particles
from everhart.simulate.scene import Image, Scene, Truth, checked_shape, empty_defects, smooth_noise
from everhart.simulate.stack import stack

__all__ = ["RANDOM_SCENES", "random_scene"]


def random_scene(
    rng: np.random.Generator,
    shape: tuple[int, int] = (256, 256),
    *,
    shares: Mapping[str, float] | None = None,
) -> Scene:
    """Draw a scene of random kind, scale, contrast and polarity.

    Besides the four scenes of devices and particles there are textures of general kind: `leaves`
    (dead leaves: overlapping shapes with power-law sizes, whose statistics are those of natural
    images [1]_), `noise` (band-limited and fractal textures, thresholded or not), `gratings`
    (periodic patterns, lattices), `porous` (two-phase microstructure) and `grains` (polycrystals).

    Parameters
    ----------
    rng
        Source of randomness.
    shape
        ``(H, W)`` in pixels, each at least 16.
    shares
        Relative frequency of each kind (see ``RANDOM_SCENES``); the built-in ones where None.

    Returns
    -------
    Scene
        Named as its kind. The brightness is remapped (contrast, gamma, polarity, a background
        that varies) after the scene was made, so only the geometry of its truth holds; textures
        have no truth but an empty label map.

    Raises
    ------
    UsageError
        For an unknown kind.

    References
    ----------
    .. [1] A. B. Lee, D. Mumford, J. Huang, "Occlusion models for natural images: a statistical
       study of a scale-invariant dead leaves model", Int. J. Computer Vision 41 (2001), 35-59.

    Examples
    --------
    >>> scene = random_scene(np.random.default_rng(0), (64, 64))
    >>> scene.image.shape, bool(0 <= scene.image.min() <= scene.image.max() <= 1)
    ((64, 64), True)
    """
    size = checked_shape(shape)
    table = dict(_SHARES) if shares is None else {str(k): float(v) for k, v in shares.items()}
    for name in table:
        if name not in RANDOM_SCENES:
            raise unknown_name("random scene", name, RANDOM_SCENES)
    weights = np.array(list(table.values()))
    kind = list(table)[int(rng.choice(len(table), p=weights / weights.sum()))]
    made = RANDOM_SCENES[kind](rng, size)
    if isinstance(made, Scene):
        image = _remapped(made.image, rng, keep=0.35)
        return Scene(image, made.pixel_size_nm, made.truth, made.name, made.parameters)
    truth = Truth(labels=np.zeros(size, np.int32), tables={"defects": empty_defects()})
    return Scene(_remapped(made, rng), (1.0, 1.0), truth, kind)


def _log_uniform(rng: np.random.Generator, low: float, high: float) -> float:
    return float(np.exp(rng.uniform(np.log(low), np.log(high))))


def _remapped(image: Image, rng: np.random.Generator, keep: float = 0.0) -> Image:
    """Give an image a random grey range, gamma, polarity and uneven background, within 0 to 1.

    With probability `keep` the image stays as it is, for scenes whose own brightness is real.
    """
    if rng.random() < keep:
        return image
    low, high = float(image.min()), float(image.max())
    unit = np.clip((image - low) * np.float32(1 / max(high - low, 1e-6)), 0, 1)
    if rng.random() < 0.25:
        unit = 1 - unit
    if rng.random() < 0.5:
        unit = np.power(unit, np.float32(_log_uniform(rng, 0.45, 2.2)))
    contrast = float(rng.uniform(0.15, 1.0) ** 0.7)
    floor = float(rng.uniform(0, 1 - contrast)) * float(rng.uniform(0.3, 1))
    unit = floor + contrast * unit
    if rng.random() < 0.3:
        shade = smooth_noise(unit.shape, rng, max(unit.shape) * float(rng.uniform(0.3, 1)))
        unit = unit * (1 + np.float32(rng.uniform(0, 0.2)) * shade)
    if rng.random() < 0.3:
        unit = cv2.GaussianBlur(unit, (0, 0), float(rng.uniform(0.4, 1.6)))
    return np.asarray(np.clip(unit, 0, 1), np.float32)


# -- the four scenes, at random scale -----------------------------------------------------


def _random_nand(rng: np.random.Generator, shape: tuple[int, int]) -> Scene:
    pitch_px = _log_uniform(rng, 14, 260)
    fill = rng.uniform(0.45, 0.85)
    weights = dict(zip(HOLE_KINDS, rng.dirichlet([2, 0.7, 0.7, 0.7]), strict=True))
    return nand(
        rng,
        shape=shape,
        pixel_size_nm=146.0 / pitch_px,
        kind=weights,
        diameter_nm=146.0 * float(fill),
        diameter_sigma_nm=float(rng.uniform(0, 6)),
        placement_sigma_nm=float(rng.uniform(0, 4)),
        contour_roughness=float(rng.uniform(0, 0.03)),
        rim_level=float(rng.uniform(0.05, 0.6)),
        rim_width_nm=float(rng.uniform(1.5, 10)),
        surface_level=float(rng.uniform(0.15, 0.6)),
        hole_level=float(rng.uniform(0.0, 0.3)),
        ring_level=float(rng.uniform(0.0, 0.3)),
        ring_radius=float(rng.uniform(0.3, 0.85)),
        ring_width_nm=float(rng.uniform(2, 14)),
        texture=float(rng.uniform(0, 0.04)),
        border="cut",
    )


def _random_lines(rng: np.random.Generator, shape: tuple[int, int]) -> Scene:
    pitch_px = _log_uniform(rng, 6, 160)
    cd_px = pitch_px * float(rng.uniform(0.25, 0.75))
    image_shape = shape if rng.random() < 0.6 else (shape[1], shape[0])
    scene = lines(
        rng,
        shape=image_shape,
        pixel_size_nm=1.0,
        cd_nm=cd_px,
        pitch_nm=pitch_px,
        sigma_nm=float(rng.uniform(0, 0.07)) * pitch_px,
        correlation_length_nm=_log_uniform(rng, 2, 60),
        hurst=float(rng.uniform(0.3, 1)),
        pair_correlation=float(rng.uniform(-0.5, 0.9)),
        line_level=float(rng.uniform(0.1, 0.7)),
        space_level=float(rng.uniform(0.02, 0.5)),
        edge_level=float(rng.uniform(0, 0.6)),
        edge_width_nm=_log_uniform(rng, 0.6, 6),
        shadow=float(rng.uniform(0, 0.6)),
        texture=float(rng.uniform(0, 0.04)),
    )
    if image_shape == shape and rng.random() < 0.7:
        return scene
    # Horizontal lines: the picture is turned, and with it the truth loses its row order.
    turned = scene.image.T if image_shape != shape else scene.image
    labels = scene.truth.labels.T if image_shape != shape else scene.truth.labels
    if turned.shape != shape:
        return scene
    truth = Truth(
        labels=np.ascontiguousarray(labels),
        label_names=scene.truth.label_names,
        tables={"defects": empty_defects()},
    )
    return Scene(np.ascontiguousarray(turned), scene.pixel_size_nm, truth, "lines")


def _random_particles(rng: np.random.Generator, shape: tuple[int, int]) -> Scene:
    largest = _log_uniform(rng, 12, 1.2 * max(shape))
    return particles(
        rng,
        shape=shape,
        pixel_size_nm=1.0,
        median_diameter_nm=largest * float(rng.uniform(0.06, 0.5)) + 2,
        sigma_log=float(rng.uniform(0.1, 1.1)),
        max_diameter_nm=largest,
        coverage=float(rng.uniform(0.1, 0.8)),
        overlap=float(rng.uniform(0, 0.5)),
        substrate_level=float(rng.uniform(0.02, 0.4)),
        small_level=float(rng.uniform(0.15, 0.6)),
        large_level=float(rng.uniform(0.3, 0.8)),
        level_diameter_nm=largest * float(rng.uniform(0.1, 0.7)),
        edge_level=float(rng.uniform(0.0, 0.35)),
        shading=float(rng.uniform(0, 0.4)),
        facets=float(rng.uniform(0, 4)),
        texture=float(rng.uniform(0, 0.06)),
    )


def _random_stack(rng: np.random.Generator, shape: tuple[int, int]) -> Scene:
    pixel = _log_uniform(rng, 0.06, 0.25)
    extent = min(shape) * pixel
    fins = int(rng.integers(0, 4))
    width = float(rng.uniform(0.15, 0.4)) * shape[1] * pixel / max(fins, 1)
    tall = float(rng.uniform(0.15, 0.45)) * shape[0] * pixel
    taper = float(min(rng.uniform(0, 0.15), 0.6 * width / tall))
    shades = rng.uniform(0.08, 0.85, 6)
    return stack(
        rng,
        shape=shape,
        pixel_size_nm=pixel,
        fins=fins,
        fin_width_nm=max(width, 2 * pixel),
        fin_height_nm=tall,
        fin_taper=taper,
        oxide_nm=float(rng.uniform(0.0, 0.08)) * extent,
        high_k_nm=float(rng.uniform(0.02, 0.12)) * extent,
        metal_nm=float(rng.uniform(0.02, 0.25)) * extent,
        roughness_nm=_log_uniform(rng, 0.03, 0.5),
        correlation_length_nm=_log_uniform(rng, 1, 10),
        interface_width_nm=_log_uniform(rng, 0.05, 0.6),
        lattice_nm=float(rng.choice([0.3136, 0.2, 0.4, 0.5, 0.8])),
        lattice_contrast=float(rng.uniform(0, 0.15)),
        tilt_deg=float(rng.uniform(-45, 45)),
        substrate_level=float(shades[0]),
        trench_level=float(shades[1]),
        oxide_level=float(shades[2]),
        high_k_level=float(shades[3]),
        metal_level=float(shades[4]),
        fill_level=float(shades[5]),
        texture=float(rng.uniform(0, 0.05)),
    )


# -- textures of general kind -------------------------------------------------------------


def _leaves(rng: np.random.Generator, shape: tuple[int, int]) -> Image:
    """Dead leaves: disks, ellipses, polygons and bars, the latest on top, shaded smoothly."""
    height, width = shape
    image = (rng.uniform(0, 1) + 0.2 * smooth_noise(shape, rng, 0.5 * max(shape))).astype(
        np.float32
    )
    smallest, largest = _log_uniform(rng, 1.5, 8), rng.uniform(0.15, 0.5) * max(shape)
    # Radii with density r^-3, between the two, by inversion: the scale-invariant case.
    count = int(rng.integers(60, 260))
    u = rng.uniform(0, 1, count)
    power = rng.uniform(1.2, 2.2)
    radii = (smallest**-power + u * (largest**-power - smallest**-power)) ** (-1 / power)
    rim = rng.random() < 0.4
    shift = 4  # fractional bits of OpenCV's coordinates
    mask = np.zeros(shape, np.uint8)
    shades = [smooth_noise(shape, rng, s * max(shape)) for s in (0.06, 0.4)]
    for radius in (
        np.sort(radii)[:: -1 if rng.random() < 0.5 else 1] if rng.random() < 0.7 else radii
    ):
        cy, cx = rng.uniform(0, height), rng.uniform(0, width)
        reach = int(1.5 * radius) + 3
        rows = slice(max(int(cy) - reach, 0), min(int(cy) + reach + 1, height))
        columns = slice(max(int(cx) - reach, 0), min(int(cx) + reach + 1, width))
        part = mask[rows, columns]
        if part.size == 0:
            continue
        part[:] = 0
        local = np.ascontiguousarray(part)
        _draw_leaf(local, rng, cy - rows.start, cx - columns.start, float(radius), shift)
        cover = local.astype(np.float32) * np.float32(1 / 255)
        level = np.float32(rng.uniform(0, 1))
        tone = level * (
            1 + np.float32(rng.uniform(0, 0.25)) * shades[int(rng.integers(2))][rows, columns]
        )
        if rim and radius > 4:
            # A bright border, as the edge of a step has it: the mask less its blurred self.
            inner = cv2.GaussianBlur(cover, (0, 0), float(rng.uniform(0.8, 2.5)))
            tone = tone + np.float32(rng.uniform(0.1, 0.8)) * (1 - inner)
        patch = image[rows, columns]
        patch += cover * (tone - patch)
    return image


def _draw_leaf(
    mask: NDArray[np.uint8],
    rng: np.random.Generator,
    cy: float,
    cx: float,
    radius: float,
    shift: int,
) -> None:
    """Draw one anti-aliased filled shape of about a radius, 255 inside."""
    scale = 1 << shift
    choice = rng.random()
    angle = float(rng.uniform(0, 2 * np.pi))
    if choice < 0.35:
        center = (round(cx * scale), round(cy * scale))
        cv2.circle(mask, center, round(radius * scale), 255, -1, cv2.LINE_AA, shift)
        return
    if choice < 0.6:  # an ellipse or a blob
        theta = np.linspace(0, 2 * np.pi, 40, endpoint=False)
        wobble = 1 + rng.uniform(0, 0.25) * np.cos(int(rng.integers(2, 6)) * theta + angle)
        u = radius * wobble * np.cos(theta)
        v = radius * float(rng.uniform(0.35, 1)) * wobble * np.sin(theta)
    elif choice < 0.85:  # a convex polygon
        corners = np.sort(rng.uniform(0, 2 * np.pi, int(rng.integers(3, 8))))
        u, v = radius * np.cos(corners), radius * np.sin(corners)
    else:  # a bar
        half = radius * float(rng.uniform(0.05, 0.3)) + 0.5
        u = 1.3 * np.array([-radius, radius, radius, -radius])
        v = np.array([-half, -half, half, half])
    x = cx + u * np.cos(angle) - v * np.sin(angle)
    y = cy + u * np.sin(angle) + v * np.cos(angle)
    points = np.rint(np.stack([x, y], axis=1) * scale).astype(np.int32)
    cv2.fillPoly(mask, [points], 255, cv2.LINE_AA, shift)


def _noise(rng: np.random.Generator, shape: tuple[int, int]) -> Image:
    """Sum of smooth fields over octaves with a random spectral slope; sometimes thresholded."""
    slope = float(rng.uniform(0, 1.6))
    length = _log_uniform(rng, 2, 0.4 * max(shape))
    image = np.zeros(shape, np.float32)
    while length >= 1.8:
        image += np.float32(length**slope) * smooth_noise(shape, rng, length)
        length /= 2
        if rng.random() < 0.15:  # band-limited: nothing finer
            break
    image /= max(float(image.std()), 1e-6)
    if rng.random() < 0.3:
        image = np.abs(image)
    return np.asarray(np.tanh(image * np.float32(rng.uniform(0.4, 1.2))), np.float32)


def _gratings(rng: np.random.Generator, shape: tuple[int, int]) -> Image:
    """One to three plane waves, sharp or soft, with a chirp, over patches: gratings, lattices."""
    y = np.arange(shape[0], dtype=np.float32)[:, None]
    x = np.arange(shape[1], dtype=np.float32)[None, :]
    angle = rng.uniform(0, np.pi)
    count = int(rng.choice([1, 1, 2, 2, 3]))
    period = _log_uniform(rng, 2.6, 60)
    bend = np.float32(rng.uniform(0, 0.6) * period / 2) * smooth_noise(shape, rng, max(shape) / 2)
    total = np.zeros(shape, np.float32)
    for i in range(count):
        turn = angle + i * np.pi / max(count, 2) + rng.normal(0, 0.02)
        along = y * np.float32(np.sin(turn)) + x * np.float32(np.cos(turn)) + bend
        total += np.cos(along * np.float32(2 * np.pi / period) + np.float32(rng.uniform(0, 6.3)))
    if rng.random() < 0.5:  # sharp bars or dots, anti-aliased by the slope of the wave itself
        sharpness = period / (2 * np.pi) * float(rng.uniform(0.3, 1.0))
        total = np.tanh((total - np.float32(rng.uniform(-0.6, 0.6))) * np.float32(sharpness))
    if rng.random() < 0.4:
        total *= np.clip(0.5 + smooth_noise(shape, rng, max(shape) / 3), 0, 1)
    return np.asarray(total, np.float32)


def _porous(rng: np.random.Generator, shape: tuple[int, int]) -> Image:
    """Two or three phases from level sets of smooth fields, with rims and inner texture."""
    length = _log_uniform(rng, 3, 0.35 * max(shape))
    base = smooth_noise(shape, rng, length) + 0.4 * smooth_noise(shape, rng, max(length / 3, 1.5))
    level = float(rng.uniform(-0.9, 0.9))
    sharp = np.float32(rng.uniform(0.35, 1.0) * length)
    step = np.clip(0.5 + (base - level) * sharp, 0, 1)
    image = step + np.float32(rng.uniform(0, 0.12)) * smooth_noise(shape, rng, 2.0) * step
    image += np.float32(rng.uniform(0, 0.1)) * smooth_noise(shape, rng, 5.0) * (1 - step)
    if rng.random() < 0.5:
        rim = np.exp(-(((base - level) * sharp * np.float32(rng.uniform(0.1, 0.5))) ** 2))
        image += np.float32(rng.uniform(0, 0.8)) * rim
    if rng.random() < 0.4:
        other = smooth_noise(shape, rng, length * 0.8)
        image += np.float32(rng.uniform(-0.6, 0.6)) * np.clip(0.5 + (other - 0.9) * sharp, 0, 1)
    return np.asarray(image, np.float32)


def _grains(rng: np.random.Generator, shape: tuple[int, int]) -> Image:
    """Voronoi cells of random brightness with dark or bright boundaries, sometimes scratched."""
    height, width = shape
    size = _log_uniform(rng, 8, 0.5 * max(shape))
    count = int(np.clip(height * width / size**2, 3, 900))
    seeds = np.stack([rng.uniform(-size, height + size, 2 * count),
                      rng.uniform(-size, width + size, 2 * count)], axis=1)  # fmt: skip
    from scipy.spatial import cKDTree

    y, x = np.mgrid[0:height, 0:width].astype(np.float32)
    warp = np.float32(rng.uniform(0, 0.3) * size)
    y += warp * smooth_noise(shape, rng, size)
    x += warp * smooth_noise(shape, rng, size)
    found = cKDTree(seeds).query(np.stack([y.ravel(), x.ravel()], axis=1), k=2)
    distance, nearest = np.asarray(found[0]), np.asarray(found[1])
    gap: Image = np.subtract(distance[:, 1], distance[:, 0], dtype=np.float32).reshape(shape)
    level = np.asarray(rng.uniform(0.2, 1, len(seeds)), np.float32)
    cells = nearest.reshape(*shape, 2)
    # Half and half at the boundary: the two cells' mean, weighted by the distance to it.
    own = np.clip(0.5 + gap / 2, 0, 1)
    image = own * level[cells[..., 0]] + (1 - own) * level[cells[..., 1]]
    line = np.exp(-((gap / np.float32(rng.uniform(1, 4))) ** 2))
    image += np.float32(rng.uniform(-0.6, 0.6)) * line
    image += np.float32(rng.uniform(0, 0.06)) * smooth_noise(shape, rng, 2.0)
    return np.asarray(image, np.float32)


#: Kinds of random scenes by name.
RANDOM_SCENES: Mapping[str, Callable[[np.random.Generator, tuple[int, int]], Scene | Image]] = {
    "nand": _random_nand,
    "lines": _random_lines,
    "particles": _random_particles,
    "stack": _random_stack,
    "leaves": _leaves,
    "noise": _noise,
    "gratings": _gratings,
    "porous": _porous,
    "grains": _grains,
}

_SHARES = {
    "nand": 0.12,
    "lines": 0.12,
    "particles": 0.16,
    "stack": 0.10,
    "leaves": 0.20,
    "noise": 0.06,
    "gratings": 0.06,
    "porous": 0.10,
    "grains": 0.08,
}

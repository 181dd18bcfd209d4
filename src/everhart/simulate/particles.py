"""Scene `particles`: spheres of many sizes on a dark substrate, like tin balls."""

from __future__ import annotations

import cv2
import numpy as np
import pandas as pd
from numpy.typing import NDArray

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

__all__ = ["particles"]


def particles(
    rng: np.random.Generator,
    *,
    shape: tuple[int, int] = (438, 508),
    pixel_size_nm: float | tuple[float, float] | None = None,
    median_diameter_nm: float = 50.0,
    sigma_log: float = 1.05,
    max_diameter_nm: float = 1800.0,
    coverage: float = 0.6,
    overlap: float = 0.03,
    substrate_level: float = 0.07,
    small_level: float = 0.17,
    large_level: float = 0.68,
    level_diameter_nm: float = 200.0,
    edge_level: float = 0.09,
    shading: float = 0.10,
    facets: float = 0.6,
    texture: float = 0.015,
    defects: DefectRequest = (),
) -> Scene:
    """Make spheres whose secondary-electron signal rises toward their edges.

    Sizes are log-normal and sorted in from large to small, with few overlaps, until the wanted
    share of the substrate is covered. The signal of a tilted surface is that of a flat one times
    ``1 / cos(tilt)`` [1]_, limited where the beam leaves the sphere; small spheres are darker,
    because the beam goes through them; large ones carry facets that catch the light.

    Parameters
    ----------
    rng
        Source of randomness.
    shape
        ``(H, W)`` in pixels.
    pixel_size_nm
        Square pixels, in nm; 5.828 where None.
    median_diameter_nm, sigma_log
        Median of the log-normal diameters, and standard deviation of their logarithm.
    max_diameter_nm
        Largest diameter.
    coverage
        Share of the image's area that spheres cover, 0 to 0.9.
    overlap
        Share of spheres that may lie over others.
    substrate_level, small_level, large_level
        Brightness of the substrate, of the smallest and of the largest spheres.
    level_diameter_nm
        Diameter at which the brightness is half of the way from small to large.
    edge_level
        Strength of the rise toward the edge.
    shading
        Brightness difference between the side that faces the detector and the other.
    facets
        Mean number of facets on a sphere of more than 25 pixels radius.
    texture
        Standard deviation of the texture of the substrate.
    defects
        Kinds or numbers of ``particle`` (dust) and ``dent`` (a pit in a sphere).

    Returns
    -------
    Scene
        Truth: table ``particles`` (``label``, ``complete``, ``visible``: share of its disk in
        the image that is not hidden, ``y_px``, ``x_px``, ``diameter_px``, and in nm); the label
        map has each visible sphere's label.

    References
    ----------
    .. [1] L. Reimer, "Scanning Electron Microscopy", Springer (1998), section 4.2.1: yield of
       secondary electrons against tilt.
    """
    height, width = checked_shape(shape)
    pixel = checked_pixel_size(5.828 if pixel_size_nm is None else pixel_size_nm)
    nm = pixel[0]
    check_range("coverage", coverage, 0, 0.9)
    check_range("overlap", overlap, 0, 1)
    check_range("median_diameter_nm", median_diameter_nm, 1e-6)
    check_range("max_diameter_nm", max_diameter_nm, 1e-6)
    check_range("sigma_log", sigma_log, 0, 3)
    for name, level in (
        ("substrate_level", substrate_level),
        ("small_level", small_level),
        ("large_level", large_level),
    ):
        check_range(name, level, 0, 1)
    kinds = requested_defects(defects, "particles")
    y, x, radius = _place(
        rng, (height, width), median_diameter_nm / nm / 2, sigma_log, max_diameter_nm / nm / 2,
        coverage, overlap,
    )  # fmt: skip

    image = np.full((height, width), substrate_level, np.float32)
    if texture > 0:
        for length, share in ((3.0, 0.5), (12.0, 0.7), (0.2 * max(height, width), 0.5)):
            image += np.float32(texture * share) * smooth_noise((height, width), rng, length)
    half = level_diameter_nm / nm / 2
    level = small_level + (large_level - small_level) * radius**1.5 / (radius**1.5 + half**1.5)
    level *= rng.normal(1, 0.04, level.size)
    light = float(rng.uniform(0, 2 * np.pi))
    labels = np.zeros((height, width), np.int32)
    surface = np.full((height, width), -np.inf, np.float32)
    area = np.zeros(radius.size)
    for i in range(radius.size):
        count = int(rng.poisson(facets)) if radius[i] > 25 else 0
        area[i] = _paint_sphere(
            image, surface, labels, i + 1, y[i], x[i], radius[i], float(level[i]),
            edge_level, shading, light, _draw_facets(rng, count),
        )  # fmt: skip
    np.clip(image, 0, 1, out=image)
    defect_free = image.copy() if kinds else None
    planted = _pits(image, labels, y, x, radius, kinds.count("dent"), rng)
    planted += paint_particles(
        image, kinds.count("particle"), rng, float(np.median(radius)) if radius.size else 5.0
    )
    seen = np.bincount(labels.ravel(), minlength=radius.size + 1)[1:]
    inside = (
        (y - radius >= -0.5) & (y + radius <= height - 0.5)
        & (x - radius >= -0.5) & (x + radius <= width - 0.5)
    )  # fmt: skip
    table = pd.DataFrame(
        {
            "label": np.arange(1, radius.size + 1),
            "complete": inside,
            "visible": np.where(area > 0, np.minimum(seen / np.maximum(area, 1), 1), 0.0),
            "y_px": y,
            "x_px": x,
            "diameter_px": 2 * radius,
            "y_nm": y * nm,
            "x_nm": x * nm,
            "diameter_nm": 2 * radius * nm,
        }
    )
    truth = Truth(
        labels=labels,
        label_names={0: "substrate"},
        tables={"particles": table, "defects": defect_table(planted, nm)},
    )
    return Scene(
        image,
        pixel,
        truth,
        "particles",
        {
            "median_diameter_nm": median_diameter_nm,
            "sigma_log": sigma_log,
            "max_diameter_nm": max_diameter_nm,
            "coverage": coverage,
            "overlap": overlap,
        },
        defect_free,
    )


def _place(
    rng: np.random.Generator,
    shape: tuple[int, int],
    median: float,
    sigma_log: float,
    largest: float,
    coverage: float,
    overlap: float,
    limit: int = 4000,
) -> tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.float64]]:
    """Sort spheres in, the largest first, on a coarse map of what is taken."""
    height, width = shape
    mean_area = np.pi * median**2 * np.exp(2 * sigma_log**2)
    wanted = coverage * height * width
    count = int(min(max(3 * wanted / mean_area, 20), limit))
    sizes = np.minimum(median * np.exp(rng.normal(0, sigma_log, count)), largest)
    # Draw until the area suffices, then sort: the share of each size is kept.
    enough = int(np.searchsorted(np.cumsum(np.pi * sizes**2), wanted)) + 1
    sizes = np.sort(sizes[:enough])[::-1]
    sizes = sizes[sizes > 0.8]
    # Clearance of each pixel to the nearest sphere so far, on a grid of at most 128 cells a side.
    cell = max(max(height, width) / 128, 1.0)
    reach = float(sizes[0]) if sizes.size else 0.0
    grid_y = np.arange(-0.6 * reach, height + 0.6 * reach, cell, dtype=np.float32)
    grid_x = np.arange(-0.6 * reach, width + 0.6 * reach, cell, dtype=np.float32)
    clearance = np.full((grid_y.size, grid_x.size), np.inf, np.float32)
    placed = []
    for radius in sizes:
        # A sphere may reach over the border by half of its radius.
        first_row, last_row = np.searchsorted(grid_y, [-0.6 * radius, height + 0.6 * radius])
        first_column, last_column = np.searchsorted(grid_x, [-0.6 * radius, width + 0.6 * radius])
        part = clearance[first_row:last_row, first_column:last_column]
        for _ in range(12):
            row, column = int(rng.integers(part.shape[0])), int(rng.integers(part.shape[1]))
            need = 0.3 * radius if rng.random() < overlap else radius + 1
            if part[row, column] > need:
                break
        else:
            continue
        cy = float(grid_y[first_row + row] + rng.uniform(-0.5, 0.5) * cell)
        cx = float(grid_x[first_column + column] + rng.uniform(-0.5, 0.5) * cell)
        placed.append((cy, cx, float(radius)))
        # All that follow are no larger, so further out the clearance suffices for them.
        reach_now = 2 * radius + cell + 2
        r = slice(*np.searchsorted(grid_y, [cy - reach_now, cy + reach_now]))
        c = slice(*np.searchsorted(grid_x, [cx - reach_now, cx + reach_now]))
        gap = np.sqrt((grid_y[r, None] - cy) ** 2 + (grid_x[None, c] - cx) ** 2) - radius
        np.minimum(clearance[r, c], gap, out=clearance[r, c])
    if not placed:
        empty = np.zeros(0)
        return empty, empty, empty
    y, x, radius = np.array(placed).T
    return y, x, radius


def _draw_facets(rng: np.random.Generator, count: int) -> NDArray[np.float64]:
    """Return (direction, distance from the centre, width, strength) of each facet, in radii."""
    return np.stack(
        [
            rng.uniform(0, 2 * np.pi, count),
            rng.uniform(0.55, 0.9, count),
            rng.uniform(0.15, 0.35, count),
            rng.uniform(0.08, 0.3, count),
        ],
        axis=1,
    )


def _paint_sphere(
    image: Image,
    surface: Image,
    labels: NDArray[np.int32],
    label: int,
    y: float,
    x: float,
    radius: float,
    level: float,
    edge_level: float,
    shading: float,
    light: float,
    facets: NDArray[np.float64],
) -> float:
    """Add a sphere where it is above what is there; return its area in the image, in pixels."""
    height, width = image.shape
    rows = slice(max(int(y - radius) - 1, 0), min(int(y + radius) + 3, height))
    columns = slice(max(int(x - radius) - 1, 0), min(int(x + radius) + 3, width))
    if rows.start >= rows.stop or columns.start >= columns.stop:
        return 0.0
    dy = (np.arange(rows.start, rows.stop, dtype=np.float32)[:, None] - np.float32(y)) / radius
    dx = (
        np.arange(columns.start, columns.stop, dtype=np.float32)[None, :] - np.float32(x)
    ) / radius
    square = dy * dy + dx * dx
    cosine = np.sqrt(np.maximum(1 - square, 0))
    inside = np.clip(0.5 - (np.sqrt(square) - 1) * np.float32(radius), 0, 1)
    # Spheres of all sizes rest on the substrate: their centres are as high as they are wide.
    high = np.float32(radius) * (1 + cosine)
    # The secant is limited where the beam's interaction volume leaves the sphere.
    floor = np.float32(max(0.22, min(0.6, 2.5 / radius)))
    tilt = 1 / np.maximum(cosine, floor) - 1
    shine = np.float32(shading) * (dy * np.float32(np.sin(light)) + dx * np.float32(np.cos(light)))
    bright = np.float32(level) * (1 + np.float32(edge_level) * tilt + shine)
    for direction, distance, size, strength in facets:
        fy, fx = distance * np.sin(direction), distance * np.cos(direction)
        gap = np.sqrt((dy - fy) ** 2 + (dx - fx) ** 2) / np.float32(size)
        # A facet has a bright border on its outer side and is a little darker within.
        side = (dy - fy) * np.float32(np.sin(direction)) + (dx - fx) * np.float32(np.cos(direction))
        border = np.exp(-(((gap - 1) * np.float32(size * radius / 2.0)) ** 2))
        border *= np.clip(side / np.float32(size), 0, 1)
        bright += np.float32(level * strength) * (border * 2 - 0.3 * (gap < 1) * (1 - gap))
    visible = (inside > 0) & (high > surface[rows, columns])
    patch = image[rows, columns]
    patch += np.where(visible, inside * (bright - patch), 0)
    whole = inside >= 0.5
    shown = visible & whole
    surface[rows, columns][shown] = high[shown]
    labels[rows, columns][shown] = label
    return float(np.count_nonzero(whole))


def _pits(
    image: Image,
    labels: NDArray[np.int32],
    y: NDArray[np.float64],
    x: NDArray[np.float64],
    radius: NDArray[np.float64],
    count: int,
    rng: np.random.Generator,
) -> list[Planted]:
    """Darken a pit in some of the larger spheres that are in sight, in place."""
    shape = np.array(image.shape)
    near = np.clip(np.rint(np.stack([y, x], axis=1)).astype(int), 0, shape - 1)
    in_image = (y >= 0) & (x >= 0) & (y < shape[0]) & (x < shape[1])
    shown = labels[near[:, 0], near[:, 1]] == np.arange(1, radius.size + 1)
    candidates = np.nonzero(in_image & shown & (radius > 4))[0]
    candidates = candidates[np.argsort(-radius[candidates])][: max(2 * count, 4)]
    planted = []
    for i in rng.permutation(candidates)[:count]:
        size = float(radius[i] * rng.uniform(0.2, 0.35))
        direction = rng.uniform(0, 2 * np.pi)
        away = radius[i] * rng.uniform(0, 0.45)
        cy, cx = float(y[i] + away * np.sin(direction)), float(x[i] + away * np.cos(direction))
        before = image.copy()
        mask = np.zeros(image.shape, np.float32)
        # OpenCV draws with 4 fractional bits and anti-aliasing.
        cv2.circle(
            mask, (round(cx * 16), round(cy * 16)), round(size * 16), 1.0, -1, cv2.LINE_AA, 4
        )
        mask *= labels == i + 1
        image *= 1 - np.float32(0.45) * cv2.GaussianBlur(mask, (0, 0), max(size / 6, 0.5))
        planted.append(measure_contrast(Planted("dent", cy, cx, 2 * size, 2 * size), before, image))
    return planted

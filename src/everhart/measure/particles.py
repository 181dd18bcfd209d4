"""Particles: sizes and shapes, from labels or by segmentation, and their distribution."""

from __future__ import annotations

from typing import Any, Literal

import cv2
import numpy as np
from numpy.typing import ArrayLike, NDArray

from everhart._callable_room import make_callable
from everhart.errors import EverhartError, UsageError, unknown_name
from everhart.measure._checked import checked_image, checked_labels, refuse_saturated
from everhart.measure._segmentation import Labels, Regions, find_polarity, segment
from everhart.measure._shape import resampled, shape_of, shape_with_noise
from everhart.measure.distribution import size_distribution
from everhart.measure.edges import sample_rays, steepest
from everhart.measure.result import Measurement, Outline
from everhart.measure.units import Unit, UnitName, unit_of
from everhart.micrograph import Micrograph
from everhart.noise.estimate import estimate_noise

__all__ = ["particles"]

Float = NDArray[np.float64]

_SMALLEST = 16
_RIM_PX = (1.0, 2.0)  # inside of the blurred edge, and width of the rim
_EDGE_DOUBT_PX = 0.08  # of the steepest place, as spheres with a bright rim show it
_IN_ONE_PIECE = 0.9  # part of a label that is in its largest piece
_QUANTISATION = 1 / np.sqrt(12)


def particles(
    image: Micrograph | ArrayLike,
    *,
    labels: ArrayLike | bool | None = None,
    polarity: Literal["auto", "bright", "dark"] = "auto",
    unit: UnitName = "nm",
    min_diameter_px: float = 6.0,
) -> Measurement:
    """Measure particles: area, diameter, shape, direction, and the distribution of their sizes.

    Particles are what stands out of the local background against the measured noise;
    those that touch are cut at their necks (:func:`everhart.measure._segmentation.separate`),
    elongated ones are not. The outline of each is where the grey level is half of the way from its
    background to its own level near the edge, to a fraction of a pixel. Standard
    deviations are those of outlines that are drawn again with the noise that the edge has.

    Parameters
    ----------
    image
        Image of shape ``(H, W)`` of any dtype and range, noisy or denoised.
    labels
        Label image of the same shape, 0 for the background and a number a particle: then nothing
        is segmented. True where `image` itself is the label image.
    polarity
        Whether particles are brighter or darker than what is around; ``"auto"`` takes the side
        that is in more pieces.
    unit
        ``"nm"``, or ``"px"``.
    min_diameter_px
        Smallest equivalent diameter; below about 6 pixels blur and noise decide on the size.

    Returns
    -------
    Measurement
        Table, a row a particle: ``particle``, ``y_px``, ``x_px`` and ``y_nm``, ``x_nm`` (centroid),
        ``area_nm2``, ``diameter_nm`` (of the circle of equal area), ``major_nm``, ``minor_nm``
        (axes of the ellipse of equal second moments), ``aspect`` (major over minor), ``angle_deg``
        (of the major axis, from +x towards +y, 0 to 180), ``circularity`` (4 pi area / perimeter
        squared), each with its ``_sd``; ``touching`` (was cut from a neighbour, or its label
        touches another), ``border`` (reaches out of the image) and ``weight``: 1 over the share of
        places at which a particle of its extent is wholly in the image [1]_. Particles at the
        border are in the table, and in no statistics. Large ones are more often cut by the border,
        so that the others are small by selection; weights undo that
        (``diameter_mean_corrected_nm``).

        Summary: ``particles`` (complete ones), ``at_border``, ``touching``, mean, sd and quantiles
        ``d10_nm``, ``d50_nm``, ``d90_nm`` of the diameters by number, each with a ``_sd`` by
        bootstrap, ``polarity``, ``edge_convention``. The picture of the distribution:
        :func:`everhart.measure.distribution.draw_size_distribution`.

    Raises
    ------
    UsageError
        If the image is a stack, not finite, or has no pixel size while nm are asked for; if labels
        do not fit it.
    EverhartError
        If a label lies in several pieces; if nothing stands out of the noise, all particles
        reach out of the image, or it is saturated.

    References
    ----------
    .. [1] R. E. Miles, "On the elimination of edge effects in planar sampling", in Stochastic
       Geometry (1974), 228-247; C. Lantuejoul, "On the estimation of mean values in individual
       analysis of particles", Microscopica Acta, Suppl. 4 (1980), 266-273.

    Examples
    --------
    >>> y, x = np.mgrid[:96, :128]
    >>> ball = 20 + 100 / (1 + np.exp(2 * (np.hypot(y - 50.3, x - 60) - 15)))
    >>> found = particles(ball, unit="px").table
    >>> bool(abs(found["diameter_px"][0] - 30) < 0.2), bool(found["circularity"][0] > 0.98)
    (True, True)
    """
    if polarity not in ("auto", "bright", "dark"):
        raise unknown_name("polarity", str(polarity), ("auto", "bright", "dark"))
    size = unit_of(image, unit)
    pixels = checked_image(image, "particles", _SMALLEST)
    if not (np.isfinite(min_diameter_px) and min_diameter_px >= 2):
        raise UsageError(
            f"min_diameter_px = {min_diameter_px!r} was given: give at least 2 pixels."
        )
    if labels is None or labels is False:
        rows, outlines, about = _segmented(pixels, polarity, size, float(min_diameter_px))
    else:
        rows, outlines, about = _labelled(labels, pixels, size)
    return _measurement(rows, outlines, about, size)


def _segmented(
    pixels: NDArray[Any], polarity: str, size: Unit, smallest: float
) -> tuple[list[dict[str, Any]], list[Float], dict[str, Any]]:
    saturated = refuse_saturated(pixels, "particles")
    values = pixels.astype(np.float32)
    if polarity == "auto":
        polarity = find_polarity(values)
    noise = estimate_noise(pixels)
    sign = 1.0 if polarity == "bright" else -1.0
    regions = segment(np.float32(sign) * values, noise, smallest)
    rows, outlines = _outlined(regions, sign, size)
    about = {
        "polarity": polarity,
        "edge_convention": "steepest place of the edge profile, common to all particles",
        "noise_sigma": regions.noise * 2 * np.sqrt(np.pi) * regions.smoothing_px,
        "smoothing_px": regions.smoothing_px,
        "saturated": saturated,
    }
    return rows, outlines, about


def _outlined(
    regions: Regions, sign: float, size: Unit
) -> tuple[list[dict[str, Any]], list[Float]]:
    """Find the outline of each region, and its shape."""
    labels, smooth, background = regions.labels, regions.smooth, regions.background
    slope = np.hypot(*np.gradient(smooth))
    wide = _expanded(labels, 3.0)
    touching = _touching(labels, 2)
    rng = np.random.default_rng(0)
    traced = []
    for value, box in enumerate(_boxes(wide), start=1):
        if box is None:
            continue
        own = labels[box] == value
        if not own.any():
            continue
        level, deep, base = _levels(smooth[box], background[box], own, regions.smoothing_px)
        threshold = (level + base) / 2
        # Beyond the region as far below the threshold as the particle is above it.
        seen = np.where(wide[box] == value, smooth[box] - threshold, base - threshold)
        outline = _outer_contour(seen)
        if outline is None:
            continue
        at_y, at_x = (np.rint(outline[:, k]).astype(np.intp) for k in (0, 1))
        inside = (
            np.clip(at_y, 0, own.shape[0] - 1),
            np.clip(at_x, 0, own.shape[1] - 1),
        )
        steep = max(float(np.median(slope[box][inside])), 1e-12)
        edge = regions.noise / steep
        outline += [box[0].start, box[1].start]
        doubt = 0.25 * abs(level - deep) / steep
        traced.append((outline, edge, doubt, sign * (level - base), bool(value in touching)))
    # Where the level changes towards the edge (a bright rim), half of the way is not the edge.
    # Where the mean profile across it is steepest tells, for all particles of the image together.
    some = traced[:: len(traced) // 150 + 1]
    offsets = np.array([_steepest_offset(smooth, t[0]) for t in some])
    known = offsets[np.isfinite(offsets)]
    offset = float(np.median(known)) if known.size else 0.0
    spread = 1.4826 * float(np.median(np.abs(known - offset))) if known.size else 0.0
    rows, outlines = [], []
    for outline, edge, doubt, contrast, near in traced:
        # A Gaussian filter moves a curved edge inwards, to first order by this.
        radius = float(np.sqrt(max(float(shape_of(outline).area), 1.0) / np.pi))
        moved = _moved_out(outline, offset + regions.smoothing_px**2 / (2 * radius))
        row = _row(moved, edge, regions.smoothing_px, size, labels.shape, rng)
        row["contrast"], row["touching"] = contrast, near
        # Each particle may have another rim.
        _add_doubt(row, float(np.sqrt(doubt**2 + spread**2 + _EDGE_DOUBT_PX**2)), size)
        rows.append(row)
        outlines.append(moved)
    return rows, outlines


def _steepest_offset(smooth: NDArray[Any], outline: Float) -> float:
    """Return how far outside of the outline the mean profile across it is steepest, in pixels.

    Around the outline without its ripple: around one that follows the noise, the mean
    profile would be steepest on it.
    """
    from scipy.ndimage import gaussian_filter1d

    course = gaussian_filter1d(outline, len(outline) / 24, axis=0, mode="wrap")
    grown = np.sqrt(float(shape_of(outline).area) / max(float(shape_of(course).area), 1e-30))
    middle = course.mean(axis=0)
    course = middle + grown * (course - middle)
    reach = np.arange(-3.0, 3.01, 0.25)
    near = np.stack([_moved_out(course, float(d)) for d in reach], axis=1)
    low, high = near.min(axis=(0, 1)), near.max(axis=(0, 1))
    if (low < 0).any() or high[0] > smooth.shape[0] - 1 or high[1] > smooth.shape[1] - 1:
        return float("nan")
    # OpenCV maps fewer than 32767 rows.
    near = near[:: len(near) // 16_000 + 1]
    mean = sample_rays(np.asarray(smooth, np.float32), near[..., 0], near[..., 1]).mean(axis=0)
    position, slope = steepest(-mean[None], 0.25)
    return float(position[0] - 3.0) if slope[0] > 0 else float("nan")


def _add_doubt(row: dict[str, Any], doubt: float, size: Unit) -> None:
    """Add what is not known of the edge's place, in pixels, to the errors of sizes."""
    name = size.name
    step = doubt * float(np.sqrt(size.y * size.x))
    around = np.pi * row[f"diameter_{name}"]
    for key, scale in (
        (f"diameter_sd_{name}", 2.0),
        (f"major_sd_{name}", 2.0),
        (f"minor_sd_{name}", 2.0),
        (f"area_sd_{name}2", around),
    ):
        row[key] = float(np.hypot(row[key], scale * step))


def _levels(
    smooth: NDArray[Any], background: NDArray[Any], own: NDArray[np.bool_], blur: float
) -> tuple[float, float, float]:
    """Return a particle's grey level near its edge, further inside, and of its background."""
    depth = cv2.distanceTransform(
        np.pad(own, 1).astype(np.uint8), cv2.DIST_L2, cv2.DIST_MASK_PRECISE
    )[1:-1, 1:-1]
    start = blur + _RIM_PX[0]
    base = float(np.median(background[own]))
    near = (depth > start) & (depth <= start + _RIM_PX[1])
    if near.sum() < 8:
        level = float(smooth[own].max())
        return level, level, base
    inner = (depth > start + _RIM_PX[1]) & (depth <= start + 2 * _RIM_PX[1])
    level = float(np.median(smooth[near]))
    return level, float(np.median(smooth[inner])) if inner.sum() >= 8 else level, base


def _expanded(labels: NDArray[np.int32], reach: float) -> NDArray[np.int32]:
    """Let labels grow into the background by a distance, each pixel taking the nearest."""
    distance, nearest = cv2.distanceTransformWithLabels(
        (labels == 0).astype(np.uint8), cv2.DIST_L2, cv2.DIST_MASK_5, labelType=cv2.DIST_LABEL_PIXEL
    )
    there = labels > 0
    named = np.zeros(int(nearest.max()) + 1, np.int32)
    named[nearest[there]] = labels[there]
    return np.where(distance <= reach, named[nearest], 0).astype(np.int32)


def _boxes(labels: NDArray[Any]) -> list[tuple[slice, ...] | None]:
    """Return where each label from 1 on is; None for a number that no pixel has."""
    from scipy.ndimage import find_objects

    return list(find_objects(labels))


def _outer_contour(seen: NDArray[Any]) -> Float | None:
    """Return the longest closed contour at 0, about a pixel a point, or None."""
    from skimage.measure import find_contours

    padded = np.pad(seen, 1, constant_values=float(min(seen.min(), -1e-12)))
    contours: list[Float] = find_contours(padded, 0.0)  # type: ignore[no-untyped-call]
    found = [contour for contour in contours if len(contour) > 8]
    if not found:
        return None
    longest = max(found, key=lambda c: float(np.ptp(c[:, 0]) * np.ptp(c[:, 1])))
    return resampled(longest[:-1] - 1.0)


def _moved_out(outline: Float, distance: float) -> Float:
    tangent = np.roll(outline, -2, axis=0) - np.roll(outline, 2, axis=0)
    normal = np.stack([tangent[:, 1], -tangent[:, 0]], axis=1)
    normal /= np.maximum(np.hypot(*normal.T), 1e-12)[:, None]
    y, x = outline.T
    turn = float(np.sum(x * np.roll(y, -1) - np.roll(x, -1) * y))
    # In coordinates (x, y) the outward normal of a path with positive area is (dy, -dx).
    return np.asarray(outline - np.sign(turn) * distance * normal)


def _labelled(
    labels: Any, pixels: NDArray[Any], size: Unit
) -> tuple[list[dict[str, Any]], list[Float], dict[str, Any]]:
    whole = checked_labels(labels, pixels)
    names = np.unique(whole)
    names = names[names > 0]
    if names.size == 0:
        raise EverhartError(
            "A label image without a label above 0 was given: there are no particles in it."
        )
    ordered = np.zeros(whole.shape, np.int32)
    ordered[whole > 0] = np.searchsorted(names, whole[whole > 0]) + 1
    touching = _touching(ordered, 1)
    rng = np.random.default_rng(0)
    rows, outlines = [], []
    for value, box in enumerate(_boxes(ordered), start=1):
        if box is None:
            continue
        own = ordered[box] == value
        _refuse_scattered(own, int(names[value - 1]))
        soft = cv2.GaussianBlur(np.pad(own, 3).astype(np.float32), (0, 0), 0.8)
        outline = _outer_contour(soft - 0.5)
        if outline is None:
            continue
        radius = float(np.sqrt(np.count_nonzero(own) / np.pi))
        outline = _moved_out(outline, 0.8**2 / (2 * radius))
        outline += np.array([box[0].start, box[1].start]) - 3.0
        # A border is known to the pixel that it goes through.
        row = _row(outline, _QUANTISATION, 0.0, size, ordered.shape, rng)
        row["particle"] = int(names[value - 1])
        row["contrast"] = float("nan")
        row["touching"] = bool(value in touching)
        rows.append(row)
        outlines.append(outline)
    return rows, outlines, {"polarity": "labels", "edge_convention": "border of the labels"}


def _refuse_scattered(own: NDArray[np.bool_], label: int) -> None:
    """Refuse a label that is of a class, and not of one particle."""
    count, _, stats, _ = cv2.connectedComponentsWithStats(own.astype(np.uint8), connectivity=8)
    areas = stats[1:, cv2.CC_STAT_AREA]
    if areas.max() < _IN_ONE_PIECE * areas.sum():
        raise EverhartError(
            f"The label {label} lies in {count - 1} pieces, as that of a class and not of one "
            "particle: give an image in which each particle has a number of its own, such as "
            "`everhart segment --instances` writes."
        )


def _touching(labels: Labels, distance: int) -> set[int]:
    """Return the labels that have another one within some pixels along an axis."""
    found: set[int] = set()
    for one, two in (
        (labels[:-distance], labels[distance:]),
        (labels[:, :-distance], labels[:, distance:]),
    ):
        at = (one != two) & (one > 0) & (two > 0)
        found.update(np.unique(one[at]).tolist())
        found.update(np.unique(two[at]).tolist())
    return found


def _row(
    outline: Float, edge: float, blur: float, size: Unit, shape: tuple[int, ...],
    rng: np.random.Generator,
) -> dict[str, Any]:  # fmt: skip
    name = size.name
    found, sd = shape_with_noise(outline, edge, blur, (size.y, size.x), rng)
    height, width = shape[0], shape[1]
    low, high = outline.min(axis=0), outline.max(axis=0)
    border = bool((low < 0.25).any() or high[0] > height - 1.25 or high[1] > width - 1.25)
    extent = high - low
    room = max(height - extent[0], 1.0) * max(width - extent[1], 1.0)
    area = float(found.area)
    return {
        "particle": 0,
        "y_px": float(found.y) / size.y,
        "x_px": float(found.x) / size.x,
        f"y_{name}": float(found.y),
        f"y_sd_{name}": sd["y"],
        f"x_{name}": float(found.x),
        f"x_sd_{name}": sd["x"],
        f"area_{name}2": area,
        f"area_sd_{name}2": sd["area"],
        f"diameter_{name}": float(2 * np.sqrt(area / np.pi)),
        f"diameter_sd_{name}": sd["diameter"],
        f"major_{name}": float(found.major),
        f"major_sd_{name}": sd["major"],
        f"minor_{name}": float(found.minor),
        f"minor_sd_{name}": sd["minor"],
        "aspect": float(found.major / max(float(found.minor), 1e-30)),
        "aspect_sd": sd["aspect"],
        "angle_deg": float(np.degrees(found.angle) % 180),
        "angle_sd_deg": float(np.degrees(sd["angle"])),
        "circularity": float(found.circularity),
        "circularity_sd": sd["circularity"],
        "contrast": float("nan"),
        "touching": False,
        "border": border,
        "weight": float(height * width / room),
    }


def _measurement(
    rows: list[dict[str, Any]], outlines: list[Float], about: dict[str, Any], size: Unit
) -> Measurement:
    import pandas as pd

    complete = [row for row in rows if not row["border"]]
    if not complete:
        count = len(rows)
        raise EverhartError(
            f"No particle is wholly in the image ({count} {'reaches' if count == 1 else 'reach'} "
            "out of it): there is no size to measure; give a larger field of view, the other "
            "polarity, or labels."
        )
    order = sorted(range(len(rows)), key=lambda k: (rows[k]["y_px"], rows[k]["x_px"]))
    for number, k in enumerate(order, start=1):
        rows[k]["particle"] = rows[k]["particle"] or number
    table = pd.DataFrame([rows[k] for k in order])
    name = size.name
    inside = table[~table["border"]]
    summary: dict[str, Any] = {
        "particles": len(inside),
        "at_border": int(table["border"].sum()),
        "touching": int(inside["touching"].sum()),
        **size_distribution(
            inside[f"diameter_{name}"].to_numpy(), inside["weight"].to_numpy(), name
        ),
        "circularity_mean": float(inside["circularity"].mean()),
        "circularity_mean_sd": _sd_of_mean(inside["circularity"]),
        "aspect_mean": float(inside["aspect"].mean()),
        "aspect_mean_sd": _sd_of_mean(inside["aspect"]),
        **about,
    }
    lines = [
        Outline(
            outlines[k],
            str(rows[k]["particle"]),
            "doubt" if rows[k]["border"] else "edge",
            closed=True,
        )
        for k in order
    ]
    return Measurement("particles", table, summary, lines)


def _sd_of_mean(values: ArrayLike) -> float | None:
    """Return the standard deviation of a mean from the scatter of its values; None of one."""
    given = np.asarray(values, np.float64)
    return float(given.std(ddof=1) / np.sqrt(given.size)) if given.size > 1 else None


make_callable(__name__, "particles")

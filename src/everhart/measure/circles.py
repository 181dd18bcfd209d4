"""Circles in an image: contact and channel holes, by gradient voting and a sub-pixel fit."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any, Literal

import cv2
import numpy as np
from numpy.typing import ArrayLike, NDArray

from everhart._callable_room import make_callable
from everhart.errors import UsageError, unknown_name
from everhart.measure._contour import Contours, radius_at, trace
from everhart.measure._voting import Level, make_levels, vote
from everhart.measure.edges import STEP_PX, fit_edge_profile, sample_rays, steepest
from everhart.measure.ellipse import Ellipse, fit_ellipse
from everhart.measure.matching import FailureRate, failure_rate
from everhart.micrograph import Micrograph, field_of

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["FailureRate", "circles", "failure_rate"]

Float = NDArray[np.float64]
Image = NDArray[np.float32]

# Radii of the full image that are looked for at the first level, and the smallest at others, in
# pixels of the level: an octave each.
_SMALLEST_PX = 4.0
_OCTAVE_PX = 8.0
_Z = 7.0
_COVERAGE = 0.6
_FAINTEST = 0.3  # of the usual contrast in the image
_LARGEST_STRETCH = 0.8  # ln(major / minor)
_EDGE_BLUR_PX = 1.0


def circles(
    image: Micrograph | ArrayLike,
    *,
    radius_px: tuple[float, float] | None = None,
    polarity: Literal["dark", "bright"] = "dark",
    edge: Literal["profile", "steepest"] = "profile",
) -> pd.DataFrame:
    """Find circles, ovals and dented ones too, and measure each to a fraction of a pixel.

    Gradients vote for centres over all radii [1]_, on copies of the image that are reduced until
    the circles are about ten pixels large: there noise is averaged, and all sizes cost the
    same. Around each candidate the best closed path through the radial gradients is found; it is a
    circle if its mean gradient is beyond what noise gives (7 standard deviations, with the noise
    measured on the image itself) and an edge is there along 60 % of it. Of circles that
    overlap the surest stays. In the full image the steepest places along rays are found,
    and an ellipse is fitted to them with weights against outliers.

    Parameters
    ----------
    image
        Image of shape ``(H, W)``, of any dtype and range, noisy or denoised.
    radius_px
        Smallest and largest radius; None for 4 pixels to half of the smaller side.
    polarity
        ``"dark"`` for circles that are darker inside of their edge (holes), ``"bright"`` for
        brighter ones (particles, pillars).
    edge
        Where the radius ends. ``"profile"``: at the edge of the model
        :func:`everhart.measure.edges.fit_edge_profile`, fitted to the profile that all
        circles of the image have in common; ``"steepest"``: where the blurred image is steepest.

    Returns
    -------
    pandas.DataFrame
        One row a circle, from the top to the bottom: ``y_px``, ``x_px`` of the centre,
        ``radius_px`` of the circle of equal area, ``major_px`` and ``minor_px`` (axes of the
        ellipse), ``angle_deg`` of the major axis (from +x towards +y), ``edge_rms_px``
        (scatter of the edge points around the ellipse), ``coverage`` (part of the contour with
        an edge), ``z`` (mean gradient over its noise); with a pixel size also ``y_nm``, ``x_nm``
        and ``radius_nm``.

    Raises
    ------
    UsageError
        If a stack is given, a pixel is not finite, or the radii are no range.

    References
    ----------
    .. [1] D. H. Ballard, "Generalizing the Hough transform to detect arbitrary shapes", Pattern
       Recognition 13 (1981), 111-122: votes along the gradient.

    Examples
    --------
    >>> y, x = np.mgrid[:96, :128]
    >>> hole = 1 / (1 + np.exp(20 - np.hypot(y - 40.25, x - 61.5)))
    >>> found = circles(hole)
    >>> bool(np.hypot(found.y_px[0] - 40.25, found.x_px[0] - 61.5) < 0.05)
    True
    >>> bool(abs(found.radius_px[0] - 20) < 0.1)
    True
    """
    import pandas as pd

    pixels = np.asarray(field_of(image))
    if pixels.ndim != 2:
        raise UsageError(
            f"An array of shape {pixels.shape} was given: circles are found in one image (height, "
            "width); give the frames of a stack one by one."
        )
    values = pixels.astype(np.float32)
    if not np.isfinite(values).all():
        raise UsageError("An image with NaN or infinite pixels was given: fill them first.")
    if polarity not in ("dark", "bright"):
        raise unknown_name("polarity", str(polarity), ("dark", "bright"))
    if edge not in ("profile", "steepest"):
        raise unknown_name("edge", str(edge), ("profile", "steepest"))
    smallest, largest = radius_range(radius_px, values.shape)
    sign = 1.0 if polarity == "dark" else -1.0
    found = detect(values, (smallest, largest), sign)
    fitted = _measure(values, found, sign, edge) if len(found.z) else []
    rows = [
        _row(ellipse, float(z), float(coverage), image)
        for ellipse, z, coverage in zip(fitted, found.z, found.coverage, strict=True)
        if smallest <= ellipse.radius <= largest and not _within_another(ellipse, fitted)
    ]
    columns = list(_row(Ellipse(0, 0, 1), 0, 0, image))
    table = pd.DataFrame(rows, columns=columns)
    return table.sort_values(["y_px", "x_px"], ignore_index=True)


def radius_range(given: tuple[float, float] | None, shape: tuple[int, ...]) -> tuple[float, float]:
    if given is None:
        return _SMALLEST_PX, max(min(shape) / 2, _SMALLEST_PX + 1)
    try:
        smallest, largest = (float(value) for value in given)
    except (TypeError, ValueError):
        smallest = largest = np.nan
    if not (3 <= smallest < largest < np.inf):
        raise UsageError(
            f"radius_px = {given!r} was given: give the smallest and the largest radius in pixels, "
            "from 3 on, such as (20, 40)."
        )
    return smallest, largest


def detect(image: Image, radii: tuple[float, float], sign: float) -> Contours:
    """Return the contours of circles, in pixels of the full image."""
    parts = []
    low = radii[0]
    count = int(np.ceil(np.log2(max(radii[1] / (2 * _OCTAVE_PX), 1)))) + 2
    for level in make_levels(image, count):
        scale = level.scale
        high = min(2 * _OCTAVE_PX * scale, radii[1])
        if high <= low:
            continue
        candidates = vote(level, (low / scale, high / scale), sign)
        if len(candidates):
            found = trace(level, candidates, sign)
            found = _accepted(found, (0.8 * low / scale, 1.25 * high / scale))
            parts.append(_in_full_pixels(found, level))
        low = high
    if not parts:
        nothing = np.zeros(0)
        return Contours(np.zeros((0, 2)), np.zeros((0, 5)), nothing, nothing, nothing)
    fields = ("centre", "harmonics", "z", "coverage", "contrast")
    joined = Contours(*(np.concatenate([getattr(p, f) for p in parts]) for f in fields))
    return _without_overlaps(joined)


def _in_full_pixels(found: Contours, level: Level) -> Contours:
    return replace(
        found, centre=level.to_full(found.centre), harmonics=found.harmonics * level.scale
    )


def _accepted(found: Contours, radii: tuple[float, float]) -> Contours:
    radius = found.harmonics[:, 0]
    oval = np.hypot(found.harmonics[:, 3], found.harmonics[:, 4]) / radius
    good = (found.z > _Z) & (found.coverage >= _COVERAGE) & (2 * oval < _LARGEST_STRETCH)
    good &= (radius > radii[0]) & (radius < radii[1])
    return found.taken(np.flatnonzero(good))


def _without_overlaps(found: Contours) -> Contours:
    """Keep the strongest of circles that overlap, and none much fainter than the others.

    Without noise, the grain of a surface is full of faint circles; beside holes they are none.
    """
    size = found.harmonics[:, 0]
    order = np.argsort(-found.contrast * size * found.coverage**2, kind="stable")
    kept: list[int] = []
    for index in order:
        if kept:
            away = found.centre[index] - found.centre[kept]
            apart, angle = np.hypot(away[:, 0], away[:, 1]), np.arctan2(away[:, 0], away[:, 1])
            # Not a hole in a hole, nor half in one; neighbours may touch.
            theirs = _towards(found.harmonics[kept], angle)
            own = _towards(found.harmonics[[index]], angle)
            room = np.maximum(theirs, own) + 0.6 * np.minimum(theirs, own)
            if (apart < room).any():
                continue
        kept.append(int(index))
    found = found.taken(np.array(kept, np.intp))
    if not kept:
        return found
    # The contrast that half of all contour has: a few large holes outweigh many small specks.
    order = np.argsort(found.contrast)
    length = np.cumsum(found.harmonics[order, 0])
    usual = found.contrast[order[int(np.searchsorted(length, 0.5 * length[-1]))]]
    return found.taken(np.flatnonzero(found.contrast >= _FAINTEST * usual))


def _towards(harmonics: Float, angle: Float) -> Float:
    """Return the radius of each contour in one direction; it is the same in the opposite one."""
    turned = harmonics[:, 3] * np.cos(2 * angle) + harmonics[:, 4] * np.sin(2 * angle)
    return np.asarray(harmonics[:, 0] + turned)


def _measure(image: Image, found: Contours, sign: float, edge: str) -> list[Ellipse]:
    """Fit an ellipse to the sub-pixel edge of each circle."""
    rising = np.asarray(sign * image, np.float32)
    blurred = np.asarray(
        cv2.GaussianBlur(rising, (0, 0), _EDGE_BLUR_PX, borderType=cv2.BORDER_REPLICATE), np.float32
    )
    fitted, distances, greys = [], [], []
    for centre, harmonics in zip(found.centre, found.harmonics, strict=True):
        radius = float(harmonics[0])
        start = Ellipse(
            float(centre[0]), float(centre[1]), radius,
            2 * float(harmonics[3]) / radius, 2 * float(harmonics[4]) / radius,
        )  # fmt: skip
        count = int(np.clip(4 * radius, 32, 256))
        angles = np.linspace(0, 2 * np.pi, count, endpoint=False)
        reach = max(4.0, 0.15 * radius)
        offsets = np.arange(-reach, reach + STEP_PX, STEP_PX)
        base = radius_at(harmonics[None], angles)[0]
        position, inside = _edge_points(blurred, start, base, angles, offsets)
        if inside.sum() < 12:
            fitted.append(start)
            continue
        rho = base[inside] + offsets[0] + position[inside]
        sin, cos = np.sin(angles[inside]), np.cos(angles[inside])
        fit = fit_ellipse(start.y + rho * sin, start.x + rho * cos, start)
        moved = np.hypot(fit.y - start.y, fit.x - start.x)
        if moved > 0.3 * radius or abs(fit.radius - radius) > 0.3 * radius:
            fit = start  # too few of the points are on an ellipse
        fitted.append(fit)
        if edge == "profile":
            distance, grey = _profile_samples(rising, start, rho, angles[inside], sin, cos)
            distances.append(distance)
            greys.append(grey)
    if not distances:
        return fitted
    reach = min(float(np.median([np.abs(d).max() for d in distances])), 16.0)
    distance, grey = np.concatenate(distances), np.concatenate(greys)
    near = np.abs(distance) <= reach
    profile = fit_edge_profile(distance[near], grey[near])
    # A fit that knows less than the steepest place does is of no use.
    if profile is None or profile.position_sigma_px > 0.3 or abs(profile.position_px) > 3:
        return fitted
    return [
        Ellipse(
            e.y, e.x, max(e.radius + profile.position_px, 0.5), e.stretch_cos, e.stretch_sin,
            e.rms, e.inliers,
        )
        for e in fitted
    ]  # fmt: skip


def _within_another(ellipse: Ellipse, others: list[Ellipse]) -> bool:
    """Say whether the centre lies in a larger one: the narrow end of an oval, beside its ring."""
    for other in others:
        dy, dx = ellipse.y - other.y, ellipse.x - other.x
        if other.radius > 1.3 * ellipse.radius and np.hypot(dy, dx) < float(
            other.radius_at(np.arctan2(dy, dx))
        ):
            return True
    return False


def _edge_points(
    blurred: Image, start: Ellipse, base: Float, angles: Float, offsets: Float
) -> tuple[Float, NDArray[np.bool_]]:
    """Return the steepest place along each ray, and which of them can be used."""
    rho = base[:, None] + offsets
    y, x = start.y + rho * np.sin(angles)[:, None], start.x + rho * np.cos(angles)[:, None]
    profiles = sample_rays(blurred, y, x)
    # Neighbouring rays see the same edge.
    profiles = (np.roll(profiles, 1, 0) + 2 * profiles + np.roll(profiles, -1, 0)) / 4
    position, slope = steepest(profiles)
    height, width = blurred.shape
    inside = np.isfinite(position) & (slope > 0)
    inside &= (y >= 0).all(axis=1) & (y <= height - 1).all(axis=1)
    inside &= (x >= 0).all(axis=1) & (x <= width - 1).all(axis=1)
    return position, inside


def _profile_samples(
    image: Image, start: Ellipse, rho: Float, angles: Float, sin: Float, cos: Float
) -> tuple[Float, Float]:
    """Return distances from the smoothed edge, and grey levels there.

    The edge is smoothed over its harmonics: a profile that is laid on the steepest place of
    each single ray would be laid on its noise.
    """
    orders = np.arange(1, min(9, len(angles) // 6))
    basis = np.concatenate(
        [
            np.ones((len(angles), 1)),
            np.cos(np.outer(angles, orders)),
            np.sin(np.outer(angles, orders)),
        ],
        axis=1,
    )
    weight = np.ones(len(angles))
    smooth = rho
    for _ in range(4):
        root = np.sqrt(weight)[:, None]
        solution = np.linalg.lstsq(basis * root, rho * root[:, 0], rcond=None)[0]
        smooth = basis @ solution
        left = rho - smooth
        spread = max(1.4826 * float(np.median(np.abs(left))), 0.05)
        weight = np.square(np.maximum(1 - np.square(left / (4.7 * spread)), 0))
    reach = max(4.0, min(0.22 * start.radius, 16.0))
    offsets = np.arange(-reach, reach + 0.25, 0.5)
    # Rays whose edge is elsewhere (a dent's flank) show another profile.
    good = weight > 0.25
    place = smooth[good, None] + offsets
    y, x = start.y + place * sin[good, None], start.x + place * cos[good, None]
    return np.broadcast_to(offsets, place.shape).ravel(), sample_rays(image, y, x).ravel()


def _row(
    ellipse: Ellipse, z: float, coverage: float, image: Micrograph | ArrayLike
) -> dict[str, Any]:
    root = np.sqrt(ellipse.aspect)
    row = {
        "y_px": ellipse.y,
        "x_px": ellipse.x,
        "radius_px": ellipse.radius,
        "major_px": 2 * ellipse.radius / root,
        "minor_px": 2 * ellipse.radius * root,
        "angle_deg": ellipse.angle_deg,
        "edge_rms_px": ellipse.rms,
        "coverage": coverage,
        "z": z,
    }
    if isinstance(image, Micrograph) and image.pixel_size_nm is not None:
        size_y, size_x = image.pixel_size_nm
        # The geometric mean keeps the area, where pixels are not square.
        row["y_nm"], row["x_nm"] = ellipse.y * size_y, ellipse.x * size_x
        row["radius_nm"] = ellipse.radius * float(np.sqrt(size_y * size_x))
    return row


make_callable(__name__, "circles")

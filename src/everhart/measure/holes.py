"""Holes: where they are, how large and how round, and the lattice that they make."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray

from everhart._callable_room import make_callable
from everhart.errors import EverhartError, UsageError, unknown_name
from everhart.measure._denoised import withhold_if_denoised
from everhart.measure._hole_band import HoleFit, even_angles
from everhart.measure._hole_edge import CONVENTIONS, locate_edge
from everhart.measure._hole_fit import fit_holes
from everhart.measure._hole_shape import Shape, shape_of
from everhart.measure._hole_start import first_contours, longest_reach
from everhart.measure._hole_summary import summarise
from everhart.measure.circles import detect, radius_range
from everhart.measure.lattice import Lattice, fit_lattice
from everhart.measure.result import Measurement, Outline
from everhart.measure.units import Unit, UnitName, unit_of
from everhart.micrograph import Micrograph, field_of

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["holes"]

Float = NDArray[np.float64]

_SHORTEST_WAVE_PX = 6.0  # of the contour's harmonics
_ORDERS = (3, 24)
_NOISE_PX = 1024
_CORRELATED = 0.15  # of neighbouring pixels, for noise that is not white
# Parts of an image of whole grey levels that may be at the ends of the scale.
_WHITE = 0.1
_BLACK = 0.6


def holes(
    image: Micrograph | ArrayLike,
    *,
    unit: UnitName = "nm",
    radius_px: tuple[float, float] | None = None,
    polarity: Literal["dark", "bright"] = "dark",
    edge: Literal["half", "model"] = "half",
    detector_taps: Sequence[float] | None = None,
) -> Measurement:
    """Measure holes: position, CD, shape and roughness, each with its uncertainty.

    Holes are found as by :func:`everhart.measure.circles`. Then the grey levels around all their
    edges are fitted at once, by weighted least squares on the pixels as they are: one profile
    across the edge that all holes of the image have in common, and for each hole a contour,
    brightness and contrast. The contour is a series of harmonics of the angle, with waves of six
    pixels as the shortest (at most 24 orders). This uses all that the pixels say of where the edge
    is, so that it needs no smoothing, and a single frame can be measured.

    Where on the common profile the edge is, is a convention, `edge`; it moves all contours alike.

    Standard deviations are those of the noise of this image, measured on what the fit leaves: its
    variance over grey level, and its correlation between neighbouring pixels. They say how
    much the number would change in another frame of the same field.

    Parameters
    ----------
    image
        Image of shape ``(H, W)``, of any dtype and range. If its history says that it was denoised,
        standard deviations are left out, and ``warning`` in the summary says so.
    unit
        ``"nm"``, which needs a pixel size, or ``"px"``.
    radius_px
        Smallest and largest radius in pixels; None for 4 pixels to half of the smaller side.
    polarity
        ``"dark"`` for holes, ``"bright"`` for pillars and dots.
    edge
        ``"half"``: where the common profile is half way from the level inside (the mean of the
        inner eighth of the band that was fitted) to the highest level of the rim, or of the surface
        where there is no rim. Blur moves it, as in an instrument with a threshold of 50 %.
        ``"model"``: the edge of a model of wall, rim and blur,
        :func:`everhart.measure.edges.fit_edge_profile`.
    detector_taps
        The detector's causal filter along the scan line (from left to right), first the weight of
        the pixel itself, then of those scanned before. It moves everything by its mean delay along
        x: that is subtracted. None where it is not known: then x is too large by it, by half a
        pixel behind a common detector, for all holes alike.

    Returns
    -------
    Measurement
        Table, one row a complete hole, from the top to the bottom: ``hole``, ``x_px``, ``y_px``
        (the centroid, pixel centres at whole numbers), with ``unit="nm"`` also ``x_nm``, ``y_nm``;
        ``x_sd``, ``y_sd``; ``cd`` (diameter of the circle of equal area), ``cd_sd``;
        ``ellipticity`` (1 - minor / major axis), ``angle_deg`` of the major axis (from +x towards
        +y); ``cer_3sigma`` (three standard deviations of the contour about the ellipse, noise
        taken out); ``contrast`` in grey levels; ``score`` (mean gradient along the contour over its
        noise). Further table ``lattice``: site and distance from it. Holes cut by the border of the
        image are drawn (``"doubt"``) and not measured.

    Raises
    ------
    UsageError
        If the image has no pixel size and nanometres are asked for, is a stack, or a parameter is
        not allowed.
    EverhartError
        If no hole is found, or too much of the image is black or white for a measurement.

    References
    ----------
    .. [1] J. S. Villarrubia and B. D. Bunday, "Unbiased estimation of linewidth roughness", Proc.
       SPIE 5752 (2005), 480-488: the variance of the noise is subtracted from that of the edge.

    Examples
    --------
    >>> y, x = np.mgrid[:96, :128]
    >>> hole = 1 / (1 + np.exp(20 - np.hypot(y - 40.25, x - 61.5)))
    >>> found = holes(Micrograph(hole, pixel_size_nm=0.5))
    >>> row = found.table.iloc[0]
    >>> bool(abs(row.cd_nm - 20) < 0.05), bool(abs(row.x_px - 61.5) < 0.01)
    (True, True)
    >>> found.summary["count"], found.summary["pitch_a_nm"] is None
    (1, True)
    """
    size = unit_of(image, unit)
    pixels = np.asarray(field_of(image))
    if pixels.ndim != 2:
        raise UsageError(
            f"An array of shape {pixels.shape} was given: holes are measured in one image (height, "
            "width); give the frames of a stack one by one."
        )
    if not np.isfinite(pixels).all():
        raise UsageError("An image with NaN or infinite pixels was given: fill them first.")
    if polarity not in ("dark", "bright"):
        raise unknown_name("polarity", str(polarity), ("dark", "bright"))
    if edge not in CONVENTIONS:
        raise unknown_name("edge", str(edge), CONVENTIONS)
    delay = _delay(detector_taps)
    _check_range_of_levels(pixels)
    values = _normalised(pixels)
    sign = 1.0 if polarity == "dark" else -1.0
    found = detect(values, radius_range(radius_px, values.shape), sign)
    if not len(found.z):
        raise EverhartError(
            "No hole was found: none has an edge that noise does not make; look at the image, "
            "give --radius-px, or the other --polarity."
        )
    rising = values if polarity == "dark" else np.float32(1) - values
    fits = first_contours(rising, found)
    reach = longest_reach(fits)
    radius = float(np.median([fit.harmonics[0] for fit in fits]))
    orders = int(np.clip(2 * np.pi * radius / _SHORTEST_WAVE_PX, *_ORDERS))
    template = fit_holes(rising, fits, reach, orders, _correlation(pixels))
    kept = [number for number, fit in enumerate(fits) if not fit.lost]
    if template is None or not kept:
        raise EverhartError(
            f"{len(fits)} hole{'s were' if len(fits) > 1 else ' was'} found and none could be "
            "measured: each is cut by the border or has no clear edge; give an image with whole "
            "holes."
        )
    outwards = locate_edge(template, edge)
    shapes = [shape_of(fits[n], outwards.offset, outwards.offset_sd, len(kept), size) for n in kept]
    grey = float(np.ptp(pixels)) or 1.0
    scores = [float(found.z[n]) for n in kept]
    steps = [(fits[n].gain * outwards.step * grey, _gain_sd(fits[n], outwards.step) * grey)
             for n in kept]  # fmt: skip
    order = _by_rows(shapes)
    rows = [
        _row(number, shapes[i], steps[i], scores[i], size, delay)
        for number, i in enumerate(order, start=1)
    ]
    measured = _measurement(
        rows, [shapes[i] for i in order], fits, size, edge, delay, outwards.offset_sd
    )
    return withhold_if_denoised(measured, image)


def _by_rows(shapes: Sequence[Shape]) -> list[int]:
    """Return the order from the top to the bottom and, in a row, from left to right.

    A hole is in the row of the one above if it begins less than a radius below.
    """
    by_y = np.argsort([s.y_px for s in shapes], kind="stable")
    radius = float(np.median([np.ptp(s.contour[:, 0]) for s in shapes])) / 2
    first, row = -np.inf, -1
    rows = {}
    for i in by_y:
        if shapes[i].y_px > first + radius:
            first, row = shapes[i].y_px, row + 1
        rows[int(i)] = row
    return sorted(rows, key=lambda i: (rows[i], shapes[i].x_px))


def _measurement(
    rows: list[dict[str, Any]], shapes: list[Shape], fits: list[HoleFit], unit: Unit, edge: str,
    delay: float, offset_sd: float,
) -> Measurement:  # fmt: skip
    """Put the table, the lattice, the summary and the outlines together."""
    import pandas as pd

    table = pd.DataFrame(rows)
    lost = [fit for fit in fits if fit.lost]
    scale = np.array([unit.y, unit.x])
    positions = table[["y_px", "x_px"]].to_numpy() * scale
    beside = np.array([[f.y, f.x - delay] for f in lost]).reshape(-1, 2) * scale
    lattice = fit_lattice(positions, beside)
    common = 2 * offset_sd * float(np.sqrt(unit.y * unit.x))
    own = np.sqrt(np.maximum(np.square(table[f"cd_sd_{unit.name}"]) - common**2, 0))
    summary = {
        **summarise(table, unit.name, common, own.to_numpy(), lattice),
        "not_measured_count": len(lost),
        "edge": edge,
        "edge_convention": CONVENTIONS[edge],
        "detector_delay_px": delay,
        "warning": None,
    }
    outlines = [
        Outline(s.contour, str(number), "edge", closed=True)
        for number, s in enumerate(shapes, start=1)
    ]
    angle = even_angles(120)
    circle = np.stack([np.sin(angle), np.cos(angle)], axis=1)
    outlines += [
        Outline(
            np.array([f.y, f.x]) + f.radius_at(angle)[:, None] * circle,
            "?",
            "doubt",
            True,
        )
        for f in lost
    ]
    if lattice is not None:
        radius = float(np.mean([s.cd for s in shapes])) / 2
        outlines += [
            Outline(
                (site + radius * circle) / scale + [0, delay],
                "missing",
                "missing",
                True,
            )
            for site in lattice.missing
        ]
    tables = {} if lattice is None else {"lattice": _lattice_table(lattice, unit.name)}
    return Measurement("holes", table, summary, outlines, tables)


def _lattice_table(lattice: Lattice, unit: str) -> pd.DataFrame:
    """Return the site of each hole, and how far from it the hole is."""
    import pandas as pd

    on = lattice.member
    return pd.DataFrame(
        {
            "hole": np.flatnonzero(on) + 1,
            "site_a": lattice.sites[on, 0],
            "site_b": lattice.sites[on, 1],
            f"dx_{unit}": lattice.residual[on, 1],
            f"dy_{unit}": lattice.residual[on, 0],
        }
    )


def _row(
    number: int,
    shape: Shape,
    step: tuple[float, float],
    score: float,
    unit: Unit,
    delay: float,
) -> dict[str, Any]:
    name = unit.name
    x_px = shape.x_px - delay
    row: dict[str, Any] = {"hole": number, "x_px": x_px, "y_px": shape.y_px}
    if name == "nm":
        row |= {"x_nm": x_px * unit.x, "y_nm": shape.y_px * unit.y}
    return row | {
        f"x_sd_{name}": shape.x_sd,
        f"y_sd_{name}": shape.y_sd,
        f"cd_{name}": shape.cd,
        f"cd_sd_{name}": shape.cd_sd,
        "ellipticity": shape.ellipticity,
        "ellipticity_sd": shape.ellipticity_sd,
        "angle_deg": shape.angle_deg,
        "angle_sd_deg": shape.angle_sd_deg,
        f"cer_3sigma_{name}": shape.cer,
        f"cer_3sigma_sd_{name}": shape.cer_sd,
        "contrast": step[0],
        "contrast_sd": step[1],
        "score": score,
    }


def _gain_sd(fit: HoleFit, step: float) -> float:
    return float(np.sqrt(max(fit.covariance[-1, -1], 0.0))) * step


def _delay(taps: Sequence[float] | None) -> float:
    """Return the mean delay of the detector's filter, in pixels."""
    if taps is None:
        return 0.0
    weights = np.asarray(taps, np.float64)
    good = weights.ndim == 1 and weights.size > 0 and bool(np.isfinite(weights).all())
    if not good or weights.sum() <= 0:
        raise UsageError(
            f"detector_taps = {taps!r} was given: give the weights of the pixel itself and of "
            "those before it, with a positive sum, such as (0.6, 0.3, 0.1)."
        )
    return float(np.arange(weights.size) @ weights / weights.sum())


def _check_range_of_levels(pixels: NDArray[Any]) -> None:
    """Refuse an image whose edges were cut off by the ends of the grey scale."""
    if pixels.dtype.kind not in "ui":
        return
    top = int(pixels.max())
    white = float(np.mean(pixels == top)) if (top + 1) & top == 0 and top >= 15 else 0.0
    black = float(np.mean(pixels == 0))
    if white > _WHITE or black > _BLACK:
        ends = (white, "white", _WHITE), (black, "black", _BLACK)
        part, where, most = ends[0] if white > _WHITE else ends[1]
        raise EverhartError(
            f"The image is saturated: {100 * part:.0f} % of its pixels are {where}, and "
            f"{100 * most:.0f} % are allowed, as edges are cut off there: take it with another "
            "brightness or contrast."
        )


def _correlation(pixels: NDArray[Any]) -> Float | None:
    """Return the autocorrelation of the noise in flat places; None where it is nearly white.

    What a fit leaves in a narrow band does not tell it: the long waves of such noise are taken
    for shapes.
    """
    from everhart.noise import estimate_noise

    # A part is enough for one correlation, and quick.
    top, left = (max(n - _NOISE_PX, 0) // 2 for n in pixels.shape)
    part = pixels[top : top + _NOISE_PX, left : left + _NOISE_PX]
    correlation = estimate_noise(part).correlation
    middle = correlation.shape[0] // 2
    next_to_it = max(correlation[middle, middle + 1], correlation[middle + 1, middle])
    # What does not end within the map is structure: of an image without noise.
    if correlation.min() > _CORRELATED:
        return None
    return correlation if next_to_it > _CORRELATED else None


def _normalised(pixels: NDArray[Any]) -> NDArray[np.float32]:
    """Return grey levels from 0 to 1 in float32, whatever their scale was."""
    low, high = float(pixels.min()), float(pixels.max())
    scaled = (pixels.astype(np.float64) - low) / ((high - low) or 1.0)
    return np.asarray(scaled, np.float32)


make_callable(__name__, "holes")

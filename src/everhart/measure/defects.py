"""Defects of periodic patterns, without a golden image, or against one."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from everhart._callable_room import make_callable
from everhart.errors import EverhartError, UsageError
from everhart.measure._blob_search import FIRST_SIGMA_PX, search
from everhart.measure._defect_reference import (
    against_image,
    against_period,
    without_shading,
    without_slow,
)
from everhart.measure._defect_shape import (
    Context,
    group_peaks,
    kind_of,
    measure_defect,
    without_repeats,
)
from everhart.measure._defect_table import (
    defect_table,
    limit_summary,
    limit_table,
    outline_of,
    pattern_summary,
)
from everhart.measure.result import Measurement
from everhart.measure.units import UnitName, unit_of
from everhart.micrograph import Micrograph, field_of

__all__ = ["defects"]

Float = NDArray[np.float64]

_SMALLEST_SIDE = 64
_SATURATED = 0.3
_MOST = 500
_CONVENTION = (
    "size: circle of the area where the difference from the reference is over half of its peak; "
    "y and x: its centroid; contrast: the difference of a disc of that size"
)


def defects(
    image: Micrograph | ArrayLike,
    *,
    reference: Micrograph | ArrayLike | None = None,
    unit: UnitName = "nm",
    false_alarms: float = 0.01,
) -> Measurement:
    """Find defects: what differs from the pattern's own period, or from a reference image.

    Without a reference, the period of the pattern is found (one vector for lines, two for an
    array), all periods are laid on one another, drift and distortion taken out, and their robust
    mean is the reference [1]_. The difference from it is filtered with Gaussians of 1.5 px and its
    doubles. What a filtered difference scatters from period to period *at the same place in the
    period* is its standard deviation: it has the noise, the noise's correlation along the scan
    line, and the natural roughness of edges in it, so that an edge must move more than edges do
    to be a defect. Noise of few electrons is skewed, which is measured and taken into account. The
    threshold is where chance passes `false_alarms` times in the image.

    With a reference, it is laid on the image (:func:`everhart.align.register_pair`) and scaled to
    its brightness; places of similar brightness and slope are then compared in place of periods.

    Parameters
    ----------
    image
        Image of shape ``(H, W)``, of any dtype and range.
    reference
        An image of the same pattern without defects, of the same shape; None for the period.
    unit
        ``"nm"``, which needs a pixel size, or ``"px"``.
    false_alarms
        Alarms in an image without defects, on average: 1e-6 to 10.

    Returns
    -------
    Measurement
        Table, one row a defect, from the top to the bottom: ``defect``, ``x_px``, ``y_px``, with
        ``unit="nm"`` also ``x_nm``, ``y_nm``; ``x_sd``, ``y_sd``; ``size`` (equivalent diameter),
        ``size_sd``; ``contrast`` (signed, grey levels), ``contrast_sd``, ``contrast_relative`` and
        its ``_sd`` (in units of the pattern's contrast: 5th to 95th percentile of the
        reference); ``z`` (score of the highest peak: a normal variable is beyond it as seldom);
        ``expected_by_chance`` (peaks as high in
        an image without defects); ``kind``: ``missing_hole``, ``missing_pillar``, ``bridge``,
        ``break``, ``dent``, ``particle`` or ``unknown``. Further table ``limits``: the smallest
        contrast that is found in 90 of 100 cases, for a disc of each size, anywhere in the pattern
        (``contrast``) and in its quietest tenth (``contrast_quietest``).

    Raises
    ------
    UsageError
        If the image has no pixel size and nanometres are asked for, is a stack, or a parameter is
        not allowed.
    EverhartError
        If no period is found, there are too few periods, or the image is saturated.

    References
    ----------
    .. [1] B. E. Dom, V. H. Brecher, "Recent advances in the automatic inspection of integrated
       circuits for pattern defects", Machine Vision and Applications 8 (1995), 5-19: comparing
       repeated patterns within one image.

    Examples
    --------
    >>> rng = np.random.default_rng(0)
    >>> y, x = np.mgrid[:256, :256]
    >>> lines = 50 * np.cos(2 * np.pi * x / 20.3) + rng.normal(0, 10, y.shape)
    >>> lines[np.hypot(y - 100, x - 80) < 5] += 60
    >>> found = defects(lines, unit="px")
    >>> len(found.table), bool(abs(found.table.y_px[0] - 100) < 1)
    (1, True)
    >>> bool(abs(found.summary["period_a_px"] - 20.3) < 0.02)
    True
    """
    size = unit_of(image, unit)
    values = _checked(image, "defects are found")
    if not (isinstance(false_alarms, int | float) and 1e-6 <= false_alarms <= 10):
        raise UsageError(
            f"false_alarms = {false_alarms!r} was given: give the alarms by chance that an image "
            "may have, from 0.000001 to 10."
        )
    low, span = float(values.min()), float(np.ptp(values)) or 1.0
    grey = without_shading(((values - low) / span).astype(np.float32))
    if reference is None:
        expected = against_period(grey)
    else:
        expected = against_image(grey, _checked(reference, "the reference is"))
    inside = expected.inside
    difference = without_slow(grey - expected.image, inside, max(1.5 * expected.smallest_px, 24.0))
    largest = float(np.clip(expected.smallest_px / 4, FIRST_SIGMA_PX, min(grey.shape) / 16))
    scales, peaks = search(
        difference, expected.image, inside, expected.classes, largest, float(false_alarms)
    )
    peaks = sorted(peaks, key=lambda p: p.expected)[:_MOST]
    context = Context(grey, expected.image, inside, expected.vectors)
    rng = np.random.default_rng(0)  # which periods are compared: the same each time
    groups = group_peaks(peaks, scales)
    measured = without_repeats([measure_defect(g, scales, context, rng) for g in groups])
    found = [replace(one, kind=kind_of(one, context)) for one in measured]
    found.sort(key=lambda one: (round(one.y), one.x))
    limits = limit_table(scales, expected, size, span)
    kinds = [one.kind for one in found]
    summary = {
        "count": len(found),
        "kinds": {kind: kinds.count(kind) for kind in sorted(set(kinds))},
        **pattern_summary(expected, difference, size, span),
        "thresholds_z": {f"{s.sigma_px:g} px": s.threshold for s in scales},
        "false_alarms_expected": float(false_alarms),
        "reference": "period" if reference is None else "image",
        **limit_summary(limits, size),
        "edge_convention": _CONVENTION,
    }
    return Measurement(
        "defects",
        defect_table(found, size, span, expected.contrast),
        summary,
        [outline_of(one) for one in found],
        {"limits": limits},
    )


def _checked(image: Any, what: str) -> Float:
    """Return the pixels as float64, or say why nothing can be found in them."""
    pixels = np.asarray(field_of(image))
    if pixels.ndim != 2:
        raise UsageError(
            f"An array of shape {pixels.shape} was given: {what} in one image (height, width); "
            "give the frames of a stack one by one."
        )
    if min(pixels.shape) < _SMALLEST_SIDE:
        raise UsageError(
            f"An image of {pixels.shape[0]} x {pixels.shape[1]} pixels was given: {what} in "
            f"images of at least {_SMALLEST_SIDE} x {_SMALLEST_SIDE}."
        )
    if not np.isfinite(pixels).all():
        raise UsageError("An image with NaN or infinite pixels was given: fill them first.")
    ends = [float(np.mean(pixels == v)) for v in (pixels.min(), pixels.max())]
    if pixels.max() > pixels.min() and max(ends) > _SATURATED:
        which = "black" if ends[0] >= ends[1] else "white"
        raise EverhartError(
            f"The image is saturated: {100 * max(ends):.0f} % of its pixels are at the {which} end "
            f"of its scale, and {100 * _SATURATED:.0f} % are allowed; take it with another "
            "brightness or contrast."
        )
    return pixels.astype(np.float64)


make_callable(__name__, "defects")

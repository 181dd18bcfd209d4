"""Found against true circles: how many were missed, and how many are not there."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from everhart.errors import UsageError

__all__ = ["FailureRate", "failure_rate"]

Float = NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class FailureRate:
    """How well circles were found.

    Parameters
    ----------
    total
        Number of true circles.
    undetected
        Number of those that were not found.
    false_detections
        Number of found circles that are none.
    pairs
        ``(n, 2)``: row of the found and of the true circle of each match.
    """

    total: int
    undetected: int
    false_detections: int
    pairs: NDArray[np.intp]

    @property
    def failure_rate(self) -> float:
        """Undetected over all true circles [1]_ of :func:`failure_rate`, 0 to 1."""
        return self.undetected / self.total


def failure_rate(
    detected: Any,
    truth: Any,
    *,
    centre_tolerance: float = 0.25,
    radius_tolerance: float = 0.25,
) -> FailureRate:
    """Count the circles that were not detected, and those that were detected and are none.

    A true circle is detected if a found one has its centre and its radius within the tolerances.
    Each found circle stands for one true one at most: the matching with the most pairs is
    taken, and of those the one of the smallest distances.

    Parameters
    ----------
    detected, truth
        Tables with the columns ``y_px``, ``x_px`` and ``radius_px`` (or ``diameter_px``), as of
        :func:`everhart.measure.circles` and of the scene ``nand``; or arrays ``(n, 3)`` of y, x
        and radius.
    centre_tolerance
        Largest distance of the centres, in units of the true radius.
    radius_tolerance
        Largest difference of the radii, in units of the true radius.

    Returns
    -------
    FailureRate
        The failure rate ``undetected / all`` [1]_, and the false detections.

    Raises
    ------
    UsageError
        If there is no true circle, a table lacks a column, or a tolerance is not positive.

    References
    ----------
    .. [1] "Efficient and Robust SEM Image Denoising for Wafer Defect Inspection" (ReNIn): circle
       detection failure rate, 108 circles an image.

    Examples
    --------
    >>> found = failure_rate([(10, 10, 5), (40, 40, 5)], [(10.5, 10, 5), (10, 30, 5)])
    >>> found.failure_rate, found.false_detections
    (0.5, 1)
    """
    from scipy.optimize import linear_sum_assignment

    for name, value in (("centre", centre_tolerance), ("radius", radius_tolerance)):
        if not (np.isfinite(value) and value > 0):
            raise UsageError(
                f"{name}_tolerance = {value!r} was given: it is a positive part of the radius."
            )
    found, true = _circles(detected, "detected"), _circles(truth, "truth")
    if len(true) == 0:
        raise UsageError("No true circle was given: a failure rate needs at least one.")
    apart = np.hypot(*(found[:, None, k] - true[None, :, k] for k in (0, 1))) / true[None, :, 2]
    wider = np.abs(found[:, None, 2] - true[None, :, 2]) / true[None, :, 2]
    allowed = (apart <= centre_tolerance) & (wider <= radius_tolerance)
    # A pair that is not allowed costs more than any number of those that are.
    cost = np.where(allowed, apart / centre_tolerance, 2.0 * (min(allowed.shape) + 1))
    rows, columns = linear_sum_assignment(cost)
    kept = allowed[rows, columns]
    pairs = np.stack([rows[kept], columns[kept]], axis=1)
    return FailureRate(len(true), len(true) - len(pairs), len(found) - len(pairs), pairs)


def _circles(given: Any, what: str) -> Float:
    """Return y, x and radius as an array ``(n, 3)``."""
    columns = getattr(given, "columns", None)
    if columns is not None:
        names = set(columns)
        missing = {"y_px", "x_px"} - names
        if missing or not names & {"radius_px", "diameter_px"}:
            raise UsageError(
                f"A table {what} with the columns {', '.join(map(str, columns))} was given: it "
                "needs y_px, x_px and radius_px (or diameter_px)."
            )
        radius = given["radius_px"] if "radius_px" in names else given["diameter_px"] / 2
        return np.stack([np.asarray(given[n], np.float64) for n in ("y_px", "x_px")] + [
            np.asarray(radius, np.float64)
        ], axis=1)  # fmt: skip
    array = np.asarray(given, np.float64).reshape(-1, 3) if np.size(given) % 3 == 0 else None
    if array is None:
        raise UsageError(
            f"An array {what} of shape {np.shape(given)} was given: it is (n, 3), y, x and radius."
        )
    return array

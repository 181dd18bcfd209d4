"""Where on the profile that all holes have in common the edge is."""

from __future__ import annotations

from typing import Final, NamedTuple

import numpy as np

from everhart.errors import EverhartError
from everhart.measure._hole_template import Template
from everhart.measure.edges import fit_edge_profile

__all__ = ["CONVENTIONS", "EdgePlace", "locate_edge"]

CONVENTIONS: Final = {
    "half": "half way between the level inside of the hole and the highest level of its rim, on "
    "the profile that all holes of the image have in common",
    "model": "the edge of a model of wall, rim and blur, fitted to the profile that all holes of "
    "the image have in common",
}
"""What the values of ``edge`` mean, in words for the summary."""

_DRAWS = 8
_UNSURE_PX = 0.3


class EdgePlace(NamedTuple):
    """Where the edge is.

    Attributes
    ----------
    offset
        Distance from the fitted contours in px, positive outwards.
    offset_sd
        Its standard deviation by the noise of the profile.
    step
        Height of the edge in grey levels of the template.
    """

    offset: float
    offset_sd: float
    step: float


def locate_edge(template: Template, edge: str) -> EdgePlace:
    """Find the edge on the profile.

    Parameters
    ----------
    template
        The profile.
    edge
        A key of :data:`CONVENTIONS`.

    Returns
    -------
    EdgePlace
        Distance and height.

    Raises
    ------
    EverhartError
        If the profile does not rise, or the model cannot be told from it.
    """
    grid, value = template.grid, template.value
    steepest = int(np.argmax(template.slope))
    inner = slice(0, max(len(grid) // 8, 1))
    top = steepest + int(np.argmax(value[steepest:]))
    low, high = float(value[inner].mean()), float(value[top])
    if not high > low:
        raise EverhartError(
            "What was found has no rising edge in common: these are no holes of one kind; give "
            "--radius-px, or the other --polarity."
        )
    middle = (low + high) / 2
    below = np.flatnonzero(value[: top + 1] < middle)
    place = int(below[-1]) if len(below) else 0
    rise = float(value[place + 1] - value[place])
    offset = float(grid[place]) + (middle - float(value[place])) / rise * float(grid[1] - grid[0])
    weights = (template.basis[inner].mean(axis=0) + template.basis[top]) / 2 - template.basis[place]
    slope = max(float(template.slope[place]), 1e-30)
    sd = float(np.sqrt(max(weights @ template.covariance @ weights, 0))) / slope
    if edge == "half":
        return EdgePlace(offset, sd, high - low)
    fit = _model(template.grid, template.value)
    rng = np.random.default_rng(0)  # the same spread for the same image
    root = np.linalg.cholesky(template.covariance)
    drawn = []
    for _ in range(_DRAWS):
        noisy = template.value + template.basis @ (root @ rng.standard_normal(len(root)))
        drawn.append(_model(template.grid, noisy)[0])
    spread = float(np.hypot(fit[1], np.sqrt(np.mean(np.square(np.array(drawn) - fit[0])))))
    if not spread < _UNSURE_PX:
        raise EverhartError(
            f"The model of the edge is unsure by {spread:.2g} px in this image: take the edge half "
            "way up (--edge half), or a sharper or less noisy image."
        )
    return EdgePlace(fit[0], spread, high - low)


def _model(grid: np.ndarray, value: np.ndarray) -> tuple[float, float]:
    fit = fit_edge_profile(grid, value, bin_px=0.5)
    return (np.nan, np.inf) if fit is None else (fit.position_px, fit.position_sigma_px)

"""The table and the summary of measured lines."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from everhart.measure.roughness import Estimate, Roughness

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["line_table", "spectrum_table", "summarise"]

Float = NDArray[np.float64]

_MISFIT = (
    "The spectrum of the edges is not one of roughness and noise, as after a denoiser or "
    "another filter: roughness without noise may be wrong by more than its standard deviation; "
    "measure the image as it was taken."
)
_TOLD = 3.0  # roughness over its standard deviation, from which on its spectrum tells something


def line_table(
    places: Float, missing: Float, of_edges: Roughness, of_widths: Roughness, unit: str
) -> pd.DataFrame:
    """Return one row a line.

    Parameters
    ----------
    places
        Edges across the lines in `unit`, left and right in turn, ``(2 lines, rows)``.
    missing
        Part of the rows without an edge, ``(2 lines,)``.
    of_edges, of_widths
        Roughness of all edges and of all widths.
    unit
        ``"nm"`` or ``"px"``.
    """
    import pandas as pd

    left, right = places[0::2], places[1::2]
    width = right - left
    columns: dict[str, Any] = {
        "line": np.arange(1, len(left) + 1),
        f"center_{unit}": (left + right).mean(axis=1) / 2,
        f"center_sd_{unit}": np.full(len(left), _center_sd(of_edges)),
        f"cd_{unit}": width.mean(axis=1),
        f"cd_sd_{unit}": np.full(len(left), of_widths.mean_sd),
    }
    for name, positions, rough in (
        ("lwr", width, of_widths),
        ("ler_left", left, of_edges),
        ("ler_right", right, of_edges),
    ):
        both = [rough.of_one(float(v)) for v in _variances(positions)]
        for key, estimates in (
            (f"{name}_3sigma", [b for b, _ in both]),
            (f"{name}_3sigma_unbiased", [u for _, u in both]),
        ):
            columns[f"{key}_{unit}"] = [3 * e.value for e in estimates]
            columns[f"{key}_sd_{unit}"] = [3 * e.sd for e in estimates]
    columns["missing"] = np.maximum(missing[0::2], missing[1::2])
    return pd.DataFrame(columns)


def _variances(positions: Float) -> Float:
    """Return the variance of each row of values about a straight line."""
    t = np.arange(positions.shape[1]) - (positions.shape[1] - 1) / 2
    centred = positions - positions.mean(axis=1, keepdims=True)
    slope = centred @ t / (t @ t)
    return np.asarray(np.mean(centred**2, axis=1) - slope**2 * np.mean(t**2))


def _center_sd(of_edges: Roughness) -> float:
    # Edges that move together do not average out.
    return float(of_edges.mean_sd * np.sqrt((1 + of_edges.together) / 2))


def summarise(
    table: pd.DataFrame, of_edges: Roughness, of_widths: Roughness, unit: str
) -> dict[str, Any]:
    """Return the figures of the image; arguments as of :func:`line_table`."""
    count = len(table)
    widths = table[f"cd_{unit}"].to_numpy()
    # Lines may differ by more than their roughness makes them.
    scatter = float(np.var(widths, ddof=1))
    cd_sd = float(np.sqrt(max(of_widths.mean_sd**2, scatter) / count))
    pitch, pitch_sd = _pitch(table[f"center_{unit}"].to_numpy(), _center_sd(of_edges))

    def three(estimate: Estimate) -> Estimate:
        return Estimate(3 * estimate.value, 3 * estimate.sd)

    figures = {
        "cd": Estimate(float(widths.mean()), cd_sd),
        "pitch": Estimate(pitch, pitch_sd),
        "lwr_3sigma": three(of_widths.biased),
        "lwr_3sigma_unbiased": three(of_widths.sigma),
        "ler_3sigma": three(of_edges.biased),
        "ler_3sigma_unbiased": three(of_edges.sigma),
        "correlation_length": of_edges.correlation_length,
        "edge_noise": of_edges.noise,
        "row_jitter": of_edges.common,
    }
    summary: dict[str, Any] = {}
    for key, estimate in figures.items():
        summary[f"{key}_{unit}"] = estimate.value
        summary[f"{key}_sd_{unit}"] = estimate.sd
    summary["hurst"] = of_edges.hurst.value
    summary["hurst_sd"] = of_edges.hurst.sd
    if of_edges.sigma.value < _TOLD * of_edges.sigma.sd:
        for key in (f"correlation_length_{unit}", f"correlation_length_sd_{unit}"):
            summary[key] = None
        summary["hurst"] = summary["hurst_sd"] = None
    summary["misfit"] = of_edges.misfit
    summary["warning"] = None if of_edges.fits and of_widths.fits else _MISFIT
    return summary


def _pitch(center: Float, center_sd: float) -> tuple[float, float]:
    """Return the pitch by a straight line through the centres, lines left out counted."""
    usual = float(np.median(np.diff(center)))
    index = np.concatenate([[0.0], np.cumsum(np.maximum(np.rint(np.diff(center) / usual), 1))])
    index -= index.mean()
    spread = float(index @ index)
    pitch = float(index @ center) / spread
    left = center - center.mean() - pitch * index
    freedom = len(center) - 2
    scatter = float(left @ left) / freedom if freedom else 0.0
    return pitch, float(np.sqrt(max(scatter, center_sd**2) / spread))


def spectrum_table(rough: Roughness, unit: str) -> pd.DataFrame:
    """Return the spectrum: measured, its floor, and the fitted model."""
    import pandas as pd

    return pd.DataFrame(
        {
            f"frequency_per_{unit}": rough.frequency,
            f"psd_{unit}3": rough.psd,
            f"floor_{unit}3": rough.floor,
            f"model_{unit}3": rough.model,
        }
    )

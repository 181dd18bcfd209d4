"""Figures of all holes of an image together."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from everhart.measure._root import root_sd
from everhart.measure.lattice import Lattice

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["scatter_without_noise", "summarise"]

Float = NDArray[np.float64]

_ENDS = ("", "_sd", "_unbiased", "_unbiased_sd")


def scatter_without_noise(
    values: ArrayLike, sd: ArrayLike, spent: int = 1
) -> tuple[float, float, float, float]:
    """Return three standard deviations of values, with and without that of their noise.

    Parameters
    ----------
    values
        ``(n,)``, about their model.
    sd
        Standard deviation of the noise of each.
    spent
        Number of parameters that the model took from them.

    Returns
    -------
    biased, biased_sd, unbiased, unbiased_sd : float
        Three sigma as it is, and with the mean variance of the noise taken out; each with its
        standard deviation from the number of values.

    Examples
    --------
    >>> rng = np.random.default_rng(0)
    >>> values = rng.normal(0, 1.0, 4000) + rng.normal(0, 0.5, 4000)
    >>> biased, _, unbiased, _ = scatter_without_noise(values, np.full(4000, 0.5))
    >>> round(biased, 1), round(unbiased, 1)
    (3.4, 3.0)
    """
    x = np.asarray(values, np.float64)
    free = max(x.size - spent, 1)
    mean = x.mean() if spent == 1 else 0.0
    total = float(np.square(x - mean).sum()) / free
    noise = float(np.square(np.asarray(sd, np.float64)).mean())
    left = total - noise
    spread = total * float(np.sqrt(2 / free))
    sigma = float(np.sqrt(max(left, 0.0)))
    whole = float(np.sqrt(total))
    return 3 * whole, 3 * root_sd(whole, spread), 3 * sigma, 3 * root_sd(sigma, spread)


def summarise(
    table: pd.DataFrame,
    unit: str,
    common_sd: float,
    radius_noise: Float,
    lattice: Lattice | None,
) -> Mapping[str, Any]:
    """Sum up the table of holes.

    Parameters
    ----------
    table
        The table of :func:`everhart.measure.holes`.
    unit
        End of the names.
    common_sd
        Standard deviation of the mean CD.
    radius_noise
        Standard deviation of each CD against their mean.
    lattice
        The lattice, or None.

    Returns
    -------
    dict
        Plain numbers by name; None for what cannot be told.
    """
    cd = table[f"cd_{unit}"].to_numpy()
    several = len(cd) > 2
    lcdu = scatter_without_noise(cd, radius_noise) if several else (None,) * 4
    cer = table[f"cer_3sigma_{unit}"].to_numpy()
    cer_sd = table[f"cer_3sigma_sd_{unit}"].to_numpy()
    mean_cer = float(np.sqrt(np.mean(cer**2)))
    figures: dict[str, Any] = {
        "count": len(cd),
        f"mean_cd_{unit}": float(cd.mean()),
        f"mean_cd_sd_{unit}": common_sd,
        f"lcdu_3sigma_{unit}": lcdu[0],
        f"lcdu_3sigma_sd_{unit}": lcdu[1],
        f"lcdu_3sigma_unbiased_{unit}": lcdu[2],
        f"lcdu_3sigma_unbiased_sd_{unit}": lcdu[3],
        "mean_ellipticity": float(table["ellipticity"].mean()),
        "mean_ellipticity_sd": _of_mean(table["ellipticity_sd"].to_numpy()),
        f"mean_cer_3sigma_{unit}": mean_cer,
        f"mean_cer_3sigma_sd_{unit}": _of_mean(cer * cer_sd) / max(mean_cer, 1e-300),
    }
    return {**figures, **_of_lattice(lattice, table, unit)}


def _of_mean(sd: Float) -> float:
    """Return the deviation of a mean of independent values."""
    return float(np.sqrt(np.square(sd).sum())) / len(sd)


def _of_lattice(lattice: Lattice | None, table: pd.DataFrame, unit: str) -> dict[str, Any]:
    names = ("pitch_a", "pitch_b")
    if lattice is None:
        keys = [f"{n}{s}_{unit}" for n in names for s in ("", "_sd")]
        keys += [
            "rotation_deg",
            "rotation_sd_deg",
            "lattice_angle_deg",
            "lattice_angle_sd_deg",
        ]
        keys += [f"placement_{axis}_3sigma{end}_{unit}" for axis in ("x", "y") for end in _ENDS]
        return dict.fromkeys([*keys, "off_lattice_count", "missing_count", "missing"])
    figures: dict[str, Any] = {
        f"pitch_a_{unit}": lattice.pitch_a,
        f"pitch_a_sd_{unit}": lattice.pitch_a_sd,
        f"pitch_b_{unit}": lattice.pitch_b,
        f"pitch_b_sd_{unit}": lattice.pitch_b_sd,
        "rotation_deg": lattice.rotation_deg,
        "rotation_sd_deg": lattice.rotation_sd_deg,
        "lattice_angle_deg": lattice.angle_deg,
        "lattice_angle_sd_deg": lattice.angle_sd_deg,
    }
    for column, axis in ((1, "x"), (0, "y")):
        noise = table[f"{axis}_sd_{unit}"].to_numpy()[lattice.member]
        found = scatter_without_noise(lattice.residual[lattice.member, column], noise, 3)
        for end, value in zip(_ENDS, found, strict=True):
            figures[f"placement_{axis}_3sigma{end}_{unit}"] = value
    figures["off_lattice_count"] = int((~lattice.member).sum())
    figures["missing_count"] = len(lattice.missing)
    figures["missing"] = [
        {f"y_{unit}": float(y), f"x_{unit}": float(x)} for y, x in lattice.missing
    ]
    return figures

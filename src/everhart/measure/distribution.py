"""The distribution of particle sizes: its figures, and its picture."""

from __future__ import annotations

import io
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from everhart.errors import UsageError
from everhart.measure.result import Measurement

__all__ = ["draw_size_distribution", "size_distribution"]

Float = NDArray[np.float64]

_DRAWS = 500


def size_distribution(diameters: Float, weights: Float, unit: str) -> dict[str, float | None]:
    """Return mean, standard deviation and quantiles of diameters, by number.

    Parameters
    ----------
    diameters
        Of complete particles, at least one.
    weights
        Their weights against the loss of large ones at the border.
    unit
        End of the names of the figures.

    Returns
    -------
    dict
        ``diameter_mean_nm``, ``diameter_sigma_nm``, ``d10_nm``, ``d50_nm``, ``d90_nm`` and
        ``diameter_mean_corrected_nm``, each with its standard deviation from 500 bootstrap samples
        of the particles; None where one particle tells nothing.

    Examples
    --------
    >>> sizes = np.array([8.0, 10.0, 12.0])
    >>> size_distribution(sizes, np.ones(3), "nm")["d50_nm"]
    10.0
    """
    names = ("diameter_mean", "diameter_sigma", "d10", "d50", "d90", "diameter_mean_corrected")
    n = diameters.size
    values = _figures(diameters[None], weights[None])[0]
    spread: list[float | None] = [None] * len(names)
    if n > 1:
        drawn = np.random.default_rng(0).integers(0, n, (_DRAWS, n))
        spread = [float(v) for v in _figures(diameters[drawn], weights[drawn]).std(axis=0)]
    out: dict[str, float | None] = {}
    for name, value, sd in zip(names, values, spread, strict=True):
        out[f"{name}_{unit}"] = float(value) if n > 1 or name != "diameter_sigma" else None
        out[f"{name}_sd_{unit}"] = sd
    return out


def _figures(diameters: Float, weights: Float) -> Float:
    """Return the figures of samples ``(m, n)``, shape ``(m, 6)``."""
    n = diameters.shape[1]
    sigma = diameters.std(axis=1, ddof=1) if n > 1 else np.zeros(len(diameters))
    tenths = np.quantile(diameters, (0.1, 0.5, 0.9), axis=1)
    corrected = (diameters * weights).sum(axis=1) / weights.sum(axis=1)
    return np.stack([diameters.mean(axis=1), sigma, *tenths, corrected], axis=1)


def draw_size_distribution(measurement: Measurement, path: str | Path | io.BytesIO) -> None:
    """Draw the distribution of the diameters of complete particles: histogram and cumulative.

    Parameters
    ----------
    measurement
        Of particles.
    path
        Picture to write, such as ``sizes.png`` or ``sizes.svg``, or a stream for a PNG; an
        existing file is replaced.

    Raises
    ------
    UsageError
        If the measurement is of another kind.
    """
    if measurement.kind != "particles":
        raise UsageError(
            f"A measurement of {measurement.kind} was given: the distribution of sizes is drawn "
            "of particles."
        )
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    table = measurement.table
    unit = "nm" if "diameter_nm" in table else "px"
    sizes = np.sort(table.loc[~table["border"], f"diameter_{unit}"].to_numpy(np.float64))
    figure = Figure(figsize=(6, 4), layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.add_subplot()
    axes.hist(sizes, bins=_edges(sizes).tolist(), color="#8fb3d9", edgecolor="#33506e")
    axes.set_xlabel(f"equivalent diameter, {unit}")
    axes.set_ylabel("particles")
    share = axes.twinx()
    share.step(sizes, 100 * np.arange(1, sizes.size + 1) / sizes.size, "#c05020", where="post")
    share.set_ylabel("cumulative, % by number")
    share.set_ylim(0, 102)
    summary = measurement.summary
    for name in ("d10", "d50", "d90"):
        value = float(summary[f"{name}_{unit}"])
        axes.axvline(value, color="#555555", linestyle=":", linewidth=1)
        axes.annotate(
            name.upper(), (value, 1.0), xycoords=("data", "axes fraction"), fontsize=8,
            ha="center", va="bottom",
        )  # fmt: skip
    border = int(table["border"].sum())
    figure.suptitle(f"{sizes.size} particles; {border} at the border left out", fontsize=10)
    figure.savefig(path, dpi=120)


def _edges(sizes: Float) -> Float:
    """Return the edges of bins by the rule of Freedman and Diaconis, 5 to 60 of them."""
    low, high = float(sizes[0]), float(sizes[-1])
    if high - low < 1e-6 * high:
        return np.linspace(0.9 * low, 1.1 * high, 6)
    quartiles = np.quantile(sizes, (0.25, 0.75))
    width = 2 * float(np.diff(quartiles)[0]) / sizes.size ** (1 / 3)
    count = int(np.clip((high - low) / width, 5, 60)) if width > 0 else 5
    return np.linspace(low, high, count + 1)

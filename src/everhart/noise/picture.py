"""The picture of a noise diagnosis: correlation map, correlation along the axes, variance."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from everhart.noise.diagnosis import NoiseReport
from everhart.noise.model import NoiseEstimate

if TYPE_CHECKING:
    from matplotlib.figure import Figure

__all__ = ["draw", "write_picture"]

_LABELLED = 0.05  # correlations below this are chance in most images


def draw(report: NoiseReport, title: str = "") -> Figure:
    """Draw a diagnosis.

    Parameters
    ----------
    report
        What :func:`everhart.noise.diagnose` returned.
    title
        Title of the figure, such as the name of the file.

    Returns
    -------
    matplotlib.figure.Figure
        Three panels: the Pearson correlation map, its profiles along x and y, and the
        variance against the mean with the line through it. The figure is not known to
        pyplot, so that nothing has to be closed.
    """
    from matplotlib.figure import Figure

    figure = Figure(figsize=(11.5, 3.9), dpi=150, layout="constrained")
    panels = figure.subplots(1, 3)
    _correlation_map(figure, panels[0], report.noise)
    _profiles(panels[1], report.noise)
    _variance(panels[2], report.noise)
    frames = f", {report.n_frames} frames" if report.n_frames > 1 else ""
    figure.suptitle(f"{title}  (noise measured on: {report.source}{frames})".strip(), fontsize=10)
    return figure


def write_picture(
    report: NoiseReport,
    path: str | os.PathLike[str],
    *,
    title: str = "",
    overwrite: bool = False,
) -> Path:
    """Write the picture of a diagnosis.

    Parameters
    ----------
    report
        What :func:`everhart.noise.diagnose` returned.
    path
        File to write; its suffix (``.png``, ``.pdf``, ``.svg``) says the format.
    title
        Title of the figure.
    overwrite
        Whether an existing file may be replaced.

    Returns
    -------
    Path
        The file.

    Raises
    ------
    UsageError
        If the file exists and must not be replaced, or its folder is missing.
    """
    from everhart.io.atomic import atomic_path

    figure = draw(report, title)
    target = Path(path)
    with atomic_path(target, overwrite=overwrite) as temporary:
        figure.savefig(temporary)
    return target


def _correlation_map(figure: Figure, axes: Any, noise: NoiseEstimate) -> None:
    correlation = noise.correlation
    reach_y, reach_x = (n // 2 for n in correlation.shape)
    others = np.abs(correlation).copy()
    others[reach_y, reach_x] = 0.0
    # The centre is 1 in every image; the colours are for the others.
    limit = max(0.1, float(np.ceil(10 * others.max()) / 10))
    picture = axes.imshow(
        correlation,
        cmap="RdBu_r",
        vmin=-limit,
        vmax=limit,
        extent=(-reach_x - 0.5, reach_x + 0.5, reach_y + 0.5, -reach_y - 0.5),
        interpolation="nearest",
    )
    for (row, column), value in np.ndenumerate(correlation):
        if abs(value) >= _LABELLED:
            axes.text(
                column - reach_x,
                row - reach_y,
                "1" if (row, column) == (reach_y, reach_x) else f"{value:.2f}".replace("0.", "."),
                ha="center",
                va="center",
                fontsize=6,
                color="white" if abs(value) > 0.6 * limit else "black",
            )
    axes.set(xlabel="lag in x / px (scan line)", ylabel="lag in y / px")
    axes.set_xticks(range(-reach_x, reach_x + 1))
    axes.set_yticks(range(-reach_y, reach_y + 1))
    axes.tick_params(labelsize=7)
    axes.set_title("Correlation map", fontsize=10)
    figure.colorbar(picture, ax=axes, label="Pearson r", shrink=0.85)


def _profiles(axes: Any, noise: NoiseEstimate) -> None:
    for axis, marker in (("x", "o"), ("y", "s")):
        values = noise.correlation_along(axis)
        axes.plot(range(len(values)), values, marker=marker, label=f"along {axis}")
    axes.axhline(0.0, color="0.6", linewidth=0.8)
    axes.set(xlabel="lag / px", ylabel="Pearson r")
    axes.legend(frameon=False)
    axes.set_title("Correlation along the axes", fontsize=10)


def _variance(axes: Any, noise: NoiseEstimate) -> None:
    axes.plot(noise.levels, noise.variances, "o", color="tab:green", label="measured")
    if noise.levels:
        ends = np.array([min(noise.levels), max(noise.levels)])
        line = np.linspace(ends[0], ends[1], 50)
        axes.plot(line, noise.variance_at(line), color="black", label=_line_label(noise))
        axes.set_ylim(bottom=0.0)
    axes.set(xlabel="mean / grey levels", ylabel="variance / grey levels²")
    axes.legend(frameon=False, fontsize=8)
    axes.set_title("Variance against mean", fontsize=10)


def _line_label(noise: NoiseEstimate) -> str:
    if not noise.signal_dependent:
        return f"σ² = {noise.readout_variance:.3g}"
    signal = f"(m − {noise.pedestal:.3g})" if noise.pedestal else "m"
    return f"σ² = {noise.gain:.3g} {signal} + {noise.readout_variance:.3g}"

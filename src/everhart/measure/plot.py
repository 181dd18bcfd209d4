"""Figures of a measurement: the sizes of particles, the spectra of the roughness of lines."""

from __future__ import annotations

import io
import os
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from everhart.errors import UsageError
from everhart.measure.distribution import draw_size_distribution
from everhart.measure.result import Measurement

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["PLOTTED", "draw_roughness_spectrum", "write_plot"]


def draw_roughness_spectrum(measurement: Measurement, path: str | Path | io.BytesIO) -> None:
    """Draw the power spectra of edges and widths of lines: measured, fitted model, and floor.

    Parameters
    ----------
    measurement
        Of lines.
    path
        Picture to write, such as ``psd.png`` or ``psd.svg``, or a stream for a PNG; an existing
        file is replaced.

    Raises
    ------
    UsageError
        If the measurement is of another kind.
    """
    if measurement.kind != "lines":
        raise UsageError(
            f"A measurement of {measurement.kind} was given: the spectrum of roughness is drawn of "
            "lines."
        )
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(9, 4), layout="constrained")
    FigureCanvasAgg(figure)
    panels = figure.subplots(1, 2)
    for axes, name, title in zip(panels, ("psd", "psd_lwr"), ("edges", "widths"), strict=True):
        _draw_spectrum(axes, measurement.tables[name], title)
    panels[0].legend(frameon=False, fontsize=8)
    figure.savefig(path, dpi=120)


def _draw_spectrum(axes: Any, table: pd.DataFrame, title: str) -> None:
    unit = "nm" if "psd_nm3" in table else "px"
    frequency = table[f"frequency_per_{unit}"].to_numpy(np.float64)
    shown = frequency > 0  # its logarithm is drawn
    for column, label, style in (
        (f"psd_{unit}3", "measured", {"marker": ".", "linestyle": "", "color": "#33506e"}),
        (f"model_{unit}3", "fitted: roughness and noise", {"color": "#c05020"}),
        (f"floor_{unit}3", "noise of the edges alone", {"color": "#777777", "linestyle": "--"}),
    ):
        values = table[column].to_numpy(np.float64)
        used = shown & (values > 0)
        axes.plot(frequency[used], values[used], label=label, **style)
    axes.set_xscale("log")
    axes.set_yscale("log")
    axes.set_title(title, fontsize=10)
    axes.set_xlabel(f"frequency, 1/{unit}")
    axes.set_ylabel(f"power spectral density, {unit}³")


PLOTTED: Final[Mapping[str, Callable[[Measurement, io.BytesIO], None]]] = {
    "lines": draw_roughness_spectrum,
    "particles": draw_size_distribution,
}
"""What draws the figure of a measurement, by its kind."""


def write_plot(
    measurement: Measurement, path: str | os.PathLike[str], overwrite: bool = False
) -> Path:
    """Write the figure of a measurement as a PNG.

    Parameters
    ----------
    measurement
        Of one of the kinds in :data:`PLOTTED`.
    path
        Name of the output.
    overwrite
        Whether an existing file may be replaced.

    Returns
    -------
    Path
        The path written.

    Raises
    ------
    UsageError
        If measurements of this kind have no figure.
    OutputExistsError, EverhartError
        As for :func:`everhart.io.atomic.atomic_path`.
    """
    from everhart.io.atomic import write_bytes

    if measurement.kind not in PLOTTED:
        raise UsageError(
            f"A measurement of {measurement.kind} was given: figures are made of "
            f"{' and '.join(PLOTTED)}."
        )
    stream = io.BytesIO()
    PLOTTED[measurement.kind](measurement, stream)
    return write_bytes(path, stream.getvalue(), overwrite=overwrite)

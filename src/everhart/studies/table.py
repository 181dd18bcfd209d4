"""The table of a study: figures beside the paper's, and which orderings came out."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import pandas as pd

from everhart.studies.study import Ordering, Study

__all__ = ["markdown", "outcome", "summary"]

_HIGHER_IS_BETTER = {
    "psnr_db": True,
    "ssim": True,
    "failure_percent": False,
    "hough_failure_percent": False,
}
_FORMATS = {
    "psnr_db": "{:.2f}",
    "ssim": "{:.3f}",
    "failure_percent": "{:.1f}",
    "false_circles": "{:.1f}",
    "hough_failure_percent": "{:.1f}",
    "hough_false_circles": "{:.1f}",
}
_NAMES = {
    "psnr_db": "PSNR (dB)",
    "ssim": "SSIM",
    "failure_percent": "failure rate (%)",
    "false_circles": "false circles",
    "hough_failure_percent": "missed by Hough (%)",
    "hough_false_circles": "false by Hough",
}
_DIFFERENT = "different"


def summary(figures: Sequence[Mapping[str, Any]]) -> pd.DataFrame:
    """Tabulate the figures of all cells.

    Parameters
    ----------
    figures
        The cells, as a study's ``results.json`` holds them.

    Returns
    -------
    DataFrame
        One line a row and seed; columns ``"normal psnr_db"`` and so on, those of the
        structurally different images averaged under ``"different psnr_db"``.
    """
    lines = []
    for cell in figures:
        line: dict[str, Any] = {"row": cell["row"], "seed": cell["seed"]}
        line["training_cpu_s"] = cell["training_cpu_s"]
        images = cell["figures"]
        for name in _NAMES:
            line[f"normal {name}"] = images["normal"][name]
            others = [v[name] for image, v in images.items() if image.startswith(_DIFFERENT)]
            line[f"{_DIFFERENT} {name}"] = sum(others) / len(others)
        lines.append(line)
    return pd.DataFrame(lines)


def outcome(ordering: Ordering, table: pd.DataFrame) -> tuple[float, float, bool]:
    """Say by how much an ordering holds.

    Parameters
    ----------
    ordering
        The claim.
    table
        What :func:`summary` returned.

    Returns
    -------
    difference, spread, holds
        Mean over the seeds of the advantage of the better row (negative if it is worse), its
        standard deviation over the seeds (0 for one seed), and whether the mean bears the
        claim out.
    """
    by_row = table.set_index(["row", "seed"])[ordering.column]
    difference = by_row[ordering.better] - by_row[ordering.worse]
    if not _HIGHER_IS_BETTER[ordering.column.split()[-1]]:
        difference = -difference
    mean = float(difference.mean())
    spread = float(difference.std()) if len(difference) > 1 else 0.0
    return mean, spread, mean > 0 if ordering.within is None else mean >= -ordering.within


def markdown(study: Study, record: Mapping[str, Any]) -> str:
    """Write the results of a study as Markdown.

    Parameters
    ----------
    study
        The study.
    record
        Its ``results.json``.
    """
    table = summary(record["figures"])
    columns = [f"{image} {name}" for image in ("normal", _DIFFERENT) for name in _NAMES]
    height, width = record["shape"]
    seeds = table["seed"].nunique()
    text = f"# {study.name}: {study.title}\n\n"
    text += f"Scale `{record['scale']}`, images of {width} x {height} pixels, {seeds} "
    text += f"seed{'s' if seeds > 1 else ''}; the mean over the seeds"
    text += " and, after +-, their standard deviation.\n\n" if seeds > 1 else ".\n\n"
    heads = ["method", "frames a scene", *map(_head, columns), "training (CPU s)", "paper"]
    lines = [heads, ["---"] * len(heads)]
    for row in study.rows:
        cells = table[table["row"] == row.key]
        frames = str(row.training_frames) if row.recipe is not None else "-"
        values = [_value(cells[column], column) for column in columns]
        paper = "; ".join(f"{name} {value:g}" for name, value in row.paper.items()) or "-"
        seconds = f"{cells['training_cpu_s'].mean():.0f}" if row.recipe is not None else "-"
        lines.append([row.title, frames, *values, seconds, paper])
    text += "".join("| " + " | ".join(line) + " |\n" for line in lines)
    if study.orderings:
        text += "\n" + _orderings(study, table)
    return text


def _orderings(study: Study, table: pd.DataFrame) -> str:
    titles = {row.key: row.title for row in study.rows}
    lines = [["claim", "paper", "found", "reproduced"], ["---"] * 4]
    for claim in study.orderings:
        mean, spread, holds = outcome(claim, table)
        what = "beats" if claim.within is None else f"is within {claim.within:g} of"
        said = f"{titles[claim.better]} {what} {titles[claim.worse]}, {_head(claim.column)}"
        found = f"{mean:+.2f}" + (f" +- {spread:.2f}" if spread else "")
        paper = "-" if claim.paper is None else f"{claim.paper:+g}"
        lines.append([said, paper, found, "yes" if holds else "**no**"])
    return "".join("| " + " | ".join(line) + " |\n" for line in lines)


def _head(column: str) -> str:
    image, name = column.split()
    return f"{image}: {_NAMES[name]}"


def _value(values: pd.Series[float], column: str) -> str:
    form = _FORMATS[column.split()[-1]]
    text = form.format(values.mean())
    return text + (f" +- {form.format(values.std())}" if len(values) > 1 else "")

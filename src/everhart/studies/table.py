"""The table of a study: figures beside the paper's, and which orderings came out."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import pandas as pd

from everhart.studies.study import Ordering, Study

__all__ = ["lines_of", "markdown", "orderings_table", "outcome", "summary", "titled", "valued"]


@dataclass(frozen=True)
class _Metric:
    """What a figure is called, how it is written, and whether more of it is better."""

    title: str
    form: str
    higher_is_better: bool = True


_METRICS = {
    "psnr_db": _Metric("PSNR (dB)", ".2f"),
    "affine_psnr_db": _Metric("PSNR, grey levels matched (dB)", ".2f"),
    "ssim": _Metric("SSIM", ".3f"),
    "edge_merit": _Metric("edges' figure of merit", ".3f"),
    "failure_percent": _Metric("failure rate (%)", ".1f", higher_is_better=False),
    "false_circles": _Metric("false circles", ".1f", higher_is_better=False),
    "hough_failure_percent": _Metric("missed by Hough (%)", ".1f", higher_is_better=False),
    "hough_false_circles": _Metric("false by Hough", ".1f", higher_is_better=False),
    "kept_small_percent": _Metric("contrast kept, 1.5 px (%)", ".1f"),
    "kept_large_percent": _Metric("contrast kept, 3 px (%)", ".1f"),
    "found_percent": _Metric("defects found (%)", ".1f"),
}
_WAFER = (
    "psnr_db",
    "affine_psnr_db",
    "ssim",
    "failure_percent",
    "false_circles",
    "hough_failure_percent",
    "hough_false_circles",
)
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
        for name in _WAFER:
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
    # Seeds that one of the two was not run for say nothing.
    difference = (by_row[ordering.better] - by_row[ordering.worse]).dropna()
    if not _metric(ordering.column).higher_is_better:
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
    columns = [f"{image} {name}" for image in ("normal", _DIFFERENT) for name in _WAFER]
    height, width = record["shape"]
    seeds = table["seed"].nunique()
    text = f"# {study.name}: {study.title}\n\n"
    text += f"Scale `{record['scale']}`, images of {width} x {height} pixels, {seeds} "
    text += f"seed{'s' if seeds > 1 else ''}; the mean over the seeds"
    text += " and, after +-, their standard deviation.\n\n" if seeds > 1 else ".\n\n"
    heads = ["method", "frames a scene", *map(titled, columns), "training (CPU s)", "paper"]
    lines = []
    for row in study.rows:
        cells = table[table["row"] == row.key]
        frames = str(row.training_frames) if row.recipe is not None else "-"
        values = [valued(cells[column], column) for column in columns]
        paper = "; ".join(f"{name} {value:g}" for name, value in row.paper.items()) or "-"
        seconds = f"{cells['training_cpu_s'].mean():.0f}" if row.recipe is not None else "-"
        lines.append([row.title, frames, *values, seconds, paper])
    text += lines_of(heads, lines)
    if study.orderings:
        titles = {row.key: row.title for row in study.rows}
        text += "\n" + orderings_table(study.orderings, titles, table)
    return text


def orderings_table(
    orderings: Sequence[Ordering],
    titles: Mapping[str, str],
    table: pd.DataFrame,
    *,
    beyond_the_spread: bool = False,
) -> str:
    """Write which claims came out as a Markdown table.

    Parameters
    ----------
    orderings
        The claims.
    titles
        Titles of the rows by key.
    table
        Figures by ``row`` and ``seed``.
    beyond_the_spread
        Whether a claim that one row is better is borne out only by more than the standard
        deviation over the seeds; one seed then decides nothing.
    """
    lines = []
    for claim in orderings:
        mean, spread, holds = outcome(claim, table)
        metric = _metric(claim.column)
        what = "beats" if claim.within is None else f"is within {claim.within:g} of"
        said = f"{titles[claim.better]} {what} {titles[claim.worse]}, {titled(claim.column)}"
        form = ".3f" if metric.form == ".3f" else ".2f"
        found = f"{mean:+{form}}" + (f" +- {spread:{form}}" if spread else "")
        paper = "-" if claim.paper is None else f"{claim.paper:+g}"
        verdict = "yes" if holds else "**no**"
        if beyond_the_spread and table["seed"].nunique() < 2:
            verdict = "open: one seed"
        elif beyond_the_spread and claim.within is None and abs(mean) <= spread:
            verdict = "**no**: no difference beyond the spread"
        lines.append([said, paper, found, verdict])
    return lines_of(["claim", "paper", "found", "reproduced"], lines)


def lines_of(head: Sequence[str], lines: Sequence[Sequence[str]]) -> str:
    """Write a Markdown table."""
    every = [head, ["---"] * len(head), *lines]
    return "".join("| " + " | ".join(line) + " |\n" for line in every)


def titled(column: str) -> str:
    """Return what a column is called: its metric, behind the images that it is of."""
    images, _, _ = column.rpartition(" ")
    return f"{images}: {_metric(column).title}" if images else _metric(column).title


def valued(values: pd.Series[float], column: str) -> str:
    """Write the mean of a column's values and, if there are several, their deviation."""
    form = _metric(column).form
    text = f"{values.mean():{form}}"
    return text + (f" +- {values.std():{form}}" if len(values) > 1 else "")


def _metric(column: str) -> _Metric:
    return _METRICS[column.rpartition(" ")[2]]

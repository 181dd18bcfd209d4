"""The tables of the studies of losses."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import pandas as pd

from everhart.studies.table import lines_of, orderings_table, titled, valued

if TYPE_CHECKING:
    from everhart.studies.losses import LossStudy

__all__ = ["markdown", "summary"]


def summary(figures: Sequence[Mapping[str, Any]]) -> pd.DataFrame:
    """Tabulate the figures of all cells.

    Parameters
    ----------
    figures
        The cells, as a study's ``results.json`` holds them.

    Returns
    -------
    DataFrame
        One line a row and seed, each figure the mean over the test images.
    """
    return pd.DataFrame(
        {"row": cell["row"], "seed": cell["seed"], "training_cpu_s": cell["training_cpu_s"]}
        | dict(pd.DataFrame(cell["figures"]).T.mean())
        for cell in figures
    )


def markdown(study: LossStudy, record: Mapping[str, Any]) -> str:
    """Write the results of a study as Markdown.

    Parameters
    ----------
    study
        The study.
    record
        Its ``results.json``.
    """
    table = summary(record["figures"])
    seeds = table["seed"].nunique()
    several = seeds > 1
    text = f"# {study.name}: {study.title}\n\nScale `{record['scale']}`, {seeds} seed"
    text += "s; mean over the seeds +- their standard deviation.\n\n" if several else ".\n\n"
    heads = ["method", *map(titled, study.columns), "training (CPU s)", "published"]
    lines = []
    for row in study.rows:
        own = table[table["row"] == row.key]
        values = [valued(own[column], column) for column in study.columns]
        paper = "; ".join(f"{name} {value:g}" for name, value in row.paper.items()) or "-"
        seconds = f"{own['training_cpu_s'].mean():.0f}" if row.recipe is not None else "-"
        lines.append([row.title, *values, seconds, paper])
    titles = {row.key: row.title for row in study.rows}
    claims = orderings_table(study.orderings, titles, table, beyond_the_spread=True)
    return f"{text}{lines_of(heads, lines)}\n{claims}"

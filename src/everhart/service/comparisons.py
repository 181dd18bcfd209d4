"""Comparisons as rows: a run for each image and method, with its figures."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterable, Mapping
from typing import Any, Final

from everhart.service.tables import Item, Job, Run

__all__ = ["OPERATION", "runs_of", "runs_table"]

OPERATION: Final = "compare"
"""The operation whose jobs are comparisons."""

_HEAD = ("comparison", "image", "sha256", "method", "model_hash")


def runs_of(
    job: Job, item: Item, names: Mapping[str, str], summary: Mapping[str, Any]
) -> list[Run]:
    """Return the runs of an item's result, without the id of that; none if it compares nothing.

    Frames of one field are judged together: their runs are those of the first frame.
    """
    if job.operation != OPERATION:
        return []
    compared = summary.get("images", [summary])
    return [
        Run(
            job_id=job.id,
            image=image,
            image_name=names[image],
            method=figures["method"],
            model_hash=job.models.get(figures["method"]),
            figures={name: value for name, value in figures.items() if name != "method"},
        )
        for image, one in zip(item.images, compared, strict=False)
        for figures in one["methods"]
    ]


def runs_table(runs: Iterable[Run]) -> str:
    """Return runs as CSV: a line each, with a column for every figure that one of them has."""
    rows = list(runs)
    columns = dict.fromkeys(name for run in rows for name in run.figures)
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow([*_HEAD, *columns])
    for run in rows:
        own = (run.job_id, _safe(run.image_name), run.image, _safe(run.method), run.model_hash)
        writer.writerow([*own, *(run.figures.get(name) for name in columns)])
    return text.getvalue()


def _safe(text: str) -> str:
    """Keep a spreadsheet from taking a name for a formula."""
    return f"'{text}" if text.startswith(("=", "+", "-", "@", "\t", "\r")) else text

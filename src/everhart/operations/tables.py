"""The tables of measurements as files: one writer for the command line and the service."""

from __future__ import annotations

import csv
import io
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import pandas as pd

    from everhart.measure.result import Measurement

__all__ = ["csv_text", "joined_csv", "joined_tables"]


def joined_tables(
    measured: Sequence[tuple[str, Measurement]], stem: str
) -> dict[str, pd.DataFrame]:
    """Join the tables of measurements of several images.

    Parameters
    ----------
    measured
        Name of each image, for the column ``file``, and its measurement.
    stem
        Name of the first table; further ones are called ``STEM_NAME``.

    Returns
    -------
    dict
        Tables by name; the first is that of the objects.
    """
    import pandas as pd

    parts: dict[str, list[pd.DataFrame]] = {}
    for name, found in measured:
        beside = {f"{stem}_{kind}": table for kind, table in found.tables.items()}
        for key, table in {stem: found.table, **beside}.items():
            named = table.copy()
            named.insert(0, "file", pd.Series([name] * len(table), index=table.index, dtype=object))
            parts.setdefault(key, []).append(named)
    joined = {}
    for key, tables in parts.items():
        filled = [table for table in tables if len(table)] or tables[:1]
        joined[key] = pd.concat(filled, ignore_index=True)
    return joined


def csv_text(table: pd.DataFrame) -> str:
    """Return a table as CSV."""
    # Nine digits are more than any measurement has, and none of the noise of the last bits.
    return str(table.to_csv(index=False, float_format="%.9g"))


def joined_csv(paths: Sequence[Path]) -> str:
    """Join CSV files of one kind of table into one; numbers stay as they are written.

    Parameters
    ----------
    paths
        The files, in the order of the rows.

    Returns
    -------
    str
        CSV with the columns of all; what a table does not have is empty.
    """
    rows: list[dict[str, str]] = []
    columns: dict[str, None] = {}
    for path in paths:
        with path.open(encoding="utf-8", newline="") as stream:
            reader = csv.DictReader(stream)
            columns.update(dict.fromkeys(reader.fieldnames or ()))
            rows.extend(reader)
    text = io.StringIO()
    writer = csv.DictWriter(text, list(columns), lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    return text.getvalue()

"""The tables of measurements as files: one writer for the command line and the service."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import pandas as pd

    from everhart.measure.result import Measurement

__all__ = ["csv_text", "joined_tables"]


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

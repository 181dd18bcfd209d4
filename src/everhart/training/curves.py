"""Training curves as CSV and PNG."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import pandas as pd

from everhart.io.atomic import atomic_path


class Curves:
    """A table with one row an epoch, written after each row.

    Parameters
    ----------
    folder
        Where ``curves.csv`` and ``curves.png`` go.
    keep_steps
        Rows up to this step are kept from an earlier run that is resumed; 0 starts anew.
    """

    def __init__(self, folder: Path, keep_steps: int = 0) -> None:
        self.csv = folder / "curves.csv"
        self.png = folder / "curves.png"
        self.table = pd.DataFrame()
        if keep_steps and self.csv.is_file():
            earlier = pd.read_csv(self.csv)
            self.table = earlier[earlier["step"] <= keep_steps].reset_index(drop=True)

    @property
    def last_step(self) -> int:
        """Step of the last row; 0 for an empty table."""
        return int(self.table["step"].iloc[-1]) if len(self.table) else 0

    def add(self, row: Mapping[str, float]) -> None:
        """Append a row, which has a ``step``, and write the CSV."""
        self.table = pd.concat([self.table, pd.DataFrame([dict(row)])], ignore_index=True)
        with atomic_path(self.csv, overwrite=True) as temporary:
            self.table.to_csv(temporary, index=False)

    def plot(self) -> None:
        """Draw each column against the step."""
        from matplotlib.figure import Figure

        columns = [c for c in self.table.columns if c != "step"]
        figure = Figure(figsize=(4.2 * len(columns), 3.2), layout="constrained")
        for index, column in enumerate(columns):
            axes = figure.add_subplot(1, len(columns), index + 1)
            axes.plot(self.table["step"], self.table[column], marker=".", color="#0b6e99")
            axes.set(xlabel="step", title=column.replace("_", " "))
            axes.grid(alpha=0.3)
        with atomic_path(self.png, overwrite=True) as temporary:
            figure.savefig(temporary, dpi=110)

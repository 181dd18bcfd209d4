"""The tables of the studies of segmentation."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

__all__ = ["epochs_to", "interval", "pretraining_table"]


def interval(values: Sequence[float]) -> str:
    """Return mean and, of several, the half of the 95 % interval of the mean.

    Examples
    --------
    >>> interval([0.5]), interval([0.5, 0.7])
    ('0.500', '0.600 +- 1.271')
    """
    from scipy.stats import t

    numbers = np.asarray(values, np.float64)
    if len(numbers) < 2:
        return f"{numbers.mean():.3f}"
    half = t.ppf(0.975, len(numbers) - 1) * numbers.std(ddof=1) / np.sqrt(len(numbers))
    return f"{numbers.mean():.3f} +- {half:.3f}"


def epochs_to(curve: Sequence[float], target: float) -> int | None:
    """Return the first epoch, from 1, whose score is at least a target; None for none.

    Examples
    --------
    >>> epochs_to([0.2, 0.6, 0.9], 0.85), epochs_to([0.2], 0.85)
    (3, None)
    """
    return next((n for n, score in enumerate(curve, 1) if score >= target), None)


def pretraining_table(title: str, rows: Sequence[Mapping[str, Any]]) -> str:
    """Return the table of the study ``segment-pretraining``: means over splits."""
    head = ["set", "labels", "start", "mIoU", "mean Dice", "border F1, 2 px",
            "epochs to 95 % of random's", "splits"]  # fmt: skip
    lines = [f"# {title}", "", f"| {' | '.join(head)} |", "| --- | ---: | --- |" + " ---: |" * 5]
    groups: dict[tuple[str, str, str], list[Mapping[str, Any]]] = {}
    for row in rows:
        groups.setdefault((row["set"], row["labels"], row["start"]), []).append(row)
    for (name, labels, start), cells in groups.items():
        random = {c["split"]: c for c in groups.get((name, labels, "random"), [])}
        epochs = []
        for cell in cells:
            if "curve" not in cell or cell["split"] not in random:
                continue
            found = epochs_to(cell["curve"], 0.95 * random[cell["split"]]["curve"][-1])
            epochs.append("-" if found is None else f"{found} of {len(cell['curve'])}")
        figures = [
            interval([c[key] for c in cells])
            for key in ("mean_iou", "mean_dice", "boundary_f1_2_px")
        ]
        line = [name, labels, start, *figures, ", ".join(epochs) or "-", str(len(cells))]
        lines.append(f"| {' | '.join(line)} |")
    return "\n".join([*lines, ""])

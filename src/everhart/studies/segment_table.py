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
    """Return the table of the study ``segment-pretraining``: means over splits.

    Differences are those to the random start of the same split, so that what a split is worth
    does not widen their interval; epochs are those to the random start's last score, one a split.
    """
    head = ["set", "labels", "start", "mIoU", "above random", "mean Dice", "rarest class, Dice",
            "border F1, 2 px", "epochs to random's last score", "splits"]  # fmt: skip
    lines = [f"# {title}", "", f"| {' | '.join(head)} |", "| --- | ---: | --- |" + " ---: |" * 7]
    groups: dict[tuple[str, str, str], list[Mapping[str, Any]]] = {}
    for row in rows:
        groups.setdefault((row["set"], row["labels"], row["start"]), []).append(row)
    for (name, labels, start), cells in sorted(groups.items(), key=lambda group: group[0][:2]):
        random = {c["split"]: c for c in groups.get((name, labels, "random"), [])}
        above, epochs = [], []
        for cell in cells:
            other = random.get(cell["split"])
            if "curve" not in cell or other is None:
                continue
            above.append(cell["mean_iou"] - other["mean_iou"])
            found = epochs_to(cell["curve"], other["curve"][-1])
            epochs.append("-" if found is None else str(found))
        line = [
            name,
            labels,
            start,
            interval([c["mean_iou"] for c in cells]),
            interval(above) if above and start != "random" else "-",
            interval([c["mean_dice"] for c in cells]),
            interval([c["rare_dice"] for c in cells]),
            interval([c["boundary_f1_2_px"] for c in cells]),
            f"{', '.join(epochs)} of {len(cells[0]['curve'])}" if epochs else "-",
            str(len(cells)),
        ]
        lines.append(f"| {' | '.join(line)} |")
    return "\n".join([*lines, ""])

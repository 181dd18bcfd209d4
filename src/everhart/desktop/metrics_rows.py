"""The outcome of ``compare`` as rows of a table, the worst first."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any, Final

__all__ = ["Metrics", "metrics_of"]

_HEADLINES: Final = ("affine_psnr_db", "second_frame_psnr_db", "residual_whiteness")


class Metrics:
    """Rows with an image and a method each.

    Parameters
    ----------
    rows
        Texts by column.
    headline
        The column to judge by, None if there is none.
    worst_is_high
        Whether a large number in it is bad.
    """

    def __init__(
        self, rows: list[dict[str, str]], headline: str | None, worst_is_high: bool
    ) -> None:
        self.rows, self.headline, self.worst_is_high = rows, headline, worst_is_high

    @property
    def columns(self) -> list[str]:
        """Columns, the one to judge by right after the names."""
        names = dict.fromkeys(name for row in self.rows for name in row)
        first = ["image", "method", *([self.headline] if self.headline else [])]
        return list(dict.fromkeys([*first, *names]))

    def worst_by_image(self) -> dict[str, float]:
        """Return the worst method's figure of each image by its name; the smaller, the worse."""
        worst: dict[str, float] = {}
        for row in self.rows:
            text = row.get(self.headline or "", "")
            if text and row["method"] != "noisy":
                value = -float(text) if self.worst_is_high else float(text)
                worst[row["image"]] = min(worst.get(row["image"], math.inf), value)
        return worst


def metrics_of(summary: Mapping[str, Any], names: Sequence[str]) -> Metrics:
    """Make rows of what ``compare`` gives as its figures.

    Parameters
    ----------
    summary
        Of one image, or ``{"images": [...]}`` of several.
    names
        Names of the images, in their order; operations know them by numbers only.
    """
    from everhart.report.figures import FIGURES

    rows: list[dict[str, str]] = []
    for name, image in zip(names, summary.get("images", [summary]), strict=True):
        for method in image["methods"]:
            row = {"image": name, "method": str(method["method"])}
            for key, value in method.items():
                known = FIGURES.get(key)
                if known is not None and known.main and isinstance(value, (int, float)):
                    row[key] = f"{value:.9g}"
            rows.append(row)
    headline = next((key for key in _HEADLINES if any(key in row for row in rows)), None)
    best = FIGURES[headline].best if headline is not None else "high"
    return Metrics(rows, headline, best != "high")

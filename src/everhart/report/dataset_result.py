"""What a comparison on a data set holds: figures of all images, and what follows from them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING, Any, Final

import numpy as np
from numpy.typing import NDArray

from everhart.errors import UsageError, unknown_name
from everhart.report import dataset_table
from everhart.report.comparison import NOISY, format_value
from everhart.report.cost import HOW_MEASURED
from everhart.report.figures import FIGURES

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["HEADLINES", "DatasetComparison", "DatasetImage", "Failure", "ShownImage"]

HEADLINES: Final = ("affine_psnr_db", "second_frame_psnr_db", "residual_whiteness")
"""The figure that methods are judged by unless one is chosen: the first that there is."""


@dataclass(frozen=True)
class DatasetImage:
    """An image of a data set with the figures of every method.

    Parameters
    ----------
    name
        Its name, unlike that of any other.
    sources
        sha256 of its files by role: ``"image"``, ``"reference"``, ``"frame 2"`` ...
    reference
        Name of its reference, or None.
    facts
        Shape, dtype, pixel size, data range, and how the reference was laid on it.
    figures
        Figures and cost by method and key; methods that failed are not in it.
    """

    name: str
    sources: Mapping[str, str]
    reference: str | None
    facts: Mapping[str, Any]
    figures: Mapping[str, Mapping[str, float]]


@dataclass(frozen=True)
class Failure:
    """What did not work.

    Parameters
    ----------
    image
        Name of the image.
    method
        Name of the method; None where the image itself could not be used.
    message
        Why.
    """

    image: str
    method: str | None
    message: str


@dataclass(frozen=True, eq=False)
class ShownImage:
    """Crops of an image of which the report has pictures.

    Parameters
    ----------
    name
        Name of the image.
    reasons
        Why it is shown, such as ``"median of all images by nlm"``.
    pictures
        8-bit crops of one place, in one contrast, by method; the reference last.
    """

    name: str
    reasons: tuple[str, ...]
    pictures: Mapping[str, NDArray[np.uint8]]


@dataclass(frozen=True, eq=False)
class DatasetComparison:
    """Methods compared on the images of a data set.

    Parameters
    ----------
    images
        One entry an image of which anything could be found.
    methods
        Names of the methods.
    failures
        What did not work.
    judged_by
        Key of the figure that decides wins, order and worst cases.
    tie_margin
        Difference of it up to which two methods are tied in an image.
    worst_of
        Method whose worst images come first; None for the one that is best on average.
    settings
        Settings that figures depend on.
    shown
        Crops of some images.
    provenance
        Version, date, command and machine, as of :func:`everhart.report.provenance`.
    averages
        Names of means of frames, which no method made: they are shown, and rank with none.
    """

    images: tuple[DatasetImage, ...]
    methods: tuple[str, ...]
    failures: tuple[Failure, ...]
    judged_by: str
    tie_margin: float
    worst_of: str | None = None
    settings: Mapping[str, Any] = field(default_factory=dict)
    shown: tuple[ShownImage, ...] = ()
    provenance: Mapping[str, str] = field(default_factory=dict)
    averages: tuple[str, ...] = ()

    @property
    def names(self) -> tuple[str, ...]:
        """The image as it was given, means of frames, and the methods."""
        return (NOISY, *self.averages, *self.methods)

    @cached_property
    def table(self) -> pd.DataFrame:
        """One row an image and method: ``image``, ``method`` and a column a figure."""
        import pandas as pd

        keys = {key: None for image in self.images for f in image.figures.values() for key in f}
        ordered = [key for key in FIGURES if key in keys] + [k for k in keys if k not in FIGURES]
        rows = [
            {"image": image.name, "method": method, **image.figures[method]}
            for image in self.images
            for method in self.names
            if method in image.figures
        ]
        return pd.DataFrame(rows, columns=["image", "method", *ordered])

    def wide(self, figure: str | None = None, *, with_noisy: bool = True) -> pd.DataFrame:
        """Return one figure as a table of images and methods.

        Parameters
        ----------
        figure
            Its key; None for the one that methods are judged by.
        with_noisy
            Whether the image as it was given is a column.

        Returns
        -------
        DataFrame
            One row an image, one column a method; NaN where there is no value.
        """
        key = figure or self.judged_by
        if key not in self.table.columns:
            raise unknown_name("figure", key, self.table.columns[2:])
        names = self.names if with_noisy else self.methods
        pivoted = self.table.pivot(index="image", columns="method", values=key)
        return pivoted.reindex(index=[i.name for i in self.images], columns=list(names))

    @cached_property
    def ranking(self) -> tuple[str, ...]:
        """The methods by their mean of the judged figure, the best first."""
        return tuple(dataset_table.mean_first(self.wide(with_noisy=False), self.judged_by))

    @cached_property
    def overall(self) -> pd.DataFrame:
        """Mean and spread of every figure; see :func:`.dataset_table.overall`."""
        return dataset_table.overall(self.table, self.names)

    @cached_property
    def differences(self) -> pd.DataFrame:
        """Every two methods by the judged figure, the better of a pair first.

        See :func:`.dataset_table.paired_differences`.
        """
        ordered = dataset_table.mean_first(self.wide(), self.judged_by)
        return dataset_table.paired_differences(
            self.wide()[ordered], self.judged_by, tie_margin=self.tie_margin
        )

    @cached_property
    def wins(self) -> pd.DataFrame:
        """In how many images the method of a row is better than that of a column."""
        return dataset_table.win_matrix(self.wide(), self.judged_by, tie_margin=self.tie_margin)

    @property
    def worst_method(self) -> str:
        """The method whose worst images come first."""
        return self.worst_of or self.ranking[0]

    def worst_first(self, method: str | None = None) -> list[str]:
        """Return the names of the images, the worst first.

        Parameters
        ----------
        method
            Whose figures count; None for :attr:`worst_method`.
        """
        name = method or self.worst_method
        return dataset_table.worst_first(self.wide(), self.judged_by, name)

    def summary(self) -> str:
        """Return the overall table as text, with the verdict before it."""
        having = set(self.overall["figure"])
        keys = [key for key, figure in FIGURES.items() if key in having and figure.main]
        heads = ["method", "n"]
        heads += [f"{FIGURES[key].title.strip()} {FIGURES[key].unit}".strip() for key in keys]
        rows = []
        for name in dataset_table.mean_first(self.wide(), self.judged_by):
            own = self.overall[self.overall["method"] == name].set_index("figure")
            means = {str(key): float(mean) for key, mean in own["mean"].items()}
            count = int(own["n"].max()) if len(own) else 0
            rows.append([name, str(count), *(format_value(key, means.get(key)) for key in keys)])
        widths = [max(len(row[i]) for row in (heads, *rows)) for i in range(len(heads))]
        lines = [
            "  ".join(
                cell.ljust(width) if i == 0 else cell.rjust(width)
                for i, (cell, width) in enumerate(zip(row, widths, strict=True))
            ).rstrip()
            for row in (heads, *rows)
        ]
        head = f"mean over {len(self.images)} images"
        if self.failures:
            what = "failure is" if len(self.failures) == 1 else "failures are"
            head += f"; {len(self.failures)} {what} in the report"
        return "\n".join([head, *lines, self.verdict])

    @property
    def verdict(self) -> str:
        """The result in one or two sentences."""
        figure = FIGURES[self.judged_by]
        best = self.ranking[0]
        value = float(self.wide()[best].mean())
        if np.isnan(value):
            return f"No method has a {figure.title}."
        told = f"{format_value(self.judged_by, value)} {figure.unit}".strip()
        text = f"{best} has the best mean {figure.title}: {told}."
        for other in (*self.ranking[1:2], NOISY):
            against = self.against(best, other)
            if not against["n"]:
                continue
            said = f"{against['difference']:+.{figure.digits}f} {figure.unit}".strip()
            low, high = (f"{against[end]:+.{figure.digits}f}" for end in ("low", "high"))
            if np.isfinite(against["low"]):
                said += f" (95 % interval {low} to {high})"
            text += (
                f" Against {other} {said}: better in {against['wins']} of {against['n']} images, "
                f"worse in {against['losses']}, tied in {against['ties']}."
            )
        return text

    def against(self, method: str, other: str) -> dict[str, Any]:
        """Return the paired difference of two methods, from the side of the first.

        Parameters
        ----------
        method, other
            Names of two methods.

        Returns
        -------
        dict
            As a row of :attr:`differences`.
        """
        for row in self.differences.to_dict("records"):
            pair = (row["method"], row["other"])
            found = {str(key): value for key, value in row.items()}
            if pair == (method, other):
                return found
            if pair == (other, method):
                return {
                    **found,
                    "method": method,
                    "other": other,
                    "difference": -row["difference"],
                    "low": -row["high"],
                    "high": -row["low"],
                    "wins": row["losses"],
                    "losses": row["wins"],
                }
        raise unknown_name("method", other if method in self.names else method, self.names)

    def to_dict(self) -> dict[str, Any]:
        """Return everything but the pictures as plain values."""
        methods = self.ranking
        return {
            "kind": "everhart data-set comparison",
            "provenance": dict(self.provenance),
            "settings": dict(self.settings),
            "judged_by": self.judged_by,
            "tie_margin": self.tie_margin,
            "confidence": dataset_table.CONFIDENCE,
            "verdict": self.verdict,
            "ranking": list(methods),
            "overall": self.overall.to_dict("records"),
            "differences": self.differences.to_dict("records"),
            "wins": {
                name: {str(k): int(v) for k, v in row.items()}
                for name, row in self.wins.T.to_dict().items()
            },
            "worst_method": self.worst_method,
            "worst_first": self.worst_first(),
            "worst_of_each": {m: w[0] for m in self.names if (w := self.worst_first(m))},
            "images": [
                {
                    "name": image.name,
                    "sha256": dict(image.sources),
                    "reference": image.reference,
                    **image.facts,
                    "methods": [{"method": m, **f} for m, f in image.figures.items()],
                }
                for image in self.images
            ],
            "failures": [vars(failure) for failure in self.failures],
            "figures": {
                key: {"unit": figure.unit, "better": figure.best, "words": figure.words}
                for key, figure in FIGURES.items()
            },
            "cost": HOW_MEASURED,
        }


def judged_figure(images: tuple[DatasetImage, ...], wanted: str | None) -> str:
    """Return the figure to judge by.

    Parameters
    ----------
    images
        The images.
    wanted
        Key of a figure, or None for the first of :data:`HEADLINES` that there is.

    Raises
    ------
    UsageError
        If no image has the figure, or the figure has no better and worse.
    """
    having = {key for i in images for name, f in i.figures.items() if name != NOISY for key in f}
    allowed = [key for key, figure in FIGURES.items() if key in having and figure.best]
    if wanted is None:
        wanted = next((key for key in HEADLINES if key in having), None)
        if wanted is None:
            raise UsageError(
                "The images have no figure to judge methods by: give references, or frames of each "
                "field of at least 16 pixels."
            )
    if wanted not in allowed:
        raise unknown_name("figure of these images", wanted, allowed)
    return wanted

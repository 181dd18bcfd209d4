"""What can be checked of a comparison on a data set before any work is done."""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from pathlib import Path

from everhart.errors import UsageError, unknown_name
from everhart.report.comparison import NOISY
from everhart.report.figures import FIGURES
from everhart.report.methods import check_methods, label
from everhart.report.pairing import Item, without_suffix

__all__ = ["check_choices", "check_kept", "kept_image"]


def check_choices(
    methods: Sequence[str],
    *,
    judge_by: str | None = None,
    tie_margin: float | None = None,
    worst_of: str | None = None,
) -> tuple[str, ...]:
    """Check methods, and what they are judged by.

    Parameters
    ----------
    methods, judge_by, tie_margin, worst_of
        As for :func:`everhart.report.compare_dataset`.

    Returns
    -------
    tuple of str
        Names of the methods to show.

    Raises
    ------
    UsageError
        If one of them is not allowed.
    """
    check_methods(methods)
    labels = tuple(label(method) for method in methods)
    _check_labels(methods, labels)
    if worst_of is not None and worst_of not in labels:
        raise UsageError(
            f"worst_of = {worst_of!r} was given: it must be one of the methods {', '.join(labels)}."
        )
    allowed = [key for key, figure in FIGURES.items() if figure.best]
    if judge_by is not None and judge_by not in allowed:
        raise unknown_name("figure", judge_by, allowed)
    if tie_margin is not None and not 0 <= tie_margin < math.inf:
        raise UsageError(f"tie_margin = {tie_margin} was given: give 0 or more.")
    return labels


def check_kept(
    items: Sequence[Item], labels: Sequence[str], folder: Path, *, unasked: bool
) -> None:
    """Check that restored images overwrite neither each other, nor inputs, nor others unasked.

    Parameters
    ----------
    items
        The images.
    labels
        Names of the methods.
    folder
        Folder for the restored images.
    unasked
        Whether nothing may be replaced.

    Raises
    ------
    UsageError
        If they would.
    """
    inputs = {path.absolute() for item in items for path in item.files}
    taken: dict[str, str] = {}
    for item in items:
        for name in labels:
            path = kept_image(folder, name, item.name)
            before = taken.setdefault(path.as_posix().casefold(), item.name)
            if before != item.name:
                raise UsageError(
                    f"The images {before} and {item.name} would both be kept as {path}: compare "
                    "them in two runs, or rename one."
                )
            if path.absolute() in inputs or (unasked and path.exists()):
                raise UsageError(
                    f"The restored image {path} exists already: give another folder to keep images "
                    "in, or ask to overwrite or to resume."
                )


def kept_image(folder: Path, method: str, image: str) -> Path:
    """Return where the restored image of a method is kept.

    Examples
    --------
    >>> kept_image(Path("kept"), "nlm", "a/1.png").as_posix()
    'kept/nlm/a/1.tif'
    """
    safe = re.sub(r"[^\w.-]+", "_", method)
    image = without_suffix(image)
    parts = [
        re.sub(r"[^\w.\- ]+", "_", part) for part in image.split("/") if part not in ("", "..")
    ]
    return folder.joinpath(safe, *parts[:-1], f"{parts[-1]}.tif")


def _check_labels(methods: Sequence[str], labels: Sequence[str]) -> None:
    for index, name in enumerate(labels):
        if name in labels[:index] or name == NOISY:
            raise UsageError(
                f"The method {methods[index]} would be shown as {name}, as is another one: give "
                "model files with other names of file or folder."
            )

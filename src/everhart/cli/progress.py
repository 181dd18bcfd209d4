"""A progress bar on a terminal, and nothing in a pipe."""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Iterable, Iterator
from typing import Protocol, TypeVar

__all__ = ["Progress", "progress_bar", "track"]

T = TypeVar("T")


class Progress(Protocol):
    """What long work reports to."""

    def update(self, done: float, total: float, label: str = "") -> None:
        """Say that `done` of `total` is done, and what is being worked on."""


class _Silent:
    def update(self, done: float, total: float, label: str = "") -> None:
        pass


@contextlib.contextmanager
def progress_bar(title: str) -> Iterator[Progress]:
    """Give a progress bar on stderr, silent unless stderr is a terminal.

    Parameters
    ----------
    title
        What is being done, such as ``"denoise"``.

    Yields
    ------
    Progress
        What to report to.
    """
    if not sys.stderr.isatty():
        yield _Silent()
        return
    from rich.console import Console
    from rich.markup import escape
    from rich.progress import (
        BarColumn,
        MofNCompleteColumn,
        TextColumn,
        TimeRemainingColumn,
    )
    from rich.progress import Progress as RichProgress

    bar = RichProgress(
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeRemainingColumn(),
        TextColumn("{task.fields[label]}"),
        console=Console(file=sys.stderr),
        transient=True,
    )
    with bar:
        task = bar.add_task(escape(title), total=None, label="")

        class _Shown:
            def update(self, done: float, total: float, label: str = "") -> None:
                bar.update(task, completed=done, total=total, label=escape(label))

        yield _Shown()


def track(items: Iterable[T], title: str) -> Iterator[T]:
    """Go through items, with a progress bar on a terminal.

    Parameters
    ----------
    items
        What is worked on; its ``str`` is shown.
    title
        What is being done.

    Yields
    ------
    T
        The items.
    """
    known = list(items)
    with progress_bar(title) as progress:
        for index, item in enumerate(known):
            progress.update(index, len(known), str(item))
            yield item
        progress.update(len(known), len(known))

"""Where operations run: one protocol, and the records that go in and come out."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

__all__ = ["Backend", "OperationInfo", "Outcome", "Request"]


@dataclass(frozen=True)
class OperationInfo:
    """Something that can be run.

    Parameters
    ----------
    name, summary
        Name, and what it does in one sentence.
    roles
        Further images that it takes, such as ``"reference"``.
    is_series
        Whether it takes all images at once.
    schema
        JSON schema of its parameters.
    """

    name: str
    summary: str
    roles: tuple[str, ...]
    is_series: bool
    schema: Mapping[str, Any]


@dataclass(frozen=True)
class Request:
    """What is to be run, on which files.

    Parameters
    ----------
    operation, parameters
        As the command line takes them.
    images
        The files.
    roles
        Further files by role.
    pixel_size_nm
        In place of what the files say.
    """

    operation: str
    parameters: Mapping[str, Any]
    images: tuple[Path, ...]
    roles: Mapping[str, Path] = field(default_factory=dict)
    pixel_size_nm: float | None = None


@dataclass(frozen=True)
class Outcome:
    """What came of one piece of work.

    Parameters
    ----------
    images
        The files that it was done on.
    folder
        Where its files are.
    files
        Names of the files: pictures as TIFF, tables as CSV, ``outlines.json``, ``report.html``.
    summary
        Figures.
    model_hash, version
        sha256 of the model, and the version of Everhart, that did it.
    warnings
        What was said on the way.
    error
        Why there is nothing, None where there is.
    """

    images: tuple[Path, ...]
    folder: Path
    files: tuple[str, ...] = ()
    summary: Mapping[str, Any] = field(default_factory=dict)
    model_hash: str | None = None
    version: str = ""
    warnings: tuple[str, ...] = ()
    error: str | None = None


class Backend(Protocol):
    """Runs operations; its functions block, and are called in threads."""

    @property
    def title(self) -> str:
        """What it is called in the window."""

    def operations(self) -> list[OperationInfo]:
        """Return what can be run."""

    def run(
        self,
        request: Request,
        folder: Path,
        on_outcome: Callable[[Outcome], None],
        on_word: Callable[[str], None],
        is_cancelled: Callable[[], bool],
    ) -> None:
        """Run an operation on images.

        Parameters
        ----------
        request
            What to run.
        folder
            Folder for the results, a folder in it for each piece of work.
        on_outcome
            Called with what came of each piece of work as it ends, failed ones too.
        on_word
            Called with what is being done or waited for.
        is_cancelled
            Whether to stop.

        Raises
        ------
        CancelledError
            If it was stopped.
        EverhartError
            If nothing could be run.
        """

    def close(self) -> None:
        """Stop what runs."""

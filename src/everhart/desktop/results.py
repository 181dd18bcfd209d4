"""Results on disk: each in a folder of its own with a record, found again after a restart."""

from __future__ import annotations

import json
import secrets
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from everhart.desktop.backend import Outcome, Request
from everhart.io.atomic import write_text
from everhart.io.record import plain

__all__ = ["Record", "ResultStore", "words_of"]

_RECORD = "result.json"


@dataclass(frozen=True)
class Record:
    """A result, and how it came about.

    Parameters
    ----------
    folder
        Where its files are.
    sources
        The files that it was made of.
    operation, parameters
        What was done.
    where
        On which machine: this computer, or the address of a service.
    files
        Names of its files.
    summary
        Figures.
    model_hash, version, time
        Of the model and of Everhart; UTC time in ISO 8601.
    """

    folder: Path
    sources: tuple[Path, ...]
    operation: str
    parameters: Mapping[str, Any]
    where: str
    files: tuple[str, ...]
    summary: Mapping[str, Any] = field(default_factory=dict)
    model_hash: str | None = None
    version: str = ""
    time: str = ""

    @property
    def images(self) -> list[Path]:
        """The pictures among its files."""
        return [self.folder / name for name in self.files if name.endswith(".tif")]

    @property
    def words(self) -> str:
        """What was done, in a few words."""
        done = self.summary.get("parameters")
        if self.operation == "denoise" and not self.parameters and isinstance(done, Mapping):
            return words_of(self.operation, done)  # the default was taken
        return words_of(self.operation, self.parameters)


def words_of(operation: str, parameters: Mapping[str, Any]) -> str:
    """Say in a few words what an operation with its parameters is."""
    named = parameters.get("model") or parameters.get("method")
    if operation == "denoise":
        return Path(str(named)).name if named else "denoised"
    return operation.replace("-", " ")


class ResultStore:
    """The folder of all results.

    Parameters
    ----------
    folder
        The folder; it is made when it is first needed.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def new_folder(self, operation: str) -> Path:
        """Make a folder for what comes of a job."""
        made = datetime.now(UTC).strftime("%Y%m%d-%H%M%S")
        folder = self.folder / f"{made}-{operation}-{secrets.token_hex(3)}"
        folder.mkdir(parents=True)
        return folder

    def keep(self, request: Request, outcome: Outcome, where: str) -> Record:
        """Write the record of a result beside its files."""
        record = Record(
            outcome.folder,
            tuple(outcome.images),
            request.operation,
            dict(request.parameters),
            where,
            outcome.files,
            dict(outcome.summary),
            outcome.model_hash,
            outcome.version,
            datetime.now(UTC).isoformat(timespec="seconds"),
        )
        told = asdict(record)
        told["folder"], told["sources"] = None, [str(path) for path in record.sources]
        text = json.dumps(plain(told), indent=2, ensure_ascii=False)
        write_text(outcome.folder / _RECORD, text + "\n")
        return record

    def records(self) -> list[Record]:
        """Return all results, the oldest first; what cannot be read is left out."""
        found = []
        for path in sorted(self.folder.glob(f"*/*/{_RECORD}")):
            try:
                told = json.loads(path.read_text("utf-8"))
                told["folder"] = path.parent
                told["sources"] = tuple(Path(source) for source in told["sources"])
                told["files"] = tuple(told["files"])
                found.append(Record(**told))
            except (OSError, ValueError, TypeError, KeyError):
                continue
        return found

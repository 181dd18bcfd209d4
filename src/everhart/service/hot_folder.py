"""A hot folder: images that a microscope writes are worked on as they come, each once.

The result of an image is a folder, which appears whole by one rename, and holds the record of what
it is of. That record is all that is remembered: what has one is not taken again, whenever the
program was killed.
"""

from __future__ import annotations

import hashlib
import json
import shutil
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from everhart.errors import EverhartError, FileFormatError, UsageError
from everhart.io.atomic import write_text
from everhart.io.limits import DEFAULT_LIMITS
from everhart.operations.tables import joined_csv
from everhart.service.compute import CancelledError, ComputePool, CrashError
from everhart.service.names import file_name

__all__ = ["FAILED", "HotFolder"]

FAILED = "failed"
"""Folder of images that came to nothing, each with its reason beside it."""

_RECORD = "result.json"
_SCRATCH = ".everhart-scratch"
_LOOK_EVERY_S = 0.25
_READ_AT_ONCE = 1 << 20


@dataclass
class HotFolder:
    """Takes images of one folder and writes results into another.

    Parameters
    ----------
    source
        The folder that is watched.
    output
        Where the results go; not in `source`.
    operation, parameters
        What is run, as :data:`everhart.operations.OPERATIONS` has it.
    pool
        The processes that compute; one file is worked on at a time.
    pixel_size_nm
        Pixel size in nm, in place of what the files say.
    settle_s
        How long a file must stay as it is before it is taken as complete.
    patience_s
        How long a file that cannot be read is given to become one that can.
    say
        Called with one line for each file.
    """

    source: Path
    output: Path
    operation: str
    parameters: dict[str, Any]
    pool: ComputePool
    pixel_size_nm: float | None = None
    settle_s: float = 1.0
    patience_s: float = 30.0
    say: Callable[[str], None] = lambda _: None
    _done: set[tuple[str, str]] = field(default_factory=set, init=False)
    _seen: dict[Path, _Seen] = field(default_factory=dict, init=False)

    def __post_init__(self) -> None:
        from everhart.operations import get_operation
        from everhart.service.run_operation import SERIES

        if self.operation in SERIES:
            raise UsageError(
                f"{self.operation} takes a series at once: a hot folder takes one image after the "
                "other; choose another operation."
            )
        checked = get_operation(self.operation).check(self.parameters)
        self.parameters = checked.model_dump(mode="json")
        if not self.source.is_dir():
            raise UsageError(f"The folder {self.source} does not exist: make it first.")
        self.source, self.output = self.source.resolve(), self.output.resolve()
        if self.output == self.source or self.source in self.output.parents:
            raise UsageError(
                f"The output {self.output} is in the folder that is watched: give another one."
            )
        self.output.mkdir(parents=True, exist_ok=True)
        # Only of a run that was killed: nothing in it has appeared.
        shutil.rmtree(self.output / _SCRATCH, ignore_errors=True)
        for record in self.output.glob(f"*/{_RECORD}"):
            told = json.loads(record.read_text("utf-8"))
            self._done.add((told["source"], told["sha256"]))

    def watch(self, stop: threading.Event) -> None:
        """Take images until told to stop.

        Raises
        ------
        EverhartError
            If the folder is gone, or results cannot be written.
        """
        while not stop.is_set():
            for path in self.complete():
                if stop.is_set():
                    return
                try:
                    self.take(path)
                except CancelledError:
                    return
            stop.wait(_LOOK_EVERY_S)

    def complete(self) -> Iterator[Path]:
        """Give the files that have stayed as they are for long enough, and are not done with."""
        try:
            found = sorted(p for p in self.source.iterdir() if p.is_file() and _is_wanted(p))
        except OSError as error:
            raise EverhartError(
                f"The folder {self.source} cannot be read ({error.strerror}): check the disk or "
                "the share, and start again."
            ) from error
        for path in list(self._seen):
            if path not in found:
                del self._seen[path]
        moment = time.monotonic()
        for path in found:
            try:
                state = path.stat()
            except OSError:  # it was moved just now
                continue
            now = (state.st_size, state.st_mtime_ns)
            seen = self._seen.get(path)
            if seen is None or seen.state != now:
                self._seen[path] = _Seen(now, moment)
            elif not seen.is_done and state.st_size and moment - seen.since >= seen.settle(self):
                yield path

    def take(self, path: Path) -> None:
        """Work on a file, if this was not done before."""
        seen = self._seen.setdefault(path, _Seen((0, 0), time.monotonic()))
        try:
            sha256 = _hash(path)
        except OSError:  # the microscope holds it, or it is gone: it is looked at again
            return
        if (path.name, sha256) in self._done:
            seen.is_done = True
            return
        try:
            target = self._work(path, sha256)
        except CancelledError:
            raise
        except EverhartError as error:
            seen.failures += 1
            # A program that writes in several goes leaves a file that cannot be read in between.
            may_change = isinstance(error, (FileFormatError, CrashError))
            if not may_change or time.monotonic() - seen.since >= self.patience_s:
                self._give_up(path, str(error))
            return
        self._done.add((path.name, sha256))
        seen.is_done = True
        self._join_tables()
        self.say(f"{path.name}: {target.name}")

    def _work(self, path: Path, sha256: str) -> Path:
        scratch = self.output / _SCRATCH
        shutil.rmtree(scratch, ignore_errors=True)
        scratch.mkdir()
        started = time.monotonic()
        answer = self.pool.run(
            {
                "task": "run",
                "operation": self.operation,
                "parameters": self.parameters,
                "images": [[str(path), path.name]],
                "roles": {},
                "pixel_size_nm": self.pixel_size_nm,
                "limits": asdict(DEFAULT_LIMITS),
                "folder": str(scratch),
            }
        )
        if _hash(path) != sha256:
            raise FileFormatError(f"{path.name} changed while it was read.")
        record = {
            "source": path.name,
            "sha256": sha256,
            "operation": self.operation,
            "parameters": self.parameters,
            "pixel_size_nm": self.pixel_size_nm,
            "model_hash": answer["model_hash"],
            "version": answer["version"],
            "seconds": round(time.monotonic() - started, 3),
            "time": datetime.now(UTC).isoformat(timespec="seconds"),
            "warnings": answer["warnings"],
            "summary": answer["summary"],
            "files": sorted(answer["files"]),
        }
        write_text(scratch / _RECORD, json.dumps(record, indent=2, ensure_ascii=False) + "\n")
        target = _free(self.output / file_name(path.stem))
        scratch.rename(target)
        return target

    def _give_up(self, path: Path, reason: str) -> None:
        failed = self.output / FAILED
        failed.mkdir(exist_ok=True)
        target = _free(failed / file_name(path.name))
        # The reason first: a file without one would be a riddle.
        write_text(target.with_name(f"{target.name}.txt"), reason + "\n", overwrite=True)
        try:
            shutil.move(path, target)
        except OSError as error:
            raise EverhartError(
                f"{path} cannot be moved to {failed} ({error.strerror}): give the right to."
            ) from error
        self.say(f"{path.name}: failed: {reason}")

    def _join_tables(self) -> None:
        """Write the tables of all images as one, for each name of a table."""
        parts: dict[str, list[Path]] = {}
        for record in sorted(self.output.glob(f"*/{_RECORD}"), key=lambda p: p.stat().st_mtime_ns):
            for table in sorted(record.parent.glob("*.csv")):
                parts.setdefault(table.name, []).append(table)
        for name, tables in parts.items():
            write_text(self.output / name, joined_csv(tables), overwrite=True)


@dataclass
class _Seen:
    """A file as it was when it was looked at last."""

    state: tuple[int, int]
    since: float
    is_done: bool = False
    failures: int = 0

    def settle(self, folder: HotFolder) -> float:
        """Say for how long it must stay as it is: longer after each failure."""
        waited: float = folder.settle_s * 2**self.failures
        return min(waited, folder.patience_s)


def _is_wanted(path: Path) -> bool:
    # Names under which programs write what they rename when it is whole.
    return not path.name.startswith((".", "~")) and path.suffix.lower() not in (
        ".tmp", ".part", ".partial", ".crdownload", ".txt", ".xml", ".json", ".hdr",
    )  # fmt: skip


def _hash(path: Path) -> str:
    digest = hashlib.sha256()
    with path.open("rb") as stream:
        while piece := stream.read(_READ_AT_ONCE):
            digest.update(piece)
    return digest.hexdigest()


def _free(path: Path) -> Path:
    """Return a name that nothing has yet."""
    number, free = 2, path
    while free.exists() or free.name == FAILED:
        free = path.with_name(f"{path.stem}-{number}{path.suffix}")
        number += 1
    return free

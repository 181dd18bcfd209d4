"""A hot folder: images that a microscope writes are worked on as they come, each once.

The result of an image is a folder, which appears whole by one rename, and holds the record of what
it is of. That record is all that is remembered: what has one is not taken again, whenever the
program was killed.
"""

from __future__ import annotations

import json
import shutil
import threading
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from everhart.errors import EverhartError, FileFormatError, UsageError
from everhart.io.atomic import write_text
from everhart.io.limits import DEFAULT_LIMITS
from everhart.operations.tables import joined_csv
from everhart.service.arrivals import LOOK_EVERY_S, Arrivals, free, hash_of, put_aside
from everhart.service.compute import CancelledError, ComputePool, CrashError
from everhart.service.names import file_name

__all__ = ["FAILED", "HotFolder"]

FAILED = "failed"
"""Folder of images that came to nothing, each with its reason beside it."""

_RECORD = "result.json"
_SCRATCH = ".everhart-scratch"


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
    _arrivals: Arrivals = field(init=False)

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
        self._arrivals = Arrivals(self.source, self.settle_s, self.patience_s)
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
            for path in self._arrivals.complete():
                if stop.is_set():
                    return
                try:
                    self.take(path)
                except CancelledError:
                    return
            stop.wait(LOOK_EVERY_S)

    def take(self, path: Path) -> None:
        """Work on a file, if this was not done before."""
        seen = self._arrivals.seen(path)
        try:
            sha256 = hash_of(path)
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
            if not may_change or seen.is_given_up(self.patience_s):
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
        if hash_of(path) != sha256:
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
        target = free(self.output / file_name(path.stem), taken=(FAILED,))
        scratch.rename(target)
        return target

    def _give_up(self, path: Path, reason: str) -> None:
        put_aside(path, self.output / FAILED, reason)
        self.say(f"{path.name}: failed: {reason}")

    def _join_tables(self) -> None:
        """Write the tables of all images as one, for each name of a table."""
        parts: dict[str, list[Path]] = {}
        for record in sorted(self.output.glob(f"*/{_RECORD}"), key=lambda p: p.stat().st_mtime_ns):
            for table in sorted(record.parent.glob("*.csv")):
                parts.setdefault(table.name, []).append(table)
        for name, tables in parts.items():
            write_text(self.output / name, joined_csv(tables), overwrite=True)

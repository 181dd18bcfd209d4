"""What is run, and what becomes of it: images for the list, measurements, figures."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from PySide6.QtCore import QObject, Signal

from everhart.desktop.backend import Backend, Outcome, Request
from everhart.desktop.background import sentence
from everhart.desktop.jobs import Job, JobQueue
from everhart.desktop.library import Entry
from everhart.desktop.results import Record, ResultStore
from everhart.operations.measurements import PREFIX

__all__ = ["Work"]


class Work(QObject):
    """Runs operations and sorts what comes of them.

    Parameters
    ----------
    store
        Where results are kept.
    backend
        Where operations run at first.
    parent
        Owner.
    """

    made = Signal(object, object)
    """A job, and the entry of an image that it made."""
    measured = Signal(object, object)
    """A job, and the record of a measurement."""
    told = Signal(object, object)
    """A job, and the record of figures without an image, as of noise or compare."""
    failed = Signal(str)
    ended = Signal(object)

    def __init__(self, store: ResultStore, backend: Backend, parent: QObject | None = None) -> None:
        super().__init__(parent)
        self.store = store
        self.backend = backend
        self.queue = JobQueue(store, self)
        self.measurements: dict[Path, Record] = {}
        """The last measurement of each image."""
        self.queue.came.connect(self._take)
        self.queue.ended.connect(self._end)

    def run(
        self,
        operation: str,
        parameters: Mapping[str, Any],
        images: Iterable[Path],
        roles: Mapping[str, Path] | None = None,
        pixel_size_nm: float | None = None,
    ) -> Job:
        """Put an operation into the queue."""
        request = Request(
            operation, dict(parameters), tuple(images), dict(roles or {}), pixel_size_nm
        )
        return self.queue.add(request, self.backend)

    def is_running(self, operation: str, parameters: Mapping[str, Any], image: Path) -> bool:
        """Whether the same is under way."""
        return any(
            job.request.operation == operation
            and dict(job.request.parameters) == dict(parameters)
            and image in job.request.images
            for job in self.queue.active
        )

    def earlier(self, paths: Iterable[Path]) -> list[Entry]:
        """Return the images that were made of files in earlier sessions; measurements are kept."""
        wanted = set(paths)
        entries: list[Entry] = []
        for record in self.store.records():
            # A result may have been measured, or made into another one.
            if not record.sources or record.sources[0] not in wanted:
                continue
            if record.operation.startswith(PREFIX):
                self.measurements[record.sources[0]] = record
            for entry in _entries(record):
                entries.append(entry)
                wanted.add(entry.path)
        return entries

    def _take(self, job: Job, outcome: Outcome) -> None:
        if outcome.error is not None:
            name = outcome.images[0].name
            said = outcome.error
            self.failed.emit(said if name in said else f"{name}: {said}")
            return
        try:
            record = self.store.keep(job.request, outcome, job.backend.title)
        except Exception as error:  # a full disk
            self.failed.emit(sentence(error))
            return
        if record.operation.startswith(PREFIX):
            self.measurements[record.sources[0]] = record
            self.measured.emit(job, record)
        elif record.images:
            for entry in _entries(record):
                self.made.emit(job, entry)
        else:
            self.told.emit(job, record)

    def _end(self, job: Job) -> None:
        if job.state == "failed" and not job.failed:
            self.failed.emit(job.word)
        self.ended.emit(job)


def _entries(record: Record) -> list[Entry]:
    found = []
    for path in record.images:
        try:
            found.append(Entry(path, path.stat().st_mtime, record.sources[0], record))
        except OSError:  # it was deleted
            continue
    return found

"""The queue: jobs run one after the other on each backend, and can be cancelled."""

from __future__ import annotations

import itertools
import threading
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Any, Final

from PySide6.QtCore import (
    QAbstractTableModel,
    QModelIndex,
    QObject,
    QPersistentModelIndex,
    Qt,
    Signal,
)
from typing_extensions import override

from everhart.desktop.backend import Backend, Outcome, Request
from everhart.desktop.background import sentence
from everhart.desktop.results import ResultStore, words_of
from everhart.service.compute import CancelledError

__all__ = ["Job", "JobQueue"]

_COLUMNS: Final = ("Job", "Images", "State", "Where", "Message")
Index = QModelIndex | QPersistentModelIndex


@dataclass(eq=False)
class Job:
    """A request on its way."""

    number: int
    request: Request
    backend: Backend
    state: str = "queued"
    done: int = 0
    failed: int = 0
    word: str = ""
    stop: threading.Event = field(default_factory=threading.Event)

    @property
    def has_ended(self) -> bool:
        """Whether nothing will happen to it any more."""
        return self.state in ("done", "failed", "cancelled")

    @property
    def total(self) -> int:
        """How many images it has."""
        return len(self.request.images)

    @property
    def words(self) -> str:
        """What it does."""
        return words_of(self.request.operation, self.request.parameters)


class JobQueue(QAbstractTableModel):
    """All jobs of this session, as a table.

    Parameters
    ----------
    store
        Where results are kept.
    parent
        Owner.
    """

    came = Signal(object, object)
    """A job, and an outcome of it."""
    ended = Signal(object)
    """A job that has ended."""
    _outcome = Signal(object, object)
    _word = Signal(object, str)
    _end = Signal(object, str, str)
    _start = Signal(object)

    def __init__(self, store: ResultStore, parent: QObject | None = None) -> None:
        super().__init__(parent)
        self.store = store
        self.jobs: list[Job] = []
        self._numbers = itertools.count(1)
        self._threads: dict[int, ThreadPoolExecutor] = {}
        queued = Qt.ConnectionType.QueuedConnection
        self._outcome.connect(self._take, queued)
        self._word.connect(self._hear, queued)
        self._start.connect(self._begin, queued)
        self._end.connect(self._close, queued)

    @property
    def active(self) -> list[Job]:
        """Jobs that have not ended."""
        return [job for job in self.jobs if not job.has_ended]

    def add(self, request: Request, backend: Backend) -> Job:
        """Put a request at the end of the queue of its backend."""
        job = Job(next(self._numbers), request, backend)
        self.beginInsertRows(QModelIndex(), 0, 0)
        self.jobs.insert(0, job)
        self.endInsertRows()
        thread = self._threads.setdefault(
            id(backend), ThreadPoolExecutor(1, thread_name_prefix="job")
        )
        thread.submit(self._run, job)
        return job

    def cancel(self, job: Job) -> None:
        """Stop a job; results that it has are kept."""
        job.stop.set()
        if job.state == "queued":
            self._close(job, "cancelled", "")
        elif not job.has_ended:
            self._hear(job, "is being stopped")

    def shut(self) -> None:
        """Stop everything."""
        for job in self.jobs:
            job.stop.set()
        for thread in self._threads.values():
            thread.shutdown(wait=False, cancel_futures=True)

    def job_at(self, index: Index) -> Job:
        """Return the job of a row."""
        return self.jobs[index.row()]

    # -- in the thread of the backend -----------------------------------------------------
    def _run(self, job: Job) -> None:
        if job.stop.is_set():
            return
        self._start.emit(job)
        try:
            folder = self.store.new_folder(job.request.operation)
            job.backend.run(
                job.request,
                folder,
                lambda outcome: self._outcome.emit(job, outcome),
                lambda word: self._word.emit(job, word),
                job.stop.is_set,
            )
        except CancelledError:
            self._end.emit(job, "cancelled", "")
        except Exception as error:
            self._end.emit(job, "failed", sentence(error))
        else:
            self._end.emit(job, "done", "")

    # -- in the thread of the window ------------------------------------------------------
    def _begin(self, job: Job) -> None:
        if not job.has_ended:
            job.state = "running"
            self._changed(job)

    def _take(self, job: Job, outcome: Outcome) -> None:
        images = len(outcome.images)
        job.done += images
        if outcome.error is not None:
            job.failed += images
            job.word = outcome.error
        self._changed(job)
        self.came.emit(job, outcome)

    def _hear(self, job: Job, word: str) -> None:
        job.word = word
        self._changed(job)

    def _close(self, job: Job, state: str, word: str) -> None:
        if job.has_ended:
            return
        job.state = "failed" if job.failed and job.failed == job.total else state
        if word:
            job.word = word
        elif not job.failed:
            job.word = ""
        self._changed(job)
        self.ended.emit(job)

    def _changed(self, job: Job) -> None:
        row = self.jobs.index(job)
        self.dataChanged.emit(self.index(row, 0), self.index(row, len(_COLUMNS) - 1))

    # -- for views ------------------------------------------------------------------------
    @override
    def rowCount(self, parent: Index = QModelIndex()) -> int:  # noqa: B008 - the interface of Qt
        return 0 if parent.isValid() else len(self.jobs)

    @override
    def columnCount(self, parent: Index = QModelIndex()) -> int:  # noqa: B008
        return 0 if parent.isValid() else len(_COLUMNS)

    @override
    def headerData(
        self, section: int, orientation: Qt.Orientation, role: int = Qt.ItemDataRole.DisplayRole
    ) -> Any:
        if role == Qt.ItemDataRole.DisplayRole and orientation == Qt.Orientation.Horizontal:
            return _COLUMNS[section]
        return None

    @override
    def data(self, index: Index, role: int = Qt.ItemDataRole.DisplayRole) -> Any:
        job = self.jobs[index.row()]
        if role not in (Qt.ItemDataRole.DisplayRole, Qt.ItemDataRole.ToolTipRole):
            return None
        failed = f", {job.failed} failed" if job.failed else ""
        return (
            job.words,
            f"{job.done} of {job.total}{failed}",
            job.state,
            job.backend.title,
            job.word,
        )[index.column()]

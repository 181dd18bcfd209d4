"""Do a job: item after item in child processes, whatever happens in between."""

from __future__ import annotations

import hashlib
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, Final, TypeVar

import structlog
from sqlalchemy import select
from sqlalchemy.exc import DBAPIError, OperationalError
from sqlalchemy.exc import TimeoutError as PoolTimeoutError

from everhart.errors import EverhartError
from everhart.service import progress
from everhart.service.cluster import ClusterPool
from everhart.service.comparisons import runs_of
from everhart.service.compute import CancelledError, ComputePool, CrashError
from everhart.service.database import Database
from everhart.service.limits import limit_explained, limits_of
from everhart.service.progress import StoredFile
from everhart.service.settings import Settings
from everhart.service.store import ObjectStore, StoreError
from everhart.service.tables import Image, Item, Job

__all__ = ["JobRunner"]

MOST_CRASHES: Final = 3
"""How often an item may take its process down before it is given up."""
MOST_STARTS: Final = 10
"""How often an item is begun, over restarts of the whole service, before it is given up."""
STORE_PATIENCE_S: Final = 120.0
"""How long an item waits for a store that does not answer."""

_LOOK_EVERY_S = 0.5
_T = TypeVar("_T")
_log = structlog.get_logger("everhart.service.jobs")


class JobRunner:
    """Does jobs of the database.

    Parameters
    ----------
    settings, database, store
        What their names say.
    pool
        The processes that compute, here or on a cluster.
    scratch
        Folder of temporary files.
    """

    def __init__(
        self,
        settings: Settings,
        database: Database,
        store: ObjectStore,
        pool: ComputePool | ClusterPool,
        scratch: Path,
    ) -> None:
        self.settings, self.database, self.store = settings, database, store
        self.pool, self.scratch = pool, scratch
        self.closing = threading.Event()
        self.on_progress: Callable[[str], None] = lambda _: None

    def run(self, job_id: str) -> str:
        """Do what is left of a job.

        It can be called again for a job whose worker died: items that have a result keep it.

        Returns
        -------
        str
            The state in which the job ended.
        """
        opened = self._told(job_id, lambda: progress.open_items(self.database, job_id))
        if opened is not None:
            job, items = opened
            names = self._insist(lambda: self._names(job, items))
            with ThreadPoolExecutor(min(self.pool.at_once(), len(items)) or 1) as threads:
                list(threads.map(lambda item: self._run_item(job, item, names), items))
        self._stop_if_closing()
        return self._told(job_id, lambda: progress.end_job(self.database, job_id))

    def _run_item(self, job: Job, item: Item, names: dict[str, str]) -> None:
        wanted = _Wanted(self, job.id)
        try:
            while True:
                if wanted.is_cancelled():
                    return
                starts, crashes = self._insist(lambda: progress.start_item(self.database, item))
                if starts > MOST_STARTS:
                    raise EverhartError(
                        f"It was begun {MOST_STARTS} times and never ended, so it is given up."
                    )
                try:
                    self._attempt(job, item, names, wanted)
                    return
                except CrashError as error:
                    crashes = self._insist(lambda: progress.count_crash(self.database, item))
                    if crashes >= MOST_CRASHES:
                        raise EverhartError(f"{error} It did so {crashes} times.") from error
                    text = f"{error} It is tried again."
                    self._say(job, item, text)
        except CancelledError:
            self._stop_if_closing()
        except EverhartError as error:
            said = limit_explained(" ".join(str(error).split()))[:2000]
            self._told(job.id, lambda: progress.fail_item(self.database, job, item, said))
        except Exception as error:
            self._stop_if_closing()
            _log.exception("item failed", job=job.id, item=item.number)
            said = f"Unexpected {type(error).__name__}: this is a fault of Everhart; report it."
            self._told(job.id, lambda: progress.fail_item(self.database, job, item, said))

    def _attempt(self, job: Job, item: Item, names: dict[str, str], wanted: _Wanted) -> None:
        started = time.monotonic()
        with ExitStack() as stack:
            folder = Path(stack.enter_context(TemporaryDirectory(dir=self.scratch, prefix="item-")))

            def place_object(sha256: str) -> str:
                return str(
                    self._patiently(
                        lambda: stack.enter_context(self.store.as_file(sha256, self.scratch)),
                        wanted,
                    )
                )

            def place(identity: str) -> tuple[str, str]:
                return place_object(identity), names[identity]

            models = {}
            for name, sha256 in job.models.items():
                models[name] = (place_object(sha256), sha256)
            answer = self.pool.run(
                {
                    "task": "run",
                    "models": models,
                    "operation": job.operation,
                    "parameters": job.parameters,
                    "images": [place(identity) for identity in item.images],
                    "roles": {role: place(identity) for role, identity in job.roles.items()},
                    "pixel_size_nm": job.pixel_size_nm,
                    "limits": limits_of(self.settings),
                    "folder": str(folder),
                },
                wanted.is_cancelled,
            )
            files = [
                self._keep(folder / name, told, wanted) for name, told in answer["files"].items()
            ]
            provenance = {
                "operation": job.operation,
                "parameters": job.parameters,
                "images": [{"sha256": i, "name": names[i]} for i in item.images],
                "roles": job.roles,
                "pixel_size_nm": job.pixel_size_nm,
                "model_hash": answer["model_hash"],
                "version": answer["version"],
                "seconds": round(time.monotonic() - started, 3),
            }
            self._told(
                job.id,
                lambda: progress.finish_item(
                    self.database,
                    job,
                    item,
                    provenance=provenance,
                    summary=answer["summary"],
                    files=files,
                    logs=answer["warnings"],
                    runs=runs_of(job, item, names, answer["summary"]),
                ),
            )

    def _keep(self, path: Path, told: dict[str, Any], wanted: _Wanted) -> StoredFile:
        with path.open("rb") as stream:
            sha256 = hashlib.file_digest(stream, "sha256").hexdigest()
        size = path.stat().st_size
        self._patiently(lambda: self.store.put(sha256, path, move=True), wanted)
        return StoredFile(path.name, sha256, size, told["media_type"], told["pixels_sha256"])

    def _names(self, job: Job, items: list[Item]) -> dict[str, str]:
        wanted = sorted({i for item in items for i in item.images} | set(job.roles.values()))
        names: dict[str, str] = {}
        with self.database.reading() as session:
            for start in range(0, len(wanted), 500):
                part = wanted[start : start + 500]
                query = select(Image.id, Image.name).where(Image.id.in_(part))
                names |= {row.id: row.name for row in session.execute(query)}
        return names

    def _patiently(self, do: Callable[[], _T], wanted: _Wanted) -> _T:
        """Try for a while where the store does not answer."""
        end, pause = time.monotonic() + STORE_PATIENCE_S, 0.2
        while True:
            try:
                return do()
            except StoreError:
                if time.monotonic() > end:
                    raise
            if wanted.is_cancelled():
                raise CancelledError("It was cancelled.")
            self.closing.wait(pause)
            self._stop_if_closing()
            pause = min(2 * pause, 5.0)

    def _say(self, job: Job, item: Item, text: str) -> None:
        self._told(job.id, lambda: progress.log(self.database, job.id, item.number, text))

    def _told(self, job_id: str, do: Callable[[], _T]) -> _T:
        """Commit something that those who follow the job wait for."""
        done = self._insist(do)
        self.on_progress(job_id)
        return done

    def _insist(self, do: Callable[[], _T]) -> _T:
        """Try for as long as the database does not answer: without it nothing can be said."""
        pause = 0.2
        while True:
            self._stop_if_closing()
            try:
                return do()
            except (OperationalError, PoolTimeoutError) as error:
                _log.warning("database away", error=str(error.__cause__ or error)[:300])
            except DBAPIError as error:
                if not error.connection_invalidated:
                    raise
            self.closing.wait(pause)
            pause = min(2 * pause, 5.0)

    def _stop_if_closing(self) -> None:
        """Never return when the service is being stopped: the job goes on after the next start.

        An exception would tell the engine of durable jobs that this one has ended.
        """
        while self.closing.is_set():
            time.sleep(3600)


class _Wanted:
    """Whether a job is still wanted; the database is asked twice a second."""

    def __init__(self, runner: JobRunner, job_id: str) -> None:
        self._runner, self._job_id = runner, job_id
        self._next, self._cancelled = 0.0, False

    def is_cancelled(self) -> bool:
        """Say whether somebody cancelled it."""
        if self._runner.closing.is_set():
            return True
        if not self._cancelled and time.monotonic() >= self._next:
            self._next = time.monotonic() + _LOOK_EVERY_S
            try:
                self._cancelled = progress.is_cancelled(self._runner.database, self._job_id)
            except (DBAPIError, PoolTimeoutError):
                return False  # not known; the next commit waits for the database
        return self._cancelled

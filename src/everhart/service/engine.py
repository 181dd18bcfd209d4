"""Durable jobs, on DBOS in the service's own database.

A job is one workflow. DBOS keeps the queue, and hands each workflow to one process at a time. What
it does not do without a paid controller is to notice that another process died: each process
writes a heartbeat here, and takes over the workflows of one whose heartbeat has stopped.
"""

from __future__ import annotations

import os
import queue
import secrets
import socket
import threading
from collections.abc import Sequence
from datetime import timedelta
from pathlib import Path
from typing import Any, Final

import psutil
import structlog
from sqlalchemy import delete, select

from everhart.service.cluster import ClusterPool
from everhart.service.compute import ComputePool
from everhart.service.database import Database
from everhart.service.runner import JobRunner
from everhart.service.settings import Settings
from everhart.service.store import ObjectStore
from everhart.service.tables import Image, Job, Model, ResultFile, Worker, now

__all__ = ["JobEngine", "make_engine"]

HEARTBEAT_S: Final = 2.0
DEAD_AFTER: Final = timedelta(seconds=12)
ORPHANS_AFTER: Final = timedelta(hours=1)
_LEAVE_S = 3.0
_AT_ONCE = 3  # small jobs need not wait for the end of a large one

_log = structlog.get_logger("everhart.service.jobs")


class JobEngine:
    """Queues jobs, and does them.

    Parameters
    ----------
    settings, database, store
        What their names say.
    runner
        Does a job; None in a process that only queues them.
    """

    def __init__(
        self,
        settings: Settings,
        database: Database,
        store: ObjectStore,
        runner: JobRunner | None,
    ) -> None:
        self.settings, self.database, self.store = settings, database, store
        self.runner = runner
        self.identity = f"{socket.gethostname()[:60]}-{os.getpid()}-{secrets.token_hex(4)}"
        self.is_ready = threading.Event()
        self._stop = threading.Event()
        self._submitted: queue.SimpleQueue[str] = queue.SimpleQueue()

    def start(self) -> None:
        """Start in a thread, so that the server need not wait; :attr:`is_ready` says when it is."""
        threading.Thread(target=self._run, daemon=True, name="job-engine").start()
        threading.Thread(target=self._submit_all, daemon=True, name="job-queue").start()

    def submit(self, job_id: str, patience_s: float = 30.0) -> None:
        """Queue a job; to do it twice is to do it once."""
        if not self.is_ready.wait(patience_s):
            raise TimeoutError("the engine of jobs has not started")
        from everhart.service.durable import enqueue

        enqueue(job_id)

    def submit_soon(self, job_id: str) -> None:
        """Queue a job in the background; its row is what makes it last.

        If the server dies before, or the queue is away, it is found by its row and queued.
        """
        self._submitted.put(job_id)

    def _submit_all(self) -> None:
        while True:
            job_id = self._submitted.get()
            try:
                self.submit(job_id)
            except Exception as error:  # it is queued with one of the next heartbeats
                _log.warning("job waits", job=job_id, error=str(error)[:300])

    def stop(self) -> None:
        """Stop taking jobs, and leave those that run to the next start."""
        self._stop.set()
        if self.runner is not None:
            self.runner.closing.set()
            self.runner.pool.close()
        leaving = threading.Thread(target=self._leave, daemon=True)
        leaving.start()
        leaving.join(_LEAVE_S)  # the database may be silent, and then others notice by themselves

    def _leave(self) -> None:
        try:
            self._forget([self.identity])
        except Exception as error:
            _log.warning("heartbeat left", error=str(error)[:300])

    def _run(self) -> None:
        while not self._stop.is_set():
            try:
                self._launch()
                break
            except Exception as error:  # the database may be away at the start
                _log.warning("job engine does not start", error=str(error)[:300])
                self._stop.wait(2.0)
        rounds = 0
        while not self._stop.is_set():
            try:
                self._beat()
                if rounds % 5 == 0:
                    self._submit_forgotten()
                if rounds % 900 == 0:
                    self.sweep(ORPHANS_AFTER)
            except Exception as error:  # it is tried again with the next beat
                _log.warning("heartbeat", error=str(error)[:300])
            rounds += 1
            self._stop.wait(HEARTBEAT_S)

    def _launch(self) -> None:
        from everhart.service.durable import launch

        self._beat()
        run = None if self.runner is None else self.runner.run
        launch(self.settings, self.identity, run, self.settings.workers + _AT_ONCE)
        self.is_ready.set()
        if self.runner is not None:
            self.runner.pool.warm()

    def _beat(self) -> None:
        """Say that this process lives, and take over from those that do not."""
        own = psutil.Process()
        with self.database.writing() as session:
            session.merge(
                Worker(
                    id=self.identity,
                    host=socket.gethostname(),
                    pid=own.pid,
                    process_started=own.create_time(),
                    seen_at=now(),
                )
            )
        if self.runner is None or not self.is_ready.is_set():
            return
        with self.database.reading() as session:
            others = session.scalars(select(Worker).where(Worker.id != self.identity)).all()
        from everhart.service.durable import take_over

        dead = [worker.id for worker in others if _is_dead(worker)]
        if dead:
            # Idempotent: a workflow that somebody else took over is no longer of a dead process.
            take_over(dead)
            self._forget(dead)
            _log.warning("taken over", workers=dead)

    def _forget(self, workers: Sequence[str]) -> None:
        with self.database.writing() as session:
            session.execute(delete(Worker).where(Worker.id.in_(workers)))

    def _submit_forgotten(self) -> None:
        """Queue jobs that were made by a server that died before it could queue them."""
        with self.database.reading() as session:
            query = (
                select(Job.id)
                .where(Job.state == "queued", Job.created_at < now() - timedelta(seconds=5))
                .order_by(Job.created_at)
                .limit(200)
            )
            waiting = list(session.scalars(query))
        if not waiting:
            return
        from everhart.service.durable import known_jobs

        for job_id in sorted(set(waiting) - known_jobs(waiting)):
            self.submit(job_id)

    def sweep(self, older_than: timedelta) -> list[str]:
        """Delete objects that no image, result or model names; return their names."""

        def known(names: list[str]) -> set[str]:
            with self.database.reading() as session:
                images = session.scalars(select(Image.id).where(Image.id.in_(names)))
                files = session.scalars(
                    select(ResultFile.sha256).where(ResultFile.sha256.in_(names))
                )
                models = session.scalars(select(Model.sha256).where(Model.sha256.in_(names)))
                return {*images, *files, *models}

        return self.store.sweep(known, older_than)


def _is_dead(worker: Worker) -> bool:
    if worker.seen_at < now() - DEAD_AFTER:
        return True
    if worker.host != socket.gethostname():
        return False
    # On this machine one need not wait for a heartbeat to stop.
    try:
        process = psutil.Process(worker.pid)
        started = float(process.create_time())
        if process.status() == psutil.STATUS_ZOMBIE:  # whoever started it has not looked yet
            return True
    except psutil.NoSuchProcess:
        return True
    except psutil.Error:
        return False
    return abs(started - worker.process_started) > 2  # another one has its number by now


def make_engine(settings: Settings, store: ObjectStore, scratch: Path) -> JobEngine:
    """Make the engine of a process, which does jobs unless the settings have no workers.

    Parameters
    ----------
    settings
        The settings.
    store
        The store.
    scratch
        Folder of temporary files.

    Returns
    -------
    JobEngine
        To be started.
    """
    database = Database(settings, is_answered=False)
    runner = None
    if settings.workers:
        limits: dict[str, Any] = {
            "memory_mb": settings.job_memory_mb,
            "seconds": settings.job_seconds,
            "raised_by": ("job_memory_mb", "job_seconds"),
        }
        pool: ComputePool | ClusterPool
        if settings.cluster is not None:
            pool = ClusterPool(settings.cluster, **limits)
        else:
            pool = ComputePool(settings.workers, scratch=scratch, **limits)
        runner = JobRunner(settings, database, store, pool, scratch)
    return JobEngine(settings, database, store, runner)

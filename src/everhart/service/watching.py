"""Hot folders of the server: what a microscope writes is uploaded, and a job is made of it.

What was taken is remembered by the idempotency key of its job, so it is taken once, whatever is
killed when, and by however many servers that watch one folder.
"""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import AsyncIterator
from pathlib import Path

import structlog
from sqlalchemy import select

from everhart.errors import EverhartError, UsageError
from everhart.operations import get_operation
from everhart.service.arrivals import LOOK_EVERY_S, Arrivals, hash_of, put_aside
from everhart.service.compute import CancelledError
from everhart.service.hot_folder import FAILED
from everhart.service.limits import limit_explained
from everhart.service.problems import ProblemError
from everhart.service.requests import JobRequest, create_job
from everhart.service.run_operation import SERIES
from everhart.service.settings import Settings, WatchedFolder
from everhart.service.state import State
from everhart.service.store import StoreError
from everhart.service.tables import Job
from everhart.service.uploads import receive_image

__all__ = ["check_watched", "watch"]

OWNER = "hot-folder"
"""Whose jobs they are; no token has such an id."""

_READ_AT_ONCE = 1 << 20
_BROKEN = (413, 422)
_log = structlog.get_logger("everhart.service.watch")


def check_watched(settings: Settings) -> None:
    """Check the setting `watch`, before anything is served.

    Raises
    ------
    UsageError
        If a folder is not there, or what is to be run is not allowed.
    """
    for watched in settings.watch:
        operation = get_operation(watched.operation)
        if operation.name in SERIES:
            raise UsageError(
                f"{operation.name} takes a series at once: a hot folder takes one image after the "
                "other; choose another operation."
            )
        operation.check(watched.parameters)
        if not watched.folder.is_dir():
            raise UsageError(
                f"The setting watch names the folder {watched.folder}, which does not exist: make "
                "it first."
            )


async def watch(state: State, watched: WatchedFolder) -> None:
    """Take the files of a folder for as long as the server runs."""
    watching = _Watching(state, watched)
    while True:
        try:
            await watching.look()
        except Exception as error:  # the share or the database is away: it is looked at again
            _log.warning("hot folder", folder=str(watched.folder), error=str(error)[:300])
            await asyncio.sleep(2.0)
        await asyncio.sleep(LOOK_EVERY_S)


class _Watching:
    def __init__(self, state: State, watched: WatchedFolder) -> None:
        self.state, self.watched = state, watched
        self.arrivals = Arrivals(watched.folder, watched.settle_s, watched.patience_s)
        self.failed = watched.folder / FAILED
        self.jobs: dict[str, Path] = {}

    async def look(self) -> None:
        """Take what is complete, and put aside what came to nothing."""
        for path in await asyncio.to_thread(lambda: list(self.arrivals.complete())):
            await self._take(path)
        if self.jobs:
            await self._put_failed_aside()

    async def _take(self, path: Path) -> None:
        try:
            sha256 = await asyncio.to_thread(hash_of, path)
        except OSError:  # the microscope holds it, or it is gone: it is looked at again
            return
        seen = self.arrivals.seen(path)
        key = hashlib.sha256(f"{path.name}\0{sha256}".encode()).hexdigest()
        query = select(Job).where(Job.owner == OWNER, Job.idempotency_key == key)
        async with self.state.database.reading() as session:
            job = (await session.scalars(query)).first()
        if job is None:
            try:
                image, _ = await receive_image(self.state, path.name, _pieces(path))
            except EverhartError as error:
                if not _is_of_the_file(error):
                    raise
                seen.failures += 1
                # One that is written in several goes cannot be read in between.
                if seen.is_given_up(self.watched.patience_s):
                    reason = limit_explained(str(error))
                    await asyncio.to_thread(put_aside, path, self.failed, reason)
                return
            if image.id != sha256:  # it changed while it was read
                return
            request = JobRequest(
                operation=self.watched.operation,
                parameters=self.watched.parameters,
                images=[image.id],
                pixel_size_nm=self.watched.pixel_size_nm,
            )
            job, _ = await create_job(self.state, request, OWNER, key)
            self.state.engine.submit_soon(job.id)
        seen.is_done = True
        self.jobs[job.id] = path

    async def _put_failed_aside(self) -> None:
        query = select(Job.id, Job.state, Job.error).where(Job.id.in_(list(self.jobs)[:500]))
        async with self.state.database.reading() as session:
            found = (await session.execute(query)).all()
        for job_id, job_state, error in found:
            if job_state == "failed":
                path = self.jobs[job_id]
                await asyncio.to_thread(put_aside, path, self.failed, str(error))
            if job_state in ("done", "failed", "cancelled"):
                del self.jobs[job_id]


def _is_of_the_file(error: EverhartError) -> bool:
    """Whether a file is to blame, and not that the store or the disk is away or full."""
    if isinstance(error, ProblemError):
        return error.status in _BROKEN
    return not isinstance(error, (StoreError, CancelledError))


async def _pieces(path: Path) -> AsyncIterator[bytes]:
    with await asyncio.to_thread(path.open, "rb") as stream:
        while piece := await asyncio.to_thread(stream.read, _READ_AT_ONCE):
            yield piece

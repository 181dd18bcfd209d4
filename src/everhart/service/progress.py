"""What happens to a job, written so that it happens once: each step is one commit."""

from __future__ import annotations

import secrets
from dataclasses import dataclass
from typing import Any, Final

from sqlalchemy import select, update
from sqlalchemy.orm import Session

from everhart.service.database import Database
from everhart.service.tables import Event, Item, Job, Result, ResultFile, Run, now

__all__ = ["ENDED", "StoredFile", "end_job", "finish_item", "log", "open_items", "start_item"]

ENDED: Final = frozenset({"done", "failed", "cancelled"})
"""States from which a job does not come back."""


@dataclass(frozen=True)
class StoredFile:
    """A file of a result that is in the store."""

    name: str
    sha256: str
    bytes: int
    media_type: str
    pixels_sha256: str | None


def open_items(database: Database, job_id: str) -> tuple[Job, list[Item]] | None:
    """Take a job up, and return it with the items that are still to be done; None if it ended."""
    with database.writing() as session:
        job = session.get(Job, job_id)
        if job is None or job.state in ENDED:
            return None
        if job.state == "queued":
            job.state = "running"
            job.started_at = now()
            session.flush()
            session.add(Event(job_id=job_id, kind="running", data={}))
        query = (
            select(Item)
            .where(Item.job_id == job_id, Item.state.in_(("queued", "running")))
            .order_by(Item.number)
        )
        return job, list(session.scalars(query))


def start_item(database: Database, item: Item) -> tuple[int, int]:
    """Count a start of an item; return how often it was started, and how often it crashed."""
    with database.writing() as session:
        own = session.get_one(Item, (item.job_id, item.number))
        own.starts += 1
        own.state = "running"
        return own.starts, own.crashes


def count_crash(database: Database, item: Item) -> int:
    """Count a crash of an item; return how many there were."""
    with database.writing() as session:
        own = session.get_one(Item, (item.job_id, item.number))
        own.crashes += 1
        return own.crashes


def finish_item(
    database: Database,
    job: Job,
    item: Item,
    *,
    provenance: dict[str, Any],
    summary: dict[str, Any],
    files: list[StoredFile],
    logs: list[str],
    runs: list[Run],
) -> None:
    """Let a result appear, whole and once; a second one for the same item is dropped."""
    with database.writing() as session:
        if not _close_item(session, item, "done", None):
            return
        result = Result(
            id=secrets.token_hex(16),
            job_id=job.id,
            number=item.number,
            images=item.images,
            operation=job.operation,
            provenance=provenance,
            summary=summary,
        )
        session.add(result)
        session.flush()
        session.add_all(
            ResultFile(
                result_id=result.id,
                name=file.name,
                sha256=file.sha256,
                bytes=file.bytes,
                media_type=file.media_type,
                pixels_sha256=file.pixels_sha256,
            )
            for file in files
        )
        for run in runs:
            run.result_id = result.id
        session.add_all(runs)
        counted = session.get_one(Job, job.id)
        for text in logs:
            session.add(Event(job_id=job.id, kind="log", data={"item": item.number, "text": text}))
        session.add(_item_event(counted, item, {"state": "done", "result": result.id}))


def fail_item(database: Database, job: Job, item: Item, error: str) -> None:
    """Say that an item came to nothing, and why."""
    with database.writing() as session:
        if not _close_item(session, item, "failed", error):
            return
        counted = session.get_one(Job, job.id)
        counted.error = error
        session.add(_item_event(counted, item, {"state": "failed", "error": error}))


def log(database: Database, job_id: str, item: int, text: str) -> None:
    """Write a line into the log of a job."""
    with database.writing() as session:
        session.add(Event(job_id=job_id, kind="log", data={"item": item, "text": text}))


def is_cancelled(database: Database, job_id: str) -> bool:
    """Whether somebody wants a job to stop."""
    with database.reading() as session:
        state = session.scalar(select(Job.state).where(Job.id == job_id))
    return state in ("cancelling", "cancelled")


def end_job(database: Database, job_id: str) -> str:
    """End a job whose items are done with, or that is cancelled; return its state."""
    with database.writing() as session:
        job = session.get_one(Job, job_id)
        if job.state in ENDED:
            return job.state
        if job.state == "cancelling":
            job.state = "cancelled"
        else:
            job.state = "failed" if job.failed == job.items else "done"
        job.ended_at = now()
        session.flush()
        data = {"done": job.done, "failed": job.failed, "items": job.items}
        session.add(Event(job_id=job_id, kind=job.state, data=data))
        return job.state


def _close_item(session: Session, item: Item, state: str, error: str | None) -> bool:
    # The job's row first: it is locked until the commit, so events of a job are in their order.
    column = Job.done if state == "done" else Job.failed
    session.execute(update(Job).where(Job.id == item.job_id).values({column: column + 1}))
    closed = session.execute(
        update(Item)
        .where(
            Item.job_id == item.job_id,
            Item.number == item.number,
            Item.state.in_(("queued", "running")),
        )
        .values(state=state, error=error)
        .returning(Item.number)
    ).first()
    if closed is None:
        session.rollback()
        return False
    return True


def _item_event(job: Job, item: Item, data: dict[str, Any]) -> Event:
    counts = {"done": job.done, "failed": job.failed, "items": job.items}
    return Event(job_id=job.id, kind="item", data={"item": item.number, **data, **counts})

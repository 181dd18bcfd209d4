"""DBOS, the engine of durable workflows: all that this service asks of it.

What is relied on: a workflow that was queued is begun by one process at a time; a queued id is
queued once; a workflow whose process died stays pending under the name of that process, and
``DBOS._recover_pending_workflows`` queues it again, to which only rows still under that name
answer. That last function is of the inside of DBOS, so its major version is pinned.

The module takes a second to import: only :mod:`everhart.service.engine` does, in a thread.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from typing import Any, Final

from dbos import DBOS, DBOSConfig, SetWorkflowID
from dbos._serialization import Serializer
from sqlalchemy import Engine, create_engine, event

from everhart.service.settings import Settings

__all__ = ["enqueue", "known_jobs", "launch", "take_over"]

QUEUE: Final = "everhart-jobs"
# Jobs of one version of Everhart are gone on with by the next.
_FORMAT: Final = "everhart-1"
_POLL_S: Final = 0.05

_run: Callable[[str], str] | None = None


class _Json(Serializer):
    """Arguments of workflows as JSON; by itself the engine pickles them."""

    def serialize(self, data: Any) -> str:
        if isinstance(data, BaseException):
            data = {"error": type(data).__name__, "message": str(data)}
        return json.dumps(data)

    def deserialize(self, serialized_data: str) -> Any:
        return json.loads(serialized_data)

    def name(self) -> str:
        return "everhart_json"


@DBOS.workflow(name="everhart-job", max_recovery_attempts=None)
def _job(job_id: str) -> str:
    assert _run is not None
    # What an item has done is in the tables, in one commit with its result; steps of the engine
    # would keep the same once more.
    return _run(job_id)


def launch(
    settings: Settings, identity: str, run: Callable[[str], str] | None, at_once: int
) -> None:
    """Start the engine.

    Parameters
    ----------
    settings
        The settings, which name the database.
    identity
        Name of this process, which no other has.
    run
        Does a job by its id; None in a process that only queues jobs.
    at_once
        How many jobs this process does at a time.
    """
    global _run
    _run = run
    config: DBOSConfig = {
        "name": "everhart",
        "system_database_url": settings.database_url,
        "application_version": _FORMAT,
        "executor_id": identity,
        "serializer": _Json(),
        "log_level": "WARNING",
        "console_log_level": "WARNING",
        "enable_otlp": False,
    }
    DBOS(config=config)
    if settings.database is None:
        config["system_database_engine"] = _sqlite(settings.database_url)
    if run is None:
        DBOS.listen_queues([])
    DBOS.launch()
    DBOS.register_queue(
        QUEUE,
        worker_concurrency=at_once,
        polling_interval_sec=_POLL_S,
        on_conflict="never_update" if run is None else "always_update",
    )


def _sqlite(url: str) -> Engine:
    """Make the engine that DBOS makes by itself, but wait for the disk less often.

    What the queue forgets in a power cut is queued again from the table of jobs.
    """
    engine = create_engine(url)

    @event.listens_for(engine, "connect")
    def connected(connection: Any, _: Any) -> None:
        connection.isolation_level = "IMMEDIATE"
        for pragma in ("busy_timeout = 30000", "foreign_keys = ON", "synchronous = NORMAL"):
            connection.execute(f"PRAGMA {pragma}")

    return engine


def enqueue(job_id: str) -> None:
    """Queue a job; to do it twice is to do it once."""
    with SetWorkflowID(job_id):
        DBOS.enqueue_workflow(QUEUE, _job, job_id)


def known_jobs(job_ids: Sequence[str]) -> set[str]:
    """Return those of some jobs that were queued."""
    return {status.workflow_id for status in DBOS.list_workflows(workflow_ids=list(job_ids))}


def take_over(identities: Sequence[str]) -> None:
    """Queue again what processes that died were doing."""
    DBOS._recover_pending_workflows(list(identities))

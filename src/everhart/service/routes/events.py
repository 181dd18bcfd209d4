"""``/v1/jobs/{id}/events``: what happens to a job, as it happens (server-sent events)."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from typing import Annotated

from fastapi import APIRouter, Header
from sqlalchemy import select
from sse_starlette import EventSourceResponse, ServerSentEvent

from everhart.service.access import Reader
from everhart.service.problems import may_answer
from everhart.service.progress import ENDED
from everhart.service.routes.jobs import JobId, get
from everhart.service.state import State, StateOf
from everhart.service.tables import Event, Job

__all__ = ["router"]

router = APIRouter(prefix="/v1/jobs", tags=["jobs"])

_LOOK_EVERY_S = 0.2
_PING_S = 15
_AT_ONCE = 500
_DESCRIPTION = "Events queued, running, item, log, and last done, failed or cancelled."


@router.get(
    "/{job_id}/events",
    response_class=EventSourceResponse,
    responses={
        200: {"content": {"text/event-stream": {}}, "description": _DESCRIPTION},
        **may_answer(400, 401, 403, 404, 422, 429, 503),
    },
)
async def stream_events(
    state: StateOf,
    _: Reader,
    job_id: JobId,
    last_event_id: Annotated[
        str | None,
        Header(pattern="^[0-9]{1,18}$", description="Go on after this event."),
    ] = None,
) -> EventSourceResponse:
    """Follow a job; the stream ends with it. A client that was cut off names its last event."""
    await get(state, job_id)
    return EventSourceResponse(_events(state, job_id, int(last_event_id or 0)), ping=_PING_S)


async def _events(state: State, job_id: str, last: int) -> AsyncIterator[ServerSentEvent]:
    while True:
        query = (
            select(Event)
            .where(Event.job_id == job_id, Event.id > last)
            .order_by(Event.id)
            .limit(_AT_ONCE)
        )
        async with state.database.reading() as session:
            found = (await session.scalars(query)).all()
        for event in found:
            last = event.id
            yield ServerSentEvent(json.dumps(event.data), event=event.kind, id=str(event.id))
            if event.kind in ENDED:
                return
        if len(found) == _AT_ONCE:
            continue
        if not found:
            async with state.database.reading() as session:
                now = await session.scalar(select(Job.state).where(Job.id == job_id))
            if now is None or now in ENDED:
                return  # the client has had the last one already, or the job was deleted
        await state.signals.wait(job_id, _LOOK_EVERY_S)

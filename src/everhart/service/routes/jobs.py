"""``/v1/jobs``: make, watch and cancel jobs."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Any, Literal

from fastapi import APIRouter, Header, Path, Query, Response
from pydantic import BaseModel, Field
from sqlalchemy import select, update

from everhart.service.access import Admin, Reader, Runner
from everhart.service.cursors import Cursor, numbered, page
from everhart.service.deletion import delete_job
from everhart.service.problems import ProblemError, may_answer
from everhart.service.requests import JobRequest, create_job
from everhart.service.state import State, StateOf
from everhart.service.tables import Event, Item, Job, now

__all__ = ["JobId", "JobInfo", "JobList", "Key", "get", "make", "router"]

router = APIRouter(prefix="/v1/jobs", tags=["jobs"])

JobId = Annotated[str, Path(pattern="^[0-9a-f]{32}$", examples=["0a" * 16])]
JobState = Literal["queued", "running", "cancelling", "cancelled", "done", "failed"]
Key = Annotated[
    str | None,
    Header(
        min_length=1,
        max_length=200,
        pattern=r"^[\x21-\x7e]+$",
        description="A text of your own: the same one again gives the same job.",
    ),
]


class JobInfo(BaseModel):
    """A job and how far it is."""

    id: str = Field(examples=["0a" * 16])
    operation: str = Field(examples=["denoise"])
    parameters: dict[str, Any]
    roles: dict[str, str]
    pixel_size_nm: float | None
    state: JobState = Field(
        description="A job is failed if all of its items are; else done, with `failed` of them."
    )
    items: int = Field(description="Pieces of work: an image each, or the series.")
    done: int
    failed: int
    error: str | None = Field(description="The last error of an item.")
    created_at: datetime
    started_at: datetime | None
    ended_at: datetime | None

    @classmethod
    def of(cls, job: Job) -> JobInfo:
        """Make it from a record."""
        return cls(**{name: getattr(job, name) for name in cls.model_fields})


class JobList(BaseModel):
    """A page of jobs, the newest first."""

    items: list[JobInfo]
    next: str | None = Field(description="Cursor of the next page; null on the last.")


class ItemInfo(BaseModel):
    """A piece of a job's work."""

    number: int
    images: list[str]
    state: Literal["queued", "running", "done", "failed"]
    error: str | None


class ItemList(BaseModel):
    """A page of the items of a job."""

    items: list[ItemInfo]


class LogLine(BaseModel):
    """A line of a job's log."""

    time: datetime
    item: int | None
    text: str


class Log(BaseModel):
    """The log of a job."""

    lines: list[LogLine]


_ERRORS = may_answer(400, 401, 403, 404, 422, 429, 503)


@router.post("", status_code=202, responses=may_answer(400, 401, 403, 409, 413, 422, 429, 503))
async def create(
    state: StateOf,
    owner: Runner,
    body: JobRequest,
    response: Response,
    idempotency_key: Key = None,
) -> JobInfo:
    """Make a job; it is queued when the answer comes, and survives the server."""
    return await make(state, body, owner, idempotency_key, response)


async def make(
    state: State, request: JobRequest, owner: str, key: str | None, response: Response
) -> JobInfo:
    """Make a job, unless one with the same key is there, and queue it."""
    job, is_new = await create_job(state, request, owner, key)
    if is_new:
        state.engine.submit_soon(job.id)
    response.headers["Location"] = f"/v1/jobs/{job.id}"
    return JobInfo.of(job)


@router.get("", responses=may_answer(400, 401, 403, 422, 429, 503))
async def list_jobs(
    state: StateOf,
    _: Reader,
    limit: Annotated[int, Query(ge=1, le=500)] = 50,
    cursor: Cursor = None,
    job_state: Annotated[JobState | None, Query(alias="state")] = None,
) -> JobList:
    """List jobs, the newest first."""
    query = select(Job)
    if job_state is not None:
        query = query.where(Job.state == job_state)
    found, following = await page(state.database, query, Job, limit, cursor)
    return JobList(items=[JobInfo.of(job) for job in found], next=following)


@router.get("/{job_id}", responses=_ERRORS)
async def get_job(state: StateOf, _: Reader, job_id: JobId) -> JobInfo:
    """Say how far a job is."""
    return JobInfo.of(await get(state, job_id))


@router.get("/{job_id}/items", responses=_ERRORS)
async def list_items(
    state: StateOf,
    _: Reader,
    job_id: JobId,
    start: Annotated[int, Query(ge=0, le=1_000_000, description="First number.")] = 0,
    limit: Annotated[int, Query(ge=1, le=1000)] = 100,
) -> ItemList:
    """List the items of a job, with the errors of those that failed."""
    await get(state, job_id)
    async with state.database.reading() as session:
        found = await numbered(session, Item, job_id, start, limit)
    return ItemList(
        items=[
            ItemInfo(**{name: getattr(item, name) for name in ItemInfo.model_fields})
            for item in found
        ]
    )


@router.get("/{job_id}/log", responses=_ERRORS)
async def get_log(state: StateOf, _: Reader, job_id: JobId) -> Log:
    """Return what was said while a job ran: warnings about files, retries, errors."""
    await get(state, job_id)
    query = select(Event).where(Event.job_id == job_id).order_by(Event.id)
    async with state.database.reading() as session:
        events = (await session.scalars(query)).all()
    lines = []
    for event in events:
        text = event.data.get("text") or event.data.get("error")
        if text is not None:
            lines.append(LogLine(time=event.created_at, item=event.data.get("item"), text=text))
    return Log(lines=lines)


@router.post("/{job_id}/cancel", status_code=202, responses=_ERRORS)
async def cancel(state: StateOf, _: Runner, job_id: JobId) -> JobInfo:
    """Stop a job; results that it has are kept. One that has ended stays as it is."""
    async with state.database.writing() as session:
        queued = update(Job).where(Job.id == job_id, Job.state == "queued")
        stopped = await session.execute(
            queued.values(state="cancelled", ended_at=now()).returning(Job.id)
        )
        if stopped.first() is not None:
            session.add(Event(job_id=job_id, kind="cancelled", data={}))
        running = update(Job).where(Job.id == job_id, Job.state == "running")
        await session.execute(running.values(state="cancelling"))
    return JobInfo.of(await get(state, job_id))


@router.delete("/{job_id}", status_code=204, responses={**_ERRORS, **may_answer(409)})
async def delete(state: StateOf, _: Admin, job_id: JobId) -> None:
    """Delete a job that has ended, with all of its results."""
    await delete_job(state, job_id)


async def get(state: State, job_id: str) -> Job:
    """Return a job, or answer that there is none."""
    job = await state.database.get(Job, job_id)
    if job is None:
        raise ProblemError(404, f"There is no job {job_id}: GET /v1/jobs lists them.")
    return job

"""``/v1/comparisons`` and ``/v1/runs``: images x methods with their figures, as stored rows."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Any

from fastapi import APIRouter, Query, Response
from pydantic import BaseModel, ConfigDict, Field
from sqlalchemy import Select, select

from everhart.service.access import Reader, Runner
from everhart.service.comparisons import OPERATION, runs_table
from everhart.service.cursors import Cursor, page
from everhart.service.problems import ProblemError, may_answer
from everhart.service.requests import JobRequest
from everhart.service.routes.jobs import JobId, JobInfo, JobList, Key, get, make
from everhart.service.state import State, StateOf
from everhart.service.tables import Job, Run

__all__ = ["router"]

router = APIRouter(prefix="/v1", tags=["comparisons"])

_MOST_ROWS = 100_000


class ComparisonRequest(BaseModel):
    """Methods to be compared on images."""

    model_config = ConfigDict(
        extra="forbid",
        json_schema_extra={"examples": [{"images": ["3f" * 32], "methods": ["nlm", "bm3d"]}]},
    )

    images: list[str] = Field(min_length=1, description="Ids of images.")
    methods: list[str] = Field(min_length=1, max_length=100, description="Methods and models.")
    roles: dict[str, str] = Field(
        default={}, description="Ids of the reference or second frame, by role."
    )
    parameters: dict[str, Any] = Field(
        default={}, description="Further parameters of the operation compare."
    )
    pixel_size_nm: float | None = Field(default=None, gt=0, allow_inf_nan=False)


class RunInfo(BaseModel):
    """What one method made of one image."""

    id: int
    comparison: str = Field(description="Id of the comparison, which is a job.")
    result: str = Field(description="Id of the result, which has the report.")
    image: str
    image_name: str
    method: str = Field(examples=["nlm"])
    model_hash: str | None = Field(description="Hash of an uploaded model.")
    figures: dict[str, Any] = Field(description="Figures by name, as the report has them.")
    created_at: datetime

    @classmethod
    def of(cls, run: Run) -> RunInfo:
        """Make it from a record."""
        own = ("id", "image", "image_name", "method", "model_hash", "figures", "created_at")
        plain = {name: getattr(run, name) for name in own}
        return cls(**plain, comparison=run.job_id, result=run.result_id)


class RunList(BaseModel):
    """A page of runs, the newest first."""

    items: list[RunInfo]
    next: str | None = Field(description="Cursor of the next page; null on the last.")


class Comparison(BaseModel):
    """A comparison, and the runs that it has so far, in the order of images and methods."""

    job: JobInfo
    runs: list[RunInfo]


_ERRORS = may_answer(400, 401, 403, 404, 422, 429, 503)
_CSV: dict[int | str, dict[str, Any]] = {200: {"content": {"text/csv": {}}}}


@router.post(
    "/comparisons", status_code=202, responses=may_answer(400, 401, 403, 409, 413, 422, 429, 503)
)
async def compare(
    state: StateOf,
    owner: Runner,
    body: ComparisonRequest,
    response: Response,
    idempotency_key: Key = None,
) -> JobInfo:
    """Compare methods on images: a job of the operation compare, whose runs are kept as rows."""
    request = JobRequest(
        operation=OPERATION,
        parameters={**body.parameters, "methods": body.methods},
        images=body.images,
        roles=body.roles,
        pixel_size_nm=body.pixel_size_nm,
    )
    return await make(state, request, owner, idempotency_key, response)


@router.get("/comparisons", responses=may_answer(400, 401, 403, 422, 429, 503))
async def list_comparisons(
    state: StateOf,
    _: Reader,
    limit: Annotated[int, Query(ge=1, le=500)] = 50,
    cursor: Cursor = None,
) -> JobList:
    """List comparisons, the newest first."""
    query = select(Job).where(Job.operation == OPERATION)
    found, following = await page(state.database, query, Job, limit, cursor)
    return JobList(items=[JobInfo.of(job) for job in found], next=following)


@router.get("/comparisons/{job_id}", responses=_ERRORS)
async def get_comparison(state: StateOf, _: Reader, job_id: JobId) -> Comparison:
    """Return a comparison with its runs."""
    job = await _comparison(state, job_id)
    runs = await _rows(state, select(Run).where(Run.job_id == job_id))
    return Comparison(job=JobInfo.of(job), runs=[RunInfo.of(run) for run in runs])


@router.get(
    "/comparisons/{job_id}/runs.csv", response_class=Response, responses={**_CSV, **_ERRORS}
)
async def get_comparison_table(state: StateOf, _: Reader, job_id: JobId) -> Response:
    """Return the runs of a comparison as a table."""
    await _comparison(state, job_id)
    runs = await _rows(state, select(Run).where(Run.job_id == job_id))
    return Response(runs_table(runs), media_type="text/csv; charset=utf-8")


Image = Annotated[
    str | None, Query(pattern="^[0-9a-f]{64}$", description="Id of an image.", examples=["3f" * 32])
]
Method = Annotated[str | None, Query(max_length=100, examples=["nlm"])]


@router.get("/runs", responses=may_answer(400, 401, 403, 422, 429, 503))
async def list_runs(
    state: StateOf,
    _: Reader,
    limit: Annotated[int, Query(ge=1, le=500)] = 50,
    cursor: Cursor = None,
    image: Image = None,
    method: Method = None,
) -> RunList:
    """List runs of all comparisons, the newest first."""
    found, following = await page(state.database, _filtered(image, method), Run, limit, cursor)
    return RunList(items=[RunInfo.of(run) for run in found], next=following)


@router.get(
    "/runs.csv",
    response_class=Response,
    responses={**_CSV, **may_answer(400, 401, 403, 422, 429, 503)},
)
async def get_runs_table(
    state: StateOf, _: Reader, image: Image = None, method: Method = None
) -> Response:
    """Return runs of all comparisons as a table, the oldest first."""
    runs = await _rows(state, _filtered(image, method))
    return Response(runs_table(runs), media_type="text/csv; charset=utf-8")


def _filtered(image: str | None, method: str | None) -> Select[Any]:
    query: Select[Any] = select(Run)
    if image is not None:
        query = query.where(Run.image == image)
    if method is not None:
        query = query.where(Run.method == method.replace("\0", ""))
    return query


async def _rows(state: State, query: Select[Any]) -> list[Run]:
    async with state.database.reading() as session:
        found = list(await session.scalars(query.order_by(Run.id).limit(_MOST_ROWS + 1)))
    if len(found) > _MOST_ROWS:
        raise ProblemError(
            422, f"There are more than {_MOST_ROWS:,} runs: ask for those of one image or method."
        )
    return found


async def _comparison(state: State, job_id: str) -> Job:
    job = await get(state, job_id)
    if job.operation != OPERATION:
        raise ProblemError(404, f"The job {job_id} is no comparison: it is of {job.operation}.")
    return job

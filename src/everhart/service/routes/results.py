"""Results of jobs: what came of each item, where it is from, and its files."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Annotated, Any

from fastapi import APIRouter, Path, Query, Response
from fastapi.responses import RedirectResponse, StreamingResponse
from pydantic import BaseModel, Field
from sqlalchemy import select

from everhart.service.access import Admin, Reader
from everhart.service.cursors import numbered
from everhart.service.deletion import delete_result
from everhart.service.problems import ProblemError, may_answer
from everhart.service.routes.images import download
from everhart.service.routes.jobs import JobId, get
from everhart.service.state import StateOf
from everhart.service.tables import Result, ResultFile

__all__ = ["router"]

router = APIRouter(prefix="/v1", tags=["results"])

ResultId = Annotated[str, Path(pattern="^[0-9a-f]{32}$", examples=["0b" * 16])]
_SIGNED_FOR = timedelta(minutes=10)


class FileInfo(BaseModel):
    """A file of a result."""

    name: str = Field(examples=["lot7_03.tif"])
    sha256: str
    bytes: int
    media_type: str = Field(examples=["image/tiff"])
    pixels_sha256: str | None = Field(
        description="Of dtype, shape and pixels alone: the file has the time in its history."
    )


class ResultInfo(BaseModel):
    """What came of an item."""

    id: str
    job_id: str
    number: int = Field(description="Number of the item.")
    images: list[str]
    operation: str
    provenance: dict[str, Any] = Field(
        description="Operation, parameters, hashes of images and model, version, seconds."
    )
    summary: dict[str, Any] = Field(description="The numbers, as the command line gives them.")
    files: list[FileInfo]
    created_at: datetime


class ResultList(BaseModel):
    """A page of results, in the order of the items."""

    items: list[ResultInfo]


_ERRORS = may_answer(400, 401, 403, 404, 422, 429, 503)


@router.get("/jobs/{job_id}/results", responses=_ERRORS)
async def list_results(
    state: StateOf,
    _: Reader,
    job_id: JobId,
    start: Annotated[int, Query(ge=0, le=1_000_000, description="First number.")] = 0,
    limit: Annotated[int, Query(ge=1, le=500)] = 100,
) -> ResultList:
    """List the results that a job has so far."""
    await get(state, job_id)
    async with state.database.reading() as session:
        results = await numbered(session, Result, job_id, start, limit)
        wanted = [result.id for result in results]
        files = (
            await session.scalars(
                select(ResultFile)
                .where(ResultFile.result_id.in_(wanted))
                .order_by(ResultFile.result_id, ResultFile.name)
            )
        ).all()
    by_result: dict[str, list[ResultFile]] = {identity: [] for identity in wanted}
    for file in files:
        by_result[file.result_id].append(file)
    return ResultList(items=[_info(result, by_result[result.id]) for result in results])


@router.get("/results/{result_id}", responses=_ERRORS)
async def get_result(state: StateOf, _: Reader, result_id: ResultId) -> ResultInfo:
    """Return a result."""
    async with state.database.reading() as session:
        result = await session.get(Result, result_id)
        query = select(ResultFile).where(ResultFile.result_id == result_id)
        files = (await session.scalars(query.order_by(ResultFile.name))).all()
    if result is None:
        raise ProblemError(404, f"There is no result {result_id}: a job lists its own.")
    return _info(result, list(files))


@router.delete("/results/{result_id}", status_code=204, responses=_ERRORS)
async def delete(state: StateOf, _: Admin, result_id: ResultId) -> None:
    """Delete a result with its files; its item stays done."""
    await delete_result(state, result_id)


@router.get(
    "/results/{result_id}/files/{name}",
    response_class=Response,
    responses={
        200: {"content": {"application/octet-stream": {}}},
        307: {"description": "The file is at another address, for ten minutes."},
        **_ERRORS,
    },
)
async def get_file(
    state: StateOf,
    _: Reader,
    result_id: ResultId,
    name: Annotated[str, Path(max_length=200, examples=["lot7_03.tif"])],
    redirect: Annotated[
        bool, Query(description="Be sent to the S3 store, where there is one.")
    ] = False,
) -> Response:
    """Return a file of a result."""
    file = await state.database.get(ResultFile, (result_id, name.replace("\0", "")))
    if file is None:
        raise ProblemError(404, f"The result {result_id} has no such file: it lists its own.")
    if redirect and (url := state.store.presigned(file.sha256, _SIGNED_FOR)) is not None:
        return RedirectResponse(url, 307)
    answer: StreamingResponse = await download(
        state, file.sha256, file.name, file.bytes, file.media_type
    )
    return answer


def _info(result: Result, files: list[ResultFile]) -> ResultInfo:
    plain = {name: getattr(result, name) for name in ResultInfo.model_fields if name != "files"}
    shown = [FileInfo(**{n: getattr(file, n) for n in FileInfo.model_fields}) for file in files]
    return ResultInfo(**plain, files=shown)

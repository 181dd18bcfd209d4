"""Deletion: of rows only. Objects that nothing names any more are swept (see the store)."""

from __future__ import annotations

from sqlalchemy import Text, cast, delete, or_, select
from sqlalchemy.ext.asyncio import AsyncSession

from everhart.service.problems import ProblemError
from everhart.service.progress import ENDED
from everhart.service.state import State
from everhart.service.tables import Event, Image, Item, Job, Result, ResultFile, Run

__all__ = ["delete_image", "delete_job", "delete_result"]


async def delete_image(state: State, image_id: str) -> None:
    """Delete an image; results of jobs that have ended stay, with its name and hash.

    Raises
    ------
    ProblemError
        If there is no such image, or a job that has not ended uses it.
    """
    async with state.database.writing() as session:
        image = await session.get(Image, image_id, with_for_update=True)
        if image is None:
            raise ProblemError(404, f"There is no image {image_id}: GET /v1/images lists them.")
        # Ids are hashes, so where the text of one is found there is that id. Jobs that have not
        # ended are few, and whoever makes one has locked the rows of its images.
        waiting = (
            select(Job.id)
            .join(Item, Item.job_id == Job.id)
            .where(
                Job.state.not_in(ENDED),
                or_(
                    cast(Item.images, Text).contains(image_id),
                    cast(Job.roles, Text).contains(image_id),
                ),
            )
            .limit(1)
        )
        if (job_id := await session.scalar(waiting)) is not None:
            raise ProblemError(
                409, f"The job {job_id} uses the image: cancel the job, or wait for its end."
            )
        await session.delete(image)


async def delete_result(state: State, result_id: str) -> None:
    """Delete a result with its files, and the figures of a comparison that are from it.

    Raises
    ------
    ProblemError
        If there is no such result.
    """
    async with state.database.writing() as session:
        found = await session.scalar(select(Result.id).where(Result.id == result_id))
        if found is None:
            raise ProblemError(404, f"There is no result {result_id}: a job lists its own.")
        await _delete_results(session, [result_id])


async def delete_job(state: State, job_id: str) -> None:
    """Delete a job that has ended, with its results, items and events.

    Raises
    ------
    ProblemError
        If there is no such job, or it has not ended.
    """
    async with state.database.writing() as session:
        job = await session.get(Job, job_id, with_for_update=True)
        if job is None:
            raise ProblemError(404, f"There is no job {job_id}: GET /v1/jobs lists them.")
        if job.state not in ENDED:
            raise ProblemError(409, f"The job {job_id} is {job.state}: cancel it first.")
        results = await session.scalars(select(Result.id).where(Result.job_id == job_id))
        await _delete_results(session, list(results))
        for table in (Event, Item):
            await session.execute(delete(table).where(table.job_id == job_id))
        await session.delete(job)


async def _delete_results(session: AsyncSession, wanted: list[str]) -> None:
    for start in range(0, len(wanted), 500):
        part = wanted[start : start + 500]
        await session.execute(delete(Run).where(Run.result_id.in_(part)))
        await session.execute(delete(ResultFile).where(ResultFile.result_id.in_(part)))
        await session.execute(delete(Result).where(Result.id.in_(part)))

"""From a request for a job to its rows in the database, once for each idempotency key."""

from __future__ import annotations

import hashlib
import json
import secrets
from typing import Any

from pydantic import BaseModel, ConfigDict, Field
from sqlalchemy import select
from sqlalchemy.exc import IntegrityError
from sqlalchemy.ext.asyncio import AsyncSession

from everhart.errors import unknown_name
from everhart.operations import get_operation
from everhart.operations.base import Parameters
from everhart.service.models import models_of
from everhart.service.problems import ProblemError
from everhart.service.run_operation import SERIES
from everhart.service.state import State
from everhart.service.tables import Event, Image, Item, Job

__all__ = ["JobRequest", "create_job"]

_Sha256 = Field(pattern="^[0-9a-f]{64}$", examples=["3f" * 32])
_AT_ONCE = 500


class JobRequest(BaseModel):
    """An operation to run on images."""

    model_config = ConfigDict(
        extra="forbid",
        json_schema_extra={
            "examples": [
                {"operation": "denoise", "parameters": {"method": "nlm"}, "images": ["3f" * 32]}
            ]
        },
    )

    operation: str = Field(max_length=60, description="Name, as GET /v1/operations lists it.")
    parameters: dict[str, Any] = Field(default={}, description="Parameters of the operation.")
    images: list[str] = Field(min_length=1, description="Ids of images.", examples=[["3f" * 32]])
    roles: dict[str, str] = Field(
        default={}, description="Ids of further images, such as the reference, by role."
    )
    pixel_size_nm: float | None = Field(
        default=None,
        gt=0,
        allow_inf_nan=False,
        description="Pixel size in nm, in place of what the files say.",
    )


async def create_job(
    state: State, request: JobRequest, owner: str, key: str | None
) -> tuple[Job, bool]:
    """Make a job, unless one with the same key is there.

    Parameters
    ----------
    state
        What the routes share.
    request
        What to run.
    owner
        Id of the token; keys of one owner do not meet those of another.
    key
        The idempotency key, or None.

    Returns
    -------
    Job, bool
        The job, and whether it is new.

    Raises
    ------
    UsageError
        If operation or parameters are not allowed.
    ProblemError
        If an image is not there, or the key was used for another request.
    """
    parameters = _checked(request, state.settings.max_images_per_job)
    plain: dict[str, Any] = parameters.model_dump(mode="json")
    canonical = json.dumps(request.model_dump(mode="json"), sort_keys=True)
    digest = hashlib.sha256(canonical.encode()).hexdigest()
    if key is not None and (known := await _with_key(state, owner, key, digest)) is not None:
        return known, False
    groups = [request.images] if request.operation in SERIES else [[i] for i in request.images]
    job = Job(
        id=secrets.token_hex(16),
        operation=request.operation,
        parameters=plain,
        roles=request.roles,
        pixel_size_nm=request.pixel_size_nm,
        items=len(groups),
        owner=owner,
        idempotency_key=key,
        request_sha256=digest,
    )
    try:
        async with state.database.writing() as session:
            job.models = await models_of(session, parameters)
            await _check_images(session, {*request.images, *request.roles.values()})
            session.add(job)
            await session.flush()
            session.add_all(
                Item(job_id=job.id, number=number, images=images)
                for number, images in enumerate(groups)
            )
            session.add(Event(job_id=job.id, kind="queued", data={"items": len(groups)}))
    except IntegrityError:  # the same key came at the same time
        if key is None or (known := await _with_key(state, owner, key, digest)) is None:
            raise
        return known, False
    return job, True


def _checked(request: JobRequest, most: int) -> Parameters:
    operation = get_operation(request.operation)
    checked: Parameters = operation.check(request.parameters)
    for role in request.roles:
        if role not in operation.roles:
            raise unknown_name(f"role of {operation.name}", role, operation.roles)
    if len(request.images) > most:
        raise ProblemError(
            422,
            f"body.images: {len(request.images)} were given, {most} are allowed; make two jobs, "
            "or let who runs the service raise max_images_per_job.",
        )
    return checked


async def _check_images(session: AsyncSession, wanted: set[str]) -> None:
    """See that all images are there, and let none be deleted before this commit."""
    for identity in wanted:
        if len(identity) != 64:
            raise ProblemError(422, f"body.images: {identity[:80]!r} is no id of an image.")
    ids = sorted(wanted)
    found: set[str] = set()
    for start in range(0, len(ids), _AT_ONCE):
        part = select(Image.id).where(Image.id.in_(ids[start : start + _AT_ONCE]))
        found |= set(await session.scalars(part.with_for_update(read=True)))
    if missing := sorted(wanted - found):
        raise ProblemError(422, f"There is no image {missing[0]}: upload it first.")


async def _with_key(state: State, owner: str, key: str, digest: str) -> Job | None:
    query = select(Job).where(Job.owner == owner, Job.idempotency_key == key)
    async with state.database.reading() as session:
        job = (await session.scalars(query)).first()
    if job is not None and job.request_sha256 != digest:
        raise ProblemError(
            409, "The Idempotency-Key was used for another request: take a new key for a new job."
        )
    return job

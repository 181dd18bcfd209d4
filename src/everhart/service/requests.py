"""From a request for a job to its rows in the database, once for each idempotency key."""

from __future__ import annotations

import hashlib
import json
import secrets
from typing import Any

from pydantic import BaseModel, ConfigDict, Field
from sqlalchemy import select
from sqlalchemy.exc import IntegrityError

from everhart.errors import unknown_name
from everhart.operations import get_operation
from everhart.operations.base import Parameters
from everhart.restore.models import model_paths
from everhart.restore.names import CLASSICAL
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
    canonical = json.dumps(request.model_dump(mode="json"), sort_keys=True)
    digest = hashlib.sha256(canonical.encode()).hexdigest()
    if key is not None and (known := await _with_key(state, owner, key, digest)) is not None:
        return known, False
    await _check_images(state, {*request.images, *request.roles.values()})
    groups = [request.images] if request.operation in SERIES else [[i] for i in request.images]
    job = Job(
        id=secrets.token_hex(16),
        operation=request.operation,
        parameters=parameters,
        roles=request.roles,
        pixel_size_nm=request.pixel_size_nm,
        items=len(groups),
        owner=owner,
        idempotency_key=key,
        request_sha256=digest,
    )
    try:
        async with state.database.writing() as session:
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


def _checked(request: JobRequest, most: int) -> dict[str, Any]:
    operation = get_operation(request.operation)
    checked = operation.check(request.parameters)
    _check_models(checked)
    for role in request.roles:
        if role not in operation.roles:
            raise unknown_name(f"role of {operation.name}", role, operation.roles)
    if len(request.images) > most:
        raise ProblemError(
            422,
            f"body.images: {len(request.images)} were given, {most} are allowed; make two jobs.",
        )
    plain: dict[str, Any] = checked.model_dump(mode="json")
    return plain


def _check_models(parameters: Parameters) -> None:
    """Let through names of methods and models only: a path would be one of the server's files."""
    known = [*CLASSICAL, *model_paths()]
    for field in ("method", "model", "methods"):
        value = getattr(parameters, field, None)
        names = [value] if isinstance(value, str) else (value or ())
        if parameters.__class__.__name__ == "AlignParameters":
            continue  # its method is none of a denoiser, and is checked already
        for name in names:
            if name not in known:
                raise unknown_name(field.removesuffix("s"), name, known)


async def _check_images(state: State, wanted: set[str]) -> None:
    for identity in wanted:
        if len(identity) != 64:
            raise ProblemError(422, f"body.images: {identity[:80]!r} is no id of an image.")
    ids = sorted(wanted)
    found: set[str] = set()
    async with state.database.reading() as session:
        for start in range(0, len(ids), _AT_ONCE):
            part = ids[start : start + _AT_ONCE]
            found |= set(await session.scalars(select(Image.id).where(Image.id.in_(part))))
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

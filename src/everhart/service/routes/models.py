"""``/v1/models``: the models at hand, with their cards; upload and deletion of one's own."""

from __future__ import annotations

import asyncio
from typing import Annotated, Any

from fastapi import APIRouter, Path, Query, Request, Response
from pydantic import BaseModel, Field
from sqlalchemy import select
from starlette.requests import ClientDisconnect

from everhart.service.access import Admin, Reader
from everhart.service.models import delete_model, receive_model
from everhart.service.problems import ProblemError, may_answer
from everhart.service.state import StateOf
from everhart.service.tables import Model

__all__ = ["router"]

router = APIRouter(prefix="/v1/models", tags=["models"])


class ModelInfo(BaseModel):
    """A model that jobs can name."""

    name: str = Field(examples=["sem-general"])
    sha256: str = Field(description="Hash of its file, as provenance of results has it.")
    uploaded: bool = Field(description="Whether it was uploaded; others came with the server.")
    header: dict[str, Any] = Field(description="Kind, architecture and card.")


class ModelList(BaseModel):
    """All models."""

    items: list[ModelInfo]


_BODY = {
    "requestBody": {
        "required": True,
        "content": {
            "application/octet-stream": {"schema": {"type": "string", "format": "binary"}},
        },
    }
}


@router.get("", responses=may_answer(400, 401, 403, 429, 503))
async def list_models(state: StateOf, _: Reader) -> ModelList:
    """List the models at hand: those that ship, those of EVERHART_MODELS, and uploaded ones."""
    found = await asyncio.to_thread(state.readers.run, {"task": "models"})
    items = [ModelInfo(**model, uploaded=False) for model in found["models"]]
    async with state.database.reading() as session:
        uploaded = await session.scalars(select(Model).order_by(Model.name))
    items += [_info(model) for model in uploaded]
    return ModelList(items=items)


@router.post(
    "",
    status_code=201,
    openapi_extra=_BODY,
    responses={
        200: {"model": ModelInfo, "description": "It is there already."},
        **may_answer(400, 401, 403, 409, 413, 422, 429, 503, 507),
    },
)
async def upload_model(
    request: Request,
    response: Response,
    state: StateOf,
    _: Admin,
    name: Annotated[
        str,
        Query(
            min_length=1,
            max_length=80,
            description="Under which jobs ask for it: small letters, digits, dots, hyphens.",
            examples=["fab-7"],
        ),
    ],
) -> ModelInfo:
    """Upload a model that `everhart train` made; the body is the .safetensors file itself.

    It is for admins: what a name stands for, it stands for in everybody's jobs.
    """
    try:
        model, is_new = await receive_model(state, name, request.stream())
    except ClientDisconnect as error:
        raise ProblemError(400, "The upload ended before its end.") from error
    if not is_new:
        response.status_code = 200
    return _info(model)


@router.delete(
    "/{name}", status_code=204, responses=may_answer(400, 401, 403, 404, 409, 422, 429, 503)
)
async def delete(
    state: StateOf, _: Admin, name: Annotated[str, Path(max_length=80, examples=["fab-7"])]
) -> None:
    """Delete a model that was uploaded; refused while a job that has not ended uses it."""
    await delete_model(state, name.replace("\0", ""))


def _info(model: Model) -> ModelInfo:
    return ModelInfo(name=model.name, sha256=model.sha256, uploaded=True, header=model.header)

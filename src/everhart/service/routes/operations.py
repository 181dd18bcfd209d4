"""``/v1/operations``: what can be run, each with the schema of its parameters."""

from __future__ import annotations

from typing import Any

from fastapi import APIRouter
from pydantic import BaseModel, Field

from everhart.operations import OPERATIONS
from everhart.service.access import Reader
from everhart.service.problems import may_answer
from everhart.service.run_operation import SERIES

__all__ = ["router"]

router = APIRouter(prefix="/v1/operations", tags=["operations"])


class OperationInfo(BaseModel):
    """An operation that jobs can run."""

    name: str = Field(examples=["denoise"])
    summary: str = Field(examples=["Take the noise out of an image."])
    roles: list[str] = Field(description="Further images that it can take.")
    series: bool = Field(description="Whether it takes all images of a job at once.")
    parameters: dict[str, Any] = Field(description="JSON schema of its parameters.")


class OperationList(BaseModel):
    """All operations."""

    items: list[OperationInfo]


@router.get("", responses=may_answer(400, 401, 403, 429, 503))
async def list_operations(_: Reader) -> OperationList:
    """List what can be run; the command line takes the same parameters."""
    return OperationList(
        items=[
            OperationInfo(
                name=operation.name,
                summary=operation.summary,
                roles=list(operation.roles),
                series=operation.name in SERIES,
                parameters=operation.parameters.model_json_schema(),
            )
            for operation in OPERATIONS.values()
        ]
    )

"""``/v1/models``: the models at hand, with their cards."""

from __future__ import annotations

import asyncio
from typing import Any

from fastapi import APIRouter
from pydantic import BaseModel, Field

from everhart.service.access import Reader
from everhart.service.problems import may_answer
from everhart.service.state import StateOf

__all__ = ["router"]

router = APIRouter(prefix="/v1/models", tags=["models"])


class ModelInfo(BaseModel):
    """A model that jobs can name."""

    name: str = Field(examples=["sem-general"])
    sha256: str = Field(description="Hash of its file, as provenance of results has it.")
    header: dict[str, Any] = Field(description="Kind, architecture and card.")


class ModelList(BaseModel):
    """All models."""

    items: list[ModelInfo]


@router.get("", responses=may_answer(400, 401, 403, 429, 503))
async def list_models(state: StateOf, _: Reader) -> ModelList:
    """List the models at hand: those that ship, and those in the folders of EVERHART_MODELS."""
    found = await asyncio.to_thread(state.readers.run, {"task": "models"})
    return ModelList(items=[ModelInfo(**model) for model in found["models"]])

"""``/health`` and ``/ready``, for those who watch over the service."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from typing import Any, Literal

from fastapi import APIRouter, Response
from pydantic import BaseModel, Field

from everhart.micrograph import __version__
from everhart.service.problems import may_answer
from everhart.service.state import StateOf

__all__ = ["router"]

router = APIRouter(tags=["health"])

_PATIENCE_S = 3.0


class Health(BaseModel):
    """That the server runs."""

    status: Literal["ok"] = "ok"
    version: str = Field(examples=["0.1.0"])


class Readiness(BaseModel):
    """Whether all that the server needs answers."""

    ready: bool
    database: bool
    store: bool
    jobs: bool = Field(description="Whether the engine of jobs has started.")


@router.get("/health", responses=may_answer(400))
async def health() -> Health:
    """Say that the server runs; nothing else is looked at."""
    return Health(version=__version__)


@router.get("/ready", responses={503: {"model": Readiness}, **may_answer(400)})
async def ready(state: StateOf, response: Response) -> Readiness:
    """Say whether database and object store answer; 503 where one does not."""
    database, store = await asyncio.gather(
        _answers(state.database.check()), _answers(asyncio.to_thread(state.store.check))
    )
    jobs = state.engine.is_ready.is_set()
    ready = database and store and jobs
    found = Readiness(ready=ready, database=database, store=store, jobs=jobs)
    if not found.ready:
        response.status_code = 503
    return found


async def _answers(question: Coroutine[Any, Any, None]) -> bool:
    asked = asyncio.create_task(question)
    # To cancel it takes as long as the database takes to answer that, so it is not waited for.
    done, _ = await asyncio.wait({asked}, timeout=_PATIENCE_S)
    if not done:
        asked.cancel()
        return False
    return asked.exception() is None  # whatever else it is, it is no answer

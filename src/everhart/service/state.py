"""What the routes share: settings, database, store, readers."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, cast

from fastapi import Depends, Request

from everhart.service.compute import ComputePool
from everhart.service.database import AsyncDatabase
from everhart.service.settings import Settings
from everhart.service.signals import Signals
from everhart.service.store import ObjectStore

if TYPE_CHECKING:
    from everhart.service.access import WrongTokens
    from everhart.service.engine import JobEngine
    from everhart.service.metrics import Metrics

__all__ = ["State", "StateOf"]


@dataclass(frozen=True)
class State:
    """What lives as long as the server.

    Parameters
    ----------
    settings, database, store
        What their names say.
    engine
        Queues jobs, and does them.
    readers
        Processes that decode uploads and draw previews.
    wrong_tokens
        How many wrong tokens came from where.
    metrics
        What is counted.
    scratch
        Folder of temporary files.
    signals
        Wakes those who follow a job.
    """

    settings: Settings
    database: AsyncDatabase
    store: ObjectStore
    engine: JobEngine
    readers: ComputePool
    wrong_tokens: WrongTokens
    metrics: Metrics
    scratch: Path
    signals: Signals


async def _state(request: Request) -> State:
    # A function that is not async is called in another thread, which costs a millisecond.
    return cast(State, request.app.state.everhart)


StateOf = Annotated[State, Depends(_state)]
"""Type of a route's parameter that is given the state."""

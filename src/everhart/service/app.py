"""The application: settings in, ASGI out."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from typing import Any

from fastapi import FastAPI

from everhart.micrograph import __version__
from everhart.service.access import WrongTokens
from everhart.service.compute import ComputePool
from everhart.service.database import AsyncDatabase
from everhart.service.engine import make_engine
from everhart.service.guard import Guard
from everhart.service.metrics import Metrics
from everhart.service.problems import Problem, add_handlers
from everhart.service.routes import (
    comparisons,
    events,
    health,
    images,
    jobs,
    models,
    operations,
    results,
    tiles,
)
from everhart.service.routes import metrics as metrics_route
from everhart.service.scratch import make_scratch
from everhart.service.settings import Settings
from everhart.service.signals import Signals
from everhart.service.state import State
from everhart.service.store import open_store
from everhart.service.watching import watch

__all__ = ["make_app"]

_CLOSE_S = 3.0


def make_app(settings: Settings) -> FastAPI:
    """Make the application.

    The database must be at its latest revision; :func:`everhart.service.database.migrate` brings
    it there.

    Parameters
    ----------
    settings
        The settings.

    Returns
    -------
    FastAPI
        The application, to be run by an ASGI server.
    """
    metrics = Metrics()

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        database = AsyncDatabase(settings)
        scratch, store = make_scratch(settings), open_store(settings)
        engine = make_engine(settings, store, scratch)
        signals = Signals()
        if engine.runner is not None:
            engine.runner.on_progress = signals.notify
        readers = ComputePool(
            settings.readers,
            memory_mb=settings.read_memory_mb,
            seconds=settings.read_seconds,
            scratch=scratch,
            raised_by=("read_memory_mb", "read_seconds"),
        )
        app.state.everhart = State(
            settings,
            database,
            store,
            engine,
            readers,
            WrongTokens(settings.wrong_tokens_per_minute),
            metrics,
            scratch,
            signals,
        )
        engine.start()
        # The first upload finds a reader that has started.
        threading.Thread(target=readers.warm, daemon=True).start()
        watching = [
            asyncio.create_task(watch(app.state.everhart, folder)) for folder in settings.watch
        ]
        try:
            yield
        finally:
            for task in watching:
                task.cancel()
            await asyncio.to_thread(engine.stop)
            readers.close()
            with suppress(TimeoutError):
                await asyncio.wait_for(database.close(), _CLOSE_S)

    app = FastAPI(
        title="Everhart",
        summary="Restore, measure and compare electron micrographs.",
        version=__version__,
        lifespan=lifespan,
        # The pages that FastAPI can show are loaded from another host.
        docs_url=None,
        redoc_url=None,
    )
    app.add_middleware(Guard, settings=settings, count=metrics.count)
    add_handlers(app)
    modules = (
        health,
        images,
        tiles,
        operations,
        jobs,
        events,
        results,
        comparisons,
        models,
        metrics_route,
    )
    for module in modules:
        app.include_router(module.router)
    _document(app)
    return app


def _document(app: FastAPI) -> None:
    """Give all errors one schema in the OpenAPI document."""
    plain = app.openapi

    def openapi() -> dict[str, Any]:
        if app.openapi_schema is None:
            schema = plain()
            schemas = schema.setdefault("components", {}).setdefault("schemas", {})
            schemas["Problem"] = Problem.model_json_schema()
            for name in ("HTTPValidationError", "ValidationError"):
                schemas.pop(name, None)
        assert app.openapi_schema is not None
        return app.openapi_schema

    app.openapi = openapi  # type: ignore[method-assign]

"""``/metrics``: counts for Prometheus."""

from __future__ import annotations

from datetime import timedelta

from fastapi import APIRouter, Response
from prometheus_client import CONTENT_TYPE_LATEST, CollectorRegistry, Gauge, generate_latest
from sqlalchemy import func, select

from everhart.service.access import Reader
from everhart.service.problems import may_answer
from everhart.service.state import StateOf
from everhart.service.tables import Image, Job, Worker, now

__all__ = ["router"]

router = APIRouter(tags=["health"])

_STATES = ("queued", "running", "cancelling", "cancelled", "done", "failed")
_ALIVE = timedelta(seconds=12)


@router.get(
    "/metrics",
    response_class=Response,
    responses={200: {"content": {"text/plain": {}}}, **may_answer(400, 401, 403, 429, 503)},
)
async def metrics(state: StateOf, _: Reader) -> Response:
    """Return counts of requests, images, jobs and workers."""
    async with state.database.reading() as session:
        by_state = await session.execute(select(Job.state, func.count()).group_by(Job.state))
        jobs = {row[0]: row[1] for row in by_state}
        images = await session.scalar(select(func.count(Image.id)))
        alive = select(func.count(Worker.id)).where(Worker.seen_at > now() - _ALIVE)
        workers = await session.scalar(alive)
    registry = CollectorRegistry()
    gauge = Gauge("everhart_jobs", "Jobs by state.", ["state"], registry=registry)
    for name in _STATES:
        gauge.labels(name).set(jobs.get(name, 0))
    Gauge("everhart_images", "Images.", registry=registry).set(images or 0)
    Gauge("everhart_workers", "Processes that live.", registry=registry).set(workers or 0)
    text = generate_latest(registry) + generate_latest(state.metrics.registry)
    return Response(text, media_type=CONTENT_TYPE_LATEST)

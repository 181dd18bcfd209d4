"""Word from the threads that do jobs to the requests that follow them, within one process."""

from __future__ import annotations

import asyncio
from contextlib import suppress

__all__ = ["Signals"]


class Signals:
    """Wakes those who wait for a job.

    Jobs that other processes do give no signal, so who waits looks again after a while.
    """

    def __init__(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._waiting: dict[str, set[asyncio.Event]] = {}

    def notify(self, job_id: str) -> None:
        """Say, from any thread, that something happened to a job."""
        with suppress(RuntimeError):  # the server has stopped
            self._loop.call_soon_threadsafe(self._wake, job_id)

    async def wait(self, job_id: str, seconds: float) -> None:
        """Wait until something happens to a job, or for a while."""
        event = asyncio.Event()
        waiting = self._waiting.setdefault(job_id, set())
        waiting.add(event)
        try:
            with suppress(TimeoutError):
                await asyncio.wait_for(event.wait(), seconds)
        finally:
            waiting.discard(event)
            if not waiting:
                self._waiting.pop(job_id, None)

    def _wake(self, job_id: str) -> None:
        for event in self._waiting.get(job_id, ()):
            event.set()

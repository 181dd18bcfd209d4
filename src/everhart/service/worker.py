"""A process that does jobs and serves nothing."""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Callable

from everhart.errors import UsageError
from everhart.service.database import migrate
from everhart.service.engine import make_engine
from everhart.service.logs import set_up_logs
from everhart.service.scratch import make_scratch
from everhart.service.settings import Settings
from everhart.service.store import open_store

__all__ = ["work"]


def work(settings: Settings, on_ready: Callable[[], None]) -> None:
    """Do jobs until told to stop.

    Parameters
    ----------
    settings
        The settings, which name the database and the store of the service.
    on_ready
        Called once jobs are taken.

    Raises
    ------
    UsageError
        If the settings allow no processes.
    EverhartError
        If the database cannot be used.
    """
    if settings.workers < 1:
        raise UsageError("workers=0 was given: a worker needs one process at least.")
    set_up_logs()
    migrate(settings)
    engine = make_engine(settings, open_store(settings), make_scratch(settings))
    stopped = threading.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda *_: stopped.set())
    engine.start()
    while not engine.is_ready.wait(0.2) and not stopped.is_set():
        pass
    if not stopped.is_set():
        on_ready()
    # Windows lets no signal through to a wait without an end.
    while not stopped.wait(1.0):
        pass
    engine.stop()
    # What it was doing is taken over, or gone on with; nothing waits for its threads.
    os._exit(0)

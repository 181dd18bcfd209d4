"""Garbage of Python, collected in the thread of the window alone."""

from __future__ import annotations

import gc
from collections.abc import Iterator
from contextlib import contextmanager

from pyqtgraph.util.garbage_collector import GarbageCollector
from PySide6.QtCore import QCoreApplication, QEvent

__all__ = ["collected_here"]


@contextmanager
def collected_here(interval_s: float = 1.0) -> Iterator[None]:
    """Collect garbage in this thread, of the event loop, and in no other.

    Python collects in whatever thread happens to need memory. Menus and other objects of Qt that
    only refer to each other were then destroyed in a thread that reads a file, while this one was
    in Qt as well: each waited for the other, or the program crashed.

    Parameters
    ----------
    interval_s
        Time between two looks at how much there is.
    """
    was_enabled = gc.isenabled()
    collector = GarbageCollector(interval_s)
    try:
        yield
    finally:
        collector.timer.stop()
        QCoreApplication.sendPostedEvents(None, QEvent.Type.DeferredDelete.value)
        gc.collect()
        if was_enabled:
            gc.enable()

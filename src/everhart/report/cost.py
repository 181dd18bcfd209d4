"""What a method costs: wall time, CPU time and memory, measured while it runs."""

from __future__ import annotations

import gc
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from types import TracebackType
from typing import Final, Self, TypeVar

__all__ = ["HOW_MEASURED", "Cost", "measure"]

T = TypeVar("T")

_INTERVAL_S: Final = 0.005

HOW_MEASURED: Final = (
    "Time and CPU time (all threads) are those of one call on the whole image, after a call on a "
    "small part of it that loads libraries and models. Memory is the largest growth of the "
    "process's resident memory during the call, sampled every 5 ms: memory that an earlier "
    "method left to the process and that is used again does not show, and neither does a "
    "model that is loaded already."
)
"""How the figures of :class:`Cost` come about, for the reader of a report."""


@dataclass(frozen=True)
class Cost:
    """What one call cost.

    Parameters
    ----------
    seconds
        Wall-clock time.
    cpu_seconds
        CPU time of all threads of the process.
    peak_memory_mb
        Largest growth of resident memory during the call, in 10**6 bytes.
    """

    seconds: float
    cpu_seconds: float
    peak_memory_mb: float


class _MemoryWatch:
    """Sample the resident memory of this process from a thread."""

    def __init__(self) -> None:
        import psutil

        self._process = psutil.Process()
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._watch, daemon=True)
        self.peak_bytes = self.start_bytes = self._resident()

    def _resident(self) -> int:
        return int(self._process.memory_info().rss)

    def _watch(self) -> None:
        while not self._stop.wait(_INTERVAL_S):
            self.peak_bytes = max(self.peak_bytes, self._resident())

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._stop.set()
        self._thread.join()
        self.peak_bytes = max(self.peak_bytes, self._resident())


def measure(work: Callable[[], T]) -> tuple[T, Cost]:
    """Do some work and measure what it costs.

    Parameters
    ----------
    work
        Function of no arguments.

    Returns
    -------
    result
        What `work` returned.
    cost : Cost
        What it cost; see :data:`HOW_MEASURED`.

    Examples
    --------
    >>> result, cost = measure(lambda: sum(range(1000)))
    >>> result, cost.seconds >= 0
    (499500, True)
    """
    gc.collect()
    with _MemoryWatch() as memory:
        started, cpu_started = time.perf_counter(), time.process_time()
        result = work()
        seconds = time.perf_counter() - started
        cpu_seconds = time.process_time() - cpu_started
    grown = (memory.peak_bytes - memory.start_bytes) / 1e6
    return result, Cost(seconds, cpu_seconds, grown)

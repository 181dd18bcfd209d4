"""Work in threads, whose outcome comes back to the thread of the window."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any, TypeVar

from PySide6.QtCore import QObject, Qt, Signal

from everhart.errors import EverhartError

__all__ = ["Background", "sentence"]

_T = TypeVar("_T")


def sentence(error: BaseException) -> str:
    """Return what is said of an error: one sentence."""
    if isinstance(error, EverhartError):
        return " ".join(str(error).split())
    if isinstance(error, OSError) and error.strerror:
        where = f" ({error.filename})" if error.filename else ""
        return f"The system reports {error.strerror!r}{where}: check the file, folder and disk."
    said = (str(error).strip().splitlines() or [""])[0]
    return f"Unexpected {type(error).__name__}: {said} - this is a fault of Everhart; report it."


class Background(QObject):
    """Threads that work for the window.

    Parameters
    ----------
    threads
        How many.
    parent
        Owner.
    """

    _came = Signal(object)

    def __init__(self, threads: int, parent: QObject | None = None) -> None:
        super().__init__(parent)
        self._threads = ThreadPoolExecutor(threads, thread_name_prefix="everhart")
        self._closed = False
        self._came.connect(self._call, Qt.ConnectionType.QueuedConnection)

    def submit(
        self,
        work: Callable[[], _T],
        done: Callable[[_T], None],
        failed: Callable[[str], None],
    ) -> None:
        """Let a thread do `work`; `done` or `failed` is called in the thread of the window.

        Parameters
        ----------
        work
            What is done; it touches no widget.
        done
            Takes what `work` returned.
        failed
            Takes the sentence of what it raised.
        """
        if self._closed:
            return

        def ended(future: Future[_T]) -> None:
            if future.cancelled():
                return
            error = future.exception()
            if error is not None:
                said = sentence(error)
                self.post(lambda: failed(said))
            else:
                found = future.result()
                self.post(lambda: done(found))

        self._threads.submit(work).add_done_callback(ended)

    def post(self, call: Callable[[], None]) -> None:
        """Call something in the thread of the window; safe from any thread."""
        if not self._closed:
            self._came.emit(call)

    def close(self, *, finish: bool = False) -> None:
        """Take no more work, and forget what comes of work under way.

        Parameters
        ----------
        finish
            Whether what waits is still done, before the program ends.
        """
        self._closed = True
        self._threads.shutdown(wait=False, cancel_futures=not finish)

    def _call(self, call: Callable[[], Any]) -> None:
        if not self._closed:
            call()

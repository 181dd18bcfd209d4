"""Jobs on a service that somebody signs out of, and jobs that are cancelled; no server."""

from __future__ import annotations

import threading
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from everhart.desktop.backend import Request
from everhart.desktop.remote import ServiceBackend
from everhart.service.compute import CancelledError

REQUEST = Request("denoise", {}, ())


@pytest.fixture
def cancelled(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """What the service was told to cancel; its jobs run for ever."""
    told: list[str] = []

    class Client:
        def __init__(self, *_: Any, **__: Any) -> None:
            self.is_closed = False

        def __enter__(self) -> Client:
            return self

        def __exit__(self, *_: object) -> None:
            self.close()

        def close(self) -> None:
            self.is_closed = True

        def _asked(self) -> None:
            if self.is_closed:  # as httpx says it
                raise RuntimeError("Cannot send a request, as the client has been closed.")

        def submit(self, *_: Any, **__: Any) -> Any:
            self._asked()
            return SimpleNamespace(id="7")

        def job(self, _: str) -> Any:
            self._asked()
            return SimpleNamespace(done=0, has_ended=False, state="running")

        def cancel(self, job: str) -> None:
            self._asked()
            told.append(job)

    monkeypatch.setattr("everhart.desktop.remote.Client", Client)
    return told


def _run(folder: Path, end: Callable[[ServiceBackend, threading.Event], None]) -> BaseException:
    """Run until `end`, in another thread; return what was raised."""
    backend = ServiceBackend("http://127.0.0.1:1")
    stop = threading.Event()

    def hear(word: str) -> None:
        if word == "runs there":
            threading.Thread(target=end, args=(backend, stop)).start()

    with pytest.raises(Exception, match=r".*") as raised:
        backend.run(REQUEST, folder, lambda _: None, hear, stop.is_set)
    return raised.value


def test_a_job_goes_on_there_after_signing_out(cancelled: list[str], tmp_path: Path):
    error = _run(tmp_path, lambda backend, _: backend.close())
    assert isinstance(error, CancelledError)
    assert cancelled == []


def test_a_job_is_cancelled_there_also_when_the_window_is_closed(
    cancelled: list[str], tmp_path: Path
):
    def close(backend: ServiceBackend, stop: threading.Event) -> None:
        stop.set()
        backend.close()

    assert isinstance(_run(tmp_path, close), CancelledError)
    assert cancelled == ["7"]

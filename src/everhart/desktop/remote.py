"""Operations on a service: images go there, results come back; it may be away in between."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from itertools import islice
from pathlib import Path
from typing import Any, TypeVar

from everhart.client import Client, Job, Result, ServiceError
from everhart.desktop.backend import OperationInfo, Outcome, Request
from everhart.errors import UsageError
from everhart.service.compute import CancelledError
from everhart.service.names import file_name

__all__ = ["ServiceBackend"]

_LOOK_EVERY_S = 0.5
_PATIENCE_S = 3600.0
_TIMEOUT_S = 30.0
_HEALTH_TIMEOUT_S = 2.0
_MOST_IMAGES = 200
_T = TypeVar("_T")


class ServiceBackend:
    """A service that somebody is signed in to.

    Parameters
    ----------
    url
        Where it is.
    token
        The token; it is kept in memory only, and told to nobody but the service.
    """

    def __init__(self, url: str, token: str | None = None) -> None:
        self.url = url.rstrip("/")
        self._token = token or ""
        self._client = Client(self.url, self._token, timeout_s=_TIMEOUT_S)
        self._asking = Client(self.url, self._token, timeout_s=_HEALTH_TIMEOUT_S)
        self._sent: dict[tuple[Path, int, int], str] = {}
        self._closed = threading.Event()

    def __repr__(self) -> str:
        return f"<ServiceBackend {self.url}>"

    @property
    def title(self) -> str:
        """Its address."""
        return self.url

    @property
    def is_ready(self) -> bool:
        """Whether it answers, within two seconds."""
        return self._asking.is_ready()

    def operations(self) -> list[OperationInfo]:
        """Return what can be run there.

        Raises
        ------
        ServiceError
            If it does not answer, or does not know the token.
        """
        return [
            OperationInfo(
                found.name, found.summary, tuple(found.roles), found.series, found.parameters
            )
            for found in self._client.operations()
        ]

    def run(
        self,
        request: Request,
        folder: Path,
        on_outcome: Callable[[Outcome], None],
        on_word: Callable[[str], None],
        is_cancelled: Callable[[], bool],
    ) -> None:
        """Run an operation; see :class:`everhart.desktop.backend.Backend`."""

        def patiently(work: Callable[[], _T]) -> _T:
            return self._patiently(work, on_word, is_cancelled)

        ids = [patiently(lambda path=path: self._send(path, on_word)) for path in request.images]  # type: ignore[misc]
        roles = {
            role: patiently(lambda path=path: self._send(path, on_word))  # type: ignore[misc]
            for role, path in request.roles.items()
        }
        # Sent twice, as after a lost answer, it makes one job.
        key = f"desktop-{folder.name}"
        job = patiently(
            lambda: self._client.submit(
                request.operation,
                ids,
                roles=roles,
                pixel_size_nm=request.pixel_size_nm,
                key=key,
                **request.parameters,
            )
        )
        try:
            self._follow(job, request, ids, folder, on_outcome, on_word, patiently)
        except CancelledError:
            if is_cancelled():  # and not only signed out: then it goes on there
                self._cancel(job.id)
            raise

    def _follow(
        self,
        job: Job,
        request: Request,
        ids: Sequence[str],
        folder: Path,
        on_outcome: Callable[[Outcome], None],
        on_word: Callable[[str], None],
        patiently: Callable[[Callable[[], Any]], Any],
    ) -> None:
        """Take what comes of a job until it has ended."""
        seen: set[str] = set()
        while True:
            now = patiently(lambda: self._client.job(job.id))
            if now.done > len(seen):
                for result in patiently(lambda: list(self._client.results(job.id))):
                    if result.id not in seen:
                        seen.add(result.id)
                        outcome = patiently(lambda r=result: self._fetch(r, request, ids, folder))  # type: ignore[misc]
                        on_outcome(outcome)
            if now.has_ended:
                self._tell_failures(now, request, ids, folder, patiently, on_outcome)
                return
            on_word("waits for its turn" if now.state == "queued" else "runs there")
            self._closed.wait(_LOOK_EVERY_S)

    def _cancel(self, job: str) -> None:
        """Stop a job there, by a connection of its own: the window may have closed the other."""
        own = Client(self.url, self._token, timeout_s=_HEALTH_TIMEOUT_S)
        with own, suppress(ServiceError):  # it may be away
            own.cancel(job)

    def fetch_images(self, name: str, folder: Path) -> list[Path]:
        """Download the newest images whose name contains a text.

        Parameters
        ----------
        name
            The text; "" for all.
        folder
            Where to; what is there already is not sent again.
        """
        paths = []
        for image in islice(self._client.images(name=name or None), _MOST_IMAGES):
            own = folder / image.id[:16]
            own.mkdir(parents=True, exist_ok=True)
            path = own / file_name(image.name)
            if not path.exists():
                self._client.download_image(image, path)
            state = path.stat()
            self._sent[path, state.st_size, state.st_mtime_ns] = image.id
            paths.append(path)
        return paths

    def close(self) -> None:
        """Sign out."""
        self._closed.set()
        self._client.close()
        self._asking.close()

    def _send(self, path: Path, on_word: Callable[[str], None]) -> str:
        """Upload a file, unless it was uploaded as it is."""
        try:
            state = path.stat()
        except OSError as error:
            raise UsageError(f"{path} cannot be read ({error.strerror}).") from error
        key = (path, state.st_size, state.st_mtime_ns)
        if key not in self._sent:
            on_word(f"sends {path.name}")
            self._sent[key] = self._client.upload(path).id
        return self._sent[key]

    def _fetch(self, result: Result, request: Request, ids: Sequence[str], folder: Path) -> Outcome:
        own = folder / f"{result.number:04d}"
        self._client.download(result, own, overwrite=True)
        images = tuple(request.images[ids.index(identity)] for identity in result.images)
        told = result.provenance
        model = told.get("model_hash")
        return Outcome(
            images,
            own,
            tuple(file.name for file in result.files),
            result.summary,
            None if model is None else str(model),
            str(told.get("version", "")),
        )

    def _tell_failures(
        self,
        job: Job,
        request: Request,
        ids: Sequence[str],
        folder: Path,
        patiently: Callable[[Callable[[], list[str]]], list[str]],
        on_outcome: Callable[[Outcome], None],
    ) -> None:
        """Say what failed, with the reasons that the events of the job give."""
        if not job.failed:
            return
        errors: dict[int, str] = {}

        def ask() -> list[str]:
            for event in self._client.events(job.id):
                if event.kind == "item" and event.data.get("error"):
                    errors[int(event.data["item"])] = str(event.data["error"])
            return []

        patiently(ask)
        for number, error in sorted(errors.items()):
            several = job.items == 1 and len(ids) > 1
            images = request.images if several else (request.images[number],)
            on_outcome(Outcome(images, folder, error=error))

    def _patiently(
        self,
        work: Callable[[], _T],
        on_word: Callable[[str], None],
        is_cancelled: Callable[[], bool],
    ) -> _T:
        """Do something that needs the service; wait where it is away."""
        away_since: float | None = None
        while True:
            if is_cancelled() or self._closed.is_set():
                raise CancelledError("It was cancelled.")
            try:
                return work()
            except ServiceError as error:
                if error.status not in (0, 502, 503, 504):
                    raise
                away_since = away_since or time.monotonic()
                if time.monotonic() - away_since > _PATIENCE_S:
                    raise
            except RuntimeError:  # httpx says so of a client that was closed in another thread
                if not self._closed.is_set():
                    raise
            if not self._closed.is_set():
                on_word("waits for the service, which does not answer")
            self._closed.wait(_LOOK_EVERY_S)

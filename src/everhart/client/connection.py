"""The connection to the service."""

from __future__ import annotations

import json
import os
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, Self
from urllib.parse import quote

import httpx

from everhart.client.records import (
    Event,
    Image,
    Job,
    Level,
    Model,
    Operation,
    Result,
    ResultFile,
    Run,
    ServiceError,
    made,
)
from everhart.errors import UsageError

__all__ = ["Client"]

_CHUNK = 1 << 20


class Client:
    """A connection to the service.

    Parameters
    ----------
    url
        Where it is, such as ``http://127.0.0.1:8765``.
    token
        The token; that of the environment variable ``EVERHART_TOKEN`` if none is given.
    timeout_s
        How long one answer may take.

    Raises
    ------
    UsageError
        If the URL or the token cannot be used.
    """

    def __init__(
        self, url: str = "http://127.0.0.1:8765", token: str | None = None, timeout_s: float = 120
    ) -> None:
        token = token if token is not None else os.environ.get("EVERHART_TOKEN")
        token = (token or "").strip()  # a file that it was read from ends with a new line
        if not (token.isascii() and token.isprintable()):
            # It is not repeated: what refuses the header would write it into its message.
            raise UsageError(
                "A token with characters that no token has was given: copy it again, or make one "
                "with everhart token."
            )
        headers = {"Authorization": f"Bearer {token}"} if token else {}
        try:
            self._http = httpx.Client(base_url=url, headers=headers, timeout=timeout_s)
        except httpx.InvalidURL as error:
            raise UsageError(f"The URL {url!r} cannot be used ({error}).") from error

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def close(self) -> None:
        """Close the connection."""
        self._http.close()

    def is_ready(self) -> bool:
        """Whether the service and all that it needs answer."""
        try:
            return self._http.get("/ready").status_code == 200
        except httpx.HTTPError:
            return False

    def operations(self) -> list[Operation]:
        """Return what can be run."""
        return [made(Operation, item) for item in self._json("GET", "/v1/operations")["items"]]

    def upload(self, file: str | os.PathLike[str], *, name: str | None = None) -> Image:
        """Upload an image file; one that is there already is not kept twice.

        Parameters
        ----------
        file
            The file.
        name
            What it is called; its own name if nothing is said.

        Raises
        ------
        UsageError
            If there is no such file.
        ServiceError
            If it cannot be read as an image, or is too large.
        """
        return made(Image, self._upload("/v1/images", Path(file), name))

    def image(self, image_id: str) -> Image:
        """Return what is known of an image."""
        return made(Image, self._json("GET", f"/v1/images/{quote(image_id, safe='')}"))

    def images(self, *, name: str | None = None) -> Iterator[Image]:
        """Go through all images, the newest first; those whose name contains `name`."""
        params = {} if name is None else {"name": name}
        for item in self._pages("/v1/images", params):
            yield made(Image, item)

    def preview(self, image_id: str, *, longest_px: int = 512, frame: int = 0) -> bytes:
        """Return a PNG picture of an image."""
        path = f"/v1/images/{quote(image_id, safe='')}/preview.png"
        return self._answer("GET", path, params={"longest_px": longest_px, "frame": frame}).content

    def submit(
        self,
        operation: str,
        images: Sequence[str],
        *,
        roles: Mapping[str, str] | None = None,
        pixel_size_nm: float | None = None,
        key: str | None = None,
        **parameters: Any,
    ) -> Job:
        """Make a job and do not wait for it.

        Parameters
        ----------
        operation
            Name of the operation.
        images
            Ids of the images.
        roles
            Ids of further images by role, such as ``{"reference": id}``.
        pixel_size_nm
            Pixel size in nm, in place of what the files say.
        key
            A text of your own: the same one again gives the same job.
        **parameters
            Parameters of the operation, as on the command line.
        """
        body = {
            "operation": operation,
            "parameters": parameters,
            "images": list(images),
            "roles": dict(roles or {}),
            "pixel_size_nm": pixel_size_nm,
        }
        headers = {} if key is None else {"Idempotency-Key": key}
        return made(Job, self._json("POST", "/v1/jobs", json=body, headers=headers))

    def run(
        self,
        operation: str,
        images: Sequence[str],
        *,
        on_event: Callable[[Event], None] | None = None,
        **more: Any,
    ) -> Job:
        """Make a job and wait for its end.

        Parameters
        ----------
        operation, images, **more
            As for :meth:`submit`.
        on_event
            Called with each event.

        Returns
        -------
        Job
            The job at its end; look at `failed`.
        """
        job = self.submit(operation, images, **more)
        for event in self.events(job.id):
            if on_event is not None:
                on_event(event)
        return self.job(job.id)

    def job(self, job_id: str) -> Job:
        """Return a job."""
        return made(Job, self._json("GET", f"/v1/jobs/{quote(job_id, safe='')}"))

    def jobs(self, *, state: str | None = None) -> Iterator[Job]:
        """Go through all jobs, the newest first."""
        params = {} if state is None else {"state": state}
        for item in self._pages("/v1/jobs", params):
            yield made(Job, item)

    def cancel(self, job_id: str) -> Job:
        """Stop a job; the results that it has are kept."""
        return made(Job, self._json("POST", f"/v1/jobs/{quote(job_id, safe='')}/cancel"))

    def events(self, job_id: str, *, patience_s: float = 60) -> Iterator[Event]:
        """Follow a job to its end, over connections that break and a server that restarts.

        Parameters
        ----------
        job_id
            Id of the job.
        patience_s
            How long the service may be away.
        """
        last, away_since = "0", None
        path = f"/v1/jobs/{quote(job_id, safe='')}/events"
        while True:
            try:
                with self._http.stream("GET", path, headers={"Last-Event-ID": last}) as answer:
                    if answer.status_code != 200:
                        answer.read()
                        raise _refused(answer)
                    for event in _parsed(answer.iter_lines()):
                        last, away_since = event.id, None
                        yield event
                if self.job(job_id).has_ended:
                    return
            except (httpx.HTTPError, ServiceError) as error:
                if isinstance(error, ServiceError) and error.status not in (0, 503):
                    raise
                away_since = away_since or time.monotonic()
                if time.monotonic() - away_since > patience_s:
                    raise _away(error) from error
                time.sleep(0.5)

    def results(self, job_id: str) -> Iterator[Result]:
        """Go through the results that a job has so far, in the order of its items."""
        start = 0
        while True:
            path = f"/v1/jobs/{quote(job_id, safe='')}/results"
            items = self._json("GET", path, params={"start": start, "limit": 100})["items"]
            for item in items:
                item["files"] = [made(ResultFile, file) for file in item["files"]]
                yield made(Result, item)
            if len(items) < 100:
                return
            start = int(items[-1]["number"]) + 1

    def download(
        self, result: Result, folder: str | os.PathLike[str], *, overwrite: bool = False
    ) -> list[Path]:
        """Download all files of a result, each whole or not at all.

        Parameters
        ----------
        result
            The result.
        folder
            Where to; it is made if it is not there.
        overwrite
            Whether existing files may be replaced.

        Returns
        -------
        list of Path
            The files.
        """
        written = []
        Path(folder).mkdir(parents=True, exist_ok=True)
        for file in result.files:
            if file.name in ("", ".", "..") or {"/", "\\", ":", "\0"} & set(file.name):
                raise ServiceError(f"The service gave {file.name!r}, which is no file name.", 0)
            target = Path(folder) / file.name
            path = f"/v1/results/{result.id}/files/{quote(file.name, safe='')}"
            self._to_file(path, target, overwrite)
            written.append(target)
        return written

    def download_image(
        self, image: Image, file: str | os.PathLike[str], *, overwrite: bool = False
    ) -> Path:
        """Download an image as it was uploaded, whole or not at all.

        Parameters
        ----------
        image
            The image.
        file
            Where to.
        overwrite
            Whether an existing file may be replaced.

        Returns
        -------
        Path
            The file.
        """
        target = Path(file)
        self._to_file(f"/v1/images/{quote(image.id, safe='')}/original", target, overwrite)
        return target

    def delete_image(self, image_id: str) -> None:
        """Delete an image; refused while a job that has not ended uses it."""
        self._answer("DELETE", f"/v1/images/{quote(image_id, safe='')}")

    def delete_result(self, result_id: str) -> None:
        """Delete a result with its files."""
        self._answer("DELETE", f"/v1/results/{quote(result_id, safe='')}")

    def delete_job(self, job_id: str) -> None:
        """Delete a job that has ended, with its results."""
        self._answer("DELETE", f"/v1/jobs/{quote(job_id, safe='')}")

    def levels(self, image_id: str) -> list[Level]:
        """Return the sizes at which tiles of an image can be had."""
        found = self._json("GET", f"/v1/images/{quote(image_id, safe='')}/tiles")
        return [made(Level, item) for item in found["levels"]]

    def tile(self, image_id: str, level: int, row: int, column: int, *, frame: int = 0) -> bytes:
        """Return a tile of an image as PNG, 512 px high and wide, less at the edges."""
        path = f"/v1/images/{quote(image_id, safe='')}/tiles/{level}/{row}/{column}.png"
        return self._answer("GET", path, params={"frame": frame}).content

    def models(self) -> list[Model]:
        """Return the models that jobs can name."""
        return [made(Model, item) for item in self._json("GET", "/v1/models")["items"]]

    def upload_model(self, file: str | os.PathLike[str], *, name: str | None = None) -> Model:
        """Upload a ``.safetensors`` file that `everhart train` made; it needs the scope admin.

        Parameters
        ----------
        file
            The file.
        name
            Under which jobs ask for it; the name of the file if nothing is said.
        """
        return made(Model, self._upload("/v1/models", Path(file), name))

    def delete_model(self, name: str) -> None:
        """Delete an uploaded model; refused while a job that has not ended uses it."""
        self._answer("DELETE", f"/v1/models/{quote(name, safe='')}")

    def compare(
        self,
        images: Sequence[str],
        methods: Sequence[str],
        *,
        roles: Mapping[str, str] | None = None,
        pixel_size_nm: float | None = None,
        key: str | None = None,
        **parameters: Any,
    ) -> Job:
        """Compare methods on images and do not wait for it; :meth:`runs` has the figures.

        Parameters
        ----------
        images, roles, pixel_size_nm, key, **parameters
            As for :meth:`submit`.
        methods
            Names of methods and models.
        """
        body = {
            "images": list(images),
            "methods": list(methods),
            "roles": dict(roles or {}),
            "parameters": parameters,
            "pixel_size_nm": pixel_size_nm,
        }
        headers = {} if key is None else {"Idempotency-Key": key}
        return made(Job, self._json("POST", "/v1/comparisons", json=body, headers=headers))

    def runs(self, comparison: str) -> list[Run]:
        """Return the figures of a comparison, for each image and method."""
        found = self._json("GET", f"/v1/comparisons/{quote(comparison, safe='')}")
        return [made(Run, item) for item in found["runs"]]

    def _to_file(self, path: str, target: Path, overwrite: bool) -> None:
        from everhart.io.atomic import atomic_path

        try:
            with (
                atomic_path(target, overwrite=overwrite) as temporary,
                temporary.open("wb") as stream,
                self._http.stream("GET", path) as answer,
            ):
                if answer.status_code != 200:
                    answer.read()
                    raise _refused(answer)
                for piece in answer.iter_bytes(_CHUNK):
                    stream.write(piece)
        except httpx.HTTPError as error:
            raise _away(error) from error

    def _upload(self, path: str, file: Path, name: str | None) -> dict[str, Any]:
        if not file.is_file():
            raise UsageError(f"The file {file} does not exist: give one that does.")

        def pieces() -> Iterator[bytes]:
            with file.open("rb") as stream:
                while piece := stream.read(_CHUNK):
                    yield piece

        size = {"Content-Length": str(file.stat().st_size)}
        params = {"name": name or file.name}
        return self._json("POST", path, params=params, content=pieces(), headers=size)

    def _pages(self, path: str, params: dict[str, Any]) -> Iterator[dict[str, Any]]:
        cursor: str | None = None
        while True:
            more = {} if cursor is None else {"cursor": cursor}
            page = self._json("GET", path, params={"limit": 200, **params, **more})
            yield from page["items"]
            cursor = page["next"]
            if cursor is None:
                return

    def _json(self, method: str, path: str, **more: Any) -> dict[str, Any]:
        answer = self._answer(method, path, **more)
        try:
            found: dict[str, Any] = answer.json()
        except ValueError as error:
            raise ServiceError(f"{answer.url} does not answer as Everhart does.", 0) from error
        return found

    def _answer(self, method: str, path: str, **more: Any) -> httpx.Response:
        try:
            answer = self._http.request(method, path, **more)
        except httpx.HTTPError as error:
            raise _away(error) from error
        if answer.is_success:
            return answer
        raise _refused(answer)


def _parsed(lines: Iterator[str]) -> Iterator[Event]:
    event: dict[str, str] = {}
    for line in lines:
        if line:
            name, _, value = line.partition(": ")
            event[name] = value
        else:
            if {"id", "event", "data"} <= event.keys():
                yield Event(event["id"], event["event"], json.loads(event["data"]))
            event = {}


def _refused(answer: httpx.Response) -> ServiceError:
    try:
        message = str(answer.json()["detail"])
    except (ValueError, KeyError, TypeError):
        message = f"The service answered {answer.status_code} {answer.reason_phrase}."
    return ServiceError(message, answer.status_code)


def _away(error: Exception) -> ServiceError:
    return ServiceError(
        f"The service does not answer ({error}): check that it runs, and its address.", 0
    )

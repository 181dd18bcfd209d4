"""Computing on a Dask cluster in place of this machine: the same tasks, in the same children.

A task goes to a Dask worker with the bytes of its images, and its files come back as bytes, so
the workers need neither the store nor the database. On the worker it runs in a child process under
the same limits as here. A task whose worker is lost is begun again on another by Dask itself.
"""

from __future__ import annotations

import json
import threading
import time
import warnings
from collections.abc import Callable, Mapping
from contextlib import suppress
from importlib.util import find_spec
from pathlib import Path
from secrets import token_hex
from tempfile import TemporaryDirectory, gettempdir, mkdtemp
from typing import Any, Final

from everhart.errors import EverhartError, FileFormatError, LimitError, UsageError
from everhart.micrograph import __version__
from everhart.service.compute import CancelledError, ComputePool, CrashError

__all__ = ["ClusterPool", "run_on_worker"]

PATIENCE_S: Final = 120.0
"""How long a task waits for a cluster that does not answer, or has no workers."""

_CONNECT_S = 10
_LOOK_EVERY_S = 0.2
_ASK_EVERY_S = 1.0
_MOST_AT_ONCE = 256
_ERRORS = {
    kind.__name__: kind
    for kind in (
        EverhartError, UsageError, FileFormatError, LimitError, CrashError, CancelledError,
    )
}  # fmt: skip


class ClusterPool:
    """Does tasks on the workers of a Dask cluster; used as a :class:`ComputePool`.

    Parameters
    ----------
    address
        Of the scheduler, such as ``tcp://10.0.0.1:8786``.
    memory_mb, seconds
        Memory in MB and time in s that a task may take.
    raised_by
        What raises these limits, for what is said of them.

    Raises
    ------
    UsageError
        If Dask is not installed.
    """

    def __init__(
        self, address: str, *, memory_mb: float, seconds: float, raised_by: tuple[str, str]
    ) -> None:
        if find_spec("distributed") is None:
            raise UsageError(
                "The setting cluster was given and Dask is not installed: install it with "
                'pip install "everhart[cluster]".'
            )
        self.address = address
        self._limits = {"memory_mb": memory_mb, "seconds": seconds, "raised_by": raised_by}
        self._lock = threading.Lock()
        self._connected: Any = None
        self._closed = threading.Event()

    def warm(self) -> None:
        """Connect before it is needed, if the cluster is there."""
        with suppress(EverhartError):
            self._client()

    def at_once(self) -> int:
        """Return how many tasks the cluster can be given at a time."""
        try:
            threads = int(sum(self._client().nthreads().values()))
        except Exception:  # it is away: the tasks wait for it one by one
            return 1
        return max(1, min(threads + 2, _MOST_AT_ONCE))  # so that no worker waits for the next

    def run(
        self, task: dict[str, Any], is_cancelled: Callable[[], bool] = lambda: False
    ) -> dict[str, Any]:
        """Let a worker do a task; see :meth:`ComputePool.run`."""
        with_models = False
        end = time.monotonic() + PATIENCE_S
        while True:
            try:
                answer, files = self._once(task, with_models, is_cancelled)
            except _AwayError as error:
                if time.monotonic() > end:
                    raise EverhartError(
                        f"The Dask cluster {self.address} does not answer "
                        f"({error}): check that it runs."
                    ) from error
                if self._closed.wait(1.0) or is_cancelled():
                    raise CancelledError("It was cancelled.") from error
                continue
            if answer.get("missing"):
                with_models = True
                continue
            if "error" in answer:
                raise _ERRORS.get(str(answer["error"]), EverhartError)(str(answer["message"]))
            for name in answer["files"]:
                (Path(task["folder"]) / name).write_bytes(files[name])
            return answer

    def close(self) -> None:
        """Leave the cluster."""
        self._closed.set()
        self._forget()

    def _once(
        self, task: dict[str, Any], with_models: bool, is_cancelled: Callable[[], bool]
    ) -> tuple[dict[str, Any], dict[str, bytes]]:
        from distributed import KilledWorker

        sources = [*task["images"], *task["roles"].values()]
        blobs = {path: Path(path).read_bytes() for path, _ in sources}
        if with_models:
            blobs |= {path: Path(path).read_bytes() for path, _ in task["models"].values()}
        key = f"everhart-{token_hex(16)}"
        client = self._client()
        try:
            said = json.dumps({**task, "version": __version__, "key": key})
            future = client.submit(run_on_worker, said, blobs, self._limits, key=key, pure=False)
            asked = worked = time.monotonic()
            while not future.done():
                if is_cancelled() or self._closed.is_set():
                    with suppress(Exception):  # the worker looks for it; it may be gone by now
                        _event(key, client).set()
                    future.cancel()
                    raise CancelledError("It was cancelled.")
                if client.status != "running":
                    raise _AwayError("the connection is lost")
                if time.monotonic() - asked > _ASK_EVERY_S:
                    asked = time.monotonic()
                    worked = asked if client.nthreads() else worked
                    if asked - worked > PATIENCE_S:
                        future.cancel()
                        raise EverhartError(
                            f"The Dask cluster {self.address} has no workers: start some."
                        )
                time.sleep(_LOOK_EVERY_S)
            answer, files = future.result()
            found: dict[str, Any] = json.loads(answer)
            return found, files
        except KilledWorker as error:
            raise CrashError("The Dask workers that computed it died.") from error
        except (EverhartError, _AwayError):
            raise
        except Exception as error:  # of Dask: a lost scheduler has many names
            self._forget()
            raise _AwayError(f"{type(error).__name__}: {error}"[:200]) from error

    def _client(self) -> Any:
        from distributed import Client

        connect: Any = Client  # it has no types
        with self._lock:
            if self._closed.is_set():
                raise CancelledError("The service is being stopped.")
            if self._connected is None or self._connected.status != "running":
                # Images are large, and go with their task so that a lost worker loses nothing.
                warnings.filterwarnings("ignore", message="Sending large graph")
                try:
                    self._connected = connect(
                        self.address, timeout=_CONNECT_S, set_as_default=False, name="everhart"
                    )
                except (OSError, TimeoutError) as error:
                    raise _AwayError(str(error)[:200]) from error
            return self._connected

    def _forget(self) -> None:
        with self._lock:
            client, self._connected = self._connected, None
        if client is not None:
            with suppress(Exception):
                client.close(timeout=2)


class _AwayError(Exception):
    """The cluster does not answer."""


def run_on_worker(
    said: str, blobs: Mapping[str, bytes], limits: Mapping[str, Any]
) -> tuple[str, dict[str, bytes]]:
    """Do a task on a Dask worker.

    Parameters
    ----------
    said
        The task as JSON, with the version of whoever asks and the name of the event that
        cancels it.
    blobs
        Content of the task's files by the path that they have where it is from.
    limits
        As :class:`ClusterPool` has them.

    Returns
    -------
    str, dict
        The answer as JSON, and the content of the resulting files by name.
    """
    task = json.loads(said)
    version, key = task.pop("version"), task.pop("key")
    if version != __version__:
        message = (
            f"The Dask worker has Everhart {__version__} and the service {version}: install the "
            "same there, for the same numbers."
        )
        return json.dumps({"error": "EverhartError", "message": message}), {}
    models = Path(gettempdir()) / f"everhart-models-{__version__}"
    models.mkdir(exist_ok=True, mode=0o700)
    for path, sha256 in task["models"].values():
        if path in blobs and not (models / sha256).exists():
            made = models / f"{sha256}-{token_hex(4)}"
            made.write_bytes(blobs[path])
            made.replace(models / sha256)
    missing = [s for _, s in task["models"].values() if not (models / s).exists()]
    if missing:
        return json.dumps({"missing": missing}), {}
    with TemporaryDirectory(prefix="everhart-", ignore_cleanup_errors=True) as scratch:
        folder = Path(scratch) / "results"
        folder.mkdir()

        def place(path: str) -> str:
            own = Path(scratch) / token_hex(8)
            own.write_bytes(blobs[path])
            return str(own)

        task["images"] = [(place(path), name) for path, name in task["images"]]
        task["roles"] = {role: (place(p), name) for role, (p, name) in task["roles"].items()}
        task["models"] = {n: (str(models / s), s) for n, (_, s) in task["models"].items()}
        task["folder"] = str(folder)
        try:
            answer = _pool(limits).run(task, _Cancelled(key))
        except EverhartError as error:
            kind = next(name for name, kind in reversed(_ERRORS.items()) if isinstance(error, kind))
            return json.dumps({"error": kind, "message": str(error)}), {}
        files = {name: (folder / name).read_bytes() for name in answer["files"]}
        return json.dumps(answer), files


def _event(key: str, client: Any = None) -> Any:
    """Return the event of the cluster that cancels a task."""
    from distributed import Event

    make: Any = Event  # it has no types
    return make(key, client=client)


_pools: dict[str, ComputePool] = {}
_pools_lock = threading.Lock()


def _pool(limits: Mapping[str, Any]) -> ComputePool:
    """Return the children of this Dask worker, which stay warm between tasks."""
    key = json.dumps(dict(limits), sort_keys=True)
    with _pools_lock:
        if key not in _pools:
            scratch = Path(mkdtemp(prefix="everhart-"))
            memory_mb, seconds = limits["memory_mb"], limits["seconds"]
            # As many as the worker has threads are started, and no more.
            _pools[key] = ComputePool(
                _MOST_AT_ONCE,
                memory_mb=memory_mb,
                seconds=seconds,
                scratch=scratch,
                raised_by=tuple(limits["raised_by"]),
            )
        return _pools[key]


class _Cancelled:
    """Whether the task was cancelled; the scheduler is asked once a second."""

    def __init__(self, key: str) -> None:
        self._event, self._next = _event(key), time.monotonic() + _ASK_EVERY_S

    def __call__(self) -> bool:
        if time.monotonic() < self._next:
            return False
        self._next = time.monotonic() + _ASK_EVERY_S
        try:
            return bool(self._event.is_set())
        except Exception:  # the scheduler is lost, and so is whoever asked
            return True

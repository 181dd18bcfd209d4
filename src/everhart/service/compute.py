"""Processes that decode and compute, so that what kills one does not kill the server.

A child is a fresh interpreter that stays warm between tasks. It gets one task at a time as a line
of JSON, and answers with lines of JSON; nothing is pickled. Its memory and time are watched, and a
child that takes too much, or dies, costs the task and is replaced.
"""

from __future__ import annotations

import json
import os
import queue
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from tempfile import TemporaryFile
from typing import Any

from everhart.errors import EverhartError, FileFormatError, LimitError, UsageError

__all__ = ["CancelledError", "ComputePool", "CrashError"]

LIBRARIES_MB = 768
"""Memory of the interpreter and its libraries, on top of what a task may take."""

_LOOK_EVERY_S = 0.05
_LONGEST_LINE = 64 << 20
_ERRORS = {kind.__name__: kind for kind in (EverhartError, UsageError, FileFormatError, LimitError)}
# What a child needs of the environment; passwords and keys of the service are not among it.
_KEPT = (
    "PATH", "LD_LIBRARY_PATH", "DYLD_LIBRARY_PATH", "DYLD_FALLBACK_LIBRARY_PATH", "LANG", "LC_ALL",
    "SYSTEMROOT", "SYSTEMDRIVE", "WINDIR", "PYTHONHOME", "VIRTUAL_ENV", "HOME", "USERPROFILE",
    "CUDA_VISIBLE_DEVICES", "EVERHART_MODELS", "OMP_NUM_THREADS", "NUMBA_CACHE_DIR",
    "MPLCONFIGDIR",
)  # fmt: skip


class CrashError(EverhartError):
    """The child died of a task."""


class CancelledError(EverhartError):
    """The task was stopped because nobody wants it any more."""


class ComputePool:
    """Some children, each of which does one task at a time.

    Parameters
    ----------
    size
        Number of children. One is started when it is first needed.
    memory_mb
        Memory in MB that a task may take.
    seconds
        Time in s that it may take.
    scratch
        Folder of the children's temporary files.
    raised_by
        What raises the limits of memory and time, for what is said of them.
    """

    def __init__(
        self,
        size: int,
        *,
        memory_mb: float,
        seconds: float,
        scratch: Path,
        raised_by: tuple[str, str] = ("the limit of memory", "the limit of time"),
    ) -> None:
        self.memory_mb, self.seconds, self.scratch = memory_mb, seconds, scratch
        self.raised_by = raised_by
        self._size = size
        self._free: queue.LifoQueue[_Child | None] = queue.LifoQueue()
        for _ in range(size):
            self._free.put(None)
        self._children: set[_Child] = set()
        self._lock = threading.Lock()
        self._closed = False

    def at_once(self) -> int:
        """Return how many tasks are done at a time."""
        return self._size

    def warm(self) -> None:
        """Start a child before it is needed."""
        with self._child():
            pass

    def run(
        self, task: dict[str, Any], is_cancelled: Callable[[], bool] = lambda: False
    ) -> dict[str, Any]:
        """Let a child do a task.

        Parameters
        ----------
        task
            What to do, see :mod:`everhart.service._child`.
        is_cancelled
            Looked at once in a while; the child is killed when it says so.

        Returns
        -------
        dict
            The answer.

        Raises
        ------
        UsageError, FileFormatError, EverhartError
            As the task raised it.
        LimitError
            If it took more memory or time than is allowed.
        CrashError
            If the child died of it.
        CancelledError
            If it was stopped.
        """
        with self._child() as child:
            answer = self._answer(child, task, is_cancelled)
        if "error" in answer:
            kind = _ERRORS.get(str(answer["error"]), EverhartError)
            raise kind(str(answer.get("message")))
        return answer

    def close(self) -> None:
        """Kill all children."""
        with self._lock:
            self._closed = True
            for child in self._children:
                child.kill()
            self._children.clear()

    @contextmanager
    def _child(self) -> Iterator[_Child]:
        child = self._free.get()
        try:
            if child is None or not child.is_alive():
                child = self._start(child)
            yield child
        finally:
            if child is not None and not child.is_alive():
                child.kill()
                child = None
            self._free.put(child)

    def _start(self, dead: _Child | None) -> _Child:
        with self._lock:
            if self._closed:
                raise CancelledError("The service is being stopped.")
            if dead is not None:
                self._children.discard(dead)
            child = _Child(self.scratch)
            self._children.add(child)
            return child

    def _answer(
        self, child: _Child, task: dict[str, Any], is_cancelled: Callable[[], bool]
    ) -> dict[str, Any]:
        end = time.monotonic() + self.seconds
        child.send(task)
        while True:
            try:
                line = child.lines.get(timeout=_LOOK_EVERY_S)
            except queue.Empty:
                problem = self._problem(child, end, is_cancelled)
                if problem is not None:
                    child.kill()
                    raise problem from None
                continue
            if line is None:
                raise CrashError(f"The process that computes died ({child.reason()}).")
            try:
                answer = json.loads(line)
            except ValueError:
                answer = None
            if not isinstance(answer, dict):
                child.kill()  # only one that a file has taken over answers like that
                raise CrashError("The process that computes gave an answer without sense.")
            return answer

    def _problem(
        self, child: _Child, end: float, is_cancelled: Callable[[], bool]
    ) -> EverhartError | None:
        if child.memory_mb() > self.memory_mb + LIBRARIES_MB:
            return LimitError(
                f"It takes more than {self.memory_mb:g} MB, which is what is allowed: give a "
                f"smaller image, or raise {self.raised_by[0]}."
            )
        if time.monotonic() > end:
            return LimitError(
                f"It takes more than {self.seconds:g} s, which is what is allowed: give a smaller "
                f"image, or raise {self.raised_by[1]}."
            )
        if is_cancelled():
            return CancelledError("It was cancelled.")
        return None


class _Child:
    """One process, and a thread that reads its answers."""

    def __init__(self, scratch: Path) -> None:
        import psutil

        self._errors = TemporaryFile()  # noqa: SIM115 - as long as the child
        try:
            self._process = subprocess.Popen(
                # -P: the working folder may hold files of strangers, modules among them.
                [sys.executable, "-P", "-m", "everhart.service._child"],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=self._errors,
                env=_environment(scratch),
                start_new_session=True,  # Ctrl-C is for the server
                creationflags=getattr(subprocess, "CREATE_NO_WINDOW", 0),
            )
        except OSError as error:
            raise EverhartError(f"No process can be started to compute ({error}).") from error
        self._watched = psutil.Process(self._process.pid)
        self.lines: queue.Queue[bytes | None] = queue.Queue()
        threading.Thread(target=self._read, daemon=True).start()

    def send(self, task: dict[str, Any]) -> None:
        stdin = self._process.stdin
        assert stdin is not None
        try:
            stdin.write(json.dumps(task).encode() + b"\n")
            stdin.flush()
        except OSError:
            pass  # it is dead, which its reader says

    def _read(self) -> None:
        stdout = self._process.stdout
        assert stdout is not None
        with stdout:
            while line := stdout.readline(_LONGEST_LINE):
                self.lines.put(line)
        self.lines.put(None)

    def is_alive(self) -> bool:
        return self._process.poll() is None

    def kill(self) -> None:
        self._process.kill()
        self._process.wait()
        self._errors.close()
        if self._process.stdin is not None:
            with suppress(OSError):
                self._process.stdin.close()

    def memory_mb(self) -> float:
        import psutil

        try:
            used = self._watched.memory_info()
        except psutil.Error:  # it ended just now
            return 0.0
        return float(used.rss - getattr(used, "shared", 0)) / 1e6

    def reason(self) -> str:
        """Say in a few words how it ended."""
        status = self._process.wait()
        if status < 0:
            try:
                return signal.Signals(-status).name
            except ValueError:
                return f"signal {-status}"
        if self._errors.closed:
            return "killed"
        self._errors.seek(0)
        said = self._errors.read()[-4000:].decode("utf-8", "replace").split("\n")
        lines = [line.strip() for line in said if line.strip()]
        return lines[-1][:200].rstrip(".") if lines else f"exit status {status}"


def _environment(scratch: Path) -> dict[str, str]:
    kept = {name: os.environ[name] for name in _KEPT if name in os.environ}
    return {
        **kept,
        **dict.fromkeys(("TMPDIR", "TEMP", "TMP"), str(scratch)),
        "PYTHONPATH": os.pathsep.join(entry for entry in sys.path if Path(entry).is_absolute()),
    }

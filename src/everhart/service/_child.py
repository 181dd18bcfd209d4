"""The child process of :class:`everhart.service.compute.ComputePool`: one task after the other.

Run as ``python -m everhart.service._child``. A task is a line of JSON on stdin, its answer one on
stdout: what it found, or ``{"error": KIND, "message": ...}``.
"""

from __future__ import annotations

import gc
import json
import os
import queue
import re
import sys
import threading
import warnings
from tempfile import gettempdir
from typing import Any

__all__ = ["main"]


def main() -> None:
    """Answer tasks until there are no more, or the parent is gone."""
    # What libraries print must not come between the answers.
    answers = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)
    _no_core_dump()
    tasks: queue.Queue[bytes] = queue.Queue()
    threading.Thread(target=_read, args=(tasks,), daemon=True).start()
    # Imported while the parent has nothing to do yet.
    from everhart.service.tasks import TASKS

    gc.freeze()  # what is loaded stays; to look through it after each task takes 15 ms
    while True:
        task = json.loads(tasks.get())
        answer = _answer(TASKS[task.pop("task")], task)
        answers.write(json.dumps(answer).encode() + b"\n")
        answers.flush()
        gc.collect()


def _read(tasks: queue.Queue[bytes]) -> None:
    for line in sys.stdin.buffer:
        tasks.put(line)
    os._exit(0)  # the parent is gone, and so is the interest in what runs


def _answer(do: Any, task: dict[str, Any]) -> dict[str, Any]:
    from everhart.errors import EverhartError, FileFormatError, LimitError, UsageError

    kinds = (LimitError, FileFormatError, UsageError, EverhartError)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        try:
            answer: dict[str, Any] = do(**task)
        except EverhartError as error:
            kind = next(kind.__name__ for kind in kinds if isinstance(error, kind))
            return {"error": kind, "message": " ".join(str(error).split())}
        except MemoryError:
            message = "There is not enough memory for it: give a smaller image."
            return {"error": "LimitError", "message": message}
        except Exception as error:  # a fault of a reader or method, and for its caller no different
            said = f"{type(error).__name__}: {error}".split("\n")[0][:200].rstrip(".")
            message = f"Unexpected {said}: this is a fault of Everhart; report it."
            return {"error": "EverhartError", "message": message}
    told = [str(w.message) for w in caught[:1000] if issubclass(w.category, UserWarning)]
    # They speak of files by their names, and not of folders of the server.
    folder = re.compile(re.escape(f"{gettempdir()}{os.sep}everhart-") + r"\w+[/\\]\d+[/\\]")
    return {**answer, "warnings": list(dict.fromkeys(folder.sub("", text) for text in told))}


def _no_core_dump() -> None:
    try:
        import resource
    except ImportError:  # Windows
        return
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))


if __name__ == "__main__":
    main()

"""`read_isolated`: files of strangers are read in a child process, with limits.

Decoders are C code, and a crafted file may crash one, or keep it busy for hours. In a child process
that costs an error, and not the program that reads.
"""

from __future__ import annotations

import json
import math
import os
import signal
import subprocess
import sys
import tempfile
import time
import warnings
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from everhart.errors import EverhartError, FileFormatError, LimitError, UsageError
from everhart.io.lazy import map_pixels
from everhart.io.limits import DEFAULT_LIMITS, Limits
from everhart.io.warning import FileWarning
from everhart.micrograph import HistoryEntry, Micrograph

__all__ = ["read_isolated"]

# What the child shares with this module: the files of the folder between them,
REQUEST, STARTED, PIXELS, ANSWER = "request.json", "started", "pixels", "answer.json"
# the memory of the interpreter and of what a reader may import, on top of what is allowed,
LIBRARIES_BYTES = 256 << 20
# and the exit status where there is no memory left to write the answer.
OUT_OF_MEMORY = 71

_ERRORS = {kind.__name__: kind for kind in (EverhartError, UsageError, FileFormatError, LimitError)}
# What the child needs of the environment: to find its libraries, and to start at all on Windows.
_KEPT = (
    "PATH", "LD_LIBRARY_PATH", "DYLD_LIBRARY_PATH", "DYLD_FALLBACK_LIBRARY_PATH", "LANG", "LC_ALL",
    "SYSTEMROOT", "SYSTEMDRIVE", "WINDIR", "PYTHONHOME", "VIRTUAL_ENV",
)  # fmt: skip
_LARGEST_ANSWER = 64 << 20
_LOOK_EVERY_S = 0.02


def read_isolated(
    path: str | os.PathLike[str],
    *,
    memory_mb: float = 2048,
    seconds: float = 60,
    limits: Limits = DEFAULT_LIMITS,
    pixel_size_nm: float | tuple[float, float] | None = None,
    modules: Sequence[str] = (),
) -> Micrograph:
    """Read a micrograph from an untrusted file, in a child process that is held to limits.

    A file that crashes its decoder, never ends or eats memory costs a `FileFormatError` and not
    the program. The child is a fresh interpreter without the environment variables of this
    one; nothing that it sends is unpickled. It can read what this user can: the limits
    protect from accidents and from files that stop a service, and are no jail for code that
    takes the child over.

    Parameters
    ----------
    path
        The file.
    memory_mb
        Memory in MB that reading may take, beside about 256 MB for Python and its
        libraries. Where the system has such a limit it is set; everywhere the memory of
        the child is looked at fifty times a second.
    seconds
        Time in s that it may take, with the start of the child (about 0.3 s).
    limits
        Largest image, stack and compression ratio that are accepted.
    pixel_size_nm
        Pixel size in nm, or ``(y, x)``, instead of what the file says.
    modules
        Names of modules that the child imports first: those that add formats with
        :func:`everhart.io.register`.

    Returns
    -------
    Micrograph
        As :func:`everhart.io.read` gives it, with metadata as JSON holds them: tuples are lists,
        and numbers that are not finite are None. Pixels that a reader would map are mapped.

    Raises
    ------
    UsageError
        If there is no such file, or a limit is not positive.
    FileFormatError
        If the file is of an unknown format, broken, truncated, holds no grey image, or
        crashed the child.
    LimitError
        If it claims more than `limits` allow, or its reading took more than `memory_mb` or
        `seconds`.
    EverhartError
        If no child process can be started.

    Warns
    -----
    FileWarning
        As :func:`everhart.io.read` does.

    Examples
    --------
    >>> from everhart.io import write
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     image = Micrograph(np.zeros((32, 48), np.uint16), pixel_size_nm=1.5)
    ...     image = read_isolated(write(image, Path(folder) / "image.tif"), memory_mb=500)
    >>> image
    <Micrograph 32 x 48 uint16, 1.5 x 1.5 nm/px, 0 operations>
    """
    path = Path(path)
    for name, value in (("memory_mb", memory_mb), ("seconds", seconds)):
        if not 0 < value < math.inf:
            raise UsageError(f"{name}={value!r} was given: it must be above 0, and finite.")
    request = {
        "path": str(path),
        "parent": os.getpid(),
        "memory_bytes": int(memory_mb * 1e6),
        "seconds": seconds,
        "limits": asdict(limits),
        "pixel_size_nm": pixel_size_nm,
        "modules": [modules] if isinstance(modules, str) else list(modules),
    }
    # Windows cannot delete what another process still closes, and so much may stay behind.
    with tempfile.TemporaryDirectory(prefix="everhart-", ignore_cleanup_errors=True) as name:
        folder = Path(name)
        text = json.dumps(request, default=lambda value: np.asarray(value).tolist())
        (folder / REQUEST).write_text(text, "utf-8")
        failure = _run(path, folder, memory_mb, seconds)
        if failure is not None:
            raise failure
        try:
            answer = _answer(folder)
            image = _micrograph(path, folder, answer) if "pixels" in answer else None
            told = [(str(kind), str(message)) for kind, message in answer["warnings"]]
        except FileFormatError:
            raise
        except (ValueError, TypeError, KeyError, OSError, OverflowError, RecursionError) as error:
            # Only a child that a file has taken over answers like that.
            raise _crashed(path, "its answer makes no sense") from error
    for kind, message in told:
        category = FileWarning if kind == "FileWarning" else UserWarning
        warnings.warn(message, category, stacklevel=2)
    if image is None:
        raise _error(path, answer)
    return image


def _run(path: Path, folder: Path, memory_mb: float, seconds: float) -> EverhartError | None:
    """Run the child to its end, and say what went wrong if it gave no answer."""
    import psutil

    allowed = int(memory_mb * 1e6) + LIBRARIES_BYTES
    too_much = LimitError(
        f"{path} takes more than {memory_mb:g} MB to read, which is what is allowed; if you trust "
        "it, read it with a larger memory_mb."
    )
    too_long = LimitError(
        f"{path} was not read within {seconds:g} s, which is what is allowed; if you trust it, "
        "read it with more seconds."
    )
    end = time.monotonic() + seconds
    with (folder / "errors").open("wb") as errors:
        try:
            process = subprocess.Popen(
                # -P: the working folder may hold files of strangers, modules among them.
                [sys.executable, "-P", "-m", "everhart.io._child", str(folder)],
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                stderr=errors,
                env=_environment(folder),
                start_new_session=True,  # Ctrl-C is for this program
                creationflags=getattr(subprocess, "CREATE_NO_WINDOW", 0),
            )
        except OSError as error:
            raise EverhartError(
                f"No child process can be started to read {path} ({error}): close other programs "
                "and try again."
            ) from error
    try:
        watched = psutil.Process(process.pid)
        while True:
            try:
                process.wait(_LOOK_EVERY_S)
                break
            except subprocess.TimeoutExpired:
                if _memory(watched) > allowed:
                    return too_much
                if time.monotonic() > end:
                    return too_long
    finally:
        process.kill()  # of no effect on one that has ended
        process.wait()
    status = process.returncode
    if (folder / ANSWER).exists():
        return None
    if status == OUT_OF_MEMORY:
        return too_much
    if status == -getattr(signal, "SIGXCPU", 0):
        return too_long
    if (folder / STARTED).exists():
        return _crashed(path, _reason(status, folder))
    return EverhartError(
        f"The child process that was to read {path} did not start ({_reason(status, folder)}): "
        "check that Python and Everhart are installed whole."
    )


def _environment(folder: Path) -> dict[str, str]:
    """Return the environment of the child, which has no secrets of this program in it."""
    kept = {name: os.environ[name] for name in _KEPT if name in os.environ}
    return {
        **kept,
        # What is unpacked on the way is deleted with the folder.
        **dict.fromkeys(("TMPDIR", "TEMP", "TMP"), str(folder)),
        # One thread: pools take memory for each, and a service reads several files at once.
        **dict.fromkeys(("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS"), "1"),
        "PYTHONPATH": os.pathsep.join(entry for entry in sys.path if Path(entry).is_absolute()),
    }


def _memory(process: Any) -> int:
    """Return the memory of a process in bytes, without what it shares and what it maps."""
    import psutil

    try:
        used = process.memory_info()
    except psutil.Error:  # it ended just now
        return 0
    return int(used.rss - getattr(used, "shared", 0))


def _reason(status: int, folder: Path) -> str:
    """Say in a few words how the child ended."""
    if status < 0:
        try:
            return signal.Signals(-status).name
        except ValueError:
            return f"signal {-status}"
    if status > 255:  # Windows tells of a crash in its own numbers
        return f"status {status:#x}"
    with (folder / "errors").open("rb") as file:
        said = file.read(1 << 16).decode("utf-8", "replace").split("\n")
    lines = [line.strip() for line in said if line.strip()]
    return lines[-1][:200].rstrip(".") if lines else f"exit status {status}"


def _crashed(path: Path, reason: str) -> FileFormatError:
    return FileFormatError(
        f"{path} crashed its reader ({reason}): it is broken, so get the file again from its "
        "source."
    )


def _answer(folder: Path) -> dict[str, Any]:
    file = folder / ANSWER
    if file.stat().st_size > _LARGEST_ANSWER:
        raise ValueError("more metadata than any file has")
    answer = json.loads(file.read_text("utf-8"))
    if not isinstance(answer, dict):
        raise TypeError("no object")
    return answer


def _micrograph(path: Path, folder: Path, answer: dict[str, Any]) -> Micrograph:
    """Make the micrograph of an answer, which is checked like a file."""
    told = answer["pixels"]
    shape = tuple(int(n) for n in told["shape"])
    dtype = np.dtype(str(told["dtype"]))
    if dtype.kind not in "buif" or min(shape) < 1:
        raise ValueError("no pixels")
    size = answer["pixel_size_nm"]
    return Micrograph(
        _pixels(path, folder / PIXELS, told, shape, dtype),
        None if size is None else (float(size[0]), float(size[1])),
        dict(answer["metadata"]),
        tuple(HistoryEntry.from_dict(entry) for entry in answer["history"]),
        int(answer["data_bar_rows"]),
    )


def _pixels(
    path: Path, file: Path, told: dict[str, Any], shape: tuple[int, ...], dtype: np.dtype[Any]
) -> NDArray[Any]:
    expected = math.prod(shape) * dtype.itemsize
    if "offset" not in told:
        if file.stat().st_size != expected:
            raise ValueError("a wrong number of pixels")
        return np.fromfile(file, dtype).reshape(shape)
    strides = [int(n) for n in told["strides"]]
    if min(strides) < 1 or expected > path.stat().st_size:
        raise ValueError("pixels that are not in the file")
    return map_pixels(path, offset=int(told["offset"]), shape=shape, dtype=dtype, strides=strides)


def _error(path: Path, answer: dict[str, Any]) -> EverhartError:
    """Return the error that the child met."""
    message, kind = str(answer.get("message")), answer.get("error")
    if kind is None:  # the reader's own fault, and for its caller no different
        return _crashed(path, f"{answer.get('kind')}: {message[:200]}".rstrip("."))
    return _ERRORS.get(str(kind), EverhartError)(message)

"""The child process of :func:`everhart.io.read_isolated`: reads one file under limits.

Run as ``python -m everhart.io._child FOLDER``. The folder holds the request, and takes the answer:
JSON, and the pixels as they are in memory. Nothing is pickled in either direction.
"""

from __future__ import annotations

import contextlib
import errno
import json
import os
import shutil
import sys
import threading
import time
import warnings
from importlib import import_module
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from everhart.errors import EverhartError, LimitError, UsageError
from everhart.io.isolated import ANSWER, LIBRARIES_BYTES, OUT_OF_MEMORY, PIXELS, REQUEST, STARTED
from everhart.io.limits import Limits
from everhart.io.reading import read
from everhart.io.record import plain


def main(folder: Path) -> None:
    """Read the file of the request and write the answer."""
    request = json.loads((folder / REQUEST).read_text("utf-8"))
    threading.Thread(target=_end_with, args=(request["parent"], folder), daemon=True).start()
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        try:
            answer = _answer(folder, request)
        except MemoryError:
            os._exit(OUT_OF_MEMORY)
    # The first of each is enough: a broken file can make thousands.
    told = {(warning.category.__name__, str(warning.message)): None for warning in caught[:1000]}
    answer["warnings"] = list(told)
    partial = folder / (ANSWER + ".part")
    partial.write_text(json.dumps(answer), "utf-8")
    partial.replace(folder / ANSWER)


def _answer(folder: Path, request: dict[str, Any]) -> dict[str, Any]:
    path = Path(request["path"])
    for name in request["modules"]:
        try:
            import_module(name)
        except Exception as error:  # the module's own code runs
            return _failure(
                UsageError(
                    f"The module {name!r} was given to be imported by the reader and cannot be "
                    f"({error}): give modules that define formats, by their full names."
                )
            )
    size = path.stat().st_size if path.is_file() else 0
    _limit(request["memory_bytes"], request["seconds"], size)
    (folder / STARTED).touch()
    given = request["pixel_size_nm"]
    try:
        image = read(
            path,
            pixel_size_nm=tuple(given) if isinstance(given, list) else given,
            limits=Limits(**request["limits"]),
        )
        return {
            "pixels": _hand_over(folder, path, image.pixels),
            "pixel_size_nm": image.pixel_size_nm,
            "metadata": plain(image.metadata),
            "history": [plain(entry.to_dict()) for entry in image.history],
            "data_bar_rows": image.data_bar_rows,
        }
    except Exception as error:
        if _out_of_memory(error):
            raise MemoryError from error
        return _failure(error)


def _failure(error: Exception) -> dict[str, Any]:
    known = isinstance(error, EverhartError)
    return {"error": type(error).__name__ if known else None, "message": str(error)} | (
        {} if known else {"kind": type(error).__name__}
    )


def _out_of_memory(error: BaseException | None) -> bool:
    """Say whether the limit on memory, or on the size of a file, is behind an error."""
    while error is not None:
        full = isinstance(error, OSError) and error.errno in (errno.EFBIG, errno.ENOMEM)
        if isinstance(error, MemoryError) or full:
            return not isinstance(error, LimitError)
        error = error.__cause__ or error.__context__
    return False


def _hand_over(folder: Path, path: Path, pixels: NDArray[Any]) -> dict[str, Any]:
    """Write the pixels to the folder, or say where they lie in the file that is read."""
    described = {"shape": pixels.shape, "dtype": pixels.dtype.str}
    found = _place_in(path, pixels)
    if found is not None:
        return {**described, "offset": found, "strides": pixels.strides}
    with (folder / PIXELS).open("wb") as file:
        np.ascontiguousarray(pixels).tofile(file)
    return described


def _place_in(path: Path, pixels: NDArray[Any]) -> int | None:
    """Return the byte of a file at which mapped pixels begin, None if they are not mapped."""
    base: Any = pixels
    while base is not None and not isinstance(base, np.memmap):
        base = base.obj if isinstance(base, memoryview) else getattr(base, "base", None)
    while base is not None and isinstance(base.base, np.memmap):
        base = base.base  # a view of a map is a map too, whose offset is that of the map
    if base is None or base.filename is None or min(pixels.strides) < 0:
        return None
    if not path.is_file() or not Path(base.filename).samefile(path):
        return None
    return int(base.offset) + _address(pixels) - _address(base)


def _address(array: NDArray[Any]) -> int:
    return int(array.__array_interface__["data"][0])


def _limit(memory_bytes: int, seconds: float, file_bytes: int) -> None:
    """Set the limits of the system, where it has any; the parent watches besides."""
    try:
        import resource
    except ImportError:  # Windows
        return
    import psutil

    used = psutil.Process().memory_info().vms
    wanted = {
        # A large file is mapped, which takes addresses and no memory.
        resource.RLIMIT_AS: used + LIBRARIES_BYTES + memory_bytes + file_bytes,
        resource.RLIMIT_CPU: int(seconds) + 2,
        resource.RLIMIT_FSIZE: memory_bytes,
        resource.RLIMIT_CORE: 0,
    }
    for which, value in wanted.items():
        hard = resource.getrlimit(which)[1]
        value = value if hard == resource.RLIM_INFINITY else min(value, hard)
        with contextlib.suppress(ValueError, OSError):  # macOS knows no limit on addresses
            resource.setrlimit(which, (value, value))


def _end_with(parent: int, folder: Path) -> None:
    """End this process and clean up when the parent was killed."""
    while _lives(parent):
        time.sleep(0.5)
    shutil.rmtree(folder, ignore_errors=True)
    os._exit(1)


def _lives(parent: int) -> bool:
    if os.name == "posix":
        return os.getppid() == parent
    import psutil

    return bool(psutil.pid_exists(parent))


if __name__ == "__main__":
    main(Path(sys.argv[1]))
    # Nothing is to be tidied up, and a library that was led astray may hang on the way out.
    os._exit(0)

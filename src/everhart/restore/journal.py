"""What is done of a long piece of work, on disk, for the process that goes on with it."""

from __future__ import annotations

import sys
from pathlib import Path
from types import TracebackType
from typing import IO, Self

from everhart.errors import UsageError


class Journal:
    """Numbers of the blocks that are finished, held by one process at a time.

    Parameters
    ----------
    path
        The journal's file. A line that was not finished does not count.
    output
        What is being made, for the message.

    Raises
    ------
    UsageError
        On entry, if another process holds it.
    """

    def __init__(self, path: Path, output: Path) -> None:
        self.path = path
        self.done: set[int] = set()
        self._output = output
        self._file: IO[str] | None = None

    def __enter__(self) -> Self:
        file = self.path.open("a+", encoding="ascii", newline="\n")
        if not _locked(file):
            file.close()
            raise UsageError(
                f"The output {self._output} is being written by another process: wait for it, or "
                "give another name."
            )
        file.seek(0)
        *lines, cut_off = file.read().split("\n")
        self.done = {int(line) for line in lines if line.isdecimal()}
        if cut_off:  # the 1 of a 12 must not count later, when a line end comes after it
            file.truncate(sum(len(line) + 1 for line in lines))
        self._file = file
        return self

    def add(self, number: int) -> None:
        """Note that a block is finished."""
        assert self._file is not None
        self._file.write(f"{number}\n")
        self._file.flush()
        self.done.add(number)

    def restart(self) -> None:
        """Forget all blocks: what they were written to is gone."""
        assert self._file is not None
        self._file.truncate(0)
        self.done = set()

    def remove(self) -> None:
        """Forget the work: it is finished."""
        if sys.platform == "win32" and self._file is not None:  # what is open stays there
            self._file.close()
        self.path.unlink(missing_ok=True)

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if self._file is not None:
            self._file.close()


def _locked(file: IO[str]) -> bool:
    """Lock a file until this process ends, however it does."""
    try:
        if sys.platform == "win32":
            import msvcrt

            file.seek(1 << 30)  # beyond what is written
            msvcrt.locking(file.fileno(), msvcrt.LK_NBLCK, 1)
        else:
            import fcntl

            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        return False
    return True

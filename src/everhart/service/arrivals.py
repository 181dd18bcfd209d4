"""Files that come into a folder: which of them are complete, and where bad ones go."""

from __future__ import annotations

import hashlib
import shutil
import time
from collections.abc import Collection, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from everhart.errors import EverhartError
from everhart.io.atomic import write_text
from everhart.service.names import file_name

__all__ = ["LOOK_EVERY_S", "Arrivals", "Seen", "free", "hash_of", "put_aside"]

LOOK_EVERY_S: Final = 0.25
"""How often a folder is looked at."""

_READ_AT_ONCE = 1 << 20


@dataclass
class Seen:
    """A file as it was when it was looked at last."""

    state: tuple[int, int]
    since: float
    is_done: bool = False
    failures: int = 0

    def is_given_up(self, patience_s: float) -> bool:
        """Whether it has stayed as it is for so long that it will not change."""
        return time.monotonic() - self.since >= patience_s


class Arrivals:
    """The files of a folder, as they come.

    Parameters
    ----------
    source
        The folder.
    settle_s
        How long a file must stay as it is before it is taken as complete; longer after each
        failure.
    patience_s
        How long it must at most.
    """

    def __init__(self, source: Path, settle_s: float, patience_s: float) -> None:
        self.source, self.settle_s, self.patience_s = source, settle_s, patience_s
        self._seen: dict[Path, Seen] = {}

    def seen(self, path: Path) -> Seen:
        """Return what is known of a file."""
        return self._seen.setdefault(path, Seen((0, 0), time.monotonic()))

    def complete(self) -> Iterator[Path]:
        """Give the files that have stayed as they are for long enough, and are not done with.

        Raises
        ------
        EverhartError
            If the folder cannot be read.
        """
        try:
            found = sorted(p for p in self.source.iterdir() if p.is_file() and _is_wanted(p))
        except OSError as error:
            raise EverhartError(
                f"The folder {self.source} cannot be read ({error.strerror}): check the disk or "
                "the share, and start again."
            ) from error
        for path in self._seen.keys() - set(found):
            del self._seen[path]
        moment = time.monotonic()
        for path in found:
            try:
                state = path.stat()
            except OSError:  # it was moved just now
                continue
            now = (state.st_size, state.st_mtime_ns)
            seen = self._seen.get(path)
            if seen is None or seen.state != now:
                self._seen[path] = Seen(now, moment)
            elif not seen.is_done and state.st_size and moment - seen.since >= self._settle(seen):
                yield path

    def _settle(self, seen: Seen) -> float:
        waited: float = self.settle_s * 2**seen.failures
        return min(waited, self.patience_s)


def put_aside(path: Path, failed: Path, reason: str) -> None:
    """Move a file into a folder, with the reason in a text file beside it.

    Raises
    ------
    EverhartError
        If it cannot be moved.
    """
    failed.mkdir(exist_ok=True)
    target = free(failed / file_name(path.name))
    # The reason first: a file without one would be a riddle.
    write_text(target.with_name(f"{target.name}.txt"), reason + "\n", overwrite=True)
    try:
        shutil.move(path, target)
    except OSError as error:
        raise EverhartError(
            f"{path} cannot be moved to {failed} ({error.strerror}): give the right to."
        ) from error


def hash_of(path: Path) -> str:
    """Return the sha256 of a file."""
    digest = hashlib.sha256()
    with path.open("rb") as stream:
        while piece := stream.read(_READ_AT_ONCE):
            digest.update(piece)
    return digest.hexdigest()


def free(path: Path, taken: Collection[str] = ()) -> Path:
    """Return a path that nothing has yet: itself, or one with a number."""
    number, found = 2, path
    while found.exists() or found.name in taken:
        found = path.with_name(f"{path.stem}-{number}{path.suffix}")
        number += 1
    return found


def _is_wanted(path: Path) -> bool:
    # Names under which programs write what they rename when it is whole.
    return not path.name.startswith((".", "~")) and path.suffix.lower() not in (
        ".tmp", ".part", ".partial", ".crdownload", ".txt", ".xml", ".json", ".hdr",
    )  # fmt: skip

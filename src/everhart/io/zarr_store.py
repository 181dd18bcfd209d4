"""The files of a Zarr store, in a folder or in a zip: none is read that lies outside of it.

The metadata of a store name the places of its parts, and a folder can hold links and pipes. A key
is therefore looked at before it is joined to the folder, and a file before it is opened.
"""

from __future__ import annotations

import os
import re
import stat
import zipfile
import zlib
from collections.abc import Iterable
from pathlib import Path
from typing import Protocol

from everhart.errors import FileFormatError, LimitError

__all__ = [
    "FolderStore",
    "Store",
    "ZipStore",
    "checked_key",
    "is_store",
    "only_store",
    "store_root",
]

_MARKERS = ("zarr.json", ".zgroup", ".zarray", ".zattrs")
_METADATA = {*_MARKERS, ".zmetadata"}
_CHUNK_NAME = re.compile(r"(c\.)?\d+(\.\d+)*|c")
_MOST_NAMES = 10_000
_MOST_MEMBERS = 100_000
# What lies before a part of a packed member has to be unpacked to get there.
_MOST_PASSED_OVER = 64 << 20
_ZIP_FAULTS = (OSError, EOFError, zlib.error, zipfile.BadZipFile, NotImplementedError, RuntimeError,
               ValueError)  # fmt: skip


class Store(Protocol):
    """Files by key: names that are joined by slashes."""

    path: Path

    def read(
        self, key: str, most: int, *, start: int = 0, length: int | None = None
    ) -> bytes | None:
        """Return the bytes of a file, or a part of them; None if there is no such file.

        Parameters
        ----------
        key
            The file.
        most
            Bytes that it may have, or its part.
        start, length
            Where the part begins, from the end if negative, and its bytes; None for all of them.

        Raises
        ------
        FileFormatError
            If it is no ordinary file of this store, or has more bytes.
        """

    def names(self, key: str) -> list[str]:
        """Return the names of the folders in a folder, in order; the first 10,000 at most."""

    def bytes_under(self, key: str, enough: int) -> int:
        """Return the bytes of all chunks under a key; counting ends when there are enough."""


def checked_key(path: Path, key: str) -> str:
    """Return a key that stays in the store.

    Raises
    ------
    FileFormatError
        If it is absolute, an address, or leads out of the store.
    """
    parts = [part for part in key.split("/") if part not in ("", ".")]
    foreign = key.startswith("/") or any(
        part == ".." or re.search(r"[\\:\0]", part) is not None for part in parts
    )
    if foreign:
        raise FileFormatError(
            f"{path} points to {key[:80]!r}, which is outside of it: only what lies in the store "
            "itself is read; copy it there."
        )
    return "/".join(parts)


class FolderStore:
    """A store in a folder.

    Parameters
    ----------
    path
        The folder.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._root = path.resolve()
        self._checked: set[str] = set()

    def read(
        self, key: str, most: int, *, start: int = 0, length: int | None = None
    ) -> bytes | None:
        """Return the bytes of a file; see :class:`Store`."""
        file = self._file(key)
        if file is None:
            return None
        with file.open("rb") as opened:
            size = os.fstat(opened.fileno()).st_size
            first = start if start >= 0 else size + start
            count = size - first if length is None else length
            _check_part(self.path, key, size, first, count, most)
            opened.seek(first)
            return opened.read(count)

    def _file(self, key: str) -> Path | None:
        parent = key.rpartition("/")[0]
        file = self._root / key
        try:
            if parent not in self._checked:
                self._check(file.parent, key)
                self._checked.add(parent)
            mode = file.lstat().st_mode
            if stat.S_ISLNK(mode):
                self._check(file, key)
                mode = file.stat().st_mode
        except (FileNotFoundError, NotADirectoryError):
            return None
        except (OSError, RuntimeError, ValueError) as error:  # a ring of links, a name too long
            raise FileFormatError(
                f"{self.path} has a part {key[-80:]!r} that cannot be read ({error}): copy the "
                "store again from its source."
            ) from error
        if not stat.S_ISREG(mode):  # to open a pipe would wait for ever
            raise FileFormatError(
                f"{self.path} has a part {key[-80:]!r} that is no ordinary file: copy the store "
                "again from its source."
            )
        return file

    def _check(self, file: Path, key: str) -> None:
        if not file.resolve().is_relative_to(self._root):
            raise FileFormatError(
                f"{self.path} has a link {key[-80:]!r} that leads out of it: only what lies in the "
                "store itself is read; copy it there."
            )

    def names(self, key: str) -> list[str]:
        """Return the folders in a folder; see :class:`Store`."""
        try:
            with os.scandir(self._root / key) as entries:
                found = [entry.name for entry in entries if entry.is_dir(follow_symlinks=False)]
        except OSError:
            return []
        return _in_order(found)

    def bytes_under(self, key: str, enough: int) -> int:
        """Count bytes; see :class:`Store`."""
        total = 0
        for folder, _, files in os.walk(self._root / key):
            for name in set(files) - _METADATA:
                total += (Path(folder) / name).lstat().st_size
                if total >= enough:
                    return total
        return total


class ZipStore:
    """A store in a zip file.

    Parameters
    ----------
    path
        The zip file.
    root
        The folder in it that is the store, such as ``"image.zarr"``; empty for the zip itself.

    Raises
    ------
    FileFormatError
        If it is broken.
    LimitError
        If it has too many files.
    """

    def __init__(self, path: Path, root: str = "") -> None:
        self.path = path
        try:
            self._archive = zipfile.ZipFile(path)
        except _ZIP_FAULTS as error:
            raise _broken_zip(path, error) from error
        if len(self._archive.infolist()) > _MOST_MEMBERS:
            self.close()
            raise LimitError(
                f"{path} holds more than {_MOST_MEMBERS:,} files: unpack it, and give the folder."
            )
        prefix = f"{root}/" if root else ""
        self._entries = {
            entry.filename.removeprefix(prefix): entry
            for entry in self._archive.infolist()
            if entry.filename.startswith(prefix) and not entry.is_dir()
        }

    def close(self) -> None:
        """Close the file."""
        self._archive.close()

    def read(
        self, key: str, most: int, *, start: int = 0, length: int | None = None
    ) -> bytes | None:
        """Return the bytes of a member; see :class:`Store`."""
        entry = self._entries.get(key)
        if entry is None:
            return None
        size = entry.file_size
        first = start if start >= 0 else size + start
        count = size - first if length is None else length
        _check_part(self.path, key, size, first, count, most)
        if first > _MOST_PASSED_OVER and entry.compress_type != zipfile.ZIP_STORED:
            raise LimitError(
                f"{self.path} packs large parts of an image once more: unpack it, and give the "
                "folder."
            )
        try:
            with self._archive.open(entry) as stream:
                stream.seek(first)
                found = stream.read(count)  # and no more, whatever it unpacks to
        except _ZIP_FAULTS as error:
            raise _broken_zip(self.path, error) from error
        if len(found) < count:
            raise _broken_zip(self.path, EOFError(f"{key[-80:]!r} is cut short"))
        return found

    def names(self, key: str) -> list[str]:
        """Return the folders in a folder; see :class:`Store`."""
        prefix = f"{key}/" if key else ""
        return _in_order(
            {
                name.removeprefix(prefix).partition("/")[0]
                for name in self._entries
                if name.startswith(prefix) and "/" in name.removeprefix(prefix)
            }
        )

    def bytes_under(self, key: str, enough: int) -> int:
        """Count bytes; see :class:`Store`."""
        total = 0
        for name, entry in self._entries.items():
            of_key = name.startswith(f"{key}/" if key else "")
            if of_key and name.rpartition("/")[2] not in _METADATA:
                total += entry.compress_size
            if total >= enough:
                break
        return total


def store_root(names: Iterable[str]) -> str | None:
    """Return the folder that is a Zarr store among the names of files in an archive.

    Parameters
    ----------
    names
        Names of all files.

    Returns
    -------
    str or None
        ``""`` for the archive itself, one folder at its top, or None if there is no store.
    """
    roots = set()
    for name in names:
        folder, _, file = name.rpartition("/")
        if file in _MARKERS and "/" not in folder:
            roots.add(folder)
    if "" in roots:
        return ""
    return roots.pop() if len(roots) == 1 else None


def is_store(path: Path) -> bool:
    """Say whether a folder is a Zarr store, or a group or an array in one."""
    return any((path / name).is_file() for name in _MARKERS)


def only_store(path: Path) -> bool:
    """Say whether a folder is a Zarr store, and has no other files in it than those of Zarr."""
    if not is_store(path):
        return False
    return all(
        name in _METADATA or _CHUNK_NAME.fullmatch(name)
        for _, _, names in os.walk(path)
        for name in names
    )


def _check_part(path: Path, key: str, size: int, first: int, count: int, most: int) -> None:
    if first < 0 or count < 0 or first + count > size:
        raise FileFormatError(
            f"{path} is broken or truncated: its part {key[-80:]!r} has {size:,} bytes, and bytes "
            f"{first:,} to {first + count:,} are asked for; copy the store again from its source."
        )
    if count > most:
        raise FileFormatError(
            f"{path} is broken: its part {key[-80:]!r} has {count:,} bytes, where {most:,} at most "
            "make sense; copy the store again from its source."
        )


def _in_order(names: Iterable[str]) -> list[str]:
    shown = [name for name in names if not name.startswith(".")]
    return sorted(shown, key=lambda name: (len(name), name))[:_MOST_NAMES]


def _broken_zip(path: Path, error: Exception) -> FileFormatError:
    reason = " ".join(str(error).split())[:120] or type(error).__name__
    return FileFormatError(
        f"{path} is a broken or truncated archive ({reason}): get it again from its source."
    )

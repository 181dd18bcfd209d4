"""Unpack one image and what lies beside it, without believing what the archive says.

Members are streamed, and counted while they are: neither the sizes nor the paths that an archive
claims are used.
"""

from __future__ import annotations

import bz2
import gzip
import io
import lzma
import re
import struct
import tarfile
import zipfile
import zlib
from collections.abc import Generator, Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import IO, NamedTuple

from everhart.errors import EverhartError, FileFormatError, LimitError
from everhart.io.limits import Limits
from everhart.io.registry import SNIFFED_BYTES, Format, formats

__all__ = ["Unpacked", "kind_of_pack", "unpack"]

_MAGIC = {
    b"\x1f\x8b": "gzip",
    b"PK\x03\x04": "zip",
    b"PK\x05\x06": "zip",
    b"BZh": "bzip2",
    b"\xfd7zXZ\0": "xz",
}
_STREAMS = {"gzip": gzip.GzipFile, "bzip2": bz2.BZ2File, "xz": lzma.LZMAFile}
_TAR_MAGIC, _TAR_MAGIC_AT = b"ustar", 257

_MOST_MEMBERS = 10_000
_MOST_SIDECARS, _SIDECAR_BYTES = 16, 1 << 20
_NAMED = 5
_CHUNK = 1 << 20
_BROKEN = (OSError, EOFError, zlib.error, lzma.LZMAError, tarfile.TarError, zipfile.BadZipFile,
           NotImplementedError, RuntimeError, ValueError, LookupError, struct.error)  # fmt: skip
_CLUTTER = re.compile(r"(^|/)(__MACOSX(/|$)|\.[^./]|Thumbs\.db$|desktop\.ini$)", re.IGNORECASE)


class Unpacked(NamedTuple):
    """An image that was unpacked.

    Parameters
    ----------
    file
        Where it is now.
    name
        What it is called in the archive.
    known
        Its format.
    """

    file: Path
    name: str
    known: Format


def kind_of_pack(start: bytes) -> str | None:
    """Return what a file that begins so is packed with, or None."""
    for magic, kind in _MAGIC.items():
        if start.startswith(magic):
            return kind
    is_tar = start[_TAR_MAGIC_AT : _TAR_MAGIC_AT + len(_TAR_MAGIC)] == _TAR_MAGIC
    return "tar" if is_tar else None


def unpack(path: Path, folder: Path, limits: Limits) -> Unpacked:
    """Unpack the one image of an archive.

    Parameters
    ----------
    path
        A gzip, bzip2, xz, zip or tar file, or a packed tar.
    folder
        An empty folder: the image goes there under its name, and small files beside it.
    limits
        Bytes that may be unpacked, and their ratio to the archive's.

    Returns
    -------
    Unpacked
        The image.

    Raises
    ------
    FileFormatError
        If the archive is broken, or holds no image or several.
    LimitError
        If too much comes out of it.
    """
    images: list[Unpacked] = []
    others: list[str] = []
    budget = _Budget(path, limits)
    sidecars = 0
    try:
        with closing(_members(path, limits)) as members:
            for count, (name, stream) in enumerate(members):
                if count == _MOST_MEMBERS:
                    raise FileFormatError(
                        f"{path} holds more than {_MOST_MEMBERS:,} files: unpack it, and give the "
                        "images or their folder."
                    )
                start = stream.read(SNIFFED_BYTES)
                known = _format_of(start)
                if known is None:
                    others.append(name)
                    if sidecars < _MOST_SIDECARS:
                        sidecars += 1
                        _copy(start, stream, folder / _safe(name), budget, _SIDECAR_BYTES)
                    continue
                images.append(Unpacked(folder / _safe(name), name, known))
                if len(_wanted(images)) <= 1:
                    _copy(start, stream, images[-1].file, budget, None)
                elif len(images) == _NAMED + 1:
                    break
    except EverhartError:
        raise
    except MemoryError as error:  # xz says how much its reader is to reserve
        raise LimitError(
            f"{path} takes more memory to unpack than there is: if you trust it, unpack it, and "
            "give the image."
        ) from error
    except _BROKEN as error:
        reason = " ".join(str(error).split())[:120] or type(error).__name__
        raise FileFormatError(
            f"{path} is a broken or truncated archive ({reason}): get it again from its source."
        ) from error
    return _the_one(path, images, others)


def _the_one(path: Path, images: list[Unpacked], others: list[str]) -> Unpacked:
    wanted = _wanted(images)
    if len(wanted) == 1:
        return wanted[0]
    if not wanted:
        inside = f"holds {_some(others)} and no image" if others else "is an empty archive"
        raise FileFormatError(f"{path} {inside}: give an archive with one image in it.")
    names = [image.name for image in wanted]
    raise FileFormatError(
        f"{path} holds several images ({_some(names)}): unpack it, and give the one that you "
        "want, or the folder."
    )


def _wanted(images: list[Unpacked]) -> list[Unpacked]:
    """Leave out the parts of an image: the .ser files that belong to an .emi."""
    heads = [image for image in images if image.file.suffix.lower() == ".emi"]
    if not heads:
        return images
    return [image for image in images if image.file.suffix.lower() != ".ser"]


def _some(names: list[str]) -> str:
    listed = ", ".join(repr(name) for name in names[:_NAMED])
    return listed + (", ..." if len(names) > _NAMED else "")


def _format_of(start: bytes) -> Format | None:
    if kind_of_pack(start) is not None:  # one pack in another is no image
        return None
    return next((known for known in formats() if known.sniff(start)), None)


def _safe(name: str) -> str:
    """Return a file name of harmless characters; the archive's folders are left out."""
    return re.sub(r"[^\w. -]", "_", name.replace("\\", "/").rpartition("/")[2])[-120:] or "image"


# -- members ----------------------------------------------------------------------------------
def _members(path: Path, limits: Limits) -> Generator[tuple[str, IO[bytes]], None, None]:
    """Yield the name and a stream of each regular file of an archive."""
    with path.open("rb") as file:
        kind = kind_of_pack(file.read(SNIFFED_BYTES))
    if kind == "zip":
        yield from _zip_members(path)
    elif kind == "tar":
        with path.open("rb") as plain:
            yield from _tar_members(plain)
    else:
        assert kind is not None
        with _STREAMS[kind](path) as packed:
            head = packed.read(512)
            # What is passed over in a packed tar is unpacked all the same.
            whole = io.BufferedReader(_Rejoined(head, packed, _Budget(path, limits)))
            if kind_of_pack(head) == "tar":
                yield from _tar_members(whole)
            else:
                yield path.name.rpartition(".")[0] or path.name, whole


def _zip_members(path: Path) -> Iterator[tuple[str, IO[bytes]]]:
    with zipfile.ZipFile(path) as archive:
        for entry in archive.infolist():
            if entry.is_dir() or _CLUTTER.search(entry.filename):
                continue
            if entry.flag_bits & 1:
                raise FileFormatError(f"{path} is encrypted: unpack it, and give the image.")
            with archive.open(entry) as stream:
                yield entry.filename, stream


def _tar_members(file: IO[bytes]) -> Iterator[tuple[str, IO[bytes]]]:
    with tarfile.open(fileobj=file, mode="r|") as archive:
        for entry in archive:
            if not entry.isreg() or _CLUTTER.search(entry.name.removeprefix("./")):
                continue
            stream = archive.extractfile(entry)
            if stream is not None:
                yield entry.name, stream


class _Rejoined(io.RawIOBase):
    """A stream whose beginning was read already."""

    def __init__(self, head: bytes, rest: IO[bytes], budget: _Budget) -> None:
        self.head, self.rest, self.budget = head, rest, budget

    def readable(self) -> bool:
        """Say that it can be read."""
        return True

    def readinto(self, buffer: memoryview) -> int:  # type: ignore[override]
        """Read into a buffer."""
        data = self.head[: len(buffer)] or self.rest.read(len(buffer))
        self.head = self.head[len(data) :] if self.head else b""
        buffer[: len(data)] = data
        self.budget.spend(len(data))
        return len(data)


# -- what comes out ---------------------------------------------------------------------------
class _Budget:
    """Counts what is unpacked."""

    def __init__(self, path: Path, limits: Limits) -> None:
        self.path, self.packed, self.used = path, path.stat().st_size, 0
        by_ratio = max(limits.ratio_free_bytes, int(limits.max_ratio * self.packed))
        self.most = min(limits.max_decoded_bytes, by_ratio)

    def spend(self, count: int) -> None:
        """Count bytes, or refuse them."""
        self.used += count
        if self.used > self.most:
            raise LimitError(
                f"{self.path} has {self.packed:,} bytes and unpacks to more than {self.most:,}, "
                "which is more than is allowed: if you trust it, unpack it, and give the image."
            )


def _copy(start: bytes, stream: IO[bytes], to: Path, budget: _Budget, most: int | None) -> None:
    """Write a member to a file; one of more than `most` bytes is left out."""
    written = 0
    with _removed_if_too_large(to) as keep, to.open("wb") as file:
        data = start
        while data:
            budget.spend(len(data))
            written += len(data)
            if most is not None and written > most:
                keep.clear()
                break
            file.write(data)
            data = stream.read(_CHUNK)


@contextmanager
def _removed_if_too_large(file: Path) -> Iterator[set[Path]]:
    keep = {file}
    yield keep
    if not keep:
        file.unlink()

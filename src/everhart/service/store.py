"""Where objects are kept: a local folder, or a bucket of an S3 store.

An object is named by the sha256 of its content. It is written before the database speaks of it,
so that what the database names is always there; one that nobody names is swept away, in two goes.
The first puts it aside, where it can still be read; the second, an hour later, deletes what was
put aside if there is still nothing that names it. So whoever writes an object has that hour for
the commit that names it, and one that was put aside a moment before its commit is put back.
"""

from __future__ import annotations

import asyncio
import errno
import os
import re
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from datetime import datetime, timedelta
from math import inf
from pathlib import Path
from tempfile import NamedTemporaryFile
from typing import Any, TypeVar

import obstore
from obstore.exceptions import BaseError
from obstore.store import LocalStore, S3Store

from everhart.errors import EverhartError
from everhart.service.settings import Settings
from everhart.service.tables import now

__all__ = ["ObjectStore", "StoreError", "open_store"]

_SHA256 = re.compile(r"[0-9a-f]{64}")
_PREFIX = "sha256"
_ASIDE = "swept"
_CHUNK = 4 << 20
_T = TypeVar("_T")


class StoreError(EverhartError):
    """The store does not answer, or is full."""


@dataclass(frozen=True)
class ObjectStore:
    """Objects by the sha256 of their content.

    Parameters
    ----------
    backend
        Store of obstore.
    root
        Folder of a local store; None of one elsewhere.
    """

    backend: Any
    root: Path | None = None

    def put(self, sha256: str, file: Path, *, move: bool = False) -> None:
        """Keep the content of a file. To keep it twice does no harm.

        Parameters
        ----------
        sha256
            Its hash.
        file
            The file.
        move
            Whether the file itself may become the object, which spares a copy.

        Raises
        ------
        StoreError
            If it cannot be kept.
        """
        with _explained("keep an object"):
            if move and self.root is not None and _moved(file, self.root / _key(sha256)):
                return
            with file.open("rb") as stream:
                obstore.put(self.backend, _key(sha256), stream)

    def get(self, sha256: str) -> bytes:
        """Return a whole object, for small ones."""
        with _explained("read an object"):
            return bytes(self._or_put_back(sha256, obstore.get).bytes())

    async def stream(self, sha256: str) -> AsyncIterator[bytes]:
        """Open an object, and give its content in pieces; an error comes before the first."""
        with _explained("read an object"):
            try:
                found = await obstore.get_async(self.backend, _key(sha256))
            except FileNotFoundError:
                found = await asyncio.to_thread(self._or_put_back, sha256, obstore.get)

        async def pieces() -> AsyncIterator[bytes]:
            async for piece in found.stream(min_chunk_size=_CHUNK):
                yield bytes(piece)

        return pieces()

    @contextmanager
    def as_file(self, sha256: str, folder: Path) -> Iterator[Path]:
        """Give a file that has the content: the object itself, or a copy in `folder`."""
        if self.root is not None:
            with _explained("read an object"):
                self._or_put_back(sha256, obstore.head)
            yield self.root / _key(sha256)
            return
        with NamedTemporaryFile(dir=folder, prefix="object-") as copy:
            with _explained("read an object"):
                for piece in self._or_put_back(sha256, obstore.get).stream(_CHUNK):
                    copy.write(piece)
            copy.flush()
            yield Path(copy.name)

    def presigned(self, sha256: str, expires: timedelta) -> str | None:
        """Return an URL from which the object can be had for a while; None for a local store."""
        if self.root is not None:
            return None
        with _explained("sign an URL"):
            return str(obstore.sign(self.backend, "GET", _key(sha256), expires))

    def check(self) -> None:
        """Ask the store for an answer."""
        with _explained("be listed"):
            for _ in obstore.list(self.backend, prefix=f"{_PREFIX}/00", chunk_size=1):
                break

    def sweep(self, is_known: Callable[[list[str]], set[str]], older_than: timedelta) -> list[str]:
        """Put aside objects that the database does not name; delete what was put aside before.

        Parameters
        ----------
        is_known
            Gives those of some names that the database has.
        older_than
            Younger objects are left, and so is what was put aside later than that: theirs may be
            the next commit.

        Returns
        -------
        list of str
            Names of the deleted objects.
        """
        moment = now()
        with _explained("be swept"):
            deleted = self._delete_aside(is_known, moment - older_than)
            for chunk in obstore.list(self.backend, prefix=_PREFIX, chunk_size=500):
                old = [
                    name
                    for meta in chunk
                    if meta["last_modified"] < moment - older_than
                    and _SHA256.fullmatch(name := meta["path"].rsplit("/", 1)[-1])
                ]
                for name in sorted(set(old) - is_known(old)):
                    aside = f"{_ASIDE}/{int(moment.timestamp())}/{name}"
                    with suppress(FileNotFoundError):  # another process sweeps too
                        # It may have come again since the list was made.
                        if self._modified(name) < moment - older_than:
                            obstore.rename(self.backend, _key(name), aside)
        return deleted

    def _delete_aside(
        self, is_known: Callable[[list[str]], set[str]], limit: datetime
    ) -> list[str]:
        deleted: list[str] = []
        for chunk in obstore.list(self.backend, prefix=_ASIDE, chunk_size=500):
            old = {
                name: meta["path"]
                for meta in chunk
                if (name := _name_aside(meta["path"], limit.timestamp())) is not None
            }
            known = is_known(list(old))
            for name, path in sorted(old.items()):
                with suppress(FileNotFoundError):
                    if name in known:
                        obstore.rename(self.backend, path, _key(name))
                    else:
                        obstore.delete(self.backend, path)
                        deleted.append(name)
        return deleted

    def _modified(self, sha256: str) -> datetime:
        modified: datetime = obstore.head(self.backend, _key(sha256))["last_modified"]
        return modified

    def _or_put_back(self, sha256: str, read: Callable[..., _T]) -> _T:
        """Read an object; put it back first if it was put aside."""
        try:
            return read(self.backend, _key(sha256))
        except FileNotFoundError:
            for chunk in obstore.list(self.backend, prefix=_ASIDE, chunk_size=500):
                for meta in chunk:
                    if _name_aside(meta["path"], inf) == sha256:
                        with suppress(FileNotFoundError):  # somebody else did
                            obstore.rename(self.backend, meta["path"], _key(sha256))
                        return read(self.backend, _key(sha256))
            raise StoreError(
                f"The object {sha256} is not in the store: restore a backup."
            ) from None


def open_store(settings: Settings) -> ObjectStore:
    """Open the store of the settings.

    Raises
    ------
    EverhartError
        If the settings cannot be used.
    """
    if settings.store is None:
        root = settings.folder / "objects"
        root.mkdir(parents=True, exist_ok=True, mode=0o700)
        return ObjectStore(LocalStore(root), root)
    bucket, _, prefix = settings.store.removeprefix("s3://").partition("/")
    options: dict[str, Any] = {"prefix": prefix or None}
    if settings.s3_endpoint is not None:
        options["endpoint"] = settings.s3_endpoint
        options["virtual_hosted_style_request"] = False
    client = {"allow_http": True, "connect_timeout": "3s", "timeout": "300s"}
    retry = {"max_retries": 3, "retry_timeout": timedelta(seconds=20)}
    try:
        backend = S3Store(bucket, client_options=client, retry_config=retry, **options)  # type: ignore[arg-type]
    except BaseError as error:
        raise EverhartError(f"The store {settings.store} cannot be used ({error}).") from error
    return ObjectStore(backend)


def _key(sha256: str) -> str:
    if not _SHA256.fullmatch(sha256):
        raise ValueError(f"{sha256!r} is no sha256")
    return f"{_PREFIX}/{sha256[:2]}/{sha256}"


def _name_aside(path: str, limit: float) -> str | None:
    """Return the name of an object that was put aside before a time, in s since 1970."""
    _, moment, name = path.rsplit("/", 2)
    is_older = moment.isdigit() and int(moment) <= limit
    return name if is_older and _SHA256.fullmatch(name) else None


def _moved(file: Path, target: Path) -> bool:
    """Make a file the object; False if it is on another disk."""
    target.parent.mkdir(parents=True, exist_ok=True)
    try:
        # On the disk before the commit that names it, or a power cut leaves a name of nothing.
        with file.open("rb") as stream:
            os.fsync(stream.fileno())
        file.replace(target)
    except OSError as error:
        if error.errno != errno.EXDEV:
            raise
        return False
    return True


@contextmanager
def _explained(what: str) -> Iterator[None]:
    try:
        yield
    except (BaseError, OSError) as error:
        words = " ".join(str(error).split())[:300]
        raise StoreError(
            f"The object store could not {what} ({words}): check that it runs and has space."
        ) from error

"""Where objects are kept: a local folder, or a bucket of an S3 store.

An object is named by the sha256 of its content. It is written before the database speaks of it,
so that what the database names is always there; one that nobody names is swept away.
"""

from __future__ import annotations

import re
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from tempfile import NamedTemporaryFile
from typing import Any

import obstore
from obstore.exceptions import BaseError
from obstore.store import LocalStore, S3Store

from everhart.errors import EverhartError
from everhart.service.settings import Settings
from everhart.service.tables import now

__all__ = ["ObjectStore", "StoreError", "open_store"]

_SHA256 = re.compile(r"[0-9a-f]{64}")
_PREFIX = "sha256"
_CHUNK = 4 << 20


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

    def put(self, sha256: str, file: Path) -> None:
        """Keep the content of a file. To keep it twice does no harm.

        Raises
        ------
        StoreError
            If it cannot be kept.
        """
        with _explained("keep an object"), file.open("rb") as stream:
            obstore.put(self.backend, _key(sha256), stream)

    def get(self, sha256: str) -> bytes:
        """Return a whole object, for small ones."""
        with _explained("read an object"):
            return bytes(obstore.get(self.backend, _key(sha256)).bytes())

    async def stream(self, sha256: str) -> AsyncIterator[bytes]:
        """Open an object, and give its content in pieces; an error comes before the first."""
        with _explained("read an object"):
            found = await obstore.get_async(self.backend, _key(sha256))

        async def pieces() -> AsyncIterator[bytes]:
            async for piece in found.stream(min_chunk_size=_CHUNK):
                yield bytes(piece)

        return pieces()

    @contextmanager
    def as_file(self, sha256: str, folder: Path) -> Iterator[Path]:
        """Give a file that has the content: the object itself, or a copy in `folder`."""
        if self.root is not None:
            path = self.root / _key(sha256)
            if not path.is_file():
                raise StoreError(f"The object {sha256} is not in the store: restore a backup.")
            yield path
            return
        with NamedTemporaryFile(dir=folder, prefix="object-") as copy:
            with _explained("read an object"):
                for piece in obstore.get(self.backend, _key(sha256)).stream(_CHUNK):
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
        """Delete objects that the database does not name.

        Parameters
        ----------
        is_known
            Gives those of some names that the database has.
        older_than
            Younger objects are left: theirs may be the next commit.

        Returns
        -------
        list of str
            Names of the deleted objects.
        """
        deleted: list[str] = []
        limit = now() - older_than
        with _explained("be swept"):
            for chunk in obstore.list(self.backend, prefix=_PREFIX, chunk_size=500):
                old = {
                    name: meta["path"]
                    for meta in chunk
                    if meta["last_modified"] < limit
                    and _SHA256.fullmatch(name := meta["path"].rsplit("/", 1)[-1])
                }
                orphans = set(old) - is_known(list(old))
                if orphans:
                    obstore.delete(self.backend, [old[name] for name in sorted(orphans)])
                    deleted += sorted(orphans)
        return deleted


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


@contextmanager
def _explained(what: str) -> Iterator[None]:
    try:
        yield
    except (BaseError, OSError) as error:
        words = " ".join(str(error).split())[:300]
        raise StoreError(
            f"The object store could not {what} ({words}): check that it runs and has space."
        ) from error

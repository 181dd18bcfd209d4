"""From a stream of bytes to an image in store and database, or to nothing at all."""

from __future__ import annotations

import asyncio
import errno
import hashlib
import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from tempfile import mkstemp

from sqlalchemy.exc import IntegrityError

from everhart.service.compute import CrashError
from everhart.service.limits import limits_of
from everhart.service.names import clean_name
from everhart.service.problems import ProblemError
from everhart.service.state import State
from everhart.service.tables import Image

__all__ = ["Received", "receive_image", "received"]

_WRITE_AT_ONCE = 1 << 20


@dataclass(frozen=True)
class Received:
    """A body that came whole: a temporary file, and the hash and size of its content."""

    path: Path
    sha256: str
    bytes: int


@asynccontextmanager
async def received(state: State, body: AsyncIterator[bytes]) -> AsyncIterator[Received]:
    """Write a body into a temporary file, which is deleted at the end unless it was moved.

    Raises
    ------
    ProblemError
        If the body is empty, or there is no space for it.
    """
    try:
        # The name of the temporary file says nothing.
        descriptor, name = mkstemp(dir=state.scratch, prefix="upload-")
        try:
            digest, size = hashlib.sha256(), 0

            def write(some: bytearray) -> None:
                file.write(some)
                digest.update(some)

            with os.fdopen(descriptor, "wb") as file:
                # Pieces come by the 64 kB: to write each in a thread would cost more than it
                # spares, and to write all of them here would keep other requests waiting.
                waiting = bytearray()
                async for piece in body:
                    waiting += piece
                    size += len(piece)
                    if len(waiting) >= _WRITE_AT_ONCE:
                        await asyncio.to_thread(write, waiting)
                        waiting = bytearray()
                write(waiting)
            if size == 0:
                raise ProblemError(422, "The body is empty: send the bytes of a file.")
            yield Received(Path(name), digest.hexdigest(), size)
        finally:
            with suppress(FileNotFoundError):
                os.unlink(name)  # noqa: PTH108 - one call
    except OSError as error:
        if error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG):
            raise ProblemError(
                507, "There is no space left for uploads: delete something, or ask who can."
            ) from error
        raise


async def receive_image(state: State, name: str, body: AsyncIterator[bytes]) -> tuple[Image, bool]:
    """Keep an uploaded image.

    Parameters
    ----------
    state
        What the routes share.
    name
        What it is called where it is from.
    body
        The file, in pieces.

    Returns
    -------
    Image, bool
        Its record, and whether it is new.

    Raises
    ------
    ProblemError
        If it is no file that can be read, or there is no space for it.
    """
    async with received(state, body) as file:
        known = await state.database.get(Image, file.sha256)
        if known is not None:
            return known, False
        image = await asyncio.to_thread(_looked_at_and_kept, state, file, clean_name(name))
    try:
        async with state.database.writing() as session:
            session.add(image)
    except IntegrityError:  # somebody else sent the same file at the same time
        known = await state.database.get(Image, file.sha256)
        if known is None:
            raise
        return known, False
    return image, True


def _looked_at_and_kept(state: State, file: Received, name: str) -> Image:
    image = _look(state, file.path, name, file.sha256, file.bytes)
    state.store.put(file.sha256, file.path, move=True)
    return image


def _look(state: State, path: Path, name: str, sha256: str, size: int) -> Image:
    limits = limits_of(state.settings)
    task = {"task": "inspect", "path": os.fspath(path), "name": name, "limits": limits}
    try:
        try:
            found = state.readers.run(dict(task))
        except CrashError:  # of something else, perhaps: a reader may have been killed while idle
            found = state.readers.run(dict(task))
    except CrashError as error:
        raise ProblemError(
            422, f"{name} crashed its reader: it is broken, so get it again from its source."
        ) from error
    size_nm = found["pixel_size_nm"] or (None, None)
    return Image(
        id=sha256,
        name=name,
        bytes=size,
        format=found["format"],
        frames=found["frames"],
        height=found["height"],
        width=found["width"],
        dtype=found["dtype"],
        pixel_size_y_nm=size_nm[0],
        pixel_size_x_nm=size_nm[1],
        pixel_size_source=found["pixel_size_source"],
        data_bar_rows=found["data_bar_rows"],
        tree=found["tree"],
        warnings=found["warnings"],
    )

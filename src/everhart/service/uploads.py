"""From a stream of bytes to an image in store and database, or to nothing at all."""

from __future__ import annotations

import asyncio
import errno
import hashlib
import os
from collections.abc import AsyncIterator
from dataclasses import asdict
from pathlib import Path
from tempfile import NamedTemporaryFile
from typing import Any

from sqlalchemy.exc import IntegrityError

from everhart.io.limits import Limits
from everhart.service.compute import CrashError
from everhart.service.names import clean_name
from everhart.service.problems import ProblemError
from everhart.service.settings import Settings
from everhart.service.state import State
from everhart.service.tables import Image

__all__ = ["limits_of", "receive_image"]


def limits_of(settings: Settings) -> dict[str, Any]:
    """Return what a file may claim to hold."""
    limits = Limits(
        max_pixels_per_plane=settings.max_pixels,
        max_decoded_bytes=int(settings.max_decoded_mb * 1e6),
    )
    return asdict(limits)


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
    try:
        # The name of the temporary file says nothing, and closing it deletes it.
        with NamedTemporaryFile(dir=state.scratch, prefix="upload-") as file:
            digest, size = hashlib.sha256(), 0
            async for piece in body:
                file.write(piece)
                digest.update(piece)
                size += len(piece)
            file.flush()
            sha256 = digest.hexdigest()
            if size == 0:
                raise ProblemError(422, "The body is empty: send the bytes of an image file.")
            async with state.database.reading() as session:
                known = await session.get(Image, sha256)
            if known is not None:
                return known, False
            path = Path(file.name)
            image = await asyncio.to_thread(_look, state, path, clean_name(name), sha256, size)
            await asyncio.to_thread(state.store.put, sha256, path)
    except OSError as error:
        if error.errno in (errno.ENOSPC, errno.EDQUOT):
            raise ProblemError(
                507, "There is no space left for uploads: delete something, or ask who can."
            ) from error
        raise
    try:
        async with state.database.writing() as session:
            session.add(image)
    except IntegrityError:  # somebody else sent the same file at the same time
        async with state.database.reading() as session:
            known = await session.get(Image, sha256)
        if known is None:
            raise
        return known, False
    return image, True


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
        warnings=[w.replace(f"{path}: ", "") for w in found["warnings"]],
    )

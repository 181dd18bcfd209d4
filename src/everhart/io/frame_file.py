"""One file as frames that are read one at a time."""

from __future__ import annotations

import mmap
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from everhart.errors import EverhartError
from everhart.io.lazy import FrameReader
from everhart.io.limits import Limits
from everhart.io.registry import Format, format_to_read
from everhart.micrograph import Micrograph

__all__ = ["FrameFile", "is_mapped"]

# Pages of a mapped file that were read count as memory of this process until it is closed.
_MOST_TOUCHED_BYTES = 128 << 20


@dataclass
class FrameFile:
    """A file whose frames are read when they are asked for.

    It is opened at the first question, and can be closed and asked again.

    Parameters
    ----------
    path
        The file.
    limits
        Checked before anything is decoded.
    """

    path: Path
    limits: Limits

    def __post_init__(self) -> None:
        self.format: Format = format_to_read(self.path)
        self._reader: FrameReader | None = None
        self._is_mapped = False
        self._touched_bytes = 0

    def reader(self) -> FrameReader:
        """Open the file, unless it is open."""
        if self._reader is None:
            try:
                self._reader = self._open()
            except OSError as error:
                raise _unreadable(self.path, error) from error
        return self._reader

    def frame(self, number: int) -> NDArray[Any]:
        """Read one frame ``(H, W)``, an array of its own."""
        try:
            frame = self.reader().frame(number)
        except OSError as error:
            raise _unreadable(self.path, error) from error
        self._touched_bytes += frame.nbytes
        if self._is_mapped and self._touched_bytes > _MOST_TOUCHED_BYTES:
            self.close()
        return frame

    def close(self) -> None:
        """Give back the file and what memory it takes."""
        if self._reader is not None:
            self._reader.close()
        self._reader, self._touched_bytes = None, 0

    def _open(self) -> FrameReader:
        if self.format.frames is not None:
            return self.format.frames(self.path, self.limits)
        image = self.format.read(self.path, self.limits)
        self._is_mapped = is_mapped(image.pixels)
        return _frames_of(image)


def is_mapped(pixels: NDArray[Any]) -> bool:
    """Say whether an array lies in a file that is mapped into memory."""
    base: Any = pixels
    while base is not None:
        if isinstance(base, mmap.mmap):
            return True
        base = base.obj if isinstance(base, memoryview) else getattr(base, "base", None)
    return False


def _frames_of(image: Micrograph) -> FrameReader:
    stack = image.pixels if image.ndim == 3 else image.pixels[None]
    frames, height, width = stack.shape
    return FrameReader(
        shape=(frames, height, width),
        dtype=stack.dtype,
        frame=lambda number: np.array(stack[number]),
        close=lambda: None,
        pixel_size_nm=image.pixel_size_nm,
        metadata=image.metadata,
        data_bar_rows=image.data_bar_rows,
        history=image.history,
    )


def _unreadable(path: Path, error: OSError) -> EverhartError:
    return EverhartError(f"{path} cannot be read: {error.strerror or error}.")

"""Files decoded in child processes, so that a broken one costs a sentence and not the window."""

from __future__ import annotations

import itertools
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from everhart.io import DEFAULT_LIMITS
from everhart.micrograph import HistoryEntry, Micrograph
from everhart.service.compute import ComputePool

__all__ = ["Picture", "Reader"]

_MEMORY_MB = 8192.0
_SECONDS = 120.0


@dataclass(frozen=True, eq=False)
class Picture:
    """A frame of a file, loaded.

    Parameters
    ----------
    path
        The file.
    image
        The frame ``(H, W)``.
    frame, frames
        Which one it is, from 0, and how many there are.
    warnings
        What the reader could not use.
    """

    path: Path
    image: Micrograph
    frame: int = 0
    frames: int = 1
    warnings: tuple[str, ...] = ()


class Reader:
    """Reads images and thumbnails in two child processes that live as long as the window.

    Its functions block; they are called in threads.

    Parameters
    ----------
    scratch
        Folder of temporary files.
    """

    def __init__(self, scratch: Path) -> None:
        self.scratch = scratch
        # Apart, so that a picture that was clicked does not wait behind a folder of thumbnails.
        self._images = ComputePool(1, memory_mb=_MEMORY_MB, seconds=_SECONDS, scratch=scratch)
        self._small = ComputePool(1, memory_mb=_MEMORY_MB, seconds=_SECONDS, scratch=scratch)
        self._numbers = itertools.count()

    def warm(self) -> None:
        """Start the child of the images, before the first click."""
        self._images.warm()

    def load(self, path: Path, frame: int = 0, pixel_size_nm: float | None = None) -> Picture:
        """Decode a frame of a file.

        Parameters
        ----------
        path
            The file.
        frame
            Which frame, from 0.
        pixel_size_nm
            In place of what the file says.

        Raises
        ------
        UsageError, FileFormatError, EverhartError
            As :func:`everhart.io.read` does.
        """
        output = self.scratch / f"frame-{next(self._numbers)}.npy"
        try:
            answer = self._images.run(
                {
                    "task": "load",
                    "path": str(path),
                    "limits": asdict(DEFAULT_LIMITS),
                    "frame": frame,
                    "output": str(output),
                    "pixel_size_nm": pixel_size_nm,
                }
            )
            pixels = np.load(output, allow_pickle=False)
        finally:
            output.unlink(missing_ok=True)
        size = answer["pixel_size_nm"]
        image = Micrograph(
            pixels,
            None if size is None else (float(size[0]), float(size[1])),
            dict(answer["metadata"]),
            tuple(HistoryEntry.from_dict(entry) for entry in answer["history"]),
            int(answer["data_bar_rows"]),
        )
        return Picture(path, image, frame, int(answer["frames"]), tuple(answer["warnings"]))

    def thumbnail(self, path: Path, longest_px: int) -> NDArray[np.uint8]:
        """Return a small picture of a file, uint8 ``(h, w)``."""
        from PIL import Image

        output = self.scratch / f"small-{next(self._numbers)}.png"
        try:
            self._small.run(
                {
                    "task": "preview",
                    "path": str(path),
                    "name": path.name,
                    "limits": asdict(DEFAULT_LIMITS),
                    "frame": 0,
                    "longest_px": longest_px,
                    "output": str(output),
                }
            )
            with Image.open(output) as picture:
                return np.array(picture.convert("L"))
        finally:
            output.unlink(missing_ok=True)

    def close(self) -> None:
        """Stop the children."""
        self._images.close()
        self._small.close()

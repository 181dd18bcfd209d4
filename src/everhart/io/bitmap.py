"""PNG, JPEG and BMP, read with Pillow.

The plug-in of a format is called directly, not through ``PIL.Image.open``: that one has a
limit of its own, which is global state and below the size of honest micrographs.
"""

from __future__ import annotations

import io
import os
import textwrap
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from everhart.errors import EverhartError, FileFormatError
from everhart.io.calibration import NM_PER_UNIT, Calibration, from_resolution
from everhart.io.grey import bands_to_grey, palette_to_grey
from everhart.io.limits import Limits
from everhart.io.warning import warn

if TYPE_CHECKING:
    from PIL.ImageFile import ImageFile

__all__ = ["bitmap_pixels", "bitmap_resolution", "broken", "in_short"]

_LARGE_CHUNK = 1 << 20
# Pillow mode -> (bands, bytes a band) once decoded
_MODES = {
    "1": (1, 1),
    "L": (1, 1),
    "LA": (2, 1),
    "P": (1, 1),
    "PA": (2, 1),
    "RGB": (3, 1),
    "RGBA": (4, 1),
    "RGBX": (4, 1),
    "YCbCr": (3, 1),
    "CMYK": (4, 1),
    "I;16": (1, 2),
    "I;16B": (1, 2),
    "I": (1, 4),
    "F": (1, 4),
}


def bitmap_pixels(
    path: Path,
    limits: Limits,
    plugin: Callable[[Any, str], ImageFile],
    *,
    deep_colour: Callable[[bytes], NDArray[Any]] | None = None,
) -> tuple[NDArray[Any], dict[str, Any]]:
    """Read the pixels of a bitmap file as grey.

    Parameters
    ----------
    path
        The file.
    limits
        Checked before anything is decoded.
    plugin
        The format's Pillow class, called with the open file and its name.
    deep_colour
        Decodes bands of 16 bits, which Pillow would cut to 8; None if there are none.

    Returns
    -------
    pixels
        Grey pixels, shape ``(H, W)``.
    info
        What Pillow found beside them.

    Raises
    ------
    FileFormatError
        If the file is broken or truncated.
    LimitError
        If its header claims too much.
    """
    with _Bounded(io.FileIO(path)) as file:
        return _read(path, limits, plugin, file, deep_colour)


class _Bounded(io.BufferedReader):
    """A file that takes memory for what is there, and not for all that a chunk claims to have."""

    def read(self, size: int | None = -1, /) -> bytes:
        if size is not None and size > _LARGE_CHUNK:
            size = min(size, max(0, os.fstat(self.fileno()).st_size - self.tell()))
        return super().read(size)


def _read(
    path: Path,
    limits: Limits,
    plugin: Callable[[Any, str], ImageFile],
    file: io.BufferedReader,
    deep_colour: Callable[[bytes], NDArray[Any]] | None,
) -> tuple[NDArray[Any], dict[str, Any]]:
    try:
        image = plugin(file, str(path))
    except (EverhartError, MemoryError):
        raise
    except Exception as error:  # the plug-ins raise nearly anything on a broken header
        raise broken(path, error) from error
    with image:
        bands, itemsize = _MODES.get(image.mode, (4, 4))
        if deep_colour is not None:
            itemsize = 2
        width, height = image.size
        size = path.stat().st_size
        limits.check(
            str(path), height=height, width=width, bands=bands, itemsize=itemsize, file_bytes=size
        )
        if getattr(image, "n_frames", 1) > 1:
            warn(path, "is an animation; its first frame was read")
        try:
            pixels = _decoded(path, image, deep_colour)
        except EverhartError:
            raise
        except MemoryError:
            raise
        except Exception as error:  # truncated data, bad checksums, broken palettes
            raise broken(path, error) from error
        # Whatever else was decoded on the way is in `info` now: PNG has text after the pixels.
        return pixels, {str(key): value for key, value in image.info.items()}


def _decoded(
    path: Path, image: ImageFile, deep_colour: Callable[[bytes], NDArray[Any]] | None
) -> NDArray[Any]:
    if deep_colour is not None:
        return bands_to_grey(path, deep_colour(path.read_bytes()))
    image.load()
    if image.mode in ("P", "PA"):
        indices = np.asarray(image)
        if indices.ndim == 3:
            indices = indices[..., 0]
        entries = image.getpalette("RGB") or []
        palette = np.array(entries, np.uint8).reshape(-1, 3)
        return palette_to_grey(path, indices, palette)
    if image.mode in ("CMYK", "YCbCr"):
        return bands_to_grey(path, np.asarray(image.convert("RGB")))
    pixels = np.array(image)  # a copy, because Pillow's own buffer is read-only
    if pixels.ndim == 3:
        return bands_to_grey(path, pixels)
    return pixels.astype(pixels.dtype.newbyteorder("="), copy=False)


def bitmap_resolution(path: Path, info: dict[str, Any]) -> Calibration | None:
    """Take the pixel size from the plain resolution of a bitmap, where it is no printer's."""
    dpi = info.get("dpi")
    try:
        x, y = (float(v) for v in dpi) if dpi is not None else (0.0, 0.0)
    except (TypeError, ValueError, ZeroDivisionError):
        return None
    return from_resolution(path, y, x, NM_PER_UNIT["inch"])


def in_short(error: Exception) -> str:
    """Return what an error says in a few words, or its kind if it says nothing."""
    said = textwrap.shorten(str(error), 100, placeholder=" ...").rstrip(".")
    return said or type(error).__name__


def broken(path: Path, error: Exception) -> FileFormatError:
    """Make the error for a file that a decoder gave up on."""
    return FileFormatError(
        f"{path} is broken or truncated ({in_short(error)}): get the file again from its source."
    )

"""PNG, with the calibration and the history in a text chunk."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from everhart.errors import UsageError
from everhart.io.bitmap import bitmap_pixels
from everhart.io.bitmap_findings import bitmap_micrograph
from everhart.io.limits import Limits
from everhart.io.record import RECORD_KEY, from_json, to_json
from everhart.io.registry import Format
from everhart.micrograph import Micrograph

__all__ = ["FORMAT"]

_MAGIC = b"\x89PNG\r\n\x1a\n"


def _sniff(start: bytes) -> bool:
    return start.startswith(_MAGIC)


def _read(path: Path, limits: Limits) -> Micrograph:
    from PIL.PngImagePlugin import PngImageFile

    with path.open("rb") as file:
        header = file.read(26)
    depth, colour_type = header[24:25], header[25:26]
    # Pillow reads grey of 16 bits, but cuts grey with alpha, RGB and RGBA to 8.
    deep = depth == b"\x10" and colour_type in (b"\x02", b"\x04", b"\x06")
    pixels, info = bitmap_pixels(
        path, limits, PngImageFile, deep_colour=_deep_colour if deep else None
    )
    text = info.get(RECORD_KEY)
    record = from_json(text) if isinstance(text, str) else None
    return bitmap_micrograph(path, pixels, info, record)


def _deep_colour(data: bytes) -> NDArray[Any]:
    import imagecodecs

    return np.asarray(imagecodecs.png_decode(data))


def _write(image: Micrograph, path: Path) -> None:
    from PIL import Image
    from PIL.PngImagePlugin import PngInfo

    if image.ndim != 2:
        raise UsageError(
            f"A stack of {image.n_frames} frames was to be written as PNG, which holds one image: "
            "write TIFF or NPY, or one frame a file."
        )
    if image.dtype not in (np.uint8, np.uint16, np.bool_):
        raise UsageError(
            f"Pixels of dtype {image.dtype} were to be written as PNG, which holds uint8, uint16 "
            "and bool: write TIFF or NPY, or scale the image to 8 or 16 bits first."
        )
    info = PngInfo()
    # Not compressed: readers refuse compressed text of more than 1 MB.
    info.add_text(RECORD_KEY, to_json(image), zip=False)
    picture = Image.fromarray(np.ascontiguousarray(image.pixels))
    # Noise does not compress: level 3 takes a third of the time of level 6 for 1 % more bytes.
    picture.save(path, format="PNG", pnginfo=info, compress_level=3)


FORMAT = Format("PNG", (".png",), _sniff, _read, _write, stacks=False)

"""DM3 and DM4: what Gatan's DigitalMicrograph writes."""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from everhart.errors import FileFormatError
from everhart.io.calibration import with_sources
from everhart.io.dm_tags import DmArray, DmFile, is_dm, read_dm_tags
from everhart.io.findings import Findings, guarded
from everhart.io.grey import bands_to_grey
from everhart.io.lazy import map_pixels
from everhart.io.limits import Limits
from everhart.io.registry import Format
from everhart.io.vendors.digital_micrograph import axes_of, from_dm_image
from everhart.io.vendors.values import Tree, section
from everhart.io.warning import warn
from everhart.micrograph import Micrograph

__all__ = ["FORMAT"]

# ImageData.DataType -> dtype
_DTYPES = {
    1: "i2", 2: "f4", 6: "u1", 7: "i4", 9: "i1", 10: "u2", 11: "u4", 12: "f8", 14: "?",
    39: "i8", 40: "u8",
}  # fmt: skip
_COMPLEX = {3, 5, 13, 27, 28}  # 5, 27 and 28 are packed: half of a Fourier transform
# Four bytes, in the byte order of the file: 0, red, green, blue from the highest on.
_COLOUR = {8, 23}


@dataclass(frozen=True)
class _Image:
    """An image in the file, whose claims agree with each other."""

    entry: Tree
    shape: tuple[int, int, int]
    dtype: np.dtype[Any]
    bands: int
    offset: int

    @property
    def is_mapped(self) -> bool:
        """Whether nothing has to be decoded."""
        return self.bands == 1 and self.dtype.kind != "b" and self.dtype.isnative

    def pixels(self, path: Path) -> NDArray[Any]:
        """Read it: a plane, or a stack if it has several frames."""
        shape = self.shape if self.shape[0] > 1 else self.shape[1:]
        if self.bands > 1:
            stored = map_pixels(
                path, offset=self.offset, shape=(*shape, 4), dtype=np.dtype(np.uint8)
            )
            order = [2, 1, 0] if self.dtype.newbyteorder("<") == self.dtype else [1, 2, 3]
            return bands_to_grey(path, stored[..., order])
        if self.dtype.kind == "b":  # other values than 0 and 1 would be no bool
            stored = map_pixels(path, offset=self.offset, shape=shape, dtype=np.uint8)
            return np.asarray(stored != 0)
        return map_pixels(path, offset=self.offset, shape=shape, dtype=self.dtype)


def _read(path: Path, limits: Limits) -> Micrograph:
    file = read_dm_tags(path)
    image = _main_image(path, file)
    frames, height, width = image.shape
    limits.check(
        str(path),
        height=height,
        width=width,
        frames=frames,
        bands=image.bands,
        itemsize=image.dtype.itemsize // image.bands,
        file_bytes=path.stat().st_size,
        mapped=image.is_mapped,
    )
    pixels = image.pixels(path)
    found = Findings()
    data = guarded(path, "DigitalMicrograph", lambda: from_dm_image(image.entry, file.version))
    if data is not None:
        found.take(path, data, pixels.shape)
    return with_sources(pixels, calibration=found.calibration, metadata=found.metadata)


def _main_image(path: Path, file: DmFile) -> _Image:
    """Choose the image that the document shows; the largest, if it shows several."""
    entries = file.tree.get("ImageList")
    if not isinstance(entries, list) or not entries:
        raise _inconsistent(path, "it has no list of images")
    images, refusals = [], []
    for number in _shown(file.tree, entries):
        try:
            images.append(_image(path, entries[number], file.byte_order))
        except FileFormatError as error:
            refusals.append(error)
    if not images:
        raise refusals[0]
    best = max(images, key=lambda image: image.shape[1] * image.shape[2])
    if len(images) > 1:
        warn(path, f"holds {len(images)} images; {best.entry.get('Name')!r}, the largest, was read")
    return best


def _shown(tree: Tree, entries: list[Any]) -> list[int]:
    """Return the numbers of the images that the document shows, never of its thumbnail."""
    thumbnails = {_at(item, "ImageIndex") for item in _list(tree, "Thumbnails")}
    thumbnails &= set(range(len(entries)))
    if len(entries) > 1 and not thumbnails:
        first = section(entries[0], "ImageData") if isinstance(entries[0], dict) else {}
        thumbnails = {0} if _at(first, "DataType") in _COLOUR else set()
    others = [n for n in range(len(entries)) if n not in thumbnails] or [len(entries) - 1]
    sources = _list(tree, "ImageSourceList")
    shown = []
    for item in _list(tree, "DocumentObjectList"):
        source = _at(item, "ImageSource")
        if 0 <= source < len(sources):
            shown.append(_at(sources[source], "ImageRef"))
    return [n for n in dict.fromkeys(shown) if n in others] or others


def _list(tree: Tree, name: str) -> list[Any]:
    found = tree.get(name)
    return found if isinstance(found, list) else []


def _at(item: Any, name: str) -> int:
    value = item.get(name) if isinstance(item, dict) else None
    return value if isinstance(value, int) else -1


def _image(path: Path, entry: Any, byte_order: str) -> _Image:
    """Check the claims of an entry of the list of images against each other.

    Raises
    ------
    FileFormatError
        If they disagree, or it is no image: complex, a spectrum, of more dimensions.
    """
    entry = entry if isinstance(entry, dict) else {}
    data = section(entry, "ImageData")
    stored, sizes, code = data.get("Data"), data.get("Dimensions"), _at(data, "DataType")
    if not isinstance(stored, DmArray):
        raise _inconsistent(path, "an image without its data")
    if not isinstance(sizes, list) or not all(type(n) is int and n > 0 for n in sizes):
        raise _inconsistent(path, f"an image of the dimensions {str(sizes)[:80]}")
    if code in _COMPLEX:
        raise FileFormatError(
            f"{path} holds complex numbers (a Fourier transform or a wave) and no image: export "
            "its modulus or its phase from DigitalMicrograph as an image of real numbers."
        )
    bands = 4 if code in _COLOUR else 1
    if bands == 1 and code not in _DTYPES:
        raise FileFormatError(
            f"{path} holds pixels of DigitalMicrograph's data type {code}: bool, "
            "integers and floats of 8 to 64 bits and RGB are read; convert the image to real "
            "numbers there."
        )
    dtype = np.dtype(byte_order + ("u4" if bands > 1 else _DTYPES[code]))
    if math.prod(sizes) * dtype.itemsize != stored.nbytes:
        raise _inconsistent(
            path,
            f"dimensions of {' x '.join(map(str, sizes[:8]))} at {dtype.itemsize} bytes a pixel, "
            f"and data of {stored.nbytes:,} bytes",
        )
    if "f" in (dtype.kind, stored.dtype.kind) and dtype.kind != stored.dtype.kind:
        raise _inconsistent(path, f"the data type {dtype.name}, and data of {stored.dtype.name}")
    return _Image(entry, _plane(path, entry, sizes), dtype, bands, stored.offset)


def _plane(path: Path, entry: Tree, sizes: list[int]) -> tuple[int, int, int]:
    """Return frames, rows and columns of what is an image; x runs fastest, then y, then z."""
    while len(sizes) > 2 and sizes[-1] == 1:
        sizes = sizes[:-1]
    kind = str(section(section(entry, "ImageTags"), "Meta Data").get("Format", ""))
    units = [str(axis.get("Units", "")).strip() for axis in axes_of(entry)[: len(sizes)]]
    energies = [unit for unit in units if unit.casefold().endswith("ev")]
    what = ""
    if len(sizes) < 2 or 1 in sizes[:2]:
        what = "a spectrum or a line profile"
    elif kind.casefold().startswith("spectrum"):
        what = f"a {kind.casefold()}"
    elif energies:
        what = f"a spectrum image (it has an axis in {energies[0]})"
    elif len(sizes) > 3:
        what = f"data of {len(sizes)} dimensions, such as a spectrum image or 4D-STEM,"
    if what:
        raise FileFormatError(
            f"{path} holds {what} and no image: images and stacks of images are read; export a "
            "map or a slice from DigitalMicrograph as an image."
        )
    return (sizes[2] if len(sizes) == 3 else 1), sizes[1], sizes[0]


def _inconsistent(path: Path, what: str) -> FileFormatError:
    return FileFormatError(
        f"{path} is a broken DigitalMicrograph file ({what}): get the file again from its source."
    )


FORMAT = Format("DigitalMicrograph", (".dm3", ".dm4"), is_dm, _read)

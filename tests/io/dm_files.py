"""A small writer of DM3 and DM4 files, for what the real files do not have."""

from __future__ import annotations

import struct
from typing import Any, NamedTuple

import numpy as np

CODES = {"i2": 2, "i4": 3, "u2": 4, "u4": 5, "f4": 6, "f8": 7, "b1": 8, "i1": 9, "u1": 10,
         "i8": 11, "u8": 12}  # fmt: skip
DATA_TYPES = {"i2": 1, "f4": 2, "c8": 3, "u1": 6, "i4": 7, "i1": 9, "u2": 10, "u4": 11, "f8": 12,
              "c16": 13, "b1": 14, "i8": 39, "u8": 40}  # fmt: skip


class Raw(NamedTuple):
    """A value whose type and bytes are given."""

    codes: tuple[int, ...]
    data: bytes


class Dm:
    """Encodes trees: dict and list are groups, str and arrays are arrays, tuples structs."""

    def __init__(self, version: int = 3, order: str = "<") -> None:
        self.version = version
        self.order = order
        self.long = ">i" if version == 3 else ">q"

    def size(self, n: int) -> bytes:
        return struct.pack(self.long, n)

    def group(self, entries: dict[str, Any] | list[Any], count: int | None = None) -> bytes:
        named = entries.items() if isinstance(entries, dict) else [("", e) for e in entries]
        body = b"".join(self.entry(name, value) for name, value in named)
        return b"\0\0" + self.size(len(named) if count is None else count) + body

    def entry(self, name: str, value: Any) -> bytes:
        is_group = isinstance(value, dict) or (
            isinstance(value, list) and (not value or not isinstance(value[0], np.ndarray))
        )
        body = self.group(value) if is_group else self.value(value)
        label = name.encode("cp1252")
        start = struct.pack(">BH", 20 if is_group else 21, len(label)) + label
        return start + (self.size(len(body)) if self.version == 4 else b"") + body

    def value(self, value: Any) -> bytes:
        codes, data = value if isinstance(value, Raw) else self.encoded(value)
        return b"%%%%" + self.size(len(codes)) + b"".join(map(self.size, codes)) + data

    def encoded(self, value: Any) -> tuple[tuple[int, ...], bytes]:
        if isinstance(value, str):
            text = np.frombuffer(value.encode("utf-16-le"), "<u2")
            return (20, 4, len(text)), text.astype(self.order + "u2").tobytes()
        if isinstance(value, np.ndarray):
            stored = value.astype(value.dtype.newbyteorder(self.order))
            if value.dtype.kind == "c":
                code = CODES[f"f{value.dtype.itemsize // 2}"]
                return (20, 15, 0, 2, 0, code, 0, code, value.size), stored.tobytes()
            return (20, CODES[value.dtype.str[1:]], value.size), stored.tobytes()
        if isinstance(value, tuple):
            parts = [self.encoded(item) for item in value]
            codes = [n for part, _ in parts for n in (0, part[0])]
            return (15, 0, len(value), *codes), b"".join(data for _, data in parts)
        kind = {bool: "b1", int: "i4", float: "f8"}.get(type(value)) or value.dtype.str[1:]
        return (CODES[kind],), np.array(value, self.order + kind).tobytes()

    def file(self, tree: dict[str, Any], **options: Any) -> bytes:
        body = self.group(tree, **options)
        version = struct.pack(">i", self.version)
        order = struct.pack(">i", self.order == "<")
        return version + self.size(len(body)) + order + body + b"\0" * 8


def image(
    pixels: np.ndarray,
    *,
    scales: tuple[Any, ...] = (),
    units: tuple[Any, ...] = (),
    data_type: int | None = None,
    tags: dict[str, Any] | None = None,
    sizes: tuple[int, ...] | None = None,
    name: str = "made",
    **more: Any,
) -> dict[str, Any]:
    """Make an entry of the ImageList; scales, units and sizes are x first."""
    sizes = sizes or pixels.shape[::-1]
    axes = [
        {"Origin": np.float32(0), "Scale": scale if isinstance(scale, str) else np.float32(scale),
         "Units": unit}
        for scale, unit in zip(scales or (1.0,) * len(sizes), units or ("",) * len(sizes),
                               strict=True)
    ]  # fmt: skip
    data = {
        "Calibrations": {"Dimension": axes, "DisplayCalibratedUnits": True},
        "Data": pixels.ravel(),
        "DataType": DATA_TYPES[pixels.dtype.str[1:]] if data_type is None else data_type,
        "Dimensions": [np.uint32(n) for n in sizes],
        "PixelDepth": pixels.dtype.itemsize,
    }
    return {"ImageData": {**data, **more}, "ImageTags": tags or {}, "Name": name}


THUMBNAIL = image(np.full((4, 6), 0x00808080, np.int32), data_type=23, name="thumbnail")


def document(*images: dict[str, Any], shown: tuple[int, ...] = (1,)) -> dict[str, Any]:
    """Make a whole tree, with a thumbnail before the images."""
    return {
        "ApplicationBounds": (0, 0, 830, 1410),
        "DocumentObjectList": [
            {"AnnotationType": 20, "ImageSource": n, "Rectangle": (0.0, 0.0, 64.0, 256.0)}
            for n in range(len(shown))
        ],
        "ImageList": [THUMBNAIL, *images],
        "ImageSourceList": [
            {"ClassName": "ImageSource:Simple", "ImageRef": np.uint32(n)} for n in shown
        ],
        "Thumbnails": [{"ImageIndex": np.uint32(0), "SourceSize_Pixels": (6, 4)}],
    }


def dm_file(pixels: np.ndarray, version: int = 3, order: str = "<", **options: Any) -> bytes:
    """Make a file of one image and its thumbnail."""
    return Dm(version, order).file(document(image(pixels, **options)))

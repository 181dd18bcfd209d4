"""A small writer of TIA's series and EMI files, for what the real files do not have."""

from __future__ import annotations

import struct
from collections.abc import Sequence
from pathlib import Path

import numpy as np

CODES = {"u1": 1, "u2": 2, "u4": 3, "i1": 4, "i2": 5, "i4": 6, "f4": 7, "f8": 8, "c8": 9,
         "c16": 10}  # fmt: skip


def ser(
    pixels: np.ndarray,
    *,
    version: int = 0x0220,
    delta: tuple[float, float] = (2e-9, 2e-9),
    total: int | None = None,
    kind: int = 0x4122,
    code: int | None = None,
    sizes: tuple[int, int] | None = None,
    dimensions: Sequence[int] | None = None,
    gaps: Sequence[int] = (),
    time_s: int = 1_456_166_917,
) -> bytes:
    """Make a series of pixels as they are shown; `delta` is (y, x), `gaps` stand before frames."""
    stack = pixels if pixels.ndim == 3 else pixels[None]
    count, height, width = stack.shape
    total = count if total is None else total
    word = "<Q" if version == 0x0220 else "<I"
    table = b""
    for size in (total,) if dimensions is None else dimensions:
        table += struct.pack("<Iddi", size, 0.0, 1.0, 0)
        table += struct.pack("<I", 6) + b"Number" + struct.pack("<I", 0)
    fields = struct.pack("<IIII", kind, 0x4152, total, count)
    header = b"II\x97\x01" + struct.pack("<H", version) + fields
    n_dimensions = 1 if dimensions is None else len(dimensions)
    start = len(header) + struct.calcsize(word) + 4 + len(table)
    header += struct.pack(word, start) + struct.pack("<I", n_dimensions) + table
    at = start + 2 * total * struct.calcsize(word)
    starts, tags, body = [], [], b""
    y, x = delta
    for number, frame in enumerate(stack):
        gap = gaps[number] if number < len(gaps) else 0
        body += bytes(gap)
        starts.append(at + len(body))
        rows, columns = sizes or (height, width)
        body += struct.pack("<ddi", -1e-7, x, 0) + struct.pack("<ddi", -1e-7, y, 0)
        body += struct.pack("<hii", CODES[frame.dtype.str[1:]] if code is None else code,
                            columns, rows)  # fmt: skip
        body += np.ascontiguousarray(frame[::-1], frame.dtype.newbyteorder("<")).tobytes()
        tags.append(at + len(body))
        body += struct.pack("<II", 0x4152, time_s)
    unused = [0] * (total - count)
    offsets = b"".join(struct.pack(word, n) for n in (*starts, *unused, *tags, *unused))
    return header + offsets + body


def spectrum(n: int = 100) -> bytes:
    """Make a series of one spectrum."""
    header = b"II\x97\x01" + struct.pack("<HIIII", 0x0210, 0x4120, 0x4152, 1, 1)
    header += struct.pack("<II", 30, 0) + struct.pack("<II", 38, 38 + 26 + 4 * n)
    header += struct.pack("<ddihi", 0.0, 10.0, 0, 6, n) + np.arange(n, dtype="<i4").tobytes()
    return header + struct.pack("<II", 0x4152, 0)


def info(*, mode: str = " TEM uP SA Zoom Image", camera: str = "BM-Ceta", magnification: int = 9000,
         date: str = "Mon Feb 22 18:50:01 2016") -> str:  # fmt: skip
    """Make the XML of an EMI file."""
    described = [("Microscope", "Microscope Talos 200 kV", ""), ("High tension", "200", "kV"),
                 ("Mode", mode, ""), ("Magnification", str(magnification), "x"),
                 ("Camera length", "0.135", "m"), ("Spot size", "3", ""),
                 ("Emission", "225.0", "uA"), ("Stage X", "147.000", "um"),
                 ("Stage A", "-12.50", "deg")]  # fmt: skip
    data = "".join(
        f"<Data><Label>{label}</Label><Value>{value}</Value><Unit>{unit}</Unit></Data>"
        for label, value, unit in described
    )
    header = "&lt;Root&gt;&lt;Data&gt;&lt;Index&gt;5&lt;/Index&gt;&lt;Value&gt;1&lt;/Value&gt;"
    header += "&lt;/Data&gt;&lt;/Root&gt;"
    named = f"<CameraNamePath>{camera}</CameraNamePath>" if camera else ""
    return (
        "<ObjectInfo><Uuid>1</Uuid>"
        f"<ExperimentalDescription><Root>{data}</Root></ExperimentalDescription>"
        f"<TrueImageHeaderInfo>{header}</TrueImageHeaderInfo>"
        f"<AcquireDate>{date}</AcquireDate>"
        f"<AcquireInfo><DwellTimePath>0.100000</DwellTimePath>{named}</AcquireInfo></ObjectInfo>"
    )


def emi(*infos: str) -> bytes:
    """Make an EMI file."""
    start = b"JK\0\x02\0\0\0\0\x04M\x01\0`\0\0\x01" + bytes(100)
    return start + b"\0p".join(text.encode("cp1252") for text in infos) + b"\0Normalp"


def pair(folder: Path, pixels: np.ndarray, *, name: str = "scan", **options: object) -> Path:
    """Write NAME.emi and NAME_1.ser; give the EMI file."""
    (folder / f"{name}_1.ser").write_bytes(ser(pixels, **options))  # type: ignore[arg-type]
    path = folder / f"{name}.emi"
    path.write_bytes(emi(info()))
    return path

"""Small files that claim, or unpack to, far more than they hold."""

from __future__ import annotations

import bz2
import gzip
import io
import json
import lzma
import struct
import tarfile
import zipfile
import zlib
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np

from everhart.io import write
from everhart.micrograph import Micrograph

from . import dm_files, tia_files

_HUGE = 2**31
_LEVELS = np.arange(64 * 64, dtype=np.uint8).reshape(64, 64)


def wholes(folder: Path) -> list[str]:
    """Write files that load what reading needs, before the memory is measured."""
    image = Micrograph(_LEVELS)
    suffixes = (".tif", ".png", ".npy", ".mrc", ".emd")
    paths = [write(image, folder / f"whole{suffix}") for suffix in suffixes]
    import tifffile
    from PIL import Image

    for codec in ("jpeg", "jpeg2000", "png", "lerc", "jpegxl", "jpegxr", "zlib", "lzw"):
        paths.append(folder / f"whole-{codec}.tif")
        tifffile.imwrite(paths[-1], _LEVELS, compression=codec, photometric="minisblack")
    for suffix in (".jpg", ".bmp"):
        paths.append(folder / f"whole{suffix}")
        Image.fromarray(_LEVELS).save(paths[-1])
    paths.append(folder / "whole.gz")
    paths[-1].write_bytes(gzip.compress((folder / "whole.tif").read_bytes()))
    paths.append(folder / "whole.dm3")
    paths[-1].write_bytes(dm_files.dm_file(_LEVELS))
    paths.append(tia_files.pair(folder, _LEVELS, name="whole"))
    return [str(path) for path in paths]


def zeros(n: int) -> bytes:
    """Compress n zeros a thousandfold, in no time: a block of a million is repeated."""
    packer = zlib.compressobj(9)
    start = packer.compress(bytes(10**6)) + packer.flush(zlib.Z_FULL_FLUSH)
    block = packer.compress(bytes(10**6)) + packer.flush(zlib.Z_FULL_FLUSH)
    last = zlib.compressobj(9, wbits=-15)
    rest = last.compress(bytes(n % 10**6)) + last.flush()
    checksum = struct.pack(">I", (n % 65521) << 16 | 1)
    return start + block * (n // 10**6 - 1) + rest + checksum


def jpeg(pixels: np.ndarray, **options: Any) -> bytearray:
    from PIL import Image

    file = io.BytesIO()
    Image.fromarray(pixels).save(file, "JPEG", **options)
    return bytearray(file.getvalue())


# -- TIFF -------------------------------------------------------------------------------------
def directory(entries: Sequence[tuple[int, int, int, int]], following: int = 0) -> bytes:
    body = b"".join(struct.pack("<HHII", *entry) for entry in sorted(entries))
    return struct.pack("<H", len(entries)) + body + struct.pack("<I", following)


def tiff(
    data: bytes, *, height: int = 64, width: int = 64, compression: int = 1, tile: int = 0,
    more: Sequence[tuple[int, int, int, int]] = (),
) -> bytes:  # fmt: skip
    """Make a TIFF of one strip or tile, whose data is at the end."""
    tags = [(256, 4, 1, width), (257, 4, 1, height), (258, 3, 1, 8), (259, 3, 1, compression),
            (262, 3, 1, 1), (277, 3, 1, 1), *more]  # fmt: skip
    start = 8 + 2 + 12 * (len(tags) + (4 if tile else 3)) + 4
    if tile:
        tags += [(322, 4, 1, tile), (323, 4, 1, tile), (324, 4, 1, start), (325, 4, 1, len(data))]
    else:
        tags += [(273, 4, 1, start), (278, 4, 1, height), (279, 4, 1, len(data))]
    return b"II*\0\x08\0\0\0" + directory(tags) + data


def strips(height: int, width: int, rows: int, strip: bytes, compression: int) -> bytes:
    """Make a TIFF all of whose strips are the same bytes."""
    n = height // rows
    start = 8 + 2 + 12 * 9 + 4
    tags = [(256, 4, 1, width), (257, 4, 1, height), (258, 3, 1, 8), (259, 3, 1, compression),
            (262, 3, 1, 1), (277, 3, 1, 1), (278, 4, 1, rows), (273, 4, n, start),
            (279, 4, n, start + 4 * n)]  # fmt: skip
    offsets = struct.pack("<I", start + 8 * n) * n + struct.pack("<I", len(strip)) * n
    return b"II*\0\x08\0\0\0" + directory(tags) + offsets + strip


def pages(n: int, *, alike: bool, side: int = 5) -> bytes:
    """Make a TIFF of n pages of the same few bytes."""
    out = bytearray(b"II*\0\x08\0\0\0")
    for number in range(n):
        height = side if alike else 1 + number % side
        tags = [
            (256, 4, 1, side),
            (257, 4, 1, height),
            (258, 3, 1, 8),
            (259, 3, 1, 1),
            (262, 3, 1, 1),
            (273, 4, 1, 8),
            (278, 4, 1, height),
            (279, 4, 1, side * height),
        ]
        following = len(out) + 2 + 12 * len(tags) + 4
        out += directory(tags, following if number < n - 1 else 0)
    return bytes(out)


def cycle() -> bytes:
    """Make a TIFF whose second page is followed by the first."""
    data = bytearray(pages(2, alike=True))
    data[-4:] = struct.pack("<I", 8)
    return bytes(data)


def described(text: str) -> bytes:
    """Make a TIFF of a description."""
    body = text.encode() + b"\0"
    head = tiff(bytes(64 * 64), more=[(270, 2, len(body), 0)])
    more = [(270, 2, len(body), len(head))]
    return tiff(bytes(64 * 64), more=more) + body


def in_tiff(compression: int, data: bytes) -> bytes:
    return tiff(data, compression=compression)


def jpeg_2000(side: int) -> bytes:
    import imagecodecs

    data = bytearray(imagecodecs.jpeg2k_encode(_LEVELS, codecformat="j2k"))
    at = data.index(b"\xff\x51") + 6
    for place in (at, at + 16):
        struct.pack_into(">II", data, place, side, side)
    return bytes(data)


def coded(codec: str, side: int) -> bytes:
    import imagecodecs

    shape = (side, side, 3) if codec == "webp" else (side, side)
    return bytes(getattr(imagecodecs, f"{codec}_encode")(np.zeros(shape, np.uint8)))


def jpeg_of(side: int) -> bytes:
    """Make a JPEG that claims a side."""
    data = jpeg(_LEVELS)
    struct.pack_into(">HH", data, data.index(b"\xff\xc0") + 5, side, side)
    return bytes(data)


def scans(side: int, n: int) -> bytes:
    """Make a progressive JPEG whose last scan, of a few bytes, comes again and again."""
    data = jpeg(np.full((side, side), 128, np.uint8), progressive=True)
    last = data.rindex(b"\xff\xda")
    return bytes(data[:last] + data[last:-2] * n + data[-2:])


# -- PNG --------------------------------------------------------------------------------------
def chunk(kind: bytes, body: bytes, length: int | None = None) -> bytes:
    checksum = struct.pack(">I", zlib.crc32(kind + body))
    return struct.pack(">I", len(body) if length is None else length) + kind + body + checksum


def png(height: int, width: int, data: bytes, *more: bytes, depth: int = 8, kind: int = 0) -> bytes:
    header = struct.pack(">IIBBBBB", width, height, depth, kind, 0, 0, 0)
    return (b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + b"".join(more) + chunk(b"IDAT", data)
            + chunk(b"IEND", b""))  # fmt: skip


# -- BMP --------------------------------------------------------------------------------------
def bmp(height: int, width: int, *, compression: int = 0, colours: int = 256, data: bytes) -> bytes:
    info = struct.pack("<IiiHHIIiiII", 40, width, height, 1, 8, compression, len(data), 0, 0,
                       colours, 0)  # fmt: skip
    start = 14 + 40 + 1024
    return b"BM" + struct.pack("<IHHI", start + len(data), 0, 0, start) + info + bytes(1024) + data


# -- NPY --------------------------------------------------------------------------------------
def npy(text: str, *, claims: int | None = None) -> bytes:
    body = text.encode() + b"\n"
    length = len(body) if claims is None else claims
    return b"\x93NUMPY\x02\0" + struct.pack("<I", length) + body


def sparse(path: Path, start: bytes, size: int) -> Path:
    """Write a file most of which is a hole."""
    path.write_bytes(start)
    with path.open("r+b") as file:
        file.truncate(size)
    return path


# -- archives ---------------------------------------------------------------------------------
def gzipped(n: int) -> bytes:
    """Compress a TIFF of n zeros; gzip files may follow each other in one."""
    part = gzip.compress(bytes(10**7), 9)
    return gzip.compress(tiff(bytes(1), height=20_000, width=20_000)) + part * (n // 10**7)


def zipped(n: int) -> bytes:
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED, compresslevel=9) as archive:
        archive.writestr("a.tif", tiff(bytes(n), height=8000, width=n // 8000))
    return file.getvalue()


def tar_of(n: int) -> bytes:
    """Make a packed tar of a text of n zeros, and no image."""
    head = tarfile.TarInfo("readme.txt")
    head.size = n
    # The rest is zeros: what is in the file, and the end of the archive.
    return gzip.compress(head.tobuf()) + gzip.compress(bytes(10**7), 9) * (n // 10**7 + 1)


def many_members(n: int) -> bytes:
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w") as archive:
        for number in range(n):
            archive.writestr(f"{number}.txt", b"")
    return file.getvalue()


def wide_dictionary() -> bytes:
    """Pack a little with a dictionary of 4 GB, which its reader would have to reserve."""
    filters = [{"id": lzma.FILTER_LZMA2, "preset": 0, "dict_size": 1 << 16}]
    data = bytearray(lzma.compress(tiff(_LEVELS.tobytes()), filters=filters))
    # Block header: size, flags, filter id, size of properties, dictionary; then a checksum.
    at = 12
    length = (data[at] + 1) * 4
    data[at + 4] = 40  # 4 GB less one byte
    data[at + length - 4 : at + length] = struct.pack("<I", zlib.crc32(data[at : at + length - 4]))
    return bytes(data)


# -- DigitalMicrograph, TIA, MRC --------------------------------------------------------------
def deep_tags(depth: int) -> bytes:
    tree: bytes = dm_files.Dm().group({})
    level = b"\x14\0\x01x"
    body = (b"\0\0" + struct.pack(">i", 1) + level) * depth + tree
    return struct.pack(">iii", 3, len(body), 1) + body + bytes(8)


def dm_claims(sizes: tuple[int, ...], **more: Any) -> bytes:
    return dm_files.dm_file(_LEVELS, sizes=sizes, **more)


def dm_count() -> bytes:
    return dm_files.Dm().file(dm_files.document(dm_files.image(_LEVELS)), count=_HUGE - 1)


def dm_array() -> bytes:
    """Claim an array of two thousand million, and structs of as many fields."""
    raw = dm_files.Raw((20, 4, _HUGE - 1), b"")
    return dm_files.Dm().file({"a": raw, **dm_files.document(dm_files.image(_LEVELS))})


def dm_struct() -> bytes:
    raw = dm_files.Raw((15, 0, _HUGE - 1), b"")
    return dm_files.Dm().file({"a": raw, **dm_files.document(dm_files.image(_LEVELS))})


def laughs() -> str:
    """Return XML whose entities grow to 10 ** 9 words."""
    names = "abcdefghij"
    text = '<!ENTITY a "lol">'
    for one, ten in pairwise(names):
        text += f'<!ENTITY {ten} "{f"&{one};" * 10}">'
    return f"<!DOCTYPE OME [{text}]><OME>&j;</OME>"


def emi(folder: Path, text: str, n: int = 1) -> Path:
    path = tia_files.pair(folder, _LEVELS, name="a")
    path.write_bytes(tia_files.emi(*[text] * n))
    return path


def emd(path: Path, shape: tuple[int, ...], chunk: tuple[int, ...]) -> Path:
    """Make an EMD file of an array that is mostly not there, with one chunk of zeros."""
    import h5py

    with h5py.File(path, "w") as file:
        group = file.create_group("data/one")
        group.attrs["emd_group_type"] = 1
        data = group.create_dataset("data", shape, "u1", chunks=chunk, compression="gzip")
        data.id.write_direct_chunk((0,) * len(shape), zeros(int(np.prod(chunk))))
    return path


def emd_texts(path: Path, *, endless: bool) -> Path:
    """Make an EMD file with a text that is in a heap: of no end, or of 2 GB."""
    import h5py

    with h5py.File(path, "w") as file:
        group = file.create_group("data/one")
        group.attrs["emd_group_type"] = 1
        group["data"] = _LEVELS
        group.attrs["note"] = "some text"
    data = bytearray(path.read_bytes())
    heap = data.index(b"GCOL\x01")
    text = data.index(b"some text")
    if endless:  # free space of no size, in place of what follows the text
        data[text + 16 : text + 32] = bytes(16)
    else:
        at = data.index(struct.pack("<IQ", 9, heap))
        struct.pack_into("<I", data, at, _HUGE - 1)
    path.write_bytes(data)
    return path


def zarr(path: Path, chunk: bytes, **fields: Any) -> Path:
    """Make a Zarr array with one chunk."""
    meta = {"zarr_format": 2, "shape": [64, 64], "chunks": [64, 64], "dtype": "|u1",
            "compressor": None, "fill_value": 0, "order": "C", "filters": None}  # fmt: skip
    path.mkdir()
    (path / ".zarray").write_text(json.dumps({**meta, **fields}))
    (path / "0.0").write_bytes(chunk)
    return path


def mrc(path: Path, **fields: int) -> bytes:
    data = bytearray(write(Micrograph(_LEVELS.astype(np.int16)), path).read_bytes())
    for at, value in fields.items():
        struct.pack_into("<i", data, int(at[1:]), value)
    return bytes(data)


def _plain() -> Iterator[tuple[str, Callable[[], bytes]]]:
    yield "40000-square.tif", lambda: strips(40_000, 40_000, 100, zeros(4_000_000), 8)
    yield "huge.tif", lambda: tiff(bytes(99), height=_HUGE, width=_HUGE)
    yield "huge-zlib.tif", lambda: tiff(bytes(99), height=_HUGE, width=_HUGE, compression=8)
    yield "huge-tile.tif", lambda: tiff(zeros(10**6), compression=8, tile=1 << 20)
    yield "overlapping.tif", lambda: strips(20_000, 20_000, 1, bytes(20_000), 1)
    yield "many-strips.tif", lambda: strips(600_000, 100, 1, zlib.compress(bytes(100)), 8)
    yield "cycle.tif", cycle
    yield "pages.tif", lambda: pages(70_000, alike=True)
    yield "overlapping-pages.tif", lambda: pages(65_535, alike=True, side=70)
    yield "unlike-pages.tif", lambda: pages(65_535, alike=False)
    yield "zlib-strip.tif", lambda: tiff(zeros(10**9), compression=8)
    yield "jpeg-strip.tif", lambda: in_tiff(7, jpeg_of(65_500))
    yield "jpeg-scans.tif", lambda: in_tiff(7, scans(64, 5000))
    yield "jpeg2000-strip.tif", lambda: in_tiff(34712, jpeg_2000(60_000))
    yield "png-strip.tif", lambda: in_tiff(34933, png(30_000, 30_000, zeros(900_030_000)))
    yield "lerc-strip.tif", lambda: in_tiff(34887, coded("lerc", 8_000))
    yield "jpegxl-strip.tif", lambda: in_tiff(50002, coded("jpegxl", 1_000))
    yield "jpegxr-strip.tif", lambda: in_tiff(22610, coded("jpegxr", 2_000))
    yield "webp-strip.tif", lambda: in_tiff(50001, coded("webp", 2_000))
    yield "tags.tif", lambda: tiff(bytes(9), more=[(40_000 + n, 12, 8, 8) for n in range(20_000)])
    yield "30000-square.png", lambda: png(30_000, 30_000, zeros(30_000 * 30_001))
    yield "huge.png", lambda: png(_HUGE - 1, _HUGE - 1, zeros(10**6))
    yield "deep.png", lambda: png(15_000, 15_000, zeros(10**9), depth=16, kind=2)
    text = zlib.compress(bytes(65 * 64))
    for kind in (b"zTXt", b"iCCP"):
        part = kind, b"a\0\0" + zeros(10**8)
        yield f"{kind.decode()}.png", partial(png, 64, 64, text, chunk(*part))
    yield "chunk.png", lambda: png(64, 64, text, chunk(b"tEXt", b"a\0b", length=_HUGE - 1))
    yield "shape.tif", lambda: described('{"shape": [99999999, 99999999, 64, 64]}')
    yield "65500-square.jpg", lambda: jpeg_of(65_500)
    yield "scans.jpg", lambda: scans(4000, 3000)
    yield "huge.bmp", lambda: bmp(_HUGE - 1, 60_000, data=bytes(999))
    yield "huge-upside-down.bmp", lambda: bmp(1 - _HUGE, 60_000, data=bytes(999))
    yield "runs.bmp", lambda: bmp(20_000, 20_000, compression=1, data=b"\xff\0" * 999 + b"\0\1")
    shape = "{'descr': '<f8', 'fortran_order': False, 'shape': (%s)}"
    yield "huge.npy", lambda: npy(shape % "2147483648, 2147483648")
    yield "many-numbers.npy", lambda: npy(shape % ("9" * 9000 + ", 1"))
    yield "nested.npy", lambda: npy("(" * 60_000)
    yield "claimed-header.npy", lambda: npy(shape % "9, 9", claims=1 << 30)
    yield "bomb.tif.gz", lambda: gzipped(10**9)
    yield (
        "bomb.tif.bz2",
        lambda: bz2.compress(tiff(bytes(300_000_000), height=10_000, width=30_000)),
    )
    yield "bomb.zip", lambda: zipped(160_000_000)
    yield "text.tar.gz", lambda: tar_of(10**9)
    yield "members.zip", lambda: many_members(20_000)
    yield "dictionary.xz", wide_dictionary
    yield "deep.dm3", lambda: deep_tags(100_000)
    yield "huge.dm3", lambda: dm_claims((_HUGE - 1, _HUGE - 1))
    yield "array.dm3", dm_array
    yield "struct.dm3", dm_struct
    yield "frames_1.ser", lambda: tia_files.ser(_LEVELS, dimensions=(_HUGE - 1,) * 3)
    yield "total_1.ser", lambda: tia_files.ser(_LEVELS)[:14] + b"\xff\xff\xff\x7f" * 2 + bytes(99)
    yield "sizes_1.ser", lambda: tia_files.ser(_LEVELS, sizes=(_HUGE - 1, _HUGE - 1))


def _from_bytes(make: Callable[[], bytes]) -> Callable[[Path], Path]:
    def to(path: Path) -> Path:
        path.write_bytes(make())
        return path

    return to


def _mrc(**fields: int) -> Callable[[Path], Path]:
    def to(path: Path) -> Path:
        path.write_bytes(mrc(path, **fields))
        return path

    return to


#: What makes each bomb at a path.
BOMBS: dict[str, Callable[[Path], Path]] = {
    **{name: _from_bytes(make) for name, make in _plain()},
    "header.npy": lambda path: sparse(path, npy("{" + " " * 99, claims=1 << 30), (1 << 30) + 99),
    "chunk.emd": lambda path: emd(path, (40_000, 40_000), (40_000, 40_000)),
    "chunks.emd": lambda path: emd(path, (60_000, 1000, 1000), (1, 1000, 1000)),
    "tiny-chunks.emd": lambda path: emd(path, (8000, 8000), (1, 1)),
    "huge.emd": lambda path: emd(path, (_HUGE, _HUGE), (1, 2_000_000)),
    "endless-text.emd": lambda path: emd_texts(path, endless=True),
    "long-text.emd": lambda path: emd_texts(path, endless=False),
    "huge.zarr": lambda path: zarr(path, bytes(99), shape=[_HUGE, _HUGE], chunks=[9, _HUGE]),
    "empty.zarr": lambda path: zarr(path, bytes(4), shape=[20_000, 20_000], chunks=[2, 2]),
    "chunk.zarr": lambda path: zarr(
        path, zeros(400_000_000), chunks=[20_000, 20_000], compressor={"id": "zlib"}
    ),
    "inflating.zarr": lambda path: zarr(path, zeros(10**7), compressor={"id": "zlib"}),
    "blosc.zarr": lambda path: zarr(
        path,
        b"\2\1\x21\1" + struct.pack("<3I", _HUGE, _HUGE, 99) + bytes(83),
        compressor={"id": "blosc"},
    ),
    "huge.mrc": _mrc(b0=1 << 24, b4=1 << 24, b8=1 << 24),
    "extension.mrc": _mrc(b92=_HUGE - 1),
    "four-bit.mrc": _mrc(b0=20_000, b4=20_000, b12=101),
}

#: Images that hold a trap beside their pixels: they are read, and the trap does nothing.
TRAPS: dict[str, Callable[[Path], Path]] = {
    "tag-count.tif": _from_bytes(
        lambda: tiff(
            bytes(4096),
            more=[(270, 2, 2**32 - 1, 99), (34682, 2, 2**32 - 1, 99), (34118, 12, 2**29, 8)],
        )
    ),
    "laughs.tif": _from_bytes(lambda: described('<?xml version="1.0"?>' + laughs())),
    "imagej.tif": _from_bytes(lambda: described("ImageJ=1.5\nimages=2147483647\nslices=9\n")),
    "count.dm3": _from_bytes(dm_count),
    "laughs.emi": lambda path: emi(path.parent, laughs()),
    "many-texts.emi": lambda path: emi(path.parent, tia_files.info(), 2000),
}

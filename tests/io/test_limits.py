from __future__ import annotations

import contextlib
import struct
import time
import tracemalloc
import zlib
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from everhart.errors import FileFormatError, LimitError
from everhart.io import DEFAULT_LIMITS, Limits, read


def png_of(path: Path, height: int, width: int, depth: int = 8, colour: int = 0) -> Path:
    """A PNG whose pixels are all zero, as small as it can be."""
    row = (width * depth * {0: 1, 2: 3}[colour] + 7) // 8 + 1
    packer = zlib.compressobj(9)
    data = b"".join(packer.compress(bytes(row) * 100) for _ in range(height // 100))
    data += packer.compress(bytes(row) * (height % 100)) + packer.flush()

    def chunk(kind: bytes, body: bytes) -> bytes:
        checksum = struct.pack(">I", zlib.crc32(kind + body))
        return struct.pack(">I", len(body)) + kind + body + checksum

    header = struct.pack(">IIBBBBB", width, height, depth, colour, 0, 0, 0)
    path.write_bytes(b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", data)
                     + chunk(b"IEND", b""))  # fmt: skip
    return path


def tiff_of(path: Path, height: int, width: int) -> Path:
    """A TIFF of one strip for each 100 rows, all of them the same few bytes."""
    strip = zlib.compress(bytes(100 * width), 9)
    n = height // 100
    tags = [
        (256, 4, 1, width), (257, 4, 1, height), (258, 3, 1, 8), (259, 3, 1, 8), (262, 3, 1, 1),
        (273, 4, n, 0), (277, 3, 1, 1), (278, 4, 1, 100), (279, 4, n, 0),
    ]  # fmt: skip
    start = 8 + 2 + 12 * len(tags) + 4
    offsets, counts = start, start + 4 * n
    body = struct.pack(f"<{n}I", *[start + 8 * n] * n) + struct.pack(f"<{n}I", *[len(strip)] * n)
    ifd = struct.pack("<H", len(tags))
    for code, kind, count, value in tags:
        value = {273: offsets, 279: counts}.get(code, value)
        if n == 1:  # a single number is in the tag itself
            value = {273: start + 8, 279: len(strip)}.get(code, value)
        ifd += struct.pack("<HHII", code, kind, count, value)
    path.write_bytes(b"II*\0" + struct.pack("<I", 8) + ifd + bytes(4) + body + strip)
    return path


def npy_of(path: Path, height: int, width: int) -> Path:
    with path.open("wb") as file:
        header = {"descr": "<f8", "fortran_order": False, "shape": (height, width)}
        np.lib.format.write_array_header_1_0(file, header)
    return path


def bmp_of(path: Path, height: int, width: int) -> Path:
    header = b"BM" + struct.pack("<IHHI", 100, 0, 0, 54)
    header += struct.pack("<IiiHHIIiiII", 40, width, height, 1, 8, 0, 0, 0, 0, 0, 0)
    path.write_bytes(header + bytes(100))
    return path


BOMBS = {
    "a.png": lambda path: png_of(path, 40_000, 40_000, depth=1),
    "b.png": lambda path: png_of(path, 15_000, 15_000),
    "c.png": lambda path: png_of(path, 6_000, 6_000, depth=16, colour=2),
    "a.tif": lambda path: tiff_of(path, 40_000, 40_000),
    "b.tif": lambda path: tiff_of(path, 15_000, 15_000),
    "a.npy": lambda path: npy_of(path, 100_000, 100_000),
    "a.bmp": lambda path: bmp_of(path, 40_000, 40_000),
}


@pytest.mark.parametrize("name", list(BOMBS))
def test_a_bomb_is_refused_at_once_and_for_little(tmp_path: Path, name: str) -> None:
    path = BOMBS[name](tmp_path / name)
    assert path.stat().st_size < 2_000_000
    read_once(tmp_path)  # what is imported does not count
    tracemalloc.start()
    start = time.process_time()
    with pytest.raises(LimitError, match=r"read it with limits=Limits\(max_"):
        read(path)
    seconds = time.process_time() - start
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 20e6
    assert seconds < 1.0


def read_once(folder: Path) -> None:
    for write in (lambda p: png_of(p, 100, 100), lambda p: tiff_of(p, 100, 100)):
        read(write(folder / "small"))


def test_the_limit_in_the_message_lets_the_file_in(tmp_path: Path) -> None:
    path = png_of(tmp_path / "a.png", 9_000, 9_000)
    with pytest.raises(LimitError, match=r"Limits\(max_ratio=[\d_]+\)") as caught:
        read(path)
    ratio = int(str(caught.value).rpartition("max_ratio=")[2].rstrip(")."))
    assert read(path, limits=Limits(max_ratio=ratio)).shape == (9_000, 9_000)


def test_a_tile_larger_than_the_image_is_refused(tmp_path: Path) -> None:
    import tifffile

    path = tmp_path / "a.tif"
    tifffile.imwrite(path, np.zeros((16, 16), np.uint8), tile=(16, 16), compression="zlib")
    with tifffile.TiffFile(path) as file:
        width, length = (file.pages[0].tags[code].valueoffset for code in (322, 323))
        order = file.byteorder
    data = bytearray(path.read_bytes())
    for offset in (width, length):
        data[offset : offset + 2] = struct.pack(f"{order}H", 65_520)
    path.write_bytes(data)
    with pytest.raises(LimitError, match="a tile of"):
        read(path)


def test_a_strip_that_unpacks_to_more_than_it_says_is_not_unpacked(tmp_path: Path) -> None:
    path = tiff_of(tmp_path / "a.tif", 100, 100)
    data = path.read_bytes()
    honest = zlib.compress(bytes(100 * 100), 9)
    assert data.endswith(honest)
    bomb = zlib.compress(bytes(400_000_000), 9)
    data = data[: -len(honest)].replace(
        struct.pack("<I", len(honest)), struct.pack("<I", len(bomb))
    )
    path.write_bytes(data + bomb)
    tracemalloc.start()
    with contextlib.suppress(FileFormatError):
        read(path)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 50e6


@pytest.mark.parametrize(
    ("claim", "setting"),
    [
        ({"height": 30_000, "width": 30_000}, "max_pixels_per_plane"),
        ({"height": 10, "width": 10, "bands": 9}, "max_bands"),
        ({"height": 10, "width": 10, "frames": 100_000}, "max_frames"),
        ({"height": 20_000, "width": 20_000, "frames": 30}, "max_decoded_bytes"),
        ({"height": 20_000, "width": 20_000}, "max_ratio"),
    ],
)
def test_each_limit_names_itself(claim: dict[str, int], setting: str) -> None:
    with pytest.raises(LimitError, match=setting):
        DEFAULT_LIMITS.check("a.tif", file_bytes=1_000_000, **claim)


def test_honest_images_pass() -> None:
    DEFAULT_LIMITS.check("sem", height=2_048, width=3_072, file_bytes=200_000)
    DEFAULT_LIMITS.check("montage", height=20_000, width=20_000, file_bytes=250_000_000)
    DEFAULT_LIMITS.check("blank", height=4_096, width=4_096, file_bytes=20_000)
    DEFAULT_LIMITS.check("movie", height=4_096, width=4_096, frames=100, file_bytes=1_600_000_000)


def test_many_pages_are_counted_before_they_are_read(tmp_path: Path) -> None:
    import tifffile

    path = tmp_path / "a.tif"
    tifffile.imwrite(path, np.zeros((40, 8, 8), np.uint8), photometric="minisblack")
    with pytest.raises(LimitError, match="40 frames, where 30 are allowed"):
        read(path, limits=Limits(max_frames=30))


@pytest.fixture
def whole(tmp_path: Path, levels: np.ndarray) -> Callable[[str], Path]:
    from PIL import Image

    from everhart.io import write

    def make(name: str) -> Path:
        path = tmp_path / name
        if name.endswith(("jpg", "bmp")):
            Image.fromarray(levels).save(path)
        elif name == "stack.tif":
            write(np.stack([levels] * 3).astype(np.int16), path)
        elif name == "packed.tif":
            import tifffile

            tifffile.imwrite(path, np.stack([levels] * 3), photometric="minisblack",
                             compression="lzw", rowsperstrip=5)  # fmt: skip
        else:
            write(levels, path)
        return path

    return make


@pytest.mark.parametrize(
    "name", ["a.tif", "stack.tif", "packed.tif", "a.png", "a.jpg", "a.bmp", "a.npy"]
)
@pytest.mark.parametrize("part", [0.0, 0.002, 0.1, 0.5, 0.9, 0.99])
def test_a_truncated_file_is_an_error_and_not_half_an_image(
    whole: Callable[[str], Path], name: str, part: float
) -> None:
    path = whole(name)
    data = path.read_bytes()
    assert read(path).shape[-2:] == (48, 64)
    path.write_bytes(data[: int(part * len(data))])
    with pytest.raises(FileFormatError, match=r"get the file again|no format"):
        read(path)

"""Images in archives: unpacked within limits, refused by name when it is not one image."""

import bz2
import gzip
import io
import lzma
import tarfile
import zipfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import tifffile

from everhart import Micrograph
from everhart.errors import EverhartError, FileFormatError, LimitError
from everhart.io import Limits, read, write

PIXELS = (np.arange(40 * 50) % 251).astype(np.uint8).reshape(40, 50)


@pytest.fixture
def image(tmp_path: Path) -> bytes:
    path = write(Micrograph(PIXELS, 2.5), tmp_path / "image.tif")
    data = path.read_bytes()
    path.unlink()
    return data


def zipped(entries: dict[str, bytes]) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, data in entries.items():
            archive.writestr(name, data)
    return buffer.getvalue()


def tarred(entries: dict[str, bytes], mode: str = "w") -> bytes:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode=mode) as archive:  # type: ignore[call-overload]
        for name, data in entries.items():
            entry = tarfile.TarInfo(name)
            entry.size = len(data)
            archive.addfile(entry, io.BytesIO(data))
    return buffer.getvalue()


PACKS: dict[str, Callable[[bytes], bytes]] = {
    "image.tif.gz": gzip.compress,
    "image.tif.bz2": bz2.compress,
    "image.tif.xz": lzma.compress,
    "image.zip": lambda data: zipped({"folder/image.tif": data, "__MACOSX/._image.tif": data}),
    "image.tar": lambda data: tarred({"./folder/image.tif": data, ".DS_Store": b"x"}),
    "image.tar.gz": lambda data: tarred({"image.tif": data}, "w:gz"),
    "image.tgz": lambda data: tarred({"readme.txt": b"hello", "image.tif": data}, "w:gz"),
    "image.tar.xz": lambda data: tarred({"image.tif": data}, "w:xz"),
}


@pytest.mark.parametrize("name", PACKS)
def test_one_image_is_read(tmp_path: Path, image: bytes, name: str) -> None:
    path = tmp_path / name
    path.write_bytes(PACKS[name](image))
    found = read(path)
    np.testing.assert_array_equal(found.pixels, PIXELS)
    assert found.pixel_size_nm == (2.5, 2.5)
    assert found.metadata["everhart"]["packed_format"] == "TIFF"
    assert found.metadata["everhart"]["packed_name"].endswith("image.tif")


@pytest.mark.parametrize("pack", [zipped, tarred])
def test_not_one_image_is_refused(
    tmp_path: Path, image: bytes, pack: Callable[[dict[str, bytes]], bytes]
) -> None:
    path = tmp_path / "pack"
    path.write_bytes(pack({"a.tif": image, "b/c.tif": image}))
    with pytest.raises(FileFormatError, match=r"several images \('a.tif', 'b/c.tif'\)"):
        read(path)
    path.write_bytes(pack({"notes.txt": b"nothing", "more.md": b"to see"}))
    with pytest.raises(FileFormatError, match=r"holds 'notes.txt', 'more.md' and no image"):
        read(path)
    path.write_bytes(pack({f"image_{n}.tif": image for n in range(200)}))
    with pytest.raises(FileFormatError, match=r"image_4.tif', \.\.\."):
        read(path)


def test_a_pack_in_a_pack_is_no_image(tmp_path: Path, image: bytes) -> None:
    path = tmp_path / "pack.zip"
    path.write_bytes(zipped({"image.zip": zipped({"image.tif": image})}))
    with pytest.raises(FileFormatError, match="no image"):
        read(path)


def test_side_cars_are_unpacked_too(tmp_path: Path) -> None:
    tifffile.imwrite(tmp_path / "image.tif", np.zeros((96, 128), np.uint8))
    bare = (tmp_path / "image.tif").read_bytes()
    lines = ["[SemImageFile]", "ImageName=image.tif", "DataSize=128x96", "PixelSize=2.48"]
    path = tmp_path / "hitachi.zip"
    path.write_bytes(zipped({"image.tif": bare, "image.txt": "\r\n".join(lines).encode()}))
    assert read(path).pixel_size_nm == (2.48, 2.48)


def test_paths_of_an_archive_are_not_used(tmp_path: Path, image: bytes) -> None:
    path = tmp_path / "sub" / "evil.tar"
    path.parent.mkdir()
    path.write_bytes(tarred({"../../escaped.tif": image}))
    np.testing.assert_array_equal(read(path).pixels, PIXELS)
    assert sorted(p.name for p in tmp_path.rglob("*")) == ["evil.tar", "sub"]
    link = tarfile.TarInfo("image.tif")
    link.type, link.linkname = tarfile.SYMTYPE, "/etc/passwd"
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as archive:
        archive.addfile(link)
    path.write_bytes(buffer.getvalue())
    with pytest.raises(FileFormatError, match="empty archive"):
        read(path)


def test_bombs_are_refused_while_they_unpack(tmp_path: Path) -> None:
    header = write(np.zeros((4, 4), np.uint8), tmp_path / "image.npy").read_bytes()[:128]
    bomb = header + bytes(300 << 20)
    path = tmp_path / "bomb.gz"
    path.write_bytes(gzip.compress(bomb, 9))
    assert path.stat().st_size < 1 << 20
    with pytest.raises(LimitError, match="unpacks to more than"):
        read(path)
    path = tmp_path / "bomb.zip"
    path.write_bytes(zipped({"image.npy": bomb}))
    with pytest.raises(LimitError, match="unpacks to more than"):
        read(path, limits=Limits(ratio_free_bytes=1 << 20))


def test_errors_name_the_archive(tmp_path: Path, image: bytes) -> None:
    path = tmp_path / "image.tif.gz"
    path.write_bytes(gzip.compress(image[: len(image) // 2]))
    with pytest.raises(FileFormatError) as caught:
        read(path)
    assert f"{path}: image.tif" in str(caught.value)


@pytest.mark.parametrize("name", PACKS)
@pytest.mark.filterwarnings("ignore::everhart.io.FileWarning")
def test_broken_archives_are_errors(tmp_path: Path, image: bytes, name: str) -> None:
    whole = PACKS[name](image)
    path = tmp_path / name
    rng = np.random.default_rng(len(name))
    for cut in rng.integers(0, len(whole) - 1, 12):
        path.write_bytes(whole[:cut])
        try:
            found = read(path)
        except FileFormatError:
            continue
        np.testing.assert_array_equal(found.pixels, PIXELS)  # only the end of the pack is missing
    for _ in range(40):
        data = bytearray(whole)
        for at in rng.integers(0, len(whole), 3):
            data[at] = rng.integers(256)
        path.write_bytes(data)
        try:
            assert read(path).pixels.size < 1 << 22
        except EverhartError:
            continue


# As they were unpacked by hand and read by RosettaSciIO 0.15.
REAL_REFUSED = {
    "archives/nexuslims__test_image_thumb_sources.tar.gz": "several images",
    "zip/tiff_hamamatsu.zip": "several images .'test_hamamatsu_streak_FOCUS.tif'",
}


@pytest.mark.parametrize("name", REAL_REFUSED)
def test_real_packs_without_one_image(shared_data: Path, name: str) -> None:
    with pytest.raises(FileFormatError, match=REAL_REFUSED[name]):
        read(shared_data / "formats" / name)

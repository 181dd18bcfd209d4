"""Stacks in TIFF files: mapped, or read a page at a time."""

from __future__ import annotations

import time
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from everhart import Micrograph
from everhart.errors import FileFormatError, LimitError
from everhart.io import FileWarning, Limits, lazy, read, write
from everhart.io.limits import DEFAULT_LIMITS
from everhart.io.tiff_read import tiff_frames

tifffile = pytest.importorskip("tifffile")

GREY = {"photometric": "minisblack"}


@pytest.fixture
def stack(rng: np.random.Generator) -> np.ndarray:
    return rng.integers(0, 4000, (5, 40, 56), dtype=np.uint16)


OPTIONS: list[dict[str, Any]] = [
    {}, {"contiguous": False}, {"byteorder": ">"}, {"bigtiff": True}, {"rowsperstrip": 7},
    {"tile": (16, 32)}, {"compression": "zlib", "predictor": True}, {"compression": "lzw"},
    {"compression": "zstd", "tile": (16, 16)}, {"compression": "packbits", "rowsperstrip": 9},
    {"photometric": "miniswhite"}, {"byteorder": ">", "compression": "zlib", "bigtiff": True},
    {"imagej": True}, {"description": "taken on a Monday"},
]  # fmt: skip
# What has no writer, or is not defined.
NO_BITS = ("imagej", "predictor", "tile")
CASES = [
    (dtype, options)
    for dtype in ("uint8", "uint16", "int16", "float32", "bool")
    for options in OPTIONS
    if not (dtype == "bool" and any(name in options for name in NO_BITS))
    and not (dtype == "int16" and "imagej" in options)
    and not (dtype in ("int16", "float32") and options.get("photometric") == "miniswhite")
]


@pytest.mark.parametrize(("dtype", "options"), CASES, ids=str)
def test_pages_as_a_stack(
    tmp_path: Path, stack: np.ndarray, dtype: str, options: dict[str, Any]
) -> None:
    pixels = stack.astype(dtype) if dtype != "bool" else stack > 2000
    writer = {name: options[name] for name in ("byteorder", "bigtiff", "imagej") if name in options}
    page = {"photometric": "minisblack", **{k: v for k, v in options.items() if k not in writer}}
    path = tmp_path / "a.tif"
    with tifffile.TiffWriter(path, **writer) as file:
        if "imagej" in options:
            file.write(pixels, metadata={"axes": "TYX"})
        else:
            for plane in pixels:
                file.write(plane, **{"metadata": None, **page})
    expected = pixels
    if options.get("photometric") == "miniswhite":
        expected = ~pixels  # of unsigned numbers: the largest less the number
    found = read(path)
    np.testing.assert_array_equal(found.pixels, expected)
    assert found.dtype == np.dtype(dtype)
    assert found.dtype.isnative
    assert found.pixels.flags.writeable
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(lazy, "MAPPED_BYTES", 0)
        np.testing.assert_array_equal(read(path).pixels, expected)
        frames = tiff_frames(path, DEFAULT_LIMITS)
    assert frames.shape == (5, 40, 56)
    assert frames.dtype == np.dtype(dtype)
    for number in (3, 0, 4):
        frame = frames.frame(number)
        np.testing.assert_array_equal(frame, expected[number])
        assert frame.dtype.isnative
        assert frame.flags.writeable
    frames.close()


def test_frames_have_calibration_and_record(tmp_path: Path, stack: np.ndarray) -> None:
    path = write(Micrograph(stack, (2.0, 3.0), {"vendor": {"a": 1}}, (), 7), tmp_path / "a.tif")
    for at in (path, tmp_path / "b.tif"):
        if at != path:  # the same, compressed by another program that keeps the description
            with tifffile.TiffFile(path) as file:
                details = file.imagej_metadata
            details.pop("ImageJ")
            tifffile.imwrite(at, stack, imagej=True, compression="zlib", metadata=details,
                             resolution=(1 / 3, 1 / 2))  # fmt: skip
        frames = tiff_frames(at, DEFAULT_LIMITS)
        assert frames.pixel_size_nm == (2.0, 3.0)
        assert frames.data_bar_rows == 7
        assert frames.metadata["vendor"] == {"a": 1}
        np.testing.assert_array_equal(frames.frame(2), stack[2])
        frames.close()


@pytest.mark.parametrize("change", ["larger", "deeper", "colour"])
def test_a_page_that_differs_is_not_read_as_the_others(
    tmp_path: Path, stack: np.ndarray, change: str
) -> None:
    last: Any = {
        "larger": np.zeros((44, 56), np.uint16), "deeper": stack[4].astype(np.uint32),
        "colour": np.zeros((40, 56, 3), np.uint16),
    }[change]  # fmt: skip
    path = tmp_path / "a.tif"
    with tifffile.TiffWriter(path) as file:
        for plane in stack[:4]:
            file.write(plane, metadata=None, contiguous=False, **GREY)
        kind = {"photometric": "rgb"} if change == "colour" else GREY
        file.write(last, metadata=None, contiguous=False, **kind)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", FileWarning)  # images of different kinds
        found = read(path)
    np.testing.assert_array_equal(found.pixels, last if change == "larger" else stack[:4])


def test_what_everhart_writes_is_mapped(tmp_path: Path, stack: np.ndarray) -> None:
    """ImageJ reads both byte orders; the machine's own can be mapped."""
    for dtype in ("uint16", "float32", "int32", "float64"):
        path = write(Micrograph(stack.astype(dtype), 2.0), tmp_path / "a.tif", overwrite=True)
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(lazy, "MAPPED_BYTES", 0)
            found = read(path)
        assert found.pixels.base is not None  # a view of the file
        np.testing.assert_array_equal(found.pixels, stack)
        with tifffile.TiffFile(path) as file:
            assert file.byteorder == "<"


@pytest.mark.parametrize("kind", ["bigtiff", "imagej"])
def test_four_gigabytes_open_at_once(tmp_path: Path, kind: str) -> None:
    path = tmp_path / "a.tif"
    shape = (270, 2048, 4096)
    if kind == "bigtiff":
        tifffile.memmap(path, shape=shape, dtype=np.uint16, bigtiff=True, **GREY)  # sparse
    else:  # as ImageJ writes more than 4 GB: one page, frames behind it
        text = "ImageJ=1.53t\nimages=270\nframes=270\nunit=nm\n"
        page = np.zeros(shape[1:], np.uint16)
        tifffile.imwrite(path, page, metadata=None, description=text, resolution=(0.5, 0.5), **GREY)
        with path.open("r+b") as file:
            file.truncate(path.stat().st_size + 269 * page.nbytes)
    read(path)  # imports
    start = time.perf_counter()
    found = read(path)
    assert time.perf_counter() - start < 0.2
    assert found.shape == shape
    assert found.pixels[269, 5, 5] == 0


def test_thousands_of_pages_are_quick(tmp_path: Path) -> None:
    path = tmp_path / "a.tif"
    entries = [(256, 4, 1, 8), (257, 4, 1, 8), (258, 3, 1, 8), (259, 3, 1, 1), (262, 3, 1, 1),
               (273, 4, 1, 0), (277, 3, 1, 1), (278, 4, 1, 8), (279, 4, 1, 64)]  # fmt: skip
    pages, size = 20_000, 2 + 12 * len(entries) + 4 + 64
    one = np.zeros(pages, np.dtype([("n", "<u2"), ("tags", "<u2,<u2,<u4,<u4", len(entries)),
                                    ("next", "<u4"), ("pixels", "u1", 64)]))  # fmt: skip
    one["n"] = len(entries)
    one["tags"] = np.array(entries, "<u2,<u2,<u4,<u4")
    starts = 8 + size * np.arange(pages)
    one["tags"]["f3"][:, 5] = starts + size - 64
    one["next"][:-1] = starts[1:]
    one["pixels"] = (np.arange(pages) % 251)[:, None]
    path.write_bytes(b"II*\0\x08\0\0\0" + one.tobytes())
    start = time.process_time()
    found = read(path)
    assert time.process_time() - start < 2  # tifffile alone takes longer
    np.testing.assert_array_equal(found.pixels[:, 3, 3], np.arange(pages) % 251)
    with pytest.raises(LimitError, match="20,000 frames"):
        read(path, limits=Limits(max_frames=9000))
    # The last page's tags are cut off.
    path.write_bytes(path.read_bytes()[: -size + 30])
    with pytest.raises(FileFormatError, match="breaks off after"):
        read(path)


@pytest.mark.parametrize("bits", [2, 4, 12, 14])
def test_packed_pixels(tmp_path: Path, rng: np.random.Generator, bits: int) -> None:
    """Cameras' 12 bits without gaps; written by hand, as the first bits of big-endian words."""
    pixels = rng.integers(0, 2**bits, (6, 8), dtype=np.uint16)
    digits = "".join(f"{value:0{bits}b}" for value in pixels.ravel().tolist())
    data = int(digits, 2).to_bytes(len(digits) // 8, "big")
    path = tmp_path / "a.tif"
    tifffile.imwrite(path, np.zeros((6, bits), np.uint8), metadata=None, **GREY)
    raw = bytearray(path.read_bytes())
    with tifffile.TiffFile(path) as file:
        tags, offset = file.pages.first.tags, file.pages.first.dataoffsets[0]
        for name, value in (("ImageWidth", 8), ("BitsPerSample", bits)):
            at = tags[name].valueoffset
            raw[at : at + 2] = value.to_bytes(2, "little")
    raw[offset : offset + len(data)] = data
    path.write_bytes(raw)
    np.testing.assert_array_equal(read(path).pixels, pixels)

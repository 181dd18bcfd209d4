"""Zarr stores: those of the zarr library, those made by hand, broken ones, and what we write."""

from __future__ import annotations

import json
import os
import shutil
import struct
import sys
import zipfile
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numcodecs
import numpy as np
import pytest
import zarr
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from everhart import Micrograph
from everhart.errors import EverhartError, FileFormatError, LimitError, UsageError
from everhart.io import FileWarning, Limits, image_paths, open_frames, read, write
from everhart.io.registry import format_to_read
from everhart.micrograph import HistoryEntry

DTYPES = ("bool", "uint8", "int8", "uint16", "int16", "uint32", "int32", "uint64", "int64",
          "float16", "float32", "float64")  # fmt: skip


def levels(*shape: int, dtype: str = "uint16") -> np.ndarray:
    noise = np.random.default_rng(5).normal(60, 25, shape).clip(0, 120)
    return noise > 60 if dtype == "bool" else noise.astype(dtype)


def ngff(
    path: Path,
    pixels: np.ndarray,
    axes: str,
    *,
    version: str = "0.4",
    unit: str | None = "nanometer",
    scale: float = 0.5,
    of_all: float | None = None,
    **more: Any,
) -> Path:
    """Write an image with the zarr library alone, as other programs do."""
    modern = version >= "0.5"
    kinds = {"t": "time", "c": "channel"}
    listed: list[Any] = []
    for name in axes:
        axis: dict[str, Any] = {"name": name, "type": kinds.get(name, "space")}
        if unit and name in "zyx":
            axis["unit"] = unit
        listed.append(axis)
    steps = [{"type": "scale", "scale": [scale if n in "zyx" else 1.0 for n in axes]}]
    image: dict[str, Any] = {
        "axes": listed, "datasets": [{"path": "0", "coordinateTransformations": steps}]
    }  # fmt: skip
    if of_all is not None:
        image["coordinateTransformations"] = [
            {"type": "scale", "scale": [of_all if n in "yx" else 1.0 for n in axes]}
        ]
    said: dict[str, Any] = {"multiscales": [image], **more}
    if modern:
        said["version"] = version
    else:
        image["version"] = version
    group = zarr.open_group(
        str(path), mode="w", zarr_format=3 if modern else 2,
        attributes={"ome": said} if modern else said,
    )  # fmt: skip
    chunks = tuple(1 if n in "tcz" else 16 for n in axes)
    group.create_array("0", data=pixels, chunks=chunks)
    return path


# -- what other programs write -----------------------------------------------------------------
@pytest.mark.parametrize("version", ["0.4", "0.5"])
@pytest.mark.parametrize(
    ("axes", "shape", "expected"),
    [
        ("yx", (20, 30), (20, 30)),
        ("zyx", (3, 20, 30), (3, 20, 30)),
        ("tczyx", (1, 1, 1, 20, 30), (20, 30)),
        ("tczyx", (3, 1, 1, 20, 30), (3, 20, 30)),
        ("tczyx", (1, 1, 4, 20, 30), (4, 20, 30)),
        ("cyx", (1, 20, 30), (20, 30)),
    ],
)
def test_ngff(
    tmp_path: Path, version: str, axes: str, shape: tuple[int, ...], expected: tuple[int, ...]
) -> None:
    pixels = levels(*shape)
    path = ngff(tmp_path / "a.ome.zarr", pixels, axes, version=version)
    found = read(path)
    np.testing.assert_array_equal(found.pixels, pixels.reshape(expected))
    assert (found.shape, found.dtype) == (expected, pixels.dtype)
    assert found.pixel_size_nm == (0.5, 0.5)
    assert found.metadata["everhart"]["pixel_size_source"] == "ome_zarr"
    assert found.metadata["everhart"]["format"] == "Zarr"
    found.pixels[...] = 0  # it is ours
    with open_frames(path) as stack:
        assert stack.shape == (1, *expected)[-3:]
        for number in (len(stack) - 1, 0):
            expect = pixels.reshape(-1, 20, 30)[number]
            np.testing.assert_array_equal(stack[number].pixels, expect)


def test_images_along_two_axes_are_frames(tmp_path: Path) -> None:
    pixels = levels(2, 1, 3, 20, 30)
    path = ngff(tmp_path / "a.zarr", pixels, "tczyx")
    with pytest.warns(FileWarning, match="2 t x 3 z"):
        found = read(path)
    np.testing.assert_array_equal(found.pixels, pixels.reshape(6, 20, 30))
    with pytest.warns(FileWarning), open_frames(path) as stack:
        np.testing.assert_array_equal(stack[4].pixels, pixels[1, 0, 1])


def test_the_first_of_several_channels_is_read(tmp_path: Path) -> None:
    pixels = levels(3, 20, 30)
    channels = [{"label": "HAADF"}, {"label": "BF"}, {}]
    path = ngff(tmp_path / "a.zarr", pixels, "cyx", omero={"channels": channels})
    with pytest.warns(FileWarning, match=r"3 channels; .* 'HAADF' .* \('BF', 'channel 2'\)"):
        found = read(path)
    np.testing.assert_array_equal(found.pixels, pixels[0])


def test_axes_in_another_order(tmp_path: Path) -> None:
    pixels = levels(20, 30, 3)
    path = ngff(tmp_path / "a.zarr", pixels, "xyz")
    np.testing.assert_array_equal(read(path).pixels, pixels.transpose(2, 1, 0))


@pytest.mark.parametrize(
    ("unit", "scale", "of_all", "expected"),
    [
        ("nanometer", 2.5, None, 2.5),
        ("micrometer", 0.0025, None, 2.5),
        ("angstrom", 25.0, None, 2.5),
        ("picometer", 2500.0, None, 2.5),
        ("millimeter", 2.5e-6, None, 2.5),
        ("micrometer", 0.25, 0.01, 2.5),
        (None, 1.0, None, None),
        ("pixel", 2.0, None, None),
        ("second", 2.0, None, None),
    ],
)
def test_units(
    tmp_path: Path, unit: str | None, scale: float, of_all: float | None, expected: float | None
) -> None:
    path = ngff(
        tmp_path / "a.zarr", levels(20, 30), "yx", unit=unit, scale=scale, of_all=of_all
    )  # fmt: skip
    size = read(path).pixel_size_nm
    assert size == (None if expected is None else pytest.approx((expected, expected), rel=1e-12))


@pytest.mark.parametrize(
    ("unit", "scale", "message"),
    [(None, 2.0, "without a unit"), ("nanometer", -1.0, "not believable"),
     ("nanometer", float("nan"), "not believable")],
)  # fmt: skip
def test_bad_scales_cost_the_calibration(
    tmp_path: Path, unit: str | None, scale: float, message: str
) -> None:
    path = ngff(tmp_path / "a.zarr", levels(20, 30), "yx", unit=unit, scale=scale)
    with pytest.warns(FileWarning, match=message):
        assert read(path).pixel_size_nm is None


def change(path: Path, name: str, edit: Callable[[Any], Any]) -> None:
    file = path / name
    tree = json.loads(file.read_text())
    edit(tree)
    file.write_text(json.dumps(tree))


def test_other_sizes_and_older_versions(tmp_path: Path) -> None:
    pixels = levels(1, 1, 1, 20, 30)
    path = ngff(tmp_path / "a.zarr", pixels, "tczyx")

    def scales(tree: Any) -> None:
        steps = tree["multiscales"][0]["datasets"][0]["coordinateTransformations"]
        steps[0]["scale"] = [1, 1, 4, 3, 2]

    change(path, ".zattrs", scales)
    assert read(path).pixel_size_nm == (3, 2)

    def old(tree: Any) -> None:  # as in 0.3, and before it
        tree["multiscales"] = [{"version": "0.3", "axes": list("tczyx"),
                                "datasets": [{"path": "0"}]}]  # fmt: skip

    change(path, ".zattrs", old)
    assert read(path).shape == (20, 30)
    change(path, ".zattrs", lambda tree: tree["multiscales"][0].pop("axes"))
    assert read(path).shape == (20, 30)
    assert read(path).pixel_size_nm is None
    change(path, ".zattrs", lambda tree: tree["multiscales"][0].update(axes=[{"no": "name"}]))
    with pytest.warns(FileWarning, match="axes metadata that cannot be understood"):
        assert read(path).shape == (20, 30)


V2 = {
    "none": None, "blosc": numcodecs.Blosc("zstd", 3, 2), "lz4": numcodecs.LZ4(),
    "zlib": numcodecs.Zlib(), "gzip": numcodecs.GZip(), "bz2": numcodecs.BZ2(),
    "lzma": numcodecs.LZMA(preset=1), "zstd": numcodecs.Zstd(),
}  # fmt: skip


@pytest.mark.parametrize("packing", V2)
@pytest.mark.parametrize("order", "CF")
def test_plain_arrays_of_zarr_2(tmp_path: Path, packing: str, order: Any) -> None:
    for dtype in (">i2", "<f8", "|u1") if order == "C" else ("<u2",):
        pixels = levels(3, 20, 30, dtype=dtype)
        path = tmp_path / f"{dtype[1:]}.zarr"
        array = zarr.create_array(
            str(path), shape=pixels.shape, dtype=pixels.dtype, chunks=(2, 16, 16), zarr_format=2,
            compressors=V2[packing], order=order, overwrite=True,
            filters=numcodecs.Shuffle(pixels.itemsize) if packing == "zlib" else None,
        )  # fmt: skip
        array[:] = pixels
        found = read(path)
        np.testing.assert_array_equal(found.pixels, pixels)
        assert found.dtype == pixels.dtype.newbyteorder("=")
        assert found.pixel_size_nm is None
        with open_frames(path) as stack:
            np.testing.assert_array_equal(stack[1].pixels, pixels[1])


V3: dict[str, dict[str, Any]] = {
    "none": {"compressors": None},
    "gzip": {"compressors": zarr.codecs.GzipCodec()},
    "zstd": {"compressors": zarr.codecs.ZstdCodec(checksum=True)},
    "blosc": {"compressors": zarr.codecs.BloscCodec(cname="lz4hc", shuffle="bitshuffle")},
    "checked": {"compressors": [zarr.codecs.GzipCodec(), zarr.codecs.Crc32cCodec()]},
    "turned": {"filters": [zarr.codecs.TransposeCodec(order=(2, 0, 1)),
                           zarr.codecs.TransposeCodec(order=(1, 0, 2))]},
    "big-endian": {"serializer": zarr.codecs.BytesCodec(endian="big")},
    "dots": {"chunk_key_encoding": {"name": "default", "separator": "."}},
    "as-v2": {"chunk_key_encoding": {"name": "v2", "separator": "."}},
    "shards": {"shards": (4, 32, 32)},
    "shards-first": {"shards": {"shape": (2, 32, 16), "index_location": "start"}},
}  # fmt: skip


@pytest.mark.parametrize("packing", V3)
def test_plain_arrays_of_zarr_3(tmp_path: Path, packing: str) -> None:
    pixels = levels(5, 40, 50)
    path = tmp_path / "a.zarr"
    array = zarr.create_array(
        str(path), shape=pixels.shape, dtype=pixels.dtype, chunks=(2, 16, 16),
        dimension_names=["t", "y", "x"], **V3[packing],
    )  # fmt: skip
    array[:] = pixels
    np.testing.assert_array_equal(read(path).pixels, pixels)
    with open_frames(path) as stack:
        for number in (4, 0, 3):
            np.testing.assert_array_equal(stack[number].pixels, pixels[number])


@pytest.mark.parametrize("version", [2, 3])
@pytest.mark.parametrize("dtype", DTYPES)
def test_every_dtype(tmp_path: Path, version: Any, dtype: str) -> None:
    pixels = levels(20, 30, dtype=dtype)
    zarr.create_array(str(tmp_path / "a.zarr"), data=pixels, zarr_format=version)
    found = read(tmp_path / "a.zarr")
    np.testing.assert_array_equal(found.pixels, pixels)
    assert found.dtype == dtype


@pytest.mark.parametrize("version", [2, 3])
@pytest.mark.parametrize(
    ("dtype", "fill"), [("uint16", 7), ("float32", float("nan")), ("float64", -1.5), ("bool", True)]
)
def test_chunks_that_are_not_there(tmp_path: Path, version: Any, dtype: str, fill: Any) -> None:
    path = tmp_path / "a.zarr"
    array = zarr.create_array(
        str(path), shape=(40, 40), chunks=(16, 16), dtype=dtype, fill_value=fill,
        zarr_format=version,
    )  # fmt: skip
    with pytest.raises(FileFormatError, match="none of their chunks"):
        read(path)
    array[:16] = levels(16, 40, dtype=dtype)
    with pytest.warns(FileWarning, match=r"3 of 9 chunks .*, as of an empty region"):
        found = read(path)
    np.testing.assert_array_equal(found.pixels, array[:])


def test_arrays_in_groups(tmp_path: Path) -> None:
    path = tmp_path / "a.zarr"
    group = zarr.open_group(str(path), mode="w")
    with pytest.raises(FileFormatError, match="no image"):
        read(path)
    group.create_array("deep", data=levels(20, 30))
    assert read(path).shape == (20, 30)
    group.create_array("other", data=levels(20, 31))
    with pytest.raises(FileFormatError, match=r"several images \('deep', 'other'\)"):
        read(path)
    assert read(path / "other").shape == (20, 31)


def test_several_series_and_plates(tmp_path: Path) -> None:
    path = tmp_path / "a.zarr"
    zarr.open_group(str(path), mode="w", zarr_format=2, attributes={"bioformats2raw.layout": 3})
    ngff(path / "0", levels(20, 30), "yx")
    (path / "OME").mkdir()
    assert read(path).pixel_size_nm == (0.5, 0.5)
    zarr.open_group(str(path / "0" / "labels"), mode="w", zarr_format=2)
    assert read(path).shape == (20, 30)
    ngff(path / "1", levels(20, 30), "yx")
    with pytest.raises(FileFormatError, match="several images"):
        read(path)
    assert read(path / "1").shape == (20, 30)
    change(path, ".zattrs", lambda tree: tree.update(plate={"wells": [{"path": "B/3"}]}))
    with pytest.raises(FileFormatError, match=r"plate .*a\.zarr/B/3/0"):
        read(path)


@pytest.mark.parametrize(
    ("shape", "expected"),
    [((20, 30), (20, 30)), ((1, 20, 30), (20, 30)), ((4, 1, 20, 30), (4, 20, 30)),
     ((3, 4, 20, 30), None), ((30,), None), ((2, 20, 3), (2, 20, 3))],
)  # fmt: skip
def test_arrays_without_names_of_axes(
    tmp_path: Path, shape: tuple[int, ...], expected: tuple[int, ...] | None
) -> None:
    zarr.create_array(str(tmp_path / "a.zarr"), data=levels(*shape))
    if expected is None:
        with pytest.raises(FileFormatError, match=r"no image|4D"):
            read(tmp_path / "a.zarr")
        return
    assert read(tmp_path / "a.zarr").shape == expected


def test_bands_of_colour(tmp_path: Path) -> None:
    zarr.create_array(str(tmp_path / "a.zarr"), data=levels(20, 30, 3))
    with pytest.warns(FileWarning, match="3 channels"):
        assert read(tmp_path / "a.zarr").shape == (20, 30)


@pytest.mark.parametrize(
    ("dtype", "message"),
    [("complex64", "complex"), ("U5", "in place of pixels"), ("S5", "in place of pixels"),
     ("M8[s]", "in place of pixels"), ("<f16", "in place of pixels"),
     ([["x", "<f4"]], "in place of pixels"), ("|O", "in place of pixels")],
)  # fmt: skip
def test_what_is_no_image(tmp_path: Path, dtype: Any, message: str) -> None:
    path = hand_made(tmp_path / "a.zarr", dtype="<c8" if dtype == "complex64" else dtype)
    with pytest.raises(FileFormatError, match=message):
        read(path)


# -- stores made by hand, to claim what they like ----------------------------------------------
def hand_made(path: Path, chunk: bytes | None = bytes(600), **fields: Any) -> Path:
    meta = {
        "zarr_format": 2, "shape": [20, 30], "chunks": [20, 30], "dtype": "|u1",
        "compressor": None, "fill_value": 0, "order": "C", "filters": None, **fields,
    }  # fmt: skip
    path.mkdir()
    (path / ".zarray").write_text(json.dumps(meta))
    if chunk is not None:
        axes = len(meta["shape"]) if isinstance(meta["shape"], list) else 0
        (path / (".".join("0" * axes) or "0")).write_bytes(chunk)
    return path


HUGE = 1 << 31
ZLIB, BLOSC, ZSTD = {"id": "zlib"}, {"id": "blosc"}, {"id": "zstd"}


def blosc_claim(size: int, block: int = 4096) -> bytes:
    return struct.pack("<4B3I", 2, 1, 0x21, 1, size, block, 100) + bytes(84)


LIES: dict[str, dict[str, Any]] = {
    "huge": {"shape": [HUGE, HUGE], "chunks": [HUGE, HUGE]},
    "huge-small-chunks": {"shape": [HUGE, HUGE], "chunks": [1, 1]},
    "many-chunks": {"shape": [8000, 8000], "chunks": [1, 1]},
    "many-frames": {"shape": [HUGE, 20, 30], "chunks": [1, 20, 30]},
    "empty-large": {"shape": [20_000, 20_000], "chunks": [1000, 1000]},
    "huge-chunk": {"chunks": [HUGE, HUGE]},
    "large-chunk": {"chunks": [20_000, 20_000], "compressor": ZLIB,
                    "chunk": zlib.compress(bytes(400_000_000), 1)[:1_500_000]},
    "zlib-bomb": {"compressor": ZLIB, "chunk": zlib.compress(bytes(4_000_000), 9)},
    "zstd-bomb": {"compressor": ZSTD, "chunk": numcodecs.Zstd().encode(bytes(50_000_000))},
    "lz4-bomb": {"compressor": {"id": "lz4"}, "chunk": struct.pack("<i", HUGE - 1) + bytes(90)},
    "lz4-less": {"compressor": {"id": "lz4"}, "chunk": struct.pack("<i", -5) + bytes(90)},
    "blosc-bomb": {"compressor": BLOSC, "chunk": blosc_claim(HUGE)},
    "blosc-block": {"compressor": BLOSC, "chunk": blosc_claim(600, HUGE)},
    "blosc-none": {"compressor": BLOSC, "chunk": blosc_claim(0)},
    "blosc-short": {"compressor": BLOSC, "chunk": b"\2\1"},
    "long-chunk": {"chunk": bytes(100_000)},
    "short-chunk": {"chunk": bytes(599)},
    "no-chunk": {"chunk": None},
    "empty-chunk": {"chunk": b""},
    "pickle": {"filters": [{"id": "pickle"}], "dtype": "|u1"},
    "pickles": {"compressor": {"id": "pickle"}},
    "json": {"filters": [{"id": "json2"}]},
    "unknown": {"compressor": {"id": "imagecodecs_jpegxl"}},
    "shuffle-0": {"filters": [{"id": "shuffle", "elementsize": 0}]},
    "shuffle-7": {"filters": [{"id": "shuffle", "elementsize": 7}]},
    "no-axes": {"shape": [], "chunks": []},
    "no-pixels": {"shape": [0, 30]},
    "negative": {"shape": [-20, 30]},
    "axes-differ": {"chunks": [20]},
    "many-axes": {"shape": [1] * 100, "chunks": [1] * 100},
    "text": {"shape": "20x30"},
    "null": {"shape": None},
    "fill": {"fill_value": {"a": 1}},
    "large-fill": {"fill_value": 1 << 70},
    "separator": {"dimension_separator": "../"},
}  # fmt: skip


@pytest.mark.parametrize("name", LIES)
def test_wrong_claims_are_refused(tmp_path: Path, name: str) -> None:
    path = hand_made(tmp_path / "a.zarr", **LIES[name])
    with pytest.raises((FileFormatError, LimitError)) as caught:
        read(path)
    assert str(caught.value).endswith(".")
    assert str(path) in str(caught.value)


@pytest.mark.parametrize("name", ["huge", "many-chunks", "empty-large", "large-chunk", "no-chunk"])
def test_wrong_claims_are_refused_when_frames_are_opened(tmp_path: Path, name: str) -> None:
    path = hand_made(tmp_path / "a.zarr", **LIES[name])
    with pytest.raises((FileFormatError, LimitError)), open_frames(path) as stack:
        _ = stack[0]


@pytest.mark.parametrize(
    "name",
    ["../../secret", "/etc", "0/../../x", "C:\\x", "http://a.org/0", "a\\..\\b", "a\0"],
)
def test_paths_that_leave_the_store_are_refused(tmp_path: Path, name: str) -> None:
    path = ngff(tmp_path / "a.zarr", levels(20, 30), "yx")
    hand_made(tmp_path / "secret")
    change(path, ".zattrs", lambda tree: tree["multiscales"][0]["datasets"][0].update(path=name))
    with pytest.raises(FileFormatError, match="outside of it"):
        read(path)


@pytest.mark.skipif(os.name == "nt", reason="links need a privilege there")
def test_links_that_leave_the_store_and_pipes_are_refused(tmp_path: Path) -> None:
    path = hand_made(tmp_path / "a.zarr", chunk=None)
    (tmp_path / "secret").write_bytes(bytes(600))
    (path / "0.0").symlink_to(tmp_path / "secret")
    with pytest.raises(FileFormatError, match="leads out of it"):
        read(path)
    (path / "0.0").unlink()
    (path / "pixels").write_bytes(bytes(600))
    (path / "0.0").symlink_to("pixels")
    assert read(path).shape == (20, 30)
    (path / "0.0").unlink()
    (path / "0.0").symlink_to("0.0")
    with pytest.raises(FileFormatError):
        read(path)
    if hasattr(os, "mkfifo"):
        (path / "0.0").unlink()
        os.mkfifo(path / "0.0")
        with pytest.raises(FileFormatError, match="no ordinary file"):
            read(path)
    shutil.rmtree(path)
    path.symlink_to(hand_made(tmp_path / "b.zarr"))  # the store itself may be behind a link
    assert read(path).shape == (20, 30)


@pytest.mark.parametrize(
    "text", ["", "[]", "{", "null", '{"zarr_format": 2}', "[" * 100_000, '{"a":' * 50_000, "\xff"]
)
def test_broken_metadata(tmp_path: Path, text: str) -> None:
    path = hand_made(tmp_path / "a.zarr")
    (path / ".zarray").write_text(text, "latin-1")
    with pytest.raises(FileFormatError, match="broken metadata"):
        read(path)


@pytest.mark.parametrize(
    "edit",
    [
        lambda tree: tree.update(codecs=[]),
        lambda tree: tree.update(codecs=[{"name": "bytes"}, {"name": "evil.module"}]),
        lambda tree: tree.update(codecs=[{"name": "bytes"}, {"name": "bytes"}]),
        lambda tree: tree.update(codecs=[{"name": "transpose", "configuration": {"order": [5]}}]),
        lambda tree: tree["chunk_grid"].update(name="rectilinear"),
        lambda tree: tree.update(chunk_key_encoding={"name": "../x"}),
        lambda tree: tree.update(storage_transformers=[{"name": "x"}]),
        lambda tree: tree.update(data_type="complex128"),
        lambda tree: tree.update(data_type={"name": "struct"}),
        lambda tree: tree.update(shape=[1 << 40, 1 << 40]),
        lambda tree: tree.pop("shape"),
        lambda tree: tree["codecs"][0]["configuration"].update(chunk_shape=[7, 7]),
        lambda tree: tree["codecs"][0]["configuration"].update(
            codecs=json.loads(json.dumps(tree["codecs"]))
        ),
        lambda tree: tree["codecs"][0]["configuration"].update(
            index_codecs=[{"name": "bytes"}, {"name": "gzip"}]
        ),
        lambda tree: (tree["chunk_grid"]["configuration"].update(chunk_shape=[1 << 20, 1 << 20]),
                      tree["codecs"][0]["configuration"].update(chunk_shape=[1, 1])),
    ],
)  # fmt: skip
def test_broken_metadata_of_zarr_3(tmp_path: Path, edit: Callable[[Any], Any]) -> None:
    path = tmp_path / "a.zarr"
    zarr.create_array(str(path), data=levels(32, 32), chunks=(16, 16), shards=(32, 32))
    assert read(path).shape == (32, 32)
    change(path, "zarr.json", edit)
    with pytest.raises((FileFormatError, LimitError)):
        read(path)


@pytest.mark.parametrize("version", [2, 3])
@pytest.mark.filterwarnings("ignore::everhart.io.FileWarning")
def test_broken_stores_are_errors_or_images(tmp_path: Path, version: Any) -> None:
    """Every part is cut, or changed in some bytes."""
    rng = np.random.default_rng(version)
    whole = tmp_path / "whole.zarr"
    if version == 2:
        write(Micrograph(levels(3, 20, 30), 1.5), whole)
    else:
        group = zarr.open_group(str(whole), mode="w")
        group.create_array("0", data=levels(3, 20, 30), chunks=(1, 10, 10), shards=(3, 20, 30))
    files = sorted(file for file in whole.rglob("*") if file.is_file())
    for number in range(300):
        file = files[number % len(files)]
        data = bytearray(file.read_bytes())
        before = bytes(data)
        if number % 3 == 0:
            del data[int(rng.integers(len(data))) :]
        else:
            for at in rng.integers(0, len(data), rng.integers(1, 6)):
                data[at] = rng.integers(256)
        file.write_bytes(data)
        message = None
        try:
            size = read(whole).pixels.size
        except EverhartError as error:
            message = str(error)
        if message is None:
            assert size < 1 << 26
            # JSON may lose white space at its end; a chunk may lose nothing.
            assert number % 3 or not file.name.isdecimal()
        else:
            assert message.endswith(".")
        file.write_bytes(before)


# -- what we write -----------------------------------------------------------------------------
@given(
    pixels=hnp.arrays(
        st.sampled_from(DTYPES), hnp.array_shapes(min_dims=2, max_dims=3, min_side=1, max_side=6),
        elements={"allow_nan": False},
    ),
    size=st.one_of(st.none(), st.tuples(st.floats(0.01, 1e4), st.floats(0.01, 1e4))),
)  # fmt: skip
def test_round_trip(
    tmp_path_factory: pytest.TempPathFactory, pixels: Any, size: tuple[float, float] | None
) -> None:
    path = tmp_path_factory.mktemp("zarr") / "image.zarr"
    entry = HistoryEntry("denoise", {"method": "µ"})
    image = Micrograph(pixels, size, {"common": {"beam_energy_kev": 5.0}}, (entry,))
    back = read(write(image, path))
    np.testing.assert_array_equal(back.pixels, pixels)
    assert (back.dtype, back.shape, back.pixel_size_nm) == (pixels.dtype, pixels.shape, size)
    assert back.history == (entry,)
    assert back.metadata["common"] == {"beam_energy_kev": 5.0}


@pytest.mark.parametrize("shape", [(2500, 1301), (2, 1100, 30)])
def test_other_programs_read_what_we_write(tmp_path: Path, shape: tuple[int, ...]) -> None:
    pixels = levels(*shape)
    path = write(Micrograph(pixels, (1.5, 2.5)), tmp_path / "image.ome.zarr")
    group = zarr.open_group(str(path), mode="r")
    (image,) = group.attrs["multiscales"]
    assert image["version"] == "0.4"
    names = [axis["name"] for axis in image["axes"]]
    assert names == ["t", "y", "x"][-len(shape) :]
    assert [axis.get("unit") for axis in image["axes"][-2:]] == ["nanometer"] * 2
    sizes = []
    for number, level in enumerate(image["datasets"]):
        array = group[level["path"]]
        sizes.append(array.shape)
        first, *_ = level["coordinateTransformations"]
        assert first["scale"][-2:] == [1.5 * 2**number, 2.5 * 2**number]
        assert array.dtype == pixels.dtype
    np.testing.assert_array_equal(group["0"][:], pixels)
    assert max(sizes[-1][-2:]) <= 1024
    half = group["1"][:]
    rows, columns = (n // 2 for n in shape[-2:])
    blocks = pixels[..., : 2 * rows, : 2 * columns].astype(float)
    mean = blocks.reshape(*shape[:-2], rows, 2, columns, 2).mean((-3, -1))
    np.testing.assert_allclose(half, mean, atol=0.5)


def test_a_lost_chunk_of_ours_is_an_error(tmp_path: Path) -> None:
    path = write(Micrograph(np.zeros((3, 20, 30), np.uint8)), tmp_path / "image.zarr")
    assert read(path).shape == (3, 20, 30)  # also of zeros, which other writers leave out
    shutil.rmtree(path / "0" / "1")
    with pytest.raises(FileFormatError, match="1 of 3 chunks of pixels are missing"):
        read(path)


def test_folders_are_replaced_with_care(tmp_path: Path) -> None:
    path = tmp_path / "image.zarr"
    write(levels(20, 30), path)
    with pytest.raises(UsageError, match="exists already"):
        write(levels(20, 31), path)
    write(levels(20, 31), path, overwrite=True)
    assert read(path).shape == (20, 31)
    (path / "0" / "notes.txt").write_text("mine")
    with pytest.raises(UsageError, match="more than a Zarr image"):
        write(levels(20, 30), path, overwrite=True)
    folder = tmp_path / "photos.zarr"
    folder.mkdir()
    with pytest.raises(UsageError, match="exists already"):
        write(levels(20, 30), folder)
    with pytest.raises(UsageError, match="more than a Zarr image"):
        write(levels(20, 30), folder, overwrite=True)
    file = tmp_path / "file.zarr"
    file.write_text("a file")
    with pytest.raises(UsageError, match="is a file"):
        write(levels(20, 30), file, overwrite=True)
    with pytest.raises(FileFormatError, match="without the files"):
        read(folder)
    names = sorted(p.name for p in tmp_path.iterdir())
    assert names == ["file.zarr", "image.zarr", "photos.zarr"]


def test_a_write_that_fails_leaves_the_old_image(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = write(levels(20, 30), tmp_path / "image.zarr")

    def fail(self: Any, key: Any, value: Any) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(zarr.Array, "__setitem__", fail)
    with pytest.raises(EverhartError, match="the disk is full"):
        write(levels(20, 31), path, overwrite=True)
    with pytest.raises(EverhartError, match="the disk is full"):
        write(levels(20, 31), tmp_path / "new.zarr")
    assert [p.name for p in tmp_path.iterdir()] == ["image.zarr"]
    assert read(path).shape == (20, 30)


def test_an_old_image_comes_back_if_the_new_one_cannot_take_its_place(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from everhart.io import atomic

    path = write(levels(20, 30), tmp_path / "image.zarr")

    def fail(temporary: Path, target: Path) -> None:
        assert not target.exists()
        raise OSError(13, "Permission denied", str(target))

    monkeypatch.setattr(atomic, "_rename_new_folder", fail)
    with pytest.raises(EverhartError, match="permission is denied"):
        write(levels(20, 31), path, overwrite=True)
    assert [p.name for p in tmp_path.iterdir()] == ["image.zarr"]
    assert read(path).shape == (20, 30)


def test_a_store_in_a_folder_is_one_image(tmp_path: Path) -> None:
    for number in (10, 2):
        write(levels(20, 30), tmp_path / f"a{number}.zarr")
    (tmp_path / "empty.zarr").mkdir()
    write(levels(20, 30), tmp_path / "b.tif")
    assert [p.name for p in image_paths(tmp_path)] == ["a2.zarr", "a10.zarr", "b.tif"]
    assert image_paths(tmp_path / "a2.zarr") == [tmp_path / "a2.zarr"]
    assert [p.name for p in image_paths(tmp_path / "*0.zarr")] == ["a10.zarr"]
    assert format_to_read(tmp_path / "a2.zarr").name == "Zarr"


# -- in a zip ----------------------------------------------------------------------------------
@pytest.mark.parametrize("root", ["", "image.zarr/"])
@pytest.mark.parametrize("method", [zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED])
def test_a_store_in_a_zip(tmp_path: Path, root: str, method: int) -> None:
    path = tmp_path / "image.zarr"
    zarr.create_array(str(path), data=levels(32, 32), chunks=(16, 16), shards=(32, 32))
    packed = tmp_path / "image.zip"
    with zipfile.ZipFile(packed, "w", method) as archive:
        for file in path.rglob("*"):
            archive.write(file, root + file.relative_to(path).as_posix())
    found = read(packed)
    np.testing.assert_array_equal(found.pixels, levels(32, 32))
    assert found.metadata["everhart"]["packed_format"] == "Zarr"
    data = packed.read_bytes()
    packed.write_bytes(data.replace(b"PK\x05\x06", b"PK\x05\x07"))
    with pytest.raises(FileFormatError):
        read(packed)


# -- large -------------------------------------------------------------------------------------
@pytest.mark.skipif(sys.platform != "linux", reason="sparse files")
def test_a_large_stack_is_opened_and_not_read(tmp_path: Path) -> None:
    path = hand_made(
        tmp_path / "film.zarr", None, shape=[200, 4096, 4096], chunks=[1, 4096, 4096], dtype="<u2"
    )
    with (path / "199.0.0").open("wb") as file:
        file.truncate(2 * 4096 * 4096)
    with pytest.warns(FileWarning, match="0 of 1 chunks"):
        stack = open_frames(path)
    assert stack.shape == (200, 4096, 4096)
    assert stack[199].pixels[5, 5] == 0
    with pytest.raises(LimitError):
        read(path, limits=Limits(max_decoded_bytes=1 << 30))


def test_chunks_of_many_frames_are_unpacked_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from everhart.io import zarr_array

    pixels = levels(8, 20, 30)
    path = tmp_path / "a.zarr"
    zarr.create_array(str(path), data=pixels, chunks=(4, 20, 30), zarr_format=2)
    calls = []
    plain = zarr_array.unpacked
    monkeypatch.setattr(zarr_array, "unpacked", lambda *a: calls.append(1) or plain(*a))
    with open_frames(path) as stack:
        calls.clear()
        np.testing.assert_array_equal([frame.pixels for frame in stack], pixels)
    assert len(calls) <= 2

"""DM3 and DM4 files that lie, are cut short or were changed: a clear error or an image, soon."""

from __future__ import annotations

import struct
import time
import tracemalloc
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from everhart.errors import FileFormatError, LimitError
from everhart.io import FileWarning, Limits, read
from everhart.io.dm_tags import DmArray, is_dm, read_dm_tags

from .dm_files import Dm, Raw, dm_file, document, image

LEVELS = np.arange(20, dtype=np.int16).reshape(4, 5)


def refused(tmp_path: Path, data: bytes, match: str) -> None:
    """Check that a file is refused, within 2 s and little memory."""
    path = tmp_path / "bad.dm4"
    path.write_bytes(data)
    tracemalloc.start()
    start = time.process_time()
    with pytest.raises(FileFormatError, match=match) as caught:
        read(path)
    took, (_, peak) = time.process_time() - start, tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert "bad.dm4" in str(caught.value)
    assert took < 2
    assert peak < (8 << 20) + 4 * len(data)


@pytest.mark.parametrize("version", [3, 4])
def test_lengths_beyond_the_file(tmp_path: Path, version: int) -> None:
    dm = Dm(version)
    huge = (1 << 31) - 1 if version == 3 else (1 << 62) + 1
    pixels = Raw((20, 2, huge), LEVELS.tobytes())
    for tree, match in (
        ({"a": Raw((20, 2, huge), b"\0" * 99)}, "truncated"),
        ({"a": Raw((20, 4, huge), b"\0" * 99)}, "truncated"),
        ({"a": Raw((18, huge), b"\0" * 99)}, "truncated"),
        ({"a": Raw((20, 15, 0, 2, 0, 3, 0, 3, huge), b"\0" * 99)}, "truncated"),
        ({"a": Raw((15, 0, huge, 0, 3), b"\0" * 99)}, "type that is not known"),
        ({"a": Raw((20, 20, 3, huge, huge), b"\0" * 99)}, "elements of"),
        (document(image(LEVELS, Data=pixels)), "truncated"),
    ):
        refused(tmp_path, dm.file(tree), match)
    refused(tmp_path, dm.file({"a": 1}, count=huge), "truncated|a tag of kind 0|no list of images")
    deep = dm.entry("a", 1)
    value = deep.index(b"%%%%") + 4
    for n, match in ((huge, "described by"), (-1, "a length of -1")):
        broken = deep[:value] + dm.size(n) + deep[value + len(dm.size(0)) :]
        data = dm.file({}).removesuffix(b"\0" * 8).removesuffix(dm.size(0)) + dm.size(1) + broken
        refused(tmp_path, data + b"\0" * 8, match)


@pytest.mark.parametrize(
    ("codes", "match"),
    [((99,), "code 99"), ((), "index"), ((20,), "index"), ((20, 3, -1), "a count of -1"),
     ((15, 0, 0), "without fields"), ((20, 18, 0, 5), "elements of 0"), ((15,), "index"),
     ((20,) * 100, "nested too deep"), ((15, 0, 9, 0, 3), "index"), ((20, 15, 0, -3), "count")],
)  # fmt: skip
def test_types_that_are_none(tmp_path: Path, codes: tuple[int, ...], match: str) -> None:
    refused(tmp_path, Dm().file({"a": Raw(codes, b"\0" * 64)}), match)


@pytest.mark.parametrize("version", [3, 4])
def test_groups_nested_without_end(tmp_path: Path, version: int) -> None:
    tree: dict[str, Any] = {"a": 1}
    for _ in range(200):
        tree = {"a": tree}
    refused(tmp_path, Dm(version).file(tree), "nested deeper than 64")


def test_tags_without_end(tmp_path: Path) -> None:
    dm = Dm()
    start = struct.pack(">iii", 3, 0, 1) + b"\0\0" + dm.size(2_000_000_000)
    fields = (0, 3) * 60
    structs = [dm.entry("", Raw((15, n, 60, *fields), b"\0" * 240)) for n in range(6000)]
    path = tmp_path / "bad.dm3"
    for tags, match in (
        (dm.entry("", 1) * 150_000, "more than 100,000 tags"),
        (b"".join(structs), "more than 5,000 types of structs"),
    ):
        path.write_bytes(start + tags)
        begin = time.process_time()
        with pytest.raises(FileFormatError, match=match):
            read(path)
        assert time.process_time() - begin < 2


def test_long_values_stay_in_the_file(tmp_path: Path) -> None:
    path = tmp_path / "a.dm3"
    tree = {
        "long": np.zeros(65, np.int32),
        "text": "x" * 70_000,
        "short": np.arange(3, dtype=np.int32),
        "texts": [f"{n}" * 10_000 for n in range(900)],
    }
    path.write_bytes(Dm().file(tree))
    tracemalloc.start()
    found = read_dm_tags(path).tree
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert isinstance(found["long"], DmArray)
    assert isinstance(found["text"], DmArray)
    assert found["short"] == [0, 1, 2]
    assert found["texts"][0] == "0" * 10_000
    assert isinstance(found["texts"][-1], DmArray)
    assert peak < 20 << 20


def test_kinds_of_values(tmp_path: Path) -> None:
    path = tmp_path / "a.dm3"
    for dm in (Dm(3), Dm(3, ">"), Dm(4), Dm(4, ">")):
        char = "<u2" if dm.order == "<" else ">u2"
        tree = {
            "text": Raw((18, 2), np.array([0x6E, 0xE5], char).tobytes()),
            "numbers": np.array([1, 2, 0xD800], np.uint16),
            "structs": Raw((20, 15, 0, 2, 0, 2, 0, 3, 2),
                           np.array([(1, 2), (3, 4)], f"{dm.order}i2, {dm.order}i4").tobytes()),
            "arrays": Raw((20, 20, 10, 2, 3), bytes(range(6))),
            "list": [{"µ": 1}, {"µ": True}],
            "struct": (1, -0.5),
            "long": np.uint64(1 << 63),
            "none": "",
        }  # fmt: skip
        path.write_bytes(dm.file(tree))
        file = read_dm_tags(path)
        assert (file.version, file.byte_order) == (dm.version, dm.order)
        assert file.tree == {
            "text": "nå", "numbers": [1, 2, 0xD800], "structs": [(1, 2), (3, 4)],
            "arrays": [[0, 1], [2, 3], [4, 5]], "list": [{"µ": 1}, {"µ": True}],
            "struct": (1, -0.5), "long": 1 << 63, "none": "",
        }  # fmt: skip


def test_names_that_come_again(tmp_path: Path) -> None:
    dm = Dm()
    data = struct.pack(">iii", 3, 0, 1) + b"\0\0" + dm.size(3)
    data += dm.entry("a", 1) + dm.entry("a", 2) + dm.entry("", 3)
    (tmp_path / "a.dm3").write_bytes(data)
    assert read_dm_tags(tmp_path / "a.dm3").tree == {"a": 1, "a [1]": 2, "[0]": 3}


@pytest.mark.parametrize(
    "sizes", [(5, 5), (0, 4), (5, 3), (1 << 31, 1 << 31), (), (5, 4, 2), (-5, -4), (2.5, 8)]
)
def test_dimensions_that_do_not_fit_the_data(tmp_path: Path, sizes: tuple[Any, ...]) -> None:
    entry = image(LEVELS)
    kept = [np.int64(n) if n == int(n) else np.float32(n) for n in sizes]
    entry["ImageData"]["Dimensions"] = kept
    refused(tmp_path, Dm(4).file(document(entry)), "dimensions")


def test_claims_that_disagree(tmp_path: Path) -> None:
    for data, match in (
        (dm_file(LEVELS, data_type=2), "4 bytes a pixel"),
        (dm_file(LEVELS.astype(np.int32), data_type=2), "data type float32, and data of int32"),
        (dm_file(LEVELS, Data=3), "an image without its data"),
        (dm_file(LEVELS, Data="text"), "dimensions of"),
        (dm_file(LEVELS, DataType="text"), "data type -1"),
        (dm_file(LEVELS, Dimensions=7), "the dimensions 7"),
        (Dm().file({"a": 1}), "no list of images"),
        (Dm().file({"ImageList": []}), "no list of images"),
        (Dm().file({"ImageList": {"a": 1}}), "no list of images"),
        (Dm().file({"ImageList": [{"ImageData": 3}, {}]}), "without its data"),
        (Dm().file([{"a": 1}]), "no list of images"),  # type: ignore[arg-type]
    ):
        refused(tmp_path, data, match)


def test_headers(tmp_path: Path) -> None:
    good = dm_file(LEVELS)
    assert is_dm(good)
    assert is_dm(dm_file(LEVELS, 4, ">"))
    for bad in (b"", good[:20], b"\0\0\0\5" + good[4:], good[:8] + b"\0\0\0\2" + good[12:],
                b"\0\0\0\3" + b"\xff" * 40):  # fmt: skip
        assert not is_dm(bad)
    path = tmp_path / "a.dm3"
    for start, match in ((b"\0\0\0\7", "version 7"), (good[:8] + b"\0\0\0\2", "byte order of 2")):
        path.write_bytes(start + good[len(start) :])
        with pytest.raises(FileFormatError, match=match):
            read_dm_tags(path)


def test_limits(tmp_path: Path) -> None:
    path = tmp_path / "a.dm3"
    path.write_bytes(dm_file(np.zeros((6, 40, 50), np.uint8)))
    for limits, match in (
        (Limits(max_pixels_per_plane=1999), "40 x 50"),
        (Limits(max_frames=5), "6 frames"),
    ):
        with pytest.raises(LimitError, match=match):
            read(path, limits=limits)
    assert read(path, limits=Limits(max_decoded_bytes=1)).shape == (6, 40, 50)  # mapped
    path.write_bytes(dm_file(np.zeros((6, 40, 50), np.int32), data_type=23))
    with pytest.raises(LimitError, match="bytes decoded"):
        read(path, limits=Limits(max_decoded_bytes=1000))


# -- cut short, and changed -------------------------------------------------------------------
def _real(name: str) -> Callable[[Path], bytes]:
    return lambda shared: (shared / "formats" / name).read_bytes()


NAMES = {
    "DataBar": {"Acquisition Date": "8/9/2016", "Acquisition Time (OS)": 1.311e17},
    "Microscope Info": {"Voltage": 2e5, "Stage Position": {"Stage X": 1.0}},
    "Items": [{"Label": "a", "Value": (1, 2)}, {"Label": "b", "Value": np.zeros(9, np.int16)}],
}
STACK = np.arange(60, dtype=np.uint16).reshape(3, 4, 5)
KINDS: dict[str, Callable[[Path], bytes]] = {
    "made DM3": lambda _: dm_file(STACK, tags=NAMES, scales=(1, 1, 1), units=("nm",) * 3),
    "made DM4": lambda _: dm_file(STACK, 4, tags=NAMES, scales=(1, 1, 1), units=("nm",) * 3),
    "made on a Mac": lambda _: dm_file(STACK, 3, ">", tags=NAMES),
    "real DM3": _real("dm3/Fei HAADF-UK_location.dm3"),
    "real DM4": _real("dm4/2d_test-10.dm4"),
}


@pytest.fixture(params=list(KINDS))
def whole(request: pytest.FixtureRequest) -> bytes:
    """Bytes of a good file; the real ones are skipped where they are absent."""
    shared = Path()
    if request.param.startswith("real"):
        shared = request.getfixturevalue("shared_data")
    return KINDS[request.param](shared)


def opened(path: Path) -> np.ndarray | None:
    """Read a file; anything but an image and our errors fails the test."""
    start = time.perf_counter()
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", FileWarning)
            found = read(path)
    except FileFormatError as error:
        pixels, said = None, str(error)
    else:
        said = str(path)
        assert found.pixel_size_nm is None or all(0 < size < 1e9 for size in found.pixel_size_nm)
        pixels = np.array(found.pixels)
        assert pixels.nbytes <= path.stat().st_size
    assert str(path) in said
    assert time.perf_counter() - start < 5
    return pixels


def test_truncated(tmp_path: Path, whole: bytes) -> None:
    path = tmp_path / "a.dm"
    path.write_bytes(whole)
    expected = opened(path)
    assert expected is not None
    # The last tag ends 8 bytes before the end, which are 0 and say so.
    for length in np.linspace(0, len(whole) - 9, 100).astype(int).tolist():
        path.write_bytes(whole[:length])
        assert opened(path) is None


def mutations(path: Path, whole: bytes, n: int, seed: int) -> None:
    rng = np.random.default_rng(seed)
    data = np.frombuffer(whole, np.uint8)
    marks = [n for n in range(len(whole)) if whole.startswith((b"%%%%", b"Image", b"Dim"), n)]
    for _ in range(n):
        changed = data.copy()
        for _ in range(int(rng.integers(1, 5))):
            # Structure matters more than pixels: most changes are near a tag.
            near = int(rng.choice(marks)) + int(rng.integers(-24, 40))
            at = near if rng.random() < 0.8 else int(rng.integers(len(data)))
            changed[min(max(at, 0), len(data) - 1)] = rng.choice([0, 1, 255, rng.integers(256)])
        path.write_bytes(changed.tobytes())
        opened(path)


def test_mutated(tmp_path: Path, whole: bytes) -> None:
    mutations(tmp_path / "a.dm", whole, 150, seed=1)


@pytest.mark.slow
def test_mutated_a_thousand_times(tmp_path: Path, whole: bytes) -> None:
    mutations(tmp_path / "a.dm", whole, 1000, seed=2)

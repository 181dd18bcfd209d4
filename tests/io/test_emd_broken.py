"""Broken EMD files, read in a child process: the HDF5 library is C code, and could crash."""

from __future__ import annotations

import json
import subprocess
import sys
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest

from everhart import Micrograph
from everhart.errors import FileFormatError
from everhart.io import read, write

from .emd_files import add_ncem, add_velox, ncem, velox, velox_metadata

# Reads every file of a folder and says what came of it, line by line.
CHILD = """
import json, resource, sys, time, warnings
from pathlib import Path

import h5py
import numpy as np

from everhart.errors import FileFormatError
from everhart.io import DEFAULT_LIMITS, FileWarning, read
from everhart.io.formats.emd import FORMAT

def frames(path):
    reader = FORMAT.frames(path, DEFAULT_LIMITS)
    try:
        for number in {0, reader.shape[0] - 1}:
            assert reader.frame(number).shape == reader.shape[1:]
    finally:
        reader.close()

warnings.simplefilter("ignore", FileWarning)
folder, start = Path(sys.argv[1]), int(sys.argv[2])
used = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
resource.setrlimit(resource.RLIMIT_AS, (used + 700_000_000,) * 2)
resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
for number in range(start, len(list(folder.glob("*.emd")))):
    path = folder / f"{number}.emd"
    print(number, end=" ", flush=True)
    begin = time.process_time()  # other programs may be busy
    said = "error"
    try:
        image = read(path)
        assert np.sum(image.pixels, dtype=np.float32) is not None
        json.dumps(image.metadata)
        said = f"{image.shape} {image.pixels.tobytes().hex()[:2000]}"
        frames(path)
    except FileFormatError as error:
        if not str(error).endswith(".") or "\\n" in str(error):
            said = f"no sentence: {error!r}"
    except BaseException as error:
        said = f"bad: {error!r}"
    print(json.dumps({"said": said, "seconds": time.process_time() - begin}), flush=True)
"""

pytestmark = pytest.mark.skipif(not sys.platform.startswith("linux"), reason="limits need Linux")


def judged(folder: Path) -> Iterator[tuple[int, dict[str, Any]]]:
    """Give what came of each file; a crash ends a child, and the next goes on behind it."""
    count = len(list(folder.glob("*.emd")))
    following = 0
    while following < count:
        command = [sys.executable, "-c", CHILD, str(folder), str(following)]
        done = subprocess.run(command, capture_output=True, text=True, timeout=250, check=False)
        for line in done.stdout.splitlines():
            word, _, said = line.partition(" ")
            following = int(word) + 1
            told = json.loads(said) if said else f"bad: killed by {done.returncode}"
            yield int(word), told if said else {"said": told, "seconds": 0.0}
        if done.returncode == 0:
            return
        assert done.stdout, done.stderr


def seeds(folder: Path) -> list[bytes]:
    """Make whole files of each kind, without and with chunks, packing and our record."""
    pixels = np.arange(3 * 8 * 9, dtype="u2").reshape(3, 8, 9)
    dims = (("y", "[n_m]", 3.0), ("x", "[n_m]", 2.0))
    paths = [
        velox(folder / "a", pixels),
        velox(folder / "b", pixels, compression="gzip", shuffle=True),
        ncem(folder / "c", pixels[0], dims),
        ncem(folder / "d", pixels[0], dims, chunks=(4, 4), compression="gzip", fletcher32=True),
        ncem(folder / "e", pixels[0], dims, chunks=(4, 4), compression="lzf"),
        ncem(folder / "f", pixels[0] % 16, dims, chunks=(4, 4), scaleoffset=4),
    ]
    with h5py.File(folder / "g", "w", libver="latest") as file:
        add_velox(file, "1", pixels, velox_metadata(detector="BF"), maxshape=(8, 9, None))
        add_velox(file, "2", pixels[:1])
        add_ncem(file, "data/image", pixels, attributes={f"a{n}": n for n in range(20)})
    (folder / "g.emd").write_bytes((folder / "g").read_bytes())
    (folder / "h.emd").write_bytes(write(Micrograph(pixels, 2.0), folder / "h1.emd").read_bytes())
    return [path.read_bytes() for path in (*paths, folder / "g.emd", folder / "h.emd")]


def changed(rng: np.random.Generator, whole: bytes) -> bytes:
    """Change some bytes, most of them where the structure is: not in runs of zeros."""
    data = np.frombuffer(whole, np.uint8).copy()
    structure = np.flatnonzero(data)
    for _ in range(int(rng.integers(1, 6))):
        at = int(rng.choice(structure)) if rng.random() < 0.8 else int(rng.integers(len(data)))
        size = int(rng.choice([1, 1, 2, 4, 8]))
        kind = int(rng.integers(4))
        if kind == 0:
            data[at : at + size] = rng.choice([0, 255])
        elif kind == 1:
            data[at] ^= 1 << int(rng.integers(8))
        elif kind == 2:
            new = np.frombuffer(rng.bytes(size), np.uint8)
            data[at : at + size] = new[: len(data) - at]
        else:  # another address of the same file
            place = np.frombuffer(int(rng.integers(len(data))).to_bytes(8, "little"), np.uint8)
            at -= at % 8
            data[at : at + 8] = place[: len(data) - at]
    return data.tobytes()


def check(tmp_path: Path, cuts: int, changes: int) -> None:
    (tmp_path / "seeds").mkdir()
    (tmp_path / "cases").mkdir()
    wholes = seeds(tmp_path / "seeds")
    rng = np.random.default_rng(5)
    for number in range(cuts + changes):
        whole = wholes[number % len(wholes)]
        data = whole[: int(rng.integers(len(whole)))] if number < cuts else changed(rng, whole)
        (tmp_path / "cases" / f"{number}.emd").write_bytes(data)
    found = dict(judged(tmp_path / "cases"))
    assert len(found) == cuts + changes
    wrong = {n: told for n, told in found.items() if told["said"].startswith(("bad", "no sent"))}
    assert wrong == {}
    assert {told["said"] for n, told in found.items() if n < cuts} <= {"error"}
    assert any(told["said"] != "error" for told in found.values())
    assert max(told["seconds"] for told in found.values()) < 5


PACKED = {"chunks": (64, 64), "compression": "gzip", "shuffle": True, "fletcher32": True}


def with_chunk(path: Path, raw: bytes, mask: int = 0) -> Path:
    """Write a file of one chunk, whose packed bytes are given."""
    ncem(path, np.ones((64, 64), "u1"), **PACKED)
    with h5py.File(path, "a") as file:
        file["data/image/data"].id.write_direct_chunk((0, 0), raw, mask)
    return path


@pytest.mark.parametrize(
    ("raw", "message"),
    [
        (b"abc", "no room for its checksum"),  # the library crashes
        (bytes(100_000), "a chunk of 4,096 bytes"),
        (zlib.compress(bytes(10_000_000))[:4000] + b"1234", "checksum is wrong"),
        (b"\1" * 5 + bytes(4), "checksum is wrong"),
    ],
)
def test_broken_chunks(tmp_path: Path, raw: bytes, message: str) -> None:
    with pytest.raises(FileFormatError, match=message):
        read(with_chunk(tmp_path / "a.emd", raw))


@pytest.mark.parametrize(
    ("raw", "message"),
    [
        (zlib.compress(bytes(10_000_000)), "does not end where it should"),
        (zlib.compress(bytes(4096))[:-5], "does not end where it should"),
        (zlib.compress(bytes(4095)), "4,095 bytes"),
        (b"no zlib stream", "incorrect header"),
    ],
)
def test_broken_streams(tmp_path: Path, raw: bytes, message: str) -> None:
    with pytest.raises(FileFormatError, match=message):
        read(with_chunk(tmp_path / "a.emd", raw, mask=0b100))  # without a checksum


def test_broken_files_are_errors_or_images(tmp_path: Path) -> None:
    check(tmp_path, cuts=16, changes=100)


@pytest.mark.slow
def test_many_broken_files_are_errors_or_images(tmp_path: Path) -> None:
    check(tmp_path, cuts=100, changes=1000)

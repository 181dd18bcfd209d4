"""Reading in a child process: the same image, and nothing that a file does hurts the parent."""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import numpy as np
import psutil
import pytest

from everhart.errors import EverhartError, FileFormatError, LimitError, UsageError
from everhart.io import FileWarning, Limits, read, read_isolated, write
from everhart.micrograph import HistoryEntry, Micrograph

# A format whose files say what their reader does.
HOSTILE = """
import json, os, sys, time, warnings
import numpy as np
from everhart.io import Format, register
from everhart.micrograph import Micrograph

def read(path, limits):
    exec(path.read_text()[8:], globals())
    return Micrograph(np.zeros((4, 6), np.uint8))

register(Format("hostile", (".hostile",), lambda start: start.startswith(b"#hostile"), read))
"""


@pytest.fixture
def hostile(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[str], Path]:
    """Make a file that does what is told when it is read with ``modules=["hostile_format"]``."""
    (tmp_path / "hostile_format.py").write_text(HOSTILE)
    monkeypatch.syspath_prepend(tmp_path)

    def make(code: str) -> Path:
        path = tmp_path / "a.hostile"
        path.write_text("#hostile\n" + code)
        return path

    return make


@pytest.fixture(autouse=True)
def _nothing_stays(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> object:
    """No process and no temporary file outlives a test."""
    folder = tmp_path / "temporary"
    folder.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(folder))
    before = {child.pid for child in psutil.Process().children()}
    yield
    assert {child.pid for child in psutil.Process().children()} <= before
    assert list(folder.iterdir()) == []


def same(one: Micrograph, other: Micrograph) -> None:
    assert np.array_equal(one.pixels, other.pixels)
    assert one.dtype == other.dtype
    assert one.pixel_size_nm == other.pixel_size_nm
    assert one.metadata == other.metadata
    assert one.history == other.history
    assert one.data_bar_rows == other.data_bar_rows


def test_the_image_is_the_same(tmp_path: Path, rng: np.random.Generator) -> None:
    image = Micrograph(
        rng.normal(0, 1, (3, 40, 50)).astype(np.float32),
        (1.5, 2.5),
        {"fei": {"HV": 5000, "Ä": [1, 2.5, None, True]}},
        (HistoryEntry("denoise", {"method": "nlm"}),),
        data_bar_rows=4,
    )
    path = write(image, tmp_path / "Größe \N{MICRO SIGN}m.tif")
    found = read_isolated(path)
    same(found, read(path))
    assert found.pixels.flags.writeable
    given = read_isolated(path, pixel_size_nm=(3, np.float32(4)))  # type: ignore[arg-type]
    same(given, read(path, pixel_size_nm=(3, 4)))


def test_warnings_come_through(write_fei: Callable[..., Path]) -> None:
    path = write_fei(width=5e9)
    with pytest.warns(FileWarning) as expected:
        image = read(path)
    with pytest.warns(FileWarning) as told:
        same(read_isolated(path), image)
    assert [str(w.message) for w in told] == [str(w.message) for w in expected]
    assert told[0].filename == __file__


def test_errors_are_those_of_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    write(np.zeros((300, 400), np.uint8), "a.tif")
    Path("half.tif").write_bytes(Path("a.tif").read_bytes()[:5000])
    Path("text.txt").write_text("no image")
    tight = Limits(max_pixels_per_plane=1000)
    for name, kind, options in (
        ("half.tif", FileFormatError, {}),
        ("text.txt", FileFormatError, {}),
        ("missing.tif", UsageError, {}),
        ("a.tif", UsageError, {"pixel_size_nm": -1.0}),
        ("a.tif", UsageError, {"pixel_size_nm": float("nan")}),
        ("a.tif", LimitError, {"limits": tight}),
    ):
        with pytest.raises(kind) as expected:
            read(name, **options)  # type: ignore[arg-type]
        with pytest.raises(EverhartError) as found:
            read_isolated(name, **options)  # type: ignore[arg-type]
        assert type(found.value) is type(expected.value) is kind
        assert str(found.value) == str(expected.value)


@pytest.mark.parametrize("options", [{"memory_mb": 0}, {"seconds": -1}, {"seconds": float("nan")}])
def test_limits_are_positive(tmp_path: Path, options: dict[str, float]) -> None:
    with pytest.raises(UsageError, match="above 0"):
        read_isolated(tmp_path / "a.tif", **options)  # type: ignore[arg-type]


@pytest.mark.skipif(os.name != "posix", reason="signals")
def test_a_crash_is_an_error(hostile: Callable[[str], Path]) -> None:
    path = hostile("os.kill(os.getpid(), 11)")
    with pytest.raises(FileFormatError, match=r"a\.hostile crashed its reader \(SIGSEGV\)") as e:
        read_isolated(path, modules=["hostile_format"])
    assert type(e.value) is FileFormatError
    with pytest.raises(FileFormatError, match=r"crashed its reader \(exit status 3\)"):
        read_isolated(hostile("os._exit(3)"), modules=["hostile_format"])
    with pytest.raises(FileFormatError, match=r"crashed its reader \(KeyError: 'no'\)"):
        read_isolated(hostile("{}['no']"), modules=["hostile_format"])


def test_a_hang_is_an_error(hostile: Callable[[str], Path]) -> None:
    path = hostile("time.sleep(60)")
    start = time.monotonic()
    with pytest.raises(LimitError, match=r"was not read within 0\.6 s"):
        read_isolated(path, seconds=0.6, modules=["hostile_format"])
    assert time.monotonic() - start < 2


@pytest.mark.parametrize(
    "code",
    [
        "bytes(900_000_000)",
        "a = [bytearray(os.urandom(1000)) * 50_000 for _ in range(20)]",
        # a reader that takes an allocation that failed for a broken file
        "try:\n  bytes(900_000_000)\nexcept MemoryError as e:\n  raise ValueError('bad') from e",
    ],
)
@pytest.mark.skipif(sys.platform != "linux", reason="RLIMIT_AS")
def test_memory_is_limited_by_the_system(hostile: Callable[[str], Path], code: str) -> None:
    with pytest.raises(LimitError, match="takes more than 100 MB to read"):
        read_isolated(hostile(code), memory_mb=100, modules=["hostile_format"])


def test_memory_is_watched_where_the_system_has_no_limit(hostile: Callable[[str], Path]) -> None:
    path = hostile("a = b'1' * 600_000_000\ntime.sleep(60)\n")
    module = path.parent / "hostile_format.py"
    module.write_text(
        module.read_text()
        + "\ntry:\n    import resource\n    resource.setrlimit = lambda *_: None\n"
        "except ImportError:\n    pass\n"
    )
    with pytest.raises(LimitError, match="takes more than 100 MB to read"):
        read_isolated(path, memory_mb=100, seconds=20, modules=["hostile_format"])


@pytest.mark.skipif(os.name != "posix", reason="limits of the system")
def test_files_of_the_child_are_limited(hostile: Callable[[str], Path]) -> None:
    path = hostile(
        "import tempfile\n"
        "with tempfile.TemporaryFile() as f:\n"
        "    [f.write(bytes(1_000_000)) for _ in range(30)]\n"
    )
    assert read_isolated(path, modules=["hostile_format"]).shape == (4, 6)
    with pytest.raises(LimitError, match="takes more than 20 MB"):
        read_isolated(path, memory_mb=20, modules=["hostile_format"])


@pytest.mark.parametrize(
    "answer",
    [
        "[]",
        "{}",
        "[" * 100_000,
        '{"warnings": [], "pixels": {"shape": [9, 9], "dtype": "|u1"}}',
        '{"warnings": [], "pixels": {"shape": [4, 6], "dtype": "|O"}, "pixel_size_nm": null}',
        '{"warnings": [], "pixel_size_nm": null, "metadata": {}, "history": [], "data_bar_rows": 0,'
        ' "pixels": {"shape": [99999, 99999], "dtype": "|u1", "offset": 0, "strides": [1, 1]}}',
        '{"warnings": [], "pixel_size_nm": null, "metadata": {}, "history": [], "data_bar_rows": 9,'
        ' "pixels": {"shape": [2, 2], "dtype": "|u1", "offset": 0, "strides": [1, 1]}}',
    ],
)
def test_the_answer_of_a_child_is_not_trusted(hostile: Callable[[str], Path], answer: str) -> None:
    path = hostile(
        "from pathlib import Path\n"
        "folder = Path(sys.argv[1])\n"
        f"(folder / 'answer.json').write_text({answer!r})\n"
        "(folder / 'pixels').write_bytes(bytes(24))\n"
        "os._exit(0)\n"
    )
    with pytest.raises(FileFormatError, match="its answer makes no sense"):
        read_isolated(path, modules=["hostile_format"])


def test_the_child_sees_no_secrets_and_no_input(
    hostile: Callable[[str], Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("EVERHART_TOKEN", "secret")
    path = hostile(
        "assert 'secret' not in os.environ.values()\n"
        "assert sys.stdin.read() == ''\n"
        "assert 'torch' not in sys.modules\n"
        "print('noise')\n"
        "warnings.warn('odd')\n"
    )
    with pytest.warns(UserWarning, match="odd"):
        read_isolated(path, modules="hostile_format")


def test_the_working_folder_is_not_searched_for_modules(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "numpy.py").write_text("raise SystemExit(9)")
    write(np.zeros((30, 40), np.uint8), "a.tif")
    assert read_isolated("a.tif").shape == (30, 40)


def test_a_module_that_cannot_be_imported_is_a_wrong_call(tmp_path: Path) -> None:
    path = write(np.zeros((30, 40), np.uint8), tmp_path / "a.tif")
    with pytest.raises(UsageError, match="'no_such_module' was given"):
        read_isolated(path, modules=["no_such_module"])


def test_a_child_that_cannot_start_is_no_fault_of_the_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = write(np.zeros((30, 40), np.uint8), tmp_path / "a.tif")
    monkeypatch.setattr(sys, "executable", str(tmp_path / "no-python"))
    with pytest.raises(EverhartError, match="No child process can be started") as error:
        read_isolated(path)
    assert not isinstance(error.value, FileFormatError)


def test_large_plain_pixels_stay_in_their_file(tmp_path: Path) -> None:
    stack = np.zeros((3, 5000, 5000), np.uint8)
    stack[:, 7, 9] = (1, 2, 3)
    path = write(stack, tmp_path / "a.tif")
    image = read_isolated(path, memory_mb=30)  # less than its pixels take
    assert image.shape == stack.shape
    assert image.pixels[:, 7, 9].tolist() == [1, 2, 3]
    assert int(image.pixels[1].sum()) == 2
    image.pixels[0, 0, 0] = 99  # a copy of the page, and not the file
    assert read(path).pixels[0, 0, 0] == 0
    turned = write(replace(image, pixels=image.pixels[:, :400]), tmp_path / "b.npy")
    same(read_isolated(turned), read(turned))


def test_threads_may_read_at_the_same_time(tmp_path: Path, rng: np.random.Generator) -> None:
    paths = []
    for number in range(6):
        image = rng.integers(0, 256, (60, 70 + number), dtype=np.uint8)
        paths.append(write(image, tmp_path / f"{number}.png"))
    with ThreadPoolExecutor(3) as pool:
        found = list(pool.map(read_isolated, paths))
    for path, image in zip(paths, found, strict=True):
        same(image, read(path))


@pytest.mark.skipif(os.name != "posix", reason="signals")
def test_a_child_ends_and_cleans_up_when_its_parent_is_killed(
    hostile: Callable[[str], Path], tmp_path: Path
) -> None:
    path = hostile("time.sleep(60)")
    folder = tmp_path / "of the parent"
    folder.mkdir()
    script = (
        f"import sys; sys.path.insert(0, {str(tmp_path)!r})\n"
        "from everhart.io import read_isolated\n"
        f"read_isolated({str(path)!r}, modules=['hostile_format'])\n"
    )
    environment = {**os.environ, "TMPDIR": str(folder)}
    parent = subprocess.Popen([sys.executable, "-c", script], env=environment)
    try:
        until(lambda: any(folder.glob("*/started")))
        children = psutil.Process(parent.pid).children()
        assert len(children) == 1
    finally:
        parent.kill()
        parent.wait()
    until(lambda: not any(folder.iterdir()))
    until(lambda: not children[0].is_running())


def until(holds: Callable[[], bool]) -> None:
    end = time.monotonic() + 10
    while not holds():
        assert time.monotonic() < end
        time.sleep(0.05)


def test_it_starts_quickly(tmp_path: Path) -> None:
    path = write(np.zeros((30, 40), np.uint8), tmp_path / "a.tif")

    def seconds(work: Callable[[], object]) -> float:
        start = time.perf_counter()
        work()
        return time.perf_counter() - start

    bare = [sys.executable, "-c", "import numpy, tifffile, json"]
    ratios = [
        seconds(lambda: read_isolated(path)) / seconds(lambda: subprocess.run(bare, check=True))
        for _ in range(3)
    ]
    # Of 0.15 s in all, two thirds are Python, NumPy and tifffile; torch alone would take 2 s.
    assert min(ratios) < 2.5

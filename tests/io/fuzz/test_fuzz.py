"""Broken files of every format: an error or a right image, and never a crash, a hang, a flood."""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any

import pytest

from everhart.io.registry import formats

ROOT = Path(__file__).parents[3]
NAMES = [known.name.casefold() for known in formats()]

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="forks, and reads /proc")


@cache
def figures(count: int, truncations: int, *names: str) -> dict[str, Any]:
    """Run the script once for several tests."""
    words = [word for name in names for word in ("--format", name)]
    script = [sys.executable, str(ROOT / "scripts" / "fuzz_readers.py")]
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "figures.json"
        options = ["--count", str(count), "--truncations", str(truncations), "--json", str(file)]
        done = subprocess.run([*script, *options, *words], capture_output=True, check=False)
        assert done.returncode in (0, 1), done.stderr[-2000:]
        return json.loads(file.read_text("utf-8"))  # type: ignore[no-any-return]


def check(found: dict[str, Any], cases: int) -> None:
    assert found["bad"] == []
    assert found["cases"] == cases == sum(found["verdicts"].values())
    assert found["verdicts"]["error"] > cases / 10  # they are broken
    assert found["slowest_s"] < 5
    assert found["most_mb"] < 500


@pytest.mark.parametrize("name", NAMES)
def test_broken_files(name: str) -> None:
    check(figures(40, 20, *NAMES)[name], 60)


@pytest.mark.slow
@pytest.mark.timeout(1800)
@pytest.mark.parametrize("name", NAMES)
def test_many_broken_files(name: str) -> None:
    check(figures(1000, 100, name)[name], 1100)


# A format whose reader does what the first byte says, and what is to be found out about it.
MISBEHAVING = """
import os, sys, time, warnings
from pathlib import Path
import numpy as np
sys.path.insert(0, sys.argv[1])
import judge
from everhart.errors import FileFormatError, UsageError
from everhart.io import Format, register
from everhart.micrograph import Micrograph

KEPT = []
def read(path, limits):
    data = path.read_bytes()
    act = data[2:3]
    if act == b"c": os.abort()
    if act == b"h": time.sleep(60)
    if act == b"m": np.ones(120_000_000, np.uint8)
    if act == b"M": np.ones(1 << 40, np.uint8)
    if act == b"s":
        try:
            np.ones(1 << 40, np.uint8)
        except MemoryError as error:
            raise FileFormatError(f"{path} is broken: get it again.") from error
    if act == b"l": KEPT.append(path.open())
    if act == b"u": raise UsageError("This is a wrong call, and the file is broken.")
    if act == b"k": raise KeyError("no such tag")
    if act == b"2": raise FileFormatError("This is said\\nin two lines.")
    if act == b"n": return Micrograph(np.zeros((4, 4)), (1.0, 1.0), {"tag": b"bytes"})
    if act == b"p": return Micrograph(np.zeros((4, 4)), (1.0, 1.0))
    if act == b"w": return Micrograph(np.zeros((4, 4)))
    if act == b"x": raise FileFormatError(f"{path} is broken: get it again.")
    if len(data) < 8 and act != b"r": return Micrograph(np.ones((4, 4)))
    return Micrograph(np.ones((4, 4)), (2.0, 2.0))

register(Format("test", (".test",), lambda start: start.startswith(b"##"), read))
judge.SECONDS, judge.MEMORY_BYTES = 1.0, 100_000_000

class Cases(judge.Cases):
    acts = "coxhomMslruk2npw"
    def __len__(self): return len(self.acts)
    def __getitem__(self, number):
        cut = self.acts[number] in "rpw"
        data = b"##" + self.acts[number].encode() + (b"" if cut else bytes(99))
        return judge.Case(number, self.seeds[0], {"a.test": data}, cut)

seed = judge.Seed("whole", {"a.test": b"##o" + bytes(99)}, "a.test")
cases = Cases([seed], 0, 0, 0)
report = judge.run(cases, Path(sys.argv[2]))
print({cases.acts[number]: verdict for number, verdict, _ in report.bad})
print(dict(report.verdicts))
"""


def test_what_goes_wrong_is_noticed(tmp_path: Path) -> None:
    command = [sys.executable, "-c", MISBEHAVING, str(Path(__file__).parent), str(tmp_path)]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    bad, verdicts = (eval(line) for line in done.stdout.splitlines())
    assert bad == {
        "c": "crash", "h": "hang", "m": "memory", "M": "memory", "s": "memory", "l": "leak",
        "u": "class", "k": "class", "2": "sentence", "n": "class", "p": "wrong success",
        "w": "wrong success",
    }  # fmt: skip
    assert verdicts["right"] == 3  # o twice, and r
    assert verdicts["error"] == 1


@pytest.fixture
def _modules() -> Iterator[None]:
    sys.path.insert(0, str(Path(__file__).parent))
    yield
    sys.path.pop(0)


@pytest.mark.usefixtures("_modules")
def test_cases_are_the_same_in_every_run() -> None:
    import judge

    one = judge.Seed("one", {"a": bytes(range(256)) * 9, "b": b"12 beside"}, "a")
    two = judge.Seed("two", {"c": b"x" * 50}, "c")
    cases, again = (judge.Cases([one, two], 100, 300, 5) for _ in range(2))
    files = [dict(cases[number].files) for number in range(len(cases))]
    assert files == [dict(again[number].files) for number in range(len(again))]
    assert all(files[n] != dict(cases[n].seed.files) for n in range(100))
    changed = sum(files[n] != dict(cases[n].seed.files) for n in range(100, 400))
    assert changed > 270
    lengths = {len(file["a"]) for file in files[:100] if "a" in file}
    assert 0 in lengths
    assert 2303 in lengths
    assert any(len(file["b"]) < 9 for file in files[:100] if "b" in file)

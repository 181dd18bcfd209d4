"""Small files that claim, or unpack to, far more than they hold: refused at once.

Each is read in a child, whose peak of resident memory over what it had before is measured, as is
the time of its processor; it may reserve no more than 600 MB of addresses.
"""

from __future__ import annotations

import json
import subprocess
import sys
from typing import Any

import pytest

from . import bomb_files
from .bomb_files import BOMBS, TRAPS

READER = """
import json, os, resource, sys, time, warnings
from pathlib import Path
from everhart.io import read

def status(name):
    with open("/proc/self/status") as file:
        return next(int(line.split()[1]) * 1024 for line in file if line.startswith(name + ":"))

warnings.simplefilter("ignore")
wholes, bombs = json.loads(Path(sys.argv[1]).read_text())
for path in wholes:
    read(path)
top = status("VmSize") + 600_000_000
resource.setrlimit(resource.RLIMIT_AS, (top, top))
for path in bombs:
    Path("/proc/self/clear_refs").write_text("5")
    before, start = status("VmRSS"), time.process_time()
    try:
        said, kind = repr(read(path)), None
    except BaseException as error:
        said, kind = str(error), type(error).__name__
    seconds = time.process_time() - start
    print(json.dumps([path, kind, said, seconds, status("VmHWM") - before]), flush=True)
"""


@pytest.fixture(scope="module")
def told(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """Make all bombs and read them: error, sentence, seconds and bytes of each."""
    folder = tmp_path_factory.mktemp("bombs")
    paths = {}
    for name, make in {**BOMBS, **TRAPS}.items():
        paths[name] = make(folder / name)
        assert paths[name].stat().st_blocks * 512 < 8_000_000
    todo = folder / "todo.json"
    todo.write_text(json.dumps([bomb_files.wholes(folder), [str(path) for path in paths.values()]]))
    done = subprocess.run(
        [sys.executable, "-c", READER, str(todo)], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr[-2000:]
    lines = [json.loads(line) for line in done.stdout.splitlines()]
    found = {path: rest for path, *rest in lines}
    return {name: found[str(path)] for name, path in paths.items()}


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
@pytest.mark.parametrize("name", BOMBS)
def test_a_bomb_is_refused(told: dict[str, Any], name: str) -> None:
    kind, said, seconds, peak = told[name]
    assert kind in ("LimitError", "FileFormatError"), said
    assert "lloc" not in said  # nothing was tried first
    assert "\n" not in said
    assert seconds < 1
    assert peak < 100_000_000


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
@pytest.mark.parametrize("name", TRAPS)
def test_a_trap_beside_the_pixels_does_nothing(told: dict[str, Any], name: str) -> None:
    kind, said, seconds, peak = told[name]
    assert kind is None, said
    assert said.startswith("<Micrograph 64 x 64 uint8")
    assert seconds < 1
    assert peak < 100_000_000

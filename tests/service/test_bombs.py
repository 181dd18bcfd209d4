"""Bombs and broken files through HTTP: refused at once and for little, and never a 5xx."""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

from ..io.bomb_files import BOMBS, TRAPS, wholes  # noqa: TID252 - the tests are no package
from .served import Server, serving

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")

LARGEST = 64_000_000
"""Some bombs are holes of a gigabyte; a body of that size is another matter."""

LONGEST_S = 3
"""Of the processor, whose seconds hold less on a busy machine: alone they are below 1, and 1.2
were seen beside two trainings."""

HARMLESS = ("chunks.emd", "dictionary.xz")
"""One has frames that are read one by one, one asks for memory that it then does not touch."""


@pytest.fixture(scope="module")
def patient(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """A server with one reader, which has loaded what reading needs."""
    folder = tmp_path_factory.mktemp("wholes")
    with serving(tmp_path_factory.mktemp("bombed"), readers=1, workers=0) as server:
        for path in wholes(folder):
            send(server, Path(path))
        yield server


def send(server: Server, path: Path) -> tuple[int, str]:
    params = {"name": path.name}
    answer = server.http.post("/v1/images", params=params, content=path.read_bytes())
    return answer.status_code, answer.text


class Watched:
    """What the server and its children take: seconds of processor, and bytes at the peak."""

    def __init__(self, server: Server) -> None:
        own = psutil.Process(server.process.pid)
        self.processes = [own, *own.children(recursive=True)]

    def __enter__(self) -> Watched:
        self.rss, self.cpu = {}, self._seconds()
        for process in self.processes:
            Path(f"/proc/{process.pid}/clear_refs").write_text("5")
            self.rss[process.pid] = process.memory_info().rss
        return self

    def __exit__(self, *_: object) -> None:
        self.seconds = self._seconds() - self.cpu
        self.bytes = sum(peak(pid) - before for pid, before in self.rss.items())

    def _seconds(self) -> float:
        return sum(sum(process.cpu_times()[:2]) for process in self.processes)


def peak(pid: int) -> int:
    for line in Path(f"/proc/{pid}/status").read_text().splitlines():
        if line.startswith("VmHWM:"):
            return int(line.split()[1]) * 1024
    raise AssertionError(pid)


@pytest.mark.parametrize("name", [name for name in BOMBS if not name.endswith(".zarr")])
def test_a_bomb_is_refused(patient: Server, tmp_path: Path, name: str):
    path = BOMBS[name](tmp_path / name)
    if path.stat().st_size > LARGEST:
        pytest.skip("a body of a gigabyte")
    with Watched(patient) as watched:
        status, text = send(patient, path)
    assert status in (413, 422) or name in HARMLESS, text
    assert watched.seconds < LONGEST_S
    assert watched.bytes < 300_000_000
    assert "limits=Limits" not in text
    assert str(patient.folder) not in text
    assert all(process.is_running() for process in watched.processes)


@pytest.mark.parametrize("name", TRAPS)
def test_a_trap_does_nothing(patient: Server, tmp_path: Path, name: str):
    path = TRAPS[name](tmp_path / name)
    with Watched(patient) as watched:
        status, text = send(patient, path)
    assert status in (201, 422), text  # some need a second file
    assert watched.seconds < LONGEST_S
    assert watched.bytes < 300_000_000


def mutated(count: int) -> None:
    script = Path(__file__).parents[2] / "scripts" / "fuzz_service.py"
    done = subprocess.run(
        [sys.executable, script, "--count", str(count)], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert f"{count} uploads" in done.stdout


def test_broken_files_are_no_fault_of_the_server():
    mutated(150)


@pytest.mark.slow
@pytest.mark.timeout(7200)
def test_ten_thousand_broken_files():
    mutated(10_000)


def test_readers_stay_as_they_are(patient: Server):
    """Last: what was refused has left nothing behind."""
    time.sleep(0.1)
    assert not list((patient.folder / "scratch").glob("*"))
    assert patient.http.get("/ready").status_code == 200

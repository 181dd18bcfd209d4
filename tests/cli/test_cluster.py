"""Files spread over processes: the same files as without, also when a worker is killed."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from importlib import import_module
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import everhart as eh
from everhart.cli.cluster import each, on_cluster
from everhart.errors import EverhartError
from everhart.micrograph import Micrograph
from everhart.restore.models import find_model

QUICK = ("--method", "gaussian")


WORK = """
import os, signal
from typing import NamedTuple

class Job(NamedTuple):
    number: int
    folder: object

def dies(job):
    mark = job.folder / "died"
    if job.number == 2 and not mark.exists():  # the first time
        mark.touch()
        os.kill(os.getpid(), signal.SIGKILL)
    if job.number == 5:  # always
        os.kill(os.getpid(), signal.SIGKILL)
    if job.number == 3:
        with (job.folder / "three").open("a") as file:
            file.write("begun ")
        raise ValueError("three is no good")
    return job.number ** 2
"""


def _touched(path: Path) -> None:
    time.sleep(0.02)
    path.touch()


def test_what_is_left_is_left_when_nobody_waits(tmp_path: Path):
    """As after Ctrl-C: the processes would do all of it first."""
    results = on_cluster(_touched, [tmp_path / str(n) for n in range(400)], "local")
    next(results)
    results.close()
    assert len(list(tmp_path.iterdir())) < 200


def test_a_process_that_lives_on_sees_a_file_that_was_replaced(
    tmp_path: Path, picture: Micrograph, segmentation: Path
):
    """As the workers of a Dask cluster do, from one command to the next."""
    from everhart.cli import denoise, measure, segment

    path = tmp_path / "reference.tif"
    for pixels in (picture.pixels, picture.pixels[::-1]):
        path.unlink(missing_ok=True)
        eh.write(Micrograph(pixels), path)
        assert np.array_equal(measure._reference(path, None).pixels, pixels)
    model = tmp_path / "model.safetensors"
    for source in (find_model("sem-general"), segmentation):
        shutil.copy(source, model)  # of another kind: each command knows the one of them
        for command in (denoise, segment):
            parameters = command._OPERATION.check({"model": str(model)}).model_dump_json()
            expected = "sem-general" if command is denoise else "three"
            if expected in str(source):
                command._prepared(parameters)
            else:
                with pytest.raises(EverhartError, match="is a model of"):
                    command._prepared(parameters)


@pytest.mark.skipif(not hasattr(signal, "SIGKILL"), reason="no SIGKILL on this system")
def test_a_killed_process_loses_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    (tmp_path / "everhart_test_work.py").write_text(WORK, encoding="utf-8")
    monkeypatch.syspath_prepend(tmp_path)
    module: Any = import_module("everhart_test_work")
    jobs = [module.Job(number, tmp_path) for number in range(8)]
    found = dict(on_cluster(module.dies, jobs, "local"))
    assert (tmp_path / "died").exists()
    for number in (0, 1, 2, 4, 6, 7):
        assert found[jobs[number]] == number**2
    assert isinstance(found[jobs[3]], ValueError)
    begun = (tmp_path / "three").read_text().split()
    assert 1 <= len(begun) <= 4  # again only where its process was lost under it
    assert isinstance(found[jobs[5]], EverhartError)


def test_the_same_files_as_without(run, folder: Path, tmp_path: Path):
    shutil.copy(folder / "a.tif", folder / "d.tif")
    (folder / "broken.tif").write_bytes(b"II*\0nothing of use")
    for name, words in (("here", ()), ("there", ("--cluster", "local"))):
        record = tmp_path / f"{name}.json"
        result = run("denoise", folder, "-o", tmp_path / name, *QUICK, *words, "--json", record)
        assert result.status == 1
        assert "4 of 5 images" in result.err
        assert "broken.tif: " in result.err
    for path in (tmp_path / "here").iterdir():
        here, there = eh.read(path), eh.read(tmp_path / "there" / path.name)
        assert np.array_equal(here.pixels, there.pixels)
        assert here.history[-1].parameters == there.history[-1].parameters
    here, there = (
        json.loads((tmp_path / f"{name}.json").read_text())["images"] for name in ("here", "there")
    )
    for key in ("input", "shape", "parameters"):
        assert [image.get(key) for image in here] == [image.get(key) for image in there]


def test_measuring_the_same_as_without(run, folder: Path, tmp_path: Path):
    (folder / "broken.tif").write_bytes(b"II*\0nothing of use")
    for name, words in (("here", ()), ("there", ("--cluster", "local"))):
        into = tmp_path / name
        into.mkdir()
        result = run(
            *("measure", "particles", folder, "-o", into / "t.csv", "--unit", "px", *words),
            *("--overlay", into / "drawn", "--json", into / "t.json"),
        )
        assert result.status == 1
        assert "rows of particles" in result.err
        assert "broken.tif: " in result.err
    texts = [
        {
            path.relative_to(tmp_path / name): path.read_bytes().replace(name.encode(), b"")
            for path in (tmp_path / name).rglob("*")
            if path.is_file()
        }
        for name in ("here", "there")
    ]
    assert len(texts[0]) == 5  # table, record, three pictures
    assert texts[0] == texts[1]


def test_segmenting_the_same_as_without(
    run, folder: Path, segmentation: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.chdir(tmp_path)
    records = []
    for name, words in (("here", ()), ("there", ("--cluster", "local"))):
        record = tmp_path / f"{name}.json"
        result = run(
            *("segment", folder, "-o", name, "-m", segmentation.name, "--pixel-size-nm", "2.5"),
            *("--overlay", f"{name}-drawn", "--json", record, *words),
        )
        assert result.status == 0, result.err
        records.append(json.loads(record.read_text().replace(name, ""))["images"])
    for path in (tmp_path / "here").iterdir():
        here, there = eh.read(path), eh.read(tmp_path / "there" / path.name)
        assert np.array_equal(here.pixels, there.pixels)
        assert here.metadata["labels"] == there.metadata["labels"]
    for image in (*records[0], *records[1]):
        del image["cpu_seconds"], image["time"]
    assert len(records[0]) == 3
    assert records[0] == records[1]
    result = run("segment", folder, "-o", "k", "--clusters", "2", "--cluster", "local")
    assert result.status == 2
    assert "which one process finds; leave --cluster" in result.err


DIES = """
import os, signal
from pathlib import Path
from everhart.cli.measure import MeasureFile

class Dies(MeasureFile):
    def __call__(self, job):
        mark = job.source.parent.parent / "died"
        found = super().__call__(job)
        if job.source.name == "b.png" and not mark.exists():  # the first time, its picture drawn
            mark.touch()
            os.kill(os.getpid(), signal.SIGKILL)
        return found
"""


@pytest.mark.skipif(not hasattr(signal, "SIGKILL"), reason="no SIGKILL on this system")
def test_a_worker_killed_while_measuring(
    run, folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    _measure_with_a_killed_worker(run, folder, tmp_path, monkeypatch, "local")


def _measure_with_a_killed_worker(run, folder, tmp_path, monkeypatch, address: str) -> None:
    (tmp_path / "everhart_test_dies.py").write_text(DIES, encoding="utf-8")
    monkeypatch.syspath_prepend(tmp_path)
    words = ("measure", "particles", folder, "--unit", "px")
    assert run(*words, "-o", tmp_path / "here.csv").status == 0
    module: Any = import_module("everhart_test_dies")
    monkeypatch.setattr("everhart.cli.measure.MeasureFile", module.Dies)
    drawn = ("--overlay", tmp_path / "drawn")
    result = run(*words, "-o", tmp_path / "there.csv", *drawn, "--cluster", address)
    assert result.status == 0, result.err
    assert (tmp_path / "died").exists()
    assert (tmp_path / "there.csv").read_text() == (tmp_path / "here.csv").read_text()
    assert len(list((tmp_path / "drawn").iterdir())) == 3


def test_clusters_that_cannot_be_had(run, noisy_tif: Path, tmp_path: Path, monkeypatch):
    words = ("denoise", noisy_tif, "-o", tmp_path / "o.tif", *QUICK, "--cluster")
    result = run(*words, "no address")
    assert result.status == 2
    assert "give the address of a scheduler" in result.err
    monkeypatch.setattr("everhart.cli.cluster._CONNECT_S", 1)
    result = run(*words, "tcp://127.0.0.1:9")
    assert result.status == 1
    assert "does not answer" in result.err
    monkeypatch.setattr("everhart.cli.cluster.find_spec", lambda _: None)
    result = run(*words, "tcp://127.0.0.1:9")
    assert result.status == 2
    assert "install everhart[cluster]" in result.err
    assert not (tmp_path / "o.tif").exists()


PROGRAM = """
from distributed import LocalCluster

if __name__ == "__main__":
    cluster = LocalCluster(n_workers=2, threads_per_worker=1, dashboard_address=None)
    print(cluster.scheduler_address, flush=True)
    input()
"""


@pytest.fixture
def scheduler(tmp_path: Path) -> Iterator[tuple[subprocess.Popen[str], str]]:
    """A real scheduler and worker, in processes of their own, and its address."""
    (tmp_path / "cluster.py").write_text(PROGRAM, encoding="utf-8")
    with subprocess.Popen(
        [sys.executable, str(tmp_path / "cluster.py")],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        env=os.environ | {"PYTHONPATH": str(tmp_path)},
        text=True,
    ) as server:
        assert server.stdout is not None
        yield server, server.stdout.readline().strip()
        server.kill()


@pytest.mark.slow
def test_a_dask_cluster(run, folder: Path, tmp_path: Path, scheduler):
    words = ("denoise", folder, "-o", tmp_path / "out", *QUICK, "--cluster", scheduler[1])
    assert run(*words).status == 0
    assert len(list((tmp_path / "out").iterdir())) == 3


@pytest.mark.slow
def test_a_dask_worker_killed_while_measuring(
    run, folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, scheduler
):
    _measure_with_a_killed_worker(run, folder, tmp_path, monkeypatch, scheduler[1])


@pytest.mark.slow
def test_a_dask_cluster_that_goes_away(scheduler):
    server, address = scheduler
    done = on_cluster(time.sleep, [0.01, 60], address)
    assert next(done)[0] == 0.01
    server.kill()
    with pytest.raises(EverhartError, match="is gone, or has no workers"):
        next(done)


def test_paths_are_those_of_the_caller(run, noisy_tif: Path, tmp_path: Path, monkeypatch):
    """Workers elsewhere have a folder of their own."""
    sent = []

    def there(work, tasks, address):
        sent.append((work, tasks))
        monkeypatch.chdir("/")
        return each(work, tasks)

    model = shutil.copy(find_model("sem-general"), noisy_tif.parent / "mine.safetensors")
    monkeypatch.setattr("everhart.cli.denoise.on_cluster", there)
    monkeypatch.chdir(noisy_tif.parent)
    words = ("--cluster", "tcp://far:1", "--model", Path(model).name)
    result = run("denoise", noisy_tif.name, "-o", "o.tif", *words)
    assert result.status == 0, result.err
    assert (noisy_tif.parent / "o.tif").exists()

"""Files spread over processes: the same files as without, also when a worker is killed."""

from __future__ import annotations

import json
import os
import shutil
import signal
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pytest

import everhart as eh
from everhart.cli.cluster import each, on_cluster
from everhart.restore.models import find_model

QUICK = ("--method", "gaussian")


class Job(NamedTuple):
    number: int
    folder: Path


def _dies_once(job: Job) -> int:
    """Kill the worker that does number 2, the first time."""
    mark = job.folder / "died"
    if job.number == 2 and not mark.exists():
        mark.touch()
        os.kill(os.getpid(), signal.SIGKILL)
    if job.number == 3:
        raise ValueError("three is no good")
    return job.number**2


@pytest.mark.skipif(not hasattr(signal, "SIGKILL"), reason="no SIGKILL on this system")
def test_a_killed_worker_loses_nothing(tmp_path: Path):
    jobs = [Job(number, tmp_path) for number in range(8)]
    found = dict(on_cluster(_dies_once, jobs, "local"))
    assert (tmp_path / "died").exists()
    assert {job.number: found[job] for job in jobs if job.number != 3} == {
        n: n * n for n in range(8) if n != 3
    }
    error = found[jobs[3]]
    assert isinstance(error, ValueError)
    assert str(error) == "three is no good"


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
    result = run(*words, "local")
    assert result.status == 2
    assert "install everhart[cluster]" in result.err
    assert not (tmp_path / "o.tif").exists()


def _fails(mark: Path) -> None:
    with mark.open("a") as file:
        file.write("begun ")
    raise ValueError("no good")


def test_a_file_that_fails_is_not_begun_again(tmp_path: Path):
    ((_, error),) = on_cluster(_fails, [tmp_path / "mark"], "local")
    assert isinstance(error, ValueError)
    assert (tmp_path / "mark").read_text() == "begun "


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

"""Jobs spread over a Dask cluster: the same results, also when a worker is lost."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

from .served import Server, finished, results, run_job, serving, tiff, upload

distributed = pytest.importorskip("distributed")


@pytest.fixture(scope="module")
def cluster() -> Iterator[object]:
    with distributed.LocalCluster(
        n_workers=2,
        threads_per_worker=1,
        processes=True,
        dashboard_address=None,
        host="127.0.0.1",
    ) as made:
        yield made


@pytest.fixture(scope="module")
def spread(cluster, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    folder = tmp_path_factory.mktemp("spread")
    with serving(folder, cluster=cluster.scheduler_address) as running:
        yield running


def test_the_results_are_those_of_one_machine(spread: Server, server: Server):
    contents = [tiff(n, (64, 96)) for n in range(500, 506)]
    found = []
    for here in (spread, server):
        images = [upload(here.http, c, f"{n}.tif") for n, c in enumerate(contents)]
        job = run_job(here.http, "denoise", images, parameters={"method": "median"})
        assert (job["state"], job["done"]) == ("done", 6), job["error"]
        found.append([r["files"][0]["pixels_sha256"] for r in results(here.http, job["id"])])
        noise = run_job(here.http, "noise", images[:1], roles={"reference": images[1]})
        found[-1].append(results(here.http, noise["id"])[0]["summary"])
        wrong = run_job(here.http, "measure-lines", images[:1])
        assert wrong["state"] == "failed"
        found[-1].append(wrong["error"])
    assert found[0] == found[1]


def test_a_job_is_cancelled_on_its_worker(spread: Server, cluster):
    images = [upload(spread.http, tiff(n, (900, 900)), f"{n}.tif") for n in (510, 511, 512)]
    body = {"operation": "denoise", "parameters": {"method": "bm3d"}, "images": images}
    job_id = spread.http.post("/v1/jobs", json=body).json()["id"]
    while len(busy(cluster)) < 2:
        time.sleep(0.05)
    time.sleep(0.5)  # the tasks have come to the children
    computing = children()
    assert len(computing) >= 2
    spread.http.post(f"/v1/jobs/{job_id}/cancel")
    job = finished(spread.http, job_id)
    assert job["state"] == "cancelled"
    end = time.monotonic() + 20
    while computing & children():  # what was running is stopped, and does not go on to its end
        assert time.monotonic() < end
        time.sleep(0.05)


@pytest.mark.slow
def test_a_lost_worker_is_retried(spread: Server, cluster):
    images = [upload(spread.http, tiff(n, (500, 500)), f"{n}.tif") for n in range(520, 528)]
    body = {"operation": "denoise", "parameters": {"method": "bm3d"}, "images": images}
    job_id = spread.http.post("/v1/jobs", json=body).json()["id"]
    while not (running := busy(cluster)):
        time.sleep(0.02)
    with distributed.Client(cluster.scheduler_address, set_as_default=False) as client:
        pids = client.run(os.getpid)
    os.kill(pids[next(iter(running))], signal.SIGKILL)
    job = finished(spread.http, job_id)
    assert (job["state"], job["done"], job["failed"]) == ("done", 8, 0)
    assert len(results(spread.http, job_id)) == 8


@pytest.mark.slow
def test_an_uploaded_model_goes_to_the_workers(spread: Server):
    from importlib.resources import files

    shipped = Path(str(files("everhart.restore") / "weights" / "sem-general.safetensors"))
    answer = spread.http.post("/v1/models?name=mine", content=shipped.read_bytes())
    assert answer.status_code == 201, answer.text
    image = upload(spread.http, tiff(530), "a.tif")
    jobs = [
        run_job(spread.http, "denoise", [image], parameters={"method": method})
        for method in ("mine", "sem-general")
    ]
    found = [results(spread.http, job["id"])[0] for job in jobs]
    assert found[0]["provenance"]["model_hash"] == answer.json()["sha256"]
    assert len({result["files"][0]["pixels_sha256"] for result in found}) == 1


def children() -> set[int]:
    """Processes that compute for the Dask workers, which are children of this process."""
    own = psutil.Process()
    found = set()
    for process in own.children(recursive=True):
        try:
            words = process.cmdline()
            above = process.parent().cmdline()
        except (psutil.Error, AttributeError):
            continue
        if "everhart.service._child" in words and "serve" not in above:
            found.add(process.pid)
    return found


def busy(cluster) -> dict[str, object]:
    with distributed.Client(cluster.scheduler_address, set_as_default=False) as client:
        return {worker: tasks for worker, tasks in client.processing().items() if tasks}

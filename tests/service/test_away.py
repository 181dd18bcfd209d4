"""The database or the store is away for half a minute, or the disk is full: nothing is lost."""

from __future__ import annotations

import socket
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest
from sqlalchemy import make_url

from .served import Server, finished, results, run_job, serving, tell, tiff, upload

pytestmark = pytest.mark.slow

AWAY_S = 30


class Proxy:
    """A TCP proxy on loopback that can be cut: connections end, and new ones are refused.

    A silent one keeps connections and takes new ones, and nothing comes through.
    """

    def __init__(self, connect: Callable[[], socket.socket]) -> None:
        self.connect = connect
        self.open: set[socket.socket] = set()
        self.flows = threading.Event()
        self.flows.set()
        with socket.create_server(("127.0.0.1", 0)) as free:
            self.port = free.getsockname()[1]
        self.restore()

    def restore(self) -> None:
        self.flows.set()
        self.listening = socket.create_server(("127.0.0.1", self.port))
        threading.Thread(target=self._accept, args=(self.listening,), daemon=True).start()

    def cut(self) -> None:
        # To close is not enough: the thread that accepts keeps the port until it is woken.
        with suppress(OSError):
            self.listening.shutdown(socket.SHUT_RDWR)
        self.listening.close()
        for end in list(self.open):
            with suppress(OSError):
                end.shutdown(socket.SHUT_RDWR)

    def _accept(self, listening: socket.socket) -> None:
        while True:
            try:
                client, _ = listening.accept()
            except OSError:
                return
            try:
                server = self.connect()
            except OSError:
                client.close()
                continue
            for one, other in ((client, server), (server, client)):
                self.open.add(one)
                threading.Thread(target=self._pump, args=(one, other), daemon=True).start()

    def _pump(self, source: socket.socket, sink: socket.socket) -> None:
        with suppress(OSError):
            while piece := source.recv(1 << 16):
                self.flows.wait()
                sink.sendall(piece)
        for end in (source, sink):
            with suppress(OSError):
                end.shutdown(socket.SHUT_RDWR)
        self.open.discard(source)
        source.close()


@pytest.fixture
def database(postgresql: Callable[[str], str]) -> Iterator[tuple[Proxy, dict[str, object]]]:
    url = make_url(postgresql(f"away_{time.monotonic_ns()}"))
    path = Path(str(url.query["host"])) / f".s.PGSQL.{url.port or 5432}"

    def connect() -> socket.socket:
        end = socket.socket(socket.AF_UNIX)
        end.connect(str(path))
        return end

    proxy = Proxy(connect)
    yield proxy, {"database": f"postgresql://{url.username}@127.0.0.1:{proxy.port}/{url.database}"}
    proxy.cut()


@pytest.fixture
def store(monkeypatch: pytest.MonkeyPatch) -> Iterator[tuple[Proxy, dict[str, object]]]:
    for name, value in (("ACCESS_KEY_ID", "key"), ("SECRET_ACCESS_KEY", "s"), ("REGION", "eu")):
        monkeypatch.setenv(f"AWS_{name}", value)
    boto3 = pytest.importorskip("boto3")
    moto = pytest.importorskip("moto.server")
    running = moto.ThreadedMotoServer(ip_address="127.0.0.1", port=0)
    running.start()
    try:
        address = running.get_host_and_port()
        endpoint = f"http://{address[0]}:{address[1]}"
        boto3.client("s3", endpoint_url=endpoint, region_name="us-east-1").create_bucket(
            Bucket="bucket"
        )
        proxy = Proxy(lambda: socket.create_connection(address))
        endpoint = f"http://127.0.0.1:{proxy.port}"
        yield proxy, {"store": "s3://bucket/lab", "s3_endpoint": endpoint}
        proxy.cut()
    finally:
        running.stop()


@pytest.mark.parametrize("what", ["database", "store"])
def test_away_for_half_a_minute_in_a_job(tmp_path: Path, what: str, request: pytest.FixtureRequest):
    proxy, settings = request.getfixturevalue(what)
    with serving(tmp_path, **settings) as server:
        images = [upload(server.http, tiff(n, (200, 200)), f"{n}.tif") for n in range(8)]
        body = {"operation": "denoise", "parameters": {"method": "bm3d"}, "images": images}
        job_id = server.http.post("/v1/jobs", json=body).json()["id"]
        while server.http.get(f"/v1/jobs/{job_id}").json()["done"] < 2:
            time.sleep(0.02)
        proxy.cut()
        cut = time.monotonic()
        answer = server.http.get("/ready")
        while answer.status_code == 200:
            answer = server.http.get("/ready")
        said_after = time.monotonic() - cut
        assert answer.json() | {what: None} == {
            "ready": False, "database": True, "store": True, "jobs": True, what: None,
        }  # fmt: skip
        assert answer.json()[what] is False
        assert server.http.get("/health").status_code == 200
        refused = server.http.post("/v1/images?name=x.tif", content=tiff(99), timeout=120)
        assert refused.status_code == 503
        time.sleep(max(0.0, AWAY_S - (time.monotonic() - cut)))
        proxy.restore()
        restored = time.monotonic()
        job = finished(server.http, job_id)
        ended_after = time.monotonic() - restored
        tell(f"{what}: said after {said_after:.1f} s, ended {ended_after:.1f} s after its return")
        assert said_after < 5
        assert (job["state"], job["done"], job["failed"]) == ("done", 8, 0)
        assert len(results(server.http, job_id)) == 8
        upload(server.http, tiff(99), "x.tif")
        assert server.http.get("/ready").status_code == 200


def test_a_silent_database_is_noticed(tmp_path: Path, database: tuple[Proxy, dict[str, object]]):
    proxy, settings = database
    with serving(tmp_path, **settings) as server:
        upload(server.http, tiff(0))
        proxy.flows.clear()
        started = time.monotonic()
        answer = server.http.get("/ready")
        assert time.monotonic() - started < 5
        assert (answer.status_code, answer.json()["database"]) == (503, False)
        assert server.http.get("/health").status_code == 200
        proxy.flows.set()
        end = time.monotonic() + 20
        while server.http.get("/ready").status_code != 200:
            assert time.monotonic() < end
            time.sleep(0.1)


@contextmanager
def small_disk(folder: Path, megabytes: int) -> Iterator[Path]:
    folder.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", f"size={megabytes}m", "everhart", str(folder)]
    try:
        done = subprocess.run(mount, capture_output=True, check=False)
    except OSError:
        pytest.skip("there is no mount")
    if done.returncode:
        pytest.skip("a small disk can be mounted by root on Linux only")
    try:
        yield folder
    finally:
        subprocess.run(["umount", "-l", str(folder)], check=False)


def fill(folder: Path, leave: int) -> Path:
    """Fill the disk up to some bytes."""
    ballast = folder / "ballast"
    with ballast.open("wb", buffering=0) as stream, suppress(OSError):
        while stream.write(bytes(4096)) == 4096:
            pass
    size = max(0, ballast.stat().st_size - leave)
    with ballast.open("r+b") as stream:
        stream.truncate(size)
    return ballast


def works(server: Server, seed: int) -> None:
    image = upload(server.http, tiff(seed, (300, 300)))
    job = run_job(server.http, "denoise", [image], parameters={"method": "median"})
    assert (job["state"], job["done"]) == ("done", 1), job["error"]


def test_a_full_disk(tmp_path: Path):
    with small_disk(tmp_path / "disk", 40) as disk, serving(disk) as server:
        works(server, 0)
        before = {path.name for path in (disk / "objects").rglob("*") if path.is_file()}

        # During an upload.
        ballast = fill(disk, leave=1_000_000)
        answer = server.http.post("/v1/images?name=a.tif", content=tiff(1, (1500, 1500)))
        assert answer.status_code == 507, answer.text
        assert answer.json()["detail"].startswith("There is no space left")
        assert not list((disk / "scratch").glob("upload-*"))
        ballast.unlink()
        image = upload(server.http, tiff(1, (1500, 1500)), "a.tif")

        # During a result.
        ballast = fill(disk, leave=1_000_000)
        job = run_job(server.http, "denoise", [image], parameters={"method": "median"})
        assert job["state"] == "failed"
        assert "space" in job["error"], job["error"]
        assert server.http.get("/health").status_code == 200
        ballast.unlink()
        works(server, 2)

        # During a commit: requests are refused, and what runs waits.
        body = {"operation": "denoise", "parameters": {"method": "bm3d"}, "images": [image]}
        waiting = server.http.post("/v1/jobs", json=body).json()["id"]
        while server.http.get(f"/v1/jobs/{waiting}").json()["state"] != "running":
            time.sleep(0.02)
        ballast = fill(disk, leave=0)
        statuses = set()
        for number in range(40):
            key = {"Idempotency-Key": str(number)}
            statuses.add(server.http.post("/v1/jobs", json=body, headers=key).status_code)
        assert 503 in statuses
        assert statuses <= {202, 503}
        assert server.http.get(f"/v1/images/{image}").status_code == 200
        assert server.process.poll() is None
        ballast.unlink()
        assert finished(server.http, waiting)["state"] in ("done", "failed")
        works(server, 3)
        for job in server.http.get("/v1/jobs").json()["items"]:
            server.http.post(f"/v1/jobs/{job['id']}/cancel")
        assert before < {path.name for path in (disk / "objects").rglob("*") if path.is_file()}

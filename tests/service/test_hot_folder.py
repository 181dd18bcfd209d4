"""The hot folder: each image once, over kills, and bad files are put aside with their reason."""

from __future__ import annotations

import asyncio
import json
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

from everhart import io
from everhart.errors import UsageError
from everhart.service import watching
from everhart.service.compute import CancelledError, ComputePool
from everhart.service.database import AsyncDatabase, migrate
from everhart.service.hot_folder import FAILED, HotFolder
from everhart.service.problems import ProblemError
from everhart.service.server import serve
from everhart.service.settings import Settings
from everhart.service.store import StoreError

from .served import serving, tiff


@pytest.fixture
def pool(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ComputePool]:
    made = ComputePool(
        1,
        memory_mb=2000,
        seconds=60,
        scratch=tmp_path_factory.mktemp("scratch"),
    )
    yield made
    made.close()


def until(condition: Callable[[], bool], patience_s: float = 60) -> None:
    end = time.monotonic() + patience_s
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.02)


def test_images_are_taken_when_complete_and_once(tmp_path: Path, pool: ComputePool):
    source, output = tmp_path / "in", tmp_path / "out"
    source.mkdir()
    said: list[str] = []

    def make() -> HotFolder:
        return HotFolder(source, output, "denoise", {"method": "median"}, pool, None, 0.3, 0.6,
                         said.append)  # fmt: skip

    (source / "before.tif").write_bytes(tiff(0))
    (source / "bad.tif").write_bytes(tiff(1)[:-500])
    (source / ".hidden.tif").write_bytes(tiff(2))
    stop = threading.Event()
    watching = threading.Thread(target=make().watch, args=(stop,))
    watching.start()
    try:
        until(lambda: (output / "before" / "result.json").exists())
        with (source / "slow.tif").open("wb") as stream:  # as a microscope writes it
            for start in range(0, len(tiff(3)), 1500):
                stream.write(tiff(3)[start : start + 1500])
                stream.flush()
                time.sleep(0.05)
        until(lambda: (output / "slow" / "result.json").exists())
        until(lambda: (output / FAILED / "bad.tif").exists())
    finally:
        stop.set()
        watching.join()
    assert not (source / "bad.tif").exists()
    assert "bad.tif" in (output / FAILED / "bad.tif.txt").read_text()
    record = json.loads((output / "slow" / "result.json").read_text())
    assert record["parameters"]["method"] == "median"
    restored = io.read(output / "slow" / "slow.tif")
    assert restored.shape == (64, 96)
    # Again, as after a restart: nothing is done twice; a new image of an old name is another one.
    before = sorted(path.name for path in output.iterdir())
    (source / "slow.tif").write_bytes(tiff(4))
    again = make()
    for path in sorted(source.glob("[a-z]*.tif")):
        again.take(path)
    assert sorted(path.name for path in output.iterdir()) == sorted([*before, "slow-2"])
    assert [line.split(":")[0] for line in said].count("before.tif") == 1


def test_tables_are_joined(tmp_path: Path, pool: ComputePool):
    from everhart.simulate import simulate

    source, output = tmp_path / "in", tmp_path / "out"
    source.mkdir()
    hot = HotFolder(source, output, "measure-particles", {"unit": "px"}, pool)
    rows = 0
    for seed in (3, 4):
        scene = simulate("particles", shape=(160, 160), seed=seed)
        io.write((scene.image * 200 + 20).astype(np.uint8), source / f"{seed}.tif")
        hot.take(source / f"{seed}.tif")
        rows += len((output / str(seed) / "particles.csv").read_text().splitlines()) - 1
    lines = (output / "particles.csv").read_text().splitlines()
    assert rows > 2
    assert len(lines) == rows + 1
    assert {line.split(",")[0] for line in lines[1:]} == {"3.tif", "4.tif"}


@pytest.mark.slow
def test_killed_at_any_point_each_image_is_there_once(tmp_path: Path):
    source, output = tmp_path / "in", tmp_path / "out"
    source.mkdir()
    rng = np.random.default_rng(0)
    for number in range(20):
        (source / f"{number}.tif").write_bytes(tiff(number))
    words = ["watch", str(source), "-o", str(output), "-p", "method=median", "--settle-s", "0.1"]
    for _ in range(5):
        process = subprocess.Popen([sys.executable, "-m", "everhart", *words])
        time.sleep(rng.uniform(2, 8))
        process.kill()
        process.wait()
    process = subprocess.Popen([sys.executable, "-m", "everhart", *words])
    try:
        until(lambda: len(list(output.glob("*/result.json"))) >= 20, 200)
        time.sleep(2)
    finally:
        process.kill()
        process.wait()
    records = [json.loads(path.read_text()) for path in output.glob("*/result.json")]
    assert sorted(record["source"] for record in records) == sorted(
        f"{number}.tif" for number in range(20)
    )


def test_wrong_calls(tmp_path: Path, pool: ComputePool):
    source = tmp_path / "in"
    source.mkdir()
    for arguments, said in [
        ((source, source / "out", "denoise", {}), "is in the folder that is watched"),
        ((tmp_path / "no", tmp_path / "out", "denoise", {}), "does not exist"),
        ((source, tmp_path / "out", "align", {}), "takes a series"),
        ((source, tmp_path / "out", "denoise", {"methid": 1}), "did you mean 'method'"),
    ]:
        with pytest.raises(UsageError, match=said):
            HotFolder(*arguments, pool)


def test_hot_folders_of_the_server(tmp_path: Path):
    watched = []
    for name, operation, parameters in (
        ("clean", "denoise", {"method": "median"}),
        ("lines", "measure-lines", {"unit": "px"}),
    ):
        (tmp_path / name).mkdir()
        watched.append({
            "folder": str(tmp_path / name), "operation": operation, "parameters": parameters,
            "settle_s": 0.3, "patience_s": 0.6,
        })  # fmt: skip
    (tmp_path / "clean" / "good.tif").write_bytes(tiff(10))
    (tmp_path / "clean" / "bad.tif").write_bytes(tiff(11)[:-500])
    (tmp_path / "lines" / "noise.tif").write_bytes(tiff(12))
    settings = {"watch": json.dumps(watched)}
    bad, noise = (
        tmp_path / "clean" / FAILED / "bad.tif",
        tmp_path / "lines" / FAILED / "noise.tif",
    )
    with serving(tmp_path, **settings) as server:
        until(lambda: bad.exists() and noise.exists())
        until(lambda: server.http.get("/v1/jobs?state=done").json()["items"])
        assert len(server.http.get("/v1/jobs").json()["items"]) == 2
        (failed,) = server.http.get("/v1/jobs?state=failed").json()["items"]
        assert failed["error"] == noise.with_name("noise.tif.txt").read_text().strip()
        assert "bad.tif" in bad.with_name("bad.tif.txt").read_text()
    # Nothing is done twice after a restart; new content under an old name is another image.
    with serving(tmp_path, **settings) as server:
        (tmp_path / "lines" / "noise.tif").write_bytes(tiff(12))
        (tmp_path / "clean" / "other.tif").write_bytes(tiff(13))
        until(lambda: len(server.http.get("/v1/jobs?state=done").json()["items"]) == 2)
        until(lambda: noise.with_name("noise-2.tif").exists())
        jobs = server.http.get("/v1/jobs").json()["items"]
        assert len(jobs) == 3
        (result,) = server.http.get(f"/v1/jobs/{jobs[0]['id']}/results").json()["items"]
        assert result["provenance"]["images"][0]["name"] == "other.tif"
    assert sorted(p.name for p in (tmp_path / "clean").glob("*.tif")) == ["good.tif", "other.tif"]


@pytest.mark.parametrize(
    "error",
    [StoreError("The store is away."), ProblemError(507, "No space."), CancelledError("Stopped.")],
)
def test_no_file_is_blamed_for_a_store_that_is_away(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, error: Exception
):
    async def receive(*_: object) -> None:
        raise error

    async def take() -> None:
        database = AsyncDatabase(settings)
        state = SimpleNamespace(settings=settings, database=database)
        look = watching._Watching(state, settings.watch[0])._take
        for _ in range(3):
            with pytest.raises(type(error)):
                await look(tmp_path / "a.tif")
            await asyncio.sleep(0.06)
        await database.close()

    settings = Settings(folder=tmp_path, watch=[{"folder": str(tmp_path), "patience_s": 0.1}])
    migrate(settings)
    monkeypatch.setattr(watching, "receive_image", receive)
    (tmp_path / "a.tif").write_bytes(tiff(1))
    asyncio.run(take())
    assert (tmp_path / "a.tif").exists()


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"folder": "/nowhere/at/all"}, "does not exist"),
        ({"operation": "align"}, "takes a series"),
        ({"parameters": {"methid": "x"}}, "did you mean 'method'"),
    ],
)
def test_wrong_hot_folders_of_the_server(tmp_path: Path, change: dict[str, object], said: str):
    settings = Settings(folder=tmp_path, watch=[{"folder": str(tmp_path), **change}])
    with pytest.raises(UsageError, match=said):
        serve(settings, lambda _: pytest.fail("serves"))

"""Objects are kept by content, on a folder and in an S3 store, and orphans are swept."""

from __future__ import annotations

import asyncio
import hashlib
import socket
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta
from pathlib import Path

import pytest

from everhart.service.settings import Settings
from everhart.service.store import ObjectStore, StoreError, open_store


@pytest.fixture(params=["folder", "moto", "rclone"])
def store(request, tmp_path, monkeypatch) -> Iterator[ObjectStore]:
    if request.param == "folder":
        yield open_store(Settings(folder=tmp_path))
        return
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "key")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "secret")
    monkeypatch.setenv("AWS_REGION", "us-east-1")
    with (_moto if request.param == "moto" else _rclone)(tmp_path) as endpoint:
        yield open_store(Settings(folder=tmp_path, store="s3://bucket/some", s3_endpoint=endpoint))


@contextmanager
def _moto(_: Path) -> Iterator[str]:
    boto3 = pytest.importorskip("boto3")
    moto = pytest.importorskip("moto.server")
    running = moto.ThreadedMotoServer(ip_address="127.0.0.1", port=0)
    running.start()
    host, port = running.get_host_and_port()
    endpoint = f"http://{host}:{port}"
    client = boto3.client("s3", endpoint_url=endpoint, region_name="us-east-1")
    client.create_bucket(Bucket="bucket")
    yield endpoint
    running.stop()


@contextmanager
def _rclone(folder: Path) -> Iterator[str]:
    package = pytest.importorskip("rclone_api")
    program = Path(package.__file__).parent / "bin" / "rclone"
    if not program.is_file():
        pytest.skip("there is no rclone for this machine")
    (folder / "s3" / "bucket").mkdir(parents=True)
    with socket.create_server(("127.0.0.1", 0)) as free:
        address = f"127.0.0.1:{free.getsockname()[1]}"
    words = ["serve", "s3", str(folder / "s3"), "--addr", address, "--auth-key", "key,secret"]
    running = subprocess.Popen([program, *words], stderr=subprocess.DEVNULL)
    try:
        for _ in range(300):
            try:
                socket.create_connection(address.split(":"), 1).close()  # type: ignore[arg-type]
                break
            except OSError:
                time.sleep(0.05)
        yield f"http://{address}"
    finally:
        running.kill()
        running.wait()


def test_objects_by_content(store: ObjectStore, tmp_path):
    file = tmp_path / "file"
    contents = [bytes([n]) * 1000 for n in range(3)]
    names = []
    for content in contents:
        file.write_bytes(content)
        names.append(hashlib.sha256(content).hexdigest())
        store.put(names[-1], file)
        store.put(names[-1], file)
    store.check()
    assert store.get(names[1]) == contents[1]
    with store.as_file(names[2], tmp_path) as path:
        assert path.read_bytes() == contents[2]

    async def streamed() -> bytes:
        return b"".join([piece async for piece in await store.stream(names[0])])

    assert asyncio.run(streamed()) == contents[0]
    assert (store.presigned(names[0], timedelta(minutes=5)) is None) == (store.root is not None)

    def known(asked: list[str]) -> set[str]:
        return {name for name in asked if name == names[0]}

    at_once = timedelta(seconds=-5)
    assert store.sweep(known, timedelta(hours=1)) == []
    assert store.sweep(known, at_once) == []  # put aside only
    # What is read, or written again, while it is put aside is there as before.
    assert store.get(names[1]) == contents[1]
    file.write_bytes(contents[2])
    store.put(names[2], file)
    assert store.sweep(known, timedelta(hours=1)) == []
    for name, content in zip(names, contents, strict=True):
        with store.as_file(name, tmp_path) as path:
            assert path.read_bytes() == content
    # A row that is committed while its object is put aside brings it back.
    store.sweep(known, at_once)
    assert sorted(store.sweep(lambda asked: set(asked), at_once)) == []
    assert [store.get(name) for name in names] == contents
    store.sweep(known, at_once)
    assert sorted(store.sweep(known, at_once)) == sorted(names[1:])
    assert store.get(names[0]) == contents[0]
    for name in names[1:]:
        with pytest.raises(StoreError, match="restore a backup"):
            store.get(name)


def test_a_file_becomes_the_object(tmp_path):
    store = open_store(Settings(folder=tmp_path))
    name = hashlib.sha256(b"x").hexdigest()
    for _ in range(2):
        (tmp_path / "file").write_bytes(b"x")
        store.put(name, tmp_path / "file", move=True)
        assert not (tmp_path / "file").exists()
    assert store.get(name) == b"x"


@pytest.mark.parametrize("name", ["../../etc/passwd", "", "A" * 64, "0" * 63 + "/"])
def test_no_name_leaves_the_store(tmp_path, name):
    with pytest.raises(ValueError, match="no sha256"):
        open_store(Settings(folder=tmp_path)).get(name)

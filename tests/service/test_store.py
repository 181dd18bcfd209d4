"""Objects are kept by content, on a folder and in an S3 store, and orphans are swept."""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import Iterator
from datetime import timedelta

import pytest

from everhart.service.settings import Settings
from everhart.service.store import ObjectStore, StoreError, open_store


@pytest.fixture(params=["folder", "s3"])
def store(request, tmp_path, monkeypatch) -> Iterator[ObjectStore]:
    if request.param == "folder":
        yield open_store(Settings(folder=tmp_path))
        return
    boto3 = pytest.importorskip("boto3")
    moto = pytest.importorskip("moto.server")
    running = moto.ThreadedMotoServer(ip_address="127.0.0.1", port=0)
    running.start()
    host, port = running.get_host_and_port()
    endpoint = f"http://{host}:{port}"
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "key")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "secret")
    monkeypatch.setenv("AWS_REGION", "us-east-1")
    boto3.client("s3", endpoint_url=endpoint, region_name="us-east-1").create_bucket(
        Bucket="bucket"
    )
    yield open_store(
        Settings(folder=tmp_path, store="s3://bucket/some/prefix", s3_endpoint=endpoint)
    )
    running.stop()


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

    assert store.sweep(known, timedelta(hours=1)) == []
    assert sorted(store.sweep(known, timedelta(seconds=-5))) == sorted(names[1:])
    assert store.get(names[0]) == contents[0]
    with pytest.raises(StoreError):
        store.get(names[1])


@pytest.mark.parametrize("name", ["../../etc/passwd", "", "A" * 64, "0" * 63 + "/"])
def test_no_name_leaves_the_store(tmp_path, name):
    with pytest.raises(ValueError, match="no sha256"):
        open_store(Settings(folder=tmp_path)).get(name)

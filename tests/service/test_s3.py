"""The whole service on an S3 store, and what happens while the store is away."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from .served import finished, results, run_job, serving, tiff, upload

pytestmark = pytest.mark.slow


class Bucket:
    """An S3 server with one bucket, which can be away for a while; it keeps what it has."""

    def __init__(self) -> None:
        self.start(0)
        boto3 = pytest.importorskip("boto3")
        client = boto3.client("s3", endpoint_url=self.endpoint, region_name="us-east-1")
        client.create_bucket(Bucket="bucket")

    def start(self, port: int) -> None:
        moto = pytest.importorskip("moto.server")
        self.server = moto.ThreadedMotoServer(ip_address="127.0.0.1", port=port)
        self.server.start()
        self.port = self.server.get_host_and_port()[1]
        self.endpoint = f"http://127.0.0.1:{self.port}"


@pytest.fixture
def bucket(monkeypatch: pytest.MonkeyPatch) -> Iterator[Bucket]:
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "key")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "secret")
    monkeypatch.setenv("AWS_REGION", "us-east-1")
    made = Bucket()
    yield made
    made.server.stop()


def test_images_jobs_and_a_store_that_goes_away(tmp_path: Path, bucket: Bucket):
    settings = {"store": "s3://bucket/lab", "s3_endpoint": bucket.endpoint}
    with serving(tmp_path, **settings) as server:
        content = tiff(0)
        image = upload(server.http, content, "a.tif")
        assert server.http.get(f"/v1/images/{image}/original").content == content
        preview = server.http.get(f"/v1/images/{image}/preview.png").content
        assert preview.startswith(b"\x89PNG")
        job = run_job(server.http, "denoise", [image], parameters={"method": "median"})
        assert job["state"] == "done", job["error"]
        (result,) = results(server.http, job["id"])
        path = f"/v1/results/{result['id']}/files/a.tif"
        sent = server.http.get(path, params={"redirect": "true"})
        assert sent.status_code == 307
        signed = httpx.get(sent.headers["location"]).content
        assert signed == server.http.get(path).content
        assert not any((tmp_path / "scratch").glob("object-*"))

        bucket.server.stop()
        started = time.monotonic()
        away = server.http.get("/ready")
        assert time.monotonic() - started < 5
        assert (away.status_code, away.json()["store"]) == (503, False)
        body = {"operation": "noise", "images": [image]}
        job_id = server.http.post("/v1/jobs", json=body).json()["id"]
        refused = server.http.post("/v1/images?name=b.tif", content=tiff(1), timeout=120)
        assert refused.status_code == 503
        assert bucket.endpoint not in refused.text
        assert server.http.get("/v1/images").json()["items"][0]["id"] == image
        time.sleep(5)
        assert server.http.get(f"/v1/jobs/{job_id}").json()["state"] == "running"
        bucket.start(bucket.port)
        assert finished(server.http, job_id)["state"] == "done"
        upload(server.http, tiff(1), "b.tif")
        assert server.http.get("/ready").status_code == 200

"""What is deleted is gone, with what is of it alone, and nothing that a job needs is."""

from __future__ import annotations

import time
from datetime import timedelta
from pathlib import Path

import httpx

from everhart.service.database import Database
from everhart.service.engine import JobEngine
from everhart.service.settings import Settings
from everhart.service.store import open_store

from .served import Server, finished, results, run_job, tiff, upload


def test_an_image_goes_and_its_results_stay(http: httpx.Client):
    image = upload(http, tiff(300), "gone.tif")
    job = run_job(http, "denoise", [image], parameters={"method": "median"})
    assert http.delete(f"/v1/images/{image}").status_code == 204
    assert http.delete(f"/v1/images/{image}").status_code == 404
    for more in ("", "/original", "/preview.png", "/tiles"):
        assert http.get(f"/v1/images/{image}{more}").status_code == 404
    (result,) = results(http, job["id"])
    assert result["provenance"]["images"] == [{"sha256": image, "name": "gone.tif"}]
    assert upload(http, tiff(300), "again.tif") == image
    assert http.get(f"/v1/images/{image}").json()["name"] == "again.tif"
    assert http.get(f"/v1/images/{image}/original").content == tiff(300)


def test_what_a_job_needs_stays(http: httpx.Client):
    first, second = (upload(http, tiff(n, (600, 600)), f"{n}.tif") for n in (301, 302))
    reference = upload(http, tiff(303, (600, 600)), "reference.tif")
    body = {
        "operation": "compare", "images": [first, second], "roles": {"reference": reference},
        "parameters": {"methods": ["bm3d"]},
    }  # fmt: skip
    job_id = http.post("/v1/jobs", json=body).json()["id"]
    for image in (second, reference):
        answer = http.delete(f"/v1/images/{image}")
        assert answer.status_code == 409
        assert job_id in answer.json()["detail"]
    assert http.delete(f"/v1/jobs/{job_id}").status_code == 409
    http.post(f"/v1/jobs/{job_id}/cancel")
    finished(http, job_id)
    for image in (first, second, reference):
        assert http.delete(f"/v1/images/{image}").status_code == 204
    assert http.delete(f"/v1/jobs/{job_id}").status_code == 204


def test_results_and_jobs(http: httpx.Client):
    images = [upload(http, tiff(n), f"{n}.tif") for n in (304, 305)]
    job = run_job(http, "denoise", images, parameters={"method": "gaussian"})
    kept, deleted = results(http, job["id"])
    path = f"/v1/results/{deleted['id']}"
    assert http.delete(path).status_code == 204
    assert http.delete(path).status_code == 404
    assert http.get(f"{path}/files/{deleted['files'][0]['name']}").status_code == 404
    assert [result["id"] for result in results(http, job["id"])] == [kept["id"]]
    assert http.delete(f"/v1/jobs/{job['id']}").status_code == 204
    for gone in (f"/v1/jobs/{job['id']}", f"/v1/results/{kept['id']}"):
        assert http.get(gone).status_code == 404
    assert http.delete(f"/v1/jobs/{job['id']}").status_code == 404
    assert http.get(f"/v1/images/{images[0]}").status_code == 200


def test_objects_of_what_is_deleted_are_swept(server: Server):
    """Last: the sweep is of the folder that other tests use too, and takes nothing of theirs."""
    image = upload(server.http, tiff(306), "swept.tif")
    kept = upload(server.http, tiff(307), "kept.tif")
    server.http.delete(f"/v1/images/{image}")
    settings = Settings(folder=server.folder)
    database = Database(settings)
    engine = JobEngine(settings, database, open_store(settings), None)
    try:
        engine.sweep(timedelta(hours=1))
        assert found(server.folder, image)
        time.sleep(0.01)
        for _ in range(2):
            engine.sweep(timedelta(seconds=-5))
    finally:
        database.close()
    assert not found(server.folder, image)
    assert server.http.get(f"/v1/images/{kept}/original").content == tiff(307)


def found(folder: Path, identity: str) -> list[Path]:
    return list((folder / "objects").rglob(identity))

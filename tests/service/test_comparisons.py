"""Comparisons: the figures of the report are there as rows, and as a table."""

from __future__ import annotations

import csv
import io

import httpx
import pytest

from .served import finished, results, run_job, tiff, upload


def test_images_times_methods(http: httpx.Client):
    images = [upload(http, tiff(n, (96, 96)), f"{n}.tif") for n in (400, 401)]
    reference = upload(http, tiff(402, (96, 96)), "reference.tif")
    body = {
        "images": images, "methods": ["median", "gaussian"],
        "roles": {"reference": reference}, "parameters": {"alignment": "none"},
    }  # fmt: skip
    headers = {"Idempotency-Key": "comparison-1"}
    made = [http.post("/v1/comparisons", json=body, headers=headers) for _ in range(2)]
    assert {answer.status_code for answer in made} == {202}
    job_id = made[0].json()["id"]
    assert made[1].json()["id"] == job_id
    assert finished(http, job_id)["state"] == "done"
    comparison = http.get(f"/v1/comparisons/{job_id}").json()
    assert comparison["job"]["parameters"]["alignment"] == "none"
    rows = [(run["image"], run["method"]) for run in comparison["runs"]]
    (result,) = results(http, job_id)
    shown = result["summary"]["images"]
    expected = [(i, m) for i, one in zip(images, shown, strict=True) for m in one["methods"]]
    assert rows == [(image, figures["method"]) for image, figures in expected]
    assert {method for _, method in rows} >= {"median", "gaussian"}
    for run, (_, figures) in zip(comparison["runs"], expected, strict=True):
        assert {"method": run["method"], **run["figures"]} == figures
        assert run["result"] == result["id"]
    assert comparison["runs"][1]["figures"]["psnr_db"] is not None
    table = http.get(f"/v1/comparisons/{job_id}/runs.csv")
    assert table.headers["content-type"].startswith("text/csv")
    lines = list(csv.DictReader(io.StringIO(table.text)))
    assert [(line["sha256"], line["method"]) for line in lines] == rows
    assert float(lines[1]["psnr_db"]) == comparison["runs"][1]["figures"]["psnr_db"]
    listed = http.get("/v1/comparisons").json()["items"]
    assert job_id in [job["id"] for job in listed]

    filtered = {"image": images[0], "method": "median"}
    (run,) = http.get("/v1/runs", params=filtered).json()["items"]
    assert run["image_name"] == "400.tif"
    assert len(http.get("/v1/runs.csv", params=filtered).text.splitlines()) == 2
    paged, cursor = [], None
    while True:
        params = {"limit": 2, "image": images[1], **({"cursor": cursor} if cursor else {})}
        page = http.get("/v1/runs", params=params).json()
        paged += [run["id"] for run in page["items"]]
        if (cursor := page["next"]) is None:
            break
    assert paged == [r["id"] for r in comparison["runs"] if r["image"] == images[1]][::-1]
    job_cursor = http.get("/v1/jobs", params={"limit": 1}).json()["next"]
    assert http.get("/v1/runs", params={"cursor": job_cursor}).status_code in (200, 422)

    assert http.delete(f"/v1/results/{result['id']}").status_code == 204
    assert http.get(f"/v1/comparisons/{job_id}").json()["runs"] == []


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"methods": []}, "methods"),
        ({"methods": ["medain"]}, "did you mean 'median'"),
        ({"methods": ["/etc/passwd"]}, "Unknown method"),
        ({"methods": ["a\0b"]}, "Unknown method"),
        ({"parameters": {"alignment": "no"}}, "alignment"),
        ({"images": ["0" * 64]}, "upload it first"),
    ],
)
def test_wrong_requests(http: httpx.Client, change: dict[str, object], said: str):
    body = {"images": [upload(http, tiff(403))], "methods": ["median"], **change}
    answer = http.post("/v1/comparisons", json=body)
    assert answer.status_code == 422, answer.text
    assert said in answer.json()["detail"]


def test_other_jobs_are_none(http: httpx.Client):
    job = run_job(http, "noise", [upload(http, tiff(403))])
    for path in ("", "/runs.csv"):
        assert http.get(f"/v1/comparisons/{job['id']}{path}").status_code == 404

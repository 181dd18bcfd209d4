"""Jobs give the numbers of the command line, once, and say what happens."""

from __future__ import annotations

import json
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest

from everhart import Micrograph, io
from everhart.cli import main
from everhart.operations import OPERATIONS, DenoiseParameters

from .served import finished, results, run_job, tiff, upload


def test_operations_are_those_of_the_registry(http: httpx.Client):
    found = {item["name"]: item for item in http.get("/v1/operations").json()["items"]}
    assert set(found) == set(OPERATIONS)
    assert found["align"]["series"]
    assert found["noise"]["roles"] == ["reference"]
    schema = found["denoise"]["parameters"]
    assert schema == OPERATIONS["denoise"].parameters.model_json_schema()


def test_denoise_as_on_the_command_line(http: httpx.Client, tmp_path: Path):
    content = tiff(20)
    identity = upload(http, content, "wafer.tif")
    job = run_job(http, "denoise", [identity], parameters={"method": "median"})
    assert (job["state"], job["done"], job["failed"]) == ("done", 1, 0)
    (result,) = results(http, job["id"])
    (file,) = result["files"]
    assert (file["name"], file["media_type"]) == ("wafer.tif", "image/tiff")
    provenance = result["provenance"]
    assert provenance["images"] == [{"sha256": identity, "name": "wafer.tif"}]
    assert provenance["parameters"] == DenoiseParameters(method="median").model_dump()
    answer = http.get(f"/v1/results/{result['id']}/files/wafer.tif")
    (tmp_path / "service.tif").write_bytes(answer.content)
    (tmp_path / "wafer.tif").write_bytes(content)
    words = ["denoise", str(tmp_path / "wafer.tif"), "-o", str(tmp_path / "cli.tif")]
    assert main([*words, "--method", "median"]) == 0
    ours, theirs = io.read(tmp_path / "service.tif"), io.read(tmp_path / "cli.tif")
    assert np.array_equal(ours.pixels, theirs.pixels)
    assert ours.history[-1].parameters == theirs.history[-1].parameters
    assert http.get(f"/v1/results/{result['id']}").json() == result
    assert http.get(f"/v1/results/{result['id']}/files/..%2fwafer.tif").status_code == 404


def test_tables_are_those_of_the_command_line_byte_for_byte(http: httpx.Client, tmp_path: Path):
    from everhart.simulate import simulate

    scene = simulate("particles", shape=(160, 160), seed=3)
    image = Micrograph((scene.image * 200 + 20).astype(np.uint8), 1.25)
    source = io.write(image, tmp_path / "dots.tif")
    identity = upload(http, source.read_bytes(), "dots.tif")
    job = run_job(http, "measure-particles", [identity], parameters={"unit": "px"})
    assert job["state"] == "done", job["error"]
    (result,) = results(http, job["id"])
    table = tmp_path / "particles.csv"
    words = ["measure", "particles", str(source), "-o", str(table), "--unit", "px"]
    assert main([*words, "--json", str(tmp_path / "summary.json")]) == 0
    for file in result["files"]:
        if file["media_type"] == "text/csv":
            answer = http.get(f"/v1/results/{result['id']}/files/{file['name']}")
            assert answer.content == (tmp_path / file["name"]).read_bytes()
    assert {"particles.csv", "overlay.png"} <= {file["name"] for file in result["files"]}
    record = json.loads((tmp_path / "summary.json").read_text())
    assert result["summary"] == record["images"][0]["summary"]


def test_a_reference_and_a_series(http: httpx.Client):
    clean, noisy = (upload(http, tiff(n), f"{n}.tif") for n in (30, 31))
    job = run_job(http, "noise", [noisy], roles={"reference": clean})
    assert job["state"] == "done", job["error"]
    (result,) = results(http, job["id"])
    assert "sigma" in json.dumps(result["summary"])
    job = run_job(http, "align", [clean, noisy], parameters={"max_shift_px": 4})
    assert (job["state"], job["items"]) == ("done", 1), job["error"]
    (result,) = results(http, job["id"])
    assert [file["name"] for file in result["files"]] == ["aligned.tif"]


def test_an_item_that_fails_leaves_the_others(http: httpx.Client):
    good, other = upload(http, tiff(32), "a.tif"), upload(http, tiff(33, (8, 8)), "small.tif")
    job = run_job(http, "measure-lines", [good, other])
    assert (job["state"], job["failed"]) == ("failed", 2)
    items = http.get(f"/v1/jobs/{job['id']}/items").json()["items"]
    assert [item["state"] for item in items] == ["failed", "failed"]
    assert all(item["error"].endswith(".") and "/" not in item["error"] for item in items)
    assert len(http.get(f"/v1/jobs/{job['id']}/log").json()["lines"]) == 2


def test_one_key_twenty_times_is_one_job(http: httpx.Client):
    body = {"operation": "noise", "images": [upload(http, tiff(34))]}
    headers = {"Idempotency-Key": "once"}
    with ThreadPoolExecutor(20) as threads:
        answers = list(
            threads.map(lambda _: http.post("/v1/jobs", json=body, headers=headers), range(20))
        )
    assert {answer.status_code for answer in answers} == {202}
    assert len({answer.json()["id"] for answer in answers}) == 1
    other = http.post("/v1/jobs", json={**body, "pixel_size_nm": 2.0}, headers=headers)
    assert other.status_code == 409
    assert finished(http, answers[0].json()["id"])["done"] == 1


def stream(http: httpx.Client, job_id: str, after: str | None = None) -> list[dict[str, Any]]:
    headers = {} if after is None else {"Last-Event-ID": after}
    found: list[dict[str, Any]] = []
    with http.stream("GET", f"/v1/jobs/{job_id}/events", headers=headers) as answer:
        assert answer.headers["content-type"].startswith("text/event-stream")
        event: dict[str, Any] = {}
        for line in answer.iter_lines():
            name, _, value = line.partition(": ")
            if name in ("id", "event", "data"):
                event[name] = value
            elif not line and event:
                found.append(event)
                event = {}
    return found


def test_events_come_in_order_and_go_on_where_they_stopped(http: httpx.Client):
    images = [upload(http, tiff(n)) for n in (35, 36)]
    body = {"operation": "denoise", "parameters": {"method": "gaussian"}, "images": images}
    job_id = http.post("/v1/jobs", json=body).json()["id"]
    events = stream(http, job_id)
    kinds = [event["event"] for event in events]
    assert kinds == ["queued", "running", "item", "item", "done"]
    assert [json.loads(event["data"])["done"] for event in events[2:]] == [1, 2, 2]
    assert stream(http, job_id, events[2]["id"]) == events[3:]
    assert stream(http, job_id, events[-1]["id"]) == []


def test_a_job_is_cancelled_while_it_runs(http: httpx.Client):
    images = [upload(http, tiff(n, (700, 700)), f"{n}.tif") for n in (37, 38, 39)]
    body = {"operation": "denoise", "parameters": {"method": "bm3d"}, "images": images}
    job_id = http.post("/v1/jobs", json=body).json()["id"]
    for _ in range(600):
        if http.get(f"/v1/jobs/{job_id}").json()["state"] == "running":
            break
        time.sleep(0.05)
    assert http.post(f"/v1/jobs/{job_id}/cancel").status_code == 202
    job = finished(http, job_id)
    assert job["state"] == "cancelled"
    assert job["done"] < 3
    again = http.post(f"/v1/jobs/{job_id}/cancel")
    assert again.json()["state"] == "cancelled"
    assert run_job(http, "noise", [images[0]])["state"] == "done"


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"operation": "denose"}, "did you mean 'denoise'"),
        ({"parameters": {"methid": "nlm"}}, "did you mean 'method'"),
        ({"parameters": {"method": "/etc/passwd"}}, "Unknown method"),
        ({"parameters": {"model": "../../secret.safetensors"}}, "Unknown model"),
        ({"images": ["0" * 64]}, "upload it first"),
        ({"images": ["x"]}, "no id of an image"),
        ({"images": []}, "images"),
        ({"roles": {"reference": "0" * 64}}, "role"),
        ({"pixel_size_nm": -1}, "pixel_size_nm"),
        ({"webhook": "http://x"}, "webhook"),
    ],
)
def test_wrong_requests_are_one_sentence(http: httpx.Client, change: dict[str, Any], said: str):
    body = {"operation": "denoise", "images": [upload(http, tiff(40))], **change}
    answer = http.post("/v1/jobs", json=body)
    assert answer.status_code == 422
    assert said in answer.json()["detail"]


def test_lists_of_jobs(http: httpx.Client):
    made = [run_job(http, "noise", [upload(http, tiff(41))])["id"] for _ in range(3)]
    page = http.get("/v1/jobs", params={"limit": 2, "state": "done"}).json()
    assert [job["id"] for job in page["items"]] == made[:0:-1]
    page = http.get("/v1/jobs", params={"limit": 2, "cursor": page["next"]}).json()
    assert page["items"][0]["id"] == made[0]
    for path in ("/v1/jobs/", "/v1/results/"):
        assert http.get(path + "0" * 32).status_code == 404


@pytest.mark.slow
def test_models_have_their_cards(http: httpx.Client):
    (model, *_) = http.get("/v1/models").json()["items"]
    assert model["name"] == "sem-general"
    assert model["header"]["card"]["licence"]


def test_metrics(http: httpx.Client):
    http.get("/health")
    text = http.get("/metrics").text
    assert 'everhart_requests_total{method="GET",status="200"}' in text
    assert 'everhart_jobs{state="queued"}' in text

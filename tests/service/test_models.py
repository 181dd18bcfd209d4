"""Uploaded models: what they are is looked at, jobs find them, and none is deleted in use."""

from __future__ import annotations

import hashlib
import json
import pickle
import struct
from pathlib import Path
from typing import Any

import httpx
import pytest

from .served import results, run_job, tiff, upload

CONFIG = {"widths": [4], "stem": 2, "output": "direct"}


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A denoiser of the shipped architecture, as small as it gets."""
    import torch

    from everhart.restore.architectures import RestorationUNet, RestorationUNetConfig
    from everhart.training.model_file import ModelCard, ModelHeader, save_model

    torch.manual_seed(0)
    config = RestorationUNetConfig(**CONFIG)
    network = RestorationUNet(config)
    header = ModelHeader(
        kind="denoiser",
        architecture="RestorationUNet",
        config=config.model_dump(mode="json"),
        normalisation={"kind": "image", "mean": 0.0, "deviation": 1.0},
        card=ModelCard(name="small", licence="none"),
    )
    path = tmp_path_factory.mktemp("model") / "small.safetensors"
    return save_model(path, header, network.state_dict())


def post(http: httpx.Client, name: str, content: bytes) -> httpx.Response:
    return http.post("/v1/models", params={"name": name}, content=content)


def test_an_uploaded_model_is_used_by_name_and_by_hash(
    http: httpx.Client, model: Path, tmp_path: Path
):
    from everhart import io
    from everhart.cli import main

    content = model.read_bytes()
    sha256 = hashlib.sha256(content).hexdigest()
    answer = post(http, "small.safetensors", content)
    assert answer.status_code == 201, answer.text
    assert (answer.json()["name"], answer.json()["sha256"]) == ("small", sha256)
    assert post(http, "small", content).status_code == 200
    listed = http.get("/v1/models").json()["items"]
    assert [(m["name"], m["uploaded"]) for m in listed] == [("sem-general", False), ("small", True)]
    assert listed[1]["header"]["card"]["licence"] == "none"

    image = upload(http, tiff(200, (64, 64)), "a.tif")
    pixels = set()
    for given in ({"method": "small"}, {"model": sha256}):
        job = run_job(http, "denoise", [image], parameters=given)
        assert job["state"] == "done", job["error"]
        (result,) = results(http, job["id"])
        assert result["provenance"]["model_hash"] == sha256
        pixels.add(result["files"][0]["pixels_sha256"])
    (tmp_path / "a.tif").write_bytes(tiff(200, (64, 64)))
    words = ["denoise", str(tmp_path / "a.tif"), "-o", str(tmp_path / "b.tif")]
    assert main([*words, "--model", str(model)]) == 0
    from everhart.service.tasks import pixels_sha256

    assert pixels == {pixels_sha256(io.read(tmp_path / "b.tif").pixels)}

    assert http.delete("/v1/models/small").status_code == 204
    assert http.delete("/v1/models/small").status_code == 404
    assert http.delete("/v1/models/sem-general").status_code == 404
    body = {"operation": "denoise", "images": [image], "parameters": {"method": "small"}}
    assert http.post("/v1/jobs", json=body).status_code == 422
    assert http.get(f"/v1/results/{result['id']}").status_code == 200


def lying(model: Path, **change: Any) -> bytes:
    content = model.read_bytes()
    (size,) = struct.unpack("<Q", content[:8])
    header = json.loads(content[8 : 8 + size])
    everhart = json.loads(header["__metadata__"]["everhart"])
    header["__metadata__"]["everhart"] = json.dumps({**everhart, **change})
    changed = json.dumps(header).encode()
    return struct.pack("<Q", len(changed)) + changed + content[8 + size :]


@pytest.mark.parametrize(
    ("kind", "said"),
    [
        ("pickle", "no pickle"),
        ("empty", "empty"),
        ("truncated", "no model file"),
        ("header too long", "no model file"),
        ("other weights", ""),
        ("huge config", ""),
        ("unknown architecture", ""),
    ],
)
def test_what_is_no_model_is_refused(http: httpx.Client, model: Path, kind: str, said: str):
    content = {
        "pickle": pickle.dumps({"weights": [1.0]}),
        "empty": b"",
        "truncated": model.read_bytes()[:-100],
        "header too long": struct.pack("<Q", 1 << 40) + model.read_bytes()[8:],
        "other weights": lying(model, config={**CONFIG, "widths": [8]}),
        "huge config": lying(model, config={**CONFIG, "widths": [1 << 16]}),
        "unknown architecture": lying(model, architecture="os.system"),
    }[kind]
    answer = post(http, "bad", content)
    assert answer.status_code in (413, 422), answer.text
    assert said in answer.json()["detail"]
    assert "scratch" not in answer.json()["detail"]
    assert "bad" not in [m["name"] for m in http.get("/v1/models").json()["items"]]


@pytest.mark.parametrize(
    ("name", "status"),
    [("../evil", 422), ("Evil", 422), ("0a" * 32, 422), ("sem-general", 409), ("bm3d", 409)],
)
def test_names_that_cannot_be(http: httpx.Client, model: Path, name: str, status: int):
    assert post(http, name, model.read_bytes()).status_code == status


def test_a_model_in_use_and_a_name_in_use(http: httpx.Client, model: Path):
    assert post(http, "used", model.read_bytes()).status_code == 201
    other = lying(model, card={"name": "other"})
    assert post(http, "used", other).status_code == 409
    images = [upload(http, tiff(n, (600, 600)), f"{n}.tif") for n in (201, 202)]
    slow = run(http, "denoise", images, {"method": "bm3d"})
    waiting = run(http, "compare", images, {"methods": ["used", "bm3d"]})
    answer = http.delete("/v1/models/used")
    assert answer.status_code == 409
    assert waiting in answer.json()["detail"]
    for job in (slow, waiting):
        http.post(f"/v1/jobs/{job}/cancel")
    from .served import finished

    finished(http, waiting)
    assert http.delete("/v1/models/used").status_code == 204
    finished(http, slow)


def run(http: httpx.Client, operation: str, images: list[str], parameters: dict[str, Any]) -> str:
    body = {"operation": operation, "images": images, "parameters": parameters}
    return str(http.post("/v1/jobs", json=body).json()["id"])

"""``everhart export``: denoisers and segmentations as ONNX."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import onnxruntime
import pytest
import torch

from everhart.nn.unet import UNetConfig
from everhart.segment.network import ARCHITECTURE, KIND, SegmentationUNet
from everhart.segment.segmenter import Segmenter
from everhart.training.model_file import ModelCard, ModelHeader, save_model

HEADER = {
    "architecture": ARCHITECTURE,
    "config": {"out_channels": 3, "widths": [4, 8], "stem": 2},
    "normalisation": {"kind": "image", "mean": 0.0, "deviation": 1.0},
    "inference": {
        "classes": ["background", "particle", "rim"],
        "rims": False,
        "pixel_size_nm": 2.5,
        "scale": 1.0,
        "smallest_px": None,
    },
    "card": ModelCard(name="three", licence="CC0-1.0"),
}


@pytest.fixture
def segmentation(tmp_path: Path) -> Path:
    torch.manual_seed(0)
    network = SegmentationUNet(UNetConfig.model_validate(HEADER["config"]))
    return save_model(
        tmp_path / "three.safetensors",
        ModelHeader.model_validate({"kind": KIND, **HEADER}),
        network.state_dict(),
    )


def test_a_segmentation(run, segmentation: Path, tmp_path: Path, rng: np.random.Generator):
    out, record = tmp_path / "three.onnx", tmp_path / "three.json"
    result = run("export", "-m", segmentation, out, "--json", record)
    assert result.status == 0, result.err
    assert "a segment for images in multiples of 4 pixels" in result.err
    session = onnxruntime.InferenceSession(out, providers=["CPUExecutionProvider"])
    said = session.get_modelmeta().custom_metadata_map
    assert json.loads(said["classes"]) == ["background", "particle", "rim"]
    assert said["pixel_size_nm"] == "2.5"
    assert json.loads(record.read_text())["metadata"] == said
    image = rng.normal(size=(1, 1, 40, 60)).astype(np.float32)
    (scores,) = session.run(["scores"], {"image": image})
    with torch.inference_mode():
        network = Segmenter.load(segmentation, device="cpu", precision="fp32").network
        expected = network(torch.from_numpy(image)).numpy()
    assert np.abs(scores - expected).max() < 1e-5


def test_a_denoiser(run, tiny_model: Path, tmp_path: Path):
    out = tmp_path / "tiny.onnx"
    assert run("export", "-m", tiny_model, out).status == 0
    before = out.read_bytes()
    result = run("export", "-m", tiny_model, out)
    assert result.status == 2
    assert "exists" in result.err
    assert run("export", "-m", tiny_model, out, "--overwrite").status == 0
    assert out.read_bytes() == before  # the same each time


def test_wrong_calls(run, segmentation: Path, tmp_path: Path):
    other = save_model(
        tmp_path / "g.safetensors",
        ModelHeader.model_validate({"kind": "generator", **HEADER}),
        {"a": torch.zeros(1)},
    )
    for words, message in (
        (("-m", other, tmp_path / "g.onnx"), "a denoiser or a segmentation can be exported"),
        (("-m", segmentation, tmp_path / "g.pth"), "an exported model is named *.onnx"),
        (("-m", "sem-genera", tmp_path / "g.onnx"), "did you mean"),
        (("-m", segmentation, tmp_path / "g.onnx", "--int8"), "it is for denoisers"),
    ):
        result = run("export", *words)
        assert result.status == 2
        assert message in result.err, result.err
    few = save_model(
        tmp_path / "f.safetensors",
        ModelHeader.model_validate({"kind": KIND, **HEADER, "architecture": "FeatureClassifier"}),
        {"a": torch.zeros(1)},
    )
    result = run("export", "-m", few, tmp_path / "g.onnx")
    assert result.status == 2
    assert "classifies the features of a generator" in result.err
    assert not (tmp_path / "g.onnx").exists()

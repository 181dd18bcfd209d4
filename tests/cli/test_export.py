"""``everhart export``: denoisers and segmentations as ONNX."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import onnxruntime
import torch

from everhart.segment.segmenter import Segmenter
from everhart.training.model_file import read_header, save_model


def test_a_segmentation(run, segmentation: Path, tmp_path: Path, rng: np.random.Generator):
    out, record = tmp_path / "three.onnx", tmp_path / "three.json"
    result = run("export", "-m", segmentation, out, "--json", record)
    assert result.status == 0, result.err
    assert "a segmentation for images in multiples of 4 pixels" in result.err
    session = onnxruntime.InferenceSession(out, providers=["CPUExecutionProvider"])
    said = session.get_modelmeta().custom_metadata_map
    assert json.loads(said["classes"]) == ["background", "particle", "other"]
    assert (said["pixel_size_nm"], said["border_px"]) == ("2.5", "0")
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
    header, weights = read_header(segmentation), {"a": torch.zeros(1)}
    generator = header.model_copy(update={"kind": "generator"})
    other = save_model(tmp_path / "g.safetensors", generator, weights)
    for words, message in (
        (("-m", other, tmp_path / "g.onnx"), "a denoiser or a segmentation can be exported"),
        (("-m", segmentation, tmp_path / "g.pth"), "an exported model is named *.onnx"),
        (("-m", "sem-genera", tmp_path / "g.onnx"), "did you mean"),
        (("-m", segmentation, tmp_path / "g.onnx", "--int8"), "it is for denoisers"),
    ):
        result = run("export", *words)
        assert result.status == 2
        assert message in result.err, result.err
    classifier = header.model_copy(update={"architecture": "FeatureClassifier"})
    few = save_model(tmp_path / "f.safetensors", classifier, weights)
    result = run("export", "-m", few, tmp_path / "g.onnx")
    assert result.status == 2
    assert "classifies the features of a generator" in result.err
    assert not (tmp_path / "g.onnx").exists()

"""``everhart noise``."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

import everhart as eh
from everhart.cli import main


@pytest.fixture
def frames(simulated, tmp_path: Path) -> list[Path]:
    scene = simulated.blobs(shape=(160, 192))
    paths = []
    for index in range(3):
        noisy = simulated.expose(scene, np.random.default_rng(index), gain=2, readout=9)
        path = tmp_path / f"frame{index}.tif"
        eh.write(np.clip(noisy, 0, 65535).astype(np.uint16), path)
        paths.append(path)
    eh.write(scene.astype(np.float32), tmp_path / "clean.tif")
    return paths


def call(*words: object) -> int:
    return main(["noise", *map(str, words)])


def test_one_image(frames, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    picture, results = tmp_path / "map.png", tmp_path / "noise.json"
    assert call(frames[0], "--map", picture, "--json", results) == 0
    assert picture.stat().st_size > 10_000
    (record,) = json.loads(results.read_text())["images"]
    assert record["source"] == "single image"
    assert record["noise"]["gain"] == pytest.approx(2, rel=0.2)
    assert record["advice"][0]["code"] == "white"
    assert "variance = " in capsys.readouterr().out


def test_reference(frames, tmp_path: Path) -> None:
    results = tmp_path / "noise.json"
    assert call(frames[0], "--reference", tmp_path / "clean.tif", "--json", results) == 0
    assert json.loads(results.read_text())["images"][0]["source"] == "reference"


def test_frames_of_one_field(frames, tmp_path: Path) -> None:
    results = tmp_path / "noise.json"
    assert call(*frames, "--frames", "--json", results) == 0
    (record,) = json.loads(results.read_text())["images"]
    assert record["n_frames"] == 3
    assert len(record["inputs"]) == 3


def test_many_images_and_one_that_fails(frames, tmp_path: Path) -> None:
    (tmp_path / "broken.png").write_bytes(b"no image")
    results = tmp_path / "noise.json"
    words = [*frames, tmp_path / "broken.png", "--map", tmp_path / "maps", "--json", results]
    assert call(*words) == 1
    records = json.loads(results.read_text())["images"]
    assert [("error" in record) for record in records] == [False, False, False, True]
    assert len(list((tmp_path / "maps").glob("*.png"))) == 3


def test_calls_that_are_wrong(frames, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    existing = tmp_path / "there.png"
    existing.write_bytes(b"")
    for words, said in [
        ([tmp_path / "missing.tif"], "missing.tif"),
        ([frames[0], "--map", existing], "exists"),
        ([frames[0], "--map", tmp_path / "map.tif"], ".png"),
        ([*frames, "--map", tmp_path / "one.png"], "folder"),
        ([frames[0], "--reference", tmp_path / "no.tif"], "--reference"),
        ([*frames, "--frames", "--reference", tmp_path / "clean.tif"], "one of them"),
    ]:
        assert call(*words) == 2
        error = capsys.readouterr().err
        assert said in error
        assert "Traceback" not in error
    assert existing.read_bytes() == b""

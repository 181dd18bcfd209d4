"""`everhart demo` and the thin `everhart train`."""

from __future__ import annotations

import json
from pathlib import Path

import pytest


def test_demo_makes_everything(run, tmp_path: Path, tiny_model: Path, monkeypatch):
    monkeypatch.setattr("everhart.cli.demo._SHAPE", (128, 160))
    monkeypatch.setattr("everhart.cli.demo._PANEL_PX", 96)
    opened: list[str] = []
    monkeypatch.setattr("webbrowser.open", lambda address: opened.append(address) or True)
    folder = tmp_path / "demo"
    words = ("demo", "-o", folder, "--model", tiny_model)
    result = run(*words)
    assert result.status == 0
    made = {path.name for path in folder.iterdir()}
    assert made == {
        "noisy.tif", "truth.tif", "restored.tif", "side-by-side.png", "report.html", "report.json",
    }  # fmt: skip
    assert all(name in result.out for name in made - {"report.json"})
    assert "PSNR" in result.out
    assert "best classical: " in result.out
    assert opened == []
    assert run(*words).status == 2  # nothing is overwritten unasked
    assert run(*words, "--overwrite", "--open").status == 0
    assert opened == [(folder / "report.html").resolve().as_uri()]
    (image,) = json.loads((folder / "report.json").read_text(encoding="utf-8"))["images"]
    assert image["pixel_size_nm"] is not None


def test_demo_with_an_unknown_scene(run, tmp_path: Path, tiny_model: Path):
    result = run("demo", "-o", tmp_path / "d", "--scene", "nad", "--model", tiny_model)
    assert result.status == 2
    assert "did you mean 'nand'" in result.err
    assert not (tmp_path / "d").exists()


def test_train_hands_over_its_words(run, tmp_path: Path, monkeypatch):
    calls: list[tuple[object, ...]] = []
    monkeypatch.setattr(
        "everhart.restore.train.train", lambda *args, **kwargs: calls.append((args, kwargs))
    )
    config = tmp_path / "config.yaml"
    config.write_text("{}", encoding="utf-8")
    words = ("train", config, "-o", tmp_path / "run", "a.b=1", "c=2", "--resume")
    assert run(*words).status == 0
    ((args, kwargs),) = calls
    assert args == (config, tmp_path / "run", ["a.b=1", "c=2"])
    assert kwargs == {"resume": True, "progress": False}


@pytest.mark.parametrize("setting", ["steps", "more.yaml"])
def test_train_settings_are_key_value(run, tmp_path: Path, setting: str):
    config = tmp_path / "config.yaml"
    config.write_text("{}", encoding="utf-8")
    result = run("train", config, "-o", tmp_path / "run", setting)
    assert result.status == 2
    assert "key=value" in result.err

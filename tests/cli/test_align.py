"""`everhart align`: stacks and files, average, drift table, wrong calls."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from scipy.ndimage import gaussian_filter

from everhart.io import read, write
from everhart.micrograph import Micrograph

DRIFT = [(0, 0), (3, -2), (5, 1)]


@pytest.fixture
def stack() -> Micrograph:
    rng = np.random.default_rng(1)
    scene = gaussian_filter(rng.normal(size=(160, 180)), 3)
    scene = 120 + 40 * scene / scene.std()
    frames = [scene[20 - y : 140 - y, 20 - x : 160 - x] for y, x in DRIFT]
    noisy = np.stack(frames) + rng.normal(0, 6, (3, 120, 140))
    return Micrograph(np.clip(np.rint(noisy), 0, 255).astype(np.uint8), (2.0, 4.0))


def test_a_stack_and_its_drift(run, tmp_path: Path, stack: Micrograph):
    source = write(stack, tmp_path / "series.tif")
    out, table = tmp_path / "aligned.tif", tmp_path / "drift.json"
    result = run("align", source, "-o", out, "--whole-pixels", "--json", table)
    assert result.status == 0, result.err
    assert "3 frames aligned: largest drift 5, 1 px (y, x) = 10, 4 nm in frame 2" in result.err
    aligned = read(out)
    assert aligned.shape == (3, 115, 137)
    assert aligned.dtype == np.uint8
    assert aligned.pixel_size_nm == (2.0, 4.0)
    assert aligned.history[-1].operation == "align"
    found = json.loads(table.read_text(encoding="utf-8"))
    assert [(f["drift_y_px"], f["drift_x_px"]) for f in found["frames"]] == DRIFT
    assert [(f["drift_y_nm"], f["drift_x_nm"]) for f in found["frames"]][1] == (6.0, -8.0)
    assert [f["frame_of_input"] for f in found["frames"]] == [0, 1, 2]
    assert found["border_px"] == [0, 5, 2, 1]


@pytest.mark.parametrize("method", ["phase", "psnr"])
def test_files_to_an_average(run, tmp_path: Path, stack: Micrograph, method: str):
    folder = tmp_path / "frames"
    folder.mkdir()
    for n, frame in enumerate(stack.pixels):
        write(Micrograph(frame, (2.0, 4.0)), folder / f"f_{n}.png")
    out = tmp_path / "mean.tif"
    result = run(
        "align", folder, "-o", out, "--average", "--method", method, "--max-shift-px", 8,
        "--reference", "mean",
    )  # fmt: skip
    assert result.status == 0, result.err
    mean = read(out)
    assert mean.dtype == np.float32
    assert mean.ndim == 2
    noise = np.diff(mean.pixels, 4, axis=0)  # next to nothing of the scene is left by it
    one = np.diff(stack.pixels[0].astype(float), 4, axis=0)
    assert noise.std() < 0.7 * one.std()


def test_a_shift_at_the_limit_is_told(run, tmp_path: Path, stack: Micrograph):
    source = write(stack, tmp_path / "series.tif")
    result = run("align", source, "-o", tmp_path / "out.tif", "--max-shift-px", "2")
    assert result.status == 0
    assert "at the limit of the search" in result.err


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["-o", "out.png"], "PNG, which holds one image"),
        (["-o", "out.png", "--average"], "float32 were to be written as PNG"),
        (["-o", "out.xyz"], "out.xyz"),
        (["-o", "series.tif", "--overwrite"], "also an input"),
        (["-o", "."], "is a folder"),
        (["-o", "out.tif", "--json", "out.tif"], "same file"),
        (["-o", "out.tif", "--method", "ecc"], "ecc"),
        (["-o", "out.tif", "--max-shift-px", "0"], "max_shift_px"),
    ],
)
def test_wrong_calls(run, tmp_path, monkeypatch, stack: Micrograph, words, said):
    monkeypatch.chdir(tmp_path)
    write(stack, tmp_path / "series.tif")
    result = run("align", "series.tif", *words)
    assert result.status == 2
    assert said in result.err
    assert result.err.count("\n") == 1
    assert sorted(path.name for path in tmp_path.iterdir()) == ["series.tif"]


def test_one_frame_is_no_series(run, tmp_path, noisy_tif: Path):
    result = run("align", noisy_tif, "-o", tmp_path / "out.tif")
    assert result.status == 2
    assert "at least two frames" in result.err

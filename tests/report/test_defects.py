"""A comparison tells what becomes of planted defects, where their truth lies beside the image."""

import json
from pathlib import Path

import numpy as np
import pytest
from scipy.ndimage import gaussian_filter

from everhart.cli import main
from everhart.io import read
from everhart.report import compare
from everhart.report.defects import PlantedDefects, planted_beside

KEYS = {"defects_kept_percent", "defects_found_percent", "invented_per_mpx"}


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("planted") / "made"
    words = ["simulate", "lines", "-o", str(folder), "--seed", "4", "--size", "320x384"]
    assert main([*words, "--frames", "1,64", "--defects", "bridge,break,particle,dent"]) == 0
    return folder


@pytest.fixture(scope="module")
def planted(made: Path) -> PlantedDefects:
    path = made / "lines_0000_F001.tif"
    found = planted_beside(path, np.asarray(read(path).pixels, np.float32))
    assert found is not None
    return found


def test_truth_with_and_without_defects_differs_by_them_alone(planted: PlantedDefects) -> None:
    change = np.abs(planted.clean - planted.defect_free)
    assert len(planted.boxes) == 4
    assert 0.001 < (change > 2).mean() < 0.05
    for y, x, _, _ in planted.boxes:
        assert change[round(y) - 4 : round(y) + 5, round(x) - 4 : round(x) + 5].max() > 20


def test_the_truth_keeps_and_finds_all(planted: PlantedDefects) -> None:
    assert planted.figures(planted.clean) == pytest.approx(
        {"defects_kept_percent": 100, "defects_found_percent": 100, "invented_per_mpx": 0}
    )


def test_an_eraser_keeps_nothing(planted: PlantedDefects) -> None:
    rng = np.random.default_rng(0)
    noise = rng.normal(0, 2, planted.clean.shape).astype(np.float32)
    figures = planted.figures(planted.defect_free + noise)
    assert figures["defects_kept_percent"] == pytest.approx(0, abs=1)
    assert figures["defects_found_percent"] <= 25
    assert figures["invented_per_mpx"] == 0


def test_a_hallucinator_is_seen(planted: PlantedDefects) -> None:
    invented = planted.clean.copy()
    spots = np.zeros_like(invented)
    rng = np.random.default_rng(1)
    spots[rng.integers(20, 300, 30), rng.integers(20, 360, 30)] = 1
    invented += 60 * 2 * np.pi * 4 * gaussian_filter(spots, 2.0)
    figures = planted.figures(invented)
    # 30 in 0.12 megapixels, less those that meet.
    assert 120 < figures["invented_per_mpx"] < 300
    assert figures["defects_kept_percent"] == pytest.approx(100, abs=25)


def test_a_comparison_of_files_has_the_figures(made: Path) -> None:
    one, many = (
        compare(made / f"lines_0000_F{n:03d}.tif", ["gaussian"]).images[0] for n in (1, 64)
    )
    for image in (one, many):
        for result in image.results:
            assert set(result.figures) >= KEYS
    raw = one.noisy.figures
    assert raw["defects_kept_percent"] == pytest.approx(100, abs=8)
    assert raw["invented_per_mpx"] <= 10
    assert many.noisy.figures["defects_found_percent"] == 100
    assert one.methods[0].figures["defects_kept_percent"] < 97


def test_without_truth_there_are_no_such_figures(made: Path, tmp_path: Path) -> None:
    source = made / "lines_0000_F001.tif"
    pixels = np.asarray(read(source).pixels, np.float32)
    assert planted_beside(pixels, pixels) is None
    assert planted_beside(made / "lines_0000_clean.tif", pixels) is None
    lonely = tmp_path / source.name
    lonely.write_bytes(source.read_bytes())
    assert planted_beside(lonely, pixels) is None
    # The truth of something else, or out of the folder, is no truth of this image.
    truth = json.loads((made / "lines_0000_truth.json").read_text(encoding="utf-8"))
    beside = tmp_path / "lines_0000_truth.json"
    for change in (
        {"images": {}},
        {"clean": "../made/lines_0000_clean.tif"},
        {"defect_free": None},
        {"files": []},
    ):
        beside.write_text(json.dumps({**truth, **change}), encoding="utf-8")
        assert planted_beside(lonely, pixels) is None
    beside.write_text("[1, 2", encoding="utf-8")
    assert planted_beside(lonely, pixels) is None
    assert planted_beside(source, pixels[1:]) is None

"""Studies run from the command line, at the smallest scale."""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from typer.testing import CliRunner

from everhart.cli.app import app
from everhart.measure import failure_rate
from everhart.simulate import simulate
from everhart.studies.catalogue import find_study
from everhart.studies.hough import hough_circles
from everhart.studies.runner import run_study, training_config
from everhart.studies.study import SCALES, Row, Study
from everhart.studies.wafer import Wafer, wafer_microscope

SMALLEST = replace(
    SCALES["smoke"],
    unet={
        "network": {"kind": "unet", "widths": [4, 8]},
        "crop_px": 32,
        "optimiser": {"steps": 3, "batch_size": 1, "threads": 1},
    },
)


def _study(*rows: Row) -> Study:
    return Study("small", "a small study", rows)


def test_a_study_trains_once_and_goes_on(tmp_path: Path) -> None:
    recipe = {"recipe": "n2n"}
    first = _study(Row("noisy", "noisy"), Row("n2n", "N2N", recipe=recipe))
    record = run_study(first, SMALLEST, tmp_path, seeds=1, progress=lambda _: None)
    assert [cell["row"] for cell in record["figures"]] == ["noisy", "n2n"]
    noisy, trained = (cell["figures"]["normal"] for cell in record["figures"])
    assert noisy["psnr_db"] == pytest.approx(15.1, abs=0.8)
    assert trained["psnr_db"] != noisy["psnr_db"]
    assert record["figures"][1]["training_cpu_s"] > 0
    models = sorted((tmp_path / "models").glob("*/model.safetensors"))
    assert len(models) == 1
    # Another study with the same row takes the model, and what its training cost.
    stamp = models[0].stat().st_mtime_ns
    second = replace(first, name="other")
    again = run_study(second, SMALLEST, tmp_path, seeds=1, progress=lambda _: None)
    assert models[0].stat().st_mtime_ns == stamp
    assert again["figures"][1]["training_cpu_s"] == record["figures"][1]["training_cpu_s"]
    for key in ("psnr_db", "affine_psnr_db", "ssim", "failure_percent", "hough_failure_percent"):
        assert again["figures"][1]["figures"]["normal"][key] == trained[key]
    # What is done is not done again, and said as it was.
    said: list[str] = []
    assert run_study(first, SMALLEST, tmp_path, seeds=1, progress=said.append) == record
    assert said == []
    assert "| N2N | 0 |" in (tmp_path / "small" / "table.md").read_text(encoding="utf-8")


def test_a_memorising_row_sees_a_few_fixed_crops(tmp_path: Path) -> None:
    study = find_study("renin-recipe")
    assert isinstance(study, Study)
    rows = {row.key: row for row in study.rows}
    wafer = Wafer(tmp_path)
    fresh = training_config(rows["renin"], SCALES["cpu"], wafer, 0)["data"][0]
    fixed = training_config(rows["renin-fixed"], SCALES["cpu"], wafer, 0)["data"][0]
    flipped = training_config(rows["flips-fixed"], SCALES["cpu"], wafer, 0)["data"][0]
    assert "fixed_crops" not in fresh
    assert (fixed["fixed_crops"], fixed["flips"]) == (24, False)
    assert (flipped["fixed_crops"], flipped["flips"]) == (24, True)


def test_the_second_judge_finds_what_is_clean_and_misses_what_is_noisy() -> None:
    rng = np.random.default_rng(3)
    scene = simulate("nand", shape=(768, 1152), rng=rng, kind="normal")
    noisy, clean = wafer_microscope().expose(scene, rng, 1, return_clean=True)
    truth = scene.truth.tables["holes"]

    def judged(pixels: Any) -> tuple[float, int]:
        found = failure_rate(hough_circles(np.asarray(pixels), truth["diameter_px"]), truth)
        return found.failure_rate, found.false_detections

    assert judged(clean) == (0.0, 0)
    missed, false = judged(noisy)
    assert missed > 0.5
    assert false > 50
    assert len(hough_circles(np.zeros((64, 64)), pd.Series([20.0]))) == 0


@pytest.mark.slow
@pytest.mark.parametrize("name", ["renin-table2", "renin-table4"])
def test_a_table_of_the_paper_comes_from_the_command_line(name: str, tmp_path: Path) -> None:
    done = CliRunner().invoke(
        app, ["study", "run", name, "--scale", "smoke", "-o", str(tmp_path / "out"), "--seeds", "1"]
    )
    assert done.exit_code == 0, done.output
    study = find_study(name)
    assert isinstance(study, Study)
    results = json.loads((tmp_path / "out" / name / "results.json").read_text(encoding="utf-8"))
    assert {cell["row"] for cell in results["figures"]} == {row.key for row in study.rows}
    table = (tmp_path / "out" / name / "table.md").read_text(encoding="utf-8")
    assert all(f"| {row.title} |" in table for row in study.rows)
    if study.pictures:
        assert len(list((tmp_path / "out" / name / "pictures").glob("*.png"))) == 3

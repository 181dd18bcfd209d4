"""The study `defects` at its smallest."""

import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from typer.testing import CliRunner

from everhart.cli.app import app
from everhart.restore.names import CLASSICAL, SHIPPED
from everhart.studies import defects
from everhart.studies.catalogue import find_study
from everhart.studies.planting import inspection_microscope, make_specimen
from everhart.studies.study import SCALES


@pytest.fixture
def small(monkeypatch: pytest.MonkeyPatch) -> None:
    methods = {method.name: method for method in defects.METHODS}
    kept = tuple(methods[name] for name in ("raw", "gaussian", "4 frames"))
    monkeypatch.setattr(defects, "METHODS", kept)
    monkeypatch.setattr(defects, "SCENES", ("lines",))


def test_every_method_is_in_it() -> None:
    names = {method.denoiser for method in defects.METHODS}
    assert names == {None, *CLASSICAL, *SHIPPED}
    assert defects.METHODS[0].name == defects.RAW


def test_defects_are_where_and_what_the_table_says() -> None:
    rng = np.random.default_rng(2)
    kinds = {2.0: (0.1, 0.4), 4.0: (0.1, 0.3)}
    specimen = make_specimen("nand", (256, 256), rng, placements=3, kinds=kinds)
    trial = specimen.trial
    assert len(trial.defects) == 48
    counts = trial.defects.groupby(["radius_px", "contrast"]).size()
    assert set(counts) == {12}
    levels = inspection_microscope().converter.contrast
    for row in trial.defects.itertuples():
        y, x = round(row.y_px), round(row.x_px)
        change = trial.marked[row.image] - trial.pattern
        # Blurred by beam and detector, a lump of 4 px still has its contrast in its middle.
        assert change[y, x] / (levels * row.contrast) == pytest.approx(
            0.9 if row.radius_px == 4 else 0.8, abs=0.2
        )
        assert np.abs(change[y - 15 : y + 16, x - 15]).max() == pytest.approx(0, abs=1e-3)
    images, blanks = specimen.expose(rng, 4)
    assert len(images) == len(blanks) == 3
    assert float(np.mean(np.stack(blanks) - trial.pattern)) == pytest.approx(0, abs=0.1)
    assert images[0].max() < 255


@pytest.mark.usefixtures("small")
def test_the_study_runs_goes_on_and_says_what_is_true(tmp_path: Path) -> None:
    study = find_study("defects")
    said: list[str] = []
    record = study.run(SCALES["smoke"], tmp_path, seeds=1, progress=said.append)
    assert len(said) == 4
    folder = tmp_path / "defects"
    assert json.loads((folder / "results.json").read_text(encoding="utf-8")) == record
    assert (folder / "curve.png").read_bytes()[:4] == b"\x89PNG"
    rates = pd.DataFrame(record["rates"]).groupby(["observer", "method"])["rate"].mean()
    for observer in ("pixel", "window", "matched"):
        assert rates[observer, "4 frames"] > rates[observer, "raw"] + 0.05
    kept = pd.DataFrame(record["kept"]).groupby(["method", "radius_px"])["kept"].last()
    assert kept["raw", 4.0] == pytest.approx(1, abs=0.12)
    assert kept["gaussian", 1.0] < 0.8
    needed = pd.DataFrame(record["contrast_for_90_percent"])
    assert set(needed["method"]) == {"raw", "gaussian", "4 frames"}
    table = (folder / "table.md").read_text(encoding="utf-8")
    assert table.count("| 4 frames |") == 6
    # A second run computes nothing; a lost cell is computed again, and is what it was.
    said.clear()
    cell = folder / "cells" / "gaussian_lines_0.json"
    before = cell.read_text(encoding="utf-8")
    assert study.run(SCALES["smoke"], tmp_path, seeds=1, progress=said.append) == record
    assert said == []
    cell.unlink()
    study.run(SCALES["smoke"], tmp_path, seeds=1, progress=said.append)
    assert cell.read_text(encoding="utf-8") == before


@pytest.mark.slow
def test_the_whole_study_comes_from_the_command_line(tmp_path: Path) -> None:
    words = ["study", "run", "defects", "--scale", "smoke", "-o", str(tmp_path / "out")]
    done = CliRunner().invoke(app, words)
    assert done.exit_code == 0, done.output
    assert all(f"| {method.name} |" in done.output for method in defects.METHODS)

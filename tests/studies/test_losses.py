"""The studies of losses: their data, their judges, their tables, and both at the smallest scale."""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from typer.testing import CliRunner

from everhart.cli.app import app
from everhart.errors import UsageError
from everhart.io import read
from everhart.metrics import psnr
from everhart.restore.config import DenoiserConfig
from everhart.studies.catalogue import find_study
from everhart.studies.losses import LOSS_STUDIES, LossStudy, training_config
from everhart.studies.losses_data import (
    WaferPairs,
    strong_noise_microscope,
    tin_balls,
    wafer_pairs,
)
from everhart.studies.losses_table import markdown, summary
from everhart.studies.study import SCALES, Ordering, Row


@pytest.fixture(scope="module")
def wafers(tmp_path_factory: pytest.TempPathFactory) -> WaferPairs:
    root = tmp_path_factory.mktemp("data") / "seed_3"
    return wafer_pairs(root, 3, pairs=4, side_px=96, test_px=192, placements=5)


def test_wafer_pairs_share_a_pattern_and_have_strong_noise(wafers: WaferPairs) -> None:
    names = sorted(file.name for file in (wafers.folder / "noisy").iterdir())
    assert names == ["0000.tif", "0001.tif", "0002.tif", "0003.tif"]
    for name in names:
        noisy, clean = (read(wafers.folder / part / name).pixels for part in ("noisy", "clean"))
        assert (noisy.dtype, clean.dtype) == (np.uint8, np.float32)
        assert 15 < psnr(noisy.astype(float), clean, data_range=255) < 20
        # Nothing but noise separates them: no shift, and no offset.
        assert float(noisy.mean() - clean.mean()) == pytest.approx(0, abs=1.5)
    # Black to white is 120 levels, and noise and lumps find room above.
    assert strong_noise_microscope().converter.contrast == 120


def test_wafer_pairs_are_made_once(wafers: WaferPairs) -> None:
    file = wafers.folder / "noisy" / "0000.tif"
    before = file.stat().st_mtime_ns
    again = wafer_pairs(wafers.root, 3, pairs=4, side_px=96, test_px=192, placements=5)
    assert file.stat().st_mtime_ns == before
    specimens = zip(wafers.specimens.values(), again.specimens.values(), strict=True)
    assert all(np.array_equal(a.trial.marked, b.trial.marked) for a, b in specimens)


def test_the_judge_knows_what_is_kept_and_what_is_lost(wafers: WaferPairs) -> None:
    def truth(image: Any) -> Any:
        """Return the noise-free image, which only a test can."""
        candidates = [
            p for s in wafers.specimens.values() for p in (*s.trial.marked, s.trial.pattern)
        ]
        return min(candidates, key=lambda c: float(((c - image) ** 2).mean()))

    noisy = wafers.judge(lambda image: image)
    perfect = wafers.judge(truth)
    blind = wafers.judge(lambda image: np.full_like(image, image.mean()))
    assert set(noisy) == {"lines", "nand"}
    for scene in noisy:
        assert noisy[scene]["kept_large_percent"] == pytest.approx(100, abs=15)
        assert perfect[scene]["kept_small_percent"] == pytest.approx(100, abs=0.1)
        assert perfect[scene]["kept_large_percent"] == pytest.approx(100, abs=0.1)
        assert perfect[scene]["found_percent"] == 100
        assert blind[scene]["kept_large_percent"] == pytest.approx(0, abs=5)
        assert blind[scene]["ssim"] < perfect[scene]["ssim"]
        assert perfect[scene]["edge_merit"] == 1
        assert noisy[scene]["psnr_db"] < 20
    # The noise is the same for all that are judged.
    assert wafers.judge(lambda image: image) == noisy


def test_tin_balls_need_their_data(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("EVERHART_DATA", str(tmp_path))
    with pytest.raises(UsageError, match="EVERHART_DATA"):
        tin_balls(tmp_path / "pairs", training_pairs=2, test_pairs=2)


def test_tin_balls_are_registered_and_judged(
    shared_data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("EVERHART_DATA", str(shared_data))
    bench = tin_balls(tmp_path / "pairs", training_pairs=1, test_pairs=2)
    assert [f.name for f in (bench.folder / "noisy").iterdir()] == ["time005.tif"]
    figures = bench.judge(lambda image: image)
    assert list(figures) == ["line006", "line011"]
    for found in figures.values():
        assert 20 < found["psnr_db"] < found["affine_psnr_db"] < 26
    calm = bench.judge(lambda image: _blurred(image))
    assert all(calm[k]["ssim"] > figures[k]["ssim"] + 0.1 for k in figures)


def _blurred(image: Any) -> Any:
    from scipy.ndimage import gaussian_filter

    return gaussian_filter(image, 1.5)


@pytest.mark.parametrize("study", LOSS_STUDIES, ids=lambda study: study.name)
@pytest.mark.parametrize("scale", SCALES)
def test_only_loss_or_network_differ_between_rows(study: LossStudy, scale: str) -> None:
    configs = {
        row.key: training_config(row, SCALES[scale], Path("data"), 2)
        for row in study.rows
        if row.recipe is not None
    }
    for config in configs.values():
        DenoiserConfig.model_validate(config)
    plain = configs["charbonnier"]
    for key, config in configs.items():
        differing = {name for name in config if config[name] != plain[name]}
        dropped = key in ("residual", "deeper", "edge-map")
        assert differing <= ({"loss", "network"} if dropped else {"loss"})
    keys = [row.key for row in study.rows]
    assert {k for o in study.orderings for k in (o.better, o.worse)} <= set(keys)
    # The scale's own settings are left as they were.
    assert len(SCALES[scale].unet["network"]["widths"]) == len(plain["network"]["widths"])


def test_the_dropped_ideas_are_what_they_say() -> None:
    rows = {row.key: row for row in LOSS_STUDIES[1].rows}
    networks = {
        key: training_config(rows[key], SCALES["cpu"], Path("data"), 0)["network"]
        for key in ("all", "residual", "deeper", "edge-map")
    }
    assert networks["all"]["widths"] == [24, 48, 96]
    assert networks["deeper"] == {**networks["all"], "widths": [24, 48, 96, 192]}
    assert networks["residual"] == {**networks["all"], "output": "residual"}
    assert networks["edge-map"] == {**networks["all"], "edge_plane": True}


def _cell(row: str, seed: int, db: float) -> dict[str, Any]:
    images = {"a": {"psnr_db": db - 1, "ssim": 0.8}, "b": {"psnr_db": db + 1, "ssim": 0.9}}
    return {
        "row": row,
        "seed": seed,
        "training_cpu_s": 3.0 if row != "raw" else 0,
        "figures": images,
    }


def test_a_claim_needs_more_than_the_spread() -> None:
    cells = [
        *(_cell("raw", seed, 20) for seed in range(3)),
        *(_cell("a", seed, db) for seed, db in enumerate((30, 31, 32))),
        *(_cell("b", seed, db) for seed, db in enumerate((30.5, 30, 32))),
    ]
    table = summary(cells)
    assert isinstance(table, pd.DataFrame)
    assert table.groupby("row")["psnr_db"].mean().to_dict() == pytest.approx(
        {"raw": 20, "a": 31, "b": 30.8333}, abs=1e-3
    )
    study = replace(
        LOSS_STUDIES[0],
        rows=[Row("raw", "Raw"), Row("a", "A", recipe={}, paper={"PSNR": 3}), Row("b", "B")],
        orderings=[
            Ordering("a", "raw", "psnr_db", paper=3.3),
            Ordering("a", "b", "psnr_db"),
            Ordering("b", "a", "psnr_db", within=0.2),
        ],
        columns=("psnr_db", "ssim"),
    )
    text = markdown(study, {"scale": "cpu", "figures": cells})
    assert "| Raw | 20.00 +- 0.00 | 0.850 +- 0.000 | - | - |" in text
    assert "| A | 31.00 +- 1.00 | 0.850 +- 0.000 | 3 | PSNR 3 |" in text
    assert "| A beats Raw, PSNR (dB) | +3.3 | +11.00 +- 1.00 | yes |" in text
    assert "| +0.17 +- 0.76 | **no**: no difference beyond the spread |" in text
    assert "| B is within 0.2 of A, PSNR (dB) | - | -0.17 +- 0.76 | yes |" in text
    # One seed has no spread to judge by.
    first = markdown(study, {"scale": "cpu", "figures": [c for c in cells if c["seed"] == 0]})
    assert "| A beats Raw, PSNR (dB) | +3.3 | +10.00 | open: one seed |" in first


@pytest.mark.slow
@pytest.mark.parametrize("name", [study.name for study in LOSS_STUDIES])
def test_a_study_comes_from_the_command_line(
    name: str, shared_data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("EVERHART_DATA", str(shared_data))
    arguments = ["study", "run", name, "--scale", "smoke", "-o", str(tmp_path / "out")]
    done = CliRunner().invoke(app, arguments)
    assert done.exit_code == 0, done.output
    study = find_study(name)
    assert isinstance(study, LossStudy)
    results = json.loads((tmp_path / "out" / name / "results.json").read_text(encoding="utf-8"))
    assert {cell["row"] for cell in results["figures"]} == {row.key for row in study.rows}
    assert all(cell["training_cpu_s"] > 0 for cell in results["figures"] if cell["row"] != "noisy")
    table = (tmp_path / "out" / name / "table.md").read_text(encoding="utf-8")
    assert all(f"| {row.title} |" in table for row in study.rows)
    # Called again it computes nothing, and says the same.
    again = CliRunner().invoke(app, arguments)
    assert "seed 0" not in again.output
    assert again.stdout == done.stdout

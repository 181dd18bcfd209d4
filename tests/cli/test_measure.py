"""`everhart measure`: tables, summaries, overlays, and what goes wrong."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from PIL import Image

import everhart as eh
from everhart.io import read, write
from everhart.micrograph import Micrograph
from everhart.operations import OPERATIONS


@pytest.fixture(scope="module")
def wafer() -> Micrograph:
    y, x = np.mgrid[:150, :200]
    grey = np.full(y.shape, 0.8)
    for i in range(2):
        for j in range(3):
            away = np.hypot(y - 42.3 - 62 * i, x - 40.6 - 60 * j)
            grey = np.minimum(grey, 0.2 + 0.6 / (1 + np.exp(16 - away)))
    rng = np.random.default_rng(0)
    pixels = np.clip(np.rint(200 * grey + rng.normal(0, 8, y.shape)), 0, 255).astype(np.uint8)
    return Micrograph(pixels, pixel_size_nm=1.5)


@pytest.fixture
def tif(tmp_path: Path, wafer: Micrograph) -> Path:
    return write(wafer, tmp_path / "wafer.tif")


def test_one_image(run, tif, wafer, tmp_path):
    table, summary, picture = (tmp_path / n for n in ("t.csv", "s.json", "o.png"))
    result = run("measure", "holes", tif, "-o", table, "--json", summary, "--overlay", picture)
    assert result.status == 0, result.err
    assert "6 rows of holes" in result.err
    rows = pd.read_csv(table)
    assert list(rows.columns[:4]) == ["file", "hole", "x_px", "y_px"]
    assert set(rows.file) == {"wafer.tif"}
    found = eh.measure.holes(read(tif))  # the same numbers as in Python
    pd.testing.assert_frame_equal(rows.drop(columns="file"), found.table, rtol=1e-8)
    written = json.loads(summary.read_text())
    (entry,) = written["images"]
    assert entry["summary"]["count"] == 6
    assert entry["summary"]["pitch_a_nm"] == pytest.approx(90, abs=0.5)
    assert len(entry["sha256"]) == 64
    assert entry["pixel_size_nm"] == [1.5, 1.5]
    assert entry["pixel_size_source"]
    assert written["parameters"]["unit"] == "nm"
    assert written["version"]
    drawn = np.asarray(Image.open(picture))
    assert drawn.shape == (*wafer.shape, 3)
    assert (drawn[..., 0] != drawn[..., 2]).sum() > 300  # coloured outlines on a grey image
    lattice = pd.read_csv(tmp_path / "t_lattice.csv")
    assert list(lattice.columns[:2]) == ["file", "hole"]
    assert len(lattice) == 6


def test_operation_gives_the_same(wafer):
    outcome = OPERATIONS["measure-holes"](wafer)
    pd.testing.assert_frame_equal(outcome.measurements[0].table, eh.measure.holes(wafer).table)
    json.dumps(outcome.results[0])
    stack = Micrograph(np.stack([wafer.pixels, wafer.pixels]), pixel_size_nm=1.5)
    with pytest.raises(eh.UsageError, match="stack of 2 frames"):
        OPERATIONS["measure-holes"](stack)


def test_a_batch_goes_on_after_a_failure(run, tif, wafer, tmp_path):
    flat = write(
        Micrograph(np.full((80, 90), 9, np.uint8), pixel_size_nm=1.0), tmp_path / "flat.tif"
    )
    bar = np.concatenate([wafer.pixels, np.zeros((20, 200), np.uint8)])
    barred = write(Micrograph(bar, pixel_size_nm=1.5, data_bar_rows=20), tmp_path / "barred.tif")
    result = run(
        "measure", "holes", flat, tif, barred, "-o", tmp_path / "t.csv", "--overlay",
        tmp_path / "drawn", "--json", tmp_path / "s.json",
    )  # fmt: skip
    assert result.status == 1
    assert "flat.tif: No hole was found" in result.err
    rows = pd.read_csv(tmp_path / "t.csv")
    assert rows.file.value_counts().to_dict() == {"wafer.tif": 6, "barred.tif": 6}
    first, second = (rows[rows.file == n].cd_nm.to_numpy() for n in ("wafer.tif", "barred.tif"))
    np.testing.assert_allclose(first, second)
    assert sorted(p.name for p in (tmp_path / "drawn").iterdir()) == ["barred.png", "wafer.png"]
    entries = json.loads((tmp_path / "s.json").read_text())["images"]
    assert "error" in entries[0]
    assert entries[2]["data_bar_rows"] == 20


def test_an_image_that_fails_alone_is_in_the_summary(run, tmp_path):
    pixels = np.full((80, 90), 9, np.uint8)
    flat = write(Micrograph(pixels, pixel_size_nm=1.0), tmp_path / "flat.tif")
    result = run("measure", "holes", flat, "-o", tmp_path / "t.csv", "--json", tmp_path / "s.json")
    assert result.status == 1
    written = json.loads((tmp_path / "s.json").read_text())
    assert written["output"] is None
    assert "No hole was found" in written["images"][0]["error"]
    assert not (tmp_path / "t.csv").exists()


def test_further_tables_are_not_replaced_and_nothing_is_half_written(run, tif, tmp_path):
    (tmp_path / "t_lattice.csv").write_text("mine")
    picture = tmp_path / "o.png"
    result = run("measure", "holes", tif, "-o", tmp_path / "t.csv", "--overlay", picture)
    assert result.status == 2
    assert "t_lattice.csv exists" in result.err
    assert not picture.exists()
    assert not (tmp_path / "t.csv").exists()
    assert (tmp_path / "t_lattice.csv").read_text() == "mine"


def test_a_denoised_image_is_warned_of(run, wafer, tmp_path):
    denoised = write(eh.denoise(wafer, method="median"), tmp_path / "denoised.tif")
    table, summary = tmp_path / "t.csv", tmp_path / "s.json"
    result = run("measure", "holes", denoised, "-o", table, "--json", summary)
    assert result.status == 0
    assert "warning: The image was denoised by median" in result.err
    rows = pd.read_csv(table)
    assert rows.cd_nm.notna().all()
    assert rows.cd_sd_nm.isna().all()
    (entry,) = json.loads(summary.read_text())["images"]
    assert entry["summary"]["mean_cd_sd_nm"] is None
    assert entry["plot"] is None


def test_pixel_sizes(run, wafer, tmp_path):
    bare = tmp_path / "bare.png"
    Image.fromarray(wafer.pixels).save(bare)
    refused = run("measure", "holes", bare, "-o", tmp_path / "t.csv")
    assert refused.status == 2
    assert "--pixel-size-nm" in refused.err
    assert not (tmp_path / "t.csv").exists()
    assert run("measure", "holes", bare, "-o", tmp_path / "p.csv", "--unit", "px").status == 0
    given = run(
        "measure", "holes", bare, "-o", tmp_path / "n.csv", "--pixel-size-nm", 3, "--json",
        tmp_path / "n.json",
    )  # fmt: skip
    assert given.status == 0
    in_px, in_nm = pd.read_csv(tmp_path / "p.csv"), pd.read_csv(tmp_path / "n.csv")
    np.testing.assert_allclose(3 * in_px.cd_px, in_nm.cd_nm, rtol=1e-6)
    entry = json.loads((tmp_path / "n.json").read_text())["images"][0]
    assert entry["pixel_size_source"] == "given"


def test_options_of_the_kind(run, tif, tmp_path):
    words = ("measure", "holes", tif, "-o")
    plain, moved = tmp_path / "a.csv", tmp_path / "b.csv"
    assert run(*words, plain).status == 0
    assert run(*words, moved, "--detector-taps", "0.5,0.5", "--radius-px", "10,30").status == 0
    np.testing.assert_allclose(pd.read_csv(plain).x_px - 0.5, pd.read_csv(moved).x_px, atol=1e-3)


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["holes"], "Missing"),
        (["hloes", "x"], "hloes"),
        (["holes", "{tif}", "-o", "t.txt"], ".csv"),
        (["holes", "{tif}", "-o", "t.csv", "--radius-px", "ten"], "numbers with commas"),
        (["holes", "{tif}", "-o", "t.csv", "--overlay", "o.bmp"], ".png"),
        (["holes", "{tif}", "-o", "t.csv", "--reference", "{tif}"], "without one"),
        (["holes", "{tif}", "-o", "t.csv", "--polarity", "drak"], "drak"),
    ],
)
def test_wrong_calls(run, tif, tmp_path, monkeypatch, words, said):
    monkeypatch.chdir(tmp_path)
    result = run("measure", *[w.format(tif=tif) for w in words])
    assert result.status == 2
    assert said in result.err
    assert len(result.err.strip().splitlines()) == 1


def test_outputs_are_not_replaced(run, tif, tmp_path):
    table = tmp_path / "t.csv"
    assert run("measure", "holes", tif, "-o", table).status == 0
    before = table.read_bytes()
    again = run("measure", "holes", tif, "-o", table)
    assert again.status == 2
    assert "2 outputs exist" in again.err
    assert run("measure", "holes", tif, "-o", table, "--overwrite").status == 0
    assert table.read_bytes() == before


def test_the_sizes_of_particles_are_drawn(run, tmp_path):
    y, x = np.mgrid[:120, :160]
    grey = np.full(y.shape, 40.0)
    for cy, cx, radius in ((30, 35, 12), (34, 100, 17), (85, 50, 15), (84, 120, 20)):
        grey += 120 / (1 + np.exp(2 * (np.hypot(y - cy, x - cx) - radius)))
    noisy = np.clip(np.rint(grey + np.random.default_rng(0).normal(0, 4, y.shape)), 0, 255)
    balls = write(Micrograph(noisy.astype(np.uint8), pixel_size_nm=2.0), tmp_path / "balls.tif")
    words = ["measure", "particles", balls, "-o", tmp_path / "t.csv", "--plot"]
    result = run(*words, tmp_path / "sizes.png")
    assert result.status == 0, result.err
    drawn = np.asarray(Image.open(tmp_path / "sizes.png").convert("L"))
    assert drawn.shape == (480, 720)
    assert 0.02 < (drawn < 200).mean() < 0.6
    assert run(*words, tmp_path / "sizes.jpg", "--overwrite").status == 2
    several = run(
        "measure", "particles", balls, write(Micrograph(noisy.astype(np.uint8), 2.0),
        tmp_path / "more.tif"), "-o", tmp_path / "both.csv", "--plot", tmp_path / "drawn",
    )  # fmt: skip
    assert several.status == 0, several.err
    assert {p.name for p in (tmp_path / "drawn").iterdir()} == {"balls.png", "more.png"}


def test_kinds_without_a_figure_refuse_a_plot(run, tif, tmp_path):
    result = run("measure", "holes", tif, "-o", tmp_path / "t.csv", "--plot", tmp_path / "p.png")
    assert result.status == 2
    assert "holes have no figure" in result.err
    assert "--plot" not in run("measure", "holes", "--help").out

"""`everhart compare` on data sets: real calls, a killed process, and the run repeated."""

from __future__ import annotations

import csv
import json
import os
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

from everhart.io import read, write

METHODS = ("--methods", "median,gaussian", "--alignment", "none")
COSTS = ("seconds", "cpu_seconds", "peak_memory_mb")


@pytest.fixture
def pairs(tmp_path: Path, rng: np.random.Generator) -> Path:
    """Four pairs of a moving square: noisy/sN/F01_000.tif and clean/sN/F64.png."""
    for index in range(4):
        clean = np.full((40, 48), 60.0)
        clean[10 : 26 + index, 8 + index : 30] = 170
        noisy = np.clip(np.rint(rng.normal(clean, 8 + 4 * index)), 0, 255)
        for sub in ("noisy", "clean"):
            (tmp_path / sub / f"s{index}").mkdir(parents=True)
        write(noisy.astype(np.uint8), tmp_path / "noisy" / f"s{index}" / "F01_000.tif")
        write(clean.astype(np.uint8), tmp_path / "clean" / f"s{index}" / "F64.png")
    return tmp_path


def words(pairs: Path, report: str = "r.html", methods=METHODS) -> tuple[object, ...]:
    given = ("compare", pairs / "noisy", "--reference", pairs / "clean", *methods)
    return (*given, "--report", pairs / report)


def table(path: Path) -> list[dict[str, str]]:
    """The CSV without what depends on how busy the machine is."""
    rows = list(csv.DictReader(path.read_text(encoding="utf-8").splitlines()))
    return [{k: v for k, v in row.items() if k not in COSTS} for row in rows]


def test_a_folder_of_pairs(run, pairs):
    result = run(*words(pairs))
    assert result.status == 0
    assert result.out.splitlines()[0] == "mean over 4 images"
    assert "95 % interval" in result.out
    beside = sorted(path.name for path in pairs.glob("r.*"))
    assert beside == ["r.cells", "r.csv", "r.html", "r.json", "r.yaml"]
    assert "everhart compare" in (pairs / "r.html").read_text(encoding="utf-8")
    assert len(table(pairs / "r.csv")) == 4 * 3
    record = json.loads((pairs / "r.json").read_text(encoding="utf-8"))
    assert [image["reference"] for image in record["images"]] == ["F64.png"] * 4
    from everhart.report import compare_dataset

    same = compare_dataset(
        pairs / "noisy", ["median", "gaussian"], reference=pairs / "clean", alignment="none"
    )
    assert record["verdict"] == same.verdict
    assert record["images"][2]["methods"][1]["ssim"] == same.images[2].figures["median"]["ssim"]


def test_a_run_before_is_not_touched_unasked(run, pairs):
    assert run(*words(pairs)).status == 0
    before = {path: path.read_bytes() for path in pairs.rglob("r.*") if path.is_file()}
    again = run(*words(pairs))
    assert again.status == 2
    assert "--resume" in again.err
    assert {path: path.read_bytes() for path in before} == before
    assert run(*words(pairs), "--overwrite").status == 0
    # An HTML of somebody else, without cells beside it, is not ours to replace by --resume.
    (pairs / "other.html").write_text("precious", encoding="utf-8")
    assert run(*words(pairs, "other.html"), "--resume").status == 2
    assert (pairs / "other.html").read_text(encoding="utf-8") == "precious"


def test_the_settings_repeat_the_run(run, pairs, monkeypatch):
    assert run(*words(pairs), "--tie-margin", "0.5", "--judge-by", "ssim").status == 0
    monkeypatch.chdir(pairs.parent)
    config = f"{pairs.name}/r.yaml"
    assert run("compare", "--config", config, "--report", pairs / "again.html").status == 0
    assert table(pairs / "again.csv") == table(pairs / "r.csv")
    one, other = (json.loads((pairs / f"{n}.json").read_text("utf-8")) for n in ("r", "again"))
    for key in ("judged_by", "tie_margin", "wins", "worst_first", "settings"):
        assert one[key] == other[key]
    assert (one["judged_by"], one["tie_margin"]) == ("ssim", 0.5)
    # In place only if asked for, and nothing that the settings say already.
    assert run("compare", "--config", config).status == 2
    assert run("compare", "--config", config, "--resume").status == 0
    refused = run("compare", "--config", config, "--methods", "nlm", "--overwrite")
    assert refused.status == 2
    assert "--methods was given together with --config" in refused.err


def test_moved_as_a_whole_the_settings_still_hold(run, pairs, tmp_path_factory):
    assert run(*words(pairs)).status == 0
    moved = tmp_path_factory.mktemp("elsewhere") / "all"
    pairs.rename(moved)
    result = run("compare", "--config", moved / "r.yaml", "--report", moved / "again.html")
    assert result.status == 0
    assert table(moved / "again.csv") == table(moved / "r.csv")
    moved.rename(pairs)


def test_settings_of_another_version_or_model_are_said(run, pairs):
    assert run(*words(pairs)).status == 0
    text = (pairs / "r.yaml").read_text(encoding="utf-8")
    old = text.replace("\neverhart: ", "\neverhart: 0.0.1-").replace(
        "alignment: none", "alignment: none\nmystery: 1"
    )
    (pairs / "old.yaml").write_text(old, encoding="utf-8")
    broken = run("compare", "--config", pairs / "old.yaml")
    assert broken.status == 2
    assert "mystery" in broken.err
    (pairs / "old.yaml").write_text(old.replace("mystery: 1\n", ""), encoding="utf-8")
    result = run("compare", "--config", pairs / "old.yaml")
    assert result.status == 0
    assert "written by Everhart 0.0.1-" in result.err
    (pairs / "no.yaml").write_text("images: [", encoding="utf-8")
    assert run("compare", "--config", pairs / "no.yaml").status == 1
    assert run("compare", "--config", pairs / "missing.yaml").status == 2


def test_a_killed_process_goes_on(run, pairs):
    """End a process in the middle, for real; what comes after --resume is what would have been."""
    for index in range(4, 14):
        for sub, name in (("noisy", "F01_000.tif"), ("clean", "F64.png")):
            source = pairs / sub / f"s{index % 4}" / name
            (pairs / sub / f"s{index}").mkdir()
            write(read(source).pixels, pairs / sub / f"s{index}" / name)
    command = [sys.executable, "-m", "everhart", *map(str, words(pairs))]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    process = subprocess.Popen(command, env=environment, stderr=subprocess.DEVNULL)
    cells = pairs / "r.cells"
    deadline = time.monotonic() + 120
    while time.monotonic() < deadline and len(list(cells.glob("s*.json"))) < 8:
        time.sleep(0.01)
    process.kill()
    process.wait()
    done = {path.name: path.read_bytes() for path in cells.glob("s*.json")}
    assert 8 <= len(done) < 14 * 3
    assert not (pairs / "r.html").exists()
    assert run("compare", "--config", pairs / "r.yaml", "--resume").status == 0
    assert all((cells / name).read_bytes() == data for name, data in done.items())
    assert run(*words(pairs, "whole.html")).status == 0
    assert table(pairs / "r.csv") == table(pairs / "whole.csv")
    one, other = (json.loads((pairs / f"{n}.json").read_text("utf-8")) for n in ("r", "whole"))
    for key in ("verdict", "ranking", "differences", "wins", "worst_first", "worst_of_each"):
        assert one[key] == other[key]


def test_stopping_says_how_to_go_on(run, pairs, monkeypatch):
    from everhart.report import run as running

    def stopped(*_):
        raise KeyboardInterrupt

    monkeypatch.setattr(running, "_run", stopped)
    result = run(*words(pairs))
    assert result.status == 130
    assert "--resume goes on" in result.err


def test_one_bad_image(run, pairs):
    (pairs / "noisy" / "s1" / "F01_000.tif").write_bytes(b"no picture")
    result = run(*words(pairs), "--keep-images", pairs / "kept")
    assert result.status == 1
    assert "everhart: error: s1/F01_000.tif: " in result.err
    assert result.out.splitlines()[0] == "mean over 3 images; 1 failure is in the report"
    assert (pairs / "kept" / "gaussian" / "s3" / "F01_000.tif").is_file()


def test_many_images_are_a_data_set_by_themselves(run, pairs):
    flat = pairs / "flat"
    flat.mkdir()
    for index in range(9):
        source = pairs / "noisy" / f"s{index % 4}" / "F01_000.tif"
        write(read(source).pixels, flat / f"{index}.tif")
    given = ("compare", flat, "--methods", "median", "--report")
    assert run(*given, pairs / "many.html").status == 0
    assert (pairs / "many.csv").is_file()
    assert run(*given, pairs / "each.html", "--no-data-set").status == 0
    assert not (pairs / "each.csv").exists()
    assert "images" in json.loads((pairs / "each.json").read_text("utf-8"))
    one = ("--reference", pairs / "clean" / "s0" / "F64.png", "--alignment", "none")
    assert run(*given, pairs / "same.html", *one).status == 0
    record = json.loads((pairs / "same.json").read_text(encoding="utf-8"))
    assert {image["reference"] for image in record["images"]} == {"F64.png"}
    assert record["judged_by"] == "affine_psnr_db"


def test_references_of_a_folder_for_a_section_each(run, pairs):
    assert run(*words(pairs), "--no-data-set").status == 0
    record = json.loads((pairs / "r.json").read_text(encoding="utf-8"))
    assert [image["reference"]["name"] for image in record["images"]] == ["F64.png"] * 4


@pytest.mark.parametrize(
    ("more", "said"),
    [
        (("--no-data-set", "--resume"), "--resume is for data sets"),
        (("--fields",), "judge by the one or by the other"),
        (("--one-field",), "--fields"),
        (("--tie-margin", "-1"), "--tie-margin -1"),
        (("--judge-by", "sim"), "did you mean 'ssim'"),
        (("--worst-of", "nlm"), "one of the methods"),
        (("--pixel-size-nm", "0"), "pixel size"),
    ],
)
def test_wrong_calls(run, pairs, more, said):
    result = run(*words(pairs), *more)
    assert result.status == 2
    assert said in result.err
    assert result.err.count("\n") == 1
    assert not list(pairs.glob("r.*"))


def test_an_image_without_partner(run, pairs):
    (pairs / "clean" / "s2" / "F64.png").unlink()
    result = run(*words(pairs))
    assert result.status == 2
    assert "1 of 4 images have no reference" in result.err
    assert "s2/F01_000.tif" in result.err.replace(os.sep, "/")
    assert not list(pairs.glob("r.*"))


def test_nothing_given(run, pairs):
    assert "No input" in run("compare", "--report", pairs / "r.html").err
    assert "No report" in run("compare", pairs / "noisy" / "s0").err


@pytest.mark.slow
def test_the_real_pairs(run, shared_data, tmp_path):
    """Tin balls by dwell time: by 10 pairs a denoiser must beat the image as it was taken."""
    folder = shared_data / "sem-pairs"
    result = run(
        "compare", folder / "line0[0-2]*_noisy.png", "--reference", folder,
        "--methods", "median,nlm", "--report", tmp_path / "r.html",
    )  # fmt: skip
    assert result.status == 0
    record = json.loads((tmp_path / "r.json").read_text(encoding="utf-8"))
    n = len(record["images"])
    assert n >= 5
    assert record["wins"]["nlm"]["noisy"] == n
    assert record["wins"]["noisy"]["nlm"] == 0

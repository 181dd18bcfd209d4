"""`everhart compare`: files in, a report and its JSON out."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from everhart.io import write
from everhart.micrograph import Micrograph

METHODS = ("--methods", "median,gaussian")


@pytest.fixture
def clean_tif(tmp_path: Path, picture: Micrograph) -> Path:
    from scipy.ndimage import median_filter

    return write(
        Micrograph(median_filter(picture.pixels, 5), pixel_size_nm=2.5), tmp_path / "clean.tif"
    )


def test_with_reference(run, noisy_tif, clean_tif, tmp_path):
    report = tmp_path / "report.html"
    result = run(
        "compare", noisy_tif, "--reference", clean_tif, *METHODS, "--report", report,
        "--alignment", "none", "--json", tmp_path / "also.json",
    )  # fmt: skip
    assert result.status == 0
    assert result.out.splitlines()[0].split()[:3] == ["method", "PSNR", "dB"]
    text = report.read_text(encoding="utf-8")
    assert "noisy.tif" in text
    assert "everhart compare" in text  # the command, so that it can be run again
    beside = json.loads(report.with_suffix(".json").read_text(encoding="utf-8"))
    assert beside == json.loads((tmp_path / "also.json").read_text(encoding="utf-8"))
    (image,) = beside["images"]
    assert [entry["method"] for entry in image["methods"]] == ["noisy", "median", "gaussian"]
    assert image["methods"][1]["psnr_db"] > image["methods"][0]["psnr_db"] + 5
    assert image["data_range"] == 255


def test_without_reference(run, noisy_tif, tmp_path):
    assert run("compare", noisy_tif, *METHODS, "--report", tmp_path / "r.html").status == 0
    (image,) = json.loads((tmp_path / "r.json").read_text(encoding="utf-8"))["images"]
    assert {"residual_whiteness", "structure_leakage"} < set(image["methods"][1])
    assert "psnr_db" not in image["methods"][1]


def test_second_frame(run, noisy_tif, picture, rng, tmp_path):
    again = np.clip(picture.pixels + rng.normal(0, 18, picture.shape), 0, 255).astype(np.uint8)
    second = write(Micrograph(again), tmp_path / "second.tif")
    words = ("compare", noisy_tif, "--second-frame", second, *METHODS)
    assert run(*words, "--report", tmp_path / "r.html").status == 0
    (image,) = json.loads((tmp_path / "r.json").read_text(encoding="utf-8"))["images"]
    assert image["second_frame"]["name"] == "second.tif"
    assert "second_frame_mse" in image["methods"][0]


def test_files_of_one_field(run, noisy_tif, picture, rng, tmp_path):
    frames = [noisy_tif]
    for name in ("b.tif", "c.tif"):
        again = np.clip(picture.pixels + rng.normal(0, 18, picture.shape), 0, 255).astype(np.uint8)
        frames.append(write(Micrograph(again), tmp_path / name))
    words = ("compare", *frames, "--one-field", "--turns", "2", *METHODS)
    result = run(*words, "--report", tmp_path / "r.html")
    assert result.status == 0
    (image,) = json.loads((tmp_path / "r.json").read_text(encoding="utf-8"))["images"]
    assert image["frames"]["restored"] == [0, 1]
    assert [source["name"] for source in image["frames"]["sources"]] == ["b.tif", "c.tif"]
    order = [entry["method"] for entry in image["frames"]["ranking"]]
    assert [line.split()[0] for line in result.out.splitlines()[1:]] == order


def test_several_images_one_bad(run, folder, tmp_path):
    (folder / "b.png").write_bytes(b"no picture")
    result = run("compare", folder, *METHODS, "--report", tmp_path / "r.html")
    assert result.status == 1
    assert "everhart: error: b.png: " in result.err
    record = json.loads((tmp_path / "r.json").read_text(encoding="utf-8"))
    assert [image["source"]["name"] for image in record["images"]] == ["a.tif", "c.bmp"]
    assert set(record["mean"]) == {"noisy", "median", "gaussian"}
    assert "mean over 2 images" in result.out


@pytest.mark.parametrize("existing", ["r.html", "r.json"])
def test_nothing_is_overwritten_unasked(run, noisy_tif, tmp_path, existing):
    (tmp_path / existing).write_text("precious", encoding="utf-8")
    words = ("compare", noisy_tif, *METHODS, "--report", tmp_path / "r.html")
    assert run(*words).status == 2
    assert (tmp_path / existing).read_text(encoding="utf-8") == "precious"
    assert run(*words, "--overwrite").status == 0


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("--methods", "median,nml"), "did you mean 'nlm'"),
        (("--methods", "median,median"), "given twice"),
        (("--methods", ","), "methods"),
        (("--report", "r.pdf"), "must end in .html"),
        (("--reference", "missing.tif"), "--reference missing.tif does not exist"),
        (("--data-range", "0"), "greater than 0"),
        (("--alignment", "afine"), "afine"),
    ],
)
def test_wrong_calls(run, noisy_tif, tmp_path, monkeypatch, words, said):
    monkeypatch.chdir(tmp_path)
    given = {"--methods": "median", "--report": "r.html"}
    given[words[0]] = words[1]
    result = run("compare", noisy_tif, *(word for pair in given.items() for word in pair))
    assert result.status == 2
    assert said in result.err
    assert result.err.count("\n") == 1
    assert [path.name for path in tmp_path.iterdir()] == ["noisy.tif"]


def test_references_must_be_one_or_one_each(run, folder, noisy_tif, tmp_path):
    result = run(
        "compare", folder, "--reference", noisy_tif, "--reference", noisy_tif, *METHODS,
        "--report", tmp_path / "r.html",
    )  # fmt: skip
    assert result.status == 2
    assert "2 files were given with --reference for 3 images" in result.err


def test_a_reference_of_another_size(run, noisy_tif, tmp_path):
    other = write(np.zeros((50, 60), np.uint8), tmp_path / "other.tif")
    result = run(
        "compare", noisy_tif, "--reference", other, *METHODS, "--report", tmp_path / "r.html"
    )
    assert result.status == 2
    assert "50 x 60" in result.err
    assert "96 x 128" in result.err

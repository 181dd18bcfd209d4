"""`everhart info`: what it says of files, broken ones among them."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from scipy.ndimage import gaussian_filter

import everhart as eh
from everhart import Micrograph
from everhart.align import shift_image
from everhart.io import write


def test_one_file_in_full(run, noisy_tif: Path):
    result = run("info", noisy_tif)
    assert (result.status, result.err) == (0, "")
    lines = dict(line.strip().split("  ", 1) for line in result.out.splitlines()[1:])
    said = {label: value.strip() for label, value in lines.items()}
    assert said["image"] == "96 x 128 px, uint8"
    assert said["pixel size"] == "2.5 nm (everhart)"
    assert said["field of view"] == "240 x 320 nm (height x width)"
    assert said["noise"].startswith("sigma 1")
    assert "white" in said["noise"]
    assert "data bar" not in said


def test_a_table_of_many(run, folder: Path):
    result = run("info", folder)
    assert result.status == 0
    header, *rows = result.out.splitlines()
    assert header.split()[:4] == ["file", "format", "image", "dtype"]
    assert [row.split()[:2] for row in rows] == [["a.tif", "TIFF"], ["b.png", "PNG"],
                                                 ["c.bmp", "BMP"]]  # fmt: skip
    assert "2.5 nm" in rows[0]
    assert "240 x 320 nm" in rows[0]
    details = run("info", folder, "--details").out
    assert details.count("pixel size ") == 3
    assert "\x1b" not in result.out + details  # plain text in a pipe


def test_json_says_the_same(run, picture: Micrograph, tmp_path: Path):
    tree = {"beam_energy_kev": 10.0, "dwell_time_s": 1e-7, "stage": {"x_mm": 1.5, "tilt_deg": 30}}
    made = Micrograph(picture.pixels, (2.0, 4.0), {"common": tree, "fei": {"a": {"b": 3}}}, (), 16)
    path = write(made, tmp_path / "a.tif")
    result = run("info", path, "--json", tmp_path / "x.json", "--metadata")
    (file,) = json.loads((tmp_path / "x.json").read_text(encoding="utf-8"))["files"]
    field = made.field_of_view
    assert file["height"], file["width"] == (96, 128)
    assert file["pixel_size_nm"] == [2.0, 4.0]
    assert file["field_of_view_um"] == [0.16, 0.512]
    assert file["data_bar_rows"] == 16
    assert file["common"] == tree
    assert file["grey"]["smallest"] == field.min()
    assert file["grey"]["mean"] == pytest.approx(field.mean())
    assert file["grey"]["saturated_high"] == 0
    assert file["noise"]["sigma"] == pytest.approx(float(eh.noise(made).noise.sigma))
    assert file["metadata"]["fei"] == {"a": {"b": 3}}
    assert "2 nm x 4 nm (y, x)" in result.out
    assert "10 keV" in result.out
    assert "dwell 100 ns" in result.out
    assert "x 1.5 mm, tilt 30 deg" in result.out
    assert "      b: 3" in result.out


def test_saturation_is_of_the_field_alone(run, rng, tmp_path: Path):
    pixels = np.clip(rng.normal(200, 40, (80, 80)), 1, 255).astype(np.uint8)
    share = (pixels == 255).mean()
    whole = np.concatenate([pixels, np.zeros((20, 80), np.uint8)])
    path = write(Micrograph(whole, data_bar_rows=20), tmp_path / "a.png")
    run("info", path, "--json", tmp_path / "x.json")
    (file,) = json.loads((tmp_path / "x.json").read_text(encoding="utf-8"))["files"]
    assert file["grey"]["saturated_high"] == pytest.approx(share)
    assert file["grey"]["saturated_low"] == 0
    assert file["grey"]["smallest"] > 0


def test_warnings_stand_beside_the_file(run, tmp_path: Path):
    from PIL import Image

    colour = np.zeros((20, 30, 3), np.uint8)
    colour[:5, :, 0] = 200
    Image.fromarray(colour).save(tmp_path / "a.png")
    result = run("info", tmp_path / "a.png", "--json", tmp_path / "x.json")
    assert result.err == ""
    assert "warning           has colour in" in result.out
    (file,) = json.loads((tmp_path / "x.json").read_text(encoding="utf-8"))["files"]
    assert file["warnings"][0].startswith("has colour in")


def test_a_broken_file_does_not_stop_the_others(run, folder: Path, tmp_path: Path):
    (folder / "b.png").write_bytes((folder / "b.png").read_bytes()[:3000])
    (folder / "empty.tif").touch()
    result = run("info", folder, "--json", tmp_path / "x.json")
    assert result.status == 1
    rows = {line.split()[0]: line for line in result.out.splitlines()}
    assert "error:" in rows["b.png"]
    assert "0 bytes" in rows["empty.tif"]
    assert "96 x 128" in rows["a.tif"]
    assert "96 x 128" in rows["c.bmp"]
    files = json.loads((tmp_path / "x.json").read_text(encoding="utf-8"))["files"]
    assert [("error" in file) for file in files] == [False, True, False, True]
    alone = run("info", folder / "empty.tif")
    assert alone.status == 1
    assert alone.err.count("\n") == 1
    assert alone.err.startswith("everhart: error: ")


def test_wrong_calls(run, noisy_tif: Path, folder: Path, tmp_path: Path):
    assert run("info").status == 2
    assert run("info", tmp_path / "none.tif").status == 2
    assert "must end in .png" in run("info", noisy_tif, "--thumbnail", tmp_path / "t.gif").err
    assert "give a folder" in run("info", folder, "--thumbnail", tmp_path / "t.png").err
    assert run("info", noisy_tif, "--json", noisy_tif).status == 2


def test_thumbnails(run, rng, folder: Path, tmp_path: Path):
    large = Micrograph(rng.normal(1000, 30, (300, 1500)).astype(np.float32), 2.0)
    path = write(large, tmp_path / "large.tif")
    assert run("info", path, "--thumbnail", tmp_path / "t.png").status == 0
    small = eh.read(tmp_path / "t.png")
    assert (small.shape, small.dtype) == ((102, 512), np.uint8)
    assert small.pixel_size_nm == pytest.approx((2.0 * 300 / 102, 2.0 * 1500 / 512))
    assert run("info", folder, "--thumbnail", tmp_path / "t").status == 0
    assert {p.name for p in (tmp_path / "t").iterdir()} == {"a.tif.png", "b.png.png", "c.bmp.png"}
    assert run("info", folder, "--thumbnail", tmp_path / "t").status == 2  # they exist
    assert run("info", folder, "--thumbnail", tmp_path / "t", "--overwrite").status == 0


@pytest.fixture
def drifting(rng: np.random.Generator) -> np.ndarray:
    scene = gaussian_filter(rng.normal(size=(96, 96)), 3) * 400 + 100
    return np.stack([shift_image(scene, (1.0 * n, -2.0 * n)) for n in range(4)]).astype(np.float32)


def test_drift_of_a_stack_and_of_a_series(run, drifting: np.ndarray, tmp_path: Path):
    film = write(Micrograph(drifting, 0.5), tmp_path / "film.tif")
    result = run("info", film, "--drift", "--json", tmp_path / "x.json")
    assert "4 frames of 96 x 96 px, float32" in result.out
    assert "looked at         frames 0, 2, 3 of 4" in result.out
    assert "up to +2.9" in result.out
    (series,) = json.loads((tmp_path / "x.json").read_text(encoding="utf-8"))["series"]
    assert series["n_frames"] == 4
    assert series["drift"][3]["drift_x_nm"] == pytest.approx(-3.0, abs=0.1)
    for number, frame in enumerate(drifting):
        write(frame, tmp_path / f"f_{number}.tif")
    result = run("info", tmp_path / "f_*.tif", "--drift")
    assert "f_*.tif: 4 files alike" in result.out
    assert "+2.9" in result.out.splitlines()[-1]


def test_three_frames_of_four_gigabytes_are_read(run, tmp_path: Path):
    tifffile = pytest.importorskip("tifffile")
    path = tmp_path / "a.tif"
    tifffile.memmap(path, shape=(4000, 1024, 512), dtype=np.uint16, bigtiff=True,
                    photometric="minisblack")  # fmt: skip
    start = time.perf_counter()
    result = run("info", path)
    assert time.perf_counter() - start < 10  # reading it all takes longer by far
    assert "4,000 frames of 1024 x 512 px" in result.out
    assert "frames 0, 2000, 3999 of 4,000" in result.out


def test_it_starts_without_torch(noisy_tif: Path):
    code = (
        "import sys; from everhart.cli import main; main(['info', sys.argv[1]]);"
        "print('torch' in sys.modules, 'pandas' in sys.modules, 'matplotlib' in sys.modules)"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, noisy_tif], capture_output=True, text=True, check=True
    )
    assert done.stdout.splitlines()[-1] == "False False False"

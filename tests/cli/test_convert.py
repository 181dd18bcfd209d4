"""`everhart convert`: formats, frames, dtypes, and what it refuses to do."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

import everhart as eh
from everhart import Micrograph
from everhart.io import write


@pytest.fixture
def film(rng: np.random.Generator, tmp_path: Path) -> Path:
    pixels = rng.integers(0, 4000, (5, 40, 56), dtype=np.uint16)
    return write(Micrograph(pixels, (2.0, 3.0), {"fei": {"a": 1}}), tmp_path / "film.tif")


def test_another_format_keeps_what_is_known(run, picture: Micrograph, tmp_path: Path):
    tree = {"fei": {"a": 1}, "common": {"beam_energy_kev": 5.0}}
    made = Micrograph(picture.pixels, (2.0, 3.0), tree, (eh.HistoryEntry("denoise"),), 8)
    path = write(made, tmp_path / "a.tif")
    result = run("convert", path, "-o", tmp_path / "b.png", "--json", tmp_path / "x.json")
    assert result == (0, "", "")
    back = eh.read(tmp_path / "b.png")
    np.testing.assert_array_equal(back.pixels, made.pixels)
    assert back.pixel_size_nm == (2.0, 3.0)
    assert back.metadata["fei"] == {"a": 1}
    assert back.data_bar_rows == 8
    assert [entry.operation for entry in back.history] == ["denoise", "convert"]
    assert back.history[-1].parameters["inputs"] == ["a.tif"]
    (image,) = json.loads((tmp_path / "x.json").read_text(encoding="utf-8"))["images"]
    assert image["output"] == str(tmp_path / "b.png")
    assert image["pixel_size_nm"] == [2.0, 3.0]


def test_a_folder_to_one_format(run, folder: Path, tmp_path: Path):
    result = run("convert", folder, "-o", tmp_path / "out", "--to", "png")
    assert result.status == 0
    assert sorted(p.name for p in (tmp_path / "out").iterdir()) == ["a.png", "b.png", "c.png"]
    assert "3 of 3 inputs written" in result.err
    one = run("convert", folder / "c.bmp", "-o", tmp_path / "new", "--to", ".tif")
    assert one.status == 0
    assert [p.name for p in (tmp_path / "new").iterdir()] == ["c.tif"]
    bare = run("convert", folder / "a.tif", "-o", tmp_path / "a.npy")
    assert "pixels only" in bare.err


def test_a_packed_image_loses_both_suffixes(run, film: Path, tmp_path: Path):
    import gzip

    packed = tmp_path / "b.tif.gz"
    packed.write_bytes(gzip.compress(film.read_bytes()))
    assert run("convert", packed, "-o", tmp_path / "out", "--to", "npy").status == 0
    assert run("convert", packed, film, "-o", tmp_path / "out").status == 0
    made = sorted(p.name for p in (tmp_path / "out").iterdir())
    assert made == ["b.npy", "b.tif", "film.tif"]
    assert eh.read(tmp_path / "out" / "b.tif").pixel_size_nm == (2.0, 3.0)


def test_pixel_size_and_data_bar(run, film: Path, picture: Micrograph, tmp_path: Path):
    path = write(Micrograph(picture.pixels, data_bar_rows=10), tmp_path / "bar.tif")
    words = ("--pixel-size-nm", 1.25, "--data-bar", "crop")
    assert run("convert", path, "-o", tmp_path / "b.tif", *words).status == 0
    back = eh.read(tmp_path / "b.tif")
    assert back.pixel_size_nm == pytest.approx((1.25, 1.25))
    np.testing.assert_array_equal(back.pixels, picture.pixels[:-10])
    assert back.metadata["everhart"]["pixel_size_source"] == "given"
    assert back.history[-1].parameters["pixel_size_nm"] == 1.25
    assert run("convert", film, "-o", tmp_path / "c.tif", "--pixel-size-nm", 0).status == 2


def test_frames_of_a_stack(run, film: Path, tmp_path: Path):
    pixels = eh.read(film).pixels
    assert run("convert", film, "-o", tmp_path / "all.tif").status == 0
    np.testing.assert_array_equal(eh.read(tmp_path / "all.tif").pixels, pixels)
    assert run("convert", film, "-o", tmp_path / "f.tif", "--frames", "first").status == 0
    np.testing.assert_array_equal(eh.read(tmp_path / "f.tif").pixels, pixels[0])
    assert run("convert", film, "-o", tmp_path / "m.tif", "--frames", "average").status == 0
    mean = eh.read(tmp_path / "m.tif")
    np.testing.assert_allclose(mean.pixels, pixels.mean(axis=0), rtol=1e-6)
    assert mean.pixel_size_nm == (2.0, 3.0)
    assert [entry.operation for entry in mean.history] == ["average", "convert"]
    words = ("convert", film, "-o", tmp_path / "a.tif", "--frames", "average", "--align")
    assert run(*words).status == 0
    assert eh.read(tmp_path / "a.tif").history[0].parameters["align"] is True


def test_one_file_a_frame(run, film: Path, tmp_path: Path):
    pixels = eh.read(film).pixels
    result = run("convert", film, "-o", tmp_path / "f.png")
    assert result.status == 2
    assert "stack of 5 frames" in result.err
    assert "--frames average, first or all" in result.err
    words = ("convert", film, "-o", tmp_path / "f.png", "--frames", "all")
    assert run(*words).status == 0
    for number, frame in enumerate(pixels):
        np.testing.assert_array_equal(eh.read(tmp_path / f"f_{number:03d}.png").pixels, frame)
    assert run(*words).status == 2  # they exist
    assert run(*words, "--overwrite", "--dtype", "uint8", "--scale", "minmax").status == 0
    levels = np.rint((pixels[3] - float(pixels.min())) * 255 / np.ptp(pixels))
    found = eh.read(tmp_path / "f_003.png")  # one scale for all frames
    np.testing.assert_array_equal(found.pixels, levels)
    with eh.open_frames(tmp_path / "f_*.png") as stack:
        assert len(stack) == 5


def test_files_become_a_stack(run, film: Path, tmp_path: Path):
    run("convert", film, "-o", tmp_path / "f.png", "--frames", "all")
    pattern = tmp_path / "f_*.png"
    assert "give a folder, or" in run("convert", pattern, "-o", tmp_path / "s.tif").err
    assert run("convert", pattern, "-o", tmp_path / "s.tif", "--frames", "all").status == 0
    back = eh.read(tmp_path / "s.tif")
    np.testing.assert_array_equal(back.pixels, eh.read(film).pixels)
    assert back.pixel_size_nm == (2.0, 3.0)


def test_nothing_is_scaled_unasked(run, tmp_path: Path):
    path = write(Micrograph(np.linspace(0, 1, 64, dtype=np.float32).reshape(8, 8), 2.0),
                 tmp_path / "a.tif")  # fmt: skip
    target = tmp_path / "a.png"
    refused = run("convert", path, "-o", target)
    assert refused.status == 2
    assert "--dtype uint8, uint16 or float32" in refused.err
    assert "--scale minmax, BLACK,WHITE or round" in refused.err
    refused = run("convert", path, "-o", target, "--dtype", "uint8")
    assert (refused.status, "--scale minmax" in refused.err) == (2, True)
    assert not target.exists()
    assert list(tmp_path.glob(".everhart-*")) == []
    scaled = run("convert", path, "-o", target, "--dtype", "uint8", "--scale", "0,2")
    assert scaled.status == 0
    back = eh.read(target)
    assert back.pixels.max() == 128
    assert back.pixel_size_nm == (2.0, 2.0)
    assert back.history[-2].parameters == {"dtype": "uint8", "from": [0, 2], "to": [0, 255]}


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("--scale", "minmax"), "without --dtype"),
        (("--dtype", "uint8", "--scale", "bright"), "round, minmax, dtype, or two grey levels"),
        (("--dtype", "uint8", "--scale", "5,1"), "black must be less"),
        (("--align",), "everhart align"),
        (("--to", "jpg"), "Unknown format to write 'jpg'"),
        (("--to", "png"), "give one of them"),
    ],
)
def test_wrong_calls(run, film: Path, tmp_path: Path, words: tuple[str, ...], message: str):
    result = run("convert", film, "-o", tmp_path / "b.tif", *words)
    assert result.status == 2
    assert message in result.err
    assert result.err.count("\n") == 1
    assert not (tmp_path / "b.tif").exists()


def test_inputs_and_outputs_are_safe(run, film: Path, folder: Path, tmp_path: Path):
    before = film.read_bytes()
    assert "also an input" in run("convert", film, "-o", film, "--overwrite").err
    assert film.read_bytes() == before
    (folder / "b.png").write_bytes(b"\x89PNG\r\n\x1a\n broken")
    result = run("convert", folder, "-o", tmp_path / "out", "--to", "tif")
    assert result.status == 1
    assert sorted(p.name for p in (tmp_path / "out").iterdir()) == ["a.tif", "c.tif"]
    assert "b.png: " in result.err
    assert run("convert", folder, "-o", tmp_path / "out", "--to", "tif").status == 2

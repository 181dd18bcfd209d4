"""`everhart denoise` on real files: what comes out, and every way to call it wrongly."""

from __future__ import annotations

import json
import os
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

import everhart as eh
from everhart.io import Limits, write

QUICK = ("--method", "gaussian")


def test_one_file(run, noisy_tif: Path, tmp_path: Path):
    result = run("denoise", noisy_tif, "-o", tmp_path / "clean.tif", *QUICK)
    assert result == (0, "", "")
    before, after = eh.read(noisy_tif), eh.read(tmp_path / "clean.tif")
    assert (after.dtype, after.shape) == (before.dtype, before.shape)
    assert after.pixel_size_nm == pytest.approx(before.pixel_size_nm)
    assert after.pixels.std() < before.pixels.std()
    assert after.history[-1].operation == "denoise"
    assert after.history[-1].parameters["method"] == "gaussian"


def test_same_numbers_as_from_python(run, noisy_tif: Path, tmp_path: Path):
    run("denoise", noisy_tif, "-o", tmp_path / "clean.tif", *QUICK)
    expected = eh.denoise(eh.read(noisy_tif), "gaussian")
    np.testing.assert_array_equal(eh.read(tmp_path / "clean.tif").pixels, expected.pixels)


def test_model_file(run, noisy_tif: Path, tmp_path: Path, tiny_model: Path):
    result = run(
        "denoise", noisy_tif, "-o", tmp_path / "clean.tif", "--model", tiny_model,
        "--device", "cpu", "--json", tmp_path / "done.json",
    )  # fmt: skip
    assert result.status == 0
    (image,) = json.loads((tmp_path / "done.json").read_text(encoding="utf-8"))["images"]
    assert len(image["model_hash"]) == 64
    assert image["output"] == str(tmp_path / "clean.tif")
    assert image["pixel_size_nm"] == [2.5, 2.5]


def test_folder_keeps_names(run, folder: Path, tmp_path: Path):
    result = run("denoise", folder, "-o", tmp_path / "new" / "clean", *QUICK)
    assert result.status == 0
    made = sorted(path.name for path in (tmp_path / "new" / "clean").iterdir())
    assert made == ["a.tif", "b.png", "c.tif"]
    assert "c.bmp becomes c.tif" in result.err
    assert "3 of 3 images" in result.err


@pytest.mark.parametrize("existing", [True, False])
def test_one_file_into_a_folder(run, noisy_tif: Path, tmp_path: Path, existing: bool):
    target = tmp_path / "out"
    if existing:
        target.mkdir()
    word = str(target) if existing else f"{target}/"
    assert run("denoise", noisy_tif, "-o", word, *QUICK).status == 0
    assert [path.name for path in target.iterdir()] == ["noisy.tif"]


def test_another_format(run, noisy_tif: Path, tmp_path: Path):
    assert run("denoise", noisy_tif, "-o", tmp_path / "clean.png", *QUICK).status == 0
    assert eh.read(tmp_path / "clean.png").dtype == np.uint8


def test_pixel_size_and_data_bar(run, picture, tmp_path: Path):
    from dataclasses import replace

    path = write(replace(picture, data_bar_rows=10, pixel_size_nm=None), tmp_path / "bar.tif")
    words = ("denoise", path, *QUICK, "--pixel-size-nm", 3.5)
    assert run(*words, "-o", tmp_path / "keep.tif").status == 0
    assert run(*words, "-o", tmp_path / "crop.tif", "--data-bar", "crop").status == 0
    kept, cropped = eh.read(tmp_path / "keep.tif"), eh.read(tmp_path / "crop.tif")
    assert kept.pixel_size_nm == pytest.approx((3.5, 3.5))
    np.testing.assert_array_equal(kept.pixels[-10:], picture.pixels[-10:])
    assert cropped.shape == (picture.shape[0] - 10, picture.shape[1])


def test_a_batch_goes_on_after_a_bad_file(run, folder: Path, tmp_path: Path):
    (folder / "b.png").write_bytes(b"no picture")
    result = run("denoise", folder, "-o", tmp_path / "out", *QUICK, "--json", tmp_path / "r.json")
    assert result.status == 1
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == ["a.tif", "c.tif"]
    errors = [line for line in result.err.splitlines() if "error" in line]
    assert len(errors) == 1
    assert errors[0].startswith("everhart: error: b.png: ")
    images = json.loads((tmp_path / "r.json").read_text(encoding="utf-8"))["images"]
    assert ["error" in image for image in images] == [False, True, False]


def test_existing_outputs_are_found_before_the_work(run, folder: Path, tmp_path: Path):
    out = tmp_path / "out"
    out.mkdir()
    (out / "b.png").write_bytes(b"precious")
    result = run("denoise", folder, "-o", out, *QUICK)
    assert result.status == 2
    assert "b.png exists already" in result.err
    assert [path.name for path in out.iterdir()] == ["b.png"]
    assert run("denoise", folder, "-o", out, *QUICK, "--overwrite").status == 0
    assert eh.read(out / "b.png").shape == (96, 128)


@pytest.mark.parametrize("overwrite", [(), ("--overwrite",)])
def test_never_onto_an_input(run, noisy_tif: Path, folder: Path, overwrite):
    before = noisy_tif.read_bytes()
    for words in (
        (noisy_tif, "-o", noisy_tif),
        (noisy_tif, "-o", f"{noisy_tif.parent}{os.sep}"),
        (folder, "-o", folder),
    ):
        result = run("denoise", *words, *QUICK, *overwrite)
        assert result.status == 2
        assert "never written onto" in result.err
    assert noisy_tif.read_bytes() == before


def test_never_onto_an_input_by_another_name(run, noisy_tif: Path, tmp_path: Path):
    link = tmp_path / "link.tif"
    try:
        os.link(noisy_tif, link)
    except OSError:
        pytest.skip("this disk has no hard links")
    assert run("denoise", noisy_tif, "-o", link, *QUICK, "--overwrite").status == 2


def test_two_inputs_of_one_name(run, folder: Path, tmp_path: Path, picture):
    other = tmp_path / "other"
    other.mkdir()
    write(picture, other / "a.tif")
    result = run("denoise", folder, other, "-o", tmp_path / "out", *QUICK)
    assert result.status == 2
    assert "would both become a.tif" in result.err
    assert not (tmp_path / "out").exists()


def test_two_inputs_that_become_one_name(run, tmp_path: Path, picture):
    from PIL import Image

    write(picture, tmp_path / "a.tif")
    Image.fromarray(picture.pixels).save(tmp_path / "a.bmp")
    result = run("denoise", tmp_path / "a.tif", tmp_path / "a.bmp", "-o", tmp_path / "o/", *QUICK)
    assert result.status == 2
    assert "would both become a.tif" in result.err


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("--method", "gausian"), "did you mean 'gaussian'"),
        (("--model", "sem-generl"), "did you mean 'sem-general'"),
        (("--model", "missing.safetensors"), "missing.safetensors"),
        (("--method", "nlm", "--model", "sem-general"), "give one of the two"),
        (("--method", "gaussian", "--pixel-size-nm", "-1"), "pixel size"),
    ],
)
def test_wrong_parameters(run, noisy_tif: Path, tmp_path: Path, words, said):
    result = run("denoise", noisy_tif, "-o", tmp_path / "out.tif", *words)
    assert result.status == 2
    assert said in result.err
    assert result.err.count("\n") == 1
    assert not (tmp_path / "out.tif").exists()


@pytest.mark.parametrize(
    ("output", "said"),
    [
        ("clean.jpg", "'.jpg'"),
        ("clean", "no suffix"),
        ("missing/clean.tif", "does not exist"),
    ],
)
def test_wrong_outputs(run, noisy_tif: Path, tmp_path: Path, output, said):
    result = run("denoise", noisy_tif, "-o", tmp_path / output, *QUICK)
    assert result.status == 2
    assert said in result.err


def test_several_images_need_a_folder(run, folder: Path, tmp_path: Path, noisy_tif: Path):
    assert "folder" in run("denoise", folder, "-o", tmp_path / "one.tif", *QUICK).err
    result = run("denoise", folder, "-o", f"{noisy_tif}/", *QUICK)
    assert result.status == 2
    assert "is a file" in result.err


def test_a_folder_without_images(run, tmp_path: Path):
    result = run("denoise", tmp_path, "-o", tmp_path / "out", *QUICK)
    assert result.status == 2
    assert "holds no images" in result.err


def test_a_model_of_another_kind(run, noisy_tif: Path, tmp_path: Path, tiny_model: Path):
    from everhart.training.model_file import load_model, save_model

    loaded = load_model(tiny_model, "denoiser")
    other = tmp_path / "segmenter.safetensors"
    save_model(other, loaded.header.model_copy(update={"kind": "segmenter"}), loaded.weights)
    result = run("denoise", noisy_tif, "-o", tmp_path / "o.tif", "--model", other)
    assert result.status == 2
    assert "segmenter" in result.err
    assert result.err.count("\n") == 1


def test_a_full_disk(run, noisy_tif: Path, tmp_path: Path):
    """A real one: a limit on the size of files stands for the end of the disk."""
    resource = pytest.importorskip("resource", reason="no file size limits on Windows")
    import signal

    old_handler = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    old_limit = resource.getrlimit(resource.RLIMIT_FSIZE)
    try:
        resource.setrlimit(resource.RLIMIT_FSIZE, (2000, old_limit[1]))
        status = run("denoise", noisy_tif, "-o", tmp_path / "clean.npy", *QUICK).status
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, old_limit)
        signal.signal(signal.SIGXFSZ, old_handler)
    assert status == 1
    assert sorted(path.name for path in tmp_path.iterdir()) == ["noisy.tif"]


def test_a_folder_that_may_not_be_made(run, folder: Path, tmp_path: Path, monkeypatch):
    def refuse(*_: object, **__: object) -> None:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(Path, "mkdir", refuse)
    result = run("denoise", folder, "-o", tmp_path / "out", *QUICK)
    assert result.status == 1
    assert "could not be made (Permission denied)" in result.err


def test_progress_only_on_a_terminal(run, folder: Path, tmp_path: Path, monkeypatch):
    import sys

    piped = run("denoise", folder, "-o", tmp_path / "one", *QUICK)
    assert "\x1b[" not in piped.err
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.setattr(type(sys.stderr), "isatty", lambda _: True, raising=False)
    shown = run("denoise", folder, "-o", tmp_path / "two", *QUICK)
    assert "denoise" in shown.err
    assert "\x1b[" in shown.err


def test_real_image(run, shared_data: Path, tmp_path: Path):
    source = shared_data / "sem-pairs" / "line006_noisy.png"
    before = source.read_bytes()
    assert run("denoise", source, "-o", tmp_path / "clean.png", "--method", "median").status == 0
    clean = eh.read(shared_data / "sem-pairs" / "line006_clean.png")
    assert eh.metrics.psnr(eh.read(tmp_path / "clean.png"), clean, data_range=255) > 27
    assert source.read_bytes() == before


def test_json_is_not_written_onto_an_output(run, noisy_tif: Path, tmp_path: Path):
    target = tmp_path / "clean.tif"
    for more in ((), ("--overwrite",)):
        result = run("denoise", noisy_tif, "-o", target, "--json", target, *QUICK, *more)
        assert result.status == 2
        assert "same file" in result.err
        assert not target.exists()


def test_a_pixel_size_is_checked_before_any_image(run, noisy_tif: Path, tmp_path: Path):
    for size in ("-3", "0", "nan", "inf"):
        target = tmp_path / "clean.tif"
        result = run("denoise", noisy_tif, "-o", target, f"--pixel-size-nm={size}", *QUICK)
        assert result.status == 2
        assert result.err.startswith(
            f"everhart: error: The pixel size --pixel-size-nm {size} was given"
        )


def test_a_truncated_tiff_gives_one_line_and_no_log_of_its_tags(
    run, shared_data: Path, tmp_path: Path
):
    whole = shared_data / "formats" / "tif" / "semdenoising__100ns_005.tif"
    half = tmp_path / "half.tif"
    half.write_bytes(whole.read_bytes()[:100_000])
    result = run("denoise", half, "-o", tmp_path / "clean.tif", *QUICK)
    assert result.status == 1
    assert len(result.err.splitlines()) == 1
    assert "truncated" in result.err


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="named pipes are of POSIX")
def test_a_pipe_is_no_input(run, tmp_path: Path):
    pipe = tmp_path / "pipe.tif"
    os.mkfifo(pipe)
    result = run("denoise", pipe, "-o", tmp_path / "clean.tif", *QUICK)
    assert result.status == 2
    assert "pipe or a device" in result.err


def test_a_choice_that_is_not_allowed(run, noisy_tif: Path, tmp_path: Path):
    result = run("denoise", noisy_tif, "-o", tmp_path / "clean.tif", "--device", "tpu")
    assert result.status == 2
    assert "'tpu' is not one of" in result.err
    assert "Value error" not in result.err


def test_json_into_the_folder_that_is_made_for_the_images(run, folder: Path, tmp_path: Path):
    made = tmp_path / "new"
    result = run("denoise", folder, "-o", made, "--json", made / "done.json", *QUICK)
    assert result.status == 0
    assert len(json.loads((made / "done.json").read_text(encoding="utf-8"))["images"]) == 3


@pytest.mark.parametrize("data_bar", ["keep", "crop"])
def test_a_large_image_goes_from_file_to_file(
    run, picture, tmp_path: Path, tiny_model: Path, monkeypatch: pytest.MonkeyPatch, data_bar: str
):
    source = write(replace(picture, data_bar_rows=10), tmp_path / "noisy.tif")
    words = ("--model", tiny_model, "--device", "cpu", "--data-bar", data_bar)
    assert run("denoise", source, "-o", tmp_path / "whole.tif", *words).status == 0
    for name, value in (("LARGE_PIXELS", 1000), ("_SMALL_FILE", 0), ("BLOCK", 64)):
        monkeypatch.setattr(f"everhart.restore.large.{name}", value)
    target, record = tmp_path / "large.tif", tmp_path / "done.json"
    assert run("denoise", source, "-o", target, *words, "--json", record).status == 0
    whole, large = eh.read(tmp_path / "whole.tif"), eh.read(target)
    assert whole.shape == large.shape == (96 if data_bar == "keep" else 86, 128)
    # bfloat16 rounds as the tiles fall
    assert np.abs(whole.pixels.astype(int) - large.pixels).max() <= 2
    assert whole.data_bar_rows == large.data_bar_rows
    assert whole.history[-1].parameters == large.history[-1].parameters
    (image,) = json.loads(record.read_text(encoding="utf-8"))["images"]
    assert image["shape"] == list(large.shape)
    assert len(image["model_hash"]) == 64
    # What cannot be done in pieces is done in memory, as long as it fits.
    assert run("denoise", source, "-o", tmp_path / "b.tif", *QUICK).status == 0
    assert run("denoise", source, "-o", tmp_path / "b.png", *words).status == 0
    small = Limits(max_pixels_per_plane=1000)
    monkeypatch.setattr("everhart.restore.large.DEFAULT_LIMITS", small)
    result = run("denoise", source, "-o", tmp_path / "c.tif", *QUICK)
    assert result.status == 2
    assert "only learned models restore it piece by piece" in result.err

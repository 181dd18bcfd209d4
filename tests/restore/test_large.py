"""Denoising from file to file: the pixels of the whole image, and work that is gone on with."""

from __future__ import annotations

import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tifffile
import zarr

from everhart import Micrograph, UsageError, denoise, read, write
from everhart.io.plane import open_plane
from everhart.restore import make_denoiser
from everhart.restore.journal import Journal
from everhart.restore.large import denoise_file
from everhart.restore.names import SHIPPED

pytestmark = pytest.mark.usefixtures("small_blocks")

SHAPE = (300, 421)


@pytest.fixture
def small_blocks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("everhart.restore.large.BLOCK", 128)


@pytest.fixture(scope="module")
def denoiser() -> Any:
    return make_denoiser(device="cpu", precision="fp32")


def _scene(dtype: str) -> np.ndarray:
    rng = np.random.default_rng(0)
    y, x = np.mgrid[: SHAPE[0], : SHAPE[1]]
    grey = 80 + 40 * np.sin(x / 11) * np.cos(y / 17) + rng.normal(0, 9, SHAPE)
    if dtype == "float32":
        grey[40:44, 250:260] = np.nan  # a hole across two blocks
        grey[200, 130] = 1e5  # a hot pixel
    return grey.astype(dtype)


def _save(pixels: np.ndarray, path: Path, kind: str) -> Path:
    """Write an image as others do: mapped, in tiles, in strips, as Zarr, as NPY."""
    if kind == "tiled":
        tifffile.imwrite(path, pixels, tile=(64, 96), compression="zlib", predictor=True)
    elif kind == "strips":
        tifffile.imwrite(path, pixels, rowsperstrip=7, compression="lzw", byteorder=">")
    elif kind == "zarr":
        return write(Micrograph(pixels, pixel_size_nm=2.5), path.with_suffix(".zarr"))
    elif kind == "npy":
        return write(pixels, path.with_suffix(".npy"))
    else:
        return write(Micrograph(pixels, pixel_size_nm=2.5), path)
    return path


@pytest.mark.parametrize("kind", ["plain", "tiled", "strips", "zarr", "npy"])
def test_windows_are_parts_of_the_image(tmp_path: Path, kind: str) -> None:
    pixels = _scene("uint16")
    reader = open_plane(_save(pixels, tmp_path / "a.tif", kind))
    assert reader.shape == SHAPE
    rng = np.random.default_rng(1)
    for _ in range(20):
        (top, bottom), (left, right) = (np.sort(rng.integers(0, n + 1, 2)) for n in SHAPE)
        window = reader.window(slice(top, bottom), slice(left, right))
        assert window.dtype == np.uint16
        assert np.array_equal(window, pixels[top:bottom, left:right])
    assert reader.described.pixel_size_nm == ((2.5, 2.5) if kind in ("plain", "zarr") else None)
    reader.close()


@pytest.mark.parametrize("suffix", [".tif", ".zarr"])
@pytest.mark.parametrize("dtype", ["uint8", "uint16", "float32"])
def test_equals_denoising_in_memory(tmp_path: Path, denoiser: Any, dtype: str, suffix: str) -> None:
    image = Micrograph(_scene(dtype), pixel_size_nm=(2.0, 3.0), data_bar_rows=20)
    source = write(image, tmp_path / "in.tif")
    steps: list[tuple[int, int]] = []
    target = tmp_path / f"out{suffix}"
    denoise_file(source, target, denoiser, report=lambda *step: steps.append(step))
    found, expected = read(target), denoiser(read(source))
    assert found.dtype == expected.dtype
    difference = np.abs(found.pixels.astype(float) - expected.pixels.astype(float))
    # Rounding at the last bit may go either way at a grey level's edge.
    assert np.nanmax(difference) <= (0.02 if dtype == "float32" else 1)
    assert (difference > 2e-3).mean() < 1e-3
    assert np.array_equal(found.pixels[-20:], image.pixels[-20:], equal_nan=True)
    assert found.pixel_size_nm == (2.0, 3.0)
    assert found.data_bar_rows == 20
    assert found.history[-1].model_hash == expected.history[-1].model_hash
    assert found.history[-1].parameters == expected.history[-1].parameters
    assert steps[-1] == (12, 12)
    assert [p.name for p in tmp_path.iterdir() if p.name.startswith(".")] == []


def test_zarr_has_the_smaller_copies(
    tmp_path: Path, denoiser: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("everhart.io.ngff_write._CHUNK", 64)
    source = write(_scene("uint8"), tmp_path / "in.tif")
    denoise_file(source, tmp_path / "out.zarr", denoiser)
    written = write(read(tmp_path / "out.zarr"), tmp_path / "whole.zarr")
    ours, whole = (zarr.open_group(str(p), mode="r") for p in (tmp_path / "out.zarr", written))
    assert len(list(ours.array_keys())) == 4
    for name in ours.array_keys():
        assert np.array_equal(ours[name][:], whole[name][:])


@pytest.mark.parametrize("suffix", [".tif", ".zarr"])
def test_goes_on_after_a_kill(tmp_path: Path, denoiser: Any, suffix: str) -> None:
    """A process that is killed in the middle is gone on with, by blocks and not from the start."""
    pixels = np.random.default_rng(0).poisson(60, (900, 900)).astype(np.uint8)
    source, target = write(pixels, tmp_path / "in.tif"), tmp_path / f"out{suffix}"
    program = (
        "import everhart.restore.large as large; large.BLOCK = 128\n"
        "from everhart.restore import make_denoiser\n"
        f"large.denoise_file({str(source)!r}, {str(target)!r}, "
        "make_denoiser(device='cpu', precision='fp32'),"
        "report=lambda done, total: print(done, flush=True))"
    )
    child = subprocess.Popen([sys.executable, "-c", program], stdout=subprocess.PIPE, text=True)
    assert child.stdout is not None
    for line in child.stdout:
        if int(line) >= 10:
            break
    with pytest.raises(UsageError, match="is being written by another process"):
        denoise_file(source, target, denoiser)
    child.kill()
    child.wait()
    child.stdout.close()
    assert not target.exists()
    steps: list[int] = []
    denoise_file(source, target, denoiser, report=lambda done, _: steps.append(done))
    assert 10 <= steps[0] < 64 == steps[-1]
    expected = denoise(pixels, device="cpu", precision="fp32")
    difference = read(target).pixels.astype(int) - expected
    assert np.abs(difference).max() <= 1
    assert (difference != 0).mean() < 1e-3
    assert sorted(p.name for p in tmp_path.iterdir()) == sorted(["in.tif", target.name])


class StopError(Exception):
    pass


def _begin(source: Path, target: Path, denoiser: Any, *, blocks: int) -> None:
    """Denoise some blocks, and stop."""

    def stop(done: int, total: int) -> None:
        if done == blocks:
            raise StopError

    with pytest.raises(StopError):
        denoise_file(source, target, denoiser, report=stop)


def test_an_output_is_not_gone_on_with_by_what_is_done_in_another(
    tmp_path: Path, denoiser: Any
) -> None:
    """A TIFF of 3 blocks and a Zarr of 8, both interrupted: the TIFF goes on at its fourth."""
    source = write(_scene("uint8"), tmp_path / "in.tif")
    _begin(source, tmp_path / "out.tif", denoiser, blocks=3)
    _begin(source, tmp_path / "out.zarr", denoiser, blocks=8)
    for suffix in (".tif", ".zarr"):
        denoise_file(source, tmp_path / f"out{suffix}", denoiser)
        found = read(tmp_path / f"out{suffix}").pixels.astype(int)
        assert np.abs(found - denoiser(_scene("uint8"))).max() <= 1


def test_black_blocks_of_a_zarr_that_is_gone_on_with_are_there(
    tmp_path: Path, denoiser: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("everhart.io.ngff_write._CHUNK", 64)
    pixels = _scene("uint8")
    pixels[:, 150:] = 0
    source = write(pixels, tmp_path / "in.tif")
    _begin(source, tmp_path / "out.zarr", denoiser, blocks=1)
    denoise_file(source, tmp_path / "out.zarr", denoiser)
    found = read(tmp_path / "out.zarr").pixels  # a chunk that is not there would be an error
    assert np.abs(found.astype(int) - denoiser(pixels)).max() <= 1


@pytest.mark.skipif(sys.platform == "win32", reason="links need a right there")
@pytest.mark.parametrize("suffix", [".tif", ".zarr"])
def test_a_link_stays_a_link(tmp_path: Path, denoiser: Any, suffix: str) -> None:
    source = write(np.full(SHAPE, 9, np.uint8), tmp_path / "in.tif")
    (tmp_path / "elsewhere").mkdir()
    old = write(np.zeros(SHAPE, np.uint8), tmp_path / "elsewhere" / f"old{suffix}")
    link = tmp_path / f"out{suffix}"
    link.symlink_to(old)
    denoise_file(source, link, denoiser, overwrite=True)
    assert link.is_symlink()
    assert (read(old).pixels == 9).all()
    assert [path.name for path in old.parent.iterdir()] == [old.name]


def test_one_bit_goes_to_zarr_only(tmp_path: Path, denoiser: Any) -> None:
    pixels = _scene("uint8") > 80
    source = write(pixels, tmp_path / "in.tif")
    with pytest.raises(UsageError, match="holds pixels of one bit"):
        denoise_file(source, tmp_path / "out.tif", denoiser)
    denoise_file(source, tmp_path / "out.zarr", denoiser)
    assert (read(tmp_path / "out.zarr").pixels == denoiser(pixels)).mean() > 0.999


def test_blocks_without_a_finite_pixel_are_as_grey_as_the_image(
    tmp_path: Path, denoiser: Any
) -> None:
    """Zero would be a hundred deviations away, and left in the image as such."""
    rng = np.random.default_rng(0)
    pixels = rng.normal(1000, 10, (300, 900)).astype(np.float32)
    pixels[:, 300:] = np.nan
    source = write(pixels, tmp_path / "in.tif")
    denoise_file(source, tmp_path / "out.tif", denoiser)
    found = read(tmp_path / "out.tif").pixels
    assert found.min() > 900
    assert found.max() < 1100


def test_images_of_one_pixel_and_of_one_row(tmp_path: Path, denoiser: Any) -> None:
    rng = np.random.default_rng(0)
    for number, shape in enumerate([(1, 1), (1, 300), (300, 1), (2, 3)]):
        pixels = rng.poisson(60, shape).astype(">u2")
        source = tmp_path / f"{number}.tif"
        tifffile.imwrite(source, pixels, byteorder=">", compression="zlib", photometric=0)
        denoise_file(source, tmp_path / f"{number}-out.tif", denoiser)
        found = read(tmp_path / f"{number}-out.tif").pixels
        expected = denoiser(read(source).pixels)
        assert found.shape == shape
        assert np.abs(found.astype(int) - expected).max() <= 1
        assert found.min() > 60_000  # white is zero


def test_a_line_of_the_journal_that_was_cut_off_never_counts(tmp_path: Path) -> None:
    path = tmp_path / "blocks"
    path.write_bytes(b"0\n7\n1")  # of a 12
    for added in (3, 4):
        with Journal(path, tmp_path / "out.tif") as journal:
            assert 1 not in journal.done
            assert {0, 7} <= journal.done
            journal.add(added)
    assert path.read_bytes() == b"0\n7\n3\n4\n"


def test_a_changed_source_is_not_gone_on_with(
    tmp_path: Path, denoiser: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    source = write(_scene("uint8"), tmp_path / "in.tif")

    _begin(source, tmp_path / "out.tif", denoiser, blocks=5)
    time.sleep(0.01)
    write(255 - _scene("uint8"), source, overwrite=True)
    steps: list[int] = []
    denoise_file(source, tmp_path / "out.tif", denoiser, report=lambda done, _: steps.append(done))
    assert steps[0] == 0
    expected = denoiser(255 - _scene("uint8"))
    assert np.abs(read(tmp_path / "out.tif").pixels.astype(int) - expected).max() <= 1


@pytest.mark.skipif(sys.platform == "win32", reason="no limit on file sizes there")
def test_a_full_disk_is_said_at_the_start(tmp_path: Path) -> None:
    """A child that may write 100 kB: a sentence, and nothing is left but the input."""
    source = write(np.zeros((600, 600), np.uint8) + 7, tmp_path / "in.tif")
    program = (
        "import resource, signal\n"
        "signal.signal(signal.SIGXFSZ, signal.SIG_IGN)\n"
        "from everhart.restore import make_denoiser\n"
        "from everhart.restore.large import denoise_file\n"
        "denoiser = make_denoiser(device='cpu')\n"
        "resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, 100_000))\n"
        f"denoise_file({str(source)!r}, {str(tmp_path / 'out.tif')!r}, denoiser)"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    assert "EverhartError: Could not write" in done.stderr.splitlines()[-1]
    assert [path.name for path in tmp_path.iterdir()] == ["in.tif"]


def test_constant_image(tmp_path: Path, denoiser: Any) -> None:
    source = write(np.full(SHAPE, 9, np.uint8), tmp_path / "in.tif")
    denoise_file(source, tmp_path / "out.tif", denoiser)
    assert (read(tmp_path / "out.tif").pixels == 9).all()


def test_wrong_calls(tmp_path: Path, denoiser: Any) -> None:
    source = write(_scene("uint8"), tmp_path / "in.tif")
    with pytest.raises(UsageError, match="only learned models restore it piece by piece"):
        denoise_file(source, tmp_path / "out.tif", make_denoiser("median"))
    with pytest.raises(UsageError, match=r"is written as \.tif, \.tiff, \.zarr"):
        denoise_file(source, tmp_path / "out.png", denoiser)
    with pytest.raises(UsageError, match="exists already"):
        denoise_file(source, source, denoiser)
    write(np.zeros((3, 40, 40), np.uint8), tmp_path / "stack.tif")
    with pytest.raises(UsageError, match="holds a stack of 3 frames"):
        denoise_file(tmp_path / "stack.tif", tmp_path / "out.tif", denoiser)
    assert denoiser.name == SHIPPED[0]
    assert not (tmp_path / "out.tif").exists()

"""Frames of one field: stacks and folders, read one at a time; their mean, drift and grouping."""

from __future__ import annotations

import subprocess
import sys
import time
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
from scipy.ndimage import gaussian_filter

import everhart as eh
from everhart import Micrograph
from everhart.align import estimate_shift, shift_image
from everhart.errors import EverhartError, FileFormatError, UsageError
from everhart.io import FrameStack, group_frames, open_frames, write
from everhart.io.drift import RunningMean
from everhart.io.frame_names import series_by_name

tifffile = pytest.importorskip("tifffile")


@pytest.fixture
def pixels(rng: np.random.Generator) -> np.ndarray:
    return rng.integers(0, 4000, (12, 40, 56), dtype=np.uint16)


@pytest.fixture
def folder(tmp_path: Path, pixels: np.ndarray) -> Path:
    """Frames 0 to 11, named so that the order of letters is another."""
    place = tmp_path / "frames"
    place.mkdir()
    for number, frame in enumerate(pixels):
        write(Micrograph(frame, (2.0, 3.0), {"vendor": {"n": number}}), place / f"f_{number}.tif")
    return place


def stacks(tmp_path: Path, pixels: np.ndarray) -> dict[str, Path]:
    """The same frames as stack files: mapped, compressed, another byte order, without a hook."""
    paths = {name: tmp_path / f"{name}.tif" for name in ("plain", "zlib", "big-endian")}
    write(Micrograph(pixels, 2.0), paths["plain"])
    grey = {"photometric": "minisblack"}
    tifffile.imwrite(paths["zlib"], pixels, compression="zlib", **grey)
    tifffile.imwrite(paths["big-endian"], pixels, byteorder=">", **grey)
    paths["npy"] = write(Micrograph(pixels), tmp_path / "npy.npy")
    return paths


@pytest.mark.parametrize("kind", ["plain", "zlib", "big-endian", "npy"])
def test_a_stack(tmp_path: Path, pixels: np.ndarray, kind: str) -> None:
    with open_frames(stacks(tmp_path, pixels)[kind]) as stack:
        assert stack.shape == pixels.shape
        assert stack.dtype == np.uint16
        assert len(stack) == 12
        for number in (3, 0, -1):
            np.testing.assert_array_equal(stack[number].pixels, pixels[number])
        part = stack[10:2:-3]
        assert isinstance(part, FrameStack)
        np.testing.assert_array_equal(part.to_micrograph().pixels, pixels[10:2:-3])
        for frame, expected in zip(stack, pixels, strict=True):
            np.testing.assert_array_equal(frame.pixels, expected)
        frame = stack[1]
        frame.pixels[:] = 0  # a frame is the caller's own
        np.testing.assert_array_equal(stack[1].pixels, pixels[1])
        with pytest.raises(IndexError):
            stack[12]
        with pytest.raises(UsageError, match="has none of these"):
            stack[5:5]


def test_a_folder_in_natural_order(folder: Path, pixels: np.ndarray) -> None:
    with eh.open_frames(folder) as stack:
        assert stack.shape == pixels.shape
        assert stack.pixel_size_nm == (2.0, 3.0)
        np.testing.assert_array_equal(stack.to_micrograph().pixels, pixels)
        assert [path.stem for path in stack.paths][-2:] == ["f_10", "f_11"]
        assert stack[7].metadata["vendor"] == {"n": 7}
        assert stack[7].metadata["everhart"]["format"] == "TIFF"


def test_stacks_one_after_the_other(tmp_path: Path, pixels: np.ndarray) -> None:
    one = write(Micrograph(pixels[:5], 2.0), tmp_path / "b.tif")
    other = write(Micrograph(pixels[5:], 2.0), tmp_path / "a.tif")
    with open_frames([one, other]) as stack:
        np.testing.assert_array_equal(stack.to_micrograph().pixels, pixels)
        np.testing.assert_array_equal(stack[5].pixels, pixels[5])


def test_the_history_of_a_compressed_stack_is_kept(tmp_path: Path, pixels: np.ndarray) -> None:
    made = Micrograph(pixels, 2.0, {}, (eh.HistoryEntry("denoise"),))
    for name in ("a.tif", "b.png"):
        path = write(made if name == "a.tif" else eh.Micrograph(
            pixels[0], 2.0, {}, made.history), tmp_path / name)  # fmt: skip
        with open_frames([path]) as stack:
            assert [entry.operation for entry in stack[0].history] == ["denoise"]


@pytest.mark.parametrize("change", ["shape", "dtype", "size", "uncalibrated"])
def test_the_odd_one_out_is_named(folder: Path, pixels: np.ndarray, change: str) -> None:
    odd = {
        "shape": Micrograph(pixels[0, 1:], (2.0, 3.0)),
        "dtype": Micrograph(pixels[0].astype(np.uint8), (2.0, 3.0)),
        "size": Micrograph(pixels[0], (2.0, 3.1)),
        "uncalibrated": Micrograph(pixels[0]),
    }[change]
    write(odd, folder / "f_6.tif", overwrite=True)
    with pytest.raises(UsageError, match=r"f_6\.tif has frames of .* leave out the one"):
        open_frames(folder)
    assert {group.n_frames for group in group_frames(folder)} == {1}  # nothing is guessed
    if change in ("size", "uncalibrated"):  # what the user says holds for all
        assert open_frames(folder, pixel_size_nm=5.0).pixel_size_nm == (5.0, 5.0)


def test_broken_frames(folder: Path, tmp_path: Path) -> None:
    whole = (folder / "f_3.tif").read_bytes()
    (folder / "f_3.tif").write_bytes(whole[: len(whole) // 2])
    with pytest.raises(FileFormatError, match="f_3"):
        open_frames(folder)
    groups = {group.name: group.n_frames for group in group_frames(folder)}
    assert groups["f_3.tif"] == 0
    (folder / "f_3.tif").write_bytes(whole)
    stack = open_frames(folder)
    write(np.zeros((8, 8), np.uint8), folder / "f_3.tif", overwrite=True)
    with pytest.raises(FileFormatError, match="changed since"):
        stack.mean()
    with pytest.raises(UsageError, match="does not exist"):
        open_frames(tmp_path / "nothing.tif")


def test_a_folder_of_several_fields_is_refused(folder: Path, pixels: np.ndarray) -> None:
    write(pixels[0], folder / "overview.tif")
    with pytest.raises(UsageError, match=r"2 series by the names of its files, f_\*\.tif \(12\)"):
        open_frames(folder)
    assert len(open_frames(folder / "f_*.tif")) == 12


def test_mean(folder: Path, pixels: np.ndarray) -> None:
    with open_frames(folder) as stack:
        calls: list[tuple[int, int]] = []
        mean = stack.mean(progress=lambda done, total: calls.append((done, total)))
        np.testing.assert_allclose(mean.pixels, pixels.mean(axis=0), rtol=1e-6)
        assert (mean.dtype, mean.pixel_size_nm) == (np.float32, (2.0, 3.0))
        assert calls[-1] == (12, 12)
        assert mean.history[-1].operation == "average"
        assert mean.history[-1].parameters["n_frames"] == 12
        rounded = stack.mean(dtype=np.uint16)
        np.testing.assert_array_equal(rounded.pixels, np.rint(pixels.mean(axis=0)))
        assert rounded.dtype == np.uint16
        with pytest.raises(UsageError, match="dtype bool"):
            stack.mean(dtype=bool)


def test_the_mean_passes_over_what_is_not_known(tmp_path: Path) -> None:
    frames = np.stack([np.full((16, 16), level, np.float32) for level in (1, 2, 6)])
    frames[1, 3, 4] = np.nan
    frames[:, 5, 5] = np.nan
    mean = open_frames(write(frames, tmp_path / "a.tif")).mean().pixels
    assert mean[0, 0] == 3
    assert mean[3, 4] == 3.5
    assert np.isnan(mean[5, 5])


def drifting(
    rng: np.random.Generator, n: int, sigma: float, size: int = 128
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Frames with noise and a random walk, the drift, and the scene without noise."""
    scene = gaussian_filter(rng.normal(size=(size + 40, size + 40)), 3)
    scene *= 20 / scene.std()
    drift = np.cumsum(rng.normal(0, 0.7, (n, 2)), axis=0)
    drift -= drift[0]
    moved = np.stack([shift_image(scene, (d[0], d[1])) for d in drift])[:, 20:-20, 20:-20]
    noisy = moved + rng.normal(0, sigma, moved.shape)
    return noisy.astype(np.float32) + 100, drift, moved[0] + 100


def test_drift(tmp_path: Path, rng: np.random.Generator) -> None:
    frames, drift, scene = drifting(rng, 8, 20.0)
    bar = np.tile(np.where(np.arange(128) % 16 < 8, 0, 255), (12, 1))
    # a bar in full contrast stands still under the specimen, and would hold it
    whole = np.concatenate([frames, np.broadcast_to(bar, (8, *bar.shape))], axis=1)
    made = Micrograph(whole.astype(np.float32), (2.0, 4.0), data_bar_rows=12)
    with open_frames(write(made, tmp_path / "a.tif")) as stack:
        found = stack.drift()
        np.testing.assert_allclose(found.px, drift, atol=0.25)
        np.testing.assert_allclose(found.nm, found.px * (2.0, 4.0))
        assert found.at_limit == ()
        assert found.table()[3]["drift_x_px"] == pytest.approx(found.px[3, 1])
        plain, aligned = stack.mean(), stack.mean(align=True)
        later = stack[4:].drift()
    assert aligned.shape == whole.shape[1:]
    np.testing.assert_array_equal(aligned.pixels[-12:], bar)
    errors = [float(np.std(m.field_of_view - scene)) for m in (plain, aligned)]
    assert errors[1] < 0.5 * errors[0]
    assert errors[1] < 1.2 * 20 / np.sqrt(8)
    assert aligned.history[-1].parameters["drift_px"] == found.px.tolist()
    np.testing.assert_allclose(later.px, drift[4:] - drift[4], atol=0.3)


def test_the_running_mean_is_a_better_reference_than_a_frame() -> None:
    """In frames that are nearly all noise, against the first one and from one to the next."""
    errors: dict[str, list[float]] = {"mean": [], "first": [], "previous": []}
    for seed in range(3):
        frames, drift, _ = drifting(np.random.default_rng(seed), 10, 140.0)
        total = RunningMean(15.0)
        steps = [estimate_shift(b, a, max_shift_px=15) for a, b in pairwise(frames)]
        found = {
            "mean": [total.add(frame).shift_px for frame in frames],
            "first": [estimate_shift(frame, frames[0], max_shift_px=15) for frame in frames],
            "previous": np.cumsum([(0, 0), *steps], axis=0),
        }
        for name, shifts in found.items():
            errors[name].append(float(np.square(-np.asarray(shifts) - drift).mean()))
    rms = {name: np.sqrt(np.mean(values)) for name, values in errors.items()}
    assert rms["mean"] < 0.9 * rms["first"]
    assert rms["mean"] < 0.8 * rms["previous"]


def test_drift_beyond_the_search(tmp_path: Path, rng: np.random.Generator) -> None:
    scene = gaussian_filter(rng.normal(size=(160, 96)), 3)
    path = write(np.stack([scene[:96], scene[12:108]]), tmp_path / "a.tif")
    with open_frames(path) as stack:
        assert stack.drift(max_shift_px=5).at_limit == (1,)
        np.testing.assert_allclose(stack.drift(max_shift_px=20).px[1], (-12, 0), atol=0.1)
        with pytest.raises(UsageError, match="at least 1 pixel"):
            stack.drift(max_shift_px=0)


def test_frames_that_share_nothing_are_refused() -> None:
    total = RunningMean(40.0)
    total.add(np.eye(32))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("everhart.align.estimate_shift", lambda *_, **__: (32.0, 0.0))
        with pytest.raises(EverhartError, match="shares nothing"):
            total.add(np.eye(32))


NAMES = [
    (["frame_10", "frame_2", "frame_1"], {"frame_*": "frame_1 frame_2 frame_10"}),
    (["A_001", "A_002", "B_001", "B_002"], {"A_*": "A_001 A_002", "B_*": "B_001 B_002"}),
    (["F01_000", "F01_001", "F08_000"], {"F01_*": "F01_000 F01_001", "F08_000": "F08_000"}),
    (["x_0000_F001", "x_0001_F001"], {}),  # two scenes, one frame of each
    (["Si_5kV", "Si_6kV"], {}),
    (["tilt_1", "tilt_20", "tilt_40"], {}),
    (["a1_100nm", "a1_200nm", "a2_100nm"], {"a*_100nm": "a1_100nm a2_100nm"}),
    (["s_1", "s_2", "s_4", "s_5"], {"s_*": "s_1 s_2 s_4 s_5"}),  # one was thrown away
    (["n_1", "n_01"], {}),
    (["2024-05-01_7", "2024-05-01_8"], {"2024-05-01_*": "2024-05-01_7 2024-05-01_8"}),
    (["clean", "noisy"], {}),
]


@pytest.mark.parametrize(("stems", "expected"), NAMES, ids=str)
def test_series_by_name(stems: list[str], expected: dict[str, str]) -> None:
    found = series_by_name([Path(f"{stem}.tif") for stem in stems])
    assert sorted(path.stem for series in found for path in series.paths) == sorted(stems)
    several = {
        series.name.removesuffix(".tif"): " ".join(path.stem for path in series.paths)
        for series in found
        if len(series.paths) > 1 or series.name.removesuffix(".tif") in expected
    }
    assert several == expected


def test_a_stack_among_single_images_is_no_frame_of_theirs(folder: Path, pixels) -> None:
    write(Micrograph(pixels[:2], (2.0, 3.0)), folder / "f_12.tif")
    assert {group.n_frames for group in group_frames(folder)} == {1, 2}
    (folder / "f_12.tif").unlink()
    (group,) = group_frames(folder)
    assert (group.name, group.n_frames) == ("f_*.tif", 12)
    with group.open() as stack:
        np.testing.assert_array_equal(stack[11].pixels, pixels[11])


@pytest.mark.parametrize("kind", ["tif", "npy"])
def test_four_gigabytes_open_at_once(tmp_path: Path, kind: str) -> None:
    path, shape = tmp_path / f"a.{kind}", (270, 2048, 4096)
    if kind == "tif":
        tifffile.memmap(path, shape=shape, dtype=np.uint16, bigtiff=True, photometric="minisblack")
    else:
        np.lib.format.open_memmap(path, "w+", np.uint16, shape)
    open_frames(path).close()  # imports
    start = time.perf_counter()
    stack = open_frames(path)
    assert time.perf_counter() - start < 0.2
    assert stack.shape == shape
    assert stack[269].pixels[5, 5] == 0
    stack.close()


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["tif", "npy"])
def test_four_gigabytes_average_in_little_memory(tmp_path: Path, kind: str) -> None:
    path, shape = tmp_path / f"a.{kind}", (270, 2048, 4096)
    if kind == "tif":
        array = tifffile.memmap(
            path, shape=shape, dtype=np.uint16, bigtiff=True, photometric="minisblack"
        )
    else:
        array = np.lib.format.open_memmap(path, "w+", np.uint16, shape)
    array[::90, 3, 4] = 27
    array.flush()
    del array
    code = (
        "import sys, resource, everhart as eh\n"
        "mean = eh.open_frames(sys.argv[1]).mean()\n"
        "print(mean.pixels[3, 4], resource.getrusage(resource.RUSAGE_SELF).ru_maxrss)"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, path], capture_output=True, text=True, check=True
    )
    value, peak_kb = done.stdout.split()
    assert float(value) == pytest.approx(0.3)
    assert int(peak_kb) < 700_000

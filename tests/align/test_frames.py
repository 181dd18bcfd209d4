"""A series of frames on one grid: the drift that was made, the noise left as it was."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from scipy.ndimage import gaussian_filter

from everhart import EverhartError, Micrograph, UsageError
from everhart.align import align_frames, shift_image
from everhart.io import open_frames, write

DRIFT = np.array([(0, 0), (1.3, -0.6), (2.4, -1.8), (-0.7, 3.2), (4.5, 0.25)])


def series(noise: float, drift: np.ndarray = DRIFT, seed: int = 0) -> np.ndarray:
    rng = np.random.default_rng(seed)
    scene = gaussian_filter(rng.normal(size=(200, 232)), 4)
    scene = 128 + 40 * scene / scene.std()
    frames = [shift_image(scene, tuple(d))[16:-16, 16:-16] for d in drift]
    noisy = np.stack(frames) + noise * rng.normal(size=(len(drift), 168, 200))
    return np.clip(np.rint(noisy), 0, 255).astype(np.uint8)


@pytest.mark.parametrize("reference", ["first", "mean"])
def test_drift_is_found_and_taken_out(reference: str) -> None:
    stack = Micrograph(series(12), pixel_size_nm=(2.0, 3.0))
    aligned = align_frames(stack, reference=reference)  # type: ignore[arg-type]
    assert np.abs(aligned.drift_px - DRIFT).max() < 0.12
    assert aligned.image.dtype == np.uint8
    assert aligned.image.pixel_size_nm == (2.0, 3.0)
    assert aligned.image.history[-1].operation == "align"
    row = aligned.table()[4]
    assert row["drift_y_nm"] == pytest.approx(2 * row["drift_y_px"], abs=1e-3)
    assert row["drift_x_nm"] == pytest.approx(3 * row["drift_x_px"], abs=1e-3)
    assert aligned.at_limit == ()
    left = aligned.image.pixels.astype(float)
    blurred = gaussian_filter(left, (0, 3, 3))[:, 8:-8, 8:-8]
    assert (blurred[1:] - blurred[0]).std() < 3  # 17 before


def test_mean_reference_is_the_better_one_in_strong_noise() -> None:
    drift = np.repeat(DRIFT, 4, axis=0) + np.linspace(0, 1, 20)[:, None]
    drift -= drift[0]
    errors = {"first": [], "mean": []}
    for seed in range(2):
        frames = series(110, drift, seed)
        for kind, seen in errors.items():
            found = align_frames(frames, reference=kind, max_shift_px=10).drift_px  # type: ignore[arg-type]
            seen.append(np.std((found - drift) - (found - drift).mean(axis=0)))
    assert np.mean(errors["mean"]) < 0.8 * np.mean(errors["first"])


def test_whole_pixels_keep_the_noise_as_it_is() -> None:
    stack = series(25)
    whole = align_frames(stack, whole_pixels=True)
    assert np.array_equal(whole.drift_px, np.rint(whole.drift_px))
    top, bottom, left, right = whole.border_px
    assert (top, bottom, left, right) == (1, 4, 3, 2) or (top, bottom) == (1, 5)
    # Every pixel is one that was there.
    for frame, (dy, dx), out in zip(
        stack, whole.drift_px.astype(int), np.asarray(whole.image), strict=True
    ):
        rows = slice(top + dy, top + dy + out.shape[0])
        assert np.array_equal(frame[rows, left + dx : left + dx + out.shape[1]], out)
    # Sub-pixel moves do not: neighbours share noise afterwards.
    moved = align_frames(stack).image.pixels.astype(float)[1]
    noise = np.diff(moved - gaussian_filter(moved, 2), axis=1)
    before = stack[1].astype(float)
    untouched = np.diff(before - gaussian_filter(before, 2), axis=1)
    assert noise.std() < 0.9 * untouched.std()


def test_psnr_method_and_average() -> None:
    drift = np.rint(DRIFT)
    frames = series(20, drift)
    aligned = align_frames(frames, method="psnr", max_shift_px=8, average=True)
    assert np.array_equal(aligned.drift_px, drift)
    assert aligned.image.shape == (168 - 5, 200 - 5)
    assert aligned.image.dtype == np.float32
    one = align_frames(frames, method="psnr", max_shift_px=8).image.pixels
    assert one.dtype == np.uint8
    np.testing.assert_allclose(aligned.image.pixels, one.mean(axis=0), rtol=1e-6)


def test_keep_keeps_the_size() -> None:
    aligned = align_frames(series(10), crop="keep", whole_pixels=True)
    assert aligned.image.shape == (5, 168, 200)
    assert aligned.border_px == (0, 0, 0, 0)


def test_several_images_in_the_order_given_and_the_bar_left_out() -> None:
    frames = [np.pad(f, ((0, 20), (0, 0))) for f in series(10)]
    given = [Micrograph(f, 1.5, data_bar_rows=20) for f in frames]
    aligned = align_frames(given, crop="keep")
    assert aligned.image.shape == (5, 168, 200)
    assert aligned.image.data_bar_rows == 0
    assert np.abs(aligned.drift_px - DRIFT).max() < 0.12


def test_a_shift_at_the_limit_is_told() -> None:
    far = align_frames(series(5, np.array([(0.0, 0.0), (6.0, 0.0)])), max_shift_px=3)
    assert far.at_limit == (1,)


def test_wrong_calls() -> None:
    frames = series(5)
    with pytest.raises(UsageError, match="at least two frames"):
        align_frames(frames[:1])
    with pytest.raises(UsageError, match="one size and dtype"):
        align_frames([frames[0], frames[1][:-1]])
    with pytest.raises(UsageError, match="did you mean 'psnr'"):
        align_frames(frames, method="pnsr")  # type: ignore[arg-type]
    with pytest.raises(UsageError, match="at least 1 pixel"):
        align_frames(frames, max_shift_px=0)
    with pytest.raises(UsageError, match="No frame"):
        align_frames([])


def test_frames_that_share_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    from everhart.align import frames as module

    monkeypatch.setattr(module, "estimate_shift", lambda *_, **__: (170.0, 0.0))
    with pytest.raises(EverhartError, match="share nothing"):
        align_frames(series(5), max_shift_px=200)


def test_frames_on_disk_are_read_one_at_a_time(tmp_path: Path) -> None:
    frames = series(10)
    for n, frame in enumerate(frames):
        write(Micrograph(frame, 2.0), tmp_path / f"f_{n}.png")
    in_memory = align_frames(Micrograph(frames, 2.0))
    with open_frames(tmp_path) as stack:
        aligned = align_frames(stack)
    assert np.array_equal(aligned.drift_px, in_memory.drift_px)
    assert np.array_equal(aligned.image.pixels, in_memory.image.pixels)
    assert aligned.image.pixel_size_nm == (2.0, 2.0)

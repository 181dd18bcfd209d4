"""Comparisons with repeated frames: drift, brightness, ranking."""

from __future__ import annotations

import json
from dataclasses import replace

import numpy as np
import pytest

import everhart as eh
from everhart.align import shift_image
from everhart.report import compare, render_html
from everhart.report.frames import FrameJudge, spread

METHODS = ["median", "gaussian"]
DRIFT = np.array([(0.0, 0.0), (1.3, -0.6), (2.4, -1.7), (3.1, -3.5)])


@pytest.fixture(scope="module")
def drifted(specimen: np.ndarray) -> np.ndarray:
    """Four frames that drift, and get darker and flatter."""
    rng = np.random.default_rng(11)
    moved = [shift_image(specimen, (float(dy), float(dx))) for dy, dx in DRIFT]
    return np.stack(
        [(1 - 0.05 * n) * rng.normal(clean, 16) + 4 * n for n, clean in enumerate(moved)]
    )


@pytest.mark.parametrize("n_frames", [2, 3, 4])
def test_frames_that_drift_tell_the_error(drifted, specimen, n_frames):
    (image,) = compare(drifted[:n_frames], METHODS, turns=1).images
    assert image.frames.n_frames == n_frames
    assert image.frames.drift_px == pytest.approx(DRIFT[:n_frames], abs=0.2)
    assert image.frames.gains == pytest.approx([1, 0.95, 0.9, 0.85][:n_frames], abs=0.02)
    inside = (slice(14, -14), slice(14, -14))
    for result in image.results:
        true = float(np.mean((result.picture - specimen)[inside] ** 2))
        error = result.figures["second_frame_mse_uncertainty"]
        assert result.figures["second_frame_mse"] == pytest.approx(true, abs=4 * error)


def test_all_frames_in_turn(drifted, specimen):
    (image,) = compare(drifted, METHODS, turns=9).images
    assert image.frames.restored == (0, 1, 2, 3)
    one = compare(drifted, METHODS, turns=1).images[0].frames.errors["median"]
    # The restored frames are darker one after the other, and so is their error.
    assert image.frames.errors["median"].mse < one.mse


def test_rows_and_record_are_ranked(drifted):
    comparison = compare(drifted, ["median", "gaussian"])
    (image,) = comparison.images
    order = [ranked.name for ranked in image.frames.ranking]
    assert order[-1] == "noisy"  # denoising helps here
    assert [result.name for result in image.best_first] == order
    places = [result.figures["frames_place"] for result in image.best_first]
    assert places == sorted(places)
    assert places[-1] == 3
    assert [line.split()[0] for line in comparison.summary().splitlines()[1:]] == order
    record = json.loads(json.dumps(comparison.to_dict(), allow_nan=False))["images"][0]["frames"]
    assert [entry["method"] for entry in record["ranking"]] == order
    assert len(record["pairs"]) == 3
    assert all(pair["mse_difference"] >= 0 for pair in record["pairs"])
    page = render_html(comparison)
    rows = [page.index(f'<tr data-method="{name}">') for name in order]
    assert rows == sorted(rows)
    assert "4 frames of one field" in page


def test_clean_frames_need_no_method(specimen):
    rng = np.random.default_rng(4)
    frames = rng.normal(specimen, 0.5, (3, *specimen.shape))

    (image,) = compare(frames, ["gaussian"], turns=1).images
    judged = image.frames.errors
    assert judged["noisy"].mse == pytest.approx(0.25, rel=0.1)
    blur = FrameJudge(lambda n: frames[n].astype(np.float32), 3, (0,), register=False)
    assert blur.error([np.full(specimen.shape, 90, np.float32)]).mse > 100 * judged["noisy"].mse


def test_a_tie_is_said(drifted):
    (image,) = compare(drifted, ["median"]).images
    errors = {**image.frames.errors, "twin": image.frames.errors["median"]}
    judgement = replace(image.frames, errors=errors)
    assert [(r.name, r.place, r.tied_with) for r in judgement.ranking][:2] == [
        ("median", 1, ("twin",)),
        ("twin", 1, ("median",)),
    ]
    twin = replace(image.methods[0], name="twin")
    shown = replace(image, frames=judgement, methods=(*image.methods, twin))
    page = render_html(eh.report.Comparison((shown,)))
    assert "tied with it: the frames cannot tell them apart" in page


def test_files_of_one_field(frames, tmp_path):
    paths = [
        eh.write(replace(frames, pixels=frame), tmp_path / f"f{number}.tif")
        for number, frame in enumerate(frames.pixels)
    ]
    (image,) = compare(paths, ["median"], one_field=True, turns=1).images
    (stack,) = compare(frames, ["median"], turns=1).images
    assert [source.name for source in image.frame_sources] == ["f1.tif", "f2.tif"]
    assert image.frames.errors["median"].mse == stack.frames.errors["median"].mse


@pytest.mark.parametrize("dtype", [np.uint16, np.float32, np.float64, np.int16])
def test_every_dtype_and_a_data_bar(frames, dtype):
    stack = eh.Micrograph((frames.pixels.astype(dtype) * 3), data_bar_rows=20)
    plain = compare(frames.pixels[:, :200], ["median"], turns=1).images[0]
    (image,) = compare(stack, ["median"], turns=1).images
    assert image.noisy.picture.shape == (200, 300)
    assert image.frames.errors["median"].mse == pytest.approx(
        9 * plain.frames.errors["median"].mse, rel=0.1
    )


def test_several_fields_are_ranked_together(drifted, frames):
    comparison = compare([drifted, frames], METHODS, turns=1)
    means = comparison.mean_values()
    assert list(means)[-1] == "noisy"
    assert means["noisy"]["frames_place"] == 3
    one, two = (image.noisy.figures["second_frame_mse_uncertainty"] for image in comparison.images)
    assert means["noisy"]["second_frame_mse_uncertainty"] == pytest.approx(np.hypot(one, two) / 2)


def test_wrong_calls(drifted, frames):
    with pytest.raises(eh.UsageError, match="turns = 0"):
        compare(drifted, ["median"], turns=0)
    with pytest.raises(eh.UsageError, match="frame 3 is 50 x 60"):
        compare([*drifted[:2], np.zeros((50, 60))], ["median"], one_field=True)
    far = np.zeros((2, 40, 40), np.float32)
    far[0, 5:9, 5:9] = far[1, 33:37, 33:37] = 100
    with pytest.raises(eh.EverhartError, match="share too little"):
        compare(far, ["median"])


def test_turns_are_spread_over_the_series():
    assert spread(8, 3) == (0, 2, 5)
    assert spread(2, 3) == (0, 1)

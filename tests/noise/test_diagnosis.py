"""Diagnosis: single images, frames, references, advice, picture."""

from __future__ import annotations

import json
import math
from pathlib import Path

import numpy as np
import pytest
from scipy.ndimage import gaussian_filter, shift

import everhart as eh
from everhart import Micrograph, UsageError
from everhart.noise import NoiseEstimate, autocorrelation, diagnose, spectrum
from everhart.noise.advice import advise


def codes(report) -> list[str]:
    return [item.code for item in report.advice]


# -- real images ------------------------------------------------------------------------------
@pytest.mark.parametrize("name", ["line006", "line026", "line045", "time014", "time036"])
def test_real_pairs_against_their_reference(sem_pair, name: str) -> None:
    noisy, clean = sem_pair(name)
    report = diagnose(noisy, reference=clean)
    assert report.noise.correlation_along("x")[1:4] == pytest.approx([0.48, 0.09, 0.02], abs=0.02)
    assert report.noise.correlation_along("y")[1:4] == pytest.approx(0.0, abs=0.03)
    assert report.noise.gain == pytest.approx(3.6, rel=0.06)
    # 1 line integration against 50, or 100 ns against 30 us: the first shows, the second ends
    # at what is left of noise and texture in the reference.
    low, high = (30, 60) if name.startswith("line") else (90, 330)
    assert low < report.equivalent_frames < high
    assert "correlated-x" in codes(report)


@pytest.mark.parametrize("name", ["line006", "time014"])
def test_real_images_alone_agree_with_the_reference(sem_pair, name: str) -> None:
    noisy, clean = sem_pair(name)
    alone, known = diagnose(noisy), diagnose(noisy, reference=clean)
    assert alone.noise.correlation == pytest.approx(known.noise.correlation, abs=0.06)
    assert alone.noise.sigma == pytest.approx(known.noise.sigma, rel=0.05)
    assert alone.noise.skew == pytest.approx(known.noise.skew, abs=0.15)
    assert alone.advice[0].code == known.advice[0].code == "correlated-x"
    assert alone.advice[0].message.startswith("lag-1 r = 0.4")
    assert "blind-spot training would keep this noise" in alone.advice[0].message


def test_real_tem_frames(shared_data: Path) -> None:
    frames = [eh.read(shared_data / "sem-noisy" / f"fitem_train_000{i}.tif") for i in (1, 2)]
    report = diagnose(frames)
    assert report.n_frames == 2
    assert report.noise.sigma > 0
    single = diagnose(frames[0])
    assert single.noise.sigma == pytest.approx(report.noise.sigma, rel=0.25)


# -- simulated frames -------------------------------------------------------------------------
def test_frames_give_the_noise_in_spite_of_drift(simulated) -> None:
    rng = np.random.default_rng(4)
    scene = simulated.blobs()
    kernel = simulated.CAUSAL
    drifts = [(0, 0), (1.4, -2.3), (-0.6, 3.7), (2.2, 0.5)]
    frames = np.stack(
        [
            simulated.expose(
                np.maximum(shift(scene, d, mode="nearest"), 0),
                rng,
                gain=7,
                readout=60,
                kernel=kernel,
            )
            for d in drifts
        ]
    )
    report = eh.noise(frames)
    left = simulated.passed(kernel)
    own = np.correlate(kernel, kernel, "full")[3:] / np.sum(kernel**2)
    assert report.source == "repeated frames"
    for found, drift in zip(report.shifts_px, drifts, strict=True):
        assert found == pytest.approx((-drift[0], -drift[1]), abs=0.15)
    assert report.noise.gain == pytest.approx(7 * left, rel=0.07)
    assert report.noise.correlation_along("x")[1:4] == pytest.approx(own[1:], abs=0.03)
    assert report.noise.correlation_along("y")[1:4] == pytest.approx(0, abs=0.03)
    assert report.equivalent_frames == pytest.approx(4, rel=0.15)
    assert report.noise.skew > 0.1
    assert report.advice[0].methods[0] == "n2n"


def test_frames_of_changing_brightness_and_contrast(simulated) -> None:
    scene = simulated.blobs()
    frames = np.stack(
        [
            simulated.expose(scene * gain + offset, np.random.default_rng(i), readout=64)
            for i, (gain, offset) in enumerate([(1.0, 0.0), (1.05, 4.0), (0.97, -6.0)])
        ]
    )
    assert diagnose(frames).noise.sigma == pytest.approx(8, rel=0.06)


def test_frames_that_share_noise_are_worth_fewer(simulated) -> None:
    rng = np.random.default_rng(0)
    scene = simulated.blobs()
    shared = rng.normal(scale=6, size=scene.shape)
    frames = scene + shared + rng.normal(scale=8, size=(8, *scene.shape))
    report = diagnose(frames)
    assert report.equivalent_frames == pytest.approx((36 + 64) / (36 + 8), rel=0.15)


def test_a_list_of_micrographs_is_a_stack(simulated) -> None:
    frames = [
        Micrograph(simulated.expose(simulated.blobs(), np.random.default_rng(i), readout=25))
        for i in range(3)
    ]
    report = diagnose(frames)
    assert report.n_frames == 3
    assert report.noise.sigma == pytest.approx(5, rel=0.05)


def test_reference_in_other_grey_levels_and_moved(simulated) -> None:
    scene = simulated.blobs()
    noisy = simulated.expose(scene, np.random.default_rng(0), gain=2, readout=20)
    reference = 300 * shift(scene, (2.5, -1.25), mode="nearest") + 1000
    report = diagnose(noisy, reference=reference.astype(np.uint16))
    assert report.shifts_px[0] == pytest.approx((-2.5, 1.25), abs=0.1)
    assert report.noise.gain == pytest.approx(2, rel=0.06)
    assert report.noise.readout_variance == pytest.approx(20, abs=12)


def test_equivalent_frames_of_a_single_image(simulated) -> None:
    rng = np.random.default_rng(0)
    scene = simulated.blobs()
    one = diagnose(simulated.expose(scene, rng, readout=400))
    average = diagnose(np.mean([simulated.expose(scene, rng, readout=400) for _ in range(4)], 0))
    assert one.equivalent_frames / average.equivalent_frames == pytest.approx(4, rel=0.1)
    assert average.psnr_db - one.psnr_db == pytest.approx(6, abs=0.4)


def test_missing_pixels(simulated) -> None:
    frames = simulated.blobs() + np.random.default_rng(0).normal(scale=5, size=(3, 384, 448))
    frames[1, 20:40, 20:40] = np.nan
    assert diagnose(frames).noise.sigma == pytest.approx(5, rel=0.06)
    assert diagnose(frames[1]).noise.sigma == pytest.approx(5, rel=0.06)
    assert diagnose(frames[0], reference=frames[1]).noise.sigma == pytest.approx(7.1, rel=0.06)


@pytest.mark.parametrize("frames", [1, 2, 3])
@pytest.mark.parametrize("level", [0.0, 60000.0])
def test_constant_images(frames: int, level: float) -> None:
    report = diagnose(np.full((frames, 32, 40), level))
    assert report.noise.sigma == 0
    json.dumps(report.to_dict(), allow_nan=False)
    assert "sigma" in str(report)


def test_what_is_refused() -> None:
    with pytest.raises(UsageError, match="16 x 16"):
        diagnose(np.zeros((12, 40)))
    with pytest.raises(UsageError, match="same field"):
        diagnose(np.zeros((32, 40)), reference=np.zeros((32, 41)))
    with pytest.raises(UsageError, match="different shapes"):
        diagnose([Micrograph(np.zeros((32, 40))), Micrograph(np.zeros((32, 41)))])


# -- advice -----------------------------------------------------------------------------------
def correlated(r: float, axis: int) -> np.ndarray:
    out = NoiseEstimate.constant(1).correlation.copy()
    for lag in (-1, 1):
        index = [5, 5]
        index[axis] += lag
        out[tuple(index)] = r
    return out


def test_advice_by_what_was_found() -> None:
    white = NoiseEstimate.constant(5.0)
    assert [a.code for a in advise(white, 1, 20)] == ["white"]
    assert [a.code for a in advise(white, 4, 20)] == ["frames"]
    assert [a.code for a in advise(white, 1, 60)] == ["quiet"]
    along = NoiseEstimate.constant(5.0, correlated(0.48, 1))
    assert advise(along, 1, 20)[0].message == (
        "lag-1 r = 0.48 along the scan line: blind-spot training would keep this noise; use "
        "noise2noise on repeated frames, or the shipped model"
    )
    across = NoiseEstimate.constant(5.0, correlated(0.3, 0))
    assert [a.code for a in advise(across, 1, 20)] == ["correlated-y", "filtered"]
    other = NoiseEstimate(5.0, gain=2, saturated_low=0.02, saturated_high=0.03, skew=0.9)
    assert {a.code for a in advise(other, 1, 20)} >= {
        "signal-dependent",
        "saturated-black",
        "saturated-white",
        "skewed",
    }
    assert "inverted" in [a.code for a in advise(NoiseEstimate(5.0, gain=-2), 1, 20)]


def test_report_is_json_and_words(simulated) -> None:
    report = diagnose(simulated.expose(simulated.blobs(), np.random.default_rng(0), gain=3))
    back = json.loads(json.dumps(report.to_dict(), allow_nan=False))
    assert back["noise"]["gain"] == report.noise.gain
    assert back["advice"][0]["code"] == "white"
    assert back["advice"][0]["methods"][0] == "sem-general"
    for words in ("variance = ", "equivalent frames", report.advice[0].message):
        assert words in str(report)


# -- correlation ------------------------------------------------------------------------------
def test_autocorrelation_of_a_moving_average(rng: np.random.Generator) -> None:
    white = rng.normal(size=(300, 302))
    found = autocorrelation(white[:, 2:] + white[:, 1:-1] + white[:, :-2], 3)
    assert found[3, 3:] == pytest.approx([1, 2 / 3, 1 / 3, 0], abs=0.02)
    assert found == pytest.approx(found[::-1, ::-1])
    assert found[:3] == pytest.approx(0, abs=0.02)


def test_autocorrelation_sees_the_sign_of_the_lag(rng: np.random.Generator) -> None:
    white = rng.normal(size=(300, 300))
    slanted = white + np.roll(white, (1, 1), (0, 1))
    found = autocorrelation(slanted, 1)
    assert found[2, 2] == pytest.approx(0.5, abs=0.03)
    assert found[2, 0] == pytest.approx(0.0, abs=0.03)


def test_autocorrelation_inside_of_a_mask(rng: np.random.Generator) -> None:
    noise = rng.normal(size=(200, 200))
    noise[:, :50] = 100 * gaussian_filter(noise[:, :50], 3)
    mask = np.zeros(noise.shape, bool)
    mask[:, 50:] = True
    assert np.abs(autocorrelation(noise, 2, mask=mask)).sum() == pytest.approx(1, abs=0.2)


def test_spectrum_of_white_noise_is_flat() -> None:
    flat = spectrum(NoiseEstimate.constant(1).correlation, (32, 40))
    assert flat == pytest.approx(np.ones((32, 40)))


# -- picture and room -------------------------------------------------------------------------
def test_picture(simulated, tmp_path: Path) -> None:
    from PIL import Image

    from everhart.noise.picture import draw, write_picture

    noisy = simulated.expose(
        simulated.blobs(), np.random.default_rng(0), gain=7, kernel=simulated.CAUSAL
    )
    report = diagnose(noisy)
    panels = [axes.get_title() for axes in draw(report).axes]
    assert {"Correlation map", "Correlation along the axes", "Variance against mean"} <= set(panels)
    target = write_picture(report, tmp_path / "map.png", title="a test")
    assert np.asarray(Image.open(target).convert("L")).std() > 5
    with pytest.raises(UsageError, match="exists"):
        write_picture(report, target)
    write_picture(report, target, overwrite=True)
    write_picture(diagnose(np.zeros((32, 32))), tmp_path / "nothing.svg")


def test_drawing_does_not_touch_pyplot() -> None:
    import subprocess
    import sys

    code = (
        "import sys, numpy as np\n"
        "from everhart.noise import diagnose\n"
        "from everhart.noise.picture import draw\n"
        "draw(diagnose(np.random.default_rng(0).normal(size=(64, 64))))\n"
        "assert 'matplotlib.pyplot' not in sys.modules\n"
        "assert 'torch' not in sys.modules\n"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


def test_the_room_can_be_called(rng: np.random.Generator) -> None:
    report = eh.noise(rng.normal(size=(64, 64)))
    assert report.source == "single image"
    assert math.isfinite(report.psnr_db)

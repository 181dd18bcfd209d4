from dataclasses import FrozenInstanceError, replace

import numpy as np
import pytest

from everhart import Micrograph
from everhart.align import estimate_shift
from everhart.errors import UsageError
from everhart.simulate import (
    Beam,
    BrightnessDrift,
    Camera,
    Charging,
    Converter,
    Detector,
    Dose,
    Microscope,
    Scan,
    simulate,
)


def quiet(**parts):
    return Microscope(**{"dose": None, **parts})


@pytest.fixture(scope="module")
def scene():
    return simulate("particles", shape=(160, 200), seed=1)


def test_an_ideal_microscope_gives_the_scene(scene, rng):
    image = quiet().expose(scene, rng)
    np.testing.assert_array_equal(image.pixels, np.rint(scene.image * 255).astype(np.uint8))
    assert image.pixel_size_nm == scene.pixel_size_nm
    assert image.metadata["simulation"]["synthetic"] is True
    assert image.metadata["simulation"]["scene"] == "particles"
    assert image.history[-1].operation == "simulate"


@pytest.mark.parametrize(
    ("bits", "dtype", "top"), [(8, "uint8", 255), (12, "uint16", 4095), (16, "uint16", 65535)]
)
def test_the_converter_clips_at_its_bits(bits, dtype, top, rng):
    bright = np.full((20, 20), 1.5, np.float32)
    image = quiet(converter=Converter(bits)).expose(bright, rng)
    assert image.dtype == dtype
    assert np.all(image.pixels == top)


def test_a_mean_is_of_independent_shots(scene, rng):
    microscope = Microscope.preset("tin-balls")
    one, clean = microscope.expose(scene, rng, 1, return_clean=True)
    eight = microscope.expose(scene, rng, 8, quantise=False)
    assert eight.dtype == np.float32
    # The mean of 8 whole numbers is a multiple of 1/8: the shots were converted one by one.
    np.testing.assert_array_equal(eight.pixels * 8, np.rint(eight.pixels * 8))
    unclipped = (clean.pixels > 60) & (clean.pixels < 150)
    variance = [np.var((m.pixels - clean.pixels)[unclipped]) for m in (one, eight)]
    assert variance[0] / variance[1] == pytest.approx(8, rel=0.1)
    assert microscope.expose(scene, rng, 8).dtype == np.uint8


def test_the_clean_image_is_the_expectation(scene, rng):
    microscope = Microscope(
        beam=Beam(1.0, 0.4, 20), charging=Charging(0.3, 20), dose=Dose(40),
        detector=Detector((0.6, 0.3, 0.1), 3.0), converter=Converter(16),
    )  # fmt: skip
    mean, clean = microscope.expose(scene, rng, 300, return_clean=True, quantise=False)
    error = (mean.pixels - clean.pixels) / 65535
    inside = clean.pixels < 0.6 * 65535
    assert abs(error[inside].mean()) < 0.001
    expected = np.sqrt(2 / 40 * scene.image.mean() * 0.46 / 300)
    assert error[inside].std() == pytest.approx(expected, rel=0.3)


def test_frames_drift_as_recorded(rng):
    scene = simulate("nand", shape=(200, 220), seed=3)
    microscope = quiet(scan=Scan(drift_px=2.0), beam=Beam(1.0))
    frames = microscope.expose_frames(scene, rng, 4)
    drift = np.array(frames.metadata["simulation"]["drift_px"])
    assert frames.shape == (4, 200, 220)
    np.testing.assert_array_equal(drift[0], 0)
    for frame, moved in zip(frames.pixels[1:], drift[1:], strict=True):
        back = estimate_shift(frame, frames.pixels[0], max_shift_px=12)
        np.testing.assert_allclose(back, -moved, atol=0.35)


def test_the_beam_has_its_widths():
    kernel = Beam(2.0, 0.8, 30.0).kernel().astype(np.float64)
    assert kernel.sum() == pytest.approx(1)
    reach = kernel.shape[0] // 2
    y, x = np.mgrid[-reach : reach + 1, -reach : reach + 1]
    moments = np.array([[(kernel * a * b).sum() for a in (x, y)] for b in (x, y)])
    sizes, axes = np.linalg.eigh(moments)
    # The pixel adds its own variance of 1/12.
    np.testing.assert_allclose(
        np.sqrt(sizes - 1 / 12), [2 * np.exp(-0.4), 2 * np.exp(0.4)], rtol=0.02
    )
    angle = np.degrees(np.arctan2(axes[1, 1], axes[0, 1])) % 180
    assert angle == pytest.approx(30, abs=0.5)


def test_charging_darkens_behind_bright_features(rng):
    image = np.full((8, 100), 0.3, np.float32)
    image[:, 30:50] = 0.9
    shadowed = quiet(charging=Charging(0.5, 10.0), converter=Converter(16)).expose(image, rng)
    row = shadowed.pixels[0] / 65535
    assert row[52] < 0.2
    assert row[25] == pytest.approx(0.3, abs=1e-3)
    assert row[95] == pytest.approx(0.3, abs=0.01)


def test_brightness_drifts_along_the_slow_axis(rng):
    flat = np.full((64, 32), 0.5, np.float32)
    image = quiet(brightness_drift=BrightnessDrift(0.2), converter=Converter(16)).expose(flat, rng)
    assert np.ptp(image.pixels, axis=1).max() == 0
    assert np.ptp(image.pixels[:, 0]) > 100


def test_jitter_moves_rows_along_x_only(rng):
    ramp = np.tile(np.linspace(0.2, 0.8, 200, dtype=np.float32), (300, 1))
    image = quiet(scan=Scan(jitter_px=0.7), converter=Converter(16)).expose(ramp, rng)
    slope = 0.6 / 199 * 65535
    shift = (image.pixels[:, 100] - ramp[:, 100] * 65535) / slope
    assert shift.std() == pytest.approx(0.7, rel=0.15)


def test_gain_and_black_level(rng):
    microscope = Microscope(dose=Dose(50), converter=Converter(8, black=20, white=220))
    assert microscope.gain == 4.0
    _, clean = microscope.expose(np.full((9, 9), 0.5, np.float32), rng, return_clean=True)
    assert np.all(clean.pixels == 120)
    assert quiet().gain == 0


def test_settings_cannot_change_and_are_json():
    import json

    microscope = Microscope.preset("tin-balls")
    with pytest.raises(FrozenInstanceError):
        microscope.dose = None
    json.dumps(microscope.to_dict())
    assert replace(microscope, dose=None).gain == 0
    assert microscope.name == "tin-balls"


@pytest.mark.parametrize(
    ("call", "words"),
    [
        (lambda _: Microscope.preset("tin-bals"), "did you mean 'tin-balls'"),
        (lambda rng: Microscope().expose(np.zeros((2, 8, 8)), rng), "one image"),
        (lambda rng: Microscope().expose(np.full((8, 8), 120), rng), "divide grey levels"),
        (lambda rng: Microscope().expose(np.zeros((8, 8)), rng, 0), "whole number"),
        (lambda rng: Camera().expose(np.zeros((8, 8)), rng, 0), "whole number"),
        (lambda _: Converter(24), "from 1 to 16"),
        (lambda _: Converter(8, black=10, white=5), "above black"),
        (lambda _: Dose(0), "at least"),
        (lambda _: Detector(()), "positive sum"),
        (lambda _: Beam(-1), "at least 0"),
        (lambda _: Camera(mtf_floor=2), "between"),
    ],
)
def test_wrong_calls(call, words, rng):
    with pytest.raises(UsageError, match=words):
        call(rng)


# -- camera -------------------------------------------------------------------------------


def test_the_camera_blurs_by_its_mtf(rng):
    camera = Camera(mtf_corner=0.5, mtf_floor=0.1)
    x = np.arange(256)
    frequency = 16 / 256
    wave = np.tile(0.5 + 0.3 * np.cos(2 * np.pi * frequency * x), (64, 1)).astype(np.float32)
    _, clean = camera.expose(wave, rng, return_clean=True)
    seen = (clean.pixels[32, 64:192].max() - clean.pixels[32, 64:192].min()) / 2
    wanted = 0.3 * camera.converter.contrast * camera.mtf(np.array(frequency))
    assert seen == pytest.approx(wanted, rel=0.03)


def test_camera_noise_is_correlated_in_both_directions(rng):
    camera = Camera(dose_e_per_px=20, gain_sigma=0.0, readout_sigma=0.0)
    image = camera.expose(np.full((400, 400), 0.5, np.float32), rng)
    noise = image.pixels.astype(float) - image.pixels.mean()
    along = np.mean(noise[:, 1:] * noise[:, :-1]) / noise.var()
    down = np.mean(noise[1:] * noise[:-1]) / noise.var()
    assert along > 0.3
    assert along == pytest.approx(down, abs=0.03)
    assert image.dtype == np.uint16
    assert isinstance(image, Micrograph)


def test_the_camera_keeps_a_flat_level_and_its_pattern(rng):
    flat = np.full((64, 64), 0.5, np.float32)
    camera = Camera(gain_sigma=0.05, gain_seed=3)
    mean = camera.expose(flat, rng, 400, quantise=False).pixels
    assert mean.mean() == pytest.approx(100 + 0.5 * 19900, rel=0.01)
    again = camera.expose(flat, rng, 400, quantise=False).pixels
    assert np.corrcoef(mean.ravel(), again.ravel())[0, 1] > 0.9
    assert camera.expose(flat, rng, 4).dtype == np.uint16

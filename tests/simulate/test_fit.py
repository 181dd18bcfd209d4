import numpy as np
import pytest

from everhart.errors import EverhartError, UsageError
from everhart.simulate import (
    Beam,
    Converter,
    Detector,
    Dose,
    Microscope,
    Scan,
    fit_noise,
    simulate,
)
from everhart.simulate.fit import factor_autocovariance
from everhart.simulate.residuals import flat_patches, patch_moments

TAPS = (0.584, 0.342, 0.059, 0.015)


def microscope(gain=3.94, taps=TAPS, readout=3.0, black=0.0, **parts):
    return Microscope(
        beam=Beam(0.8),
        dose=Dose((255 - black) / gain, compound=parts.pop("compound", True)),
        detector=Detector(taps, readout, parts.pop("rows", 0.0)),
        converter=Converter(black=black, white=255),
        scan=Scan(drift_px=1.5),
        **parts,
    )


def pairs_of(instrument, seed, count=4):
    rng = np.random.default_rng(seed)
    scenes = [simulate("particles", shape=(438, 508), seed=100 * seed + i) for i in range(count)]
    exposed = [instrument.expose(scene, rng, return_clean=True) for scene in scenes]
    return [noisy for noisy, _ in exposed], [clean for _, clean in exposed]


@pytest.mark.parametrize("seed", range(3))
def test_pairs_give_the_parameters_back(seed):
    noisy, clean = pairs_of(microscope(), seed)
    found = fit_noise(noisy, clean)
    assert found.gain == pytest.approx(3.94, rel=0.04)
    np.testing.assert_allclose(found.taps, TAPS, atol=0.015)
    assert found.readout_sigma == pytest.approx(3.0, abs=0.8)
    assert found.black == pytest.approx(0, abs=2.5)
    assert found.row_offset_sigma == 0
    assert found.compound
    assert found.r2 > 0.99
    assert found.skew_ratio == pytest.approx(1, abs=0.08)


@pytest.mark.parametrize("seed", range(2))
def test_black_level_and_readout_are_told_apart(seed):
    noisy, clean = pairs_of(microscope(gain=2.0, taps=(0.7, 0.3), readout=6.0, black=20.0), seed)
    found = fit_noise(noisy, clean)
    assert found.gain == pytest.approx(2.0, rel=0.05)
    assert found.black == pytest.approx(20, abs=3)
    assert found.readout_sigma == pytest.approx(6.0, abs=0.8)
    np.testing.assert_allclose(found.taps[:2], (0.7, 0.3), atol=0.02)
    known = fit_noise(noisy, clean, black=20.0)
    assert known.black == 20
    assert known.readout_sigma == pytest.approx(6.0, abs=0.3)


def test_white_noise_and_equal_pulses():
    noisy, clean = pairs_of(microscope(gain=6.0, taps=(1.0,), readout=2.0, compound=False), 1)
    found = fit_noise(noisy, clean)
    assert not found.compound
    assert found.gain == pytest.approx(6.0, rel=0.05)
    assert found.taps[0] == pytest.approx(1, abs=0.03)


def test_rows_with_an_offset():
    noisy, clean = pairs_of(microscope(rows=4.0), 1)
    found = fit_noise(noisy, clean)
    assert found.row_offset_sigma == pytest.approx(4.0, rel=0.12)
    assert found.gain == pytest.approx(3.94, rel=0.05)


@pytest.mark.parametrize("count", [2, 6])
def test_frames_do_without_a_clean_image(count):
    scene = simulate("particles", shape=(438, 508), seed=9)
    frames = microscope().expose_frames(scene, np.random.default_rng(2), count)
    found = fit_noise(frames)
    assert found.gain == pytest.approx(3.94, rel=0.06)
    np.testing.assert_allclose(found.taps, TAPS, atol=0.025)
    assert np.isfinite(found.skew_ratio) == (count > 2)


def test_the_model_predicts_what_it_samples(rng):
    noisy, clean = pairs_of(microscope(), 0, count=2)
    model = fit_noise(noisy, clean)
    drawn = model.sample(np.full((500, 500), 120, np.float32), rng).astype(float)
    assert drawn.mean() == pytest.approx(120, abs=0.3)
    assert drawn.var() == pytest.approx(model.variance(120.0), rel=0.02)
    lag = np.mean((drawn - 120)[:, 1:] * (drawn - 120)[:, :-1])
    assert lag == pytest.approx(model.autocovariance(120.0, 2)[1], rel=0.05)
    skew = np.mean((drawn - drawn.mean()) ** 3) / drawn.std() ** 3
    assert skew == pytest.approx(model.skew(120.0), abs=0.03)
    again = model.microscope(white=255.0)
    assert again.gain == pytest.approx(model.gain)
    assert again.detector.taps == model.taps


def test_a_noisy_reference_is_taken_out(rng):
    scene = np.full((400, 400), 0.5, np.float32)
    instrument = microscope()
    shot = np.asarray(instrument.expose(scene, rng), np.float32)
    mean = np.asarray(instrument.expose(scene, rng, 4, quantise=False), np.float32)
    corners = flat_patches(mean, 16, share=1.0)
    moments = patch_moments(shot, mean, corners, patch_px=16, reference_shots=4)
    taps = np.array(TAPS) / sum(TAPS)
    wanted = 2 * 3.94 * 127.5 * (taps**2).sum() + 9 + 1 / 12
    assert moments.covariance[:, 0].mean() == pytest.approx(wanted, rel=0.025)
    assert moments.covariance_down[:, 1].mean() / wanted == pytest.approx(0, abs=0.012)


@pytest.mark.parametrize("taps", [(1.0,), (0.7, 0.3), TAPS, tuple(np.exp(-np.arange(6) / 1.5))])
def test_spectral_factorisation(taps):
    taps = np.array(taps)
    covariance = np.correlate(taps, taps, "full")[taps.size - 1 :]
    np.testing.assert_allclose(factor_autocovariance(covariance), taps, atol=1e-4)


def test_wrong_calls(rng):
    image = np.zeros((64, 64), np.uint8)
    with pytest.raises(UsageError, match="one clean"):
        fit_noise([image, image], [image])
    with pytest.raises(UsageError, match="same"):
        fit_noise(image, np.zeros((64, 65), np.uint8))
    with pytest.raises(UsageError, match="at least two frames"):
        fit_noise(image)
    with pytest.raises(UsageError, match="n_taps"):
        fit_noise(image, image, n_taps=9)
    with pytest.raises(UsageError, match="positive"):
        fit_noise(image, image, clean_shots=0)
    with pytest.raises(EverhartError, match="flat patches"):
        fit_noise(image + np.uint8(255), image, register=False)

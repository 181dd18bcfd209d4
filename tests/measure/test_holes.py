"""Holes: size, place, shape and lattice against exact truth, and what is no hole."""

from __future__ import annotations

from dataclasses import replace

import cv2
import numpy as np
import pandas as pd
import pytest
from scipy.spatial import cKDTree

import everhart as eh
from everhart.measure._hole_summary import scatter_without_noise
from everhart.measure.holes import holes
from everhart.measure.result import Measurement
from everhart.simulate import Microscope
from everhart.simulate.components import Beam, Converter, Detector, Dose
from everhart.studies.wafer import wafer_microscope

TAPS = (0.5, 0.3, 0.15, 0.05)


def microscope(dose: float, taps: tuple[float, ...] = (1.0,)) -> Microscope:
    """A beam and electrons, and nothing that moves or charges."""
    return Microscope(
        beam=Beam(sigma_px=0.8),
        charging=None,
        brightness_drift=None,
        scan=None,
        dose=Dose(dose, compound=False),
        detector=Detector(taps=taps),
        converter=Converter(bits=16, black=2000, white=20000),
    )


def wafer(seed: int, shape: tuple[int, int] = (256, 384), **values: object) -> eh.simulate.Scene:
    """Holes of 20 px radius, 2 nm-odd pixels."""
    rng = np.random.default_rng(seed)
    return eh.simulate("nand", shape=shape, pixel_size_nm=2.4, rng=rng, **values)  # type: ignore[operator, no-any-return]


def exposed(
    scene: eh.simulate.Scene, dose: float, seed: int = 0
) -> tuple[eh.Micrograph, eh.Micrograph]:
    """One frame, and what it is on average."""
    rng = np.random.default_rng([seed, 7])
    image, clean = microscope(dose).expose(scene, rng, 1, return_clean=True)
    return image, replace(image, pixels=np.asarray(clean))


def matched(found: Measurement, truth: pd.DataFrame) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Rows of the same holes."""
    apart, index = cKDTree(truth[["y_px", "x_px"]].to_numpy()).query(
        found.table[["y_px", "x_px"]].to_numpy()
    )
    assert (apart < 3).all()
    return found.table, truth.iloc[index].reset_index(drop=True)


def disc(y: float, x: float, radius: float, shape: tuple[int, int] = (96, 112)) -> np.ndarray:
    rows, columns = np.mgrid[: shape[0], : shape[1]]
    return 1 / (1 + np.exp(1.2 * (radius - np.hypot(rows - y, columns - x))))


@pytest.fixture(scope="module")
def scene() -> eh.simulate.Scene:
    return wafer(1)


@pytest.fixture(scope="module")
def image(scene: eh.simulate.Scene) -> eh.Micrograph:
    return exposed(scene, 25.0)[0]


@pytest.fixture(scope="module")
def found(image: eh.Micrograph) -> Measurement:
    return holes(image)


def test_table_and_summary(scene: eh.simulate.Scene, found: Measurement) -> None:
    table, true = matched(found, scene.truth.tables["holes"])
    assert list(table.columns) == [
        "hole", "x_px", "y_px", "x_nm", "y_nm", "x_sd_nm", "y_sd_nm", "cd_nm", "cd_sd_nm",
        "ellipticity", "ellipticity_sd", "angle_deg", "angle_sd_deg", "cer_3sigma_nm",
        "cer_3sigma_sd_nm", "contrast", "contrast_sd", "score",
    ]  # fmt: skip
    assert len(table) == len(true) == found.summary["count"]
    np.testing.assert_allclose(table.x_nm, 2.4 * table.x_px)
    assert np.hypot(table.x_px - true.x_px, table.y_px - true.y_px).max() < 0.3
    summary = found.summary
    assert summary["pitch_a_nm"] == pytest.approx(146, abs=4 * summary["pitch_a_sd_nm"])
    assert summary["pitch_b_nm"] == pytest.approx(146, abs=4 * summary["pitch_b_sd_nm"])
    assert summary["lattice_angle_deg"] == pytest.approx(60, abs=0.5)
    assert summary["missing_count"] == 0
    assert "half way" in summary["edge_convention"]
    truth = 3 * true.diameter_nm.std()
    assert summary["lcdu_3sigma_unbiased_nm"] < summary["lcdu_3sigma_nm"]
    assert summary["lcdu_3sigma_unbiased_nm"] == pytest.approx(truth, rel=0.15)
    assert {o.kind for o in found.outlines} == {"edge"}
    assert set(found.tables["lattice"].columns) == {"hole", "site_a", "site_b", "dx_nm", "dy_nm"}


@pytest.mark.parametrize(("dose", "spread", "bias"), [(10.0, 0.13, 0.12), (100.0, 0.05, 0.04)])
def test_cd_and_its_uncertainty(dose: float, spread: float, bias: float) -> None:
    """One frame against the noise-free image; the limits have a margin for the few holes."""
    errors, quoted = [], []
    for seed in range(3):
        frame, clean = exposed(wafer(seed), dose, seed)
        noisy, true = matched(holes(frame, unit="px"), holes(clean, unit="px").table)
        errors.append(noisy.cd_px - true.cd_px)
        quoted.append(noisy.cd_sd_px)
    error, sd = np.concatenate(errors), np.concatenate(quoted)
    assert error.std() < spread
    assert abs(error.mean()) < bias
    covered = np.mean(np.abs(error) < sd)
    assert 0.5 < covered < 0.88  # of 70 to 80 holes: 0.68 with three standard deviations of 0.06


def test_model_edge_is_the_true_one(scene: eh.simulate.Scene) -> None:
    clean = exposed(scene, 100.0)[1]
    table, true = matched(holes(clean, edge="model"), scene.truth.tables["holes"])
    half = holes(clean).table
    error = (table.cd_nm - true.diameter_nm) / 2.4
    assert abs(error.mean()) < 0.25
    assert error.std() < 0.03
    assert half.cd_nm.mean() < table.cd_nm.mean() - 1


def test_noise_is_taken_out_of_roughness_and_ellipticity_is_seen(found: Measurement) -> None:
    frame = exposed(wafer(3, contour_roughness=0.0, ellipticity=0.0), 10.0)[0]
    smooth = holes(frame).table
    # Three sigma of the truth is 0; of the noise alone it would be some nanometres.
    assert np.sqrt(np.mean(smooth.cer_3sigma_nm**2)) < 1.5
    assert smooth.ellipticity.mean() < 4 * smooth.ellipticity_sd.mean()
    oval = holes(exposed(wafer(3, kind="oval"), 10.0)[0], unit="px")
    table, true = matched(oval, wafer(3, kind="oval").truth.tables["holes"])
    aspect = true.minor_px / true.major_px
    assert np.abs(1 - table.ellipticity - aspect).mean() < 0.03
    away = (table.angle_deg - true.angle_deg + 90) % 180 - 90
    assert np.abs(away).max() < 10


def test_missing_sites(scene: eh.simulate.Scene) -> None:
    del scene
    made = wafer(5, shape=(384, 512), defects=["missing_hole", "missing_hole"])
    found = holes(exposed(made, 25.0)[0])
    inside = [o for o in found.outlines if o.kind == "missing"]
    assert found.summary["missing_count"] == len(inside) == len(found.summary["missing"])
    truth = made.truth.defects[["y_nm", "x_nm"]].to_numpy()
    for site in found.summary["missing"]:
        assert np.hypot(*(truth - [site["y_nm"], site["x_nm"]]).T).min() < 6


def test_the_detector_delay_is_taken_out(scene: eh.simulate.Scene) -> None:
    rng = np.random.default_rng(3)
    frame = microscope(100.0, TAPS).expose(scene, rng, 1)
    delay = float(np.arange(4) @ np.array(TAPS))
    raw = holes(frame)
    corrected = holes(frame, detector_taps=TAPS)
    assert corrected.summary["detector_delay_px"] == pytest.approx(delay)
    for found, shift in ((raw, delay), (corrected, 0.0)):
        table, true = matched(found, scene.truth.tables["holes"])
        assert np.mean(table.x_px - true.x_px) == pytest.approx(shift, abs=0.05)
        assert np.mean(table.y_px - true.y_px) == pytest.approx(0, abs=0.05)
    # All holes are moved alike: the lattice does not see it.
    key = "placement_x_3sigma_nm"
    assert raw.summary[key] == pytest.approx(corrected.summary[key])


def test_correlated_noise_makes_the_sd_larger(scene: eh.simulate.Scene) -> None:
    errors, sd, white = [], [], []
    for seed in range(2):
        frame, clean = exposed(scene, 10.0, seed)
        smooth = replace(
            frame, pixels=cv2.GaussianBlur(frame.pixels.astype(np.float32), (0, 0), 1.2)
        )
        soft = replace(clean, pixels=cv2.GaussianBlur(clean.pixels.astype(np.float32), (0, 0), 1.2))
        noisy, true = matched(holes(smooth, unit="px"), holes(soft, unit="px").table)
        errors.append(noisy.cd_px - true.cd_px)
        sd.append(noisy.cd_sd_px)
        white.append(holes(frame, unit="px").table.cd_sd_px.mean())
    error = np.concatenate(errors)
    assert 0.45 < np.mean(np.abs(error) < np.concatenate(sd)) < 0.9
    # Blurring away half of the pixels' noise does not halve what the hole is unsure by.
    assert np.concatenate(sd).mean() > 0.75 * np.mean(white)


def test_transposed_shifted_scaled_inverted(image: eh.Micrograph, found: Measurement) -> None:
    first = found.table
    turned = holes(replace(image, pixels=image.pixels.T.copy())).table
    turned = turned.rename(columns={"x_px": "y_px", "y_px": "x_px"})
    apart, index = cKDTree(turned[["y_px", "x_px"]].to_numpy()).query(first[["y_px", "x_px"]])
    assert apart.max() < 0.1
    np.testing.assert_allclose(turned.cd_nm.iloc[index], first.cd_nm, atol=0.1)
    scaled = holes(replace(image, pixels=image.pixels * 3.0 - 500.0)).table
    np.testing.assert_allclose(scaled.cd_nm, first.cd_nm, atol=0.01)
    np.testing.assert_allclose(scaled.contrast, 3 * first.contrast, rtol=1e-3)
    inverted = holes(
        replace(image, pixels=-image.pixels.astype(np.float64)), polarity="bright"
    ).table
    np.testing.assert_allclose(inverted.cd_nm, first.cd_nm, atol=0.01)
    moved = holes(replace(image, pixels=image.pixels[3:, 2:].copy())).table
    np.testing.assert_allclose(moved.x_px + 2, first.x_px, atol=0.01)
    np.testing.assert_allclose(moved.cd_nm, first.cd_nm, atol=0.02)


def test_pixels_that_are_not_square() -> None:
    rows, columns = np.mgrid[:80, :160]
    round_in_nm = np.hypot((rows - 40.2) * 2.0, columns - 80.3)
    grey = 1 / (1 + np.exp(30 - round_in_nm))
    table = holes(eh.Micrograph(grey, pixel_size_nm=(2.0, 1.0))).table
    assert table.cd_nm[0] == pytest.approx(60, abs=0.3)
    assert table.ellipticity[0] < 0.01
    assert table.y_nm[0] == pytest.approx(80.4, abs=0.1)


def test_one_hole_and_one_that_is_cut() -> None:
    rng = np.random.default_rng(0)
    grey = disc(45.3, 40.6, 18) * disc(50, 108, 18)
    found = holes(grey + rng.normal(0, 0.02, grey.shape), unit="px")
    assert found.summary["count"] == 1
    assert found.table.cd_px[0] == pytest.approx(36, abs=4 * found.table.cd_sd_px[0] + 0.02)
    assert found.summary["pitch_a_px"] is None
    assert found.summary["lcdu_3sigma_px"] is None
    assert "x_nm" not in found.table


def test_nothing_to_measure() -> None:
    rng = np.random.default_rng(1)
    noise = rng.normal(100, 20, (160, 200))
    for empty in (noise, np.full((64, 64), 7.0), np.tile(np.arange(96.0), (96, 1))):
        with pytest.raises(eh.EverhartError, match="No hole was found"):
            holes(empty, unit="px")
    with pytest.raises(eh.EverhartError, match="saturated"):
        holes(np.clip(disc(40, 50, 15) * 400, 0, 255).astype(np.uint8), unit="px")
    with pytest.raises(eh.EverhartError, match="cut by the border"):
        holes(disc(40, 14, 18), unit="px")


@pytest.mark.parametrize(
    ("pixels", "values", "said"),
    [
        (np.zeros((2, 32, 32)), {"unit": "px"}, "one image"),
        (np.full((32, 32), np.nan), {"unit": "px"}, "NaN"),
        (np.zeros((32, 32)), {}, "--pixel-size-nm"),
        (np.zeros((32, 32)), {"unit": "px", "edge": "hlaf"}, "did you mean 'half'"),
        (np.zeros((32, 32)), {"unit": "px", "polarity": "drak"}, "did you mean 'dark'"),
        (np.zeros((32, 32)), {"unit": "px", "detector_taps": (1.0, -1.0)}, "detector_taps"),
    ],
)
def test_wrong_calls(pixels: np.ndarray, values: dict, said: str) -> None:
    with pytest.raises(eh.UsageError, match=said):
        holes(pixels, **values)


def test_the_public_name(image: eh.Micrograph, found: Measurement) -> None:
    again = eh.measure.holes(image)  # type: ignore[operator]
    pd.testing.assert_frame_equal(again.table, found.table)


def test_scatter_of_noise_alone() -> None:
    rng = np.random.default_rng(2)
    biased, _, unbiased, sd = scatter_without_noise(rng.normal(0, 1, 400), np.ones(400))
    assert biased == pytest.approx(3, rel=0.15)
    assert unbiased < 1.5
    assert unbiased < 4 * sd


def test_a_wafer_under_its_microscope() -> None:
    made = wafer(2)
    frame = wafer_microscope().expose(made, np.random.default_rng(0), 4)
    table, true = matched(holes(frame), made.truth.tables["holes"])
    assert len(table) == len(true)
    assert np.std(table.cd_nm - true.diameter_nm) < 1.0

"""Lines: found by themselves, measured where they were drawn, refused where there are none."""

from __future__ import annotations

from functools import cache
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

import everhart as eh
from everhart.errors import EverhartError, UsageError
from everhart.measure import lines
from everhart.simulate import Beam, Detector, Dose, Microscope, Scan
from everhart.simulate.lines import lines as draw_lines
from everhart.simulate.scene import Scene

Pixels = NDArray[Any]


@cache
def scene(seed: int = 0, shape: tuple[int, int] = (500, 420), **kwargs: float) -> Scene:
    return draw_lines(np.random.default_rng(seed), shape=shape, pixel_size_nm=1.0, **kwargs)


def exposed(what: Scene, dose: float = 60.0, seed: int = 1, **parts: Any) -> eh.Micrograph:
    microscope = Microscope(beam=Beam(0.8), dose=Dose(dose), **parts)
    return microscope.expose(what, np.random.default_rng(seed))


@cache
def measured() -> Any:
    return lines(exposed(scene()))


def test_summary_and_tables_have_a_deviation_beside_each_estimate() -> None:
    found = measured()
    summary = dict(found.summary)
    for key in (
        "cd", "pitch", "lwr_3sigma", "lwr_3sigma_unbiased", "ler_3sigma", "ler_3sigma_unbiased",
        "correlation_length",
    ):  # fmt: skip
        assert summary[f"{key}_nm"] > 0
        assert 0 < summary[f"{key}_sd_nm"] < summary[f"{key}_nm"]
    assert 0 < summary["hurst_sd"] < 0.5
    assert "half way" in summary["edge_convention"]
    assert summary["rows"] == 500
    assert summary["count"] == len(found.table)
    assert {"cd_nm", "cd_sd_nm", "ler_left_3sigma_unbiased_sd_nm"} <= set(found.table.columns)
    assert list(found.tables["psd"].columns) == [
        "frequency_per_nm", "psd_nm3", "floor_nm3", "model_nm3",
    ]  # fmt: skip
    edges = [o for o in found.outlines if o.kind == "edge"]
    assert len(edges) == 2 * len(found.table)
    assert found.outlines[0].points.shape == (500, 2)
    assert found.table.line.tolist() == list(range(1, len(found.table) + 1))
    assert summary["row_jitter_sd_nm"] > 0
    assert summary["warning"] is None


def test_edges_are_where_they_were_drawn() -> None:
    what = scene()
    drawn = what.truth.tables["lines"]
    drawn = drawn[drawn.complete]
    found = lines(exposed(what, dose=400))
    assert len(found.table) == len(drawn)
    assert found.summary["pitch_nm"] == pytest.approx(32, abs=0.1)
    # Half way up the rim is outside of the wall, on both sides by the same.
    off = found.table.cd_nm.to_numpy() - drawn.cd_nm.to_numpy()
    assert np.std(off) < 0.1
    assert 0.5 < np.mean(off) < 2.5
    np.testing.assert_allclose(found.table.center_nm, drawn.center_nm, atol=0.15)
    edges = what.truth.edges_px
    assert edges is not None
    for outline in found.outlines[:4]:
        nearest = edges[np.argmin(np.abs(edges.mean(axis=1) - outline.points[:, 1].mean()))]
        assert np.corrcoef(nearest, outline.points[:, 1])[0, 1] > 0.9


@pytest.mark.parametrize("dose", [8.0, 30.0, 200.0])
def test_the_dose_does_not_change_the_unbiased_roughness(dose: float) -> None:
    what = scene(5, (800, 700), sigma_nm=1.0, correlation_length_nm=20.0, hurst=0.75)
    s = lines(exposed(what, dose, detector=Detector(taps=(0.6, 0.4)))).summary
    assert s["ler_3sigma_unbiased_nm"] == pytest.approx(3.0, abs=3 * s["ler_3sigma_unbiased_sd_nm"])
    assert s["ler_3sigma_unbiased_nm"] == pytest.approx(3.0, rel=0.1)
    if dose < 10:
        assert s["ler_3sigma_nm"] > 3.8


@pytest.mark.parametrize("degrees", [0.0, 3.0])
def test_straight_lines_with_noise_have_no_roughness(degrees: float) -> None:
    y, x = np.mgrid[:300, :360]
    across = x * np.cos(np.radians(degrees)) - y * np.sin(np.radians(degrees))
    straight = 100 + 40 * (1 - np.tanh((np.abs(across % 40 - 20) - 10) / 1.2))
    for seed in range(4):
        noise = np.random.default_rng(seed).normal(0, 12, x.shape)
        s = lines(eh.Micrograph(straight + noise, 1.0)).summary
        assert s["ler_3sigma_nm"] > 0.8
        for key in ("ler", "lwr"):
            value, sd = (s[f"{key}_3sigma_unbiased{end}_nm"] for end in ("", "_sd"))
            assert value <= 2.1 * sd
            assert 0 < sd < 0.8


def test_jitter_and_offset_of_rows_are_not_the_lines() -> None:
    what = scene(5, (800, 700), sigma_nm=1.0, correlation_length_nm=20.0, hurst=0.75)
    still = lines(exposed(what, 100)).summary
    shaken = lines(
        exposed(what, 100, scan=Scan(jitter_px=1.0), detector=Detector(row_offset_sigma=12.0))
    ).summary
    assert shaken["row_jitter_nm"] == pytest.approx(1.0, abs=0.15)
    assert shaken["ler_3sigma_nm"] > 1.2 * still["ler_3sigma_nm"]
    for key in ("ler_3sigma_unbiased_nm", "lwr_3sigma_unbiased_nm"):
        assert shaken[key] == pytest.approx(still[key], rel=0.05)


def test_lines_along_x_are_the_same_lines() -> None:
    image = exposed(scene())
    turned = eh.Micrograph(np.ascontiguousarray(np.asarray(image.pixels).T), 1.0)
    found, across = lines(turned), measured()
    assert found.summary["direction"] == "horizontal"
    assert found.summary["cd_nm"] == pytest.approx(across.summary["cd_nm"], abs=1e-6)
    np.testing.assert_allclose(found.outlines[0].points, across.outlines[0].points[:, ::-1])


def test_the_detector_filter_along_the_lines_is_not_roughness() -> None:
    what = scene(5, (800, 700), sigma_nm=1.0, correlation_length_nm=20.0, hurst=0.75)
    turned = np.ascontiguousarray(what.image.T)
    microscope = Microscope(beam=Beam(0.8), dose=Dose(20), detector=Detector(taps=(0.6, 0.3, 0.1)))
    image = microscope.expose(turned, np.random.default_rng(1))
    s = lines(eh.Micrograph(np.asarray(image.pixels), 1.0)).summary
    assert s["direction"] == "horizontal"
    # Noise that rows share was taken for a roughness of 4.1 nm.
    assert s["ler_3sigma_unbiased_nm"] == pytest.approx(3.0, abs=3 * s["ler_3sigma_unbiased_sd_nm"])
    assert s["ler_3sigma_unbiased_nm"] == pytest.approx(3.0, rel=0.1)


def test_an_image_without_noise_is_measured() -> None:
    microscope = Microscope(beam=Beam(0.8), dose=Dose(60), detector=Detector(taps=(0.6, 0.3, 0.1)))
    _, clean = microscope.expose(scene(), np.random.default_rng(1), return_clean=True)
    for pixels in (clean.pixels, np.ascontiguousarray(clean.pixels.T)):
        s = lines(eh.Micrograph(pixels, 1.0)).summary
        assert s["ler_3sigma_unbiased_nm"] == pytest.approx(2.4, rel=0.15)


def test_lines_that_the_border_cuts_are_drawn_and_not_measured() -> None:
    found = lines(exposed(scene(0, (300, 420), offset_px=10.0)))
    beside = [o for o in found.outlines if o.kind == "doubt"]
    assert {o.label for o in beside} == {"?"}
    measured_at = [o.points[:, 1].mean() for o in found.outlines if o.kind == "edge"]
    for outline in beside:
        where = outline.points[:, 1].mean()
        assert where < min(measured_at) or where > max(measured_at)


def test_nothing_is_said_of_a_denoised_image_that_it_does_not_tell() -> None:
    image = exposed(scene())
    denoised = eh.denoise(image, method="gaussian", sigma_px=1.0)
    found = lines(denoised)
    s = found.summary
    assert s["cd_nm"] > 0
    assert s["lwr_3sigma_nm"] > 0
    for key in (
        "cd_sd_nm", "ler_3sigma_unbiased_nm", "lwr_3sigma_unbiased_nm", "hurst", "edge_noise_nm",
    ):  # fmt: skip
        assert s[key] is None
    assert "denoised by gaussian" in s["warning"]
    assert found.table.cd_sd_nm.isna().all()
    assert found.table.lwr_3sigma_unbiased_nm.isna().all()
    assert found.tables["psd"].model_nm3.isna().all()
    # Without a history the spectrum tells.
    again = lines(eh.Micrograph(np.asarray(eh.denoise(image, method="median").pixels), 1.0)).summary
    assert again["misfit"] > 2
    assert "spectrum" in again["warning"]


def test_spaces_and_inverted_images() -> None:
    image = exposed(scene())
    spaces = lines(image, polarity="dark").summary
    bright = measured().summary
    assert spaces["cd_nm"] + bright["cd_nm"] == pytest.approx(bright["pitch_nm"], abs=0.3)
    inverted = eh.Micrograph(255 - np.asarray(image.pixels), 1.0)
    again = lines(inverted, polarity="dark").summary
    assert again["cd_nm"] == pytest.approx(bright["cd_nm"], abs=1e-3)


@settings(max_examples=5, deadline=None)
@given(st.floats(0.01, 100), st.floats(-1000, 1000))
def test_gain_and_offset_do_not_matter(gain: float, offset: float) -> None:
    pixels = np.asarray(exposed(scene()).pixels, np.float64)
    found = lines(eh.Micrograph(gain * pixels + offset, 1.0)).summary
    plain = measured().summary
    for key in ("cd_nm", "pitch_nm", "lwr_3sigma_nm"):
        assert found[key] == pytest.approx(plain[key], rel=1e-2)


def test_the_unit_scales_lengths() -> None:
    image = exposed(scene())
    in_px = lines(image, unit="px").summary
    twice = lines(eh.Micrograph(np.asarray(image.pixels), 2.0)).summary
    for key in ("cd", "pitch", "lwr_3sigma", "ler_3sigma_unbiased", "correlation_length"):
        assert twice[f"{key}_nm"] == pytest.approx(2 * in_px[f"{key}_px"], rel=0.02)
    with pytest.raises(UsageError, match="pixel size"):
        lines(np.asarray(image.pixels))


@pytest.mark.parametrize("degrees", [-7.0, 2.5])
def test_tilted_lines_on_pixels_that_are_not_square(degrees: float) -> None:
    image = np.asarray(exposed(scene(5, (700, 700)), 300).pixels)
    turn = cv2.getRotationMatrix2D((349.5, 349.5), degrees, 1.0)
    tilted = cv2.warpAffine(image, turn, (700, 700), flags=cv2.INTER_CUBIC)[110:590, 110:590]
    flat = np.ascontiguousarray(tilted.reshape(240, 2, 480).mean(axis=1))
    plain = lines(eh.Micrograph(image, 1.0)).summary
    for pixels, size in ((tilted, (1.0, 1.0)), (flat, (2.0, 1.0))):
        found = lines(eh.Micrograph(pixels, size)).summary
        assert found["tilt_deg"] == pytest.approx(degrees, abs=0.2)
        assert found["pitch_nm"] == pytest.approx(32, abs=0.15)
        assert found["cd_nm"] == pytest.approx(plain["cd_nm"], abs=0.4)


def picture(name: str) -> Pixels:
    """Return what is no image of lines and spaces."""
    rng = np.random.default_rng(2)
    y, x = np.mgrid[:300, :400]
    noise = rng.normal(0, 10, y.shape)
    if name == "holes":
        return 180 - 80 * (np.hypot(y % 60 - 30, x % 60 - 30) < 18) + noise
    if name == "one line":
        return 100 + 80 * (np.abs(x - 200) < 40) + noise
    if name == "smooth noise":
        return np.asarray(cv2.GaussianBlur(noise, (0, 0), 3))
    if name == "row noise":
        return noise + rng.normal(0, 5, (300, 1))
    if name == "flat":
        return np.full(y.shape, 128, np.uint8)
    if name == "ramp":
        return x + noise
    if name == "saturated":
        image = np.asarray(exposed(scene()).pixels).astype(int)
        return np.clip(3 * image, 0, 255).astype(np.uint8)
    return noise


@pytest.mark.parametrize(
    "name",
    ["noise", "smooth noise", "row noise", "holes", "one line", "flat", "ramp", "saturated"],
)
def test_what_shows_no_lines_is_refused(name: str) -> None:
    with pytest.raises(EverhartError) as caught:
        lines(picture(name), unit="px")
    assert not isinstance(caught.value, UsageError)
    if name == "one line":
        assert "One line" in str(caught.value)
    if name == "saturated":
        assert "saturated" in str(caught.value)


@pytest.mark.parametrize("seed", [0, 1, 4, 5])
def test_offsets_of_rows_are_no_lines(seed: int) -> None:
    # Noise alone, with a level of its own in each row: a scan shows that often.
    rng = np.random.default_rng(seed)
    image = 120 + rng.normal(0, 6, (224, 224)) + rng.normal(0, 20, (224, 1))
    with pytest.raises(EverhartError, match="offsets of"):
        lines(image, unit="px")


def test_wrong_calls_are_refused() -> None:
    good = np.asarray(exposed(scene()).pixels)
    for bad in (good[:40], np.stack([good, good]), np.where(good > 250, np.nan, good * 1.0)):
        with pytest.raises(UsageError):
            lines(bad, unit="px")
    for wrong in ({"polarity": "grey"}, {"direction": "up"}, {"unit": "um"}):
        with pytest.raises(UsageError):
            lines(good, **{"unit": "px", **wrong})


def test_defects_are_not_measured_as_lines() -> None:
    what = draw_lines(
        np.random.default_rng(3), shape=(500, 420), pixel_size_nm=1.0, defects=("bridge", "break")
    )
    found = lines(exposed(what))
    assert found.summary["count"] >= 8
    assert (found.table.missing <= 0.05).all()


def test_the_spectra_are_drawn_and_of_lines_only(tmp_path: Path) -> None:
    from PIL import Image

    from everhart.measure.plot import write_plot
    from everhart.measure.result import Measurement

    rng = np.random.default_rng(0)
    x = np.arange(160.0)
    row = 100 + 80 * (np.abs(x % 40 - 20) < 8.25)
    found = lines(row + rng.normal(0, 5, (200, 160)), unit="px")
    drawn = np.asarray(Image.open(write_plot(found, tmp_path / "psd.png")).convert("L"))
    assert drawn.shape == (480, 1080)
    assert 0.01 < (drawn < 200).mean() < 0.5
    with pytest.raises(UsageError, match="lines and particles"):
        write_plot(Measurement("holes", found.table, {}), tmp_path / "holes.png")

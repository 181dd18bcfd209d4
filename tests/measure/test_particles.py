from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from everhart.errors import EverhartError, UsageError
from everhart.measure._separation import separate
from everhart.measure._shape import shape_of
from everhart.measure.distribution import draw_size_distribution, size_distribution
from everhart.measure.particles import particles
from everhart.micrograph import Micrograph

BALLS = ((40.3, 50.0, 14.0), (38.0, 120.7, 9.0), (90.0, 70.4, 18.0), (88.5, 140.0, 7.0))


def soft(distance: Any) -> Any:
    """An edge that is blurred by a pixel."""
    from scipy.special import ndtr

    return ndtr(-distance)


def balls(
    where: tuple[tuple[float, float, float], ...] = BALLS, *, sigma: float = 0.0, seed: int = 0,
    shape: tuple[int, int] = (130, 170),
) -> np.ndarray[Any, np.dtype[np.float64]]:  # fmt: skip
    y, x = np.mgrid[: shape[0], : shape[1]]
    image = np.full(shape, 30.0)
    for cy, cx, radius in where:
        image = np.maximum(image, 30 + 100 * soft(np.hypot(y - cy, x - cx) - radius))
    return image + sigma * np.random.default_rng(seed).standard_normal(shape)


def ellipse(major: float, minor: float, angle_deg: float) -> np.ndarray[Any, Any]:
    y, x = np.mgrid[:120, :120] - 59.6
    turn = np.radians(angle_deg)
    u, v = x * np.cos(turn) + y * np.sin(turn), y * np.cos(turn) - x * np.sin(turn)
    norm = np.hypot(u / major, v / minor)
    slope = np.hypot(u / major**2, v / minor**2) / np.maximum(norm, 1e-9)
    return 20 + 80 * soft((norm - 1) / np.maximum(slope, 1e-9))


@pytest.mark.parametrize("sigma", [0.0, 15.0])
def test_balls_have_their_diameters_and_places(sigma: float) -> None:
    found = particles(balls(sigma=sigma), unit="px")
    assert len(found.table) == len(BALLS)
    for cy, cx, radius in BALLS:
        away = np.hypot(found.table["y_px"] - cy, found.table["x_px"] - cx)
        row = found.table.iloc[int(away.argmin())]
        assert away.min() < (0.05 if sigma == 0 else 0.4)
        assert abs(row["diameter_px"] - 2 * radius) < (0.3 if sigma == 0 else 1.0)
        assert row["circularity"] > 0.97
        assert not row["touching"]
    assert found.summary["polarity"] == "bright"


def test_standard_deviations_are_those_over_seeds() -> None:
    runs = [particles(balls(sigma=15.0, seed=seed), unit="px").table for seed in range(10)]
    for name in ("diameter_px", "y_px", "aspect"):
        measured = np.mean([np.std([run[name][k] for run in runs]) for k in range(4)])
        sd = {"diameter_px": "diameter_sd_px", "y_px": "y_sd_px", "aspect": "aspect_sd"}[name]
        quoted = np.mean([run[sd].mean() for run in runs])
        # The size's has the doubt about the edge in it too, which is the same in all runs.
        assert 0.6 < quoted / measured < (5 if name == "diameter_px" else 2.2), name


@pytest.mark.parametrize(("major", "minor", "angle"), [(40, 12, 30), (30, 15, 100), (35, 8, 165)])
def test_an_elongated_particle_is_one_with_its_axes(
    major: float, minor: float, angle: float
) -> None:
    found = particles(ellipse(major, minor, angle), unit="px", polarity="bright")
    assert len(found.table) == 1
    row = found.table.iloc[0]
    assert row["aspect"] == pytest.approx(major / minor, rel=0.03)
    assert row["angle_deg"] == pytest.approx(angle, abs=0.5)
    assert row["area_px2"] == pytest.approx(np.pi * major * minor, rel=0.03)
    assert row["circularity"] < 0.9


def test_touching_balls_are_separated_and_flagged() -> None:
    touching = ((60.0, 60.0, 18.0), (60.0, 93.0, 16.0), (88.0, 77.0, 14.0), (30.0, 140.0, 10.0))
    found = particles(balls(touching, sigma=8.0), unit="px")
    assert len(found.table) == 4
    assert found.table["touching"].sum() == 3
    sizes = np.sort(found.table["diameter_px"])
    np.testing.assert_allclose(sizes, [20, 28, 32, 36], atol=2.0)


@pytest.mark.parametrize("distance", [1.35, 1.5, 1.9])
def test_a_neck_is_cut(distance: float) -> None:
    y, x = np.mgrid[:80, :120]
    mask = (np.hypot(y - 40, x - 40) < 16) | (np.hypot(y - 40, x - 40 - 16 * distance) < 16)
    assert separate(mask).max() == 2


def test_a_rough_rod_is_not_cut() -> None:
    """Of 100 rods with rough borders two are cut at most: there are rods with a neck."""
    rng = np.random.default_rng(0)
    cut = 0
    for _ in range(100):
        size = {"length": rng.uniform(20, 90), "width": rng.uniform(7, 14)}
        cut += separate(_rough_rod(rng, angle=rng.uniform(0, 180), **size)).max() != 1
    assert cut <= 2


def _rough_rod(
    rng: np.random.Generator, *, length: float, width: float, angle: float
) -> np.ndarray[Any, np.dtype[np.bool_]]:
    from scipy.ndimage import gaussian_filter

    y, x = np.mgrid[:120, :120] - 60.0
    turn = np.radians(angle)
    u, v = x * np.cos(turn) + y * np.sin(turn), y * np.cos(turn) - x * np.sin(turn)
    distance = np.hypot(np.maximum(np.abs(u) - length / 2, 0), v) - width
    rough = gaussian_filter(rng.standard_normal(y.shape), 2.0)
    inside: np.ndarray[Any, np.dtype[np.bool_]] = distance + 3 * rough < 0
    return inside


def test_particles_at_the_border_are_flagged_and_left_out() -> None:
    found = particles(balls((*BALLS, (0.0, 90.0, 10.0))), unit="px")
    assert found.table["border"].sum() == 1
    assert found.summary["particles"] == len(BALLS)
    assert found.summary["at_border"] == 1
    inside = found.table[~found.table["border"]]
    assert found.summary["diameter_mean_px"] == pytest.approx(inside["diameter_px"].mean())
    for name in ("circularity", "aspect"):
        expected = inside[name].std() / np.sqrt(len(inside))
        assert found.summary[f"{name}_mean_sd"] == pytest.approx(expected)
    largest = inside.loc[inside["diameter_px"].idxmax()]
    assert largest["weight"] == inside["weight"].max() > 1


def test_dark_particles_are_bright_ones_inverted() -> None:
    image = balls(sigma=5.0)
    one, two = particles(image, unit="px"), particles(160 - image, unit="px")
    assert two.summary["polarity"] == "dark"
    np.testing.assert_allclose(two.table["diameter_px"], one.table["diameter_px"], atol=0.02)
    assert (two.table["contrast"] < 0).all()


def test_shading_is_not_a_particle_and_moves_no_edge() -> None:
    y, x = np.mgrid[:260, :340]
    where = tuple((2 * cy, 2 * cx, r) for cy, cx, r in BALLS)
    image = balls(where, shape=(260, 340)) + 0.15 * x + 0.1 * y
    found = particles(image, unit="px").table
    assert len(found) == 4
    np.testing.assert_allclose(np.sort(found["diameter_px"]), [14, 18, 28, 36], atol=0.6)


@settings(max_examples=4)
@given(gain=st.sampled_from([0.01, 0.5, 300.0]), offset=st.floats(-1e3, 1e3))
def test_gain_and_offset_change_nothing(gain: float, offset: float) -> None:
    image = balls(sigma=6.0)
    one = particles(image, unit="px").table
    two = particles(gain * image + offset, unit="px").table
    np.testing.assert_allclose(two["diameter_px"], one["diameter_px"], atol=0.05)


@settings(max_examples=4)
@given(dy=st.integers(-8, 8), dx=st.integers(-8, 8))
def test_a_shift_moves_the_centres_alone(dy: int, dx: int) -> None:
    one = particles(balls(), unit="px").table
    two = particles(balls(tuple((y + dy, x + dx, r) for y, x, r in BALLS)), unit="px").table
    order = np.argsort(one["diameter_px"]), np.argsort(two["diameter_px"])
    a, b = one.iloc[order[0]], two.iloc[order[1]]
    np.testing.assert_allclose(b["y_px"].to_numpy() - a["y_px"].to_numpy(), dy, atol=0.02)
    np.testing.assert_allclose(b["x_px"].to_numpy() - a["x_px"].to_numpy(), dx, atol=0.02)
    np.testing.assert_allclose(a["diameter_px"], b["diameter_px"], atol=0.05)


def test_transposition_turns_the_axes() -> None:
    image = ellipse(30, 15, 25)
    one = particles(image, unit="px", polarity="bright").table.iloc[0]
    two = particles(image.T.copy(), unit="px", polarity="bright").table.iloc[0]
    assert two["angle_deg"] == pytest.approx(90 - one["angle_deg"], abs=0.05)
    assert two["diameter_px"] == pytest.approx(one["diameter_px"], abs=0.05)


def test_nanometres_are_pixels_times_their_size() -> None:
    image = balls(sigma=4.0)
    px = particles(image, unit="px").table
    nm = particles(Micrograph(image, pixel_size_nm=2.5)).table
    np.testing.assert_allclose(nm["diameter_nm"], 2.5 * px["diameter_px"])
    np.testing.assert_allclose(nm["area_sd_nm2"], 2.5**2 * px["area_sd_px2"], rtol=1e-6)
    np.testing.assert_allclose(nm["x_nm"], 2.5 * nm["x_px"])


def test_pixels_that_are_not_square_make_a_circle_of_an_ellipse() -> None:
    image = Micrograph(ellipse(30, 15, 0), pixel_size_nm=(2.0, 1.0))
    row = particles(image, polarity="bright").table.iloc[0]
    assert row["aspect"] == pytest.approx(1.0, abs=0.03)
    assert row["diameter_nm"] == pytest.approx(60, rel=0.02)
    assert row["circularity"] > 0.98


def test_labels_give_the_same_particles() -> None:
    y, x = np.mgrid[:130, :170]
    labels = np.zeros((130, 170), int)
    for number, (cy, cx, radius) in zip((7, 3, 12, 5), BALLS, strict=True):
        labels[np.hypot(y - cy, x - cx) < radius] = number
    found = particles(Micrograph(labels, pixel_size_nm=2.0), labels=True)
    assert sorted(found.table["particle"]) == [3, 5, 7, 12]
    sizes = np.sort(found.table["diameter_nm"])
    np.testing.assert_allclose(sizes, [28, 36, 56, 72], atol=0.8)
    assert (found.table["circularity"] > 0.97).all()
    again = particles(Micrograph(balls(), pixel_size_nm=2.0), labels=labels)
    assert again.table.equals(found.table)


def no_particles(kind: str) -> np.ndarray[Any, Any]:
    rng = np.random.default_rng(3)
    y, _ = np.mgrid[:128, :160]
    return {
        "flat": np.full((128, 160), 7.0),
        "noise": rng.normal(100, 10, (128, 160)),
        "shot noise": rng.poisson(6.0, (128, 160)).astype(np.uint8),
        "saturated": np.where(y > 40, 255, 100).astype(np.uint8),
        "half": np.where(y < 60, 50.0, 150.0) + rng.normal(0, 5, (128, 160)),
    }[kind]


@pytest.mark.parametrize("kind", ["flat", "noise", "shot noise", "saturated", "half"])
@pytest.mark.parametrize("polarity", ["auto", "bright", "dark"])
def test_without_particles_there_is_an_error_and_no_number(kind: str, polarity: Any) -> None:
    with pytest.raises(EverhartError):
        particles(no_particles(kind), unit="px", polarity=polarity)


@pytest.mark.parametrize("kind", ["blurred noise", "rows", "step"])
@pytest.mark.parametrize("seed", [0, 1, 2])
def test_grey_levels_of_one_kind_are_no_particles(kind: str, seed: int) -> None:
    from scipy.ndimage import gaussian_filter

    rng = np.random.default_rng(seed)
    y, x = np.mgrid[:192, :224]
    image = {
        "blurred noise": 120 + 200 * gaussian_filter(rng.normal(0, 1, y.shape), 3.0),
        "rows": 120 + rng.normal(0, 6, y.shape) + rng.normal(0, 20, (192, 1)),
        "step": np.where(x + 0.3 * y > 130, 140.0, 80.0) + rng.normal(0, 20, y.shape),
    }[kind]
    with pytest.raises(EverhartError, match=r"No particles|wholly"):
        particles(image, unit="px")


def test_few_small_particles_in_noise_are_not_of_one_kind() -> None:
    # Their class has less of the variance than the classes of noise alone.
    found = particles(balls(BALLS[3:], sigma=20.0, shape=(256, 320)), unit="px", polarity="bright")
    assert len(found.table) == 1
    assert abs(found.table["diameter_px"][0] - 14) < 1.5


def test_wrong_calls_say_so() -> None:
    image = balls()
    with pytest.raises(UsageError, match="pixel size"):
        particles(image)
    with pytest.raises(UsageError, match="polarity"):
        particles(image, unit="px", polarity="grey")  # type: ignore[arg-type]
    with pytest.raises(UsageError, match="min_diameter_px"):
        particles(image, unit="px", min_diameter_px=0)
    with pytest.raises(UsageError, match="stack"):
        particles(np.zeros((3, 64, 64)), unit="px")
    with pytest.raises(UsageError, match="whole numbers"):
        particles(image + 0.5, unit="px", labels=True)
    with pytest.raises(EverhartError, match="no particles"):
        particles(np.zeros((64, 64), int), unit="px", labels=True)


def test_shape_of_a_rectangle() -> None:
    found = shape_of(np.array([[0.0, 0.0], [0.0, 6.0], [2.0, 6.0], [2.0, 0.0]]))
    assert (float(found.area), float(found.perimeter)) == (12.0, 16.0)
    assert (float(found.y), float(found.x)) == (1.0, 3.0)
    assert float(found.major / found.minor) == pytest.approx(3.0)


def test_bootstrap_errors_are_those_of_the_mean() -> None:
    sizes = np.random.default_rng(0).normal(50, 8, 200)
    found = size_distribution(sizes, np.ones(200), "nm")
    assert found["diameter_mean_sd_nm"] == pytest.approx(8 / np.sqrt(200), rel=0.15)
    assert found["d10_nm"] == pytest.approx(50 - 1.2816 * 8, abs=2)
    assert found["diameter_mean_corrected_nm"] == pytest.approx(found["diameter_mean_nm"])


def test_the_picture_of_the_distribution_is_drawn(tmp_path: Path) -> None:
    found = particles(balls(), unit="px")
    draw_size_distribution(found, tmp_path / "sizes.png")
    assert (tmp_path / "sizes.png").read_bytes()[:4] == b"\x89PNG"


def test_labels_of_classes_are_no_particles() -> None:
    """All particles as one value would be measured as one particle of a size that looks fine."""
    classes = np.zeros((120, 160), int)
    for cy, cx, radius in ((30, 30, 12), (80, 60, 20), (60, 120, 15)):
        y, x = np.mgrid[:120, :160]
        classes[np.hypot(y - cy, x - cx) < radius] = 1
    with pytest.raises(EverhartError, match=r"The label 1 lies in 3 pieces.*--instances"):
        particles(classes, unit="px", labels=True)
    classes[30:34, 150:154] = 2  # a crumb beside a particle does not make it a class
    classes[np.hypot(y - 60, x - 120) < 15] = 2
    classes[np.hypot(y - 80, x - 60) < 20] = 3
    assert len(particles(classes, unit="px", labels=True).table) == 3

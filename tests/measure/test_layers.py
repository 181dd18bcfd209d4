from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.ndimage import gaussian_filter1d

from everhart.errors import EverhartError, UsageError
from everhart.measure._along import autocovariance, statistics_along
from everhart.measure.layers import layers
from everhart.micrograph import Micrograph
from everhart.simulate import Camera, Converter, Detector, Dose, Microscope, stack
from everhart.simulate.roughness import rough_edges

LEVELS = Converter(bits=16, black=500, white=5000)
FILM = {"above": 60.0, "film": 140.0, "below": 90.0}


def film(
    height: int = 120, width: int = 160, *, slope: float = 0.0, top: float = 45.3,
    thickness: float = 22.0, sigma: float = 0.0, seed: int = 0,
) -> np.ndarray[Any, np.dtype[np.float64]]:  # fmt: skip
    """A film with edges of 1.2 pixels, noise of `sigma` on it."""
    from scipy.special import ndtr

    y, x = np.mgrid[:height, :width]
    at = y - slope * (x - (width - 1) / 2)
    image = FILM["above"] + (FILM["film"] - FILM["above"]) * ndtr((at - top) / 1.2)
    image += (FILM["below"] - FILM["film"]) * ndtr((at - top - thickness) / 1.2)
    return image + sigma * np.random.default_rng(seed).standard_normal(image.shape)


def taken(seed: int, dose: float, **scene: float) -> tuple[Any, Micrograph]:
    rng = np.random.default_rng(seed)
    made = stack(rng, fins=0, shape=(256, 384), pixel_size_nm=0.1, **scene)
    scan = Microscope(
        dose=Dose(dose),
        detector=Detector(taps=(0.6, 0.4)),
        converter=LEVELS,
    )
    image = scan.expose(made, rng)
    assert isinstance(image, Micrograph)
    return made, image


def test_a_noisy_stack_has_its_thicknesses_and_its_roughness() -> None:
    errors, roughness = [], []
    for seed in range(3):
        made, image = taken(seed, 30.0, roughness_nm=0.2, oxide_nm=2.0)
        found = layers(image)
        truth = made.truth.tables["layers"][::-1]
        assert len(found.table) == 3
        error = found.table["thickness_nm"].to_numpy() - truth["mean_thickness_nm"].to_numpy()
        assert np.abs(error).max() < 0.1
        # The quoted error is for the whole layer, not for the piece of it in the image.
        error = found.table["thickness_nm"].to_numpy() - truth["thickness_nm"].to_numpy()
        errors.append(error / found.table["thickness_sd_nm"].to_numpy())
        edges = made.truth.edges_px
        roughness.append(found.tables["interfaces"]["roughness_nm"] / (0.1 * edges.std(axis=1)))
    assert 0.4 < np.sqrt(np.mean(np.square(errors))) < 2.0
    assert abs(np.mean(roughness) - 1) < 0.12


def test_the_outlines_are_the_true_interfaces() -> None:
    made, image = taken(4, 1000.0, roughness_nm=0.15)
    for line, true in zip(layers(image).outlines, made.truth.edges_px, strict=True):
        columns = line.points[:, 1].astype(int)
        assert len(columns) > 370
        assert np.std(line.points[:, 0] - true[columns]) < 0.5


def test_a_smooth_film_in_noise_is_not_rough() -> None:
    found = layers(film(sigma=20.0, width=400), unit="px")
    table = found.tables["interfaces"]
    assert table["column_noise_px"].min() > 0.3
    assert (table["roughness_px"] < 0.5 * table["column_noise_px"]).all()
    assert (table["roughness_px"] < 3 * table["roughness_sd_px"] + 0.1).all()


@pytest.mark.parametrize("slope", [-0.4, 0.15, 0.7])
def test_thickness_is_perpendicular_to_a_tilted_film(slope: float) -> None:
    found = layers(film(160, 160, slope=slope, top=70, sigma=2.0), unit="px")
    assert abs(found.summary["tilt_deg"] - np.degrees(np.arctan(slope))) < 0.2
    expected = 22 * np.cos(np.arctan(slope))
    assert abs(found.table["thickness_px"][0] - expected) < 0.15


def test_pixels_that_are_not_square_turn_and_stretch() -> None:
    image = Micrograph(film(160, 160, slope=0.3, top=70), pixel_size_nm=(2.0, 1.0))
    found = layers(image)
    assert abs(found.summary["tilt_deg"] - np.degrees(np.arctan(0.6))) < 0.2
    assert abs(found.table["thickness_nm"][0] - 44 * np.cos(np.arctan(0.6))) < 0.3


def test_transposed_layers_are_the_same_layers() -> None:
    image = film(slope=0.1, sigma=3.0)
    one, two = layers(image, unit="px"), layers(image.T.copy(), unit="px")
    assert (one.summary["direction"], two.summary["direction"]) == ("horizontal", "vertical")
    assert two.table["thickness_px"][0] == pytest.approx(one.table["thickness_px"][0], abs=1e-6)
    assert two.summary["tilt_deg"] == pytest.approx(-one.summary["tilt_deg"], abs=1e-6)
    np.testing.assert_allclose(two.outlines[0].points[:, ::-1], one.outlines[0].points)


@settings(max_examples=4)
@given(gain=st.sampled_from([-0.01, 0.5, 300.0]), offset=st.floats(-1e3, 1e3))
def test_gain_and_offset_change_nothing(gain: float, offset: float) -> None:
    image = film(96, 96, sigma=4.0)
    one = layers(image, unit="px").table
    two = layers(gain * image + offset, unit="px").table
    for column in ("thickness_px", "thickness_3sigma_px", "roughness_top_px"):
        assert two[column][0] == pytest.approx(one[column][0], abs=0.05)


@settings(max_examples=4)
@given(shift=st.integers(-20, 20))
def test_a_shift_moves_the_film_and_keeps_its_thickness(shift: int) -> None:
    one = layers(film(96, 96, top=40.3, thickness=14), unit="px")
    two = layers(film(96, 96, top=40.3 + shift, thickness=14), unit="px")
    moved = two.tables["interfaces"]["position_px"] - one.tables["interfaces"]["position_px"]
    assert np.allclose(moved, shift, atol=0.02)
    assert two.table["thickness_px"][0] == pytest.approx(one.table["thickness_px"][0], abs=0.02)


def test_nanometres_are_pixels_times_their_size() -> None:
    image = film(sigma=5.0)
    px, nm = layers(image, unit="px").table, layers(Micrograph(image, pixel_size_nm=0.3)).table
    for column in px.columns:
        if column.endswith("_px"):
            scaled = nm[column.removesuffix("_px") + "_nm"][0]
            assert scaled == pytest.approx(0.3 * px[column][0], rel=1e-3, abs=1e-3)


def test_labels_give_the_same_layers() -> None:
    made, image = taken(1, 50.0, roughness_nm=0.3, oxide_nm=2.5)
    found = layers(image, labels=made.truth.labels)
    truth = made.truth.tables["layers"][::-1]
    assert found.table["layer"].tolist() == ["1", "2", "3"]
    np.testing.assert_allclose(found.table["thickness_nm"], truth["mean_thickness_nm"], atol=0.03)
    np.testing.assert_allclose(
        found.table["thickness_3sigma_nm"] / 3, truth["sigma_thickness_nm"], rtol=0.2
    )
    again = layers(Micrograph(made.truth.labels, pixel_size_nm=0.1), labels=True)
    assert again.table.equals(found.table)


def no_layers(kind: str) -> np.ndarray[Any, Any]:
    rng = np.random.default_rng(3)
    y, x = np.mgrid[:128, :160]
    return {
        "flat": np.full((128, 160), 7.0),
        "noise": rng.normal(100, 10, (128, 160)),
        "one step": np.where(y < 60, 50.0, 150.0) + rng.normal(0, 5, (128, 160)),
        "saturated": np.where((y > 40) & (y < 50), 100, 255).astype(np.uint8),
        "shading": 100 + 0.3 * y + rng.normal(0, 5, (128, 160)),
        "balls": 50
        + 100.0 * (np.hypot((y % 40) - 20, (x % 40) - 20) < 9)
        + rng.normal(0, 5, (128, 160)),
    }[kind]


@pytest.mark.parametrize("kind", ["flat", "noise", "one step", "saturated", "shading", "balls"])
def test_without_layers_there_is_an_error_and_no_number(kind: str) -> None:
    with pytest.raises(EverhartError):
        layers(no_layers(kind), unit="px")


@pytest.mark.parametrize("seed", [0, 1, 2])
def test_offsets_of_rows_are_no_layers(seed: int) -> None:
    # Noise alone, with a level of its own in each row: a scan shows that often.
    rng = np.random.default_rng(seed)
    image = 120 + rng.normal(0, 6, (160, 192)) + rng.normal(0, 20, (160, 1))
    for turned in (image, image.T.copy()):
        with pytest.raises(EverhartError, match="interface was found"):
            layers(turned, unit="px")


def test_layers_of_which_half_is_white_are_refused() -> None:
    image = np.clip(3.0 * film(sigma=5.0, thickness=50.0), 0, 255).astype(np.uint8)
    with pytest.raises(EverhartError, match="are saturated"):
        layers(image, unit="px")


def test_a_stack_with_offsets_of_rows_is_still_one() -> None:
    rng = np.random.default_rng(0)
    found = layers(film(sigma=5.0) + rng.normal(0, 3, (120, 1)), unit="px")
    assert len(found.table) == 1
    assert abs(found.table["thickness_px"][0] - 22) < 0.5


def test_fins_are_not_flat_layers() -> None:
    made = stack(np.random.default_rng(0), shape=(256, 256))
    with pytest.raises(EverhartError, match=r"crop|goes through"):
        layers(Micrograph(made.truth.labels, pixel_size_nm=0.2), labels=True)


@pytest.mark.parametrize(("seed", "dose"), [(2, 30.0), (1, 10.0)])
def test_fins_are_refused_in_pictures_too(seed: int, dose: float) -> None:
    # Paths across the fins hold together in these well enough to give layers.
    rng = np.random.default_rng(seed)
    made = stack(rng)
    image = Camera(dose_e_per_px=dose, converter=LEVELS).expose(made, rng)
    with pytest.raises(EverhartError, match=r"crop the image"):
        layers(image)


def test_wrong_calls_say_so() -> None:
    image = film()
    with pytest.raises(UsageError, match="pixel size"):
        layers(image)
    with pytest.raises(UsageError, match="direction"):
        layers(image, unit="px", direction="diagonal")  # type: ignore[arg-type]
    with pytest.raises(UsageError, match="stack"):
        layers(np.zeros((3, 64, 64)), unit="px")
    with pytest.raises(UsageError, match="Labels of shape"):
        layers(image, unit="px", labels=np.zeros((4, 4), int))
    with pytest.raises(UsageError, match="labels"):
        layers(image, unit="px", labels=True)
    with pytest.raises(EverhartError, match="at least three"):
        layers((image > 100).astype(int), unit="px", labels=True)


@pytest.mark.parametrize("noise", [0.0, 0.5, 1.5])
def test_the_scatter_without_noise_is_the_true_one(noise: float) -> None:
    rng = np.random.default_rng(5)
    rough = rough_edges(40, 1024, rng, sigma=1.0, correlation_length=20.0, hurst=0.6)
    ratios, covered = [], []
    for edge in rough:
        stats = statistics_along(edge + 7 + rng.normal(0, noise, edge.size), 1)
        ratios.append(stats.sigma / edge.std())
        covered.append(abs(stats.mean - 7) < stats.mean_sd)
    assert abs(np.mean(ratios) - 1) < 0.04
    assert 0.5 < np.mean(covered) < 0.9


def test_autocovariance_of_gaps_is_that_of_the_pairs_that_are_there() -> None:
    values = np.array([1.0, 2.0, np.nan, 5.0, 0.0])
    centred = values - 2
    assert autocovariance(values, 1)[1] == pytest.approx(
        (centred[0] * centred[1] + centred[3] * centred[4]) / 2
    )


def test_what_offsets_of_rows_may_be_is_warned_of() -> None:
    rng = np.random.default_rng(0)
    offsets = gaussian_filter1d(rng.normal(0, 150, 300), 8)
    rows = 100 + offsets[:, None] + rng.normal(0, 5, (300, 200))
    assert "offsets of rows" in layers(rows, unit="px").summary["warning"]
    y, x = np.mgrid[:200, :300]
    film = 100.0 + 50 * (np.abs(y - 0.02 * x - 90.0) < 20) + rng.normal(0, 5, y.shape)
    assert layers(film, unit="px").summary["warning"] is None


@pytest.mark.parametrize("slope", [0.1, 0.07, 0.05])
def test_a_slanted_edge_without_noise_is_one_interface(slope: float) -> None:
    """It is a staircase, which was found twice."""
    y, x = np.mgrid[:96, :128]
    film = 100.0 + 50 * (np.abs(y - slope * x - 40.0) < 10)
    found = layers(film, unit="px")
    assert len(found.table) == 1
    assert 18.5 < found.table["thickness_px"][0] < 20.5

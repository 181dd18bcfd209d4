"""Circles: where they are to a tenth of a pixel, all of them, and none in noise."""

from __future__ import annotations

from dataclasses import replace
from itertools import pairwise

import cv2
import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import everhart as eh
from everhart.measure.circles import circles, failure_rate
from everhart.studies.wafer import wafer_microscope


def disc(
    y: float, x: float, radius: float, shape: tuple[int, int], soft: float = 0.8
) -> np.ndarray:
    rows, columns = np.mgrid[: shape[0], : shape[1]]
    return 1 / (1 + np.exp((radius - np.hypot(rows - y, columns - x)) / (0.5 * soft)))


@settings(max_examples=10)
@given(
    st.floats(40, 60), st.floats(50, 90), st.floats(6, 35), st.floats(-40, 250), st.floats(0.2, 200)
)
def test_a_clean_disc_is_measured(
    y: float, x: float, radius: float, offset: float, contrast: float
) -> None:
    image = offset + contrast * disc(y, x, radius, (100, 140))
    for polarity, sign in (("dark", 1), ("bright", -1)):
        found = circles(sign * image, polarity=polarity)  # type: ignore[arg-type]
        assert len(found) == 1
        assert np.hypot(found.y_px[0] - y, found.x_px[0] - x) < 0.1
        assert abs(found.radius_px[0] - radius) < 0.2
    assert circles(-image).empty


@pytest.fixture(scope="module")
def normal() -> eh.simulate.Scene:
    return eh.simulate("nand", shape=(1024, 1536), rng=np.random.default_rng(3))  # type: ignore[operator]


def compared(found: pd.DataFrame, truth: pd.DataFrame) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    rate = failure_rate(found, truth)
    assert (rate.undetected, rate.false_detections) == (0, 0)
    a, b = rate.pairs.T
    return (
        found.y_px.to_numpy()[a] - truth.y_px.to_numpy()[b],
        found.x_px.to_numpy()[a] - truth.x_px.to_numpy()[b],
        found.radius_px.to_numpy()[a] - truth.diameter_px.to_numpy()[b] / 2,
    )


def test_all_holes_of_a_clean_array(normal: eh.simulate.Scene) -> None:
    truth = normal.truth.tables["holes"]
    found = circles(eh.Micrograph(normal.image, normal.pixel_size_nm))
    assert len(truth) == 108
    y, x, radius = compared(found, truth)
    assert np.sqrt(np.mean(y**2 + x**2)) < 0.1
    assert abs(radius.mean()) < 0.2
    # The profile of the edge has been taken into account: its steepest place is elsewhere.
    assert np.mean(circles(normal.image, edge="steepest").radius_px) < found.radius_px.mean() - 0.5
    nm = normal.pixel_size_nm[0]
    np.testing.assert_allclose(found.radius_nm, found.radius_px * nm)
    assert (found.minor_px <= found.major_px).all()


@pytest.mark.parametrize(
    "kind", [{"oval": 0.5, "dented": 0.5}, {"faint-ring": 0.5, "oval": 0.25, "dented": 0.25}]
)
def test_structurally_different_holes_in_noise(kind: dict[str, float]) -> None:
    rng = np.random.default_rng(4)
    scene = eh.simulate("nand", shape=(640, 960), rng=rng, kind=kind)  # type: ignore[operator]
    truth = scene.truth.tables["holes"]
    noisy = wafer_microscope().expose(scene, rng, 1).pixels
    assert failure_rate(circles(scene.image), truth).failure_rate == 0
    for image in (noisy, cv2.medianBlur(noisy, 3), cv2.GaussianBlur(noisy, (0, 0), 2)):
        rate = failure_rate(circles(image), truth)
        # A hole may be taken for its ring where the oval touches it: found, and not as itself.
        assert rate.undetected <= 2
        assert rate.false_detections <= 2


def test_the_rate_falls_with_the_dose() -> None:
    scene = eh.simulate("nand", shape=(512, 768), rng=np.random.default_rng(2))  # type: ignore[operator]
    truth = scene.truth.tables["holes"]
    microscope = wafer_microscope()
    rates, false = [], 0
    for dose in (0.25, 1.0, 2.0, 4.0, 64.0):
        assert microscope.dose is not None
        beam = replace(microscope, dose=replace(microscope.dose, arrivals_per_px=dose))
        image = beam.expose(scene, np.random.default_rng(5), 1).pixels
        rate = failure_rate(circles(image), truth)
        rates.append(rate.failure_rate)
        false += rate.false_detections
    assert rates[0] > 0.9
    assert rates[-2:] == [0.0, 0.0]
    assert all(later <= earlier + 0.02 for earlier, later in pairwise(rates))
    assert false <= 1


def test_nothing_is_found_in_flat_noise() -> None:
    for seed in range(3):
        rng = np.random.default_rng(seed)
        noise = np.clip(np.rint(rng.normal(128, 30, (400, 500))), 0, 255).astype(np.uint8)
        along = cv2.GaussianBlur(noise, (5, 1), 1.0)  # as behind a slow detector
        for image in (noise, along, cv2.medianBlur(noise, 3), cv2.GaussianBlur(noise, (0, 0), 2)):
            assert circles(image).empty


@pytest.mark.parametrize("image", [np.zeros((64, 64)), np.full((9, 300), 7, np.uint8), np.eye(5)])
def test_images_of_nothing(image: np.ndarray) -> None:
    found = circles(image)
    assert found.empty
    assert {"y_px", "x_px", "radius_px"} <= set(found.columns)


def test_a_range_of_radii_is_kept(normal: eh.simulate.Scene) -> None:
    part = normal.image[:400, :400]
    radius = float(normal.truth.tables["holes"].diameter_px.mean()) / 2
    assert len(circles(part, radius_px=(0.7 * radius, 1.3 * radius))) >= 4
    assert circles(part, radius_px=(1.6 * radius, 3 * radius)).empty


def test_the_grey_range_does_not_matter(normal: eh.simulate.Scene) -> None:
    part = normal.image[:400, :400]
    first, second = circles(part), circles(part.astype(np.float64) * 3e4 + 12)
    np.testing.assert_allclose(
        first[["y_px", "x_px", "radius_px"]], second[["y_px", "x_px", "radius_px"]], atol=0.02
    )


def test_the_room_of_the_name_can_be_called() -> None:
    from everhart import measure

    image = disc(30, 30, 12, (64, 64))
    pd.testing.assert_frame_equal(measure.circles(image), circles(image))  # type: ignore[operator]


@pytest.mark.parametrize(
    ("image", "values", "said"),
    [
        (np.zeros((2, 32, 32)), {}, "one image"),
        (np.full((32, 32), np.nan), {}, "NaN"),
        (np.zeros((32, 32)), {"radius_px": (9, 4)}, "radius_px"),
        (np.zeros((32, 32)), {"radius_px": 9}, "radius_px"),
        (np.zeros((32, 32)), {"polarity": "drak"}, "did you mean 'dark'"),
        (np.zeros((32, 32)), {"edge": "half"}, "steepest"),
    ],
)
def test_wrong_calls(image: np.ndarray, values: dict, said: str) -> None:
    with pytest.raises(eh.UsageError, match=said):
        circles(image, **values)


def test_a_fit_that_fails_takes_no_other_circle_with_it(
    normal: eh.simulate.Scene, monkeypatch: pytest.MonkeyPatch
) -> None:
    import sys

    module = sys.modules["everhart.measure.circles"]
    part = normal.image[:400, :400]
    expected = len(circles(part, edge="steepest"))
    real, calls = module.fit_ellipse, []  # type: ignore[attr-defined]

    def sometimes_wild(*values: object) -> object:
        calls.append(1)
        fit = real(*values)
        return replace(fit, radius=1e4) if len(calls) == 2 else fit

    monkeypatch.setattr(module, "fit_ellipse", sometimes_wild)
    assert len(circles(part, edge="steepest")) == expected

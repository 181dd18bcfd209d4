"""Defects before and after a denoiser: kept, found, made up."""

import json
from collections.abc import Callable
from typing import Any

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.ndimage import gaussian_filter

from everhart.errors import UsageError
from everhart.metrics.defects import OBSERVERS, DefectScores, DefectTrial, score_defects
from everhart.metrics.detection import (
    contrast_found,
    detection_rates,
    found_defects,
    invented_blobs,
    kept_contrast,
    lost_and_gained,
)

SIDE = 256
NOISE = 10.0
CONTRASTS = (6.0, 12.0, 24.0, 48.0, 96.0)
RADII = (1.5, 3.0)

Image = Any
Method = Callable[[Image], Image]


def _trial() -> DefectTrial:
    """Stripes with round spots on a grid."""
    y, x = np.mgrid[:SIDE, :SIDE].astype(np.float32)
    pattern = 100 + 30 * np.tanh(4 * np.sin(x / 7))
    rows, marked = [], []
    for image in range(4):
        one = pattern.copy()
        places = [(cy, cx) for cy in range(40, 220, 36) for cx in range(40, 220, 36)]
        for number, (cy, cx) in enumerate(places):
            radius = RADII[number % 2]
            contrast = CONTRASTS[(number // 2 + image) % len(CONTRASTS)]
            one += contrast * np.exp(-0.5 * ((y - cy) ** 2 + (x - cx) ** 2) / (radius / 1.5) ** 2)
            rows.append((image, float(cy), float(cx), radius, contrast))
        marked.append(one)
    columns = ["image", "y_px", "x_px", "radius_px", "contrast"]
    return DefectTrial(
        pattern.astype(np.float32),
        np.stack(marked).astype(np.float32),
        pd.DataFrame(rows, columns=columns),
    )


TRIAL = _trial()


def _scores(method: Method, seeds: int = 2) -> list[DefectScores]:
    found = []
    for seed in range(seeds):
        rng = np.random.default_rng(seed)

        def noisy(image: Image, rng: np.random.Generator = rng) -> Image:
            return (image + rng.normal(0, NOISE, image.shape)).astype(np.float32)

        images = [noisy(image) for image in TRIAL.marked]
        blanks = [noisy(TRIAL.pattern) for _ in TRIAL.marked]
        found.append(score_defects(TRIAL, [method(i) for i in images], [method(b) for b in blanks]))
    return found


def _rate(scores: list[DefectScores], observer: str) -> float:
    return float(found_defects(scores)[observer].mean())


@pytest.fixture(scope="module")
def raw() -> list[DefectScores]:
    return _scores(lambda image: image)


def test_raw_images_keep_all_and_observers_rank_as_they_must(raw: list[DefectScores]) -> None:
    kept = kept_contrast(raw)
    plain = kept[kept["contrast"] >= 24]
    assert np.abs(plain["kept"] - 1).max() < 0.15
    rates = {observer: _rate(raw, observer) for observer in OBSERVERS}
    assert rates["pixel"] < rates["window"] - 0.1
    assert rates["matched"] > rates["pixel"] + 0.15
    # The matched filter on white noise is a textbook case: see what theory says.
    found = detection_rates(found_defects(raw), "matched").set_index(["radius_px", "contrast"])
    for radius in RADII:
        for contrast in CONTRASTS:
            # |template|^2 of a Gaussian spot is pi sigma^2.
            snr = contrast * np.sqrt(np.pi) * (radius / 1.5) / NOISE
            if snr < 2:
                assert found.loc[(radius, contrast), "rate"] < 0.4
            if snr > 7:
                assert found.loc[(radius, contrast), "rate"] > 0.95


def test_false_alarms_are_what_was_allowed(raw: list[DefectScores]) -> None:
    few = _rate(raw, "window")
    many = float(found_defects(raw, alarms_per_mpx=60)["window"].mean())
    assert few < many
    blobs = invented_blobs(raw, raw)
    # 8 images of 224 x 224 pixels inside: 0.40 megapixels, 4 alarms.
    assert np.allclose(blobs["per_mpx"], 4 / raw[0].area_mpx / 2)
    assert not blobs["more"].any()
    assert np.allclose(blobs["per_mpx"], blobs["raw_per_mpx"])


def test_a_copy_of_the_raw_images_loses_and_gains_nothing(raw: list[DefectScores]) -> None:
    copies = _scores(lambda image: image.copy())
    for observer in OBSERVERS:
        change = lost_and_gained(found_defects(copies), found_defects(raw), observer)
        assert change[["lost", "gained"]].to_numpy().sum() == 0
        assert (change["p_lost"] == 1).all()
    assert not invented_blobs(copies, raw)["more"].any()


def test_levels_do_not_matter_to_observers(raw: list[DefectScores]) -> None:
    """A method that makes everything fainter hides nothing and keeps less contrast."""
    fainter = _scores(lambda image: TRIAL.pattern + 0.5 * (image - TRIAL.pattern))
    for observer in OBSERVERS:
        assert _rate(fainter, observer) == pytest.approx(_rate(raw, observer), abs=0.01)
    kept = kept_contrast(fainter)
    assert kept[kept["contrast"] >= 24]["kept"].to_numpy() == pytest.approx(0.5, abs=0.08)


def _blurred(sigma: float) -> list[DefectScores]:
    return _scores(lambda image: TRIAL.pattern + gaussian_filter(image - TRIAL.pattern, sigma))


def test_blur_helps_pixels_and_not_the_matched_filter(raw: list[DefectScores]) -> None:
    assert _rate(_blurred(1.2), "pixel") > _rate(raw, "pixel") + 0.15
    assert _rate(_blurred(0.6), "matched") == pytest.approx(_rate(raw, "matched"), abs=0.03)


def test_an_eraser_is_caught(raw: list[DefectScores]) -> None:
    """It gives the pattern with a little noise of its own: beautiful, and useless."""
    rng = np.random.default_rng(9)
    erased = _scores(lambda _: TRIAL.pattern + rng.normal(0, 2, TRIAL.pattern.shape))
    kept = kept_contrast(erased)
    assert kept[kept["contrast"] >= 24]["kept"].abs().max() < 0.05
    for observer in OBSERVERS:
        assert _rate(erased, observer) < 0.03
        change = lost_and_gained(found_defects(erased), found_defects(raw), observer)
        assert change["lost"].sum() > 20 * change["gained"].sum() + 20
        assert (change["p_lost"] < 0.001).any()


def test_a_perfect_eraser_leaves_nothing_to_find() -> None:
    gone = _scores(lambda _: TRIAL.pattern.copy(), seeds=1)
    found = found_defects(gone, alarms_per_mpx=20)
    assert not found[list(OBSERVERS)].to_numpy().any()
    assert kept_contrast(gone)["kept"].to_numpy() == pytest.approx(0, abs=1e-6)


def test_a_perfect_restoration_finds_all() -> None:
    rng = np.random.default_rng(5)
    tiny = [i + rng.normal(0, 1e-3, i.shape) for i in (*TRIAL.marked, *[TRIAL.pattern] * 4)]
    found = found_defects([score_defects(TRIAL, tiny[:4], tiny[4:])], alarms_per_mpx=20)
    assert found[list(OBSERVERS)].to_numpy().all()


@pytest.mark.parametrize(("size", "level"), [(1.0, 90), (2.0, 30), (4.0, 20)])
def test_a_hallucinator_is_caught(size: float, level: float, raw: list[DefectScores]) -> None:
    """It takes the noise away and puts blobs where it likes."""
    rng = np.random.default_rng(3)
    y, x = np.mgrid[:SIDE, :SIDE]

    def invent(image: Image) -> Image:
        out = TRIAL.pattern + 0.1 * (image - TRIAL.pattern)
        for _ in range(4):
            cy, cx = rng.uniform(30, SIDE - 30, 2)
            out = out + level * np.exp(-0.5 * ((y - cy) ** 2 + (x - cx) ** 2) / size**2)
        return out.astype(np.float32)

    blobs = invented_blobs(_scores(invent), raw)
    assert blobs.groupby("changing")["more"].any().all()
    # 4 in an image of 224 x 224 pixels inside, less those at the border.
    assert blobs["per_mpx"].max() > 40
    honest = _scores(lambda image: TRIAL.pattern + 0.1 * (image - TRIAL.pattern))
    assert invented_blobs(honest, raw)["per_mpx"].max() == 0


def test_what_is_wrong_in_every_image_does_not_change() -> None:
    """Blurred edges are alarms against the pattern, and not against other images."""
    raw = _scores(lambda image: image)
    scores = _scores(lambda image: gaussian_filter(image, 3))
    blobs = invented_blobs(scores, raw).set_index(["changing", "sigma_px"])
    assert blobs.loc[(False, 2.0), "more"]
    assert not blobs.loc[(True, 2.0), "more"]


def test_scores_survive_a_json_file(raw: list[DefectScores]) -> None:
    again = DefectScores.from_dict(json.loads(json.dumps(raw[0].to_dict())))
    a, b = found_defects([raw[0]], alarms_per_mpx=20), found_defects([again], alarms_per_mpx=20)
    pd.testing.assert_frame_equal(a, b, check_dtype=False)
    assert invented_blobs([again], [again])["per_mpx"].tolist() == pytest.approx(
        invented_blobs([raw[0]], [raw[0]])["per_mpx"].tolist()
    )


@given(st.floats(0.05, 0.5), st.floats(1.2, 3.0), st.integers(4, 8), st.floats(0.2, 0.8))
def test_the_contrast_found_lies_where_the_curve_crosses(
    first: float, step: float, count: int, share: float
) -> None:
    contrasts = first * step ** np.arange(count)
    rates = np.linspace(0, 1, count)
    found = contrast_found(contrasts, rates, np.full(count, 40), share=share)
    expected = np.exp(np.interp(share, rates, np.log(contrasts)))
    assert found == pytest.approx(expected)


def test_the_contrast_found_when_the_curve_is_uneven_or_stays_below() -> None:
    counts = [30] * 4
    assert contrast_found([1, 2, 4, 8], [0.1, 0.5, 0.4, 0.8], counts) == np.inf
    assert contrast_found([1, 2, 4, 8], [0.95, 1, 1, 1], counts) == 1
    between = contrast_found([1, 2, 4, 8], [0.0, 0.6, 0.4, 1.0], counts, share=0.75)
    assert between == pytest.approx(4 * 2**0.5)


def test_wrong_calls_say_what_to_do(raw: list[DefectScores]) -> None:
    with pytest.raises(UsageError, match="at least 3"):
        score_defects(TRIAL, list(TRIAL.marked), [TRIAL.pattern] * 2)
    with pytest.raises(UsageError, match="keeps the shape"):
        score_defects(TRIAL, list(TRIAL.marked), [TRIAL.pattern[1:]] * 4)
    with pytest.raises(UsageError, match="no column 'contrast'"):
        DefectTrial(TRIAL.pattern, TRIAL.marked, TRIAL.defects.drop(columns="contrast"))
    with pytest.raises(UsageError, match="stack"):
        DefectTrial(TRIAL.pattern, TRIAL.marked[0], TRIAL.defects)
    with pytest.raises(UsageError, match="at least 128"):
        DefectTrial(TRIAL.pattern[:99], TRIAL.marked[:, :99], TRIAL.defects)
    with pytest.raises(UsageError, match="that is none"):
        found_defects(raw[:1], alarms_per_mpx=0.1)
    with pytest.raises(UsageError, match="at least one trial"):
        found_defects([])
    one, two = found_defects(raw), found_defects(raw[:1], alarms_per_mpx=20)
    with pytest.raises(UsageError, match="different defects"):
        lost_and_gained(one, two, "pixel")

"""Defects: found where they were planted, none where none is, and refusals."""

from __future__ import annotations

import subprocess
import sys
from functools import cache
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from everhart.errors import EverhartError, UsageError
from everhart.io import write
from everhart.measure._blob_search import search
from everhart.measure._scatter import normal_scores, raw_heights
from everhart.measure.defects import defects
from everhart.micrograph import Micrograph


def array(seed: int = 0, missing: bool = False, shape: tuple[int, int] = (256, 320)) -> np.ndarray:
    """Holes of 8 px radius, 32.4 px apart, in correlated noise."""
    rng = np.random.default_rng(seed)
    y, x = np.indices(shape, dtype=float)
    grey = np.full(shape, 120.0)
    for i in range(-1, 9):
        for j in range(-1, 11):
            if missing and (i, j) == (3, 4):
                continue
            radius = 8 + rng.normal(0, 0.15)
            away = np.hypot(y - 14 - 32.4 * i, x - 17 - 32.4 * j) - radius
            grey -= 70 / (1 + np.exp(np.clip(2 * away, -50, 50)))
    noise = rng.normal(0, 12, shape)
    return grey + 0.8 * noise + 0.6 * np.roll(noise, 1, axis=1)


def test_missing_hole():
    found = defects(array(missing=True), unit="px")
    assert list(found.table.kind) == ["missing_hole"]
    row = found.table.iloc[0]
    assert np.hypot(row.y_px - (14 + 32.4 * 3), row.x_px - (17 + 32.4 * 4)) < 1.0
    assert row.contrast > 30
    assert row[["x_sd_px", "y_sd_px", "size_sd_px", "contrast_sd"]].gt(0).all()
    for letter in "ab":
        assert found.summary[f"period_{letter}_px"] == pytest.approx(32.4, abs=0.1)
    assert found.summary["edge_convention"]


def test_no_alarm_without_a_defect():
    assert sum(len(defects(array(seed), unit="px").table) for seed in range(4)) == 0


@cache
def missing_one() -> pd.DataFrame:
    return defects(array(missing=True), unit="px").table


@settings(max_examples=3, deadline=None)
@given(gain=st.floats(0.1, 50), offset=st.floats(-500, 500))
def test_grey_scale_does_not_matter(gain: float, offset: float):
    one = missing_one()
    other = defects(gain * array(missing=True) + offset, unit="px").table
    assert list(one.kind) == list(other.kind)
    np.testing.assert_allclose(other.contrast, gain * one.contrast, rtol=1e-2)
    np.testing.assert_allclose(other.x_px, one.x_px, atol=0.05)


def test_reference_image():
    from scipy.ndimage import gaussian_filter

    rng = np.random.default_rng(3)
    clean = 40 * gaussian_filter(rng.normal(size=(192, 192)), 3) * 6 + 100
    image = clean + rng.normal(0, 4, clean.shape)
    image[80:92, 100:112] += 60
    found = defects(image, reference=clean, unit="px").table
    assert (np.hypot(found.y_px - 85.5, found.x_px - 105.5) < 3).sum() == 1


def lines(seed: int = 0, dent: bool = False) -> np.ndarray:
    """Bright lines of pitch 24 px with rough edges, in Poisson noise of few electrons."""
    from scipy.ndimage import gaussian_filter, gaussian_filter1d

    rng = np.random.default_rng(seed)
    y, x = np.indices((256, 288), dtype=float)
    grey = np.zeros(y.shape)
    for centre in 12 + 24.0 * np.arange(12):
        left, right = gaussian_filter1d(rng.normal(size=(2, 256)), 6, axis=1) * 3
        if dent and centre == 132:
            right = right - 6 * np.exp(-(((y[:, 0] - 100) / 8) ** 2))
        inside = (x > centre - 6 + left[:, None]) & (x < centre + 6 + right[:, None])
        grey += inside
    electrons = rng.poisson(8 * (0.15 + 0.85 * gaussian_filter(grey, 1.0)))
    return electrons + 0.5 * np.roll(electrons, 1, axis=1)


def test_dent():
    found = defects(lines(dent=True), unit="px").table
    assert list(found.kind) == ["dent"]
    assert np.hypot(found.y_px[0] - 100, found.x_px[0] - 135) < 4


def test_alarms_are_as_rare_as_stated():
    # Skewed noise and rough edges, where 12 alarms by chance are stated: 99.9 % of Poisson counts
    # of that mean are below 24. A normal tail in place of these would give hundreds.
    alarms = sum(len(defects(lines(seed), unit="px", false_alarms=3.0).table) for seed in range(4))
    assert alarms <= 24


def test_limit_is_where_nine_of_ten_discs_are_found():
    limits = defects(array(5), unit="px").tables["limits"]
    size = 6.0
    needed = np.exp(np.interp(np.log(size), np.log(limits.size_px), np.log(limits.contrast)))
    y, x = np.indices((256, 320))
    rng = np.random.default_rng(1)
    hits = []
    for seed in range(5):
        image = array(100 + seed)
        places = [(r, c) for r in (60, 128, 196) for c in (60, 130, 200, 270)]
        moved = [np.array(p) + rng.uniform(-16, 16, 2) for p in places]
        for place in moved:
            away = np.hypot(y - place[0], x - place[1])
            image = image + needed * np.clip(size / 2 + 0.5 - away, 0, 1)
        table = defects(image, unit="px").table
        hits += [bool((np.hypot(table.y_px - p[0], table.x_px - p[1]) < 8).any()) for p in moved]
    # 60 discs at 90 %: from 47 to 59 are found with a probability of 99.7 %.
    assert 47 <= sum(hits) <= 59


@given(shape=st.floats(4.0, 200.0))
@settings(max_examples=20, deadline=None)
def test_normal_scores_of_skewed_values(shape: float):
    from scipy.stats import gamma, norm

    improbable = np.array([1e-2, 1e-4, 1e-6, 1e-8])
    height = (gamma.isf(improbable, shape) - gamma.median(shape)) / np.sqrt(shape)
    skew = np.full(4, 2 / np.sqrt(shape), np.float32)
    scores = normal_scores(height.astype(np.float32), skew)
    # The approximation errs by little, and to the safe side.
    assert (scores < norm.isf(improbable) + 0.05).all()
    assert (scores > 0.96 * norm.isf(improbable)).all()
    for score in (3.0, 5.0):
        values = raw_heights(score, skew)
        np.testing.assert_allclose(normal_scores(values, skew), score, atol=1e-3)
    np.testing.assert_array_equal(
        normal_scores(-height.astype(np.float32), skew), -np.float32(height)
    )


def test_border_is_no_noisier_than_the_middle():
    noise = np.random.default_rng(0).normal(size=(32, 128, 128)).astype(np.float32)
    inside = np.ones((128, 128), bool)
    classes = np.zeros((128, 128), np.int32)
    z = []
    for one in noise:
        ideal = np.zeros_like(one)
        (scale,), _ = search(one, ideal, inside, lambda _: (classes, None), 1.5, 1.0)
        z.append(scale.mean / scale.scatter)
    z = np.array(z)
    assert z[:, 2:4].std() == pytest.approx(1.0, abs=0.08)
    assert z[:, 50:75, 50:75].std() == pytest.approx(1.0, abs=0.06)


@pytest.mark.parametrize(
    ("name", "reason"),
    [
        ("noise", "No period was found"),
        ("row noise", "No period was found"),
        ("strong row noise", "offsets of single rows|enough of it"),
        ("flat", "No period was found"),
        ("step", "No period was found"),
        ("one line", "repeats"),
        ("saturated", "saturated"),
        ("few", "repeats"),
    ],
)
def test_refusals(name: str, reason: str):
    rng = np.random.default_rng(0)
    noise = rng.normal(size=(256, 256))
    x = np.arange(256)
    image = {
        "noise": noise + 0.6 * np.roll(noise, 1, axis=1),
        "row noise": noise + rng.normal(size=(256, 1)),
        "strong row noise": 0.3 * noise + np.random.default_rng(4).normal(size=(256, 1)),
        "flat": np.full((128, 128), 7.0),
        "step": noise + 20 * (x > 130),
        "one line": noise + 20 * np.exp(-(((x - 120) / 12) ** 2)),
        "saturated": np.clip(array(), 0, 100),
        "few": array(shape=(72, 72)),
    }[name]
    with pytest.raises(EverhartError, match=reason):
        defects(image, unit="px")


def test_a_reference_of_another_field_is_refused():
    rng = np.random.default_rng(0)
    with pytest.raises(EverhartError, match="does not fit"):
        defects(rng.normal(size=(128, 128)), reference=rng.normal(size=(128, 128)), unit="px")


def test_wrong_calls():
    with pytest.raises(UsageError, match="pixel size"):
        defects(array())
    with pytest.raises(UsageError, match="false_alarms"):
        defects(array(), unit="px", false_alarms=0)


def test_command(tmp_path: Path):
    pixels = np.clip(np.rint(array(missing=True)), 0, 255).astype(np.uint8)
    tif = write(Micrograph(pixels, pixel_size_nm=2.0), tmp_path / "a.tif")
    words = ["measure", "defects", str(tif), "-o", str(tmp_path / "d.csv")]
    result = subprocess.run([sys.executable, "-m", "everhart", *words], capture_output=True)
    assert result.returncode == 0, result.stderr
    rows = pd.read_csv(tmp_path / "d.csv")
    assert list(rows.kind) == ["missing_hole"]
    assert (tmp_path / "d_limits.csv").is_file()

"""Defects: found where they were planted, none where none is, and refusals."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from everhart.errors import EverhartError, UsageError
from everhart.io import write
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


@settings(max_examples=5, deadline=None)
@given(gain=st.floats(0.1, 50), offset=st.floats(-500, 500))
def test_grey_scale_does_not_matter(gain: float, offset: float):
    one = defects(array(missing=True), unit="px").table
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


@pytest.mark.parametrize("name", ["noise", "flat", "saturated", "few"])
def test_refusals(name: str):
    rng = np.random.default_rng(0)
    image = {
        "noise": rng.normal(size=(256, 256)),
        "flat": np.full((128, 128), 7.0),
        "saturated": np.clip(array(), 0, 100),
        "few": array(shape=(72, 72)),
    }[name]
    with pytest.raises(EverhartError):
        defects(image, unit="px")


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

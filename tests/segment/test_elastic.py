"""Elastic deformation: smooth, as large as asked for, and without folds."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from everhart.nn.segmentation_losses import IGNORE
from everhart.segment.elastic import ElasticConfig, bent, displacements


@pytest.mark.parametrize(("sigma", "spacing"), [(2.0, 16.0), (10.0, 100.0)])
def test_displacements_are_as_large_and_as_smooth_as_asked_for(sigma: float, spacing: float, rng):
    config = ElasticConfig(sigma_px=sigma, spacing_px=spacing)
    fields = np.stack([displacements((160, 128), config, rng) for _ in range(40)])
    # Between control points the interpolated field is a little smaller than on them.
    assert 0.75 * sigma < fields.std() < 1.02 * sigma
    near = (fields[..., 1:, :] - fields[..., :-1, :]).std()
    assert near < 2.5 * sigma / spacing
    far = round(3 * spacing) if spacing < 50 else None
    if far is not None:
        pair = np.corrcoef(fields[..., far:, :].ravel(), fields[..., :-far, :].ravel())
        assert abs(pair[0, 1]) < 0.1


def test_hardly_any_place_folds_at_the_least_spacing(rng):
    config = ElasticConfig(sigma_px=4, spacing_px=24)
    folded = [np.diff(displacements((96, 96), config, rng)[0], axis=0) <= -1 for _ in range(40)]
    assert np.mean(folded) < 0.01


@given(st.integers(8, 40), st.integers(8, 40), st.integers(0, 2**32 - 1))
def test_labels_are_none_but_those_that_were_there(height: int, width: int, seed: int):
    rng = np.random.default_rng(seed)
    pixels = rng.normal(size=(height, width)).astype(np.float32)
    classes = rng.choice(np.array([0, 3, IGNORE], np.uint8), (height, width))
    moved, labels = bent(pixels, classes, ElasticConfig(sigma_px=2, spacing_px=12), rng)
    assert moved.shape == labels.shape == pixels.shape
    assert (moved.dtype, labels.dtype) == (np.float32, np.uint8)
    assert set(np.unique(labels)) <= set(np.unique(classes))
    assert np.isfinite(moved).all()


def test_beyond_the_edge_the_crop_is_mirrored_and_noise_is_kept(rng):
    pixels = rng.normal(5, 1, (128, 128)).astype(np.float32)
    classes = np.ones(pixels.shape, np.uint8)
    moved, labels = bent(pixels, classes, ElasticConfig(sigma_px=6, spacing_px=48), rng)
    assert (labels == 1).all()
    assert abs(float(moved.mean()) - 5) < 0.05  # a border of zeros would pull it down
    assert moved.std() > 0.75

"""Features of a denoiser tell shapes apart that have the same grey levels and the same grain."""

from __future__ import annotations

import cv2
import numpy as np
import pytest

from everhart.restore.features import pooled_features
from everhart.synthesize.audit import audit


def _images(first: int, count: int, *, round_: bool) -> list[np.ndarray]:
    """Draw discs, or squares of the same area, in noise."""
    images = []
    for seed in range(first, first + count):
        rng = np.random.default_rng(seed)
        image = np.full((64, 64), -0.5, np.float32)
        for _ in range(5):
            x, y, radius = rng.integers(8, 56), rng.integers(8, 56), rng.uniform(5, 9)
            if round_:
                cv2.circle(image, (int(x), int(y)), round(radius), 0.5, -1)
            else:
                half = round(radius * np.sqrt(np.pi) / 2)
                cv2.rectangle(image, (x - half, y - half), (x + half, y + half), 0.5, -1)
        images.append(image + rng.normal(0, 0.1, image.shape).astype(np.float32))
    return images


def test_shapes_tell_what_is_not_real() -> None:
    learned = _images(0, 12, round_=True)
    real, more = _images(100, 60, round_=True), _images(200, 40, round_=True)
    same = audit(more, learned, real, features=pooled_features)
    other = audit(_images(300, 40, round_=False), learned, real, features=pooled_features)
    assert same.auc_features is not None
    assert other.auc_features is not None
    assert same.auc_features < 0.7
    assert other.auc_features > 0.9
    assert "by shapes" in other.summary()
    # The same by the distance of the sets, which is part of the geometric mean.
    assert same.ratios[-1].name == other.ratios[-1].name == "network features"
    assert same.ratios[-1].low < 1.1
    assert other.ratios[-1].low > 1.25
    assert same.precision is not None
    assert same.recall is not None
    assert same.precision.value == pytest.approx(same.precision.real, abs=0.12)
    assert same.recall.value == pytest.approx(same.recall.real, abs=0.12)
    assert other.to_dict()["auc_features"] == other.auc_features
    assert audit(more, learned, real).auc_features is None


def test_features_are_of_any_size_and_do_not_depend_on_the_set() -> None:
    rng = np.random.default_rng(0)
    images = [rng.normal(0, 0.4, shape).astype(np.float32) for shape in ((7, 33), (64, 40))]
    found = pooled_features(images)
    assert found.shape[0] == 2
    assert np.isfinite(found).all()
    assert np.array_equal(found[1:], pooled_features(images[1:]))

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from everhart.errors import UsageError
from everhart.simulate import random_scene
from everhart.simulate.random_scenes import RANDOM_SCENES


@pytest.mark.parametrize("kind", RANDOM_SCENES)
def test_every_kind_is_valid_and_varies(kind):
    rng = np.random.default_rng(4)
    scenes = [random_scene(rng, (96, 128), shares={kind: 1}) for _ in range(12)]
    for scene in scenes:
        assert scene.image.shape == scene.truth.labels.shape == (96, 128)
        assert scene.image.dtype == np.float32
        assert scene.image.min() >= 0
        assert scene.image.max() <= 1
        assert np.isfinite(scene.image).all()
    assert np.std([scene.image.mean() for scene in scenes]) > 0.02
    assert np.median([scene.image.std() for scene in scenes]) > 0.02


@given(shape=st.tuples(st.integers(16, 150), st.integers(16, 150)), seed=st.integers(0, 10_000))
@settings(max_examples=60, deadline=None)
def test_any_shape_and_seed(shape, seed):
    a = random_scene(np.random.default_rng(seed), shape)
    b = random_scene(np.random.default_rng(seed), shape)
    assert a.image.shape == shape
    assert 0 <= a.image.min() <= a.image.max() <= 1
    np.testing.assert_array_equal(a.image, b.image)


def test_all_kinds_come_up():
    rng = np.random.default_rng(0)
    names = {random_scene(rng, (32, 32)).name for _ in range(150)}
    assert names == set(RANDOM_SCENES)


def test_unknown_kind(rng):
    with pytest.raises(UsageError, match="did you mean 'leaves'"):
        random_scene(rng, (32, 32), shares={"leafs": 1})

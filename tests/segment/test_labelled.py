"""Labelled fields: pairs, classes, splits, rims, and crops whose labels move with them."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from everhart.errors import UsageError
from everhart.nn.segmentation_losses import IGNORE
from everhart.segment.config import AugmentationConfig, SegmentConfig, SelectionConfig
from everhart.segment.labelled import Field, class_numbers, load_fields, rims, split
from everhart.segment.resample import resized, resized_labels, smoothly_resized
from everhart.segment.samples import Crops
from everhart.synthesize.augment import OPERATIONS
from everhart.training.config import load_config

from .labelled_discs import settings, written


@given(st.integers(3, 30), st.data())
def test_nothing_in_the_gap_is_learned_from(count, data):
    first = data.draw(st.integers(0, count - 1))
    last = data.draw(st.integers(first, count - 1))
    gap = data.draw(st.integers(0, 4))
    names = [f"f{n}" for n in range(count)]
    validation = SelectionConfig(blocks=[(first, last)])
    left = [n for n in range(count) if n < first - gap or n > last + gap]
    if not left:
        with pytest.raises(UsageError, match="none is left to learn from"):
            split(names, None, validation, gap)
        return
    assert split(names, None, validation, gap) == (left, list(range(first, last + 1)))


def test_splits_that_are_not_honest_are_refused():
    names = [f"slice_{n:02d}" for n in range(10)]
    middle = SelectionConfig(fields=["slice_04", "slice_05"])
    with pytest.raises(UsageError, match="within the gap of 2 beside one"):
        split(names, SelectionConfig(blocks=[(0, 2)]), middle, 2)
    with pytest.raises(UsageError, match="No field matches 'grain_"):
        split(names, None, SelectionConfig(fields=["grain_*"]), 0)
    with pytest.raises(UsageError, match="0 to 9"):
        split(names, None, SelectionConfig(blocks=[(8, 10)]), 0)


def test_fields_are_read_in_order_and_normalised(labelled: Path):
    config = SegmentConfig.model_validate(
        settings(labelled, validation={"fields": ["field_3"]}, gap=1)
    )
    fields = load_fields(config)
    assert [f.name for f in fields.train] == [f"field_{n}" for n in (0, 1, 5, 6, 7)]
    assert [f.name for f in fields.validation] == ["field_3"]
    first = fields.train[0]
    assert abs(first.pixels.mean()) < 0.1
    assert set(np.unique(first.classes)) == {0, 1}
    assert first.pixels[first.classes == 1].mean() > first.pixels[first.classes == 0].mean() + 1


def test_a_common_pixel_size(labelled: Path):
    config = SegmentConfig.model_validate(settings(labelled, common_pixel_size_nm=4.0))
    (field, *_) = load_fields(config).train
    assert field.pixels.shape == field.classes.shape == (32, 32)
    none = {**settings(labelled, common_pixel_size_nm=4.0)}
    none["data"] = {"folder": str(labelled), "images": "labels/*", "labels": "labels/*"}
    with pytest.raises(UsageError, match="has no pixel size"):
        load_fields(SegmentConfig.model_validate(none))


def test_label_values_become_classes():
    config = SegmentConfig.model_validate(
        {"task": "segment", "data": {"folder": "."}, "classes": {"a": [3, 4], "b": 7}, "ignore": 9}
    )
    labels = np.array([[3, 4, 7, 9]])
    known = config.classes, config.ignored()
    assert class_numbers(labels, *known, "x").tolist() == [[0, 0, 1, IGNORE]]
    with pytest.raises(UsageError, match="x has the label value 5, which no class has"):
        class_numbers(labels + 2, *known, "x")


@pytest.mark.parametrize(
    ("more", "said"),
    [
        ({"classes": {"a": 0, "b": [0, 1]}}, "stands in two places"),
        ({"classes": {"a": 0}}, "give 2 to"),
        ({"loss": {"dise": 1}}, "did you mean 'dice'"),
        ({"validation": {"blocks": [[0, 1]]}}, "validation needs a gap"),
        ({"border_px": 2, "classes": {"a": 0, "b": 1}}, "for single objects"),
        ({"border_px": 2, "classes": {"a": 9, "b": "rest"}}, "for single objects"),
        ({"border_px": 2, "classes": {"a": 0, "b": "rest"}, "ignore": 255}, "leave ignore"),
        ({"crop_px": 40}, "multiple of 32"),
        ({"fill_holes": "auto"}, "give border_px, too"),
        ({"scale": 0.5, "common_pixel_size_nm": 2}, "not both"),
        ({"train": {}}, "give fields"),
        ({"augmentation": {"elastic": {"sigma_px": 4, "spacing_px": 16}}}, "folds the image over"),
    ],
)
def test_wrong_configs_say_what_is_wrong(tmp_path: Path, more, said):
    with pytest.raises(UsageError, match=said) as caught:
        load_config(SegmentConfig, written(settings(tmp_path, **more), tmp_path / "c.yaml"))
    assert "\n" not in str(caught.value)


def test_rims_are_as_wide_as_asked_for_and_leave_every_object_an_inside():
    objects = np.zeros((30, 40), np.uint16)
    objects[5:25, 5:20], objects[5:25, 20:35], objects[28:30, 2:5] = 4, 9, 12
    found = rims(objects, 3)
    assert ((found > 0) == (objects > 0)).all()
    assert (found[15, 5:20] == [2, 2, 2, *[1] * 9, 2, 2, 2]).all()
    assert (found[15, 20:23] == 2).all()
    for value in (4, 9, 12):
        assert (found[objects == value] == 1).any()


@given(st.integers(0, 2**32 - 1), st.sampled_from([None, (1.5, 12), (3, 40)]))
def test_labels_move_with_their_image(seed, bend):
    # An image that shows its own labels, and a crop of it: what was done to both is the same.
    rng = np.random.default_rng(seed)
    classes = np.zeros((48, 56), np.uint8)
    classes[10:30, 14:40], classes[34:44, 5:20] = 1, 2
    image = np.array([-2.0, 0.0, 2.0], np.float32)[classes]
    geometric = tuple(n for n in OPERATIONS if n in ("rotate", "shear", "stretch", "drift"))
    elastic = None if bend is None else {"sigma_px": bend[0], "spacing_px": bend[1]}
    config = AugmentationConfig(
        operations=geometric, turns=True, zoom=(0.7, 1.4), count=2, elastic=elastic
    )
    pixels, moved = Crops([Field("f", image, classes)], 32, config)(rng)
    assert pixels.shape == (1, 32, 32)
    said = np.digitize(pixels[0], (-1, 1))
    import cv2

    # Away from borders, where grey levels are interpolated and labels are not.
    edge = cv2.morphologyEx(moved.astype(np.uint8), cv2.MORPH_GRADIENT, np.ones((3, 3), np.uint8))
    near = cv2.dilate((edge > 0).astype(np.uint8), np.ones((7, 7), np.uint8)) > 0
    flat = ~near
    flat[:4] = flat[-4:] = flat[:, :4] = flat[:, -4:] = False
    if flat.sum() > 40:
        assert (said[flat] == moved[flat]).mean() > 0.95


@given(st.integers(1, 40), st.integers(1, 40), st.floats(0.3, 3))
def test_images_and_labels_are_resized_alike(height, width, by):
    classes = (np.indices((height, width)).sum(0) > (height + width) / 2).astype(np.uint8)
    labels = resized_labels(classes, (by, by))
    pixels = resized(classes.astype(np.float32), (by, by))
    assert labels.shape == pixels.shape
    assert set(np.unique(labels)) <= set(np.unique(classes))
    back = smoothly_resized(labels, classes.shape)
    assert back.shape == classes.shape
    # Not by more than about a pixel of the coarser grid along the border.
    assert (back != classes).sum() <= 2 * (height + width) * max(1, 1 / by)


def test_the_smallest_objects_that_were_learned_from_are_known(labelled: Path):
    config = settings(labelled, border_px=2, scale=0.5)
    fields = load_fields(SegmentConfig.model_validate(config))
    areas = [area for field in fields.train for area in field.areas_px]
    assert fields.smallest_px == pytest.approx(np.percentile(areas, 1))
    assert 5 < fields.smallest_px < 3.2 * 9**2 / 4
    assert set(np.unique(fields.train[0].classes)) == {0, 1, 2}
    assert load_fields(SegmentConfig.model_validate(settings(labelled))).smallest_px is None

"""Scores of segmentations, against loops over pixels and pairs, and against scikit-image."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from skimage.metrics import adapted_rand_error

from everhart.errors import UsageError
from everhart.metrics.partitions import adjusted_rand_index, instance_match, matched_clusters
from everhart.metrics.segmentation import ClassScores, boundary_match, class_scores, confusion

labels = arrays(np.uint8, (5, 6), elements=st.integers(0, 3))


@given(labels, labels)
def test_iou_and_dice_are_those_of_sets_of_pixels(said, true):
    scores = class_scores([said], [true], 4)
    for c in range(4):
        a = {p for p in np.ndindex(said.shape) if said[p] == c}
        b = {p for p in np.ndindex(true.shape) if true[p] == c}
        if not a | b:
            assert np.isnan(scores.iou[c])
            assert np.isnan(scores.dice[c])
            continue
        assert scores.iou[c] == pytest.approx(len(a & b) / len(a | b))
        assert scores.dice[c] == pytest.approx(2 * len(a & b) / (len(a) + len(b)))
    assert scores.accuracy == pytest.approx((said == true).mean())


@given(labels, labels, labels, labels)
def test_images_are_pooled(a, b, c, d):
    both = class_scores([a, b], [c, d], 4)
    one = class_scores([np.concatenate([a, b])], [np.concatenate([c, d])], 4)
    np.testing.assert_array_equal(both.counts, one.counts)


def test_ignored_pixels_do_not_count_and_others_must_be_classes():
    assert confusion([1, 0], [255, 0], 2, ignore=255).tolist() == [[1, 0], [0, 0]]
    with pytest.raises(UsageError, match="The label 255 was found in the truth"):
        confusion([1, 0], [255, 0], 2)
    with pytest.raises(UsageError, match="of one shape"):
        confusion([1, 0], [0], 2)
    with pytest.raises(UsageError, match="dtype float64"):
        confusion([1.0], [0.0], 2)


@given(labels, labels)
def test_ari_counts_pairs(a, b):
    # Hubert and Arabie's index from the pairs themselves.
    x, y = a.ravel()[:14], b.ravel()[:14]
    both = first = second = every = 0
    for i, j in itertools.combinations(range(len(x)), 2):
        every += 1
        first += x[i] == x[j]
        second += y[i] == y[j]
        both += x[i] == x[j] and y[i] == y[j]
    expected = first * second / every
    most = (first + second) / 2
    value = 1.0 if most == expected else (both - expected) / (most - expected)
    assert adjusted_rand_index(x, y) == pytest.approx(value)


def test_a_class_that_stands_for_none_is_wrong_and_has_no_figure():
    counts = confusion([0, 0, 1, 2], [0, 0, 1, 1], 3)
    as_class, as_none = ClassScores(counts), ClassScores(counts, last_is_none=True)
    assert as_none.iou[:2].tolist() == as_class.iou[:2].tolist() == [1.0, 0.5]
    assert (as_class.mean_iou, as_none.mean_iou) == (0.5, 0.75)
    assert as_none.to_dict(["a", "b", "none"])["dice"]["none"] is None
    assert as_none.accuracy == 0.75


@given(labels, labels)
def test_contingency_agrees_with_scikit_image(a, b):
    # Its error is 1 - F of the pairs; with shares p of the table that is 2 sum p_ij^2 over the
    # sums of the squared margins.
    from everhart.metrics._labels import contingency

    error, _, _ = adapted_rand_error(a + 1, b + 1)
    table = contingency(a, b)[0].astype(float)
    n = table.sum()
    pairs = (table**2).sum() - n
    margins = (table.sum(0) ** 2).sum() + (table.sum(1) ** 2).sum() - 2 * n
    if margins:
        assert error == pytest.approx(1 - 2 * pairs / margins)


@given(labels, st.permutations(range(4)))
def test_names_of_clusters_do_not_matter(true, names):
    renamed = np.asarray(names)[true]
    assert adjusted_rand_index(renamed, true) == pytest.approx(1)
    found = matched_clusters(renamed, true)
    assert all(found[names[c]] == c for c in np.unique(true))


@given(labels, labels)
def test_matching_is_the_best_of_all(said, true):
    found = matched_clusters(said, true)
    right = sum(int(((said == k) & (true == c)).sum()) for k, c in found.items())
    best = max(
        sum(int(((said == k) & (true == c)).sum()) for k, c in enumerate(order))
        for order in itertools.permutations(range(4))
    )
    assert right == best
    assert len(set(found.values())) == len(found)


@given(labels, labels, st.sampled_from([0, 1, 2]))
def test_borders_by_loops(said, true, tolerance):
    def borders(image):
        height, width = image.shape
        return [
            (y, x)
            for y in range(height)
            for x in range(width)
            if (y + 1 < height and image[y, x] != image[y + 1, x])
            or (x + 1 < width and image[y, x] != image[y, x + 1])
        ]

    def near(points, others):
        return sum(
            any((y - v) ** 2 + (x - u) ** 2 <= tolerance**2 for v, u in others) for y, x in points
        )

    a, b = borders(said), borders(true)
    found = boundary_match(said, true, tolerance_px=tolerance)
    assert (found.said, found.said_near) == (len(a), near(a, b))
    assert (found.true, found.true_near) == (len(b), near(b, a))
    assert boundary_match(true, true, tolerance_px=0).f1 == 1


def test_borders_of_what_is_ignored_do_not_count():
    truth = np.zeros((4, 6), np.uint8)
    truth[:, 3:] = 255
    assert boundary_match(truth * 0, truth, tolerance_px=1, ignore=255).f1 == 1
    assert boundary_match(truth * 0, truth, tolerance_px=1).f1 == 0


def test_objects_found_made_up_and_missed():
    truth = np.zeros((4, 12), np.uint16)
    truth[:, 0:4], truth[:, 5:8], truth[:, 9:12] = 1, 2, 300
    said = np.zeros_like(truth)
    said[:, 0:3] = 7  # IoU 3/4
    said[:, 5:6] = 8  # IoU 1/3
    counts = instance_match(said, truth)
    assert (counts.found, counts.made_up, counts.missed) == (1, 1, 2)
    assert counts.average_precision == pytest.approx(1 / 4)
    assert (counts.precision, counts.recall) == (0.5, pytest.approx(1 / 3))
    twice = counts + instance_match(truth, truth)
    assert twice.average_precision == pytest.approx(4 / 7)
    assert instance_match(said, truth, threshold=0.8).found == 0
    with pytest.raises(UsageError, match=r"below 0\.5"):
        instance_match(said, truth, threshold=0.3)
    assert instance_match(said * 0, truth * 0).average_precision == 1

"""How well pixels are told apart: overlap of classes, their borders, clusters, single objects."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from everhart.errors import UsageError

__all__ = [
    "BoundaryMatch",
    "ClassScores",
    "InstanceMatch",
    "adjusted_rand_index",
    "boundary_match",
    "class_scores",
    "confusion",
    "instance_match",
    "matched_clusters",
]

Counts = NDArray[np.int64]
Labels = NDArray[Any]


def confusion(
    prediction: ArrayLike, truth: ArrayLike, classes: int, *, ignore: int | None = None
) -> Counts:
    """Count pixels by their true and their predicted class.

    Parameters
    ----------
    prediction, truth
        Label images of one shape, with numbers from 0 to ``classes - 1``.
    classes
        Number of classes.
    ignore
        Value of `truth` that marks pixels which do not count.

    Returns
    -------
    ndarray
        ``(classes, classes)``: a row for each true class, a column for each predicted one. Those
        of several images may be added.

    Raises
    ------
    UsageError
        If the shapes differ, or a label is none of the classes.

    Examples
    --------
    >>> confusion([0, 0, 1, 9], [0, 1, 1, 9], 2, ignore=9).tolist()
    [[1, 0], [1, 1]]
    """
    said, true = _pair(prediction, truth)
    if ignore is not None:
        counted = true != ignore
        said, true = said[counted], true[counted]
    for name, values in (("prediction", said), ("truth", true)):
        if values.size and (values.min() < 0 or values.max() >= classes):
            worst = values.max() if values.max() >= classes else values.min()
            raise UsageError(
                f"The label {worst} was found in the {name} and there are {classes} classes: give "
                f"labels from 0 to {classes - 1}, or ignore={worst}."
            )
    flat = true.astype(np.int64).ravel() * classes + said.astype(np.int64).ravel()
    return np.bincount(flat, minlength=classes * classes).reshape(classes, classes)


@dataclass(frozen=True)
class ClassScores:
    """Overlap of prediction and truth, by class.

    Parameters
    ----------
    counts
        Pixels by true and predicted class, see :func:`confusion`.
    """

    counts: Counts

    @property
    def iou(self) -> NDArray[np.float64]:
        """Intersection over union by class; NaN for a class that is in neither."""
        hit, true, said = self._parts()
        return _ratio(hit, true + said - hit)

    @property
    def dice(self) -> NDArray[np.float64]:
        """Dice coefficient (F1 of the pixels) by class; NaN for a class that is in neither."""
        hit, true, said = self._parts()
        return _ratio(2 * hit, true + said)

    @property
    def mean_iou(self) -> float:
        """Mean IoU of the classes that are there."""
        return _mean(self.iou)

    @property
    def mean_dice(self) -> float:
        """Mean Dice coefficient of the classes that are there."""
        return _mean(self.dice)

    @property
    def accuracy(self) -> float:
        """Share of the pixels that are right."""
        return float(_ratio(np.trace(self.counts), self.counts.sum()))

    def to_dict(self, names: Sequence[str]) -> dict[str, Any]:
        """Return all figures as plain values, with the classes by name."""
        return {
            "mean_iou": _plain(self.mean_iou),
            "mean_dice": _plain(self.mean_dice),
            "accuracy": _plain(self.accuracy),
            "iou": {n: _plain(float(v)) for n, v in zip(names, self.iou, strict=True)},
            "dice": {n: _plain(float(v)) for n, v in zip(names, self.dice, strict=True)},
        }

    def _parts(self) -> tuple[Counts, Counts, Counts]:
        return np.diag(self.counts), self.counts.sum(1), self.counts.sum(0)


def class_scores(
    predictions: Iterable[ArrayLike],
    truths: Iterable[ArrayLike],
    classes: int,
    *,
    ignore: int | None = None,
) -> ClassScores:
    """Score label images by class, the pixels of all images together.

    Pixels of all images are pooled before anything is divided: a class that is rare in one image
    does not count as much as a whole image.

    Parameters
    ----------
    predictions, truths
        Label images, in the same order.
    classes, ignore
        As for :func:`confusion`.

    Returns
    -------
    ClassScores
        IoU and Dice.

    References
    ----------
    L. R. Dice, "Measures of the amount of ecologic association between species", Ecology 26
    (1945), 297-302; P. Jaccard, "The distribution of the flora in the alpine zone", New
    Phytologist 11 (1912), 37-50.

    Examples
    --------
    >>> class_scores([[0, 0, 1]], [[0, 1, 1]], 2).iou.tolist()
    [0.5, 0.5]
    """
    total = np.zeros((classes, classes), np.int64)
    for prediction, truth in zip(predictions, truths, strict=True):
        total += confusion(prediction, truth, classes, ignore=ignore)
    return ClassScores(total)


@dataclass(frozen=True)
class BoundaryMatch:
    """Border pixels that lie near a border of the other label image.

    Parameters
    ----------
    said, said_near
        Border pixels of the prediction, and those of them near the truth's.
    true, true_near
        Border pixels of the truth, and those of them near the prediction's.
    """

    said: int
    said_near: int
    true: int
    true_near: int

    def __add__(self, other: BoundaryMatch) -> BoundaryMatch:
        """Return the counts of two images together."""
        return BoundaryMatch(
            self.said + other.said,
            self.said_near + other.said_near,
            self.true + other.true,
            self.true_near + other.true_near,
        )

    @property
    def f1(self) -> float:
        """Harmonic mean of precision and recall; 1 where there is no border in either."""
        if not self.said and not self.true:
            return 1.0
        if not self.said or not self.true:
            return 0.0
        precision, recall = self.said_near / self.said, self.true_near / self.true
        return 2 * precision * recall / (precision + recall) if precision + recall else 0.0


def boundary_match(
    prediction: ArrayLike, truth: ArrayLike, *, tolerance_px: float, ignore: int | None = None
) -> BoundaryMatch:
    """Compare the borders between labels, with a tolerance.

    Parameters
    ----------
    prediction, truth
        Label images ``(H, W)`` of one shape.
    tolerance_px
        How far apart border pixels may be, in pixels.
    ignore
        Value of `truth` that marks pixels whose borders do not count.

    Returns
    -------
    BoundaryMatch
        Counts; those of several images may be added, and :attr:`BoundaryMatch.f1` be taken of the
        sum.

    Notes
    -----
    A border pixel is one that differs from its right or its lower neighbour: borders are one pixel
    wide, and lie alike in both images.

    References
    ----------
    G. Csurka, D. Larlus, F. Perronnin, "What is a good evaluation measure for semantic
    segmentation?", BMVC 2013, section 3.

    Examples
    --------
    >>> import numpy as np
    >>> truth = np.repeat([0, 1], 8)[None, :].repeat(8, 0)
    >>> moved = np.roll(truth, 2, axis=1); moved[:, :2] = 0
    >>> [round(boundary_match(moved, truth, tolerance_px=t).f1, 2) for t in (1, 2)]
    [0.0, 1.0]
    """
    said, true = _pair(prediction, truth)
    if said.ndim != 2:
        raise UsageError(
            f"Label images of shape {said.shape} were given: borders are those of (height, width)."
        )
    if not tolerance_px >= 0:
        raise UsageError(f"tolerance_px = {tolerance_px} was given: give 0 or more.")
    of_said, of_true = _borders(said), _borders(true)
    if ignore is not None:
        counted = true != ignore
        # The border of what does not count is none either.
        inside = counted.copy()
        inside[:-1] &= counted[1:]
        inside[:, :-1] &= counted[:, 1:]
        of_said, of_true = of_said & inside, of_true & inside
    return BoundaryMatch(
        int(of_said.sum()),
        int((of_said & _near(of_true, tolerance_px)).sum()),
        int(of_true.sum()),
        int((of_true & _near(of_said, tolerance_px)).sum()),
    )


def adjusted_rand_index(a: ArrayLike, b: ArrayLike) -> float:
    """Return the adjusted Rand index of two partitions of the same pixels.

    Parameters
    ----------
    a, b
        Labels of any values, of one shape.

    Returns
    -------
    float
        1 for the same partition whatever the labels are called, 0 on average for labels at
        random.

    References
    ----------
    L. Hubert, P. Arabie, "Comparing partitions", Journal of Classification 2 (1985), 193-218,
    equation 5.

    Examples
    --------
    >>> adjusted_rand_index([0, 0, 1, 1], [5, 5, 2, 2])
    1.0
    """
    first, second = _pair(a, b)
    table = _contingency(first, second)[0].astype(np.float64)
    together = _pairs(table).sum()
    in_a, in_b = _pairs(table.sum(1)).sum(), _pairs(table.sum(0)).sum()
    expected = in_a * in_b / max(_pairs(table.sum()), 1.0)
    most = (in_a + in_b) / 2
    if most == expected:  # both are one class, or both all single pixels
        return 1.0
    return float((together - expected) / (most - expected))


def matched_clusters(clusters: ArrayLike, truth: ArrayLike) -> dict[int, int]:
    """Name clusters by the classes that they fit best, each class given once.

    Parameters
    ----------
    clusters, truth
        Labels of one shape.

    Returns
    -------
    dict
        Class by cluster, such that most pixels are right; where there are more clusters than
        classes some are left out.

    References
    ----------
    H. W. Kuhn, "The Hungarian method for the assignment problem", Naval Research Logistics
    Quarterly 2 (1955), 83-97.

    Examples
    --------
    >>> matched_clusters([3, 3, 7, 7, 8], [1, 1, 0, 0, 0])
    {3: 1, 7: 0}
    """
    from scipy.optimize import linear_sum_assignment

    table, names, classes = _contingency(*_pair(clusters, truth))
    rows, columns = linear_sum_assignment(table, maximize=True)
    return {int(names[r]): int(classes[c]) for r, c in zip(rows, columns, strict=True)}


@dataclass(frozen=True)
class InstanceMatch:
    """Objects that were found, made up and missed.

    Parameters
    ----------
    found
        Predicted objects that are a true one each.
    made_up
        Predicted objects that are none.
    missed
        True objects that were not found.
    """

    found: int
    made_up: int
    missed: int

    def __add__(self, other: InstanceMatch) -> InstanceMatch:
        """Return the counts of two images together."""
        return InstanceMatch(
            self.found + other.found, self.made_up + other.made_up, self.missed + other.missed
        )

    @property
    def average_precision(self) -> float:
        """``found / (found + made_up + missed)``; 1 where there is nothing to find."""
        every = self.found + self.made_up + self.missed
        return self.found / every if every else 1.0

    @property
    def precision(self) -> float:
        """Share of the predicted objects that are real; 1 where none was predicted."""
        said = self.found + self.made_up
        return self.found / said if said else 1.0

    @property
    def recall(self) -> float:
        """Share of the true objects that were found; 1 where there is none."""
        true = self.found + self.missed
        return self.found / true if true else 1.0


def instance_match(
    prediction: ArrayLike, truth: ArrayLike, *, threshold: float = 0.5
) -> InstanceMatch:
    """Match predicted objects to true ones by their overlap.

    Parameters
    ----------
    prediction, truth
        Label images of one shape: 0 is background, every other value one object.
    threshold
        IoU from which an object is found, 0.5 or more.

    Returns
    -------
    InstanceMatch
        Counts; those of several images may be added.

    Notes
    -----
    Objects without a confidence have no ranking and so no curve of precision and recall: the
    "average precision" is that of the 2018 Data Science Bowl and of what followed it [1]_,
    TP / (TP + FP + FN). Above an IoU of 0.5 an object has one partner at most; at exactly 0.5 the
    first is taken.

    References
    ----------
    .. [1] J. C. Caicedo et al., "Nucleus segmentation across imaging experiments: the 2018 Data
       Science Bowl", Nature Methods 16 (2019), 1247-1253.

    Examples
    --------
    >>> instance_match([0, 1, 1, 0, 2], [0, 4, 4, 0, 0])
    InstanceMatch(found=1, made_up=1, missed=0)
    """
    if not 0.5 <= threshold <= 1:
        raise UsageError(
            f"threshold = {threshold} was given: below 0.5 two objects could be one; give 0.5 to 1."
        )
    said, true = _pair(prediction, truth)
    table, names, objects = _contingency(said, true)
    overlap = table.astype(np.float64)
    union = overlap.sum(1)[:, None] + overlap.sum(0)[None] - overlap
    same = overlap / union >= threshold
    same = same[names != 0][:, objects != 0]
    rows, columns = np.nonzero(same)
    found = min(len(set(rows.tolist())), len(set(columns.tolist())))
    return InstanceMatch(found, same.shape[0] - found, same.shape[1] - found)


def _pair(a: ArrayLike, b: ArrayLike) -> tuple[Labels, Labels]:
    first, second = np.asarray(a), np.asarray(b)
    if first.shape != second.shape:
        raise UsageError(
            f"Labels of shape {first.shape} and {second.shape} were given: they must be of one "
            "shape."
        )
    if first.size == 0:
        raise UsageError("Labels without a pixel were given: give at least one.")
    for labels in (first, second):
        if labels.dtype.kind not in "biu":
            raise UsageError(
                f"Labels of dtype {labels.dtype} were given: labels are whole numbers; convert "
                "them first."
            )
    return first, second


def _contingency(a: Labels, b: Labels) -> tuple[Counts, Labels, Labels]:
    """Return the pixels by the labels of two images, and the labels."""
    names, first = np.unique(a, return_inverse=True)
    others, second = np.unique(b, return_inverse=True)
    flat = first.ravel() * len(others) + second.ravel()
    table = np.bincount(flat, minlength=len(names) * len(others))
    return table.reshape(len(names), len(others)), names, others


def _pairs(count: Any) -> Any:
    return count * (count - 1) / 2


def _borders(labels: Labels) -> NDArray[np.bool_]:
    found = np.zeros(labels.shape, np.bool_)
    found[:-1] |= labels[:-1] != labels[1:]
    found[:, :-1] |= labels[:, :-1] != labels[:, 1:]
    return found


def _near(borders: NDArray[np.bool_], distance: float) -> NDArray[np.bool_]:
    """Return the pixels within a distance of borders."""
    import cv2

    if not borders.any():
        return np.zeros_like(borders)
    away = cv2.distanceTransform((~borders).astype(np.uint8), cv2.DIST_L2, cv2.DIST_MASK_PRECISE)
    return np.asarray(away <= distance + 1e-4)


def _ratio(part: Any, whole: Any) -> NDArray[np.float64]:
    part, whole = np.asarray(part, np.float64), np.asarray(whole, np.float64)
    return np.asarray(np.where(whole > 0, part / np.maximum(whole, 1), np.nan), np.float64)


def _mean(values: NDArray[np.float64]) -> float:
    there = values[np.isfinite(values)]
    return float(there.mean()) if there.size else float("nan")


def _plain(value: float) -> float | None:
    return round(value, 6) if np.isfinite(value) else None

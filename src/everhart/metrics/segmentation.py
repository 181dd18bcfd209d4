"""How well pixels are told apart: overlap of classes, and their borders."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from everhart.errors import UsageError
from everhart.metrics._labels import label_pair

__all__ = [
    "BoundaryMatch",
    "ClassScores",
    "boundary_match",
    "class_scores",
    "confusion",
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
    said, true = label_pair(prediction, truth)
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
    last_is_none
        Whether the last class stands for "none", as of clusters that fit no class: its pixels are
        wrong where they are, and it has no figures of its own and no part in the means.
    """

    counts: Counts
    last_is_none: bool = False

    @property
    def iou(self) -> NDArray[np.float64]:
        """Intersection over union by class; NaN for a class that is in neither."""
        hit, true, said = self._parts()
        return self._of_classes(_ratio(hit, true + said - hit))

    @property
    def dice(self) -> NDArray[np.float64]:
        """Dice coefficient (F1 of the pixels) by class; NaN for a class that is in neither."""
        hit, true, said = self._parts()
        return self._of_classes(_ratio(2 * hit, true + said))

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

    def _of_classes(self, figures: NDArray[np.float64]) -> NDArray[np.float64]:
        if self.last_is_none:
            figures[-1] = np.nan
        return figures

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
    said, true = label_pair(prediction, truth)
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

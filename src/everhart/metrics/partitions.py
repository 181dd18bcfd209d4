"""How well two partitions of an image agree, whatever their labels: clusters and single objects."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from everhart.errors import UsageError
from everhart.metrics._labels import contingency, label_pair

__all__ = ["InstanceMatch", "adjusted_rand_index", "instance_match", "matched_clusters"]


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
    first, second = label_pair(a, b)
    table = contingency(first, second)[0].astype(np.float64)
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

    table, names, classes = contingency(*label_pair(clusters, truth))
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
    said, true = label_pair(prediction, truth)
    table, names, objects = contingency(said, true)
    overlap = table.astype(np.float64)
    union = overlap.sum(1)[:, None] + overlap.sum(0)[None] - overlap
    same = overlap / union >= threshold
    same = same[names != 0][:, objects != 0]
    rows, columns = np.nonzero(same)
    found = min(len(set(rows.tolist())), len(set(columns.tolist())))
    return InstanceMatch(found, same.shape[0] - found, same.shape[1] - found)


def _pairs(count: Any) -> Any:
    return count * (count - 1) / 2

"""Judge label images by the truth, image by image and all together."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from everhart.errors import UsageError
from everhart.metrics.partitions import (
    InstanceMatch,
    adjusted_rand_index,
    instance_match,
    matched_clusters,
)
from everhart.metrics.segmentation import BoundaryMatch, ClassScores, boundary_match, confusion
from everhart.nn.segmentation_losses import IGNORE

__all__ = ["Evaluation", "ImageScores", "evaluate", "named_clusters"]

Labels = NDArray[Any]

TOLERANCES_PX = (1, 2)
"""Tolerances of the borders, in pixels."""


@dataclass(frozen=True)
class ImageScores:
    """Scores of one image.

    Parameters
    ----------
    name
        Its name.
    scores
        Overlap by class.
    borders
        Borders at each of :data:`TOLERANCES_PX`.
    ari
        Adjusted Rand index.
    objects
        Objects found, made up and missed at an IoU of 0.5; None where there are none.
    """

    name: str
    scores: ClassScores
    borders: tuple[BoundaryMatch, ...]
    ari: float
    objects: InstanceMatch | None


@dataclass(frozen=True)
class Evaluation:
    """Scores of a segmentation.

    Parameters
    ----------
    classes
        Names of the classes.
    images
        Scores of each image.
    """

    classes: tuple[str, ...]
    images: tuple[ImageScores, ...]

    @property
    def scores(self) -> ClassScores:
        """Overlap by class, the pixels of all images together."""
        each = [image.scores for image in self.images]
        return ClassScores(np.sum([s.counts for s in each], axis=0), each[0].last_is_none)

    @property
    def borders(self) -> tuple[BoundaryMatch, ...]:
        """Borders of all images together, at each of :data:`TOLERANCES_PX`."""
        none = BoundaryMatch(0, 0, 0, 0)
        return tuple(
            sum((image.borders[n] for image in self.images), none)
            for n in range(len(TOLERANCES_PX))
        )

    @property
    def objects(self) -> InstanceMatch | None:
        """Objects of all images together."""
        found = [image.objects for image in self.images if image.objects is not None]
        return sum(found, InstanceMatch(0, 0, 0)) if found else None

    def to_dict(self) -> dict[str, Any]:
        """Return all figures as plain values."""
        return {
            "pooled": _record(self.classes, self.scores, self.borders, self.objects),
            "images": [
                {
                    "name": image.name,
                    "ari": round(image.ari, 6),
                    **_record(self.classes, image.scores, image.borders, image.objects),
                }
                for image in self.images
            ],
        }


def evaluate(
    names: Sequence[str],
    predictions: Sequence[Labels],
    truths: Sequence[Labels],
    classes: Sequence[str],
    *,
    objects: Sequence[tuple[Labels, Labels]] | None = None,
    last_is_none: bool = False,
) -> Evaluation:
    """Judge label images.

    Parameters
    ----------
    names
        Names of the images.
    predictions, truths
        Numbers of the classes, ``(H, W)``; in the truth
        :data:`everhart.nn.segmentation_losses.IGNORE` where a pixel does not count.
    classes
        Names of the classes.
    objects
        Found and true objects of each image, 0 for background.
    last_is_none
        Whether the last class stands for "none"; see
        :class:`everhart.metrics.segmentation.ClassScores`.

    Returns
    -------
    Evaluation
        The scores.

    Raises
    ------
    UsageError
        If there is no image, or labels do not fit.
    """
    if not names:
        raise UsageError("No image was given to be judged: give at least one with its truth.")
    found = []
    for number, (name, said, true) in enumerate(zip(names, predictions, truths, strict=True)):
        counted = true != IGNORE
        if not counted.any():
            raise UsageError(f"No pixel of {name} counts: leave it out.")
        pair = objects[number] if objects is not None else None
        found.append(
            ImageScores(
                name,
                ClassScores(confusion(said, true, len(classes), ignore=IGNORE), last_is_none),
                tuple(
                    boundary_match(said, true, tolerance_px=px, ignore=IGNORE)
                    for px in TOLERANCES_PX
                ),
                adjusted_rand_index(said[counted], true[counted]),
                None if pair is None else instance_match(*pair),
            )
        )
    return Evaluation(tuple(classes), tuple(found))


def named_clusters(
    clusters: Sequence[Labels], truths: Sequence[Labels], classes: int
) -> list[Labels]:
    """Give clusters of several images the numbers of the classes that they fit best.

    Parameters
    ----------
    clusters, truths
        Label images.
    classes
        Number of classes; a cluster that is none gets this number.

    Returns
    -------
    list of ndarray
        The clusters, renamed.
    """
    said = np.concatenate([c.ravel() for c in clusters])
    true = np.concatenate([t.ravel() for t in truths])
    counted = true != IGNORE
    names: Mapping[int, int] = matched_clusters(said[counted], true[counted])
    table = np.full(int(said.max()) + 1, classes, np.int64)
    for cluster, number in names.items():
        table[cluster] = number
    return [table[c] for c in clusters]


def _record(
    classes: Sequence[str],
    scores: ClassScores,
    borders: Sequence[BoundaryMatch],
    objects: InstanceMatch | None,
) -> dict[str, Any]:
    said = scores.to_dict(classes)
    for px, match in zip(TOLERANCES_PX, borders, strict=True):
        said[f"boundary_f1_{px}_px"] = round(match.f1, 6)
    if objects is not None:
        said["objects"] = {
            "found": objects.found,
            "made_up": objects.made_up,
            "missed": objects.missed,
            "average_precision": round(objects.average_precision, 6),
        }
    return said

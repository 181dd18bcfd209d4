"""Which block and step of a generator to look at, chosen without labels."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final, NamedTuple

import cv2
import numpy as np
from numpy.typing import NDArray

from everhart.metrics.segmentation import adjusted_rand_index
from everhart.segment.clusters import fit_clusters
from everhart.segment.features import DiffusionFeatures
from everhart.synthesize.generator import Generator

__all__ = ["Candidate", "chosen_features", "explained", "judged_candidates"]

_SHARES: Final = (0.005, 0.02, 0.06)
"""Steps that are tried, as parts of the schedule; with more noise fine structure is gone."""

_IMAGES: Final = 4
"""Images on which the candidates are judged."""

_COUNT: Final = 6
"""Clusters by which they are judged where the number is to be estimated."""


class Candidate(NamedTuple):
    """A block at a step, and how good its clusters are.

    Parameters
    ----------
    block, step
        The candidate.
    agreement
        Adjusted Rand index of the clusters from two draws of the noise.
    explained
        Share of the variance of the grey levels that the clusters explain.
    """

    block: str
    step: int
    agreement: float
    explained: float

    @property
    def merit(self) -> float:
        """Product of the two: clusters that are no accident, and that follow what is seen."""
        return max(self.agreement, 0.0) * max(self.explained, 0.0)


def judged_candidates(
    generator: Generator, images: Sequence[NDArray[Any]], count: int | None
) -> list[Candidate]:
    """Judge blocks and steps of a generator without labels, the best first.

    Tried are the blocks of the two finest levels: coarser ones have no borders to follow.

    Parameters
    ----------
    generator
        The model.
    images
        Images ``(H, W)``, some of which are looked at.
    count
        Number of clusters; None for a usual one.

    Returns
    -------
    list of Candidate
        All that were tried.
    """
    steps = generator.schedule.steps
    blocks = [name for name in generator.network.block_names if _is_fine(name)]
    places = np.linspace(0, len(images) - 1, min(_IMAGES, len(images))).round().astype(int)
    shown = [images[place] for place in sorted(set(places.tolist()))]
    found = []
    for step in sorted({int(share * (steps - 1)) for share in _SHARES}):
        for block in blocks:
            views = []
            for seed in (0, 1):
                features = DiffusionFeatures(generator, [block], [step], seed=seed)
                clusters = fit_clusters(features, shown, count or _COUNT, seed=seed)
                views.append([clusters.segment(image) for image in shown])
            agreement = adjusted_rand_index(
                *(np.concatenate([labels.ravel() for labels in view]) for view in views)
            )
            share = float(np.mean([explained(i, c) for i, c in zip(shown, views[0], strict=True)]))
            found.append(Candidate(block, step, agreement, share))
    return sorted(found, key=lambda candidate: -candidate.merit)


def explained(pixels: NDArray[Any], clusters: NDArray[Any]) -> float:
    """Return the share of the variance of grey levels that clusters explain.

    Parameters
    ----------
    pixels
        Image ``(H, W)``; its pixel noise is smoothed away before.
    clusters
        Cluster of every pixel.

    Examples
    --------
    >>> halves = np.repeat([0.0, 1.0], 32)[None].repeat(64, 0)
    >>> explained(halves, halves.astype(int)) > 0.9, explained(halves, halves.astype(int).T) < 0.1
    (True, True)
    """
    values = cv2.GaussianBlur(np.asarray(pixels, np.float32), (0, 0), 1.0).astype(np.float64)
    sizes = np.maximum(np.bincount(clusters.ravel()), 1)
    means = np.bincount(clusters.ravel(), values.ravel()) / sizes
    within = float(((values - means[clusters]) ** 2).mean())
    return 1 - within / max(float(values.var()), 1e-12)


def chosen_features(
    generator: Generator, images: Sequence[NDArray[Any]], count: int | None
) -> DiffusionFeatures:
    """Return the features of the best block and step; see :func:`judged_candidates`."""
    best = judged_candidates(generator, images, count)[0]
    return DiffusionFeatures(generator, [best.block], [best.step])


def _is_fine(name: str) -> bool:
    part, level = name.split(".")[:2]
    return part in ("down", "up") and int(level) <= 1

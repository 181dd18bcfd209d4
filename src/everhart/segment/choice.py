"""Which block and step of a generator to look at, chosen without labels."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

from everhart.metrics.partitions import adjusted_rand_index
from everhart.segment.clusters import fit_clusters
from everhart.segment.features import DiffusionFeatures, JoinedFeatures
from everhart.synthesize.generator import Generator

__all__ = ["Candidate", "chosen_features", "fine_blocks", "judged_candidates"]

_SHARES: Final = (0.005, 0.02, 0.06)
"""Steps that are tried, as parts of the schedule; with more noise fine structure is gone."""

_IMAGES: Final = 4
"""Images on which the candidates are judged."""

_COUNT: Final = 6
"""Clusters by which they are judged where the number is to be estimated."""


_JOINED: Final = 3


class Candidate(NamedTuple):
    """A block at a step, and how good its clusters are.

    Attributes
    ----------
    block, step
        The candidate.
    agreement
        Adjusted Rand index of the clusters from two draws of the noise and two samples of pixels:
        clusters that are no accident come again.
    """

    block: str
    step: int
    agreement: float


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

    References
    ----------
    T. Lange et al., "Stability-based validation of clustering solutions", Neural Computation 16
    (2004), 1299-1323.
    """
    blocks = fine_blocks(generator)
    places = np.linspace(0, len(images) - 1, min(_IMAGES, len(images))).round().astype(int)
    shown = [images[place] for place in sorted(set(places.tolist()))]
    found = []
    for step in generator.schedule.at_shares(_SHARES):
        for block in blocks:
            views = []
            for seed in (0, 1):
                features = DiffusionFeatures(generator, [block], [step], seed=seed)
                clusters = fit_clusters(features, shown, count or _COUNT, seed=seed)
                views.append([clusters.segment(image) for image in shown])
            agreement = adjusted_rand_index(
                *(np.concatenate([labels.ravel() for labels in view]) for view in views)
            )
            found.append(Candidate(block, step, agreement))
    return sorted(found, key=lambda candidate: -candidate.agreement)


def chosen_features(
    generator: Generator, images: Sequence[NDArray[Any]], count: int | None
) -> JoinedFeatures:
    """Return the features of the three best candidates together.

    Their agreement is nearly the same, and their clusters differ in where the noise of the choice
    falls: together they are as good as the better ones of them. See :func:`judged_candidates`.
    """
    best = judged_candidates(generator, images, count)[:_JOINED]
    return JoinedFeatures([DiffusionFeatures(generator, [c.block], [c.step]) for c in best])


def fine_blocks(generator: Generator) -> list[str]:
    """Return the blocks of a generator's two finest levels."""
    names = generator.network.block_names
    return [n for n in names if not n.startswith("middle") and int(n.split(".")[1]) <= 1]

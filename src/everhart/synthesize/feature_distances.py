"""Sets of images compared by a network's features: Fréchet distance, precision and recall."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from everhart.synthesize.ratio import Draw

__all__ = ["Share", "frechet_distance", "precision_and_recall"]

Float = NDArray[np.float64]

_COMPONENTS = 16
_IMAGES_A_COMPONENT = 4
_NEIGHBOURS = 3


@dataclass(frozen=True)
class Share:
    """Share of images that lie where the images of another set do.

    Parameters
    ----------
    value
        Of synthetic against real images.
    real
        The same of real against other real images: the value to reach, as few images never
        cover all of what there may be.
    low, high
        What 95 % of the halves of the real images lie between.
    """

    value: float
    real: float
    low: float
    high: float


def frechet_distance(features: Float, reference: Float) -> float:
    """Return the Fréchet distance of two sets of images in the components of one of them.

    Features are more than images, so that their covariance cannot be inverted: the distance is
    taken in the first principal components of `reference`, one for every four images and 16 at
    most, in units of their standard deviations. Neither of two sets that are compared with the same
    reference has had a say in them.

    Parameters
    ----------
    features
        Features of the images to judge, ``(images, features)``.
    reference
        Features of real images.

    Returns
    -------
    float
        Distance (not its square) between the normal distributions of mean and covariance of both
        sets [1]_, [2]_.

    References
    ----------
    .. [1] D. C. Dowson and B. V. Landau, "The Fréchet distance between multivariate normal
       distributions", J. Multivariate Anal. 12 (1982), 450-455, equation 4.
    .. [2] M. Heusel et al., NeurIPS 2017, equation 6, of which this is the root.

    Examples
    --------
    >>> x = np.random.default_rng(0).normal(size=(64, 40))
    >>> bool(frechet_distance(x, x) < 1e-6)
    True
    """
    middle = reference.mean(axis=0)
    centred = reference - middle
    count = min(_COMPONENTS, max(len(reference) // _IMAGES_A_COMPONENT, 1))
    # Of the products of images and those of features, the smaller matrix has the same components.
    is_wide = centred.shape[0] <= centred.shape[1]
    power, ways = np.linalg.eigh(centred @ centred.T if is_wide else centred.T @ centred)
    power, ways = power[-count:], ways[:, -count:]
    least = max(1e-9 * float(np.sum(centred**2)), 1e-24 * float(np.sum(reference**2)))
    there = power > least
    if not there.any():  # images all alike, which have no components
        return float(np.linalg.norm(features.mean(axis=0) - middle))
    power, ways = power[there], ways[:, there]
    if is_wide:
        ways = centred.T @ (ways / np.sqrt(power))
    seen = (features - middle) @ ways / np.sqrt(power / max(len(reference) - 1, 1))
    # The reference has mean 0 and covariance 1 there, for which the formula is a short one.
    covariance = np.atleast_2d(np.cov(seen, rowvar=False))
    sigma = np.sqrt(np.maximum(np.linalg.eigvalsh(covariance), 0))
    mean = seen.mean(axis=0)
    return float(np.sqrt(mean @ mean + np.sum((sigma - 1) ** 2)))


def precision_and_recall(made: Float, real: Float, draws: Sequence[Draw]) -> tuple[Share, Share]:
    """Return precision and recall by manifolds of nearest neighbours [1]_.

    Parameters
    ----------
    made, real
        Features of synthetic and of real images, ``(images, features)``.
    draws
        Resamples of both, of equal sizes; the shares are the means of all.

    Returns
    -------
    precision
        Share of the synthetic images that are no further from some real image than its third
        neighbour among the real ones: are they like real ones.
    recall
        The same the other way round: is every kind of real image among them.

    References
    ----------
    .. [1] T. Kynkäänniemi et al., "Improved precision and recall metric for assessing generative
       models", NeurIPS 2019, equations 1 and 2, with k = 3 as there.
    """
    values = np.concatenate([real, made])
    apart = _distances(values)
    first = len(real)
    found: list[tuple[float, float, float, float]] = []
    for draw in draws:
        ours = first + draw.made
        found.append(
            (
                _covered(apart, ours, draw.second),
                _covered(apart, draw.second, ours),
                _covered(apart, draw.first, draw.second),
                _covered(apart, draw.second, draw.first),
            )
        )
    shares = np.asarray(found)
    # First and second half are halves alike: both ways round are one distribution.
    halves = shares[:, 2:]
    low, high = (float(v) for v in np.quantile(halves, (0.025, 0.975)))
    level = float(halves.mean())
    precision, recall = (float(v) for v in shares[:, :2].mean(axis=0))
    return Share(precision, level, low, high), Share(recall, level, low, high)


def _distances(values: Float) -> Float:
    squares = np.sum(values**2, axis=1)
    apart = squares[:, None] + squares - 2 * values @ values.T
    np.fill_diagonal(apart, 0)
    return np.asarray(np.sqrt(np.maximum(apart, 0)))


def _covered(apart: Float, images: NDArray[np.intp], others: NDArray[np.intp]) -> float:
    """Return the share of images within the reach of some other one: to its own neighbours."""
    nearest = min(_NEIGHBOURS, len(others) - 1)
    reach = np.partition(apart[np.ix_(others, others)], nearest, axis=1)[:, nearest]
    return float(np.mean(np.any(apart[np.ix_(images, others)] <= reach, axis=1)))

"""The audit of a generator: is what it draws like the real images, and is it more than copies."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from everhart.errors import UsageError
from everhart.synthesize.copies import CopyReport, find_copies
from everhart.synthesize.distances import DISTANCES, Summary

__all__ = ["Audit", "Ratio", "audit"]

Image = NDArray[np.float32]
Float = NDArray[np.float64]

_RESAMPLES = 100
_COPIES, _DIVERSITY = 0.02, 0.7


@dataclass(frozen=True)
class Ratio:
    """A distance from synthetic to real images over that from real to real ones.

    Parameters
    ----------
    name
        Of :data:`everhart.synthesize.distances.DISTANCES`.
    value
        1 where the synthetic images are as far from real ones as real ones from each other.
    low, high
        Interval that holds 95 % of the bootstrap.
    """

    name: str
    value: float
    low: float
    high: float


@dataclass(frozen=True, eq=False)
class Audit:
    """What the audit found.

    Parameters
    ----------
    ratios
        The distances.
    auc
        Area under the curve of a classifier of whole images, real against synthetic, by
        cross-validation: 0.5 where it cannot tell.
    noise_ratio
        Standard deviation of the finest detail, synthetic over real.
    copies
        Copies and diversity.
    auc_features
        As `auc`, of a classifier of a network's features, which see shapes; None where none were
        given.
    """

    ratios: tuple[Ratio, ...]
    auc: float
    noise_ratio: float
    copies: CopyReport
    auc_features: float | None = None

    @property
    def geometric_mean(self) -> float:
        """Geometric mean of the ratios."""
        return float(np.exp(np.mean([np.log(ratio.value) for ratio in self.ratios])))

    @property
    def ratios_count(self) -> bool:
        """Whether the ratios mean anything: copies of real images would score best."""
        return self.copies.share <= _COPIES and self.copies.diversity >= _DIVERSITY

    def to_dict(self) -> dict[str, Any]:
        """Return the figures as a JSON-serialisable dict."""
        return {
            "ratios": {r.name: [r.value, r.low, r.high] for r in self.ratios},
            "geometric_mean": self.geometric_mean,
            "ratios_count": self.ratios_count,
            "auc": self.auc,
            "auc_features": self.auc_features,
            "noise_ratio": self.noise_ratio,
            "copies": list(self.copies.copies),
            "copies_percent": 100 * self.copies.share,
            "diversity": self.copies.diversity,
            "nearest": self.copies.nearest.tolist(),
            "likeness_fine": self.copies.fine.round(4).tolist(),
            "likeness_fine_limit": self.copies.fine_limit,
            "likeness_coarse": self.copies.coarse.round(4).tolist(),
            "likeness_coarse_limit": self.copies.coarse_limit,
        }

    def summary(self) -> str:
        """Return the figures in lines to read."""
        lines = [
            f"{'distance':20} {'to real / real to real':>24}",
            *(f"{r.name:20} {r.value:8.2f} ({r.low:.2f} to {r.high:.2f})" for r in self.ratios),
            f"{'geometric mean':20} {self.geometric_mean:8.2f}",
            f"{'real or synthetic?':20} {self.auc:8.2f} (AUC; 0.5: cannot be told)",
            *(
                []
                if self.auc_features is None
                else [
                    f"{'the same, by shapes':20} {self.auc_features:8.2f} (features of a network)"
                ]
            ),
            f"{'noise':20} {self.noise_ratio:8.2f} of the real images'",
            f"{'copies':20} {len(self.copies.copies):8d} of {len(self.copies.fine)}",
            f"{'diversity':20} {self.copies.diversity:8.2f} of the real images'",
        ]
        if not self.ratios_count:
            lines.append("The distances mean nothing here: there are copies or too little variety.")
        return "\n".join(lines)


def audit(
    made: Sequence[Image],
    learned: Sequence[Image],
    held_out: Sequence[Image],
    *,
    seed: int = 0,
    features: Callable[[Sequence[Image]], Float] | None = None,
) -> Audit:
    """Audit synthetic images against real ones.

    Parameters
    ----------
    made
        Synthetic images, on the grey scale of the real ones.
    learned
        Real images that the generator learned from.
    held_out
        Real images that it did not: distances are measured to these, 8 at least.
    seed
        Seed of bootstrap and cross-validation.
    features
        Gives features ``(images, features)`` that see shapes, as
        :func:`everhart.restore.features.pooled_features`; None to go without.

    Returns
    -------
    Audit
        The figures.

    Raises
    ------
    UsageError
        If there are too few images, or they are of several sizes.

    Notes
    -----
    Each distance is taken between disjoint parts of the held-out images (halves, or of as many
    images as were made if these are fewer), and between such a part and as many synthetic images,
    none of them twice, 100 times; the ratio is that of the means. The interval is that of the
    bootstrap of both sets, about that ratio.
    """
    if len(held_out) < 8 or len(made) < 4:
        raise UsageError(
            f"{len(made)} synthetic and {len(held_out)} held-out real images were given: an audit "
            "needs at least 4 and 8."
        )
    rng = np.random.default_rng(seed)
    ours, real = Summary(made, seed), Summary(held_out, seed)
    size = min(len(real) // 2, len(ours))
    floor: dict[str, list[float]] = {name: [] for name in DISTANCES}
    found: dict[str, list[float]] = {name: [] for name in DISTANCES}
    again: dict[str, list[float]] = {name: [] for name in DISTANCES}
    for _ in range(_RESAMPLES):
        order = rng.permutation(len(real))
        first, second = real.take(order[:size]), real.take(order[size : 2 * size])
        some = ours.take(rng.permutation(len(ours))[:size])
        resampled = ours.take(rng.integers(len(ours), size=size))
        reals = real.take(rng.integers(len(real), size=size))
        for name, distance in DISTANCES.items():
            floor[name].append(distance(first.parts[name], second.parts[name]))
            found[name].append(distance(some.parts[name], second.parts[name]))
            again[name].append(distance(resampled.parts[name], reals.parts[name]))
    ratios = []
    for name in DISTANCES:
        value = float(np.mean(found[name])) / max(float(np.mean(floor[name])), 1e-12)
        # Repeated images are further from others than different ones are: the bootstrap tells of
        # the scatter alone, not of the value.
        spread = np.quantile(again[name], (0.025, 0.975)) / max(float(np.mean(again[name])), 1e-12)
        ratios.append(Ratio(name, value, float(value * spread[0]), float(value * spread[1])))
    noise = [s.parts["noise correlation"][:, 0].mean() for s in (ours, real)]
    return Audit(
        tuple(ratios),
        _auc(_features(ours.parts), _features(real.parts), rng),
        float(np.exp(noise[0] - noise[1])),
        find_copies(made, learned, held_out),
        None if features is None else _auc(features(made), features(held_out), rng),
    )


def _features(parts: Mapping[str, Float]) -> Float:
    quantiles = parts["grey levels"][:, ::16]
    return np.concatenate([quantiles, parts["power spectrum"], parts["noise correlation"]], axis=1)


def _auc(ours: Float, real: Float, rng: np.random.Generator, folds: int = 4) -> float:
    """Return the cross-validated area under the curve of a shrunken linear discriminant."""
    values = np.concatenate([ours, real])
    labels = np.concatenate([np.ones(len(ours)), np.zeros(len(real))])
    fold = np.empty(len(values), int)
    for label in (0, 1):
        rows = np.flatnonzero(labels == label)
        fold[rows] = rng.permutation(np.arange(len(rows)) % folds)
    scores = np.empty(len(values))
    for number in range(folds):
        known = fold != number
        middle, scale = values[known].mean(axis=0), values[known].std(axis=0) + 1e-9
        z = (values - middle) / scale
        means = [z[known & (labels == label)].mean(axis=0) for label in (0, 1)]
        centred = z[known] - np.where(labels[known, None] == 1, means[1], means[0])
        covariance = centred.T @ centred / len(centred)
        covariance = 0.7 * covariance + 0.3 * np.eye(len(covariance))
        way = np.linalg.solve(covariance, means[1] - means[0])
        # Scores of different folds are compared: each with its own middle.
        scores[~known] = (z[~known] - (means[0] + means[1]) / 2) @ way
    above = scores[labels == 1][:, None] - scores[labels == 0][None]
    return float(np.mean((above > 0) + 0.5 * (above == 0)))

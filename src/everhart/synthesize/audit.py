"""The audit of a generator: is what it draws like the real images, and is it more than copies."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from everhart.errors import UsageError
from everhart.synthesize.copies import CopyReport, find_copies
from everhart.synthesize.distances import DISTANCES, Summary
from everhart.synthesize.feature_distances import Share, frechet_distance, precision_and_recall
from everhart.synthesize.ratio import Draw, Ratio, draws_of, ratio_of
from everhart.synthesize.sizes import SizeReport

__all__ = ["Audit", "Ratio", "audit", "check_counts"]

Image = NDArray[np.float32]
Float = NDArray[np.float64]

_FEATURES = "network features"
_COPIES, _DIVERSITY = 0.02, 0.7
_FEWEST_MADE, _FEWEST_HELD_OUT = 4, 8


@dataclass(frozen=True, eq=False)
class Audit:
    """What the audit found.

    Parameters
    ----------
    ratios
        The distances; that of network features, their Fréchet distance, is the last where features
        were given.
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
    precision, recall
        By the same features: share of the synthetic images that lie among real ones, and of the
        real ones that lie among synthetic ones; None without features.
    sizes
        Sizes measured in the images, None where none were given. They are not part of the
        geometric mean, as they depend on what is measured.
    """

    ratios: tuple[Ratio, ...]
    auc: float
    noise_ratio: float
    copies: CopyReport
    auc_features: float | None = None
    precision: Share | None = None
    recall: Share | None = None
    sizes: SizeReport | None = None

    @property
    def geometric_mean(self) -> float:
        """Geometric mean of all ratios, that of network features among them where there is one."""
        return _geometric_mean(self.ratios)

    @property
    def geometric_mean_of_pixels(self) -> float:
        """The same without network features: what can be compared with audits without them."""
        return _geometric_mean([ratio for ratio in self.ratios if ratio.name != _FEATURES])

    @property
    def ratios_count(self) -> bool:
        """Whether the ratios mean anything: copies of real images would score best."""
        return self.copies.share <= _COPIES and self.copies.diversity >= _DIVERSITY

    def to_dict(self) -> dict[str, Any]:
        """Return the figures as a JSON-serialisable dict."""
        return {
            "ratios": {r.name: [r.value, r.low, r.high] for r in self.ratios},
            "geometric_mean": self.geometric_mean,
            "geometric_mean_of": [r.name for r in self.ratios],
            "geometric_mean_of_pixels": self.geometric_mean_of_pixels,
            "ratios_count": self.ratios_count,
            "auc": self.auc,
            "auc_features": self.auc_features,
            "precision": None if self.precision is None else asdict(self.precision),
            "recall": None if self.recall is None else asdict(self.recall),
            "measured": None if self.sizes is None else self.sizes.to_dict(),
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
            f"{'geometric mean':20} {self.geometric_mean:8.2f} of these {len(self.ratios)}",
            f"{'real or synthetic?':20} {self.auc:8.2f} (AUC; 0.5: cannot be told)",
            *(
                []
                if self.auc_features is None
                else [
                    f"{'the same, by shapes':20} {self.auc_features:8.2f} (features of a network)"
                ]
            ),
            *(
                f"{name:20} {share.value:8.2f} (real: {share.real:.2f}, {share.low:.2f} to "
                f"{share.high:.2f}; features of a network)"
                for name, share in (("precision", self.precision), ("recall", self.recall))
                if share is not None
            ),
            f"{'noise':20} {self.noise_ratio:8.2f} of the real images'",
            f"{'copies':20} {len(self.copies.copies):8d} of {len(self.copies.fine)}",
            f"{'diversity':20} {self.copies.diversity:8.2f} of the real images'",
        ]
        if self.sizes is not None:
            lines.append(self.sizes.summary())
        if not self.ratios_count:
            lines.append("The distances mean nothing here: there are copies or too little variety.")
        return "\n".join(lines)


def check_counts(made: int, held_out: int) -> None:
    """Check that there are images enough for an audit.

    Parameters
    ----------
    made, held_out
        Number of synthetic images, and of real ones that were not learned from.

    Raises
    ------
    UsageError
        If there are fewer than 4 or 8.
    """
    if made < _FEWEST_MADE or held_out < _FEWEST_HELD_OUT:
        raise UsageError(
            f"{made} synthetic and {held_out} held-out real images were given: an audit needs at "
            f"least {_FEWEST_MADE} and {_FEWEST_HELD_OUT}."
        )


def audit(
    made: Sequence[Image],
    learned: Sequence[Image],
    held_out: Sequence[Image],
    *,
    seed: int = 0,
    features: Callable[[Sequence[Image]], Float] | None = None,
    sizes: SizeReport | None = None,
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
    sizes
        What :func:`everhart.synthesize.sizes.compare_sizes` gave of the same images, to be
        reported with the rest.

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
    bootstrap of both sets, about that ratio. Precision and recall are means over the same parts.
    """
    check_counts(len(made), len(held_out))
    rng = np.random.default_rng(seed)
    ours, real = Summary(made, seed).parts, Summary(held_out, seed).parts
    draws = draws_of(len(made), len(held_out), rng)
    seen = None if features is None else (features(made), features(held_out))
    compared = {name: (how, ours[name], real[name]) for name, how in DISTANCES.items()}
    if seen is not None:
        compared[_FEATURES] = (frechet_distance, *seen)
    ratios = [_ratio(name, *parts, draws) for name, parts in compared.items()]
    precision, recall = (None, None) if seen is None else precision_and_recall(*seen, draws)
    noise = [parts["noise correlation"][:, 0].mean() for parts in (ours, real)]
    return Audit(
        tuple(ratios),
        _auc(_features(ours), _features(real), rng),
        float(np.exp(noise[0] - noise[1])),
        find_copies(made, learned, held_out),
        None if seen is None else _auc(*seen, rng),
        precision,
        recall,
        sizes,
    )


def _ratio(
    name: str,
    distance: Callable[[Float, Float], float],
    ours: Float,
    real: Float,
    draws: Sequence[Draw],
) -> Ratio:
    def between(rows: NDArray[np.intp], others: NDArray[np.intp], of_real: bool) -> float:
        return distance((real if of_real else ours)[rows], real[others])

    ratio, found, _ = ratio_of(name, between, draws)
    if ratio is None:  # real images are all alike: what differs at all is far from them
        value = max(found / 1e-12, 1.0)
        ratio = Ratio(name, value, value, value)
    return ratio


def _geometric_mean(ratios: Sequence[Ratio]) -> float:
    return float(np.exp(np.mean([np.log(ratio.value) for ratio in ratios])))


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

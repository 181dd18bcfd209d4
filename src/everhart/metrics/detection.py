"""Detection rates of planted defects at a fixed rate of false alarms, and what is made up."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike, NDArray

from everhart.errors import UsageError
from everhart.metrics.defects import BLOB_SIGMAS_PX, OBSERVERS, DefectScores

__all__ = [
    "FALSE_ALARMS_PER_MPX",
    "contrast_found",
    "detection_rates",
    "found_defects",
    "invented_blobs",
    "kept_contrast",
    "lost_and_gained",
]

FALSE_ALARMS_PER_MPX: Final = 10.0
"""False alarms that every observer is allowed on the images of every method."""


def found_defects(
    scores: Sequence[DefectScores], *, alarms_per_mpx: float = FALSE_ALARMS_PER_MPX
) -> pd.DataFrame:
    """Say which defects each observer finds at a fixed rate of false alarms.

    The threshold of an observer is set on the method's own images without defects, of all
    trials together: no method gains by making everything fainter, and none is let off what it
    adds. Give trials of one kind of specimen: a tool is set up for each.

    Parameters
    ----------
    scores
        Scores of one method.
    alarms_per_mpx
        False alarms a megapixel.

    Returns
    -------
    DataFrame
        The defects of all trials, a row each, with ``trial`` and, by observer, a bool.

    Raises
    ------
    UsageError
        If no scores were given, or the area is too small for one false alarm.

    References
    ----------
    .. [1] D. P. Chakraborty and L. H. L. Winter, "Free-response methodology", Radiology 174
       (1990), 873-881: detection at places, against false alarms an image.
    """
    if not scores:
        raise UsageError("No scores were given: give those of at least one trial.")
    area = sum(s.area_mpx for s in scores)
    allowed = int(alarms_per_mpx * area)
    if allowed < 1:
        raise UsageError(
            f"{alarms_per_mpx:g} false alarms a megapixel were allowed on {area:.3g} megapixels "
            "without defects: that is none; give more images or allow more."
        )
    thresholds = {}
    for name in scores[0].alarms:
        highest = np.sort(np.concatenate([s.alarms[name] for s in scores]))[::-1]
        thresholds[name] = float(highest[allowed]) if allowed < highest.size else 0.0
    table = pd.concat(
        [s.defects.assign(trial=number) for number, s in enumerate(scores)], ignore_index=True
    )
    for observer in OBSERVERS:
        by_radius = {r: thresholds.get(f"{observer} {r:g}") for r in table["radius_px"].unique()}
        limit = table["radius_px"].map(
            lambda r, known=by_radius, name=observer: (
                thresholds[name] if known[r] is None else known[r]
            )
        )
        table[observer] = table[observer] > limit
    return table


def detection_rates(found: pd.DataFrame, observer: str, by: Sequence[str] = ()) -> pd.DataFrame:
    """Return the share of defects that an observer finds, by radius and contrast.

    Parameters
    ----------
    found
        As of :func:`found_defects`; further columns may be added, to be named in `by`.
    observer
        One of ``OBSERVERS``.
    by
        Further columns to tell apart.

    Returns
    -------
    DataFrame
        Columns `by`, ``radius_px``, ``contrast``, ``rate``, ``rate_sd`` (binomial, with one found
        and one missed added so that it is never 0) and ``defects`` (how many).
    """
    groups = found.groupby([*by, "radius_px", "contrast"], sort=True)[observer]
    table = groups.agg(rate="mean", defects="size").reset_index()
    share = (table["rate"] * table["defects"] + 1) / (table["defects"] + 2)
    table["rate_sd"] = np.sqrt(share * (1 - share) / (table["defects"] + 3))
    return table[[*by, "radius_px", "contrast", "rate", "rate_sd", "defects"]]


def contrast_found(
    contrasts: ArrayLike, rates: ArrayLike, counts: ArrayLike, *, share: float = 0.9
) -> float:
    """Return the contrast from which on a share of the defects is found.

    The rates are made to rise with contrast (isotonic regression, weighted by the number of
    defects), and interpolated linearly against the logarithm of the contrast.

    Parameters
    ----------
    contrasts, rates, counts
        Rising contrasts, share found at each, and of how many.
    share
        The share looked for.

    Returns
    -------
    float
        Contrast in the unit given; infinite if it is not reached at the largest, and the
        smallest contrast (an upper bound) if it is reached there.

    Examples
    --------
    >>> contrast_found([0.1, 0.2, 0.4], [0.2, 0.7, 1.0], [50, 50, 50], share=0.7)
    0.2
    """
    from scipy.optimize import isotonic_regression

    contrast, rate, weight = (np.asarray(v, np.float64) for v in (contrasts, rates, counts))
    rising = isotonic_regression(rate, weights=weight).x
    if rising[-1] < share:
        return float("inf")
    after = int(np.argmax(rising >= share))
    if after == 0:
        return float(contrast[0])
    low, high = rising[after - 1], rising[after]
    step = (share - low) / (high - low)
    logs = np.log(contrast)
    return float(np.exp(logs[after - 1] + step * (logs[after] - logs[after - 1])))


def lost_and_gained(
    found: pd.DataFrame,
    raw: pd.DataFrame,
    observer: str,
    by: Sequence[str] = ("radius_px", "contrast"),
) -> pd.DataFrame:
    """Compare what is found behind a method with what is found in the raw images, pairwise.

    Parameters
    ----------
    found, raw
        As of :func:`found_defects`, of the same trials in the same order.
    observer
        One of ``OBSERVERS``.
    by
        Columns to tell apart: few of them make groups that are large enough to show a loss.

    Returns
    -------
    DataFrame
        Columns `by`, ``lost`` (found raw and not behind the
        method), ``gained``, ``defects``, and ``p_lost``: how likely at least so many of the
        discordant ones would be losses if the method changed nothing (one-sided sign test [1]_).

    Raises
    ------
    UsageError
        If the tables are not of the same defects.

    References
    ----------
    .. [1] Q. McNemar, "Note on the sampling error of the difference between correlated
       proportions", Psychometrika 12 (1947), 153-157.
    """
    from scipy.stats import binom

    keys = list(by)
    same = [*keys, "image", "y_px", "x_px", "radius_px", "contrast"]
    if len(found) != len(raw) or not (found[same].to_numpy() == raw[same].to_numpy()).all():
        raise UsageError(
            "Tables of different defects were given: give the same trials in the same order."
        )
    paired = found[keys].assign(
        lost=(~found[observer] & raw[observer]).astype(int),
        gained=(found[observer] & ~raw[observer]).astype(int),
        defects=1,
    )
    table = paired.groupby(keys, sort=True)[["lost", "gained", "defects"]].sum().reset_index()
    table["p_lost"] = binom.sf(table["lost"] - 1, table["lost"] + table["gained"], 0.5)
    return table


def invented_blobs(
    scores: Sequence[DefectScores],
    raw: Sequence[DefectScores],
    *,
    alarms_per_mpx: float = FALSE_ALARMS_PER_MPX,
) -> pd.DataFrame:
    """Count blobs on images without defects that would be alarms in the raw image.

    The threshold is in grey levels: what the raw images exceed `alarms_per_mpx` times a
    megapixel by their noise. A method that only takes noise away stays below it; what is above
    was put there.

    Parameters
    ----------
    scores, raw
        Scores of the method and of the raw images, of the same trials.
    alarms_per_mpx
        Blobs that the raw images have by definition.

    Returns
    -------
    DataFrame
        A row a size of blob: ``changing`` (False: any difference from the pattern; True: only what
        the method's other images do not have), ``sigma_px``, ``threshold`` in grey levels,
        ``per_mpx``, ``raw_per_mpx``, and ``more``: whether that is more than the raw images have,
        by more than two standard deviations of the difference of the two counts.
    """
    rows = []
    for changing in (False, True):
        for size in BLOB_SIGMAS_PX:
            heights, own = (_blob_heights(several, size, changing) for several in (scores, raw))
            area = sum(s.area_mpx for s in raw)
            allowed = min(max(int(alarms_per_mpx * area), 1), own.size - 1)
            threshold = float(own[allowed])
            count, usual = int((heights > threshold).sum()), int((own > threshold).sum())
            rows.append(
                {
                    "changing": changing,
                    "sigma_px": size,
                    "threshold": threshold,
                    "per_mpx": count / sum(s.area_mpx for s in scores),
                    "raw_per_mpx": usual / area,
                    "more": bool(count - usual > 2 * np.sqrt(count + usual)),
                }
            )
    return pd.DataFrame(rows)


def _blob_heights(
    scores: Sequence[DefectScores], size: float, changing: bool
) -> NDArray[np.float64]:
    kinds = [s.changing_blobs if changing else s.blobs for s in scores]
    return np.sort(np.concatenate([blobs[size] for blobs in kinds]))[::-1]


def kept_contrast(scores: Sequence[DefectScores], by: Sequence[str] = ()) -> pd.DataFrame:
    """Return the share of the contrast that a method keeps, by radius and contrast.

    Parameters
    ----------
    scores
        Scores of one method.
    by
        Columns of the tables of defects to tell apart besides radius and contrast.

    Returns
    -------
    DataFrame
        Columns `by`, ``radius_px``, ``contrast``, ``kept`` (1: all of it) and ``kept_sd``, the
        standard error of that mean.
    """
    table = pd.concat([s.defects for s in scores], ignore_index=True)
    groups = table.groupby([*by, "radius_px", "contrast"], sort=True)["kept"]
    return groups.agg(kept="mean", kept_sd="sem").reset_index()

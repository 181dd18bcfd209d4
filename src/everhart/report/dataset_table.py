"""Statistics over the images of a data set: means, paired differences, wins, worst cases."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import combinations
from typing import TYPE_CHECKING, Final

import numpy as np
from numpy.typing import NDArray

from everhart.report.figures import FIGURES

if TYPE_CHECKING:
    import pandas as pd

__all__ = [
    "CONFIDENCE",
    "default_tie_margin",
    "holm",
    "mean_first",
    "overall",
    "paired_differences",
    "win_matrix",
    "worst_first",
]

CONFIDENCE: Final = 0.95
"""Confidence level of the intervals."""

_TIE_DB: Final = 0.05
_TIE_PLAIN: Final = 0.001


def default_tie_margin(figure: str) -> float:
    """Return the difference of a figure up to which two methods are tied in an image.

    0.05 for figures in dB, which nobody sees; 0.001 for figures without a unit, such as SSIM; 0
    for others, such as seconds.

    Examples
    --------
    >>> default_tie_margin("affine_psnr_db"), default_tie_margin("ssim")
    (0.05, 0.001)
    """
    unit = FIGURES[figure].unit
    return {"dB": _TIE_DB, "": _TIE_PLAIN}.get(unit, 0.0)


def overall(table: pd.DataFrame, methods: Sequence[str]) -> pd.DataFrame:
    """Return mean and spread of every figure over the images, by method.

    Parameters
    ----------
    table
        One row an image and method: ``image``, ``method`` and a column a figure.
    methods
        Methods in the order of the result.

    Returns
    -------
    DataFrame
        ``method, figure, n, mean, sd, median, lowest, highest``; the standard deviation is that
        of images (``n - 1``). An image that has no value of a figure does not count for it.
    """
    import pandas as pd

    rows = []
    for method in methods:
        own = table[table["method"] == method]
        for figure in (column for column in table.columns if column not in ("image", "method")):
            values = own[figure].dropna().to_numpy(np.float64)
            if not values.size:
                continue
            finite = bool(np.isfinite(values).all())
            rows.append(
                {
                    "method": method,
                    "figure": figure,
                    "n": int(values.size),
                    "mean": float(values.mean()),
                    "sd": float(values.std(ddof=1)) if finite and values.size > 1 else np.nan,
                    "median": float(np.median(values)),
                    "lowest": float(values.min()),
                    "highest": float(values.max()),
                }
            )
    columns = ["method", "figure", "n", "mean", "sd", "median", "lowest", "highest"]
    return pd.DataFrame(rows, columns=columns)


def mean_first(wide: pd.DataFrame, figure: str) -> list[str]:
    """Return the methods by their mean over the images that all of them have, the best first.

    Parameters
    ----------
    wide
        A figure: one row an image, one column a method, NaN where there is none.
    figure
        Its key.

    Returns
    -------
    list of str
        Methods; those without any value come last. Where no image has all, each is judged by
        the mean over its own.
    """
    having = wide.dropna(axis=1, how="all")
    common = having.dropna(axis=0)
    means = (common if len(common) else having).mean()
    merits = {name: FIGURES[figure].merit(float(means.get(name, np.nan))) for name in wide.columns}
    return sorted(merits, key=lambda name: merits[name], reverse=True)


def paired_differences(wide: pd.DataFrame, figure: str, *, tie_margin: float) -> pd.DataFrame:
    """Compare every two methods image by image.

    Images differ far more than methods do on one image, so the difference is taken within each
    image first. Its mean over images has the interval of Student's t; the sign test asks, without
    any assumption on how differences are distributed, whether one method is better more often than
    a coin would have it. Images must be independent: crops of one field are not.

    Parameters
    ----------
    wide
        A figure: one row an image, one column a method, NaN where there is none.
    figure
        Its key, which says whether high values are good.
    tie_margin
        Difference up to which two methods are tied in an image.

    Returns
    -------
    DataFrame
        One row a pair, in the order of the columns: ``method``, ``other``, ``n`` (images that have
        both), ``difference`` (mean of method less other), ``low`` and ``high`` (95 % interval; NaN
        for less than 2 images), ``wins``, ``ties``, ``losses`` of the method, ``p`` of the
        two-sided sign test without the ties, and ``p_holm``, which allows for the number of pairs.

    References
    ----------
    S. Holm, A simple sequentially rejective multiple test procedure, Scand. J. Statist. 6 (1979).
    """
    import pandas as pd
    from scipy.stats import binomtest, t

    rows = []
    for method, other in combinations(wide.columns, 2):
        both = wide[[method, other]].dropna().to_numpy(np.float64)
        gains = _gains(both[:, 0], both[:, 1], figure)
        wins, losses = int((gains > tie_margin).sum()), int((gains < -tie_margin).sum())
        with np.errstate(invalid="ignore"):
            difference = both[:, 0] - both[:, 1]
        difference = difference[np.isfinite(difference)]
        mean = low = high = np.nan
        if difference.size:
            mean = float(difference.mean())
        if difference.size > 1:
            error = float(difference.std(ddof=1)) / np.sqrt(difference.size)
            reach = float(t.ppf(0.5 + CONFIDENCE / 2, difference.size - 1)) * error
            low, high = mean - reach, mean + reach
        rows.append(
            {
                "method": method,
                "other": other,
                "n": len(both),
                "difference": mean,
                "low": low,
                "high": high,
                "wins": wins,
                "ties": len(both) - wins - losses,
                "losses": losses,
                "p": float(binomtest(wins, wins + losses).pvalue) if wins + losses else 1.0,
            }
        )
    columns = ["method", "other", "n", "difference", "low", "high", "wins", "ties", "losses", "p"]
    found = pd.DataFrame(rows, columns=columns)
    found["p_holm"] = holm(found["p"].to_numpy(np.float64))
    return found


def holm(p: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return probabilities that allow for the number of tests, by Holm's procedure.

    Parameters
    ----------
    p
        Probabilities of the tests, shape ``(N,)``.

    Returns
    -------
    ndarray
        Likewise, none smaller than before, none above 1.

    References
    ----------
    S. Holm, A simple sequentially rejective multiple test procedure, Scand. J. Statist. 6 (1979).

    Examples
    --------
    >>> [float(value) for value in holm(np.array([0.01, 0.5, 0.02]))]
    [0.03, 0.5, 0.04]
    """
    order = np.argsort(p, kind="stable")
    scaled = p[order] * np.arange(len(p), 0, -1)
    adjusted = np.empty_like(p)
    adjusted[order] = np.minimum(np.maximum.accumulate(scaled), 1.0) if len(p) else scaled
    return adjusted


def win_matrix(wide: pd.DataFrame, figure: str, *, tie_margin: float) -> pd.DataFrame:
    """Count the images in which one method is better than another by more than a margin.

    Parameters
    ----------
    wide, figure, tie_margin
        As for :func:`paired_differences`.

    Returns
    -------
    DataFrame
        Row method better than column method; 0 on the diagonal. What two entries that mirror each
        other lack to the number of images are ties, and images that lack one of the two.
    """
    import pandas as pd

    names = list(wide.columns)
    values = wide.to_numpy(np.float64)
    wins = np.zeros((len(names), len(names)), np.int64)
    for i, j in combinations(range(len(names)), 2):
        both = values[~np.isnan(values[:, [i, j]]).any(axis=1)][:, [i, j]]
        gains = _gains(both[:, 0], both[:, 1], figure)
        wins[i, j], wins[j, i] = (gains > tie_margin).sum(), (gains < -tie_margin).sum()
    return pd.DataFrame(wins, index=names, columns=names)


def worst_first(wide: pd.DataFrame, figure: str, method: str) -> list[str]:
    """Return the images by a figure of a method, the worst first.

    Parameters
    ----------
    wide, figure
        As for :func:`paired_differences`.
    method
        The method.

    Returns
    -------
    list of str
        Images that have a value; those of equal value in the order in which they were given.
    """
    merit = wide[method].dropna().map(FIGURES[figure].merit)
    return [str(name) for name in merit.sort_values(kind="stable").index]


def _gains(
    one: NDArray[np.float64], other: NDArray[np.float64], figure: str
) -> NDArray[np.float64]:
    """Return by how much one is better than the other; 0 for two that are both infinite."""
    merit = np.vectorize(FIGURES[figure].merit, otypes=[np.float64])
    first, second = (merit(values) if values.size else values for values in (one, other))
    with np.errstate(invalid="ignore"):
        return np.where(first == second, 0.0, first - second)

"""How images scatter about what a network sees of them in noise: what a sampler has to add."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Self

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from everhart.synthesize.even_filters import (
    BANDS,
    REACH_PX,
    cell_power,
    filtered,
    fitted_filters,
    mean_over_frequencies,
    within_reach,
)
from everhart.synthesize.samplers import Generators, Predict, held, noise_like
from everhart.synthesize.schedule import NoiseSchedule

__all__ = ["Scatter", "measure_scatter"]

Float = NDArray[np.float64]

_ENDS = (0.003, 0.01, 0.03, 0.07, 0.15, 0.3, 0.45, 0.6, 0.75, 0.87, 0.95, 0.985, 0.996)
"""Quantiles between groups of like grey level: shot noise changes most at the dark end."""

_LEVELS = len(_ENDS) + 1
_TIMES = 40
_FLOOR = 1e-6
_STEEPEST, _MOST_NOISE = 1.5, 1.0
_GRAIN_LEVEL = 0.4
"""Level of the noise above which no grain is seen in images: what is off by grey level there comes
from shapes that are not known yet, and to put it right would take contrast from images."""

_MOST_SKEWED = 2.0
"""Of what a bent normal distribution can be: its skewness is 2.83 at most."""

_SHAPES = 2
"""Below this cell of frequencies lies nearly all of an image's variance, in shapes that are seen
whole or not at all."""

_LEAST_GRAIN, _MOST_GRAIN = 0.3, 1.5
"""Limits of the variance of grain that is drawn, over that of the error of grain that is seen."""

_TABLES = ("slope", "noise_slope", "power", "levels", "biases", "gains", "fine_gains", "skews")


@dataclass(frozen=True, eq=False)
class Scatter:
    r"""What :math:`x_0 - \hat x_0` is, by time: what a network gets wrong, and what it cannot see.

    The mean :math:`\hat x_0` that a network sees in :math:`x_t` is not quite the mean: a short
    training leaves some frequencies too weak or too strong, takes a part of the grain for noise,
    and noise that is skewed comes out symmetric. That part follows from :math:`\hat x_0` and the
    noise that is seen by regression on known images. The rest is drawn; it is neither white (edges
    and the detector's blur are in it) nor as strong in the dark as in the bright (shot noise), nor
    symmetric. Here it is independent numbers, filtered to a spectrum, scaled by grey level and bent
    to a skewness. Grain is scaled apart from what is coarser: edges, at levels between those of the
    layers, are uncertain, and have no more grain.

    Parameters
    ----------
    times
        Steps of the schedule that were measured, ``(times,)``, in order.
    slope
        Factor on :math:`\hat x_0` that, with `noise_slope`, makes it the mean of images, at
        frequencies of 0 to 0.5 along each axis, ``(times, 9, 9)``.
    noise_slope
        Factor on what is seen of the noise, over :math:`s_t`, that is to be added to that: the
        part of images that the network took for noise.
    power
        Variance of the rest over :math:`s_t^2` at the same frequencies, where its strength is
        1 at each grey level.
    levels
        Grey levels of :math:`\hat x_0` in order, ``(times, levels)``.
    biases, gains, fine_gains, skews
        There: what is to be added to :math:`\hat x_0`; the variance of what is drawn over the
        mean one, of what is coarse and of grain (as much of it as makes, with what is seen of it,
        that of images); the skewness of the rest.

    References
    ----------
    .. [1] F. Bao et al., "Analytic-DPM: an analytic estimate of the optimal reverse variance in
       diffusion probabilistic models", ICLR 2022: of the same strength everywhere.
    .. [2] F. Bao et al., "Estimating the optimal covariance with imperfect mean in diffusion
       probabilistic models", ICML 2022: for each pixel.
    """

    times: NDArray[np.int64]
    slope: Float
    noise_slope: Float
    power: Float
    levels: Float
    biases: Float
    gains: Float
    fine_gains: Float
    skews: Float

    @classmethod
    def from_header(cls, said: Mapping[str, Sequence[Any]]) -> Self:
        """Return what a model's header says."""
        floats = {name: np.asarray(said[name], np.float64) for name in _TABLES if name in said}
        # Models of before had their mean taken as it is, and the rest as symmetric.
        older = {"slope": np.ones_like(floats["power"])}
        older |= {"noise_slope": np.zeros_like(floats["power"])}
        older |= dict.fromkeys(("biases", "skews"), np.zeros_like(floats["gains"]))
        older |= {"fine_gains": floats["gains"]}
        return cls(np.asarray(said["times"], np.int64), **{**older, **floats})

    def to_header(self) -> dict[str, Any]:
        """Return it for a model's header, to four digits."""
        return {
            "times": self.times.tolist(),
            **{name: [_digits(row) for row in getattr(self, name)] for name in _TABLES},
        }

    def draw(
        self, x: Tensor, x0: Tensor, schedule: NoiseSchedule, t: int, generator: Generators
    ) -> Tensor:
        """Draw what images are off by.

        Parameters
        ----------
        x
            x_t, ``(N, C, H, W)``.
        x0
            What the network sees in x_t, ``(N, C, H, W)``.
        schedule
            Schedule that the network was trained with.
        t
            Step of the schedule.
        generator
            Of the noise; it is asked for ``(N, C, H + 16, W + 16)`` numbers.

        Returns
        -------
        Tensor
            Of the shape of `x0`.
        """
        upper = int(np.clip(np.searchsorted(self.times, t), 1, len(self.times) - 1))
        first, second = self.times[upper - 1 : upper + 1]
        share = float(np.clip((t - first) / (second - first), 0, 1))

        def now(table: Float) -> Float:
            return np.asarray((1 - share) * table[upper - 1] + share * table[upper])

        wide = x0.new_empty((*x0.shape[:2], *(n + 2 * REACH_PX for n in x0.shape[2:])))
        tables = {name: now(getattr(self, name)) for name in _TABLES}
        rest = _drawn(x0, noise_like(wide, generator), tables)
        a, s = schedule.level(t)
        noise = (x - a * x0) / s
        right = _corrected(x0, noise, tables["slope"], s * tables["noise_slope"])
        bias = _by_level(x0, tables["levels"], tables["biases"])
        return right - x0 + bias + s * rest


def measure_scatter(
    predictor: Callable[[slice], Predict],
    images: Tensor,
    schedule: NoiseSchedule,
    *,
    clip: float | None = None,
    seed: int = 0,
    batch_size: int = 8,
) -> Scatter:
    """Measure by how much a network is off on images that are known.

    Parameters
    ----------
    predictor
        Gives the network, with all that it is told of some of the images.
    images
        Images ``(N, 1, H, W)``, or patches of them.
    schedule
        Schedule that the network was trained with.
    clip
        Limits of the image while it is drawn.
    seed
        Of the noise.
    batch_size
        Images that the network sees at once.

    Notes
    -----
    The times are closer together towards the image, where the grain is decided.
    """
    last = schedule.steps - 1
    times = np.unique(np.round(last * np.linspace(0, 1, _TIMES) ** 2).astype(np.int64))
    times = schedule.as_noisy(times[::-1])[::-1]
    generator = torch.Generator().manual_seed(seed)
    known = images.cpu().double().numpy()
    rows = []
    for t in times.tolist():
        seen: list[Float] = []
        noise: list[Float] = []
        for first in range(0, len(images), batch_size):
            some = slice(first, first + batch_size)
            x0 = images[some]
            at = torch.full((len(x0),), t, dtype=torch.long, device=x0.device)
            x = schedule.add_noise(x0, noise_like(x0, generator), at)
            with torch.no_grad():
                parts = held(x, predictor(some)(x, at), schedule, t, clip)
            for found, part in zip((seen, noise), parts, strict=True):
                found.append(part.cpu().double().numpy())
        level = schedule.level(t)[1]
        rows.append(_at_one_time(np.concatenate(seen), np.concatenate(noise), known, level))
    return Scatter(times, **{name: np.stack([row[name] for row in rows]) for name in _TABLES})


def _at_one_time(seen: Float, noise: Float, known: Float, level: float) -> dict[str, Float]:
    """Return the tables of one time.

    `seen` and `noise` are what the network sees, `known` is what is there, ``(N, 1, H, W)``,
    `level` is that of the noise.
    """
    # What is left should have nothing in common with x_t: else that would be weaker from step to
    # step, or stronger, though the image that is seen has the right strength at each.
    more, noise_slope = fitted_filters(known - seen, seen, level * noise, _SHAPES)
    slope = (1 + more).clip(0, _STEEPEST)
    noise_slope = noise_slope.clip(-_MOST_NOISE, _MOST_NOISE)
    right = _corrected(
        torch.from_numpy(seen), torch.from_numpy(noise), slope, level * noise_slope
    ).numpy()
    off = known - right
    group = np.digitize(seen, np.quantile(seen, _ENDS)).ravel()
    count = np.bincount(group, minlength=_LEVELS)
    # Where much lies at a limit of the image, a group is empty: it is what its neighbours are.
    there = np.flatnonzero(count)

    def mean(values: Float) -> Float:
        total = np.bincount(group, values.ravel(), minlength=_LEVELS)
        return np.interp(np.arange(_LEVELS), there, total[there] / count[there])

    levels = np.maximum.accumulate(mean(seen))
    biases = mean(off) if level <= _GRAIN_LEVEL else np.zeros(_LEVELS)
    bias = np.interp(seen, levels, biases)
    off = (off - bias) / level
    fine = _grain(off)
    parts = (off - fine, fine)
    gains = [mean(part**2) / max(float(np.mean(part**2)), _FLOOR) for part in parts]
    gains = [np.maximum(some, _FLOOR) for some in gains]
    # The spectrum is of what is scaled by grey level when it is drawn: scaling alone, by an image
    # with edges, takes some to the finest frequencies.
    even = sum(
        part / np.sqrt(np.interp(seen, levels, some))
        for part, some in zip(parts, gains, strict=True)
    )
    # Dark grain that is seen is too strong, and bright grain too weak: a factor on frequencies is
    # one for both. So as much is drawn as makes the grain of images with what is seen of it.
    wanted = (mean(_grain(known) ** 2) - mean(_grain(right + bias) ** 2)) / level**2
    share = (wanted / np.maximum(mean(fine**2), _FLOOR)).clip(_LEAST_GRAIN, _MOST_GRAIN)
    variance = np.maximum(mean(off**2), _FLOOR)
    return {
        "slope": slope,
        "noise_slope": noise_slope,
        "power": np.maximum(cell_power(even, even), _FLOOR),
        "levels": levels,
        "biases": biases,
        "gains": gains[0],
        "fine_gains": gains[1] * share,
        "skews": (mean(off**3) / variance**1.5).clip(-_MOST_SKEWED, _MOST_SKEWED),
    }


def _drawn(x0: Tensor, white: Tensor, tables: Mapping[str, Float]) -> Tensor:
    """Return independent numbers with the spectrum, the strength and the skewness of a time.

    `white` are the numbers, ``(N, C, H + 16, W + 16)``.
    """
    levels, amplitude = tables["levels"], np.sqrt(tables["power"])
    scales = [_by_level(x0, levels, tables[name]).sqrt() for name in ("gains", "fine_gains")]
    parts = [filtered(white, amplitude * band) for band in BANDS]
    rest = scales[0] * parts[0] + scales[1] * parts[1]
    # What both have in common counts, too: they are of the same numbers.
    (coarse, both), (_, fine) = (
        [mean_over_frequencies(amplitude**2 * one * two) for two in BANDS] for one in BANDS
    )
    spread = (
        scales[0] ** 2 * coarse + 2 * scales[0] * scales[1] * both + scales[1] ** 2 * fine
    ).sqrt()
    unit = rest / spread
    # A little of the square is skewed, and has nearly the spectrum of what is squared: so much
    # that the skewness is right to the first order.
    bend = _by_level(x0, levels, tables["skews"]) / 6
    return spread * (unit + bend * (unit**2 - 1)) / (1 + 2 * bend**2).sqrt()


def _by_level(x0: Tensor, levels: Float, values: Float) -> Tensor:
    """Return values by grey level where these levels are."""
    return torch.from_numpy(np.interp(x0.detach().cpu().numpy(), levels, values)).to(x0)


def _corrected(seen: Tensor, noise: Tensor, slope: Float, noise_slope: Float) -> Tensor:
    """Return what is seen with factors on all its frequencies but the lowest.

    What is seen of the noise is added with factors of its own.
    """
    return (
        seen + filtered(within_reach(seen), slope - 1) + filtered(within_reach(noise), noise_slope)
    )


def _grain(images: Float) -> Float:
    """Return the finest detail of images."""
    fine: Float = filtered(within_reach(torch.from_numpy(images)), BANDS[1]).numpy()
    return fine


def _digits(row: Float) -> list[Any]:
    found: list[Any] = np.vectorize(lambda v: float(f"{v:.4g}"))(row).tolist()
    return found

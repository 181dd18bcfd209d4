"""How images scatter about what a network sees of them in noise: what a sampler has to add."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final, Self

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional as F

from everhart.synthesize.samplers import Generators, Predict, held, noise_like
from everhart.synthesize.schedule import NoiseSchedule

__all__ = ["REACH_PX", "Scatter", "measure_scatter"]

Float = NDArray[np.float64]

REACH_PX = 8
"""Noise of a spectrum is a sum of independent numbers up to so many pixels away."""

_CELLS = REACH_PX + 1
_ENDS = (0.003, 0.01, 0.03, 0.07, 0.15, 0.3, 0.45, 0.6, 0.75, 0.87, 0.95, 0.985, 0.996)
"""Quantiles between groups of like grey level: shot noise changes most at the dark end."""

_LEVELS = len(_ENDS) + 1
_TIMES = 20
_FLOOR = 1e-6
_STEEPEST = 1.5
_GRAIN_LEVEL = 0.4
"""Level of the noise above which no grain is seen in images: what is off by grey level there comes
from shapes that are not known yet, and to put it right would take contrast from images."""

_MOST_SKEWED = 2.0
"""Of what a bent normal distribution can be: its skewness is 2.83 at most."""

_FINE_CELL, _FINEST_CELL = 4, 7
"""Frequencies from 0.25 a pixel on have no shapes beside them, and a factor of their own each; from
there to 0.44 what is coarse goes over into grain."""

_LEAST_GRAIN, _MOST_GRAIN = 0.3, 1.5
"""Limits of the variance of grain that is drawn, over that of the error of grain that is seen."""

_TABLES = ("slope", "power", "levels", "biases", "gains", "fine_gains", "skews")


@dataclass(frozen=True, eq=False)
class Scatter:
    r"""What :math:`x_0 - \hat x_0` is, by time: what a network gets wrong, and what it cannot see.

    The mean :math:`\hat x_0` that a network sees in :math:`x_t` is not quite the mean: a short
    training leaves some frequencies too weak or too strong, and noise that is skewed comes out
    symmetric. That part follows from :math:`\hat x_0` by regression on known images. The rest is
    drawn; it is neither white (edges and the detector's blur are in it) nor as strong in the dark
    as in the bright (shot noise), nor symmetric. Here it is independent numbers, filtered to a
    spectrum, scaled by grey level and bent to a skewness. Grain is scaled apart from what is
    coarser: edges, at levels between those of the layers, are uncertain, and have no more grain.

    Parameters
    ----------
    times
        Steps of the schedule that were measured, ``(times,)``, in order.
    slope
        Factor on :math:`\hat x_0` that makes it the mean of images, at frequencies
        of 0 to 0.5 along each axis, ``(times, 9, 9)``.
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
        older |= dict.fromkeys(("biases", "skews"), np.zeros_like(floats["gains"]))
        older |= {"fine_gains": floats["gains"]}
        return cls(np.asarray(said["times"], np.int64), **{**older, **floats})

    def to_header(self) -> dict[str, Any]:
        """Return it for a model's header, to four digits."""
        return {
            "times": self.times.tolist(),
            **{name: [_digits(row) for row in getattr(self, name)] for name in _TABLES},
        }

    def draw(self, x0: Tensor, schedule: NoiseSchedule, t: int, generator: Generators) -> Tensor:
        """Draw what images are off by.

        Parameters
        ----------
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

        level, levels = x0.detach().cpu().numpy(), now(self.levels)

        def here(table: Float) -> Tensor:
            return torch.from_numpy(np.interp(level, levels, now(table))).to(x0)

        wide = x0.new_empty((*x0.shape[:2], *(n + 2 * REACH_PX for n in x0.shape[2:])))
        amplitude = np.sqrt(now(self.power))
        white = noise_like(wide, generator)
        scales = [here(gains).sqrt() for gains in (self.gains, self.fine_gains)]
        parts = [_filtered(white, amplitude * band) for band in _BANDS]
        rest = scales[0] * parts[0] + scales[1] * parts[1]
        # What both have in common counts, too: they are of the same numbers.
        (coarse, both), (_, fine) = (
            [_mean_over_frequencies(amplitude**2 * one * two) for two in _BANDS] for one in _BANDS
        )
        spread = (
            scales[0] ** 2 * coarse + 2 * scales[0] * scales[1] * both + scales[1] ** 2 * fine
        ).sqrt()
        unit = rest / spread
        # A little of the square is skewed, and has nearly the spectrum of what is squared: so much
        # that the skewness is right to the first order.
        bend = here(self.skews) / 6
        skewed = (unit + bend * (unit**2 - 1)) / (1 + 2 * bend**2).sqrt()
        added = _corrected(x0, now(self.slope)) - x0 + here(self.biases)
        return added + schedule.level(t)[1] * spread * skewed


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
        seen = []
        for first in range(0, len(images), batch_size):
            some = slice(first, first + batch_size)
            x0 = images[some]
            at = torch.full((len(x0),), t, dtype=torch.long, device=x0.device)
            x = schedule.add_noise(x0, noise_like(x0, generator), at)
            with torch.no_grad():
                said, _ = held(x, predictor(some)(x, at), schedule, t, clip)
            seen.append(said.cpu().double().numpy())
        rows.append(_at_one_time(np.concatenate(seen), known, schedule.level(t)[1]))
    return Scatter(times, **{name: np.stack([row[name] for row in rows]) for name in _TABLES})


def _at_one_time(seen: Float, known: Float, level: float) -> dict[str, Float]:
    """Return the tables of one time.

    `seen` and `known` are what the network sees and what is there, ``(N, 1, H, W)``, `level` is
    that of the noise.
    """
    off = known - seen
    # Neighbours are taken together: a frequency with nothing beside one with much would have a
    # factor of its own, which the filter would give the other a part of.
    detail = seen - seen.mean(axis=(-2, -1), keepdims=True)
    cross, own = (_pooled(_cross_power(one, detail)) for one in (off, detail))
    slope = (1 + cross / np.maximum(own, _FLOOR)).clip(0, _STEEPEST)
    # The largest shapes are nearly all of an image's variance, and are seen whole or not at all.
    slope[:2, :2] = 1
    right = _corrected(torch.from_numpy(seen), slope).numpy()
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
        "power": np.maximum(_cross_power(even, even), _FLOOR),
        "levels": levels,
        "biases": biases,
        "gains": gains[0],
        "fine_gains": gains[1] * share,
        "skews": (mean(off**3) / variance**1.5).clip(-_MOST_SKEWED, _MOST_SKEWED),
    }


def _cross_power(one: Float, two: Float) -> Float:
    """Return the mean cross power in cells around the frequencies n / 16 along each axis.

    Images fade out at their borders: what is cut off there would have all frequencies.
    """
    height, width = one.shape[-2:]
    window = np.outer(_fading(height), _fading(width))
    window /= np.sqrt(np.mean(window**2))
    first, second = (np.fft.fft2(window * image) for image in (one, two))
    spectrum = (first * second.conj()).real / (height * width)
    rows, columns = (
        np.rint(np.abs(np.fft.fftfreq(n)) * 2 * REACH_PX).astype(int) for n in (height, width)
    )
    cell = (rows[:, None] * _CELLS + columns).ravel()
    count = np.bincount(cell, minlength=_CELLS**2)
    total = np.bincount(cell, spectrum.mean(axis=(0, 1)).ravel(), minlength=_CELLS**2)
    mean = np.where(count > 0, total / np.maximum(count, 1), total.sum() / count.sum())
    return np.asarray(mean.reshape(_CELLS, _CELLS), np.float64)


def _fading(size: int) -> Float:
    """Return 1, and half a wave to 0 at both ends."""
    reach = min(REACH_PX, size // 4)
    rise = 0.5 - 0.5 * np.cos(np.pi * (np.arange(reach) + 0.5) / max(reach, 1))
    return np.concatenate([rise, np.ones(size - 2 * reach), rise[::-1]])


def _pooled(table: Float) -> Float:
    """Return the mean over each cell and its neighbours; the spectrum is even at 0.

    The finest cells are left as they are: power falls steeply there, and the factor of a neighbour
    with more of it would be too large.
    """
    wide = np.pad(table, 1, mode="reflect")
    mean = np.lib.stride_tricks.sliding_window_view(wide, (3, 3)).mean(axis=(-2, -1))
    number = np.arange(_CELLS)
    is_fine = np.maximum(number[:, None], number) >= _FINE_CELL
    return np.asarray(np.where(is_fine, table, mean))


def _mean_over_frequencies(response: Float) -> float:
    """Return the mean over all frequencies of a response at 0 to 0.5 along each axis."""
    # All but the ends stand for a frequency and its negative.
    weights = np.full(_CELLS, 2.0)
    weights[[0, -1]] = 1
    return float(np.average(response, weights=np.outer(weights, weights)))


def _corrected(seen: Tensor, slope: Float) -> Tensor:
    """Return what is seen with a factor on each frequency but the lowest."""
    return seen + _filtered(_wide(seen), slope - 1)


def _grain(images: Float) -> Float:
    """Return the finest detail of images."""
    fine: Float = _filtered(_wide(torch.from_numpy(images)), _BANDS[1]).numpy()
    return fine


def _wide(seen: Tensor) -> Tensor:
    """Return images continued at their borders by the reach of a filter."""
    # Reflection keeps grain as strong at the border, but needs more pixels than it adds.
    mode = "reflect" if min(seen.shape[-2:]) > REACH_PX else "replicate"
    return F.pad(seen, (REACH_PX,) * 4, mode=mode)


def _filtered(wide: Tensor, response: Float) -> Tensor:
    """Return what is left within the borders of images that are filtered to a response."""
    size = wide.shape[-2:]
    kernel = torch.from_numpy(_kernel(response)).to(wide)
    # What comes from beyond a border comes from the opposite one, and is cut off.
    spectrum = torch.fft.rfft2(wide) * torch.fft.rfft2(kernel, s=size)
    filtered: Tensor = torch.fft.irfft2(spectrum, s=size)
    return filtered[..., 2 * REACH_PX :, 2 * REACH_PX :]


def _kernel(response: Float) -> NDArray[np.float32]:
    """Return the symmetric filter ``(17, 17)`` of a response at 0 to 0.5 along each axis."""
    whole = np.concatenate([response, response[-2:0:-1]])
    whole = np.concatenate([whole, whole[:, -2:0:-1]], axis=1)
    periodic = np.fft.fftshift(np.fft.ifft2(whole).real)
    # The two ends of a period are one place, and share what belongs there.
    kernel = np.pad(periodic, ((0, 1), (0, 1)), mode="wrap")
    kernel[[0, -1]] /= 2
    kernel[:, [0, -1]] /= 2
    return kernel.astype(np.float32)


def _bands() -> tuple[Float, Float]:
    """Return the responses of what is coarse and of grain: together they are 1."""
    cell = np.hypot(*np.mgrid[:_CELLS, :_CELLS])
    way = ((cell - _FINE_CELL) / (_FINEST_CELL - _FINE_CELL)).clip(0, 1)
    fine = 0.5 - 0.5 * np.cos(np.pi * way)
    return 1 - fine, fine


_BANDS: Final = _bands()


def _digits(row: Float) -> list[Any]:
    found: list[Any] = np.vectorize(lambda v: float(f"{v:.4g}"))(row).tolist()
    return found

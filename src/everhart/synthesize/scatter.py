"""How images scatter about what a network sees of them in noise: what a sampler has to add."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Self

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
_LEVELS = 8
_TIMES = 20
_FLOOR = 1e-6


@dataclass(frozen=True, eq=False)
class Scatter:
    r"""Spectrum and strength of :math:`x_0 - \hat x_0`, by time.

    What is left unsaid by the mean :math:`\hat x_0` that a network sees in :math:`x_t` is neither
    white (edges and the detector's blur are in it) nor as strong in the dark as in the bright (shot
    noise). Here it is independent numbers, filtered to a spectrum and scaled by grey level.

    Parameters
    ----------
    times
        Steps of the schedule that were measured, ``(times,)``, in order.
    power
        Variance over :math:`s_t^2` at frequencies of 0 to 0.5 along each axis, ``(times, 9, 9)``.
    levels, gains
        Grey levels of :math:`\hat x_0` in order, and the variance there over that of all pixels,
        ``(times, levels)``.

    References
    ----------
    .. [1] F. Bao et al., "Analytic-DPM: an analytic estimate of the optimal reverse variance in
       diffusion probabilistic models", ICLR 2022: of the same strength everywhere.
    .. [2] F. Bao et al., "Estimating the optimal covariance with imperfect mean in diffusion
       probabilistic models", ICML 2022: for each pixel.
    """

    times: NDArray[np.int64]
    power: Float
    levels: Float
    gains: Float

    @classmethod
    def from_header(cls, said: Mapping[str, Sequence[Any]]) -> Self:
        """Return what a model's header says."""
        floats = (np.asarray(said[name], np.float64) for name in ("power", "levels", "gains"))
        return cls(np.asarray(said["times"], np.int64), *floats)

    def to_header(self) -> dict[str, Any]:
        """Return it for a model's header, to four digits."""
        return {
            "times": self.times.tolist(),
            **{
                name: [_digits(row) for row in getattr(self, name)]
                for name in ("power", "levels", "gains")
            },
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

        wide = x0.new_empty((*x0.shape[:2], *(n + 2 * REACH_PX for n in x0.shape[2:])))
        kernel = torch.from_numpy(_kernel(now(self.power))).to(x0)[None, None]
        channels = x0.shape[1]
        drawn = F.conv2d(
            noise_like(wide, generator), kernel.expand(channels, 1, -1, -1), groups=channels
        )
        gain = np.interp(x0.detach().cpu().numpy(), now(self.levels), now(self.gains))
        return schedule.level(t)[1] * torch.from_numpy(np.sqrt(gain)).to(x0) * drawn


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
    generator = torch.Generator().manual_seed(seed)
    power, levels, gains = [], [], []
    for t in times.tolist():
        seen, off = [], []
        for first in range(0, len(images), batch_size):
            some = slice(first, first + batch_size)
            x0 = images[some]
            at = torch.full((len(x0),), t, dtype=torch.long, device=x0.device)
            x = schedule.add_noise(x0, noise_like(x0, generator), at)
            with torch.no_grad():
                said, _ = held(x, predictor(some)(x, at), schedule, t, clip)
            seen.append(said.cpu().double().numpy())
            off.append((x0 - said).cpu().double().numpy() / schedule.level(t)[1])
        there, error = np.concatenate(seen), np.concatenate(off)
        power.append(_power(error))
        middles = np.quantile(there, (np.arange(_LEVELS) + 0.5) / _LEVELS)
        ends = np.quantile(there, np.arange(1, _LEVELS) / _LEVELS)
        group = np.digitize(there, ends).ravel()
        count = np.maximum(np.bincount(group, minlength=_LEVELS), 1)
        squares = np.bincount(group, (error**2).ravel(), minlength=_LEVELS) / count
        levels.append(np.maximum.accumulate(middles))
        gains.append(squares / max(float(np.mean(error**2)), _FLOOR))
    return Scatter(times, np.stack(power), np.stack(levels), np.stack(gains))


def _power(error: Float) -> Float:
    """Return the mean power in cells around the frequencies n / 16 along each axis."""
    height, width = error.shape[-2:]
    spectrum = np.abs(np.fft.fft2(error)) ** 2 / (height * width)
    rows, columns = (
        np.rint(np.abs(np.fft.fftfreq(n)) * 2 * REACH_PX).astype(int) for n in (height, width)
    )
    cell = (rows[:, None] * _CELLS + columns).ravel()
    count = np.bincount(cell, minlength=_CELLS**2)
    total = np.bincount(cell, spectrum.mean(axis=(0, 1)).ravel(), minlength=_CELLS**2)
    mean = np.where(count > 0, total / np.maximum(count, 1), total.sum() / count.sum())
    return np.maximum(mean, _FLOOR).reshape(_CELLS, _CELLS)


def _kernel(power: Float) -> NDArray[np.float32]:
    """Return the symmetric filter ``(17, 17)`` that gives white noise this power."""
    whole = np.concatenate([power, power[-2:0:-1]])
    whole = np.concatenate([whole, whole[:, -2:0:-1]], axis=1)
    periodic = np.fft.fftshift(np.fft.ifft2(np.sqrt(whole)).real)
    # The two ends of a period are one place, and share what belongs there.
    kernel = np.pad(periodic, ((0, 1), (0, 1)), mode="wrap")
    kernel[[0, -1]] /= 2
    kernel[:, [0, -1]] /= 2
    return kernel.astype(np.float32)


def _digits(row: Float) -> list[Any]:
    found: list[Any] = np.vectorize(lambda v: float(f"{v:.4g}"))(row).tolist()
    return found

"""The noise schedule of a diffusion model: how much image is left at each step."""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import Literal

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from everhart.errors import UsageError, unknown_name

__all__ = ["NoiseSchedule", "Prediction", "ScheduleName", "Spacing", "spaced_steps"]

ScheduleName = Literal["cosine", "linear"]
Prediction = Literal["noise", "v"]
Spacing = Literal["trailing", "leading"]


class NoiseSchedule:
    r"""Variance-preserving noise in discrete steps.

    At step t an image is :math:`x_t = a_t x_0 + s_t \epsilon` with :math:`a_t^2 + s_t^2 = 1`;
    :math:`a_t^2` is written :math:`\bar\alpha_t` in [1]_.

    Parameters
    ----------
    name
        ``"cosine"`` [2]_ or ``"linear"`` [1]_.
    steps
        Number of steps T; t runs from 0 (nearly no noise) to T - 1 (nothing else).
    prediction
        What the network says: ``"noise"`` [1]_, or ``"v"``, :math:`a_t\epsilon - s_t x_0` [3]_.
    shift
        Noise over image, :math:`s_t / a_t`, is so many times that of the plain schedule [4]_: the
        more pixels a shape has, the more noise it takes to hide it.

    References
    ----------
    .. [1] J. Ho, A. Jain, P. Abbeel, "Denoising diffusion probabilistic models", NeurIPS 2020.
    .. [2] A. Nichol, P. Dhariwal, "Improved denoising diffusion probabilistic models", ICML
       2021, equation 17.
    .. [3] T. Salimans, J. Ho, "Progressive distillation for fast sampling of diffusion
       models", ICLR 2022, section 4.
    .. [4] E. Hoogeboom, J. Heek, T. Salimans, "Simple diffusion: end-to-end diffusion for high
       resolution images", ICML 2023: shifted noise schedules.

    Examples
    --------
    >>> schedule = NoiseSchedule("cosine", 1000)
    >>> bool(schedule.alpha_bar[0] > 0.999) and bool(schedule.alpha_bar[-1] < 1e-4)
    True
    """

    def __init__(
        self,
        name: ScheduleName = "cosine",
        steps: int = 1000,
        prediction: Prediction = "v",
        shift: float = 1.0,
    ) -> None:
        if steps < 2:
            raise UsageError(f"A schedule of {steps} steps was given: it has at least 2.")
        if prediction not in ("noise", "v"):
            raise unknown_name("prediction", str(prediction), ("noise", "v"))
        if not 0 < shift < math.inf:
            raise UsageError(f"A schedule with shift = {shift:g} was given: it is above 0.")
        self.name, self.steps, self.prediction, self.shift = name, steps, prediction, shift
        self._plain = plain = np.cumprod(1 - _betas(name, steps), dtype=np.float64)
        self.alpha_bar = plain / (plain + shift**2 * (1 - plain))
        self.betas = 1 - self.alpha_bar / np.concatenate([[1.0], self.alpha_bar[:-1]])

    def level(self, t: int) -> tuple[float, float]:
        """Return a and s at one step; (1, 0), an image without noise, at step -1."""
        if t < 0:
            return 1.0, 0.0
        return math.sqrt(self.alpha_bar[t]), math.sqrt(1 - self.alpha_bar[t])

    def levels(self, t: Tensor, like: Tensor) -> tuple[Tensor, Tensor]:
        """Return a and s at steps ``(N,)``, in the shape that multiplies a batch `like`."""
        alpha_bar = torch.as_tensor(self.alpha_bar, device=t.device)[t]
        shape = (-1,) + (1,) * (like.ndim - 1)
        a, s = alpha_bar.sqrt(), (1 - alpha_bar).sqrt()
        return a.to(like).view(shape), s.to(like).view(shape)

    def add_noise(self, x0: Tensor, noise: Tensor, t: Tensor) -> Tensor:
        """Return x_t of images with given noise."""
        a, s = self.levels(t, x0)
        return a * x0 + s * noise

    def target(self, x0: Tensor, noise: Tensor, t: Tensor) -> Tensor:
        """Return what the network is to say of x_t."""
        if self.prediction == "noise":
            return noise
        a, s = self.levels(t, x0)
        return a * noise - s * x0

    def split(self, x: Tensor, said: Tensor, t: Tensor) -> tuple[Tensor, Tensor]:
        """Take x_t apart by what the network says of it.

        Returns
        -------
        x0, noise
            The image and the noise that it stands for.
        """
        a, s = self.levels(t, x)
        if self.prediction == "noise":
            return (x - s * said) / a, said
        return a * x - s * said, s * x + a * said

    def visited(
        self, count: int, spacing: Spacing = "trailing", *, below: float = 1.0
    ) -> NDArray[np.int64]:
        """Return the steps that a sampler visits, the noisiest first.

        They are even in the plain schedule: a shift is for the training, and few even steps of a
        shifted one are near the image, where the grain is drawn.

        Parameters
        ----------
        count, spacing
            See :func:`spaced_steps`.
        below
            Only those below this part of the way to pure noise, 0 to 1, of the plain schedule;
            there may be none.
        """
        even = spaced_steps(self.steps, count, spacing)
        return self.as_noisy(even)[even < below * self.steps]

    def at_shares(self, shares: Iterable[float]) -> list[int]:
        """Return the steps at parts of the way to pure noise of the plain schedule, in order.

        Raises
        ------
        UsageError
            If one is not from 0 to 1.

        Examples
        --------
        >>> NoiseSchedule().at_shares([0.06, 0.004])
        [3, 59]
        """
        shares = list(shares)
        for share in shares:
            if not 0 <= share <= 1:
                raise UsageError(f"A part of {share:g} of the way was given: it is from 0 to 1.")
        even = sorted({int(share * (self.steps - 1)) for share in shares}, reverse=True)
        return [int(t) for t in self.as_noisy(np.array(even, np.int64))[::-1]]

    def draw(self, rng: np.random.Generator, *, plain: bool = False) -> int:
        """Draw a step to learn from.

        Parameters
        ----------
        rng
            Where it is drawn from.
        plain
            Whether its noise is to be distributed as in the plain schedule.
        """
        step = int(rng.integers(self.steps))
        return int(self.as_noisy(np.array([step]))[0]) if plain else step

    def as_noisy(self, even: NDArray[np.int64]) -> NDArray[np.int64]:
        """Return steps that are as noisy as some of the plain schedule.

        Parameters
        ----------
        even
            Steps of the plain schedule, falling.

        Returns
        -------
        ndarray
            As many steps, all different and falling.
        """
        if self.shift == 1:
            return even
        noisy, wanted = (np.log1p(-a) - np.log(a) for a in (self.alpha_bar, self._plain[even]))
        near = np.abs(noisy - wanted[:, None]).argmin(axis=1)
        # More noise at each step is the same noise at an earlier one, where steps come together.
        spare = np.arange(len(even))
        if self.shift > 1:
            near = np.maximum.accumulate((near + spare)[::-1])[::-1] - spare
            return near.astype(np.int64)
        return (np.minimum.accumulate(near + spare) - spare).astype(np.int64)


def spaced_steps(steps: int, count: int, spacing: Spacing = "trailing") -> NDArray[np.int64]:
    """Return the steps that a sampler visits, the noisiest first.

    Parameters
    ----------
    steps
        Steps of the schedule.
    count
        Number of steps to visit.
    spacing
        ``"trailing"`` begins at pure noise; ``"leading"`` ends at the least noise [1]_.

    References
    ----------
    .. [1] S. Lin et al., "Common diffusion noise schedules and sample steps are flawed", WACV
       2024, table 2.

    Examples
    --------
    >>> spaced_steps(1000, 4)
    array([999, 749, 499, 249])
    """
    if not 1 <= count <= steps:
        raise UsageError(f"{count} sampling steps were given: give from 1 to {steps}.")
    if spacing == "trailing":
        return np.round(np.arange(steps, 0, -steps / count)[:count]).astype(np.int64) - 1
    if spacing == "leading":
        return (np.arange(count)[::-1] * (steps // count)).astype(np.int64)
    raise unknown_name("spacing", str(spacing), ("trailing", "leading"))


def _betas(name: str, steps: int) -> NDArray[np.float64]:
    if name == "linear":
        # 1e-4 to 0.02 for 1000 steps; of the same total for other numbers.
        scale = 1000 / steps
        return np.linspace(1e-4 * scale, min(0.02 * scale, 0.999), steps, dtype=np.float64)
    if name == "cosine":
        t = np.arange(steps + 1) / steps
        level = np.cos((t + 0.008) / 1.008 * math.pi / 2) ** 2
        return np.asarray(np.minimum(1 - level[1:] / level[:-1], 0.999), np.float64)
    raise unknown_name("schedule", str(name), ("cosine", "linear"))

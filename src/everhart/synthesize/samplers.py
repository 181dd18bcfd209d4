"""Samplers: from noise to images, step by step."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from itertools import pairwise
from typing import Literal

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from everhart.errors import UsageError, unknown_name
from everhart.synthesize.schedule import NoiseSchedule, Spacing

__all__ = [
    "SAMPLERS",
    "Generators",
    "Predict",
    "Remainder",
    "SamplerName",
    "Variance",
    "ddim",
    "ddim_step",
    "ddpm",
    "ddpm_step",
    "dpm_solver",
    "dpm_step",
    "held",
    "noise_like",
    "pairs_of_steps",
    "sample",
]

SamplerName = Literal["ddpm", "ddim", "dpm"]
Remainder = Callable[[Tensor, Tensor, NoiseSchedule, int, "Generators"], Tensor]
"""``remainder(x, x0, schedule, t, generator)``: what images are off by from what is seen in x_t;
see :meth:`everhart.synthesize.scatter.Scatter.draw`."""

Variance = Literal["small", "large"] | Remainder
SAMPLERS: tuple[SamplerName, ...] = ("ddpm", "ddim", "dpm")

Predict = Callable[[Tensor, Tensor], Tensor]
"""``predict(x, t)``: what the network says of a batch ``(N, ...)`` at steps ``(N,)``."""

Generators = torch.Generator | Sequence[torch.Generator] | Callable[[Tensor], Tensor] | None
"""Of the noise: one, one for each image of the batch, a function that gives noise like what it is
given, or torch's own."""

OnStep = Callable[[int, int], None]


def sample(
    predict: Predict,
    noise: Tensor,
    schedule: NoiseSchedule,
    *,
    sampler: SamplerName = "ddpm",
    steps: int = 250,
    variance: Variance = "large",
    eta: float = 0.0,
    generator: Generators = None,
    clip: float | None = None,
    on_step: OnStep | None = None,
) -> Tensor:
    """Draw samples.

    Parameters
    ----------
    predict
        The network, with all that it is told beside the image.
    noise
        Standard normal numbers ``(N, C, H, W)`` to start from.
    schedule
        Schedule that the network was trained with.
    sampler
        ``"ddpm"``, which adds noise on the way and keeps the grain; ``"ddim"``, ``"dpm"``: fewer
        steps, smoother.
    steps
        Number of calls of the network.
    variance
        Of ``"ddpm"``; see :func:`ddpm_step`.
    eta
        Share of DDPM's noise that ``"ddim"`` adds.
    generator
        Of the noise that is added on the way.
    clip
        Images are held within ``[-clip, clip]`` at each step; None for no limit.
    on_step
        Called with the steps done and all of them.

    Returns
    -------
    Tensor
        The samples.
    """
    if sampler == "ddpm":
        return ddpm(
            predict, noise, schedule, steps,
            variance=variance, generator=generator, clip=clip, on_step=on_step,
        )  # fmt: skip
    if sampler == "ddim":
        return ddim(
            predict, noise, schedule, steps,
            eta=eta, generator=generator, clip=clip, on_step=on_step,
        )  # fmt: skip
    if sampler == "dpm":
        return dpm_solver(predict, noise, schedule, steps, clip=clip, on_step=on_step)
    raise unknown_name("sampler", str(sampler), SAMPLERS)


def ddpm_step(
    x: Tensor,
    x0: Tensor,
    schedule: NoiseSchedule,
    t: int,
    before: int,
    generator: Generators,
    *,
    variance: Variance = "large",
) -> Tensor:
    """Go from step `t` to the less noisy step `before` (-1: no noise), drawing from q [1]_.

    The variance is the ``"small"`` one, right if there is one image only, or the ``"large"`` one,
    right for pixels of unit variance. Small ones add up to grain that is too weak. Given what
    images are off by from `x0`, the step is right for these images however long it is [2]_; the
    last one adds it, too: without, the finest grain is missing.

    References
    ----------
    .. [1] J. Ho, A. Jain, P. Abbeel, "Denoising diffusion probabilistic models", NeurIPS 2020,
       equations 6 and 7.
    .. [2] F. Bao et al., "Analytic-DPM: an analytic estimate of the optimal reverse variance in
       diffusion probabilistic models", ICLR 2022, theorem 1.
    """
    if not isinstance(variance, str):
        x0 = x0 + variance(x, x0, schedule, t, generator)
    if before < 0:
        return x0
    (a, s), (a_there, s_there) = schedule.level(t), schedule.level(before)
    kept = a / a_there
    beta = 1 - kept**2
    mean = (a_there * beta * x0 + kept * s_there**2 * x) / s**2
    share = 1.0 if variance == "large" else s_there / s
    return mean + math.sqrt(beta) * share * noise_like(x, generator)


def ddpm(
    predict: Predict,
    noise: Tensor,
    schedule: NoiseSchedule,
    steps: int,
    *,
    spacing: Spacing = "trailing",
    variance: Variance = "large",
    generator: Generators = None,
    clip: float | None = None,
    on_step: OnStep | None = None,
) -> Tensor:
    """Sample as DDPM does (algorithm 2 of [1]_), on a part of the steps [2]_.

    References
    ----------
    .. [1] J. Ho, A. Jain, P. Abbeel, "Denoising diffusion probabilistic models", NeurIPS 2020.
    .. [2] A. Nichol, P. Dhariwal, "Improved denoising diffusion probabilistic models", ICML
       2021, section 4.
    """
    x, visited = noise, schedule.visited(steps, spacing)
    for number, (t, before) in enumerate(pairs_of_steps(visited)):
        x0, _ = split_at(predict, x, schedule, t, clip)
        x = ddpm_step(x, x0, schedule, t, before, generator, variance=variance)
        if on_step is not None:
            on_step(number + 1, steps)
    return x


def ddim(
    predict: Predict,
    noise: Tensor,
    schedule: NoiseSchedule,
    steps: int,
    *,
    eta: float = 0.0,
    spacing: Spacing = "trailing",
    generator: Generators = None,
    clip: float | None = None,
    on_step: OnStep | None = None,
) -> Tensor:
    """Sample without (or with little) noise on the way (equation 12 of [1]_).

    References
    ----------
    .. [1] J. Song, C. Meng, S. Ermon, "Denoising diffusion implicit models", ICLR 2021.
    """
    if eta < 0:
        raise UsageError(f"eta = {eta:g} was given: it is 0 or more, and 1 is DDPM.")
    x, visited = noise, schedule.visited(steps, spacing)
    for number, (t, before) in enumerate(pairs_of_steps(visited)):
        x0, said = split_at(predict, x, schedule, t, clip)
        x = ddim_step(x0, said, schedule, t, before, eta, generator)
        if on_step is not None:
            on_step(number + 1, steps)
    return x


def ddim_step(
    x0: Tensor,
    said: Tensor,
    schedule: NoiseSchedule,
    t: int,
    before: int,
    eta: float,
    generator: Generators,
) -> Tensor:
    """Go from step `t` to `before` (-1: no noise) by the image and the noise that are seen."""
    (a, s), (a_there, s_there) = schedule.level(t), schedule.level(before)
    sigma = eta * s_there / s * math.sqrt(1 - (a / a_there) ** 2)
    x = a_there * x0 + math.sqrt(s_there**2 - sigma**2) * said
    if sigma > 0:
        x = x + sigma * noise_like(x, generator)
    return x


def dpm_solver(
    predict: Predict,
    noise: Tensor,
    schedule: NoiseSchedule,
    steps: int,
    *,
    spacing: Spacing = "trailing",
    clip: float | None = None,
    on_step: OnStep | None = None,
) -> Tensor:
    """Sample with DPM-Solver++(2M), a multistep solver of second order (algorithm 2 of [1]_).

    The first and the last step are of first order.

    References
    ----------
    .. [1] C. Lu et al., "DPM-Solver++: fast solver for guided sampling of diffusion
       probabilistic models", 2022, arXiv:2211.01095.
    """
    x, visited = noise, schedule.visited(steps, spacing)
    older: tuple[int, Tensor] | None = None
    for number, (t, before) in enumerate(pairs_of_steps(visited)):
        x0, _ = split_at(predict, x, schedule, t, clip)
        x = dpm_step(x, x0, schedule, t, before, older)
        older = t, x0
        if on_step is not None:
            on_step(number + 1, steps)
    return x


def dpm_step(
    x: Tensor,
    x0: Tensor,
    schedule: NoiseSchedule,
    t: int,
    before: int,
    older: tuple[int, Tensor] | None,
) -> Tensor:
    """Go from step `t` to `before` (-1: no noise), with the last step and the image seen there."""
    if before < 0:
        return x0
    now = _half_log_snr(schedule, t)
    h = _half_log_snr(schedule, before) - now
    a, s = schedule.level(before)
    ahead = x0
    if older is not None:
        h_older = now - _half_log_snr(schedule, older[0])
        ahead = x0 + (h / h_older) / 2 * (x0 - older[1])
    return s / schedule.level(t)[1] * x - a * math.expm1(-h) * ahead


def split_at(
    predict: Predict, x: Tensor, schedule: NoiseSchedule, t: int, clip: float | None
) -> tuple[Tensor, Tensor]:
    """Return the image and the noise that the network sees in x_t."""
    at = torch.full((len(x),), t, dtype=torch.long, device=x.device)
    return held(x, predict(x, at), schedule, t, clip)


def held(
    x: Tensor, said: Tensor, schedule: NoiseSchedule, t: int, clip: float | None
) -> tuple[Tensor, Tensor]:
    """Take x_t apart by what the network says of it, the image within its limits."""
    at = torch.full((len(x),), t, dtype=torch.long, device=x.device)
    x0, noise = schedule.split(x, said, at)
    if clip is not None:
        x0 = x0.clamp(-clip, clip)
        a, s = schedule.levels(at, x)
        noise = (x - a * x0) / s
    return x0, noise


def pairs_of_steps(visited: NDArray[np.int64]) -> list[tuple[int, int]]:
    """Return each step with the one that follows; -1 after the last."""
    return list(pairwise([*visited.tolist(), -1]))


def _half_log_snr(schedule: NoiseSchedule, t: int) -> float:
    a, s = schedule.level(t)
    return math.log(a / s)


def noise_like(x: Tensor, generator: Generators) -> Tensor:
    """Return standard normal numbers, drawn on the processor: the same wherever `x` is."""
    if callable(generator):
        return generator(x)
    if isinstance(generator, Sequence):
        return torch.stack(
            [torch.randn(x.shape[1:], generator=g, dtype=x.dtype) for g in generator]
        ).to(x.device)
    return torch.randn(x.shape, generator=generator, dtype=x.dtype).to(x.device)

"""Inpainting: draw what is hidden, so that it fits what is there."""

from __future__ import annotations

import math
from itertools import pairwise

import torch
from torch import Tensor

from everhart.errors import UsageError
from everhart.synthesize.samplers import (
    Generators,
    OnStep,
    Predict,
    Variance,
    ddpm_step,
    noise_like,
    split_at,
)
from everhart.synthesize.schedule import NoiseSchedule

__all__ = ["inpaint", "repaint_path"]


def repaint_path(count: int, jump: int, repeats: int) -> list[int]:
    """Return the order in which RePaint visits noise levels.

    Parameters
    ----------
    count
        Number of levels; level `count` is pure noise, 0 the image.
    jump
        How far it goes back up.
    repeats
        How often it goes down each stretch.

    Returns
    -------
    list of int
        Levels, each one lower (a denoising step) or one higher (noise is added) than the last.

    References
    ----------
    .. [1] A. Lugmayr et al., "RePaint: inpainting using denoising diffusion probabilistic
       models", CVPR 2022, appendix: the schedule of the jumps.

    Examples
    --------
    >>> repaint_path(4, jump=2, repeats=2)
    [4, 3, 2, 3, 4, 3, 2, 1, 0, 1, 2, 1, 0]
    """
    if jump < 1 or repeats < 1:
        raise UsageError(f"jump = {jump} and repeats = {repeats} were given: both are at least 1.")
    left = dict.fromkeys(range(0, count, jump), repeats - 1)
    level, path = count, [count]
    while level > 0:
        level -= 1
        path.append(level)
        if left.get(level, 0) > 0 and level + jump <= count:
            left[level] -= 1
            for _ in range(jump):
                level += 1
                path.append(level)
    return path


def inpaint(
    predict: Predict,
    image: Tensor,
    hidden: Tensor,
    schedule: NoiseSchedule,
    *,
    steps: int = 250,
    jump: int = 10,
    repeats: int = 10,
    variance: Variance = "large",
    generator: Generators = None,
    clip: float | None = None,
    on_step: OnStep | None = None,
) -> Tensor:
    """Fill in what is hidden, by RePaint [1]_, whatever the network predicts.

    Parameters
    ----------
    predict
        The network, with all that it is told beside the image.
    image
        Images ``(N, C, H, W)``; what is hidden may hold anything finite.
    hidden
        True (or 1) where it is to be drawn, of a shape that fits `image`.
    schedule
        Schedule that the network was trained with.
    steps
        Number of noise levels.
    jump, repeats
        See :func:`repaint_path`: repeats bring what is drawn into agreement with what is there.
    variance
        See :func:`everhart.synthesize.samplers.ddpm_step`.
    generator
        Of all noise.
    clip
        Images are held within ``[-clip, clip]`` at each step; None for no limit.
    on_step
        Called with the steps done and all of them.

    Returns
    -------
    Tensor
        The images, what is not hidden exactly as it was.

    References
    ----------
    .. [1] A. Lugmayr et al., "RePaint: inpainting using denoising diffusion probabilistic
       models", CVPR 2022, algorithm 1.
    """
    mask = hidden.to(torch.bool).expand_as(image)
    levels = [-1, *schedule.visited(steps)[::-1].tolist()]
    path = repaint_path(steps, jump, repeats)
    x = noise_like(image, generator)
    for number, (level, after) in enumerate(pairwise(path)):
        t, there = levels[level], levels[after]
        if after < level:
            # What is known is put in at the level of the input, so that the network sees it there.
            a, s = schedule.level(t)
            x = torch.where(mask, x, a * image + s * noise_like(image, generator))
            x0, _ = split_at(predict, x, schedule, t, clip)
            x = ddpm_step(x, x0, schedule, t, there, generator, variance=variance)
        else:
            # Forward again by what separates the two levels (equation 1 of DDPM).
            kept = schedule.level(there)[0] / schedule.level(t)[0]
            x = kept * x + math.sqrt(1 - kept**2) * noise_like(x, generator)
        if on_step is not None:
            on_step(number + 1, len(path) - 1)
    return torch.where(mask, x, image)

"""Noise an image to a step of the schedule, and denoise it back: how much of it stays."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from everhart.errors import UsageError
from everhart.synthesize.conditions import Conditions
from everhart.synthesize.generator import Generator
from everhart.synthesize.generator_header import CLIP
from everhart.synthesize.predictors import Predictors
from everhart.synthesize.samplers import Variance, ddpm_step, noise_like, pairs_of_steps, split_at

__all__ = ["reconstruct"]


def reconstruct(
    generator: Generator,
    images: Sequence[NDArray[Any]],
    level: float,
    *,
    mask: NDArray[Any] | None = None,
    steps: int = 100,
    seed: int = 0,
) -> list[NDArray[Any]]:
    """Noise images and draw them from there, as SDEdit does [1]_.

    Parameters
    ----------
    generator
        The model.
    images
        Images ``(H, W)`` of one size, like those of its training.
    level
        How far towards pure noise, 0 to 1.
    mask
        Label image of what they are; None to leave it open.
    steps
        Steps of the way from pure noise; of them the part `level` is done.
    seed
        Of all noise.

    Returns
    -------
    list of ndarray
        Images of the same dtype. At a low level they are the image itself with its grain; at 1
        they have nothing to do with it.

    Raises
    ------
    UsageError
        If the level is not in 0 to 1.

    References
    ----------
    .. [1] C. Meng et al., "SDEdit: guided image synthesis and editing with stochastic
       differential equations", ICLR 2022, algorithm 1.
    """
    if not 0 <= level <= 1:
        raise UsageError(f"The level {level:g} was given: it is 0 (the image) to 1 (pure noise).")
    g, schedule = generator, generator.schedule
    conditions = Conditions(g.network.config, g.classes, g.mask_values, g.device)
    predictors = Predictors(g.network, conditions, schedule, g.device, bf16=g.bf16)
    pixels = np.stack([g.grey.normalise(image) for image in images])
    shape = (pixels.shape[1], pixels.shape[2])
    told = conditions.told(None, mask)
    predict = predictors.of(conditions.at(told, [(0, 0)] * len(images), shape, shape))
    scatter = g.said.scatter.get(1)
    variance: Variance = "large" if scatter is None else scatter.draw
    visited = schedule.visited(steps, below=level)
    x = torch.from_numpy(pixels)[:, None].to(g.device)
    noise = torch.Generator().manual_seed(seed)
    if len(visited):
        a, s = schedule.level(int(visited[0]))
        x = a * x + s * noise_like(x, noise)
    with torch.no_grad():
        for t, before in pairs_of_steps(visited):
            x0, _ = split_at(predict, x, schedule, t, CLIP)
            x = ddpm_step(x, x0, schedule, t, before, noise, variance=variance)
    return [g.grey.restore(image) for image in x[:, 0].cpu().numpy()]

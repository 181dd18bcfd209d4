"""Training samples by number: the same number gives the same sample, also after a resume."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Protocol

import numpy as np
from torch.utils.data import Dataset

SampleFunction = Callable[[np.random.Generator], Any]


class StagedSamples(Protocol):
    """Samples that change in the course of a training, such as patches that grow."""

    def at_step(self, step: int) -> tuple[SampleFunction, int]:
        """Return what draws the samples of the epoch that begins at a step, and its batch size."""


class NumberedSamples(Dataset[Any]):
    """Samples that are drawn on demand, each from a generator seeded by its number.

    Parameters
    ----------
    draw
        Makes one sample from a generator.
    count
        Number of samples.
    seed
        Seed of the run; with the stream and the number it seeds each sample.
    stream
        Tells epochs, and training from validation, apart.
    """

    def __init__(self, draw: SampleFunction, count: int, seed: int, stream: int) -> None:
        self.draw = draw
        self.count = count
        self.seed = seed
        self.stream = stream

    def __len__(self) -> int:
        return self.count

    def __getitem__(self, index: int) -> Any:
        if not 0 <= index < self.count:
            raise IndexError(index)
        return self.draw(np.random.default_rng([self.seed, self.stream, index]))

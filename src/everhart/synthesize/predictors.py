"""What samplers ask: the network of a generator with all that it is told."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from everhart.nn.diffusion_unet import Condition, DiffusionUNet
from everhart.synthesize.conditions import Conditions, Told, shape_of
from everhart.synthesize.full_size import Level, reduced_shape
from everhart.synthesize.guidance import Guide, by_classifier, without_classifier
from everhart.synthesize.samplers import Predict
from everhart.synthesize.schedule import NoiseSchedule
from everhart.synthesize.tiles import Corner, PredictTiles

__all__ = ["Predictors", "Wanted"]

Wanted = tuple[Guide, int]
"""A classifier, and the number of the class that it draws to."""


class Predictors:
    """Puts a network, what it is told, and guidance together.

    Parameters
    ----------
    network
        The network, on its device.
    conditions
        Turns what is asked for into what the network is told.
    schedule
        Schedule that it was trained with.
    device
        Where it is.
    bf16
        Whether it runs in bfloat16.
    """

    def __init__(
        self,
        network: DiffusionUNet,
        conditions: Conditions,
        schedule: NoiseSchedule,
        device: str,
        *,
        bf16: bool,
    ) -> None:
        self.network, self.conditions, self.schedule = network, conditions, schedule
        self.device, self.bf16 = device, bf16

    def of(
        self, condition: Condition, guidance: float = 1.0, wanted: Wanted | None = None
    ) -> Predict:
        """Return what the network says under a condition, or towards a classifier's class."""
        if wanted is not None:
            guide, number = wanted
            of = guide.log_probability(number, condition.position)
            return by_classifier(self._said(condition), of, self.schedule, guidance)
        if condition.label is None and condition.mask is None:
            return self._said(condition)
        open_ = Condition(None, condition.position, None)
        return without_classifier(self._said(condition), self._said(open_), guidance)

    def of_tiles(
        self,
        told: Told,
        level: Level,
        shape: tuple[int, int],
        guidance: float,
        wanted: Wanted | None,
    ) -> PredictTiles:
        """Return what the network says of tiles of a level."""
        by, whole = level.reduction, reduced_shape(shape, level.reduction)
        told = told.reduced(by)

        def predict(x: Tensor, t: Tensor, corners: Sequence[Corner]) -> Tensor:
            condition = self.conditions.at(told, corners, shape_of(x[0, 0]), whole, by)
            return self.of(condition, guidance, wanted)(x.to(self.device), t.to(self.device)).cpu()

        return predict

    def _said(self, told: Condition) -> Predict:
        def predict(x: Tensor, t: Tensor) -> Tensor:
            with torch.autocast(self.device, torch.bfloat16, enabled=self.bf16):
                said: Tensor = self.network(x, t, told).float()
            return said

        return predict

"""Keep the best weights of a run, and stop when there is nothing more to gain."""

from __future__ import annotations

import time
from collections.abc import Mapping
from typing import Any

import lightning as L
import torch
from lightning.pytorch.callbacks import Callback
from torch import Tensor

__all__ = ["CpuLimit", "KeepBest"]


class KeepBest(Callback):
    """Remember the weights with the lowest value of a validation metric.

    The weights that a run starts from count, too: if no epoch is better, they stay. This
    callback must come before one that averages weights, so that what it sees when a
    validation ends is what was validated.

    Parameters
    ----------
    metric
        Name of the metric, the lower the better.
    start
        Its value before the first step.
    weights
        State dict of the network before the first step.
    patience
        Epochs without improvement after which the run ends; None for never.
    """

    def __init__(
        self, metric: str, start: float, weights: Mapping[str, Tensor], patience: int | None
    ) -> None:
        self.metric, self.patience = metric, patience
        self.best, self.best_step, self.last_step = start, 0, 0
        self.epochs_since = 0
        self.weights = _copied(weights)
        self._validated: dict[str, Tensor] | None = None

    def on_validation_epoch_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Keep what was validated until its metric is known."""
        del trainer
        network: torch.nn.Module = pl_module.network  # type: ignore[assignment]
        self._validated = _copied(network.state_dict())

    def on_train_epoch_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Compare, and end the run if there was no improvement for long."""
        del pl_module
        # Lightning ends the checkpointed epoch once more when it resumes.
        if trainer.global_step > self.last_step and self._validated is not None:
            self.last_step = trainer.global_step
            value = float(trainer.callback_metrics[self.metric])
            self.epochs_since += 1
            if value < self.best:
                self.best, self.best_step, self.epochs_since = value, trainer.global_step, 0
                self.weights = self._validated
        if self.patience is not None and self.epochs_since >= self.patience:
            trainer.should_stop = True

    def state_dict(self) -> dict[str, Any]:
        """Return what a checkpoint keeps."""
        return {
            "best": self.best,
            "best_step": self.best_step,
            "last_step": self.last_step,
            "epochs_since": self.epochs_since,
            "weights": self.weights,
        }

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Take up what a checkpoint kept."""
        for name, value in state_dict.items():
            setattr(self, name, value)


class CpuLimit(Callback):
    """End a run before it has used more than its CPU time.

    Parameters
    ----------
    minutes
        CPU time of this process since `start_s`, in minutes; the epochs are as long as the
        longest so far.
    start_s
        ``time.process_time()`` at the start.
    """

    def __init__(self, minutes: float, start_s: float) -> None:
        self.limit_s, self.last_s, self.longest_s = 60 * minutes + start_s, start_s, 0.0

    def on_train_epoch_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """End the run if the next epoch would go over the limit."""
        del pl_module
        now = time.process_time()
        self.longest_s = max(self.longest_s, now - self.last_s)
        self.last_s = now
        over = now + self.longest_s > self.limit_s
        # Of several processes none may go on alone.
        if trainer.strategy.reduce_boolean_decision(over, all=False):
            trainer.should_stop = True


def _copied(weights: Mapping[str, Tensor]) -> dict[str, Tensor]:
    return {name: weight.detach().cpu().clone() for name, weight in weights.items()}

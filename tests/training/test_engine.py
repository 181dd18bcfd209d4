"""The engine on a task so small that runs take a second."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from torch import Tensor, nn

from everhart.errors import UsageError
from everhart.training.config import OptimiserConfig
from everhart.training.engine import DivergedError, TrainingTask, fit


class _Line(TrainingTask):
    """Fit y = 3 x by one weight."""

    stop_at: int | None = None

    def losses(self, batch: Any) -> tuple[Tensor, Mapping[str, Tensor]]:
        if self.stop_at is not None and self.global_step == self.stop_at:
            raise KeyboardInterrupt
        x, y = batch
        loss = ((self.network(x) - y) ** 2).mean()
        return loss, {}

    def validation_metrics(self, batch: Any) -> Mapping[str, Tensor]:
        x, y = batch
        return {"error": (self.network(x) - y).abs().mean()}


def _sample(rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    x = rng.normal(size=1).astype(np.float32)
    return x, 3 * x


def _task(**settings: Any) -> _Line:
    torch.manual_seed(0)
    network = nn.Linear(1, 1)
    optimiser = OptimiserConfig(
        **{
            "steps": 60,
            "steps_per_epoch": 20,
            "batch_size": 8,
            "learning_rate": 0.1,
            "precision": "fp32",
            "threads": 1,
            "warmup_steps": 5,
        }
        | settings
    )
    return _Line(network, optimiser)


def _fit(task: _Line, run: Path, **options: Any) -> dict[str, float]:
    run.mkdir(exist_ok=True)
    return fit(task, _sample, run=run, seed=4, validation=_sample, n_validation=16, **options)


def test_learns_and_writes_its_curves(tmp_path: Path) -> None:
    task = _task(steps=200)
    figures = _fit(task, tmp_path)
    assert task.network.weight.item() == pytest.approx(3, abs=0.05)
    curves = pd.read_csv(tmp_path / "curves.csv")
    assert curves["step"].tolist() == list(range(20, 201, 20))
    assert curves["error"].iloc[-1] < 0.1 < curves["error"].iloc[0]
    assert figures["error"] == pytest.approx(curves["error"].iloc[-1])
    assert (tmp_path / "curves.png").read_bytes().startswith(b"\x89PNG")


def test_a_killed_run_resumes_to_the_same_weights(tmp_path: Path) -> None:
    whole = _task()
    _fit(whole, tmp_path / "whole")
    killed = _task()
    killed.stop_at = 47  # in the middle of the third epoch
    with pytest.raises(KeyboardInterrupt):
        _fit(killed, tmp_path / "killed")
    resumed = _task()
    _fit(resumed, tmp_path / "killed", resume=True)
    for a, b in zip(whole.network.parameters(), resumed.network.parameters(), strict=True):
        assert torch.equal(a, b)
    curves = [pd.read_csv(tmp_path / run / "curves.csv") for run in ("whole", "killed")]
    pd.testing.assert_frame_equal(*curves)


def test_the_averaged_weights_are_the_result(tmp_path: Path) -> None:
    raw, averaged = _task(steps=20, ema_decay=0.0), _task(steps=20, ema_decay=0.99)
    _fit(raw, tmp_path / "raw")
    _fit(averaged, tmp_path / "averaged")
    # Averages lag behind weights that grow towards 3.
    assert averaged.network.weight.item() < raw.network.weight.item()


def test_stops_with_a_clear_word_when_the_loss_is_not_finite(tmp_path: Path) -> None:
    task = _task(learning_rate=1e30, clip_gradient_norm=1e30, warmup_steps=0)
    with pytest.raises(DivergedError, match=r"loss became .* at step .*learning_rate"):
        _fit(task, tmp_path)


def test_resume_needs_a_checkpoint(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="no checkpoint"):
        _fit(_task(), tmp_path, resume=True)


def test_resuming_what_is_done_gives_the_averaged_weights(tmp_path: Path) -> None:
    done, again = _task(steps=40, ema_decay=0.99), _task(steps=40, ema_decay=0.99)
    figures = _fit(done, tmp_path)
    figures_again = _fit(again, tmp_path, resume=True)
    assert torch.equal(done.network.weight, again.network.weight)
    assert figures_again["error"] == pytest.approx(figures["error"])


# The best weights


class _Away(_Line):
    """Validation prefers a weight of 1; training goes to 3, past it."""

    best_by = "distance"

    def validation_metrics(self, batch: Any) -> Mapping[str, Tensor]:
        del batch
        return {"distance": (self.network.weight - 1).abs().mean()}


def _away(**settings: Any) -> _Away:
    line = _task(keep_best=True, ema_decay=0.9, steps=200, steps_per_epoch=5, **settings)
    task = _Away(line.network, line.optimiser)
    torch.nn.init.zeros_(task.network.weight)
    return task


def test_the_best_weights_are_kept_and_the_run_stops(tmp_path: Path) -> None:
    task = _away(patience=3)
    figures = _fit(task, tmp_path)
    curves = pd.read_csv(tmp_path / "curves.csv")
    best = curves.loc[curves["distance"].idxmin()]
    assert figures["best_step"] == best["step"] > 0
    assert abs(task.network.weight.item() - 1) == pytest.approx(best["distance"], abs=1e-6)
    assert curves["step"].iloc[-1] == best["step"] + 3 * 5 < 200


def test_the_start_is_kept_where_nothing_is_better(tmp_path: Path) -> None:
    task = _away(patience=2)
    task.network.weight.data.fill_(1.0)
    bias = task.network.bias.clone()
    figures = _fit(task, tmp_path)
    assert (figures["best_step"], figures["distance"]) == (0, 0)
    assert task.network.weight.item() == 1.0
    assert torch.equal(task.network.bias, bias)


def test_the_best_weights_survive_a_resume(tmp_path: Path) -> None:
    whole = _away(patience=8)
    figures = _fit(whole, tmp_path / "whole")
    killed = _away(patience=8)
    killed.stop_at = int(figures["best_step"]) + 12
    with pytest.raises(KeyboardInterrupt):
        _fit(killed, tmp_path / "killed")
    resumed = _away(patience=8)
    again = _fit(resumed, tmp_path / "killed", resume=True)
    assert torch.equal(whole.network.weight, resumed.network.weight)
    assert again["best_step"] == figures["best_step"]
    curves = [pd.read_csv(tmp_path / run / "curves.csv") for run in ("whole", "killed")]
    pd.testing.assert_frame_equal(*curves)
    done = _away(patience=8)
    _fit(done, tmp_path / "killed", resume=True)
    assert torch.equal(whole.network.weight, done.network.weight)


def test_the_best_weights_need_validation(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="without validation data"):
        fit(_away(), _sample, run=tmp_path, seed=4)


def test_cpu_time_is_kept_to(tmp_path: Path) -> None:
    figures = _fit(_task(steps=100_000, steps_per_epoch=20, max_cpu_minutes=0.01), tmp_path)
    assert 0 < figures["step"] < 100_000
    assert figures["cpu_minutes"] < 0.1

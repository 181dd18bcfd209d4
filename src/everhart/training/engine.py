"""The engine: runs a Lightning module over numbered samples, with checkpoints and curves."""

from __future__ import annotations

import logging
import math
import time
import warnings
from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import lightning as L
import torch
from lightning.pytorch.callbacks import Callback, ModelCheckpoint, WeightAveraging
from lightning.pytorch.strategies import DDPStrategy
from torch import Tensor
from torch.optim.lr_scheduler import LambdaLR
from torch.utils.data import DataLoader

from everhart.errors import EverhartError, UsageError
from everhart.nn.hardware import resolve_device, use_bf16
from everhart.training.best import CpuLimit, KeepBest
from everhart.training.config import OptimiserConfig
from everhart.training.curves import Curves
from everhart.training.samples import NumberedSamples, SampleFunction, StagedSamples

Weights = tuple[Tensor, ...] | list[Tensor]


class DivergedError(EverhartError):
    """The loss stopped being a finite number."""


class TrainingTask(L.LightningModule, ABC):
    """Base of everything that the engine trains: an optimiser, a schedule, a finite loss.

    Sub-classes give :meth:`losses`, and hold the network in :attr:`network`, whose averaged
    weights are the result.

    Parameters
    ----------
    network
        The torch module to train.
    optimiser
        Settings of the optimiser.
    """

    best_by = ""
    """Name of the validation metric that says which weights are best, the lower the better."""

    def __init__(self, network: torch.nn.Module, optimiser: OptimiserConfig) -> None:
        super().__init__()
        self.network = network
        self.optimiser = optimiser

    @abstractmethod
    def losses(self, batch: Any) -> tuple[Tensor, Mapping[str, Tensor]]:
        """Return the loss to minimise and named parts of it for the curves."""

    def validation_metrics(self, batch: Any) -> Mapping[str, Tensor]:
        """Return named figures of one validation batch for the curves; none by default."""
        del batch
        return {}

    def training_step(self, batch: Any, batch_idx: int) -> Tensor:
        """Lightning's training step."""
        del batch_idx
        loss, parts = self.losses(batch)
        if not torch.isfinite(loss):
            raise DivergedError(
                f"The loss became {loss.item()} at step {self.global_step}: lower "
                f"optimiser.learning_rate (now {self.optimiser.learning_rate:g}) or look for "
                "broken training images; the last good state is in the run's checkpoints."
            )
        named = {"loss": loss, **{f"loss_{name}": part for name, part in parts.items()}}
        self.log_dict(named, on_step=False, on_epoch=True, batch_size=1, sync_dist=True)
        if self.trainer.progress_bar_callback is not None:  # each log costs milliseconds
            self.log("running_loss", loss, prog_bar=True, logger=False, batch_size=1)
        return loss

    def validation_step(self, batch: Any, batch_idx: int) -> None:
        """Lightning's validation step, run with the averaged weights."""
        del batch_idx
        metrics = self.validation_metrics(batch)
        self.log_dict(dict(metrics), on_step=False, on_epoch=True, batch_size=1, sync_dist=True)

    def configure_optimizers(self) -> Any:
        """AdamW, linear warm-up, cosine to zero."""
        settings = self.optimiser
        optimiser = torch.optim.AdamW(
            self.network.parameters(),
            lr=settings.learning_rate,
            betas=(0.9, 0.99),
            weight_decay=settings.weight_decay,
        )

        def rate(step: int) -> float:
            warm = min(1.0, (step + 1) / max(1, settings.warmup_steps))
            return warm * 0.5 * (1 + math.cos(math.pi * min(1.0, step / settings.steps)))

        schedule = {"scheduler": LambdaLR(optimiser, rate), "interval": "step"}
        return {"optimizer": optimiser, "lr_scheduler": schedule}


class _Samples(L.LightningDataModule):
    """A fresh, reproducible set of training samples each epoch; always the same validation."""

    def __init__(
        self,
        training: SampleFunction | StagedSamples,
        validation: SampleFunction | None,
        settings: OptimiserConfig,
        seed: int,
        n_validation: int,
    ) -> None:
        super().__init__()
        self.training, self.validation = training, validation
        self.settings, self.seed, self.n_validation = settings, seed, n_validation

    def train_dataloader(self) -> DataLoader[Any]:
        assert self.trainer is not None
        epoch = self.trainer.current_epoch
        done = epoch * self.settings.steps_per_epoch
        steps = min(self.settings.steps_per_epoch, self.settings.steps - done)
        if callable(self.training):
            draw, batch = self.training, self.settings.batch_size
        else:
            draw, batch = self.training.at_step(done)
        count = max(1, steps) * batch * self.trainer.world_size  # each process takes its share
        samples = NumberedSamples(draw, count, self.seed, stream=1 + epoch)
        return DataLoader(samples, batch_size=batch)

    def val_dataloader(self) -> DataLoader[Any] | list[Any]:
        if self.validation is None or self.n_validation == 0:
            return []
        samples = NumberedSamples(self.validation, self.n_validation, self.seed, stream=0)
        return DataLoader(samples, batch_size=self.settings.batch_size)


class _CurveWriter(Callback):
    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.curves: Curves | None = None

    def on_train_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        del pl_module
        if not trainer.is_global_zero:
            return
        self.curves = Curves(self.folder, keep_steps=trainer.global_step)

    def on_train_epoch_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        del pl_module
        if self.curves is None:
            return  # another process writes them
        if trainer.global_step <= self.curves.last_step:
            return  # Lightning ends the checkpointed epoch once more when it resumes
        metrics = {name: float(value) for name, value in trainer.callback_metrics.items()}
        metrics.pop("running_loss", None)
        self.curves.add({"step": trainer.global_step, **metrics})

    def on_train_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        del trainer, pl_module
        if self.curves is not None and len(self.curves.table):
            self.curves.plot()


def fit(
    task: TrainingTask,
    training: SampleFunction | StagedSamples,
    *,
    run: Path,
    seed: int,
    validation: SampleFunction | None = None,
    n_validation: int = 0,
    resume: bool = False,
    progress: bool = False,
) -> dict[str, float]:
    """Train a task; afterwards ``task.network`` holds the averaged weights.

    Parameters
    ----------
    task
        What to train, with its optimiser's settings.
    training, validation
        Functions that draw one sample from a ``numpy.random.Generator``; training samples may
        change from stage to stage, at the start of an epoch.
    run
        Folder of the run: ``curves.csv``, ``curves.png`` and ``checkpoints/`` go there.
    seed
        Seed of the samples. (Networks are made by the caller, after ``torch.manual_seed``.)
    n_validation
        Number of validation samples.
    resume
        Whether to go on from the run's last checkpoint. Samples are numbered and
        checkpoints are written between epochs, so a resumed run repeats exactly what an
        uninterrupted one does.
    progress
        Whether to show a progress bar.

    Notes
    -----
    With ``devices`` above 1 the program is started once more for each further device, with the
    same arguments. Those processes come here as the first one does, and end here: only the first
    one returns, and writes files.

    Returns
    -------
    dict
        Last values of the curves (with ``keep_best`` those of the weights that were kept, and
        ``best_step``, 0 for the start), ``cpu_minutes`` and ``wall_minutes`` of this call.

    Raises
    ------
    DivergedError
        If the loss is not finite.
    UsageError
        If `resume` is asked for and there is no checkpoint, or no such device.
    """
    settings = task.optimiser
    checkpoint = run / "checkpoints" / "last.ckpt"
    if resume and not checkpoint.is_file():
        raise UsageError(f"{run} has no checkpoint to resume from: start it without --resume.")
    device = resolve_device(settings.device)
    if device == "cuda" and settings.devices > torch.cuda.device_count():
        raise UsageError(
            f"optimiser.devices = {settings.devices} was given: there are "
            f"{torch.cuda.device_count()} GPUs; give so many at most."
        )
    bf16 = use_bf16(settings.precision, device)
    if settings.threads is not None:
        torch.set_num_threads(settings.threads)
    task.network.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    writer = _CurveWriter(run)
    callbacks: list[Callback] = [
        writer,
        ModelCheckpoint(
            checkpoint.parent,
            filename="last",
            every_n_epochs=1,
            save_top_k=1,
            enable_version_counter=False,
            save_on_train_epoch_end=True,
        ),
    ]
    start_cpu, start_wall = time.process_time(), time.perf_counter()
    if settings.ema_decay:
        callbacks.insert(0, _averaging(settings.ema_decay))
    keeper: KeepBest | None = None
    if settings.keep_best:
        if validation is None:
            raise UsageError("keep_best was asked for without validation data: give some.")
        held_out = NumberedSamples(validation, n_validation, seed, stream=0)
        start = math.inf if resume else _start_value(task, held_out, device, bf16)
        keeper = KeepBest(task.best_by, start, task.network.state_dict(), settings.patience)
        callbacks.insert(0, keeper)
    if settings.max_cpu_minutes is not None:
        callbacks.append(CpuLimit(settings.max_cpu_minutes, start_cpu))
    if progress:
        from lightning.pytorch.callbacks import RichProgressBar

        callbacks.append(RichProgressBar())
    with _quiet():
        trainer = L.Trainer(
            accelerator="gpu" if device == "cuda" else "cpu",
            devices=settings.devices,
            strategy=_strategy(task, device) if settings.devices > 1 else "auto",
            precision="bf16-mixed" if bf16 else "32-true",
            max_steps=settings.steps,
            callbacks=callbacks,
            logger=False,
            enable_progress_bar=progress,
            enable_model_summary=False,
            # A task that takes its own steps clips, or not, as it likes.
            gradient_clip_val=settings.clip_gradient_norm if task.automatic_optimization else None,
            num_sanity_val_steps=0,
            reload_dataloaders_every_n_epochs=1,
            default_root_dir=run,
        )
        data = _Samples(training, validation, settings, seed, n_validation)
        try:
            trainer.fit(
                task, datamodule=data, ckpt_path=checkpoint if resume else None, weights_only=True
            )
        except SystemExit:
            # Lightning turns Ctrl-C into an exit; the caller is to see what it was.
            if trainer.interrupted:
                raise KeyboardInterrupt from None
            raise
    if torch.distributed.is_initialized():
        torch.distributed.destroy_process_group()
    if not trainer.is_global_zero:
        raise SystemExit(0)  # the first process goes on
    curves = writer.curves
    if curves is None:
        # All steps were done before: Lightning trains nothing and leaves the weights of the last
        # step. Those that a checkpoint states are the averaged ones.
        state = torch.load(checkpoint, map_location=task.device, weights_only=True)
        task.load_state_dict(state["state_dict"])
        curves = Curves(run, keep_steps=settings.steps)
    figures: dict[str, float] = {}
    if len(curves.table):
        rows = curves.table
        if keeper is not None:
            rows = rows[rows["step"] == keeper.best_step]
        if len(rows):
            figures = {str(k): float(v) for k, v in rows.iloc[-1].items()}
    if keeper is not None:
        task.network.load_state_dict(keeper.weights)
        figures |= {task.best_by: keeper.best, "best_step": float(keeper.best_step)}
    figures["cpu_minutes"] = (time.process_time() - start_cpu) / 60
    figures["wall_minutes"] = (time.perf_counter() - start_wall) / 60
    return figures


@torch.no_grad()
def _start_value(task: TrainingTask, samples: NumberedSamples, device: str, bf16: bool) -> float:
    """Return the metric that decides on the best weights, before the first step."""
    task.eval().to(device)
    values = []
    for batch in DataLoader(samples, batch_size=task.optimiser.batch_size):
        with torch.autocast(device, torch.bfloat16, enabled=bf16):
            metrics = task.validation_metrics([part.to(device) for part in batch])
        values.append(float(metrics[task.best_by]))
    task.train()
    return sum(values) / len(values)


def _strategy(task: TrainingTask, device: str) -> DDPStrategy:
    """Return how several processes average their gradients."""
    return DDPStrategy(
        process_group_backend="nccl" if device == "cuda" else "gloo",
        # Tasks that take their own steps have networks of which a step trains one.
        find_unused_parameters=not task.automatic_optimization,
    )


def _averaging(decay: float) -> WeightAveraging:
    """Exponential average of the weights, quick at first so that the start is forgotten."""

    def average(averaged: Weights, current: Weights, count: Tensor | int) -> None:
        slowed = min(decay, (1 + float(count)) / (10 + float(count)))
        torch._foreach_lerp_(averaged, current, 1 - slowed)  # one call for all weights

    return WeightAveraging(use_buffers=True, multi_avg_fn=average)


@contextmanager
def _quiet() -> Iterator[None]:
    """Silence Lightning's advertisements and hints, which are not the user's to act on."""
    loggers = [logging.getLogger(name) for name in ("lightning.pytorch", "lightning.fabric")]
    levels = [logger.level for logger in loggers]
    for logger in loggers:
        logger.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", module=r"lightning\..*")
            warnings.filterwarnings("ignore", message=".*num_workers.*")
            warnings.filterwarnings("ignore", message=".*treespec.*")
            warnings.filterwarnings("ignore", message="Grad strides do not match bucket view")
            yield
    finally:
        for logger, level in zip(loggers, levels, strict=True):
            logger.setLevel(level)

"""Train a denoiser from a config: ``everhart train CONFIG.yaml -o RUN``."""

from __future__ import annotations

import hashlib
import math
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Literal, Self

import numpy as np
import torch
import yaml
from pydantic import BaseModel, ConfigDict, Field, field_validator, model_validator
from torch import Tensor

from everhart.errors import UsageError, unknown_name
from everhart.io.atomic import write_text
from everhart.micrograph import __version__
from everhart.nn.hardware import resolve_device
from everhart.nn.losses import LOSSES, WeightedLoss
from everhart.restore.models import find_model
from everhart.restore.network import (
    ARCHITECTURE,
    KIND,
    RestorationUNet,
    RestorationUNetConfig,
)
from everhart.restore.sources import Sample, Source, SourceConfig, augment, load_source
from everhart.training.config import OptimiserConfig, load_config
from everhart.training.engine import TrainingTask, fit
from everhart.training.model_file import ModelCard, ModelHeader, load_model, save_model

CONFIG_NAME, MODEL_NAME = "config.yaml", "model.safetensors"
"""What a run's folder holds from its start, and at its end."""

GREY_RANGE = 5.0
"""Range that SSIM losses take, in standard deviations of the image."""


class CardConfig(BaseModel):
    """What the config says for the model card."""

    model_config = ConfigDict(extra="forbid")

    name: str = "denoiser"
    summary: str = ""
    training_data: str = ""
    licence: str = ""
    limits: str = ""


class DenoiserConfig(BaseModel):
    """Config of a denoiser's training."""

    model_config = ConfigDict(extra="forbid")

    task: Literal["denoise"] = "denoise"
    recipe: Literal["supervised"] = Field("supervised", description="how targets are made")
    seed: int = Field(0, ge=0, description="seed of weights and samples")
    data: list[SourceConfig] = Field(min_length=1, description="where samples come from")
    validation: list[SourceConfig] = Field(
        default_factory=list, description="where validation samples come from; may be empty"
    )
    validation_samples: int = Field(64, ge=1, description="number of validation samples")
    crop_px: int = Field(128, ge=32, description="edge of the training crops in pixels")
    start_from: str | None = Field(
        None, description="name or file of a trained model whose weights to start from"
    )
    network: RestorationUNetConfig = Field(default_factory=RestorationUNetConfig)
    loss: dict[str, float] = Field(
        default={"charbonnier": 1.0}, description="weights of the losses by name"
    )
    optimiser: OptimiserConfig = Field(default_factory=OptimiserConfig)
    weights_dtype: Literal["float32", "float16"] = Field(
        "float32", description="precision of the stored weights"
    )
    card: CardConfig = Field(default_factory=CardConfig)

    @field_validator("loss")
    @classmethod
    def _known_losses(cls, loss: dict[str, float]) -> dict[str, float]:
        for name, weight in loss.items():
            if name not in LOSSES:
                raise ValueError(str(unknown_name("loss", name, LOSSES)))
            if weight < 0:
                raise ValueError(f"the weight of {name} is {weight}: give 0 or more")
        if not any(loss.values()):
            raise ValueError("give at least one loss a weight above 0")
        return loss

    @field_validator("crop_px")
    @classmethod
    def _even_crop(cls, crop: int) -> int:
        if crop % 32:
            raise ValueError("a crop is a multiple of 32 pixels, such as 128")
        return crop

    @model_validator(mode="after")
    def _crop_on_the_grid(self) -> Self:
        stride = self.network.unet.stride
        if self.crop_px % stride:
            raise ValueError(
                f"crop_px = {self.crop_px} is no multiple of {stride} pixels, the grid of a "
                f"network with stem {self.network.stem} and {len(self.network.widths)} widths: "
                f"give {math.lcm(stride, 32)} or a multiple of it, or fewer widths"
            )
        return self


class DenoisingTask(TrainingTask):
    """Fit a network to targets by a weighted sum of losses."""

    def __init__(self, network: RestorationUNet, config: DenoiserConfig) -> None:
        super().__init__(network, config.optimiser)
        self.loss = WeightedLoss(config.loss, data_range=GREY_RANGE)

    def losses(self, batch: tuple[Tensor, Tensor]) -> tuple[Tensor, Mapping[str, Tensor]]:
        """Return the weighted sum and, where there are several, its parts."""
        noisy, target = batch
        total, parts = self.loss(self.network(noisy), target)
        return total, parts if len(parts) > 1 else {}

    def validation_metrics(self, batch: tuple[Tensor, Tensor]) -> Mapping[str, Tensor]:
        """Return the gain over the noisy input, in dB, averaged over samples."""
        noisy, target = batch
        restored = self.network(noisy).float()
        before = ((noisy - target) ** 2).mean((1, 2, 3))
        after = ((restored - target) ** 2).mean((1, 2, 3))
        ratio = before.clamp(min=1e-12) / after.clamp(min=1e-12)
        return {"validation_gain_db": (10 * torch.log10(ratio)).mean()}


class MixedSource:
    """Samples from several sources, each by its weight, flipped at random."""

    def __init__(self, sources: Sequence[Source], weights: Sequence[float], crop_px: int) -> None:
        smallest = min(source.smallest_px for source in sources)
        if smallest < crop_px:  # said now, not when the image is drawn, hours later
            raise UsageError(
                f"The smallest training image is {smallest} pixels wide or high (registered pairs "
                f"lose their borders) and crop_px is {crop_px}: lower crop_px or leave small "
                "images out."
            )
        self.sources = list(sources)
        self.shares = np.cumsum(np.asarray(weights) / np.sum(weights))
        self.crop_px = crop_px

    def __call__(self, rng: np.random.Generator) -> Sample:
        """Draw one sample, of shape ``(1, crop, crop)`` each."""
        index = min(int(np.searchsorted(self.shares, rng.random())), len(self.sources) - 1)
        noisy, clean = augment(self.sources[index].draw(rng, self.crop_px), rng)
        return noisy[None], clean[None]


def train(
    config_path: Path | str,
    run: Path | str,
    overrides: Sequence[str] = (),
    *,
    resume: bool = False,
    progress: bool = False,
) -> Path:
    """Train a denoiser.

    Parameters
    ----------
    config_path
        YAML config; see :class:`DenoiserConfig`.
    run
        Folder for the run: the checked config, curves, checkpoints and, at the end,
        ``model.safetensors``.
    overrides
        ``key=value`` settings that replace those of the file.
    resume
        Whether to go on with a run that was interrupted; one that is done is left as it is.
    progress
        Whether to show a progress bar.

    Returns
    -------
    Path
        The model file.

    Raises
    ------
    UsageError
        If the config is wrong, or the folder holds another run.
    """
    config = load_config(DenoiserConfig, config_path, overrides)
    folder = Path(run)
    _check_run(folder, config, resume)
    if resume and (folder / MODEL_NAME).is_file():
        return folder / MODEL_NAME  # there is nothing left to do
    resolve_device(config.optimiser.device)
    sources = [load_source(c, config.seed) for c in config.data]
    samples = MixedSource(sources, [c.weight for c in config.data], config.crop_px)
    validation = None
    if config.validation:
        held_out = [load_source(c, config.seed + 1) for c in config.validation]
        validation = MixedSource(held_out, [c.weight for c in config.validation], config.crop_px)
    torch.manual_seed(config.seed)
    network = RestorationUNet(config.network)
    if config.start_from is not None and not resume:
        _take_weights(network, find_model(os.path.expandvars(config.start_from)))
    task = DenoisingTask(network, config)
    # Only now: a wrong call leaves no folder behind that the right one would trip over.
    folder.mkdir(parents=True, exist_ok=True)
    write_text(folder / CONFIG_NAME, _as_yaml(config), overwrite=True)
    figures = fit(
        task,
        samples,
        run=folder,
        seed=config.seed,
        validation=validation,
        n_validation=config.validation_samples if validation else 0,
        resume=resume,
        progress=progress,
    )
    card = ModelCard(
        **config.card.model_dump(),
        recipe=config.recipe,
        data_sha256=_combined([source.sha256 for source in sources]),
        seed=config.seed,
        metrics={name: round(value, 5) for name, value in figures.items()},
        everhart_version=__version__,
    )
    header = ModelHeader(
        kind=KIND,
        architecture=ARCHITECTURE,
        config=config.network.model_dump(mode="json"),
        normalisation={"kind": "image", "mean": 0.0, "deviation": 1.0},
        card=card,
    )
    weights = task.network.state_dict()
    return save_model(
        folder / MODEL_NAME, header, weights, dtype=config.weights_dtype, overwrite=True
    )


def _take_weights(network: RestorationUNet, path: Path) -> None:
    """Start a network from a model's weights; layers that the model does not have stay new.

    A model of other widths is refused: of its weights none would be of use.
    """
    loaded = load_model(path, KIND)
    own = network.state_dict()
    misfit = [
        name for name, w in loaded.weights.items() if name not in own or own[name].shape != w.shape
    ]
    if misfit:
        given = RestorationUNetConfig.model_validate(loaded.header.config)
        raise UsageError(
            f"start_from = {path.name} has the network {given.model_dump()}, and the config asks "
            f"for {network.config.model_dump()}: give the same widths, stem, edge_plane "
            "and output (blend may start from direct)."
        )
    network.load_state_dict(loaded.weights, strict=False)


def _check_run(run: Path, config: DenoiserConfig, resume: bool) -> None:
    """Check that a run's folder is new, or holds the same run that is to go on."""
    saved = run / CONFIG_NAME
    if resume:
        if not saved.is_file():
            raise UsageError(f"{run} holds no run to resume: start it without --resume.")
        if saved.read_text(encoding="utf-8") != _as_yaml(config):
            raise UsageError(
                f"{run} was started with other settings (see its config.yaml): resume it with the "
                "same config and overrides, or start another folder."
            )
        return
    if run.exists() and not (run.is_dir() and _never_got_going(run)):
        raise UsageError(
            f"The run folder {run} is not empty: give another one, or --resume to go on with it."
        )


def _never_got_going(run: Path) -> bool:
    """Whether a folder is empty, or holds a run that was stopped before its first checkpoint."""
    checkpoints = run / "checkpoints"
    if checkpoints.is_dir() and any(checkpoints.iterdir()):
        return False
    return {path.name for path in run.iterdir()} <= {CONFIG_NAME, checkpoints.name}


def _as_yaml(config: DenoiserConfig) -> str:
    return yaml.safe_dump(config.model_dump(mode="json"), sort_keys=False)


def _combined(hashes: Sequence[str]) -> str:
    return hashlib.sha256("".join(hashes).encode()).hexdigest()

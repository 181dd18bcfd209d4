"""Train a classifier of noisy images, by ``everhart train`` with ``task: noisy-classifier``."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Literal, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Field, model_validator
from torch import Tensor
from torch.nn import functional as F

from everhart.errors import UsageError
from everhart.micrograph import __version__
from everhart.nn.hardware import resolve_device
from everhart.nn.noisy_classifier import NoisyClassifier, NoisyClassifierConfig
from everhart.synthesize.augment import AugmentConfig
from everhart.synthesize.grey_scale import GreyRange
from everhart.synthesize.guidance import ARCHITECTURE, KIND
from everhart.synthesize.patches import StageConfig, check_stages, draw_patch, stage_at
from everhart.synthesize.schedule import NoiseSchedule
from everhart.synthesize.training_images import (
    ImagesConfig,
    TrainingImage,
    load_images,
)
from everhart.training.config import OptimiserConfig, load_config
from everhart.training.engine import TrainingTask, fit
from everhart.training.model_file import ModelCard, ModelHeader, read_header, save_model
from everhart.training.run_folder import MODEL_NAME, check_run, start_run
from everhart.training.samples import SampleFunction

__all__ = ["ClassifierConfig", "train"]


class ClassifierNetworkConfig(BaseModel):
    """What can be chosen of the classifier's network."""

    model_config = ConfigDict(extra="forbid")

    widths: tuple[int, ...] = Field(
        (16, 32, 64), min_length=1, description="feature maps at each level, finest first"
    )
    groups: int = Field(8, ge=1, description="groups of the group normalisation")
    stem: int = Field(1, ge=1, le=4, description="pixel-unshuffle factor before the first level")
    position: bool = Field(True, description="whether it is told where a patch lies")


class ClassifierConfig(BaseModel):
    """Config of a classifier's training."""

    model_config = ConfigDict(extra="forbid")

    task: Literal["noisy-classifier"] = "noisy-classifier"
    seed: int = Field(0, ge=0, description="seed of weights and samples")
    generator: str = Field(
        description="file of the generator that it is to guide: grey levels and noise are its"
    )
    data: ImagesConfig
    curriculum: list[StageConfig] = Field(
        default_factory=lambda: [StageConfig()],
        min_length=1,
        description="stages of the training; those of the generator, if it draws in tiles",
    )
    network: ClassifierNetworkConfig = Field(default_factory=ClassifierNetworkConfig)
    augmentation: AugmentConfig | None = Field(
        None, description="changes that do not change the class"
    )
    validation_samples: int = Field(
        64, ge=1, description="patches of the held-out images to judge by, with data.held_out"
    )
    optimiser: OptimiserConfig = Field(
        default_factory=lambda: OptimiserConfig(
            steps=1000, batch_size=16, learning_rate=5e-4, weight_decay=0.05
        )
    )
    name: str = Field("noisy-classifier", description="name on the model's card")
    summary: str = Field("", description="what it tells apart, for the card")
    licence: str = Field("", description="licence of the weights, for the card")
    weights_dtype: Literal["float32", "float16"] = Field(
        "float32", description="precision of the stored weights"
    )

    @model_validator(mode="after")
    def _fitting(self) -> ClassifierConfig:
        if self.data.labels == "none":
            raise ValueError(
                "data.labels is none, and a classifier learns classes: give folders or table"
            )
        if self.data.masks is not None:
            raise ValueError("data.masks was given, and a classifier sees none: leave it out")
        if self.optimiser.keep_best and not self.data.held_out:
            raise ValueError("optimiser.keep_best needs data.held_out to tell what is best")
        return self


class _Sample(NamedTuple):
    pixels: NDArray[np.float32]
    position: NDArray[np.float32]
    label: np.int64
    noise: NDArray[np.float32]
    t: np.int64


class _Samples:
    """Training samples, stage by stage; of the last stage and unchanged, to judge by."""

    def __init__(
        self, images: tuple[TrainingImage, ...], config: ClassifierConfig, schedule: NoiseSchedule
    ) -> None:
        self.images, self.config, self.schedule = images, config, schedule

    def at_step(self, step: int) -> tuple[SampleFunction, int]:
        settings = self.config.optimiser
        stage = stage_at(self.config.curriculum, step / settings.steps)

        def draw(rng: np.random.Generator) -> _Sample:
            return self._draw(rng, stage, self.config.augmentation)

        return draw, stage.batch_size or settings.batch_size

    def to_judge(self, rng: np.random.Generator) -> _Sample:
        return self._draw(rng, self.config.curriculum[-1], None)

    def _draw(
        self, rng: np.random.Generator, stage: StageConfig, augmentation: AugmentConfig | None
    ) -> _Sample:
        patch = draw_patch(self.images, stage, rng, augmentation)
        pixels = np.ascontiguousarray(patch.pixels[None])
        noise = rng.standard_normal(pixels.shape, np.float32)
        t = np.int64(self.schedule.draw(rng, plain=stage.noise == "plain"))
        return _Sample(pixels, patch.position, np.int64(patch.label), noise, t)


class _Task(TrainingTask):
    """Learn to tell the class of noisy patches."""

    best_by = "validation_loss"

    def __init__(
        self, network: NoisyClassifier, optimiser: OptimiserConfig, schedule: NoiseSchedule
    ) -> None:
        super().__init__(network, optimiser)
        self.schedule = schedule

    def losses(self, batch: _Sample) -> tuple[Tensor, Mapping[str, Tensor]]:
        """Cross-entropy."""
        scores, label = self._scores(batch)
        return F.cross_entropy(scores, label), {}

    @torch.no_grad()
    def validation_metrics(self, batch: _Sample) -> Mapping[str, Tensor]:
        """Return cross-entropy and accuracy, over all noise levels."""
        scores, label = self._scores(batch)
        right = (scores.argmax(dim=1) == label).float().mean()
        return {"validation_loss": F.cross_entropy(scores, label), "validation_accuracy": right}

    def _scores(self, batch: _Sample) -> tuple[Tensor, Tensor]:
        pixels, position, label, noise, t = (torch.as_tensor(part) for part in batch)
        net = self.network
        assert isinstance(net, NoisyClassifier)
        told = position if net.config.position else None
        return net(self.schedule.add_noise(pixels, noise, t), t, told).float(), label


def train(
    config_path: Path | str,
    run: Path | str,
    overrides: Sequence[str] = (),
    *,
    resume: bool = False,
    progress: bool = False,
) -> Path:
    """Train a classifier that guides a generator.

    Parameters
    ----------
    config_path
        YAML config; see :class:`ClassifierConfig`.
    run, overrides, resume, progress
        As for :func:`everhart.synthesize.train.train`.

    Returns
    -------
    Path
        The model file.

    Raises
    ------
    UsageError
        If the config, the generator or the images are wrong, or the folder holds another run.
    """
    config = load_config(ClassifierConfig, config_path, overrides)
    folder = Path(run)
    if check_run(folder, config, resume=resume):
        return folder / MODEL_NAME
    resolve_device(config.optimiser.device)
    header = read_header(Path(os.path.expandvars(config.generator)))
    if header.kind != "generator":
        raise UsageError(
            f"generator = {config.generator} is a model of the kind {header.kind!r}: give the file "
            "of the generator that is to be guided."
        )
    said = header.normalisation
    grey = GreyRange.from_header(said)
    images = load_images(config.data, config.seed, grey=grey)
    check_stages(config.curriculum, images)
    torch.manual_seed(config.seed)
    network = NoisyClassifier(
        NoisyClassifierConfig(classes=len(images.classes), **config.network.model_dump())
    )
    schedule = NoiseSchedule(**said["schedule"])
    start_run(folder, config)
    held_out = _Samples(images.held_out, config, schedule) if images.held_out else None
    task = _Task(network, config.optimiser, schedule)
    figures = fit(
        task,
        _Samples(images.images, config, schedule),
        run=folder,
        seed=config.seed,
        validation=None if held_out is None else held_out.to_judge,
        n_validation=config.validation_samples if held_out else 0,
        resume=resume,
        progress=progress,
    )
    card = ModelCard(
        name=config.name,
        summary=config.summary,
        licence=config.licence,
        recipe="noisy-classifier",
        training_data=f"{len(images.images)} images of {', '.join(images.classes)}",
        data_sha256=images.sha256,
        seed=config.seed,
        metrics={name: round(value, 5) for name, value in figures.items()},
        everhart_version=__version__,
    )
    normalisation = {
        "kind": "grey range",
        **{name: said[name] for name in ("middle", "half", "dtype", "schedule")},
        "classes": list(images.classes),
    }
    own_header = ModelHeader(
        kind=KIND,
        architecture=ARCHITECTURE,
        config=network.config.model_dump(mode="json"),
        normalisation=normalisation,
        card=card,
    )
    return save_model(
        folder / MODEL_NAME, own_header, task.network.state_dict(),
        dtype=config.weights_dtype, overwrite=True,
    )  # fmt: skip

"""Train a classifier on a generator's features: ``task: segment-features``."""

from __future__ import annotations

import os
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal, Self

import numpy as np
import torch
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Field, model_validator

from everhart.errors import FileFormatError, UsageError
from everhart.metrics.segmentation import class_scores
from everhart.micrograph import Array, __version__
from everhart.nn.diffusion_unet import DiffusionUNet, DiffusionUNetConfig
from everhart.nn.segmentation_losses import IGNORE
from everhart.restore.config import CardConfig
from everhart.restore.models import find_model
from everhart.restore.source_base import hash_of
from everhart.segment.choice import fine_blocks
from everhart.segment.config import LabelledConfig, SelectionConfig
from everhart.segment.features import DiffusionFeatures
from everhart.segment.few_shot import FeatureClassifier, classifier_network, fit_classifier
from everhart.segment.labelled import class_numbers, labelled_pairs, read_pair, split
from everhart.segment.network import KIND
from everhart.segment.objects import separated
from everhart.segment.segmenter import Segmented
from everhart.synthesize.generator import Generator
from everhart.training.config import load_config
from everhart.training.model_file import (
    LoadedModel,
    ModelCard,
    ModelHeader,
    load_model,
    save_model,
)
from everhart.training.run_folder import MODEL_NAME, check_run, start_run

__all__ = ["ARCHITECTURE", "FeatureSegmentConfig", "FewShotSegmenter", "train"]

ARCHITECTURE = "FeatureClassifier"

_SHARES = (0.005, 0.02, 0.06)
"""Steps that are looked at, as parts of the schedule, where none are given."""


class FeatureSegmentConfig(BaseModel):
    """Config of a segmentation by one to three labelled images."""

    model_config = ConfigDict(extra="forbid")

    task: Literal["segment-features"]
    seed: int = Field(0, ge=0, description="seed of weights and batches")
    generator: str = Field(description="name or file of a generator of such images")
    data: LabelledConfig
    classes: dict[str, int | list[int] | Literal["rest"]] = Field(
        min_length=2, description="label values by class name"
    )
    ignore: list[int] = Field(
        default_factory=list, description="label values of pixels that do not count"
    )
    train: SelectionConfig | None = Field(
        None, description="fields to learn from; by default all that are left"
    )
    validation: SelectionConfig | None = Field(None, description="fields to judge by")
    gap: int | None = Field(
        None, ge=0, description="neighbours of a validation field that are not learned from"
    )
    blocks: list[str] | None = Field(
        None, description="blocks of the network; by default those of the two finest levels"
    )
    steps: list[int] | None = Field(None, description="steps of the schedule; by default three")
    draws: int = Field(2, ge=1, description="draws of the noise, whose features are averaged")
    hidden: int = Field(64, ge=0, description="units of the classifier; 0 for a linear one")
    flips: bool = Field(True, description="learn from the mirror images, too")
    fit_steps: int = Field(400, ge=1, description="steps of the classifier's optimiser")
    smoothing_px: float = Field(1.0, ge=0, lt=100, description="how far neighbours decide together")
    card: CardConfig = Field(default_factory=lambda: CardConfig(name="few-shot"))

    @model_validator(mode="after")
    def _validation_has_a_gap(self) -> Self:
        if self.validation is not None and self.gap is None:
            raise ValueError(
                "validation needs a gap: how many neighbours of a validation field are not learned "
                "from, such as 2 for slices, 0 for fields that have nothing in common"
            )
        return self


class FewShotSegmenter:
    """A classifier on features with the generator whose they are, from one model file.

    Parameters
    ----------
    classifier
        The classifier.
    header
        Header of the model file.
    sha256
        Hash of the model file.
    """

    def __init__(self, classifier: FeatureClassifier, header: ModelHeader, sha256: str) -> None:
        self.classifier, self.header, self.sha256 = classifier, header, sha256
        self.classes: tuple[str, ...] = tuple(header.inference["classes"])

    @classmethod
    def load(cls, path: Path | str, *, device: str = "auto") -> Self:
        """Load a model file.

        Raises
        ------
        FileFormatError
            If its weights do not fit its header.
        """
        loaded = load_model(path, KIND)
        try:
            return cls(_classifier(loaded, device), loaded.header, loaded.sha256)
        except (KeyError, ValueError, RuntimeError):
            raise FileFormatError(
                f"{path} is damaged: its weights do not fit its header; copy or train it anew."
            ) from None

    def segment(
        self,
        pixels: Array,
        *,
        pixel_size_nm: tuple[float, float] | None = None,
        objects: bool = False,
    ) -> Segmented:
        """Segment one image; see :meth:`everhart.segment.segmenter.Segmenter.segment`."""
        del pixel_size_nm
        classes = self.classifier.segment(pixels)
        return Segmented(classes, separated(classes, rims=False) if objects else None)


def train(
    config_path: Path | str,
    run: Path | str,
    overrides: Sequence[str] = (),
    *,
    resume: bool = False,
    progress: bool = False,
) -> Path:
    """Train a classifier on a generator's features.

    Parameters
    ----------
    config_path
        YAML config; see :class:`FeatureSegmentConfig`.
    run
        Folder for the run: the checked config and ``model.safetensors``, in which the generator
        is, too.
    overrides
        ``key=value`` settings that replace those of the file.
    resume
        Whether the folder may hold the same run; one that is done is left as it is.
    progress
        Not used: it takes seconds.

    Returns
    -------
    Path
        The model file.

    Raises
    ------
    UsageError
        If the config or the images are wrong, or the folder holds another run.
    """
    del progress
    config = load_config(FeatureSegmentConfig, config_path, overrides)
    folder = Path(run)
    if check_run(folder, config, resume=resume):
        return folder / MODEL_NAME
    source = load_model(find_model(os.path.expandvars(config.generator)), "generator")
    generator = Generator.load(find_model(os.path.expandvars(config.generator)))
    pairs = labelled_pairs(config.data)
    learned, judged = split(
        [image.stem for image, _ in pairs], config.train, config.validation, config.gap or 0
    )
    blocks = config.blocks or fine_blocks(generator)
    steps = config.steps or generator.schedule.at_shares(_SHARES)
    features = DiffusionFeatures(generator, blocks, steps, draws=config.draws)
    shown = [_read(*pairs[place], config) for place in learned]
    start_run(folder, config)
    started = time.process_time()
    classifier = fit_classifier(
        features,
        [pixels for pixels, _ in shown],
        [labels for _, labels in shown],
        len(config.classes),
        flips=config.flips,
        hidden=config.hidden,
        steps=config.fit_steps,
        smoothing_px=config.smoothing_px,
        seed=config.seed,
    )
    figures = {"cpu_minutes": (time.process_time() - started) / 60}
    if judged:
        held_out = [_read(*pairs[place], config) for place in judged]
        said = [classifier.segment(pixels) for pixels, _ in held_out]
        scores = class_scores(
            said, [labels for _, labels in held_out], len(config.classes), ignore=IGNORE
        )
        figures |= {
            "validation_mean_iou": scores.mean_iou,
            "validation_error": 1 - scores.mean_dice,
        }
    told = config.card.model_dump()
    names = ", ".join(pairs[place][0].stem for place in learned[:20])
    told["training_data"] = told["training_data"] or f"{len(learned)} labelled images: {names}"
    card = ModelCard.model_validate(
        {
            **told,
            "recipe": config.task,
            "data_sha256": hash_of(np.asarray(part) for pair in shown for part in pair),
            "seed": config.seed,
            "metrics": {name: round(value, 5) for name, value in figures.items()},
            "everhart_version": __version__,
            "started_from": source.header.card.name,
            "started_from_sha256": source.sha256,
        }
    )
    header = ModelHeader(
        kind=KIND,
        architecture=ARCHITECTURE,
        config={
            "generator": source.header.model_dump(mode="json"),
            "blocks": blocks,
            "steps": steps,
            "draws": config.draws,
            "hidden": config.hidden,
            "smoothing_px": config.smoothing_px,
        },
        inference={
            "classes": list(config.classes),
            "values": dict(config.classes),
            "ignored": config.ignore,
        },
        card=card,
    )
    weights = {f"generator.{name}": weight for name, weight in source.weights.items()}
    weights |= {f"classifier.{n}": w for n, w in classifier.network.state_dict().items()}
    weights |= {
        "mean": torch.from_numpy(classifier.mean),
        "deviation": torch.from_numpy(classifier.deviation),
    }
    return save_model(folder / MODEL_NAME, header, weights, overwrite=True)


def _read(
    image_file: Path, label_file: Path, config: FeatureSegmentConfig
) -> tuple[NDArray[Any], NDArray[np.uint8]]:
    image, labels = read_pair(image_file, label_file, config.data.pixel_size_nm)
    if labels.size == 0:
        raise UsageError(f"{label_file.name} has no pixel: leave it out.")
    return image.field_of_view, class_numbers(
        labels, config.classes, config.ignore, label_file.name
    )


def _classifier(loaded: LoadedModel, device: str) -> FeatureClassifier:
    said = loaded.header.config
    of_generator = ModelHeader.model_validate(said["generator"])
    network = DiffusionUNet(DiffusionUNetConfig.model_validate(of_generator.config))
    network.load_state_dict(_part(loaded, "generator."))
    generator = Generator(network, of_generator, loaded.sha256, device=device)
    features = DiffusionFeatures(generator, said["blocks"], said["steps"], draws=said["draws"])
    mean, deviation = (loaded.weights[name].numpy() for name in ("mean", "deviation"))
    classifier = classifier_network(
        len(mean), said["hidden"], len(loaded.header.inference["classes"])
    )
    classifier.load_state_dict(_part(loaded, "classifier."))
    return FeatureClassifier(features, mean, deviation, classifier, said["smoothing_px"])


def _part(loaded: LoadedModel, prefix: str) -> dict[str, torch.Tensor]:
    return {
        name.removeprefix(prefix): weight
        for name, weight in loaded.weights.items()
        if name.startswith(prefix)
    }

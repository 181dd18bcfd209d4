"""Train a generator from a config with ``task: diffusion``."""

from __future__ import annotations

import math
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import default_collate

from everhart.micrograph import __version__
from everhart.nn.diffusion_unet import Condition, DiffusionUNet
from everhart.nn.hardware import resolve_device, use_bf16
from everhart.synthesize.augment import OPERATIONS
from everhart.synthesize.config import DiffusionConfig
from everhart.synthesize.generator_header import ARCHITECTURE, CLIP, KIND, normalisation_of
from everhart.synthesize.patches import check_stages
from everhart.synthesize.samplers import Predict
from everhart.synthesize.scatter import measure_scatter
from everhart.synthesize.task import (
    DiffusionTask,
    HeldOutPatches,
    PatchBatch,
    PatchSamples,
    told_of,
)
from everhart.synthesize.training_images import TrainingImages, load_images
from everhart.synthesize.transfer import freeze, take_weights
from everhart.training.config import load_config
from everhart.training.engine import fit
from everhart.training.model_file import ModelCard, ModelHeader, save_model
from everhart.training.run_folder import MODEL_NAME, check_run, start_run

__all__ = ["train"]

_JUDGED_PX, _MOST_PATCHES = 1 << 20, 64
"""Pixels, and patches, by which the network is judged at each time."""


def train(
    config_path: Path | str,
    run: Path | str,
    overrides: Sequence[str] = (),
    *,
    resume: bool = False,
    progress: bool = False,
) -> Path:
    """Train a generator.

    Parameters
    ----------
    config_path
        YAML config; see :class:`everhart.synthesize.config.DiffusionConfig`.
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
        If the config or the images are wrong, or the folder holds another run.
    """
    config = load_config(DiffusionConfig, config_path, overrides)
    folder = Path(run)
    if check_run(folder, config, resume=resume):
        return folder / MODEL_NAME
    resolve_device(config.optimiser.device)
    images = load_images(config.data, config.seed)
    check_stages(config.curriculum, images)
    mask_classes = len(images.mask_values)
    torch.manual_seed(config.seed)
    told = len(OPERATIONS) if config.augmentation else 0
    network = DiffusionUNet(config.network.complete(len(images.classes), mask_classes, told))
    start: dict[str, object] = {}
    if config.start_from is not None:
        # In a run that goes on, the checkpoint's weights take their place.
        path = Path(os.path.expandvars(config.start_from))
        start = {"started_from": path.name, "started_from_sha256": take_weights(network, path)}
        start["frozen"] = freeze(network, config.freeze)
    task = DiffusionTask(network, config)
    start_run(folder, config)
    held_out = None
    if images.held_out:
        held_out = HeldOutPatches(images.held_out, config, mask_classes)
    figures = fit(
        task,
        PatchSamples(images.images, config, mask_classes),
        run=folder,
        seed=config.seed,
        validation=held_out,
        n_validation=config.validation_samples if held_out else 0,
        resume=resume,
        progress=progress,
    )
    names = ", ".join(image.name for image in images.images[:20])
    card = ModelCard.model_validate(
        {
            "name": config.name,
            "summary": config.summary,
            "licence": config.licence,
            "recipe": "diffusion",
            "training_data": f"{len(images.images)} images: {names}",
            "data_sha256": images.sha256,
            # By these an audit knows which real images were learned from.
            "learned_sha256": [image.sha256 for image in images.images],
            **start,
            "seed": config.seed,
            "metrics": {name: round(value, 5) for name, value in figures.items()},
            "everhart_version": __version__,
        }
    )
    header = ModelHeader(
        kind=KIND,
        architecture=ARCHITECTURE,
        config=network.config.model_dump(mode="json"),
        normalisation={
            **normalisation_of(images, config),
            "scatter": _scatter_of(task, images, config),
        },
        card=card,
    )
    weights = task.network.state_dict()
    return save_model(
        folder / MODEL_NAME, header, weights, dtype=config.weights_dtype, overwrite=True
    )


def _scatter_of(
    task: DiffusionTask, images: TrainingImages, config: DiffusionConfig
) -> dict[str, Any]:
    """Measure by how much the trained network is off, for its header, by reduction.

    Those that were learned from judge, too: two that were not say too little of a spectrum.
    """
    settings = config.optimiser
    device = resolve_device(settings.device)
    bf16 = use_bf16(settings.precision, device)
    network = task.network.eval().to(device)
    assert isinstance(network, DiffusionUNet)
    # Of each reduction the largest patches, as samples are drawn.
    stages = {
        stage.reduction: stage
        for stage in sorted(config.curriculum, key=lambda s: s.patch_px or math.inf)
    }
    found = {}
    for reduction, stage in sorted(stages.items()):
        draw = HeldOutPatches(
            (*images.held_out, *images.images), config, len(images.mask_values), stage
        )
        rng = np.random.default_rng([config.seed, reduction])
        first = draw(rng)
        count = min(_MOST_PATCHES, -(-_JUDGED_PX // first.pixels.size))
        batch = PatchBatch(*default_collate([first, *(draw(rng) for _ in range(count - 1))]))
        told = told_of(batch, network.config)

        def predictor(some: slice, told: Condition = told) -> Predict:
            here = told.take(some).to(device)

            def predict(x: Tensor, t: Tensor) -> Tensor:
                with torch.autocast(device, torch.bfloat16, enabled=bf16):
                    said: Tensor = network(x, t, here).float()
                return said

            return predict

        pixels = torch.as_tensor(batch.pixels).to(device)
        schedule = task.schedule
        scatter = measure_scatter(predictor, pixels, schedule, clip=CLIP, seed=config.seed)
        found[str(reduction)] = scatter.to_header()
    return found

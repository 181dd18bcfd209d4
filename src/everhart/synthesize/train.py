"""Train a generator from a config with ``task: diffusion``."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

import torch

from everhart.errors import UsageError
from everhart.micrograph import __version__
from everhart.nn.diffusion_unet import DiffusionUNet
from everhart.nn.hardware import resolve_device
from everhart.synthesize.augment import OPERATIONS
from everhart.synthesize.config import DiffusionConfig
from everhart.synthesize.generator import ARCHITECTURE, KIND, normalisation_of
from everhart.synthesize.patches import check_stages
from everhart.synthesize.task import DiffusionTask, HeldOutPatches, PatchSamples
from everhart.synthesize.training_images import load_images
from everhart.training.config import load_config
from everhart.training.engine import fit
from everhart.training.model_file import ModelCard, ModelHeader, load_model, save_model
from everhart.training.run_folder import MODEL_NAME, check_run, start_run

__all__ = ["train"]


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
    if config.start_from is not None and not resume:
        _take_weights(network, Path(os.path.expandvars(config.start_from)))
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
            "seed": config.seed,
            "metrics": {name: round(value, 5) for name, value in figures.items()},
            "everhart_version": __version__,
        }
    )
    header = ModelHeader(
        kind=KIND,
        architecture=ARCHITECTURE,
        config=network.config.model_dump(mode="json"),
        normalisation=normalisation_of(images, config),
        card=card,
    )
    weights = task.network.state_dict()
    return save_model(
        folder / MODEL_NAME, header, weights, dtype=config.weights_dtype, overwrite=True
    )


def _take_weights(network: DiffusionUNet, path: Path) -> None:
    """Start from the weights of another generator; inputs that it does not have stay new."""
    loaded = load_model(path, KIND)
    own = network.state_dict()
    fitting = {
        name: w for name, w in loaded.weights.items() if name in own and own[name].shape == w.shape
    }
    inputs = ("first.", "label.", "augmentation.")
    misfit = [name for name in own if name not in fitting and not name.startswith(inputs)]
    if misfit:
        raise UsageError(
            f"start_from = {path.name} is a generator with {loaded.header.config}, and the config "
            f"asks for {network.config.model_dump()}: give the same widths, blocks and attention."
        )
    network.load_state_dict(fitting, strict=False)

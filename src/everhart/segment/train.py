"""Train a segmentation from a config with ``task: segment``."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import torch

from everhart.micrograph import __version__
from everhart.nn.hardware import resolve_device
from everhart.segment.config import SegmentConfig
from everhart.segment.grey import scale_record
from everhart.segment.labelled import load_fields
from everhart.segment.network import (
    ARCHITECTURE,
    KIND,
    SegmentationUNet,
    start_model,
    take_weights,
)
from everhart.segment.samples import Crops, class_shares
from everhart.segment.task import SegmentationTask, class_weights
from everhart.training.config import load_config
from everhart.training.engine import fit
from everhart.training.model_file import ModelCard, ModelHeader, save_model
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
    """Train a segmentation.

    Parameters
    ----------
    config_path
        YAML config; see :class:`everhart.segment.config.SegmentConfig`.
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
    config = load_config(SegmentConfig, config_path, overrides)
    folder = Path(run)
    if check_run(folder, config, resume=resume):
        return folder / MODEL_NAME
    resolve_device(config.optimiser.device)
    shape, start = start_model(config.start_from, config.network)
    fields = load_fields(config)
    # Objects have a class for their rims, which is learned and not given back.
    learned = (*config.classes, "rim") if config.border_px else tuple(config.classes)
    torch.manual_seed(config.seed)
    network = SegmentationUNet(shape.unet(len(learned)))
    began: dict[str, object] = {}
    if start is not None:
        take_weights(network, start)
        began = {"started_from": start.header.card.name, "started_from_sha256": start.sha256}
    weights = class_weights(config, class_shares(fields.train, len(learned)))
    task = SegmentationTask(network, config, weights)
    start_run(folder, config)
    validation = Crops(fields.validation, config.crop_px, None) if fields.validation else None
    figures = fit(
        task,
        Crops(fields.train, config.crop_px, config.augmentation),
        run=folder,
        seed=config.seed,
        validation=validation,
        n_validation=config.validation_samples if validation else 0,
        resume=resume,
        progress=progress,
    )
    names = ", ".join(field.name for field in fields.train[:20])
    said = config.card.model_dump()
    said["training_data"] = said["training_data"] or f"{len(fields.train)} labelled images: {names}"
    card = ModelCard.model_validate(
        {
            **said,
            "recipe": "segment",
            "data_sha256": fields.sha256,
            "seed": config.seed,
            "metrics": {name: round(value, 5) for name, value in figures.items()},
            "everhart_version": __version__,
            **began,
        }
    )
    header = ModelHeader(
        kind=KIND,
        architecture=ARCHITECTURE,
        config=network.config.model_dump(mode="json"),
        normalisation=scale_record(fields.scale),
        inference={
            "classes": list(config.classes),
            # By these a truth in the same label values can judge.
            "values": dict(config.classes),
            "ignored": config.ignored(),
            "rims": bool(config.border_px),
            "pixel_size_nm": config.common_pixel_size_nm,
            "scale": config.scale,
            # Smaller than hardly any that was learned from: no object.
            "smallest_px": fields.smallest_px,
            "fill_holes": fields.are_solid if config.fill_holes == "auto" else config.fill_holes,
        },
        card=card,
    )
    return save_model(
        folder / MODEL_NAME,
        header,
        task.network.state_dict(),
        dtype=config.weights_dtype,
        overwrite=True,
    )

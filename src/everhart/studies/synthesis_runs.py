"""A training of a study: from its config, gone on with, or taken as it is."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import yaml

from everhart.io.atomic import write_text

__all__ = ["trained"]


def trained(config: Mapping[str, Any], run: Path, train: Callable[..., Path] | None = None) -> Path:
    """Train, go on with, or take a model that is there.

    Parameters
    ----------
    config
        Config of the training.
    run
        Folder of the run; the config is written beside it.
    train
        What trains by a config; a generator's training by default.

    Returns
    -------
    Path
        The model file.
    """
    from everhart.synthesize.train import train as train_generator

    run.parent.mkdir(parents=True, exist_ok=True)
    text = run.with_suffix(".yaml")
    write_text(text, yaml.safe_dump(dict(config), sort_keys=False), overwrite=True)
    goes_on = any((run / name).is_file() for name in ("checkpoints/last.ckpt", "model.safetensors"))
    if not goes_on and (run / "config.yaml").is_file():
        # Interrupted before its first checkpoint: there is nothing to go on with.
        shutil.rmtree(run)
    return (train or train_generator)(text, run, resume=goes_on)

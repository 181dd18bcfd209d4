"""What studies keep on disk as it is done, so that a kill costs little: figures and models."""

from __future__ import annotations

import copy
import hashlib
import json
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import yaml

from everhart.io.atomic import write_text
from everhart.studies.study import Progress, Row

__all__ = ["kept_figures", "kept_model", "merge", "training_cpu_s"]


def kept_figures(
    rows: Sequence[Row],
    seed: int,
    folder: Path,
    compute: Callable[[Row], dict[str, Any]],
    progress: Progress,
) -> list[dict[str, Any]]:
    """Return what is found for each row, which is computed and written where it is not there.

    Parameters
    ----------
    rows
        The rows.
    seed
        Repetition.
    folder
        Folder of the study; the figures go to ``cells/KEY_SEED.json`` in it.
    compute
        Returns the figures of a row as plain values.
    progress
        Is told of what is computed.
    """
    cells = folder / "cells"
    cells.mkdir(parents=True, exist_ok=True)
    figures = []
    for row in rows:
        path = cells / f"{row.key}_{seed}.json"
        if not path.is_file():
            progress(f"{folder.name}: {row.title}, seed {seed}")
            write_text(path, json.dumps(compute(row), indent=2) + "\n", overwrite=True)
        figures.append(json.loads(path.read_text(encoding="utf-8")))
    return figures


def kept_model(config: dict[str, Any], models: Path, data_name: str) -> Path:
    """Return the model that a training config makes, trained where there is none.

    A training that was stopped goes on at its last checkpoint.

    Parameters
    ----------
    config
        Training config with one source of data, a folder.
    models
        Folder of the models; each is found again by its config, also by another study.
    data_name
        What names the data: their folder may be moved, and says nothing about the model.
    """
    from everhart.restore.train import train

    named = copy.deepcopy(config)
    named["data"][0]["folder"] = data_name
    digest = hashlib.sha256(json.dumps(named, sort_keys=True).encode()).hexdigest()[:16]
    run = models / digest
    models.mkdir(parents=True, exist_ok=True)
    text = yaml.safe_dump(config, sort_keys=False)
    write_text(models / f"{digest}.yaml", text, overwrite=True)
    started = (run / "checkpoints" / "last.ckpt").is_file()
    return train(models / f"{digest}.yaml", run, resume=started)


def training_cpu_s(model: Path) -> float:
    """Return what the training of a model cost, whichever study did it, in CPU-seconds."""
    from everhart.training.model_file import read_header

    return round(60 * float(read_header(model).card.metrics["cpu_minutes"]), 1)


def merge(config: dict[str, Any], more: Mapping[str, Any]) -> None:
    """Put settings into a config, section by section, in place."""
    for key, value in more.items():
        if isinstance(value, Mapping) and isinstance(config.get(key), dict):
            merge(config[key], value)
        else:
            config[key] = copy.deepcopy(value)

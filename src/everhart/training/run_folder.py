"""The folder of a training run: what it holds, and whether a call may use it."""

from __future__ import annotations

from pathlib import Path

import yaml
from pydantic import BaseModel, ValidationError

from everhart.errors import UsageError
from everhart.io.atomic import write_text
from everhart.training.ranks import rank

__all__ = ["CONFIG_NAME", "MODEL_NAME", "check_run", "start_run"]

CONFIG_NAME, MODEL_NAME = "config.yaml", "model.safetensors"
"""What a run's folder holds from its start, and at its end."""


def check_run(run: Path, config: BaseModel, *, resume: bool) -> bool:
    """Check that a run's folder is new, or holds the same run that is to go on.

    Parameters
    ----------
    run
        The folder.
    config
        The checked config of this call.
    resume
        Whether the run is to go on.

    Returns
    -------
    bool
        Whether there is nothing left to do: the run is to go on, and it is done.

    Raises
    ------
    UsageError
        If the folder is not empty and the run is new; if it holds no run, or one of other
        settings, and the run is to go on.
    """
    if _follows(config):  # the first process has checked, and has begun to write
        return False
    saved = run / CONFIG_NAME
    if resume:
        if not saved.is_file():
            raise UsageError(f"{run} holds no run to resume: start it without --resume.")
        if not _was_started_with(saved, config):
            raise UsageError(
                f"{run} was started with other settings (see its config.yaml): resume it with the "
                "same config and overrides, or start another folder."
            )
        return (run / MODEL_NAME).is_file()
    if run.exists() and not (run.is_dir() and _never_got_going(run)):
        raise UsageError(
            f"The run folder {run} is not empty: give another one, or --resume to go on with it."
        )
    return False


def start_run(run: Path, config: BaseModel) -> None:
    """Make a run's folder and write its config.

    To be called when nothing can be wrong any more: a wrong call leaves no folder behind that the
    right one would trip over. Of several processes that train one model the first writes.
    """
    if _follows(config):
        return
    run.mkdir(parents=True, exist_ok=True)
    write_text(run / CONFIG_NAME, _as_yaml(config), overwrite=True)


def _follows(config: BaseModel) -> bool:
    """Whether this process trains with another one, which writes."""
    return rank(getattr(getattr(config, "optimiser", None), "devices", 1)) > 0


def _never_got_going(run: Path) -> bool:
    """Whether a folder is empty, or holds a run that was stopped before its first checkpoint."""
    checkpoints = run / "checkpoints"
    if checkpoints.is_dir() and any(checkpoints.iterdir()):
        return False
    return {path.name for path in run.iterdir()} <= {CONFIG_NAME, checkpoints.name}


def _was_started_with(saved: Path, config: BaseModel) -> bool:
    """Tell whether a run's config says the same; what it does not say yet has its default."""
    try:
        return type(config).model_validate(yaml.safe_load(saved.read_text("utf-8"))) == config
    except (yaml.YAMLError, ValidationError, UnicodeDecodeError):
        return False


def _as_yaml(config: BaseModel) -> str:
    return yaml.safe_dump(config.model_dump(mode="json"), sort_keys=False)

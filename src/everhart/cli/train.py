"""``everhart train``."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path
from typing import Annotated

import typer

from everhart.errors import UsageError, unknown_name


def train(
    config: Annotated[
        Path, typer.Argument(metavar="CONFIG.yaml", help="What is trained, on what, and how.")
    ],
    run_dir: Annotated[
        Path,
        typer.Option(
            "--output", "-o", metavar="RUN", help="Folder of the run: the model, logs, curves."
        ),
    ],
    overrides: Annotated[
        list[str] | None,
        typer.Argument(metavar="[KEY=VALUE ...]", help="Settings in place of the config's."),
    ] = None,
    resume: Annotated[
        bool, typer.Option("--resume", help="Go on with the run where it was stopped.")
    ] = False,
) -> None:
    """Train a model from a YAML config.

    RUN/model.safetensors is the result.

    \b
    Examples:
      everhart train denoiser.yaml -o run
      everhart train denoiser.yaml -o run optimiser.steps=500
      everhart train denoiser.yaml -o run --resume
      everhart train generator.yaml -o run
      everhart train classifier.yaml -o run
      everhart train segmentation.yaml -o run
    """
    if not config.is_file():
        what = "is no file" if config.exists() else "does not exist"
        raise UsageError(f"The config {config} {what}: give a YAML file.")
    settings = overrides or []
    for setting in settings:
        if "=" not in setting:
            raise UsageError(
                f"{setting!r} was given after the config: settings are written key=value, such as "
                "optimiser.steps=500."
            )
    _trainer(config)(config, run_dir, settings, resume=resume, progress=sys.stderr.isatty())
    typer.echo(f"The model is {run_dir / 'model.safetensors'}", err=True)


def _trainer(config: Path) -> Callable[..., Path]:
    """Return what trains the task that a config names."""
    from everhart.training.config import read_yaml

    task = read_yaml(config).get("task", "denoise")
    if task == "denoise":
        from everhart.restore.train import train as trainer
    elif task == "diffusion":
        from everhart.synthesize.train import train as trainer
    elif task == "noisy-classifier":
        from everhart.synthesize.classifier_training import train as trainer
    elif task == "segment":
        from everhart.segment.train import train as trainer
    elif task == "segment-features":
        from everhart.segment.few_shot_train import train as trainer
    elif task in ("poisson-denoise", "pix2pix"):
        from everhart.segment.pretraining import train as trainer
    else:
        tasks = (
            "denoise", "diffusion", "noisy-classifier", "segment", "segment-features",
            "poisson-denoise", "pix2pix",
        )  # fmt: skip
        raise unknown_name(f"task in {config}", str(task), tasks)
    return trainer

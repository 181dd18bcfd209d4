"""Run a study: data, trainings, figures, each kept as it is done, so that a kill costs little."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from everhart.io.atomic import write_text
from everhart.metrics import affine_psnr, psnr, ssim
from everhart.studies.hough import hough_circles
from everhart.studies.kept import kept_figures, kept_model, merge, training_cpu_s
from everhart.studies.study import Progress, Row, Scale, Study
from everhart.studies.wafer import TestImage, Wafer, make_wafer

__all__ = ["run_study"]

Image = NDArray[Any]
Denoiser = Callable[[Image], Image]

_DATA_RANGE = 255.0
"""The images have 8 bits."""


def run_study(
    study: Study, scale: Scale, folder: Path, *, seeds: int | None, progress: Progress
) -> dict[str, Any]:
    """Run a study, or go on with one that was stopped.

    Parameters
    ----------
    study
        What is computed.
    scale
        How large.
    folder
        Folder of all studies of this scale: data and trained models are shared by them. The
        results go to ``NAME/results.json``, ``NAME/table.md`` and ``NAME/pictures``.
    seeds
        Repetitions, instead of the scale's.
    progress
        Is told what is being done.

    Returns
    -------
    dict
        What ``results.json`` holds.
    """
    from everhart.studies.pictures import write_pictures
    from everhart.studies.table import markdown

    results = folder / study.name
    figures = []
    for seed in range(seeds if seeds is not None else scale.seeds):
        wafer = make_wafer(folder / "data" / f"seed_{seed}", scale.shape, seed)
        images = wafer.test_images()
        compute = partial(
            _cell, scale=scale, wafer=wafer, images=images, models=folder / "models", seed=seed
        )
        figures += kept_figures(study.rows, seed, results, compute, progress)
        if seed == 0 and study.pictures:
            write_pictures(study, scale, wafer, images, folder / "models", results / "pictures")
    record = {
        "study": study.name,
        "title": study.title,
        "scale": scale.name,
        "shape": list(scale.shape),
        "figures": figures,
    }
    write_text(results / "results.json", json.dumps(record, indent=2) + "\n", overwrite=True)
    write_text(results / "table.md", markdown(study, record), overwrite=True)
    return record


def denoiser_of(row: Row, scale: Scale, wafer: Wafer, models: Path, seed: int) -> Denoiser:
    """Return what a row does to an image, trained if it has to be.

    Trained models are found again by their config, also by another study.
    """
    if row.classical is not None:
        from everhart.restore import make_denoiser

        name, parameters = row.classical
        return make_denoiser(name, **parameters)
    if row.recipe is None:
        return lambda image: image
    from everhart.restore.network import LearnedDenoiser

    return LearnedDenoiser.load(_trained(row, scale, wafer, models, seed)).denoise


def _cell(
    row: Row, scale: Scale, wafer: Wafer, images: list[TestImage], models: Path, seed: int
) -> dict[str, Any]:
    denoise = denoiser_of(row, scale, wafer, models, seed)
    figures = {image.name: _judge(denoise, image, row.input_frames) for image in images}
    seconds = 0.0
    if row.recipe is not None:
        seconds = training_cpu_s(_trained(row, scale, wafer, models, seed))
    return {"row": row.key, "seed": seed, "training_cpu_s": seconds, "figures": figures}


def _judge(denoise: Denoiser, image: TestImage, input_frames: int) -> dict[str, float]:
    """Restore one test image and compare it with what it would be without noise."""
    from everhart.measure import failure_rate
    from everhart.measure.circles import circles

    given = image.frames[input_frames].pixels
    clean = image.clean[input_frames]
    start = time.process_time()
    restored = np.asarray(denoise(given))
    seconds = time.process_time() - start
    found = failure_rate(circles(restored), image.holes)
    by_hough = failure_rate(hough_circles(restored, image.holes["diameter_px"]), image.holes)
    values = restored.astype(np.float64)
    return {
        "psnr_db": psnr(values, clean, data_range=_DATA_RANGE),
        "affine_psnr_db": affine_psnr(values, clean, data_range=_DATA_RANGE),
        "ssim": ssim(values, clean, data_range=_DATA_RANGE),
        "failure_percent": 100 * found.failure_rate,
        "false_circles": float(found.false_detections),
        "hough_failure_percent": 100 * by_hough.failure_rate,
        "hough_false_circles": float(by_hough.false_detections),
        "cpu_s": seconds,
    }


def training_config(row: Row, scale: Scale, wafer: Wafer, seed: int) -> dict[str, Any]:
    """Return the config that a row is trained by."""
    assert row.recipe is not None
    config: dict[str, Any] = {
        "task": "denoise",
        "seed": seed,
        "data": [
            {
                "kind": "frames",
                "folder": str(wafer.training_folder.resolve()),
                "registration": "shift",
            }
        ],
        "loss": {"mse": 1.0},
        # Grey levels from 0 to 1, as in the paper: what input dropout zeroes is black.
        "normalisation": "image" if row.recipe["recipe"] == "fbi" else "range",
    }
    if row.memorising:
        config["data"][0] |= {"fixed_crops": scale.fixed_crops, "flips": False}
    merge(config, scale.unet if row.network == "unet" else scale.fbi_net)
    recipe = dict(row.recipe)
    config["data"][0] |= recipe.pop("frames", {})
    merge(config, recipe)
    return config


def _trained(row: Row, scale: Scale, wafer: Wafer, models: Path, seed: int) -> Path:
    return kept_model(training_config(row, scale, wafer, seed), models, wafer.folder.name)

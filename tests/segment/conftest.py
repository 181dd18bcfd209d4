"""Labelled images of discs, and a model that was trained on them for some steps."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from everhart.io import write
from everhart.micrograph import Micrograph

from .labelled_discs import discs, settings, written


@pytest.fixture(scope="session")
def labelled(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("labelled")
    (folder / "images").mkdir()
    (folder / "labels").mkdir()
    rng = np.random.default_rng(3)
    for number in range(8):
        image, objects = discs(rng)
        write(Micrograph(image, (2.0, 2.0)), folder / "images" / f"field_{number}.tif")
        write(Micrograph(objects), folder / "labels" / f"field_{number}.png")
    return folder


@pytest.fixture(scope="session")
def model(labelled: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Trained long enough to know discs from background."""
    from everhart.segment.train import train

    folder = tmp_path_factory.mktemp("model")
    config = settings(
        labelled,
        validation={"blocks": [[6, 7]]},
        gap=0,
        card={"name": "discs", "licence": "Apache-2.0"},
    )
    optimiser = {"steps": 120, "steps_per_epoch": 60, "batch_size": 4, "learning_rate": 3e-3}
    config["optimiser"] = {**config["optimiser"], **optimiser}  # type: ignore[dict-item]
    return train(written(config, folder / "c.yaml"), folder / "run")

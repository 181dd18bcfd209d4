"""Two processes that train one model: what they learn together, and who writes."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import yaml

from everhart.errors import UsageError
from everhart.restore import make_denoiser
from everhart.restore.config import DenoiserConfig
from everhart.training.model_file import load_model
from everhart.training.ranks import rank
from everhart.training.run_folder import check_run, start_run

CONFIG = {
    "recipe": "supervised",
    "seed": 3,
    "data": [{"kind": "simulated", "scenes": 6, "scene_px": 64}],
    "validation": [{"kind": "simulated", "scenes": 2, "scene_px": 64}],
    "validation_samples": 4,
    "crop_px": 32,
    "network": {"kind": "unet", "widths": [4, 8]},
    "card": {"name": "together"},
}


def test_only_the_first_process_writes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    config = DenoiserConfig.model_validate({**CONFIG, "optimiser": {"devices": 2}})
    run = tmp_path / "run"
    monkeypatch.delenv("RANK", raising=False)
    monkeypatch.setenv("LOCAL_RANK", "1")
    assert rank(2) == 1
    start_run(run, config)
    assert not run.exists()
    monkeypatch.delenv("LOCAL_RANK")
    assert rank(2) == 0
    start_run(run, config)
    (run / "curves.csv").touch()
    monkeypatch.setenv("LOCAL_RANK", "1")
    assert not check_run(run, config, resume=False)  # the first process has begun already


def test_a_number_that_a_scheduler_gave_replaces_no_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = DenoiserConfig.model_validate(CONFIG)
    monkeypatch.setenv("RANK", "1")
    start_run(tmp_path / "run", config)
    (tmp_path / "run" / "model.safetensors").touch()
    with pytest.raises(UsageError, match="is not empty"):
        check_run(tmp_path / "run", config, resume=False)


@pytest.mark.slow
def test_two_processes_learn_what_one_does_of_batches_of_twice_the_size(tmp_path: Path) -> None:
    optimiser = {
        "steps": 3, "steps_per_epoch": 1, "device": "cpu", "precision": "fp32", "threads": 1,
    }  # fmt: skip
    weights, curves = [], []
    for name, settings in (
        ("two", {"devices": 2, "batch_size": 2}),
        ("one", {"devices": 1, "batch_size": 4}),
    ):
        config = tmp_path / f"{name}.yaml"
        config.write_text(yaml.safe_dump({**CONFIG, "optimiser": {**optimiser, **settings}}))
        command = [sys.executable, "-m", "everhart", "train", str(config), "-o", name]
        done = subprocess.run(
            command,
            cwd=tmp_path,
            env={**os.environ, "OMP_NUM_THREADS": "1"},
            stderr=subprocess.PIPE,
            text=True,
            timeout=280,
        )
        assert done.returncode == 0, done.stderr
        assert done.stderr.count("The model is") == 1, done.stderr
        model = tmp_path / name / "model.safetensors"
        weights.append(load_model(model, "denoiser").weights)
        curves.append(pd.read_csv(tmp_path / name / "curves.csv"))
        image = np.random.default_rng(0).poisson(50, (40, 60)).astype(np.uint8)
        assert make_denoiser(model=model, device="cpu")(image).shape == image.shape
    assert curves[0]["step"].tolist() == [1, 2, 3]  # each line once
    # The same samples, and the mean of what they say.
    assert curves[0]["loss"][0] == pytest.approx(curves[1]["loss"][0], rel=1e-6)
    pd.testing.assert_frame_equal(*curves, rtol=1e-4)
    for name, together in weights[0].items():
        alone = weights[1][name]
        assert float((together - alone).abs().max()) < 1e-3 * float(alone.abs().max()), name

"""Training a denoiser from a config, small enough for seconds, on real pairs where they are."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import yaml

from everhart import Micrograph, UsageError, denoise, write
from everhart.restore.train import train
from everhart.simulate import Microscope, simulate
from everhart.training.model_file import load_model, read_header


@pytest.fixture(scope="module")
def config_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Three pairs of a simulated microscope, and a config for them."""
    folder = tmp_path_factory.mktemp("pairs")
    microscope = Microscope.preset("tin-balls")
    for seed in range(3):
        rng = np.random.default_rng(seed)
        noisy, clean = microscope.expose(
            simulate("particles", shape=(160, 160), seed=seed), rng, return_clean=True
        )
        write(noisy, folder / f"{seed}_quick.tif")
        write(Micrograph(clean.pixels.clip(0, 255).astype(np.uint8)), folder / f"{seed}_slow.tif")
    config = {
        "task": "denoise",
        "seed": 5,
        "data": [
            {
                "kind": "pairs",
                "folder": str(folder),
                "noisy": "*_quick.tif",
                "clean": "*_slow.tif",
                "registration": "none",
            }
        ],
        "crop_px": 64,
        "network": {"widths": [8, 16], "output": "direct"},
        "loss": {"charbonnier": 1, "edge": 0.2, "ms_ssim": 0.1},
        "optimiser": {
            "steps": 160,
            "steps_per_epoch": 40,
            "batch_size": 4,
            "learning_rate": 0.003,
            "ema_decay": 0.9,
            "warmup_steps": 5,
            "threads": 1,
            "precision": "fp32",
        },
        "card": {"name": "tiny"},
    }
    path = folder / "config.yaml"
    path.write_text(yaml.safe_dump(config))
    return path


def test_a_trained_model_denoises(config_file: Path, tmp_path: Path) -> None:
    model = train(config_file, tmp_path / "run")
    header = read_header(model)
    assert (header.kind, header.card.name, header.card.seed) == ("denoiser", "tiny", 5)
    assert header.card.metrics["cpu_minutes"] > 0
    assert len(header.card.data_sha256) == 64
    rng = np.random.default_rng(9)
    scene = simulate("particles", shape=(160, 160), seed=9)
    noisy, clean = Microscope.preset("tin-balls").expose(scene, rng, return_clean=True)
    restored = denoise(noisy, model=model)
    before, after = (np.mean((np.asarray(m, float) - clean.pixels) ** 2) for m in (noisy, restored))
    assert after < 0.6 * before
    assert restored.dtype == noisy.dtype
    assert (tmp_path / "run" / "curves.png").is_file()


def test_an_interrupted_training_resumes_to_the_same_model(
    config_file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from everhart.restore.train import DenoisingTask

    whole = train(config_file, tmp_path / "whole")
    losses = DenoisingTask.losses

    def interrupted(self: DenoisingTask, batch: object) -> object:
        if self.global_step == 100:
            raise RuntimeError("the power fails")
        return losses(self, batch)  # type: ignore[arg-type]

    with monkeypatch.context() as patch:
        patch.setattr(DenoisingTask, "losses", interrupted)
        with pytest.raises(RuntimeError, match="power"):
            train(config_file, tmp_path / "killed")
    with pytest.raises(UsageError, match="other settings"):
        train(config_file, tmp_path / "killed", ["seed=6"], resume=True)
    resumed = train(config_file, tmp_path / "killed", resume=True)
    once, twice = (load_model(model, "denoiser").weights for model in (whole, resumed))
    assert once.keys() == twice.keys()
    for name, weight in once.items():
        assert weight.equal(twice[name])
    model = tmp_path / "whole" / "model.safetensors"
    before = model.read_bytes()
    assert train(config_file, tmp_path / "whole", resume=True) == model
    assert model.read_bytes() == before


@pytest.mark.parametrize(
    ("override", "words"),
    [
        ("loss.ssmi=1", "did you mean 'ssim'"),
        ("loss.mse=-1", "give 0 or more"),
        ("crop_px=100", "multiple of 32"),
        ("data.0.kind=pair", "data.0"),
        ("recipe=renin", "learns from repeated frames: give data of the kind frames"),
        ("recipe=n3n", "recipe = 'n3n' was given"),
        ("optimiser.device=cuda", "no CUDA device"),
        ("network.stem=3", "no multiple of 6 pixels"),
        ("crop_px=192", "smallest training image is 160 pixels"),
        ("data.0.noisy=*/*.tif", "data.0.noisy = .*exactly one"),
    ],
)
def test_wrong_settings(config_file: Path, tmp_path: Path, override: str, words: str) -> None:
    import torch

    if "cuda" in override and torch.cuda.is_available():
        pytest.skip("this machine has a CUDA device")
    with pytest.raises(UsageError, match=words):
        train(config_file, tmp_path / "run", [override])
    assert not (tmp_path / "run").exists()  # or the right call would find it not empty


def test_a_model_is_a_start_for_another(config_file: Path, tmp_path: Path) -> None:
    first = train(config_file, tmp_path / "first", ["optimiser.steps=20"])
    start = f"start_from={tmp_path / 'first' / 'model.safetensors'}"
    still = ["optimiser.steps=1", "optimiser.learning_rate=1e-12", "network.output=blend"]
    second = train(config_file, tmp_path / "second", [start, *still])
    kept = load_model(second, "denoiser").weights
    for name, weight in load_model(first, "denoiser").weights.items():
        assert np.allclose(weight, kept[name], atol=1e-6)
    with pytest.raises(UsageError, match="give the same widths"):
        train(config_file, tmp_path / "third", [start, "network.widths=[4, 8]"])


def test_a_run_is_not_overwritten(config_file: Path, tmp_path: Path) -> None:
    (tmp_path / "notes.txt").write_text("mine")
    with pytest.raises(UsageError, match="not empty"):
        train(config_file, tmp_path)
    with pytest.raises(UsageError, match="no run to resume"):
        train(config_file, tmp_path / "new", resume=True)


@pytest.mark.parametrize(
    "name", ["tin-balls", "sem-general", "adapt", "n2n", "renin", "fbi", "wafer"]
)
def test_the_shipped_configs_are_valid(name: str) -> None:
    from everhart.restore.train import DenoiserConfig
    from everhart.training.config import load_config

    load_config(DenoiserConfig, Path(__file__).parents[2] / "examples" / f"{name}.yaml")


def test_a_run_that_never_got_going_can_be_started_again(
    config_file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from everhart.restore.train import DenoisingTask

    def interrupted(self: DenoisingTask, batch: object) -> object:
        raise RuntimeError("the power fails")

    with monkeypatch.context() as patch:
        patch.setattr(DenoisingTask, "losses", interrupted)
        with pytest.raises(RuntimeError, match="power"):
            train(config_file, tmp_path / "run")
    assert train(config_file, tmp_path / "run", ["optimiser.steps=2"]).is_file()

"""Each recipe learns what it is for, and fails where it must: minutes of training."""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml
from scipy.ndimage import median_filter

from everhart import write
from everhart.restore.guard import RecipeWarning
from everhart.restore.network import LearnedDenoiser
from everhart.restore.train import train
from everhart.simulate import simulate

pytestmark = pytest.mark.slow

Field = np.ndarray
TAPS = (1.0, 0.9, 0.5)


def _noisy(image: Field, rng: np.random.Generator, kind: str, count: int = 1) -> Field:
    """One frame, or the mean of `count`, of Poisson-Gaussian noise, white or filtered."""
    arrivals = rng.poisson(count * image / 12.0, image.shape) * 12.0 / count
    noise = arrivals - image + rng.normal(0, 8 / np.sqrt(count), image.shape)
    if kind == "correlated":
        noise = sum(t * np.roll(noise, k, 1) for k, t in enumerate(TAPS))
        noise /= np.sqrt(np.sum(np.square(TAPS)))
    return (image + noise + 40).clip(0, 65535).round().astype(np.uint16)


def _clean(seed: int) -> Field:
    scene = simulate("nand", shape=(256, 384), rng=np.random.default_rng(seed))
    return 30 + 120 * np.asarray(scene.image, np.float64)


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    out = {}
    for kind in ("white", "correlated"):
        out[kind] = tmp_path_factory.mktemp(kind)
        for number in range(4):
            rng, image = np.random.default_rng([number, 5]), _clean(number)
            place = out[kind] / f"scene_{number}"
            place.mkdir()
            for count, copy in ((1, 0), (1, 1), (8, 0), (64, 0)):
                write(_noisy(image, rng, kind, count), place / f"F{count:02d}_{copy:03d}.tif")
    return out


def _psnr(folder: Path, tmp_path: Path, recipe: str, kind: str, seed: int, **more: Any) -> float:
    """Train, and return the PSNR on a scene that was not trained on, in dB of 150 grey levels."""
    config: dict[str, Any] = {
        "recipe": recipe,
        "seed": seed,
        "data": [{"kind": "frames", "folder": str(folder), "registration": "none"}],
        "crop_px": 64,
        "network": {"widths": [16, 32, 64]},
        "loss": {"mse": 1.0},
        "optimiser": {
            "steps": 500,
            "steps_per_epoch": 100,
            "batch_size": 8,
            "learning_rate": 2e-3,
            "ema_decay": 0.99,
            "threads": 1,
        },
    }
    for key, value in more.items():
        config[key] = config[key] | value if key == "optimiser" else value
    run = tmp_path / f"{recipe}-{kind}-{seed}-{len(list(tmp_path.iterdir()))}"
    path = tmp_path / f"{run.name}.yaml"
    path.write_text(yaml.safe_dump(config))
    denoiser = LearnedDenoiser.load(train(path, run), device="cpu", precision="fp32")
    image = _clean(77)
    given = _noisy(image, np.random.default_rng(78), kind)
    return _db(denoiser.denoise(given.astype(np.float32)) - 40, image)


def _db(restored: Field, image: Field) -> float:
    return float(10 * np.log10(150**2 / np.mean((restored - image) ** 2)))


def _noisy_db(kind: str) -> tuple[float, float]:
    """Return the figure of a frame as it is, and behind a median filter."""
    image = _clean(77)
    given = _noisy(image, np.random.default_rng(78), kind).astype(np.float64) - 40
    return _db(given, image), _db(median_filter(given, 3), image)


@pytest.mark.parametrize("seed", range(2))
def test_noisy_targets_come_near_clean_ones(
    folders: dict[str, Path], tmp_path: Path, seed: int
) -> None:
    figures = {
        recipe: _psnr(folders["correlated"], tmp_path, recipe, "correlated", seed)
        for recipe in ("supervised", "rn2n", "n2n")
    }
    print(figures, _noisy_db("correlated"))  # noqa: T201
    assert figures["n2n"] > figures["supervised"] - 1.0
    assert figures["rn2n"] > figures["supervised"] - 0.5
    assert figures["n2n"] > _noisy_db("correlated")[1] + 3


def test_n2v_works_on_white_noise_and_keeps_correlated(
    folders: dict[str, Path], tmp_path: Path
) -> None:
    white = _psnr(folders["white"], tmp_path, "n2v", "white", 0)
    with pytest.warns(RecipeWarning):
        kept = _psnr(folders["correlated"], tmp_path, "n2v", "correlated", 0)
    masking = {"scan_line_px": 3}
    masked = _psnr(folders["correlated"], tmp_path, "n2v", "correlated", 0, masking=masking)
    print(white, kept, masked, _noisy_db("white"), _noisy_db("correlated"))  # noqa: T201
    assert white > _noisy_db("white")[1] + 2
    assert kept < white - 4
    assert masked > kept + 2


def test_fbi_beats_a_median_on_white_noise(folders: dict[str, Path], tmp_path: Path) -> None:
    network = {"kind": "fbi_net", "layers": 8, "filters": 16}
    found = _psnr(
        folders["white"], tmp_path, "fbi", "white", 0, network=network, optimiser={"steps": 400}
    )
    print(found, _noisy_db("white"))  # noqa: T201
    assert found > _noisy_db("white")[1] + 2


def test_renin_as_written_loses_to_a_ratio_that_is_drawn(
    folders: dict[str, Path], tmp_path: Path
) -> None:
    """A whole image is outside of what a network saw that had six in ten pixels dropped."""
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        literal = _psnr(folders["correlated"], tmp_path, "renin", "correlated", 0)
        dropout = {"ratio_min": 0.0, "ratio_max": 0.8, "whole_share": 0.25, "mask_plane": True}
        network = {"widths": [16, 32, 64]}
        drawn = _psnr(
            folders["correlated"],
            tmp_path,
            "renin",
            "correlated",
            0,
            input_dropout=dropout,
            network=network,
        )
    print(literal, drawn)  # noqa: T201
    assert drawn > literal + 2

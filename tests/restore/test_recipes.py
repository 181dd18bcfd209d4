"""The recipes: what they refuse, what they warn of, and that each learns what it is for."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import yaml

from everhart import UsageError, write
from everhart.restore.architectures import (
    RestorationFBINet,
    RestorationFBINetConfig,
    RestorationN2NUNet,
    RestorationN2NUNetConfig,
    RestorationUNet,
)
from everhart.restore.config import DenoiserConfig
from everhart.restore.dropout import kept
from everhart.restore.engine_torch import TorchEngine
from everhart.restore.guard import RecipeWarning
from everhart.restore.masking import MaskingConfig
from everhart.restore.network import LearnedDenoiser
from everhart.restore.tasks import make_task
from everhart.restore.train import MixedSource, train
from everhart.restore.unet_config import RestorationUNetConfig
from everhart.simulate import simulate
from everhart.training.config import load_config
from everhart.training.model_file import read_header

SIGMA = 30.0


def _frames(folder: Path, taps: tuple[float, ...] = (1.0,), copies: int = 4) -> list[np.ndarray]:
    """Scenes of holes in noise of one level, white or filtered along the scan line."""
    clean = []
    for number in range(3):
        rng = np.random.default_rng(number)
        scene = simulate("nand", shape=(160, 192), rng=rng)
        image = 60 + 120 * np.asarray(scene.image, np.float64)
        clean.append(image)
        place = folder / f"scene_{number}"
        place.mkdir(parents=True)
        for copy in range(copies):
            white = rng.normal(0, 1, (160, 192 + len(taps) - 1))
            noise = sum(t * white[:, k : k + 192] for k, t in enumerate(taps))
            noisy = image + SIGMA * noise / np.sqrt(np.sum(np.square(taps)))
            write(noisy.clip(0, 255).round().astype(np.uint8), place / f"F01_{copy:03d}.tif")
        mean = image + SIGMA / np.sqrt(8) * rng.normal(0, 1, image.shape)
        write(mean.clip(0, 255).round().astype(np.uint8), place / "F08_000.tif")
    return clean


@pytest.fixture(scope="module")
def white(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, list[np.ndarray]]:
    folder = tmp_path_factory.mktemp("white")
    return folder, _frames(folder)


@pytest.fixture(scope="module")
def correlated(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, list[np.ndarray]]:
    folder = tmp_path_factory.mktemp("correlated")
    return folder, _frames(folder, (1.0, 0.9, 0.5))


def _config(folder: Path, tmp_path: Path, recipe: str, **more: Any) -> Path:
    config: dict[str, Any] = {
        "recipe": recipe,
        "seed": 1,
        "data": [{"kind": "frames", "folder": str(folder), "registration": "none"}],
        "crop_px": 64,
        "network": {"widths": [8, 16]},
        "optimiser": {
            "steps": 2,
            "steps_per_epoch": 1,
            "batch_size": 2,
            "learning_rate": 3e-3,
            "ema_decay": 0.9,
            "warmup_steps": 5,
            "threads": 1,
            "precision": "fp32",
        },
    }
    for key, value in more.items():
        if isinstance(value, dict) and isinstance(config.get(key), dict):
            config[key] |= value
        else:
            config[key] = value
    path = tmp_path / f"{recipe}.yaml"
    path.write_text(yaml.safe_dump(config))
    return path


def _small_fbi(**more: Any) -> dict[str, Any]:
    return {"kind": "fbi_net", "layers": 4, "filters": 8} | more


@pytest.mark.parametrize("recipe", ["supervised", "n2n", "rn2n", "renin", "n2v", "fbi"])
@pytest.mark.parametrize("kind", ["unet", "fbi_net", "n2n_unet"])
def test_every_recipe_on_every_network(
    white: tuple[Path, list[np.ndarray]], tmp_path: Path, recipe: str, kind: str
) -> None:
    """A model comes out, is rebuilt from its file, and gives the same tiled and untiled."""
    network = {"unet": {"kind": "unet", "widths": [8, 16]}, "fbi_net": _small_fbi()}.get(
        kind, {"kind": "n2n_unet", "filters": 4, "levels": 2}
    )
    config = tmp_path / "config.yaml"
    text = yaml.safe_load(_config(white[0], tmp_path, recipe).read_text())
    config.write_text(yaml.safe_dump(text | {"network": network}))
    if recipe == "fbi" and kind != "fbi_net":
        with pytest.raises(UsageError, match="needs a network of kind fbi_net"):
            train(config, tmp_path / "run")
        return
    model = train(config, tmp_path / "run")
    assert read_header(model).card.recipe == recipe
    denoiser = LearnedDenoiser.load(model, device="cpu", precision="fp32")
    image = np.random.default_rng(0).normal(100, 20, (150, 131)).astype(np.float32)
    whole = denoiser.denoise(image, tile_px=10_000)
    assert whole.shape == image.shape
    assert np.abs(denoiser.denoise(image, tile_px=70) - whole).max() <= 1e-5 * 100


@pytest.mark.parametrize(
    ("recipe", "more", "words"),
    [
        ("n2n", {"data": [{"kind": "simulated", "scenes": 2}]}, "give data of the kind frames"),
        ("n2n", {"target": 8}, "with target_frames = 8 it is rn2n"),
        ("n2v", {"loss": {"ssim": 1}}, "the loss ssim looks at more than single pixels"),
        ("fbi", {"loss": {"l1": 1}}, "estimates the mean squared error"),
        ("fbi", {"network": _small_fbi(blind_spot=False)}, "blind_spot: true"),
        ("n2n", {"network": _small_fbi(output="anscombe")}, "trained by the recipe fbi"),
        ("n2v", {"input_dropout": {"ratio": 0.5}}, "leave it out"),
        ("n2n", {"masking": {}}, "masking is for the recipe n2v"),
        ("n2n", {"optimiser": {"keep_best": True}}, "needs validation data"),
        ("n2n", {"optimiser": {"patience": 3}}, "patience needs keep_best"),
        ("renin", {"input_dropout": {"ratio_min": 0.1}}, "give both ratio_min and ratio_max"),
        ("renin", {"input_dropout": {"patch_px": 65}}, "input_dropout.patch_px = 65"),
        ("n2n", {"network": {"mask_plane": True}}, "go together"),
        ("supervised", {"network": {"kind": "unett"}}, "network"),
    ],
)
def test_what_does_not_fit_is_refused(
    tmp_path: Path, recipe: str, more: dict[str, Any], words: str
) -> None:
    if "target" in more:
        more = {"data": [{"kind": "frames", "folder": ".", "target_frames": more["target"]}]}
    if more.get("network", {}).get("kind") == "fbi_net" or recipe == "fbi":
        path = _config(tmp_path, tmp_path, recipe, **more)
        tree = yaml.safe_load(path.read_text())
        tree["network"].pop("widths")
        path.write_text(yaml.safe_dump(tree))
    else:
        path = _config(tmp_path, tmp_path, recipe, **more)
    with pytest.raises(UsageError, match=words):
        load_config(DenoiserConfig, path)


def test_defaults_of_the_recipes() -> None:
    data = [{"kind": "frames", "folder": "."}]
    renin = DenoiserConfig.model_validate({"recipe": "renin", "data": data})
    assert renin.input_dropout is not None
    assert (renin.input_dropout.ratio, renin.input_dropout.patch_px) == (0.6, 1)
    assert (renin.loss, renin.input_dropout.inference) == ({"mse": 1.0}, {})
    fbi = DenoiserConfig.model_validate({"recipe": "fbi", "data": data}).network
    assert isinstance(fbi, RestorationFBINetConfig)
    assert (fbi.layers, fbi.filters, fbi.output, fbi.blind_spot) == (17, 64, "anscombe", True)
    plain = DenoiserConfig.model_validate({"data": data})
    assert plain.loss == {"charbonnier": 1.0}
    assert plain.input_dropout is plain.masking is None


# Input dropout


@pytest.mark.parametrize("patch_px", [1, 4, 64])
def test_the_ratio_is_the_share_that_is_dropped(patch_px: int) -> None:
    rng = np.random.default_rng(0)
    mask = np.stack([kept(rng, (256, 256), 0.6, patch_px) for _ in range(200)])
    assert mask.mean() == pytest.approx(0.4, abs=0.02)
    assert set(np.unique(mask)) == {0.0, 1.0}
    same = (mask[:, 100, 100:163] == mask[:, 100, 101:164]).mean()
    alike = 0.4**2 + 0.6**2  # by chance
    assert same == pytest.approx(alike + (1 - alike) * (patch_px - 1) / patch_px, abs=0.05)


def test_dropout_by_config_is_in_training_alone(
    white: tuple[Path, list[np.ndarray]], tmp_path: Path
) -> None:
    from everhart.restore.sources import load_source

    dropout = {"ratio": 0.5, "rescale": True, "mask_plane": True, "whole_share": 0.2}
    path = _config(white[0], tmp_path, "renin", input_dropout=dropout)
    config = load_config(DenoiserConfig, path)
    assert config.network.mask_plane
    source = load_source(config.data[0], 0, "renin")
    drawn = [MixedSource([source], config)(np.random.default_rng(n)) for n in range(40)]
    masks = np.stack([noisy[1] for noisy, _ in drawn])
    whole = masks.mean((1, 2)) == 1
    assert 2 <= whole.sum() <= 16
    assert masks[~whole].mean() == pytest.approx(0.5, abs=0.02)
    noisy, target = drawn[int(np.argmin(whole))]
    assert (noisy[0][noisy[1] == 0] == 0).all()
    assert np.abs(target).min() < 0.2  # the target is not masked
    assert (target == 0).mean() < 0.1
    judged = config.model_copy(update={"validation": config.data})
    seen, _, share = MixedSource([source], judged, judged=True)(np.random.default_rng(0))
    assert (seen[1] == 1).all()
    assert share == pytest.approx(1 / 9)


def test_masks_at_use_are_recorded_and_repeat_themselves(
    white: tuple[Path, list[np.ndarray]], tmp_path: Path
) -> None:
    dropout = {"ratio_min": 0.0, "ratio_max": 0.8, "mask_plane": True, "test_masks": 3}
    model = train(_config(white[0], tmp_path, "renin", input_dropout=dropout), tmp_path / "run")
    header = read_header(model)
    assert header.inference == {"masks": 3, "ratio": 0.4, "patch_px": 1, "rescale": False}
    denoiser = LearnedDenoiser.load(model, device="cpu", precision="fp32")
    image = np.random.default_rng(0).normal(100, 20, (120, 90)).astype(np.float32)
    once = denoiser.denoise(image)
    assert np.array_equal(once, denoiser.denoise(image))
    assert np.abs(denoiser.denoise(image, tile_px=64) - once).max() < 1e-3
    plain = train(_config(white[0], tmp_path, "n2n"), tmp_path / "plain")
    assert b'"inference"' not in plain.read_bytes()  # an older Everhart reads it


def test_normalisation_by_range_is_that_of_the_converter(
    white: tuple[Path, list[np.ndarray]], tmp_path: Path
) -> None:
    path = _config(white[0], tmp_path, "n2n", normalisation="range")
    config = load_config(DenoiserConfig, path)
    from everhart.restore.sources import load_source

    source = load_source(config.data[0], 0, "n2n", full_range=True)
    noisy, _ = source.draw(np.random.default_rng(0), 64)
    assert noisy.min() >= 0
    assert noisy.max() <= 1
    denoiser = LearnedDenoiser.load(train(path, tmp_path / "run"))
    with pytest.raises(UsageError, match="takes integer grey levels"):
        denoiser.denoise(np.zeros((40, 40), np.float32))


# Noise2Void


@pytest.mark.parametrize("scan_line_px", [0, 3])
def test_hidden_pixels_cannot_be_seen(scan_line_px: int) -> None:
    rng = np.random.default_rng(0)
    image = np.arange(64.0 * 64, dtype=np.float32).reshape(64, 64)  # every pixel is itself
    masked, mask = MaskingConfig(share=0.01, scan_line_px=scan_line_px).apply(image, rng)
    assert int(mask.sum()) == 41
    for y, x in zip(*np.nonzero(mask), strict=True):
        for step in range(-scan_line_px, scan_line_px + 1):
            if not 0 <= x + step < 64:
                continue
            value = int(masked[y, x + step])
            from_y, from_x = divmod(value, 64)
            assert value != int(image[y, x + step])
            assert max(abs(from_y - y), abs(from_x - (x + step))) <= 2
            if scan_line_px:
                assert from_y != y
    if not scan_line_px:
        assert np.array_equal(masked != image, mask == 1)


def test_the_loss_is_taken_at_the_hidden_pixels_alone() -> None:
    data = [{"kind": "frames", "folder": "."}]
    config = DenoiserConfig.model_validate({"recipe": "n2v", "data": data})

    class Fixed(RestorationUNet):
        def forward(self, x: torch.Tensor, known: object = None) -> torch.Tensor:
            del known
            return torch.full_like(x, 3.0)

    task = make_task(Fixed(RestorationUNetConfig(widths=(4,))), config)
    noisy, mask = torch.zeros(1, 1, 32, 32), torch.zeros(1, 1, 32, 32)
    mask[..., 5, 7] = mask[..., 20, 3] = 1
    noisy[..., 5, 7] = 1.0
    loss, _ = task.losses((noisy, noisy, mask))
    assert loss.item() == pytest.approx(((3 - 1) ** 2 + 3**2) / 2)


# The guard


@pytest.mark.parametrize("recipe", ["n2v", "fbi"])
def test_a_blind_spot_on_correlated_noise_is_warned_of(
    correlated: tuple[Path, list[np.ndarray]], tmp_path: Path, recipe: str
) -> None:
    network = {"network": _small_fbi()} if recipe == "fbi" else {}
    path = _config(correlated[0], tmp_path, recipe)
    path.write_text(yaml.safe_dump(yaml.safe_load(path.read_text()) | network))
    with pytest.warns(RecipeWarning, match=rf"r = 0\.[67]\d at 1 px .* {recipe} will keep"):
        train(path, tmp_path / "run")
    if recipe == "n2v":
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            train(path, tmp_path / "masked", ["masking.scan_line_px=3"])


def test_white_noise_is_not_warned_of(white: tuple[Path, list[np.ndarray]], tmp_path: Path) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        train(_config(white[0], tmp_path, "n2v"), tmp_path / "run")


# Validation against noisy frames


def test_the_error_is_that_against_the_truth(white: tuple[Path, list[np.ndarray]]) -> None:
    """Judged by other noisy frames, a denoiser gets the figure that the truth gives it."""
    from everhart.restore.sources import load_source

    folder, clean = white
    source_config = {"kind": "frames", "folder": str(folder), "registration": "none"}
    config = DenoiserConfig.model_validate(
        {"recipe": "n2n", "data": [source_config], "validation": [source_config], "crop_px": 128}
    )

    class Blur(RestorationUNet):
        def forward(self, x: torch.Tensor, known: object = None) -> torch.Tensor:
            del known
            return torch.nn.functional.avg_pool2d(x, 3, 1, 1, count_include_pad=False)

    task = make_task(Blur(RestorationUNetConfig(widths=(4,))), config)
    source = load_source(config.validation[0], 0, "n2n", judged=True)
    samples = MixedSource([source], config, judged=True)
    drawn = [samples(np.random.default_rng(number)) for number in range(60)]
    batch = [torch.from_numpy(np.stack(parts)) for parts in zip(*drawn, strict=True)]
    found = task.validation_metrics(batch)  # type: ignore[arg-type]
    errors = []
    for scene, truth in zip(source.scenes, clean, strict=True):  # type: ignore[attr-defined]
        for frame in scene.images[1]:
            scale = frame.std()
            image = torch.from_numpy(frame.astype(np.float32))[None, None]
            blurred = torch.nn.functional.avg_pool2d(image, 3, 1, 1, count_include_pad=False)
            errors.append(np.mean((blurred[0, 0].numpy() - truth) ** 2) / scale**2)
    assert float(found["validation_error"]) == pytest.approx(np.mean(errors), rel=0.06)


# Tiles


@pytest.mark.parametrize(
    "make",
    [
        lambda: RestorationFBINet(RestorationFBINetConfig(layers=5, filters=4)),
        lambda: RestorationFBINet(RestorationFBINetConfig(layers=4, filters=4, output="affine")),
        lambda: RestorationFBINet(RestorationFBINetConfig(layers=4, filters=4, output="anscombe")),
        lambda: RestorationN2NUNet(RestorationN2NUNetConfig(filters=4, levels=3)),
        lambda: RestorationUNet(
            RestorationUNetConfig(widths=(4, 8), mask_plane=True, edge_plane=True)
        ),
    ],
    ids=["fbi", "affine", "anscombe", "n2n", "unet"],
)
def test_tiled_equals_untiled(make: Callable[[], Any]) -> None:
    torch.manual_seed(0)
    denoiser = LearnedDenoiser(TorchEngine(make(), device="cpu", precision="fp32"))
    image = np.random.default_rng(0).normal(size=(201, 170)).astype(np.float32)
    whole = denoiser.denoise(image, tile_px=10_000)
    # Weights at random may amplify: the rounding is a share of the largest value.
    limit = 1e-5 * max(1.0, float(np.abs(whole).max()))
    assert np.abs(denoiser.denoise(image, tile_px=90) - whole).max() <= limit

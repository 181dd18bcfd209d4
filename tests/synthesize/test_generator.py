"""Training a generator, and what it draws."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml
from torch.utils.data import default_collate
from typer.testing import CliRunner

from everhart import Micrograph, UsageError, read, write
from everhart.cli.app import app
from everhart.nn.diffusion_unet import DiffusionUNet, DiffusionUNetConfig
from everhart.synthesize.augment import OPERATIONS, AugmentConfig
from everhart.synthesize.config import DiffusionConfig
from everhart.synthesize.generator import Generator
from everhart.synthesize.patches import (
    StageConfig,
    draw_patch,
    position_planes,
    reduce_image,
    stage_at,
)
from everhart.synthesize.task import DiffusionTask, PatchBatch
from everhart.synthesize.train import train
from everhart.synthesize.training_images import ImagesConfig, TrainingImage, load_images
from everhart.training.config import load_config


def _stripes(rng: np.random.Generator, level: float) -> np.ndarray:
    """An image of two grey levels, bright on the right."""
    image = np.full((24, 32), 60.0)
    image[:, 16:] = level
    return (image + rng.normal(0, 4, image.shape)).round().clip(0, 255).astype(np.uint8)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    place = tmp_path_factory.mktemp("images")
    rng = np.random.default_rng(0)
    for name, level in (("dim", 120.0), ("light", 200.0)):
        (place / "images" / name).mkdir(parents=True)
        for n in range(3):
            image = Micrograph(_stripes(rng, level), pixel_size_nm=2.0)
            write(image, place / "images" / name / f"{name}_{n}.tif")
    return place


def _config(folder: Path, **more: Any) -> Path:
    config = {
        "task": "diffusion",
        "data": {"folder": str(folder / "images"), "labels": "folders", "held_out": 1},
        "network": {"widths": [16, 16], "groups": 4},
        "curriculum": [
            {"patch_px": 8, "reduction": 2, "batch_size": 8},
            {"patch_px": None, "share": 2},
        ],
        "optimiser": {
            "steps": 240, "batch_size": 4, "learning_rate": 2e-3, "steps_per_epoch": 40,
            "ema_decay": 0.98, "threads": 1, "precision": "fp32",
        },
        "augmentation": {"operations": ["offset", "gain", "flip_x"], "unchanged": 0.4},
        "validation_samples": 8,
        **more,
    }  # fmt: skip
    path = folder / "config.yaml"
    path.write_text(yaml.safe_dump(config), encoding="utf-8")
    return path


@pytest.fixture(scope="module")
def model(folder: Path) -> Path:
    return train(_config(folder), folder / "run")


def test_it_draws_what_it_learned(model: Path) -> None:
    generator = Generator.load(model, precision="fp32")
    assert generator.classes == ("dim", "light")
    means = {}
    for label in generator.classes:
        images = generator.synthesize(6, label=label, steps=40, guidance=1.5)
        assert all(i.shape == (24, 32) and i.dtype == np.uint8 for i in images)
        stack = np.stack([i.pixels for i in images]).astype(float)
        left, right = stack[..., 2:14].mean(), stack[..., 18:30].mean()
        assert left == pytest.approx(60, abs=20)
        means[label] = right
    assert means["dim"] == pytest.approx(120, abs=30)
    assert means["light"] == pytest.approx(200, abs=30)
    image = images[0]
    assert image.metadata["synthetic"] is True
    assert image.pixel_size_nm == (2.0, 2.0)
    assert image.history[-1].model_hash == generator.sha256
    assert not np.array_equal(images[0].pixels, images[1].pixels)


def test_an_image_is_the_same_however_many_are_drawn(model: Path) -> None:
    generator = Generator.load(model, precision="fp32")
    three = generator.synthesize(3, seed=4, steps=5)
    last = generator.synthesize(1, seed=6, steps=5)[0]
    assert np.abs(three[2].pixels.astype(int) - last.pixels).max() <= 1


def test_a_resumed_run_is_the_same(folder: Path, model: Path) -> None:
    config, run = _config(folder), folder / "stopped"
    from everhart.synthesize.task import DiffusionTask

    losses, count = DiffusionTask.losses, 0

    def stops(self: DiffusionTask, batch: Any) -> Any:
        nonlocal count
        count += 1
        if count > 130:  # in the second stage
            raise KeyboardInterrupt
        return losses(self, batch)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(DiffusionTask, "losses", stops)
        with pytest.raises(KeyboardInterrupt):
            train(config, run)
    resumed = Generator.load(train(config, run, resume=True)).network.state_dict()
    for name, weight in Generator.load(model).network.state_dict().items():
        assert np.array_equal(weight.numpy(), resumed[name].numpy()), name


def test_inpainting_keeps_what_is_not_hidden(model: Path, folder: Path, tmp_path: Path) -> None:
    source = folder / "images" / "light" / "light_0.tif"
    image = read(source)
    hidden = np.zeros(image.shape, np.uint8)
    hidden[6:18, 10:24] = 255
    write(hidden, tmp_path / "mask.png")
    out = tmp_path / "filled.tif"
    words = [
        "inpaint", str(source), "--mask", str(tmp_path / "mask.png"), "-m", str(model),
        "-o", str(out), "--steps", "20", "--jump", "4", "--repeats", "3",
    ]  # fmt: skip
    done = CliRunner().invoke(app, words)
    assert done.exit_code == 0, done.output
    filled = read(out)
    kept = hidden == 0
    assert np.array_equal(filled.pixels[kept], image.pixels[kept])
    assert not np.array_equal(filled.pixels, image.pixels)
    inside = filled.pixels[6:18].astype(float)
    assert inside[:, 18:24].mean() - inside[:, 10:14].mean() > 60
    assert filled.metadata["synthetic"] == "partly"
    assert filled.pixel_size_nm == image.pixel_size_nm


def test_the_command_line_draws_and_says_how(model: Path, tmp_path: Path) -> None:
    words = ["synthesize", "-m", str(model), "-o", str(tmp_path / "made"), "-n", "2"]
    words += ["--steps", "4", "--label", "dim", "--json", str(tmp_path / "made.json")]
    done = CliRunner().invoke(app, words)
    assert done.exit_code == 0, done.output
    files = sorted((tmp_path / "made").iterdir())
    assert [f.name for f in files] == ["synthetic_000000.tif", "synthetic_000001.tif"]
    assert read(files[0]).metadata["synthetic"] is True
    record = json.loads((tmp_path / "made.json").read_text(encoding="utf-8"))
    assert record["images"][1]["parameters"]["seed"] == 1
    again = CliRunner().invoke(app, words)
    assert again.exit_code != 0
    wrong = CliRunner().invoke(app, [*words[:6], "x", "--label", "darker"], catch_exceptions=True)
    assert wrong.exit_code != 0


@pytest.mark.parametrize(
    ("more", "said"),
    [
        ({"curriculum": [{"patch_px": 32, "reduction": 2}]}, "leaves 12"),
        ({"data": {"folder": "nowhere"}}, "no folder"),
        ({"optimiser": {"keep_best": True}, "data": {"folder": "x"}}, "held_out"),
        ({"schedule": {"name": "cosinus"}}, "schedule.name"),
    ],
)
def test_a_wrong_config_is_refused(folder: Path, tmp_path: Path, more: Any, said: str) -> None:
    with pytest.raises(UsageError, match=said):
        train(_config(folder, **more), tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_wrong_calls_are_refused(model: Path) -> None:
    generator = Generator.load(model)
    with pytest.raises(UsageError, match="light"):
        generator.synthesize(1, label="ligt")
    with pytest.raises(UsageError, match="mask"):
        generator.synthesize(1, mask=np.zeros((24, 32), int))
    with pytest.raises(UsageError, match="nothing or everything"):
        generator.inpaint(Micrograph(np.zeros((24, 32), np.uint8)), np.zeros((24, 32), bool))
    hidden = np.eye(24, 32, dtype=bool)
    with pytest.raises(UsageError, match="uint16"):
        generator.inpaint(Micrograph(np.zeros((24, 32), np.uint16)), hidden)


def test_masks_are_classes_of_their_values(folder: Path, tmp_path: Path) -> None:
    for file in (folder / "images" / "dim").glob("*.tif"):
        mask = np.full((24, 32), 3, np.uint8)
        mask[:, 16:] = 7
        write(mask, tmp_path / f"{file.stem}.png")
    config = ImagesConfig(folder=str(folder / "images" / "dim"), masks=str(tmp_path))
    images = load_images(config, 0)
    assert images.mask_values == (3, 7)
    mask = images.images[0].mask
    assert mask is not None
    assert set(mask[:, :16].ravel()) == {0}
    patch = draw_patch(
        images.images, StageConfig(patch_px=8, reduction=2), np.random.default_rng(0)
    )
    assert patch.mask is not None
    columns = (patch.position[1, 0] + 1) / 2 * 32
    assert np.array_equal(patch.mask[0], (columns > 16).astype(int))


def test_an_image_is_flipped_before_a_patch_is_cut_out_and_augmented() -> None:
    # Every column has a grey level of its own, and one change at most is made to it.
    ramp = np.tile(np.linspace(-1, 1, 16, dtype=np.float32), (8, 1))
    image = TrainingImage("ramp", ramp, "", mask=(ramp > 0).astype(np.int64))
    stage = StageConfig(patch_px=8)
    only = AugmentConfig(operations=("flip_x",), unchanged=0.5)
    told = list(OPERATIONS).index("flip_x")
    seen = set()
    for seed in range(24):
        rng = np.random.default_rng(seed)
        patch = draw_patch([image], stage, rng, only, ("horizontal",))
        assert patch.mask is not None
        assert np.array_equal(patch.mask, patch.pixels > 0)
        # Columns of this patch in the whole image, as the model is told of it, mirrored or not.
        mirrored = np.allclose(patch.pixels, -patch.position[1] * 16 / 15, atol=1e-5)
        assert mirrored or np.allclose(patch.pixels, patch.position[1] * 16 / 15, atol=1e-5)
        seen.add((mirrored, bool(patch.told[told])))
    assert seen == {(a, b) for a in (False, True) for b in (False, True)}


def test_the_coarse_loss_adds_the_error_of_reduced_images(folder: Path) -> None:
    config = load_config(DiffusionConfig, _config(folder))
    flat, fine = np.ones((64, 64), np.float32), np.ones((64, 64), np.float32)
    fine[::2] = -1  # nothing is left of it in halves
    for pixels, expected in ((flat, 3.0), (fine, 1.0)):
        sample = PatchBatch(
            pixels[None], np.zeros((3, 64, 64), np.float32), np.zeros((0, 64, 64), np.float32),
            np.int64(0), np.zeros((1, 64, 64), np.float32), np.int64(config.schedule.steps - 1),
            np.zeros(0, np.float32),
        )  # fmt: skip
        batch = PatchBatch(*default_collate([sample]))
        losses = []
        for coarse in (False, True):
            network = DiffusionUNet(DiffusionUNetConfig(widths=(8,), position=True))
            task = DiffusionTask(network, config.model_copy(update={"coarse_loss": coarse}))
            losses.append(task.losses(batch)[0].item())
        # An untrained network says zero, and v of an image without noise is minus the image.
        assert losses[1] / losses[0] == pytest.approx(expected, rel=1e-3)


def test_the_curriculum_goes_by_its_shares() -> None:
    stages = [StageConfig(patch_px=8), StageConfig(patch_px=16, share=3)]
    assert [stage_at(stages, s).patch_px for s in (0, 0.24, 0.25, 0.9, 1)] == [8, 8, 16, 16, 16]


def test_positions_of_patches_are_those_in_the_whole() -> None:
    whole = position_planes((12, 16), (12, 16), (0, 0), 1)
    patch = position_planes((4, 5), (12, 16), (3, 7), 1)
    assert np.array_equal(patch, whole[:, 3:7, 7:12])
    # A pixel of the reduced image lies in the middle of those that it is the mean of.
    reduced = position_planes((6, 8), (6, 8), (0, 0), 2)
    np.testing.assert_allclose(reduced[0, :, 0], reduce_image(whole[0], 2)[:, 0], atol=1e-6)


def test_the_example_is_a_config() -> None:
    example = Path(__file__).parents[2] / "examples" / "generator.yaml"
    config = load_config(DiffusionConfig, example)
    assert [stage.patch_px for stage in config.curriculum] == [32, 64, None]
    assert config.augmentation is not None


def test_the_audit_knows_what_was_learned_from(model: Path, folder: Path, tmp_path: Path) -> None:
    rng = np.random.default_rng(5)
    for n in range(12):
        write(_stripes(rng, 120.0 if n % 2 else 200.0), tmp_path / f"new_{n:02d}.tif")
    words = ["audit", "-m", str(model), "-n", "8", "--steps", "20", "--real", str(tmp_path)]
    alone = CliRunner().invoke(app, words)
    assert isinstance(alone.exception, UsageError)
    assert "learned from" in str(alone.exception)
    for name in ("dim", "light"):
        words += ["--real", str(folder / "images" / name)]
    out = tmp_path / "out"
    out.mkdir()
    words += ["--grid", str(out / "grid.png"), "--json", str(out / "audit.json")]
    done = CliRunner().invoke(app, words)
    assert done.exit_code == 0, done.output
    assert "geometric mean" in done.output
    record = json.loads((out / "audit.json").read_text(encoding="utf-8"))
    # One of the six images was held out, and is among the others.
    assert record["images"] == {"made": 8, "learned": 5, "held_out": 13}
    assert (out / "grid.png").stat().st_size > 5000
    # Images that there are, with the card of the model or without: the figures are the same.
    made = tmp_path / "made"
    made.mkdir()
    for n, image in enumerate(Generator.load(model).synthesize(8, steps=20)):
        write(image, made / f"{n}.tif")
    reals = [word for word in words[words.index("--real") :] if not word.startswith(str(out))]
    reals = [word for word in reals if word not in ("--grid", "--json")]
    again = ["audit", "--images", str(made), *reals, "--json"]
    CliRunner().invoke(app, [*again, str(out / "2.json"), "-m", str(model)])
    second = json.loads((out / "2.json").read_text(encoding="utf-8"))
    assert second["geometric_mean"] == record["geometric_mean"]
    nothing = CliRunner().invoke(app, [*again, str(out / "3.json")])
    assert isinstance(nothing.exception, UsageError)
    named = [*again, str(out / "3.json"), "--learned", str(folder / "images" / "dim")]
    done = CliRunner().invoke(app, named)
    assert done.exit_code == 0, done.output
    third = json.loads((out / "3.json").read_text(encoding="utf-8"))
    assert third["model"] is None
    assert third["images"]["learned"] == 3
    assert isinstance(CliRunner().invoke(app, ["audit", *reals]).exception, UsageError)


@pytest.fixture(scope="module")
def patch_model(folder: Path) -> Path:
    """A model that has seen whole images reduced, and patches."""
    config = _config(
        folder,
        curriculum=[{"patch_px": None, "reduction": 2}, {"patch_px": 16}],
        cycles=3,
        augmentation=None,
    )
    return train(config, folder / "patch_run")


def test_larger_images_are_drawn_in_tiles_from_a_reduced_whole(
    patch_model: Path, tmp_path: Path
) -> None:
    generator = Generator.load(patch_model, precision="fp32")
    for size in (None, (40, 52)):
        large = generator.synthesize(1, label="light", size=size, steps=40)[0]
        assert large.history[-1].parameters["reductions"] == [2, 1]
        # Dark on the left and bright on the right: of the whole, and not of each tile.
        columns = large.pixels.astype(float).mean(axis=0)
        middle = len(columns) // 2
        assert columns[2 : middle - 3].mean() == pytest.approx(60, abs=25)
        assert columns[middle + 3 : -2].mean() == pytest.approx(200, abs=35)
        assert large.pixel_size_nm == (2.0, 2.0)
    out = tmp_path / "made"
    words = ["synthesize", "-m", str(patch_model), "-o", str(out), "--steps", "4"]
    done = CliRunner().invoke(app, [*words, "--size", "40x50"])
    assert done.exit_code == 0, done.output
    assert read(out / "synthetic_000000.tif").shape == (40, 50)
    wrong = CliRunner().invoke(app, [*words, "--size", "40,50", "--overwrite"])
    assert isinstance(wrong.exception, UsageError)


def test_the_levels_of_a_cascade() -> None:
    from everhart.synthesize.full_size import levels_for

    stages: list[tuple[int | None, int]] = [(32, 8), (None, 4), (32, 1), (64, 1)]
    levels = levels_for(stages, (128, 128), (256, 256))
    assert [(level.reduction, level.tile) for level in levels] == [
        (8, (32, 32)), (4, (32, 32)), (1, (64, 64)),
    ]  # fmt: skip
    assert [level.reduction for level in levels_for(stages, (128, 128), (64, 64))] == [1]
    with pytest.raises(UsageError, match="reduced by 2 alone"):
        levels_for([(None, 2)], (128, 128), (64, 64))

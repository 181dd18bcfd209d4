"""Labelled synthesis: images drawn from label images, and written with them."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import yaml
from typer.testing import CliRunner

from everhart import UsageError, read, write
from everhart.cli.app import app
from everhart.synthesize.generator import Generator
from everhart.synthesize.masks import new_masks
from everhart.synthesize.train import train
from everhart.synthesize.training_images import ImagesConfig, load_images

SIZE = (24, 24)
VALUES = (2, 5)
LEVELS = (60.0, 190.0)


def _mask(rng: np.random.Generator) -> np.ndarray:
    """A bar of the second class, anywhere and in either direction."""
    mask = np.full(SIZE, VALUES[0], np.uint8)
    start = int(rng.integers(1, 13))
    mask[:, start : start + int(rng.integers(6, 11))] = VALUES[1]
    return mask if rng.random() < 0.5 else mask.T.copy()


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    place = tmp_path_factory.mktemp("labelled")
    rng = np.random.default_rng(0)
    for name in ("images", "masks"):
        (place / name).mkdir()
    for n in range(8):
        mask = _mask(rng)
        image = np.where(mask == VALUES[1], LEVELS[1], LEVELS[0]) + rng.normal(0, 8, SIZE)
        write(image.round().clip(0, 255).astype(np.uint8), place / "images" / f"i{n}.tif")
        write(mask, place / "masks" / f"i{n}.png")
    config = {
        "task": "diffusion",
        "data": {"folder": str(place / "images"), "masks": str(place / "masks")},
        "network": {"widths": [16, 16], "groups": 4, "position": False},
        "curriculum": [{"patch_px": None, "reduction": 2}, {"patch_px": 16}],
        "cycles": 2,
        "optimiser": {
            "steps": 200, "batch_size": 8, "learning_rate": 2e-3, "steps_per_epoch": 50,
            "ema_decay": 0.98, "threads": 1, "precision": "fp32",
        },
    }  # fmt: skip
    (place / "config.yaml").write_text(yaml.safe_dump(config), encoding="utf-8")
    return train(place / "config.yaml", place / "run")


def test_images_follow_their_masks_and_are_written_with_them(model: Path, tmp_path: Path) -> None:
    rng = np.random.default_rng(9)
    masks = {f"layout {n}": _mask(rng) for n in range(3)}
    masks["wide"] = np.concatenate([masks["layout 0"], masks["layout 1"]], axis=1)
    (tmp_path / "layouts").mkdir()
    for name, mask in masks.items():
        write(mask, tmp_path / "layouts" / f"{name}.png")
    out = tmp_path / "made"
    words = ["synthesize", "-m", str(model), "-n", "2", "-o", str(out), "--seed", "10"]
    words += ["--mask", str(tmp_path / "layouts"), "--steps", "30"]
    done = CliRunner().invoke(app, [*words, "--json", str(tmp_path / "made.json")])
    assert done.exit_code == 0, done.output
    names = [f"{stem}_{10 + n:06d}" for n, stem in enumerate(np.repeat(sorted(masks), 2))]
    assert sorted(p.name for p in out.glob("*.tif")) == sorted(f"{name}.tif" for name in names)
    for name in names:
        drawn, mask = read(out / f"{name}.tif"), read(out / "masks" / f"{name}.png")
        assert np.array_equal(mask.pixels, masks[name.rsplit("_", 1)[0]])
        assert drawn.shape == mask.shape
        assert drawn.metadata["synthetic"] is True
        assert "mask_sha256" in drawn.history[-1].parameters
        bright = drawn.pixels > np.mean(LEVELS)
        assert (bright == (mask.pixels == VALUES[1])).mean() > 0.9, name
    record = json.loads((tmp_path / "made.json").read_text(encoding="utf-8"))
    assert len(record["images"]) == 8
    assert record["images"][0]["mask"].endswith("layout 0.png")
    # What was made trains other models as it is.
    again = load_images(ImagesConfig(folder=str(out), masks=str(out / "masks")), 0)
    assert again.mask_values == VALUES
    assert len(again.images) == 8


def test_images_are_drawn_from_new_masks_between_those_that_there_are(
    model: Path, tmp_path: Path
) -> None:
    rng = np.random.default_rng(9)
    (tmp_path / "layouts").mkdir()
    known = [_mask(rng) for _ in range(3)]
    for number, mask in enumerate(known):
        write(mask, tmp_path / "layouts" / f"{number}.png")
    words = ["synthesize", "-m", str(model), "--steps", "5", "--new-masks", "4"]
    given = ["--mask", str(tmp_path / "layouts"), "--json", str(tmp_path / "made.json")]
    done = CliRunner().invoke(app, [*words, *given, "-n", "2", "-o", str(tmp_path / "made")])
    assert done.exit_code == 0, done.output
    names = sorted(p.stem for p in (tmp_path / "made").glob("*.tif"))
    assert names == [f"new_{k // 2:04d}_{k:06d}" for k in range(8)]
    drawn_from = [
        np.asarray(read(tmp_path / "made" / "masks" / f"{name}.png").pixels) for name in names
    ]
    assert np.array_equal(drawn_from[0], drawn_from[1])
    assert len({mask.tobytes() for mask in (*known, *drawn_from)}) == 7
    assert set(np.unique(drawn_from)) <= set(VALUES)
    record = json.loads((tmp_path / "made.json").read_text(encoding="utf-8"))
    assert [Path(image["mask"]).stem for image in record["images"]] == names
    # One value that no training image had is refused, though few new masks may have it.
    known[2][0, 0] = 9
    write(known[2], tmp_path / "layouts" / "2.png", overwrite=True)
    strange = CliRunner().invoke(app, [*words, *given[:2], "-o", str(tmp_path / "alone")])
    assert "the value 9" in str(strange.exception)
    alone = CliRunner().invoke(app, [*words, "-o", str(tmp_path / "alone")])
    assert "without --mask" in str(alone.exception)
    assert not (tmp_path / "alone").exists()


def test_layouts_by_a_pattern_are_numbered(model: Path, tmp_path: Path) -> None:
    rng = np.random.default_rng(9)
    for name in "ab":
        write(_mask(rng), tmp_path / f"{name}.png")
    words = ["synthesize", "-m", str(model), "--steps", "2", "-o", str(tmp_path / "made")]
    done = CliRunner().invoke(app, [*words, "--mask", str(tmp_path / "*.png")])
    assert done.exit_code == 0, done.output
    names = [f"synthetic_{n:06d}" for n in range(2)]
    assert sorted(p.stem for p in (tmp_path / "made").glob("*.tif")) == names
    assert sorted(p.stem for p in (tmp_path / "made" / "masks").glob("*.png")) == names


def test_new_masks_hold_the_classes_of_all() -> None:
    known = [np.zeros((16, 16), np.uint8), np.zeros((16, 16), np.uint16)]
    known[0][8:], known[1][4:] = 7, 300
    made = new_masks(known, 6, np.random.default_rng(0))
    assert set(np.unique(made)) <= {0, 7, 300}


def test_what_is_inpainted_follows_a_label_image(model: Path, tmp_path: Path) -> None:
    rng = np.random.default_rng(3)
    layout = np.full(SIZE, VALUES[0], np.uint8)
    layout[:, 8:16] = VALUES[1]
    hidden = np.zeros(SIZE, np.uint8)
    hidden[:, 6:18] = 1
    # What is not hidden is dark, and says nothing of the bar.
    image = (LEVELS[0] + rng.normal(0, 8, SIZE)).round().clip(0, 255).astype(np.uint8)
    for name, pixels in {"image": image, "hole": hidden, "layout": layout}.items():
        write(pixels, tmp_path / f"{name}.png")
    words = [
        "inpaint", str(tmp_path / "image.png"), "--mask", str(tmp_path / "hole.png"),
        "-m", str(model), "-o", str(tmp_path / "out.tif"), "--steps", "40", "--repeats", "2",
        "--layout", str(tmp_path / "layout.png"),
    ]  # fmt: skip
    done = CliRunner().invoke(app, words)
    assert done.exit_code == 0, done.output
    filled = read(tmp_path / "out.tif")
    assert np.array_equal(np.asarray(filled.pixels)[hidden == 0], image[hidden == 0])
    bright = np.asarray(filled.pixels) > np.mean(LEVELS)
    assert (bright == (layout == VALUES[1])).mean() > 0.9
    assert "mask_sha256" in filled.history[-1].parameters
    with pytest.raises(UsageError, match="same size"):
        Generator.load(model).inpaint(read(tmp_path / "image.png"), hidden > 0, mask=layout[:8])


def test_wrong_masks_are_refused_before_any_work(model: Path, tmp_path: Path) -> None:
    generator = Generator.load(model)
    with pytest.raises(UsageError, match="the value 7"):
        generator.check(mask=np.full(SIZE, 7))
    with pytest.raises(UsageError, match="a mask of"):
        generator.check(mask=np.full(SIZE, 2), size=(8, 8))
    (tmp_path / "layouts").mkdir()
    write(np.full(SIZE, 2, np.uint8), tmp_path / "layouts" / "a.png")
    write(np.full(SIZE, 3, np.uint8), tmp_path / "layouts" / "b.png")
    words = ["synthesize", "-m", str(model), "-o", str(tmp_path / "made")]
    for wrong in ("layouts", "nowhere"):
        done = CliRunner().invoke(app, [*words, "--mask", str(tmp_path / wrong)])
        assert isinstance(done.exception, UsageError)
    write(np.full(SIZE, 2.5, np.float32), tmp_path / "grey.tif")
    done = CliRunner().invoke(app, [*words, "--mask", str(tmp_path / "grey.tif")])
    assert "numbers of classes" in str(done.exception)
    assert not (tmp_path / "made").exists()

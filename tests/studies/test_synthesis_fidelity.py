"""The studies of what generators are like and good for: fidelity, holes, training with samples."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pytest

from everhart import UsageError, read
from everhart.studies.catalogue import find_study
from everhart.studies.study import SCALES
from everhart.studies.synthesis_data import labelled_stacks, specimen, stack_images
from everhart.studies.synthesis_inpaint import HOLES, grainy_fill, mean_fill, smooth_fill
from everhart.studies.synthesis_runs import trained
from everhart.synthesize.generator import Generator
from everhart.synthesize.masks import new_masks
from everhart.synthesize.reconstruction import reconstruct


def test_labelled_stacks_are_the_images_of_the_other_studies(tmp_path: Path) -> None:
    labelled = labelled_stacks(tmp_path / "labelled", [1], 32, 7)
    plain = stack_images(tmp_path / "plain", 1, 32, 7, first=1)
    image = read(labelled / "images" / "stack_0001.tif").pixels
    assert (image == read(plain / "stack_0001.tif").pixels).all()
    known = specimen(1, 32, 7)
    assert (image == known.first).all()
    assert (read(labelled / "masks" / "stack_0001.png").pixels == known.mask).all()
    # Texture is what a mask says nothing of: without, each material has one grey level inside.
    even = specimen(1, 32, 7, texture=0)
    assert (even.mask == known.mask).all()
    speckle, level = (np.std(s.clean[:3][s.mask[:3] == 0]) for s in (known, even))
    assert level < 0.2 * speckle


def test_trivial_fills_fill_the_hole_alone() -> None:
    image = specimen(0, 64, 1).first
    for name, shape in HOLES.items():
        hidden = shape(64)
        assert 0.02 < hidden.mean() < 0.2, name
        fills = [
            mean_fill(image, hidden),
            smooth_fill(image, hidden),
            grainy_fill(image, hidden, np.random.default_rng(0)),
        ]
        for filled in fills:
            assert filled.dtype == image.dtype
            assert (filled[~hidden] == image[~hidden]).all()
        mean, smooth, grainy = (filled[hidden].astype(float) for filled in fills)
        true = image[hidden].astype(float)
        if name == "scratch":
            assert np.mean((smooth - true) ** 2) < np.mean((mean - true) ** 2)
        assert np.std(grainy - smooth) > 0.2 * np.std(true)


def test_the_study_of_fidelity_puts_the_ceiling_first(tmp_path: Path) -> None:
    study = find_study("ddpm-fidelity")
    rows = study.run(SCALES["smoke"], tmp_path, seeds=1, progress=lambda _: None)["rows"]
    by_name = {row["protocol"]: row for row in rows}
    ceiling = by_name["two acquisitions of a specimen"]["raw"][0]
    again = by_name["a hole of 14 %, acquired again: the hole alone"]["raw"][0]
    assert 0.8 < ceiling < 1
    assert 0.5 < again < 1
    # After 20 steps of training nothing is as like as that.
    assert by_name["drawn from the held-out mask"]["raw"][0] < ceiling
    whole = by_name["a hole of 14 %, mean: the whole image"]["raw"][0]
    assert by_name["a hole of 14 %, mean: the hole alone"]["raw"][0] < 0.5 * whole
    assert "clean render" in (tmp_path / "ddpm-fidelity" / "table.md").read_text()


@pytest.mark.slow
def test_the_study_of_inpainting_judges_the_hole(tmp_path: Path) -> None:
    study = find_study("ddpm-inpaint")
    rows = study.run(SCALES["smoke"], tmp_path, seeds=1, progress=lambda _: None)["rows"]
    assert len(rows) == 5 * len(HOLES)
    for hole in HOLES:
        found = {row["fill"]: row for row in rows if row["hole"] == hole}
        assert found["mean"]["noise"] < 0.05
        assert found["acquired again"]["psnr"] > found["mean"]["psnr"]
        assert 0.7 < found["acquired again"]["noise"] < 1.4
        assert (tmp_path / "ddpm-inpaint" / f"{hole}-0.png").is_file()
    assert "ms_ssim" not in next(row for row in rows if row["hole"] == "scratch")


@pytest.mark.slow
def test_the_study_of_training_with_samples_runs_and_goes_on(tmp_path: Path) -> None:
    study = find_study("ddpm-downstream")
    told: list[str] = []
    first = study.run(SCALES["smoke"], tmp_path, seeds=1, progress=told.append)
    few = [row["method"] for row in first["rows"] if row["labels"] == 3]
    assert len(few) == 7
    assert len(first["rows"]) == 12
    # Real images are half of what is learned from: 4 samples and 3 images.
    folder = tmp_path / "ddpm-downstream" / "split-0-3" / "samples-drawn-from-masks"
    assert len(list((folder / "images").glob("*.tif"))) == 7
    best = max(r["mean_iou"] for r in first["summary"] if r["method"].startswith("classical"))
    assert any(row["mean_iou"] == best and row["difference"] == 0 for row in first["summary"])
    told.clear()
    again = study.run(SCALES["smoke"], tmp_path, seeds=1, progress=told.append)
    assert again["rows"] == first["rows"]
    assert told == ["ddpm-downstream: generator"]


def test_new_masks_keep_classes_and_lie_between(tmp_path: Path) -> None:
    masks = [specimen(n, 64, 7).mask for n in range(3)]
    made = new_masks(masks, 12, np.random.default_rng(0))
    shares = np.array([[(m == c).mean() for c in range(6)] for m in made])
    known = np.array([[(m == c).mean() for c in range(6)] for m in masks])
    assert {m.dtype for m in made} == {masks[0].dtype}
    assert (np.abs(shares.mean(axis=0) / known.mean(axis=0) - 1) < 0.25).all()
    assert len({m.tobytes() for m in made}) == 12
    # The dark layer is in one piece, as in all that are known.
    pieces = [cv2.connectedComponents((m == 2).astype(np.uint8))[0] - 1 for m in masks + made]
    assert pieces == [1] * len(pieces)
    with pytest.raises(UsageError, match="0 masks"):
        new_masks([], 1, np.random.default_rng(0))


def test_what_is_hardly_noised_comes_back(tmp_path: Path) -> None:
    images = stack_images(tmp_path / "images", 3, 32, 7)
    config = {
        "task": "diffusion",
        "data": {"folder": str(images)},
        "network": {"widths": [8, 16], "stem": 2},
        "optimiser": {"steps": 20, "threads": 1, "steps_per_epoch": 20, "precision": "fp32"},
    }
    generator = Generator.load(trained(config, tmp_path / "run"))
    real = [specimen(n, 32, 7).first for n in range(2)]
    same, near, far = (reconstruct(generator, real, level, steps=20) for level in (0, 0.1, 1))
    assert np.abs(same[0].astype(float) - real[0]).max() <= 2
    assert near[0].dtype == real[0].dtype

    def alike(images: list[np.ndarray]) -> float:
        return float(np.corrcoef(images[1].ravel(), real[1].ravel())[0, 1])

    assert alike(near) > 0.8 > 0.5 > alike(far)
    with pytest.raises(UsageError, match=r"level 1\.5"):
        reconstruct(generator, real, 1.5)

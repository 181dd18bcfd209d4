"""The studies of synthesis: what they learn from, and how compute is shared out."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from everhart import Micrograph, read
from everhart.studies.catalogue import find_study
from everhart.studies.study import SCALES
from everhart.studies.synthesis_data import fitted_stacks, stack_images, valid_stacks
from everhart.studies.synthesis_recipes import RECIPE_STUDIES, megapixels, recipe_config
from everhart.studies.synthesis_sizes import FinSizes
from everhart.synthesize.config import DiffusionConfig


def test_images_have_numbers_and_are_the_same_again(tmp_path: Path) -> None:
    first = stack_images(tmp_path / "a", 3, 32, 7)
    again = stack_images(tmp_path / "b", 1, 32, 7, first=2)
    assert [path.name for path in sorted(again.iterdir())] == ["stack_0002.tif"]
    pixels = [read(path).pixels for path in sorted(first.iterdir())]
    assert (read(again / "stack_0002.tif").pixels == pixels[2]).all()
    assert not (pixels[0] == pixels[1]).all()


def test_the_fitted_process_knows_the_mean_of_what_it_was_fitted_to(tmp_path: Path) -> None:
    folder = stack_images(tmp_path, 15, 128, 3)
    known = [read(path) for path in sorted(folder.iterdir())]
    pixels = [image.pixels.astype(np.float32) for image in known]
    fitted = fitted_stacks(12, 128, 3, 15)
    assert all(valid_stacks(fitted, pixels))
    assert not (fitted[0] == fitted[1]).all()
    fins = FinSizes(pixels)
    heights = [
        np.concatenate([fins(Micrograph(i, known[0].pixel_size_nm))["fin_height_nm"] for i in some])
        for some in (pixels, fitted)
    ]
    # Of 12 images the mean is known to a third of their scatter, of about 5 % of 18 nm.
    assert abs(heights[0].mean() - heights[1].mean()) < 3 * heights[0].std() / np.sqrt(12)
    assert 0.4 < heights[1].std() / heights[0].std() < 2.5


def test_a_stack_is_valid_until_its_layer_is_cut(tmp_path: Path) -> None:
    folder = stack_images(tmp_path, 6, 128, 3)
    images = [read(path).pixels.astype(np.float32) for path in sorted(folder.iterdir())]
    assert valid_stacks(images, images) == [True] * 6
    rng = np.random.default_rng(0)
    cut, moved, noise = images[0].copy(), np.roll(images[1], 40, axis=1), images[2].copy()
    cut[:, 60:66] = np.percentile(cut, 60)
    rng.shuffle(noise.reshape(-1))
    # The fin that is moved over the edge is in two parts: three rises or one at the edge.
    assert valid_stacks([cut, moved, noise], images) == [False] * 3


@pytest.mark.parametrize("scale", ["cpu", "gpu"])
def test_recipes_see_as_many_pixels_as_they_may(scale: str, tmp_path: Path) -> None:
    for study in RECIPE_STUDIES:
        size = study.sizes[scale]
        whole = size.steps * size.batch * size.size_px**2 / 1e6
        for recipe in study.recipes:
            config = recipe_config(recipe, size, tmp_path, 0)
            seen = megapixels(config, size.size_px)
            assert seen[-1] == pytest.approx(recipe.compute * whole, rel=0.03), recipe.name
            network = DiffusionConfig.model_validate(config).network
            network.complete(0, 0, 15)  # the widths suit the heads


@pytest.mark.slow
def test_the_study_of_the_curriculum_compares_with_whole_images(tmp_path: Path) -> None:
    study = find_study("ddpm-curriculum")
    rows = study.run(SCALES["smoke"], tmp_path, seeds=1, progress=lambda _: None)["rows"]
    assert [row["recipe"] for row in rows][:2] == ["whole images", "curriculum, half the compute"]
    assert rows[1]["megapixels"][-1] <= 0.6 * rows[0]["megapixels"][-1]
    assert all(row["cpu_minutes"] > 0 and len(row["loss"]) >= 2 for row in rows)
    lines = (tmp_path / "ddpm-curriculum" / "table.md").read_text().splitlines()
    assert "+0.0 %" in lines[4]
    assert "100 %" in lines[4]
    assert (tmp_path / "ddpm-curriculum" / "curves.png").stat().st_size > 5000


@pytest.mark.slow
def test_the_study_of_few_images_runs_and_goes_on(tmp_path: Path) -> None:
    study = find_study("ddpm-15")
    first = study.run(SCALES["smoke"], tmp_path, seeds=1, progress=lambda _: None)
    again = study.run(SCALES["smoke"], tmp_path, seeds=1, progress=lambda _: None)
    sets = [row["set"] for row in first["rows"]]
    assert sets[:2] == ["diffusion", "other real images"]
    assert first["rows"][0]["ratios"] == again["rows"][0]["ratios"]
    assert first["rows"][-1]["copies_percent"] == 100
    assert json.loads((tmp_path / "ddpm-15" / "results.json").read_text())["rows"]
    assert (tmp_path / "ddpm-15" / "seed-0" / "audit.html").stat().st_size > 10_000


def test_the_study_of_memory_runs(tmp_path: Path) -> None:
    study = find_study("ddpm-memory")
    rows = study.run(SCALES["smoke"], tmp_path, seeds=1, progress=lambda _: None)["rows"]
    assert [row["model"] for row in rows] == ["stopped", "overtrained"]
    assert rows[0]["steps"] <= rows[1]["steps"] == 30
    # One against the other: what one has the other lacks.
    sums = rows[0]["auroc"]["overtrained"] + rows[1]["auroc"]["stopped"]
    assert sums == pytest.approx(1)
    assert "AUROC" in (tmp_path / "ddpm-memory" / "table.md").read_text()


def test_the_study_of_transfer_compares_with_fifteen_from_scratch(tmp_path: Path) -> None:
    study = find_study("ddpm-transfer")
    rows = study.run(SCALES["smoke"], tmp_path, seeds=1, progress=lambda _: None)["rows"]
    assert len(rows) == 4
    assert [row["steps"] for row in rows] == [[10, 20, 30, 40], [10], [10], [10]]
    # What was learned of process A helps from the first steps on.
    assert rows[2]["loss"][0] < rows[1]["loss"][0]
    table = (tmp_path / "ddpm-transfer" / "table.md").read_text()
    assert "15 images, from scratch" in table
    assert "100 %" in table
    assert (tmp_path / "ddpm-transfer" / "curves.png").stat().st_size > 5000

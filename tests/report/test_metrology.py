"""A comparison tells what methods, and means of frames, do to measured sizes."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from scipy.ndimage import gaussian_filter

from everhart.cli import main
from everhart.errors import EverhartError, UsageError
from everhart.io import write
from everhart.micrograph import Micrograph
from everhart.report import compare, compare_dataset, render_html
from everhart.report.metrology import Metrology
from everhart.simulate import Beam, Dose, Microscope
from everhart.simulate.lines import lines as draw_lines

SIZES = ["cd_bias_nm", "cd_spread_nm", "roughness_bias_nm", "features_missed", "features_false"]


def discs(centres, diameter=16.0, shape=(96, 128)) -> np.ndarray:
    """Dark discs with soft edges on a bright ground."""
    y, x = np.mgrid[: shape[0], : shape[1]]
    away = np.min([np.hypot(y - cy, x - cx) for cy, cx in centres], axis=0)
    return (200 / (1 + np.exp(2 * (diameter / 2 - away)))).astype(np.float32)


GRID = [(y, x) for y in (24.0, 68.0) for x in (24.5, 64.0, 103.5)]


@pytest.fixture(scope="module")
def lines_field() -> tuple[Micrograph, Micrograph]:
    """Five frames of rough lines, and what they would be without noise."""
    rng = np.random.default_rng(3)
    scene = draw_lines(rng, shape=(192, 160), pixel_size_nm=2.0, cd_nm=32, pitch_nm=64, sigma_nm=2)
    microscope = Microscope(beam=Beam(0.8), dose=Dose(60))
    _, clean = microscope.expose(scene, rng, return_clean=True)
    return microscope.expose_frames(scene, rng, 5), clean


def test_holes_drawn_larger_by_a_nanometre_have_that_bias() -> None:
    truth = Metrology.of_reference("holes", discs(GRID), (2.0, 2.0))
    figures = truth.figures(discs(GRID, diameter=16.5))
    assert figures["cd_bias_nm"] == pytest.approx(1.0, abs=0.1)
    assert figures["cd_spread_nm"] < 0.1
    assert abs(figures["roughness_bias_nm"]) < 0.2
    assert figures["features_missed"] == figures["features_false"] == 0


def test_without_a_pixel_size_figures_are_in_pixels() -> None:
    figures = Metrology.of_reference("holes", discs(GRID), None).figures(discs(GRID, 16.5))
    assert figures["cd_bias_px"] == pytest.approx(0.5, abs=0.05)
    assert not any(key.endswith("_nm") for key in figures)


def test_erased_and_invented_holes_are_counted() -> None:
    truth = Metrology.of_reference("holes", discs(GRID), None)
    figures = truth.figures(discs([*GRID[2:], (46.0, 44.0)]))
    assert (figures["features_missed"], figures["features_false"]) == (2, 1)


def test_a_picture_in_which_nothing_is_found_misses_all_and_has_no_bias() -> None:
    truth = Metrology.of_reference("holes", discs(GRID), None)
    flat = np.random.default_rng(0).normal(100, 5, (96, 128)).astype(np.float32)
    assert truth.figures(flat) == {"features_missed": 6, "features_false": 0}


def test_what_smooths_edges_lowers_the_roughness(lines_field) -> None:
    clean = np.asarray(lines_field[1].pixels, np.float32)
    truth = Metrology.of_reference("lines", clean, (2.0, 2.0))
    same = truth.figures(clean)
    assert [same[key] for key in SIZES] == [0, 0, 0, 0, 0]
    along = truth.figures(gaussian_filter(clean, (15, 0)))
    assert along["roughness_bias_nm"] < -1
    assert along["features_missed"] == 0


def test_a_reference_without_lines_says_so() -> None:
    with pytest.raises(EverhartError, match=r"Lines were to be measured, and the reference cannot"):
        Metrology.of_reference("lines", np.zeros((80, 80), np.float32), None)


def test_means_of_frames_stand_beside_the_methods(lines_field) -> None:
    frames, clean = lines_field
    methods = ["median", "gaussian"]
    compared = compare(frames, methods, reference=clean, alignment="none", measure="lines")
    (image,) = compared.images
    assert [result.name for result in image.results] == ["noisy", "F04", "F05", *methods]
    spread = [result.figures["cd_spread_nm"] for result in image.results]
    assert spread[1] < spread[0]
    assert image.results[2].figures["psnr_db"] > image.results[0].figures["psnr_db"] + 5
    assert "CD bias" in compared.summary()
    page = render_html(compared)
    assert "Roughness bias" in page
    assert ">F05<" in page
    (said,) = compared.to_dict()["images"]
    assert all(key in row for row in said["methods"] for key in SIZES)
    # Means are not methods: none of them is the best.
    assert '<tr data-method="F05">' in page
    of_means = page.split('data-method="F04"')[1].split('data-method="median"')[0]
    assert "(best method)" not in of_means
    assert "(best method)" in page
    assert {ranked.name for ranked in image.ranking("affine_psnr_db")} == set(methods)


def test_frames_that_judge_do_not_judge_their_own_mean(lines_field) -> None:
    frames, clean = lines_field
    first, *others = (Micrograph(one, (2.0, 2.0)) for one in frames.pixels[:4])
    image = compare(
        [first, *others], ["median"], reference=clean, alignment="none", one_field=True, turns=1,
        measure="lines",
    ).images[0]  # fmt: skip
    by_name = {result.name: result.figures for result in image.best_first}
    assert list(by_name)[-1] == "F04"
    assert "frames_place" not in by_name["F04"]
    assert by_name["median"]["frames_place"] == 1


def test_a_data_set_has_means_over_images_and_goes_on(lines_field, tmp_path: Path) -> None:
    frames, clean = lines_field
    for folder in ("noisy", "clean"):
        (tmp_path / folder).mkdir()
    for name in "ab":
        write(frames, tmp_path / "noisy" / f"{name}.tif")
        write(clean, tmp_path / "clean" / f"{name}.tif")

    def run(resume: bool):
        return compare_dataset(
            tmp_path / "noisy", ["median"], reference=tmp_path / "clean", alignment="none",
            measure="lines", cells=tmp_path / "cells", resume=resume,
        )  # fmt: skip

    compared = run(resume=False)
    assert compared.names == ("noisy", "F04", "F05", "median")
    assert compared.ranking == ("median",)
    means = compared.overall.set_index(["method", "figure"])["mean"]
    assert means["F04", "cd_spread_nm"] < means["noisy", "cd_spread_nm"]
    assert set(SIZES) <= set(compared.table.columns)
    again = run(resume=True)
    assert again.table.equals(compared.table)


def test_the_command_measures(lines_field, tmp_path: Path, capsys) -> None:
    frames, clean = lines_field
    write(Micrograph(frames.pixels[0], (2.0, 2.0)), tmp_path / "noisy.tif")
    write(clean, tmp_path / "clean.tif")
    words = ["compare", str(tmp_path / "noisy.tif"), "--methods", "median", "--measure", "lines"]
    out = ["--report", str(tmp_path / "r.html")]
    assert main([*words, "--reference", str(tmp_path / "clean.tif"), *out]) == 0
    assert "CD spread nm" in capsys.readouterr().out
    assert main([*words, *out, "--overwrite"]) == 2
    assert "without a reference" in capsys.readouterr().err


def test_a_wrong_kind_is_refused_before_any_work() -> None:
    with pytest.raises(UsageError, match=r"holes, lines"):
        compare(np.zeros((32, 32)), ["median"], measure="circles")  # type: ignore[arg-type]

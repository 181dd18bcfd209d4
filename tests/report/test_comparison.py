"""What a comparison says, against what is known of made-up images."""

from __future__ import annotations

import json
import mmap
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

import everhart as eh
from everhart.align import shift_image
from everhart.report import Comparison, compare, write_html
from everhart.report.cost import measure
from everhart.report.figures import default_data_range, shift_keeping_noise

METHODS = ("median", "gaussian", "tv")


def test_reference_is_laid_on_the_image(with_reference: Comparison, specimen):
    (image,) = with_reference.images
    how = image.alignment["reference"]
    assert how.shift_px == pytest.approx((-1.3, 2.4), abs=0.1)
    rows, columns = how.cut_px
    assert image.reference.shape == (220 - 2 * rows, 300 - 2 * columns)
    truth = specimen[rows:-rows, columns:-columns]
    assert np.abs((image.reference - 5) / 1.1 - truth).max() < 6
    assert all(result.picture.shape == image.reference.shape for result in image.results)


def test_figures_against_reference(with_reference: Comparison):
    (image,) = with_reference.images
    assert [result.name for result in image.results] == ["noisy", *METHODS]
    for result in image.results:
        expected = {
            "psnr_db": eh.metrics.psnr(result.picture, image.reference, data_range=255),
            "ssim": eh.metrics.ssim(result.picture, image.reference, data_range=255),
        }
        for key, value in expected.items():
            assert result.figures[key] == pytest.approx(value)
        # The reference has another contrast, which the match takes out.
        assert result.figures["affine_psnr_db"] > result.figures["psnr_db"]
    assert image.methods[0].figures["ssim"] > image.noisy.figures["ssim"] + 0.2
    assert image.headline == "affine_psnr_db"
    best = max(METHODS, key=lambda name: dict(scores(image))[name])
    assert image.ranking("affine_psnr_db")[0].name == best


def scores(image):
    return [(result.name, result.figures["affine_psnr_db"]) for result in image.methods]


def test_costs_are_measured(with_reference: Comparison):
    for result in with_reference.images[0].methods:
        assert 0 < result.cost.seconds < 60
        assert result.cost.peak_memory_mb >= 0
    assert with_reference.images[0].noisy.cost is None


def test_measure_sees_time_and_memory():
    def work():
        # From the system and not from the heap, which may have room left by earlier tests.
        with mmap.mmap(-1, 48_000_000) as block:
            for start in range(0, len(block), mmap.PAGESIZE):
                block[start] = 1  # a page counts once it is touched
            time.sleep(0.4)  # memory is sampled: a busy machine must not miss it
            return len(block)

    size, cost = measure(work)
    assert size == 48_000_000
    assert cost.seconds >= 0.4
    assert cost.cpu_seconds < cost.seconds + 0.05
    assert cost.peak_memory_mb == pytest.approx(48, rel=0.2)


def test_second_frame_tells_the_error(noisy, frames, specimen):
    """The estimate agrees with the error against the truth, which it never saw."""
    second = replace(frames, pixels=frames.pixels[1])
    (image,) = compare(noisy, METHODS, second_frame=second).images
    assert image.headline == "second_frame_psnr_db"
    for result in image.results:
        true = float(np.mean((result.picture - specimen) ** 2))
        error = result.figures["second_frame_mse_uncertainty"]
        assert result.figures["second_frame_mse"] == pytest.approx(true, abs=4 * error)
    assert "residual_whiteness" in image.methods[0].figures


def test_second_frame_that_drifted(noisy, specimen):
    rng = np.random.default_rng(3)
    moved = shift_image(specimen.astype(np.float32), (2.4, -1.6))
    second = np.clip(np.rint(rng.normal(moved, 16)), 0, 255).astype(np.uint8)
    (image,) = compare(noisy, ["gaussian"], second_frame=second).images
    assert image.alignment["second frame"].shift_px == pytest.approx((-2.4, 1.6), abs=0.15)
    true = float(np.mean((image.methods[0].picture - specimen) ** 2))
    error = image.methods[0].figures["second_frame_mse_uncertainty"]
    assert image.methods[0].figures["second_frame_mse"] == pytest.approx(true, abs=5 * error)


def test_stack_is_its_own_second_frame(frames):
    (image,) = compare(frames, ["gaussian"]).images
    assert [s.name for s in image.frame_sources] == ["image, frames 2 to 3"]
    assert image.shape == (3, 220, 300)
    np.testing.assert_array_equal(image.noisy.picture, frames.pixels[0])


def test_one_frame_alone(noisy):
    (image,) = compare(noisy, ["median", "tv"]).images
    assert image.headline == "residual_whiteness"
    assert image.noisy.figures == {}
    for result in image.methods:
        assert 0 < result.figures["residual_whiteness"] <= 1
        assert -1 <= result.figures["structure_leakage"] <= 1


def test_data_bar_is_left_out(noisy, specimen):
    barred = replace(noisy, data_bar_rows=20)
    (image,) = compare(barred, ["median"], reference=specimen[:200], alignment="none").images
    assert image.noisy.picture.shape == (200, 300)


def test_files_are_hashed(noisy, tmp_path: Path):
    import hashlib

    path = eh.write(noisy, tmp_path / "noisy.tif")
    (image,) = compare(path, ["median"]).images
    assert image.source.name == "noisy.tif"
    assert image.source.sha256 == hashlib.sha256(path.read_bytes()).hexdigest()
    assert image.pixel_size_nm == pytest.approx((5.0, 5.0))


def test_json_is_plain(with_reference: Comparison):
    text = json.dumps(with_reference.to_dict(), allow_nan=False)
    record = json.loads(text)
    assert record["provenance"]["everhart"] == eh.__version__
    assert record["images"][0]["methods"][1]["seconds"] > 0
    assert set(record["figures"]) >= {"psnr_db", "ssim", "ms_ssim"}


def test_metrics_of_features_are_in_the_json_and_the_main_ones_in_the_text(
    with_reference: Comparison,
):
    (image,) = with_reference.images
    more = {"fsim_full_resolution", "gmsd", "edge_preservation_index", "uiq", "cnr"}
    for result in image.results:
        assert set(result.figures) >= {"fsim", "edge_figure_of_merit", *more}
    rows = {row["method"]: row for row in with_reference.to_dict()["images"][0]["methods"]}
    for key in ("fsim", "edge_preservation_index", "uiq", "cnr"):
        assert rows["tv"][key] > rows["noisy"][key]
    # Edges as strong as these are where they were before and after.
    assert 0.9 < rows["noisy"]["edge_figure_of_merit"] < 1
    assert rows["tv"]["gmsd"] < rows["noisy"]["gmsd"]
    # 220 px a side are few enough: nothing is averaged.
    assert rows["tv"]["fsim"] == rows["tv"]["fsim_full_resolution"]
    head = with_reference.summary().splitlines()[0]
    assert "FSIM  Edges" in head
    assert "GMSD" not in head


def test_figures_that_a_reference_does_not_allow_are_left_out():
    from everhart.report.figures import against_reference

    plane, small = np.full((40, 40), 3, np.float32), np.zeros((10, 40), np.float32)
    assert "cnr" not in against_reference(plane, plane, data_range=255)
    assert set(against_reference(small, small, data_range=255)) == {"psnr_db", "affine_psnr_db"}
    broken = plane.copy()
    broken[3, 3] = np.nan
    assert "fsim" not in against_reference(broken, plane, data_range=255)


def test_identical_images_give_no_json_infinity(specimen, tmp_path: Path):
    flat = np.full((64, 64), 7, np.uint8)
    comparison = compare(flat, ["median"], reference=flat, alignment="shift")
    assert json.loads(json.dumps(comparison.to_dict(), allow_nan=False))
    assert "∞" in comparison.summary()
    write_html(comparison, tmp_path / "r.html")


@pytest.mark.parametrize("dtype", [np.uint16, np.float32, np.bool_])
def test_every_dtype_makes_a_report(noisy, dtype, tmp_path: Path):
    pixels = noisy.pixels[:64, :96]
    image = pixels > 100 if dtype is np.bool_ else pixels.astype(dtype) * 3 + 1000
    write_html(compare(image, ["median"]), tmp_path / "r.html")


def test_nan_pixels_make_a_report(noisy, tmp_path: Path):
    pixels = noisy.pixels[:64, :96].astype(np.float32)
    pixels[10:12, 20:24] = np.nan
    write_html(compare(pixels, ["median"]), tmp_path / "r.html")


def test_tiny_images_make_a_report(noisy, tmp_path: Path):
    small = noisy.pixels[:16, :16]
    write_html(compare(small, ["median"], reference=small, alignment="none"), tmp_path / "a.html")
    write_html(compare(small, ["median"]), tmp_path / "b.html")


def test_several_images(noisy, frames, specimen):
    second = replace(frames, pixels=frames.pixels[1])
    comparison = compare([noisy, second], ["median"], reference=specimen, alignment="none")
    values = [image.methods[0].figures["ssim"] for image in comparison.images]
    assert comparison.mean_values()["median"]["ssim"] == pytest.approx(np.mean(values))
    assert "mean over 2 images" in comparison.summary()


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ({"methods": []}, "No method was given"),
        ({"methods": ["nml"]}, "did you mean 'nlm'"),
        ({"methods": ["tv", "tv"]}, "given twice"),
        ({"methods": ["missing.safetensors"]}, "missing.safetensors"),
        ({"reference": np.zeros((5, 5))}, "reference is 5 x 5 pixels and the image 220 x 300"),
        ({"second_frame": np.zeros((5, 5))}, "second frame is 5 x 5"),
        ({"reference": [np.zeros((5, 5))] * 3}, "3 were given as reference for 1 images"),
        ({"images": []}, "No image was given"),
        ({"images": "missing.tif"}, "missing.tif does not exist"),
    ],
)
def test_wrong_calls(noisy, arguments, said):
    call = {"images": noisy, "methods": ["median"], **arguments}
    with pytest.raises(eh.UsageError, match=said):
        compare(call.pop("images"), call.pop("methods"), **call)


def test_data_range(rng):
    assert default_data_range(np.zeros((9, 9), np.uint8), None) == 255
    assert default_data_range(np.zeros((9, 9), bool), None) == 1
    reference = np.array([[100.0, 900.0, np.nan]], np.float32)
    assert default_data_range(np.zeros((1, 3), np.uint16), reference) == 800
    assert default_data_range(np.full((9, 9), 5, np.uint16), None) == 1
    assert default_data_range(np.full((9, 9), np.nan), None) == 1
    edge = np.repeat([100.0, 500.0], 50) + np.zeros((100, 1))
    noisy = edge + rng.normal(0, 50, edge.shape)
    noisy[3, 4] = np.nan
    assert default_data_range(noisy, None) == pytest.approx(400, rel=0.2)


@pytest.mark.parametrize("shift", [(0.5, -0.5), (0.0, 0.3), (-3.7, 2.2)])
def test_moving_keeps_the_noise(rng, shift):
    noise = rng.normal(size=(200, 240)).astype(np.float32)
    moved = shift_keeping_noise(noise, shift)
    assert moved[16:-16, 16:-16].var() == pytest.approx(noise[16:-16, 16:-16].var(), rel=0.02)
    back = shift_keeping_noise(moved, (-shift[0], -shift[1]))
    assert np.corrcoef(back[20:-20, 20:-20].ravel(), noise[20:-20, 20:-20].ravel())[0, 1] > 0.98


def test_real_pair(shared_data: Path):
    """The figures that were measured on these pairs before there was this program."""
    pair = shared_data / "sem-pairs"
    (image,) = compare(
        pair / "line006_noisy.png", ["median"], reference=pair / "line006_clean.png"
    ).images
    assert image.noisy.figures["psnr_db"] == pytest.approx(22.0, abs=1.5)
    assert image.noisy.figures["ssim"] == pytest.approx(0.45, abs=0.08)
    assert max(map(abs, image.alignment["reference"].shift_px)) < 6

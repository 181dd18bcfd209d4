"""The real micrographs; skipped with a reason where they are absent."""

from __future__ import annotations

import gzip
import warnings
import zipfile
from pathlib import Path

import numpy as np
import pytest

from everhart.io import FileWarning, find_data_bar, image_paths, read, write

IMAGEJ = "test_loading_image_saved_with_imageJ"
# name: (shape, dtype, pixel size in nm, its source, rows of the bar)
# Shapes, dtypes, sizes and the sums below were checked against RosettaSciIO, run once in an
# environment of its own; it reads colour as bands, and so has no sum for the FEI images. Of the
# Zeiss image it gives the places in the palette: the text of the bar, 2926 pixels of 243, is white.
TIFFS = {
    "semdenoising__100ns_005": ((471, 512), "uint8", 5.82813, "fei", 29),
    "semdenoising__30us_005": ((471, 512), "uint8", 5.82813, "fei", 29),
    "semdenoising__Line 50x_006": ((471, 512), "uint8", 5.82813, "fei", 29),
    "fibsem__test_image_2": ((1024, 1536), "uint8", 97.6562, "fei", 0),
    "automatic-se__1908249": ((768, 1024), "uint8", 7.34375, "zeiss", 56),
    "olympus_SIS": ((101, 112), "uint16", 0.0239279, "olympus_sis", 0),
    "optical_Zeiss_AxioVision_BW": ((10, 13), "uint8", None, None, 0),
    "test_loading_image_saved_with_DM_stack": (
        (2, 68, 68), "float32", (1686.74, 168.674), "digital_micrograph", 0,
    ),
    IMAGEJ: ((68, 68), "float32", 168.6747, "imagej", 0),
    f"{IMAGEJ}_no_scale": ((68, 68), "float32", None, None, 0),
    f"{IMAGEJ}_stack": ((2, 68, 68), "float32", 168.6747, "imagej", 0),
    f"{IMAGEJ}_stack_no_scale": ((2, 68, 68), "float32", None, None, 0),
}  # fmt: skip
SUMS = {
    "fibsem__test_image_2": 221745540, "automatic-se__1908249": 125025893,
    "olympus_SIS": 90485618, "optical_Zeiss_AxioVision_BW": 2574,
    "test_loading_image_saved_with_DM_stack": 30845660, IMAGEJ: 15422830,
    f"{IMAGEJ}_no_scale": 15422830, f"{IMAGEJ}_stack": 30845660,
    f"{IMAGEJ}_stack_no_scale": 30845660,
}  # fmt: skip
# Packed files: name, shape, pixel size in nm, sum. RosettaSciIO gives the JEOL image 1.8208 nm,
# from a resolution in whole dots an inch; the file has two lines with their lengths (129.944 px are
# 237.86 nm), which agree with 1.8305. The streak cameras' axes are a wavelength and a time.
PACKED = [
    ("archives/JEOL-SightX-TEM-mag-dummy.tif.gz", (556, 556), 1.83049, 158586768),
    ("archives/JEOL-SightX-SAED-dummy.tif.gz", (556, 556), None, 158586768),
    ("archives/JEOL-SightX-Ronchigram-dummy.tif.gz", (556, 556), None, 158586768),
    ("zip/tiff_hamamatsu.zip:test_hamamatsu_streak_FOCUS.tif", (508, 672), None, 4780),
    ("zip/tiff_hamamatsu.zip:test_hamamatsu_streak_OTHER.tif", (508, 672), None, 137039886),
    ("zip/tiff_hamamatsu.zip:test_hamamatsu_streak_SCAN.tif", (508, 672), None, 581793),
]
# Bars in pictures without a tag that tells: rows counted by eye.
BARS = {
    "sem-clean/litho_test1.jpg": 120,
    "sem-clean/litho_test_analysis_raw_half_lines.jpg": 120,
    "sem-clean/nanocomp_2wtun_1.jpg": 60,
    "sem-clean/rebco_fei16.tif": 59,
    "sem-clean/sem2surface_Indent_20230912_7kV_spot4.5_FOV100um_multiBSE_A_05.png": 79,
    "sem-noisy/litho_legacy_analysis_test.jpg": 120,
    "sem-noisy/litho_stack1.jpg": 120,
    "sem-noisy/litho_stack2.jpg": 120,
    "sem-noisy/litho_stack3.jpg": 120,
    "sem-noisy/litho_stack4.jpg": 120,
}


def quietly(path: Path):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", FileWarning)
        return read(path)


@pytest.mark.parametrize("name", list(TIFFS))
def test_tiffs_of_microscopes(shared_data: Path, name: str) -> None:
    shape, dtype, size, source, rows = TIFFS[name]
    found = quietly(shared_data / "formats" / "tif" / f"{name}.tif")
    assert (found.shape, str(found.dtype), found.data_bar_rows) == (shape, dtype, rows)
    assert found.metadata["everhart"]["pixel_size_source"] == source
    if size is None:
        assert found.pixel_size_nm is None
    else:
        expected = size if isinstance(size, tuple) else (size, size)
        assert found.pixel_size_nm == pytest.approx(expected, rel=1e-5)


@pytest.mark.parametrize("name", list(SUMS))
def test_sums_of_pixels(shared_data: Path, name: str) -> None:
    found = quietly(shared_data / "formats" / "tif" / f"{name}.tif")
    assert int(found.pixels.astype(np.float64).sum()) == SUMS[name]


@pytest.mark.parametrize(("name", "shape", "size", "total"), PACKED)
def test_packed_tiffs(
    shared_data: Path,
    tmp_path: Path,
    name: str,
    shape: tuple[int, int],
    size: float | None,
    total: int,
) -> None:
    archive, _, member = name.partition(":")
    packed = shared_data / "formats" / archive
    data = zipfile.ZipFile(packed).read(member) if member else gzip.decompress(packed.read_bytes())
    path = tmp_path / "a.tif"
    path.write_bytes(data)
    found = read(path)  # without a warning
    assert (found.shape, str(found.dtype)) == (shape, "uint16")
    assert found.pixel_size_nm == (pytest.approx((size, size), rel=1e-5) if size else None)
    assert int(found.pixels.sum()) == total
    if archive.startswith("archives"):
        assert found.metadata["common"]["instrument"] == "JEM-ARM200F"


def test_conditions_of_the_fei_pairs(shared_data: Path) -> None:
    for name, dwell, lines in (("100ns_005", 1e-7, 1), ("30us_005", 3e-5, 1),
                               ("Line 50x_006", 1e-7, 50)):  # fmt: skip
        path = shared_data / "formats" / "tif" / f"semdenoising__{name}.tif"
        with pytest.warns(FileWarning, match=r"colour in 0\.\d+ % of its pixels"):
            common = read(path).metadata["common"]
        assert common["dwell_time_s"] == dwell
        assert common["line_integration"] == lines
        assert common["beam_energy_kev"] == 10.0
        assert common["detector"] == "ETD"
        assert common["acquisition_time"].startswith("2021-08-09T")


@pytest.mark.parametrize("name", list(BARS))
def test_bars_of_real_images(shared_data: Path, name: str) -> None:
    assert find_data_bar(quietly(shared_data / name).pixels) == BARS[name]


def test_the_bar_by_picture_agrees_with_the_tag(shared_data: Path) -> None:
    for path in (shared_data / "formats" / "tif").glob("semdenoising*"):
        image = quietly(path)
        # the picture has a frame of one row around the specimen, next to the bar
        assert find_data_bar(image.pixels) - image.data_bar_rows in (0, 1)


@pytest.mark.parametrize(
    "folder",
    ["sem-clean", "sem-noisy", "sem-pairs", "tem-seg/emps-images", "tem-seg/alpt-images",
     "tem-seg/isbi-images", "tem-seg/vnc-images", "tem-seg/ti-images", "tem-seg/emps-instances",
     "tem-seg/alpt-labels", "tem-seg/isbi-labels", "tem-seg/vnc-mitochondria"],
)  # fmt: skip
def test_no_bar_is_seen_where_there_is_none(shared_data: Path, folder: str) -> None:
    rng = np.random.default_rng(5)
    for path in image_paths([shared_data / folder])[:20]:
        image = quietly(path).crop_data_bar()
        pixels = image.pixels if image.ndim == 2 else image.pixels[0]
        assert find_data_bar(pixels) == 0
        for turn in range(4):
            turned = np.rot90(pixels, turn)
            height, width = (int(rng.integers(n // 2, n + 1)) for n in turned.shape)
            assert find_data_bar(turned[-height:, -width:]) == 0


@pytest.mark.parametrize("name", list(TIFFS))
def test_real_files_survive_a_round_trip(shared_data: Path, tmp_path: Path, name: str) -> None:
    image = quietly(shared_data / "formats" / "tif" / f"{name}.tif")
    again = read(write(image, tmp_path / "again.tif"))
    np.testing.assert_array_equal(again.pixels, image.pixels)
    assert again.dtype == image.dtype
    assert again.pixel_size_nm == image.pixel_size_nm
    assert again.data_bar_rows == image.data_bar_rows
    assert again.metadata["common"] == image.metadata["common"]
    for key in ("pixel_size_source", "format"):
        assert again.metadata["everhart"][key] == image.metadata["everhart"][key]

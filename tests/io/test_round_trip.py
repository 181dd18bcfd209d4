from __future__ import annotations

import tempfile
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from everhart import HistoryEntry, Micrograph, UsageError
from everhart.io import OutputExistsError, read, write

DTYPES = [
    *("bool", "uint8", "int8", "uint16", "int16", "uint32", "int32", "uint64", "int64"),
    *("float16", "float32", "float64"),
]

sizes = st.floats(1e-3, 1e6)
trees = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**53), 2**53) | st.text(max_size=8)
    | st.floats(allow_nan=False, allow_infinity=False),
    lambda inner: st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=5,
)  # fmt: skip
entries = st.builds(
    HistoryEntry,
    operation=st.text(min_size=1, max_size=10),
    parameters=st.dictionaries(st.text(max_size=5), trees, max_size=2),
    model_hash=st.none() | st.text("0123456789abcdef", min_size=8, max_size=8),
)


@st.composite
def micrographs(draw: st.DrawFn, dtypes: list[str] = DTYPES, stacks: bool = True) -> Micrograph:
    dims = st.integers(1, 12)
    shape = draw(st.tuples(dims, dims, dims) if stacks and draw(st.booleans()) else
                 st.tuples(dims, dims))  # fmt: skip
    pixels = draw(hnp.arrays(np.dtype(draw(st.sampled_from(dtypes))), shape))
    return Micrograph(
        pixels,
        draw(st.none() | st.tuples(sizes, sizes)),
        {"vendor": draw(trees)},
        tuple(draw(st.lists(entries, max_size=3))),
        draw(st.integers(0, shape[-2] - 1)),
    )


def back(image: Micrograph, name: str) -> Micrograph:
    with tempfile.TemporaryDirectory() as folder:
        return read(write(image, Path(folder) / name))


def same(one: Micrograph, other: Micrograph) -> None:
    np.testing.assert_array_equal(one.pixels, other.pixels)
    assert one.dtype == other.dtype
    assert one.shape == other.shape
    assert one.pixel_size_nm == other.pixel_size_nm
    assert one.history == other.history
    assert one.data_bar_rows == other.data_bar_rows
    assert one.metadata["vendor"] == other.metadata["vendor"]
    assert one.pixels.flags.writeable


# tifffile logs, and does not warn, about stacks of frames one pixel wide
relaxed = settings(max_examples=80, deadline=None, suppress_health_check=[HealthCheck.too_slow])


@relaxed
@given(micrographs())
def test_tiff_keeps_everything(image: Micrograph) -> None:
    same(back(image, "image.tif"), image)


@relaxed
@given(micrographs(["bool", "uint8", "uint16"], stacks=False))
def test_png_keeps_everything(image: Micrograph) -> None:
    same(back(image, "image.png"), image)


@relaxed
@given(micrographs())
def test_npy_keeps_the_pixels(image: Micrograph) -> None:
    if image.ndim == 3 and image.shape[-1] in (1, 3, 4) and min(image.shape[:2]) > 4:
        return  # a bare array of this shape is read as colour
    found = back(image, "image.npy")
    np.testing.assert_array_equal(found.pixels, image.pixels)
    assert found.dtype == image.dtype
    assert found.pixel_size_nm is None


@relaxed
@given(micrographs())
def test_writing_twice_changes_nothing(image: Micrograph) -> None:
    once = back(image, "a.tif")
    twice = back(once, "b.tiff")
    same(twice, once)
    assert twice.metadata == once.metadata


@pytest.mark.parametrize("dtype", ["uint8", "uint16", "float32"])
@pytest.mark.parametrize(
    "size", [(5.82813, 5.82813), (0.0135, 0.02), (168.675, 84.3), (2.5e7, 1e7)]
)
def test_imagej_reads_the_calibration(
    tmp_path: Path, dtype: str, size: tuple[float, float]
) -> None:
    """By ImageJ's convention: pixels per unit in the resolution tags, unit in the text."""
    import tifffile

    stack = np.zeros((3, 10, 12), dtype)
    path = write(Micrograph(stack, size), tmp_path / "a.tif")
    with tifffile.TiffFile(path) as file:
        imagej = file.imagej_metadata
        assert imagej["images"] == 3
        assert imagej["frames"] == 3
        units = {"nm": 1.0, "um": 1e3, "mm": 1e6, "pm": 1e-3, "m": 1e9}
        tags = file.pages[0].tags
        assert tags["ResolutionUnit"].value == 1
        for axis, expected in zip("YX", size, strict=True):
            numerator, denominator = tags[f"{axis}Resolution"].value
            found = units[imagej["unit"]] * denominator / numerator
            assert found == pytest.approx(expected, rel=1e-6)


def test_other_dtypes_have_plain_resolution_tags(tmp_path: Path) -> None:
    import tifffile

    path = write(Micrograph(np.zeros((9, 9), np.int32), (4.0, 5.0)), tmp_path / "a.tif")
    with tifffile.TiffFile(path) as file:
        assert not file.is_imagej
        assert file.pages[0].get_resolution("CENTIMETER") == pytest.approx((1e7 / 5, 1e7 / 4))


def test_a_calibration_changed_by_imagej_wins_over_our_record(tmp_path: Path) -> None:
    import tifffile

    image = Micrograph(np.zeros((20, 30), np.uint8), 4.0, history=(HistoryEntry("denoise"),))
    path = write(image, tmp_path / "a.tif")
    with tifffile.TiffFile(path) as file:
        details = dict(file.imagej_metadata)
    del details["ImageJ"]
    # scaled to half its size
    tifffile.imwrite(
        path,
        np.zeros((10, 15), np.uint8),
        imagej=True,
        metadata=details,
        resolution=(1 / 8, 1 / 8),
    )
    found = read(path)
    assert found.pixel_size_nm == pytest.approx((8.0, 8.0))
    assert found.metadata["everhart"]["pixel_size_source"] == "imagej"
    assert [entry.operation for entry in found.history] == ["denoise"]


def test_the_source_of_the_pixel_size_survives(tmp_path: Path, write_fei) -> None:
    image = read(write_fei())
    again = read(write(image, tmp_path / "again.tif"))
    assert again.metadata["everhart"]["pixel_size_source"] == "fei"
    assert again.metadata["fei"] == image.metadata["fei"]
    assert again.metadata["common"] == image.metadata["common"]
    assert again.data_bar_rows == image.data_bar_rows == 8
    as_png = read(write(again, tmp_path / "again.png"))
    assert as_png.pixel_size_nm == image.pixel_size_nm
    assert as_png.metadata["everhart"]["format"] == "PNG"


def test_the_data_bar_is_cropped_on_request(tmp_path: Path) -> None:
    image = Micrograph(np.arange(200, dtype=np.uint8).reshape(20, 10), data_bar_rows=5)
    found = read(write(image, tmp_path / "a.png", data_bar="crop"))
    np.testing.assert_array_equal(found.pixels, image.pixels[:15])
    assert found.data_bar_rows == 0
    with pytest.raises(UsageError, match="did you mean 'crop'"):
        write(image, tmp_path / "b.png", data_bar="corp")  # type: ignore[arg-type]


def test_numbers_that_json_has_not_are_kept_out(tmp_path: Path) -> None:
    image = Micrograph(np.zeros((8, 8), np.uint8), metadata={"vendor": {"tilt": float("nan"),
                       "when": np.datetime64("2021-08-09"), "n": np.int16(3)}})  # fmt: skip
    found = read(write(image, tmp_path / "a.tif"))
    assert found.metadata["vendor"] == {"tilt": None, "when": "2021-08-09", "n": 3}


def test_bad_calls(tmp_path: Path) -> None:
    image = np.zeros((8, 8), np.float32)
    with pytest.raises(
        UsageError, match=r"suffix '\.gif': \.tif, \.tiff, \.png, \.npy, .*are allowed"
    ):
        write(image, tmp_path / "a.gif")
    with pytest.raises(UsageError, match="no suffix"):
        write(image, tmp_path / "a")
    with pytest.raises(UsageError, match=r"float32 were to be written as PNG.*write TIFF or NPY"):
        write(image, tmp_path / "a.png")
    with pytest.raises(UsageError, match="stack of 3 frames"):
        write(np.zeros((3, 8, 8), np.uint8), tmp_path / "a.png")
    write(image, tmp_path / "a.npy")
    with pytest.raises(OutputExistsError):
        write(image, tmp_path / "a.npy")
    assert [entry.name for entry in tmp_path.iterdir()] == ["a.npy"]

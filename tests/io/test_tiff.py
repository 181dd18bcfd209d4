from __future__ import annotations

import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from everhart import Micrograph
from everhart.errors import FileFormatError
from everhart.io import FileWarning, read
from everhart.io.tiff_write import TiffPlaneWriter

tifffile = pytest.importorskip("tifffile")

GREY = {"photometric": "minisblack"}


def written(path: Path, pixels: np.ndarray, **options: Any) -> Path:
    tifffile.imwrite(path, pixels, **options)
    return path


@pytest.mark.parametrize("dtype", ["uint8", "uint16", "int16", "uint32", "int32", "float16",
                                   "float32", "float64"])  # fmt: skip
@pytest.mark.parametrize(
    "options",
    [
        {}, {"tile": (16, 32)}, {"bigtiff": True}, {"byteorder": ">"}, {"rowsperstrip": 5},
        {"compression": "lzw"}, {"compression": "zlib", "predictor": True},
        {"compression": "zstd", "tile": (16, 16)}, {"compression": "packbits"},
    ],
    ids=str,
)  # fmt: skip
def test_every_kind_of_grey(
    tmp_path: Path, levels: np.ndarray, dtype: str, options: dict[str, Any]
) -> None:
    for pixels in (levels.astype(dtype), np.stack([levels, levels[::-1]]).astype(dtype)):
        found = read(written(tmp_path / "a.tif", pixels, **GREY, **options))
        np.testing.assert_array_equal(found.pixels, pixels)
        assert found.dtype == np.dtype(dtype)
        assert found.dtype.isnative
        assert found.pixels.flags.writeable
        assert found.pixel_size_nm is None


def test_grey_stored_as_colour(tmp_path: Path, levels: np.ndarray) -> None:
    rgb = np.repeat(levels[..., None], 3, axis=-1)
    rgba = np.concatenate([rgb, np.full_like(rgb[..., :1], 255)], axis=-1)
    ramp = np.repeat(np.arange(256, dtype=np.uint16)[None] * 257, 3, axis=0)
    cases = [
        (rgb, {"photometric": "rgb"}),
        (rgba, {"photometric": "rgb", "extrasamples": ["unassalpha"]}),
        (np.moveaxis(rgb, -1, 0), {"photometric": "rgb", "planarconfig": "separate"}),
        (np.stack([rgb, rgb]), {"photometric": "rgb"}),
        (levels, {"photometric": "palette", "colormap": ramp}),
        (255 - levels, {"photometric": "palette", "colormap": ramp[:, ::-1]}),
        (255 - levels, {"photometric": "miniswhite"}),
    ]
    for pixels, options in cases:
        found = read(written(tmp_path / "a.tif", pixels, **options))
        np.testing.assert_array_equal(found.pixels[..., :48, :], np.broadcast_to(
            levels, found.shape))  # fmt: skip
        assert found.dtype == np.uint8


def test_sixteen_bits_stored_as_colour(tmp_path: Path, levels: np.ndarray) -> None:
    deep = levels.astype(np.uint16) * 251
    found = read(written(tmp_path / "a.tif", np.repeat(deep[..., None], 3, -1), photometric="rgb"))
    np.testing.assert_array_equal(found.pixels, deep)


def test_real_colour_becomes_luminance_with_a_warning(tmp_path: Path, levels: np.ndarray) -> None:
    rgb = np.repeat(levels[..., None], 3, axis=-1)
    rgb[:, :16, 0] = 255 - rgb[:, :16, 0]
    path = written(tmp_path / "a.tif", rgb, photometric="rgb")
    with pytest.warns(FileWarning, match=r"colour in 2\d % of its pixels"):
        found = read(path)
    assert found.dtype == np.uint8
    np.testing.assert_array_equal(found.pixels[:, 16:], levels[:, 16:])
    expected = rgb[:, :16] @ np.array([0.299, 0.587, 0.114])
    np.testing.assert_allclose(found.pixels[:, :16], expected, atol=0.51)


def test_one_bit(tmp_path: Path, levels: np.ndarray) -> None:
    mask = levels > 100
    found = read(written(tmp_path / "a.tif", mask, **GREY))
    assert found.dtype == bool
    np.testing.assert_array_equal(found.pixels, mask)
    found = read(written(tmp_path / "b.tif", ~mask, photometric="miniswhite"))
    np.testing.assert_array_equal(found.pixels, mask)


def test_the_image_is_read_and_not_its_thumbnail(tmp_path: Path, levels: np.ndarray) -> None:
    path = tmp_path / "a.tif"
    with tifffile.TiffWriter(path) as file:
        file.write(np.zeros((12, 16, 3), np.uint8), photometric="rgb")
        file.write(levels, **GREY)
    np.testing.assert_array_equal(read(path).pixels, levels)


def test_images_of_two_kinds_are_told(tmp_path: Path, levels: np.ndarray) -> None:
    path = tmp_path / "a.tif"
    with tifffile.TiffWriter(path) as file:
        file.write(levels, **GREY)
        file.write(levels.astype(np.float32), **GREY)
    with pytest.warns(FileWarning, match="2 images of different kinds"):
        assert read(path).shape == (48, 64)


def test_many_axes_become_frames_with_a_warning(tmp_path: Path, levels: np.ndarray) -> None:
    pixels = np.stack([np.stack([levels, levels // 2])] * 3)
    path = written(tmp_path / "a.tif", pixels, imagej=True, metadata={"axes": "TZYX"})
    with pytest.warns(FileWarning, match="T=3, Z=2"):
        found = read(path)
    np.testing.assert_array_equal(found.pixels, pixels.reshape(6, 48, 64))


@pytest.mark.parametrize(
    ("unit", "nm"),
    [("nm", 1), ("micron", 1e3), ("um", 1e3), ("\\u00B5m", 1e3), ("pm", 1e-3), ("mm", 1e6),
     ("inch", 2.54e7)],
)  # fmt: skip
def test_imagej_units(tmp_path: Path, levels: np.ndarray, unit: str, nm: float) -> None:
    per_unit = (nm / 4.0, nm / 5.0)  # x, y
    path = written(tmp_path / "a.tif", levels, imagej=True, resolution=per_unit,
                   metadata={"unit": unit})  # fmt: skip
    found = read(path)
    assert found.pixel_size_nm == pytest.approx((5.0, 4.0), rel=1e-6)
    assert found.metadata["everhart"]["pixel_size_source"] == "imagej"


@pytest.mark.parametrize("unit", ["pixel", "sec", ""])
def test_imagej_without_a_length_is_not_calibrated(
    tmp_path: Path, levels: np.ndarray, unit: str
) -> None:
    path = written(tmp_path / "a.tif", levels, imagej=True, resolution=(3, 3),
                   metadata={"unit": unit})  # fmt: skip
    found = read(path)
    assert found.pixel_size_nm is None
    assert found.metadata["everhart"]["pixel_size_source"] is None


@pytest.mark.parametrize(("unit", "nm"), [("nm", 1.0), ("µm", 1e3), ("Å", 0.1), (None, 1e3)])
def test_ome(tmp_path: Path, levels: np.ndarray, unit: str | None, nm: float) -> None:
    details: dict[str, Any] = {"axes": "YX", "PhysicalSizeX": 4.0, "PhysicalSizeY": 5.0}
    if unit:
        details |= {"PhysicalSizeXUnit": unit, "PhysicalSizeYUnit": unit}
    found = read(written(tmp_path / "a.ome.tif", levels, ome=True, metadata=details))
    assert found.pixel_size_nm == pytest.approx((5 * nm, 4 * nm))
    assert found.metadata["everhart"]["pixel_size_source"] == "ome"


@pytest.mark.parametrize("dpi", [72, 96, 150, 300, 600, 28.3465 * 2.54])
def test_a_printing_resolution_is_no_calibration(
    tmp_path: Path, levels: np.ndarray, dpi: float
) -> None:
    path = tmp_path / "a.tif"
    for unit, value in (("INCH", dpi), ("CENTIMETER", dpi / 2.54)):
        written(path, levels, resolution=(value, value), resolutionunit=unit)
        found = read(path)
        assert found.pixel_size_nm is None
        assert found.metadata["everhart"]["pixel_size_source"] is None


def test_a_plain_resolution_is_taken_with_a_warning(tmp_path: Path, levels: np.ndarray) -> None:
    path = written(tmp_path / "a.tif", levels, resolution=(1e7 / 4, 1e7 / 5), resolutionunit=3)
    with pytest.warns(FileWarning, match="plain resolution tag.*check it"):
        found = read(path)
    assert found.pixel_size_nm == pytest.approx((5.0, 4.0), rel=1e-6)
    assert found.metadata["everhart"]["pixel_size_source"] == "resolution"


def test_a_given_pixel_size_goes_first(write_fei: Callable[..., Path]) -> None:
    found = read(write_fei(), pixel_size_nm=3)
    assert found.pixel_size_nm == (3.0, 3.0)
    assert found.metadata["everhart"]["pixel_size_source"] == "given"


@pytest.mark.parametrize("code", [34682, 34680])
def test_fei(write_fei: Callable[..., Path], levels: np.ndarray, code: int) -> None:
    found = read(write_fei(code=code, height=6e-09))
    np.testing.assert_array_equal(found.pixels, levels)
    assert found.pixel_size_nm == pytest.approx((6.0, 5.82813))
    assert found.data_bar_rows == 8
    assert found.metadata["everhart"] == {
        "pixel_size_source": "fei", "data_bar_source": "fei", "format": "TIFF",
    }  # fmt: skip
    assert found.metadata["fei"]["Beam"]["HV"] == 10000
    assert found.metadata["common"] == {
        "instrument": "Quanta FEG", "beam": "electron", "beam_energy_kev": 10.0,
        "beam_current_pa": 50.0, "dwell_time_s": 1e-07, "line_integration": 50, "detector": "ETD",
        "signal": "SE", "working_distance_mm": 10.0446, "tilt_corrected": False,
        "acquisition_time": "2021-08-09T16:14:04",
        "stage": {"x_mm": -0.259875, "tilt_deg": pytest.approx(30.0)},
    }  # fmt: skip


def test_a_fei_image_without_a_bar(write_fei: Callable[..., Path]) -> None:
    found = read(write_fei(rows=48))
    assert found.data_bar_rows == 0
    assert found.metadata["everhart"]["data_bar_source"] == "fei"


XML = """<?xml version="1.0"?><Metadata><Acquisition><BeamType>Electron</BeamType>
<AcquisitionDatetime>2022-12-14T13:53:39</AcquisitionDatetime></Acquisition>
<Optics><AccelerationVoltage>2000</AccelerationVoltage></Optics>
<ScanSettings><DwellTime>1E-06</DwellTime><ScanSize><Width>64</Width><Height>40</Height></ScanSize>
</ScanSettings><BinaryResult><PixelSize><X unit="m">4E-09</X><Y unit="m">5E-09</Y></PixelSize>
</BinaryResult></Metadata>"""


def test_fei_xml(write_fei: Callable[..., Path]) -> None:
    found = read(write_fei(code=34683, text=XML))
    assert found.pixel_size_nm == (5.0, 4.0)
    assert found.data_bar_rows == 8
    assert found.metadata["common"]["beam_energy_kev"] == 2.0
    assert found.metadata["common"]["dwell_time_s"] == 1e-6
    assert found.metadata["common"]["acquisition_time"] == "2022-12-14T13:53:39"


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"width": "", "height": ""}, None),
        ({"width": 0, "height": 0}, "not believable"),
        ({"width": -5e-9, "height": 5e-9}, "not believable"),
        ({"width": "wide", "height": "high"}, "not believable"),
        ({"width": 1.0, "height": 1.0}, "not believable"),
        ({"code": 34683, "text": "<Metadata><not closed"}, "cannot be understood"),
        ({"code": 34683, "text": '<!DOCTYPE a [<!ENTITY b "c">]><a>&b;</a>'}, "cannot be"),
        ({"text": "\x01\x02 nothing that anybody knows"}, None),
        ({"text": "[Scan\nPixelWidth=\n[Beam]\nBeam\n=\n[Image]\nResolutionY=-3"}, None),
        ({"text": "[Image]\nResolutionY=4"}, None),  # of another image: no bar of 44 rows
    ],
    ids=str,
)
def test_a_bad_vendor_tag_costs_the_calibration_and_not_the_image(
    write_fei: Callable[..., Path], levels: np.ndarray, options: dict[str, Any], words: str | None
) -> None:
    path = write_fei(**options)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        found = read(path)
    np.testing.assert_array_equal(found.pixels, levels)
    assert found.pixel_size_nm is None
    assert found.data_bar_rows in (0, 8)
    told = [str(w.message) for w in caught if issubclass(w.category, FileWarning)]
    assert len(told) == len(caught)
    assert words is None or any(words in text for text in told)


@pytest.mark.parametrize(
    "description",
    ['{"shape": "round"}', '{"shape": [1, 2]}', '{"everhart": 3}', "ImageJ=1.5\nimages=junk",
     '<?xml version="1.0"?><OME xmlns="http://www.openmicroscopy.org/"><broken', '{"shape": }'],
)  # fmt: skip
def test_a_bad_description_costs_nothing(
    tmp_path: Path, levels: np.ndarray, description: str
) -> None:
    path = written(tmp_path / "a.tif", levels, description=description, metadata=None)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", FileWarning)
        np.testing.assert_array_equal(read(path).pixels, levels)


@pytest.mark.parametrize(
    "record",
    ['{"everhart": {}}', '{"everhart": {"shape": [48, 64], "pixel_size_nm": [0, -1], '
     '"data_bar_rows": 999, "history": [], "metadata": {}}}', '{"everhart": [1]}'],
)  # fmt: skip
def test_a_forged_record_does_no_harm(tmp_path: Path, levels: np.ndarray, record: str) -> None:
    path = written(tmp_path / "a.tif", levels, imagej=True, metadata={"Info": record})
    found = read(path)
    assert found.pixel_size_nm is None
    assert found.data_bar_rows == 0


def test_imagej_that_claims_more_frames_than_there_are(tmp_path: Path, levels: np.ndarray) -> None:
    path = written(tmp_path / "a.tif", levels, metadata=None,
                   description="ImageJ=1.53\nimages=1000\nslices=1000\n")  # fmt: skip
    with pytest.warns(FileWarning, match="1000 frames, and 1 are there"):
        np.testing.assert_array_equal(read(path).pixels, levels)
    # As ImageJ writes stacks of more than 4 GB: one page, then frame after frame.
    data = path.read_bytes()
    path.write_bytes(data.replace(b"1000", b"4   ") + levels.tobytes() * 3)
    assert read(path).shape == (4, 48, 64)
    path.write_bytes(path.read_bytes()[:-1000])
    with pytest.raises(FileFormatError, match="truncated"):
        read(path)


def test_complex_pixels_are_refused(tmp_path: Path) -> None:
    path = written(tmp_path / "a.tif", np.zeros((8, 8), np.complex64))
    with pytest.raises(FileFormatError, match="complex numbers"):
        read(path)


def test_whether_a_tiff_is_a_bigtiff_is_said_by_its_tiles(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Those at the edge are whole: of 513 x 513 pixels there are four, of 262 kB each."""
    monkeypatch.setattr("everhart.io.tiff_write._CLASSIC_BYTES", 4 * 512**2)
    for edge, is_big in ((513, True), (512, False)):
        path = tmp_path / f"{edge}.tif"
        TiffPlaneWriter(path, Micrograph(np.zeros((edge, edge), np.uint8))).close()
        with tifffile.TiffFile(path) as file:
            assert file.is_bigtiff is is_big

"""Side-cars of JEOL, Hitachi and TESCAN, written here after their public descriptions.

JEOL: EM-tool and the regular expressions of pynxtools-em. Hitachi: Bio-Formats' page of the
S-4800 and EM-tool. TESCAN: pynxtools-em.
"""

from __future__ import annotations

import os
import warnings
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from everhart import Micrograph
from everhart.io import FileWarning, read, write

HITACHI = (
    "[SemImageFile]\r\nInstructName=SU8230\r\nSampleName=Stahl\r\nImageName=img.tif\r\n"
    "Date=2019/03/12\r\nTime=10:22:13\r\nDataSize=1280x960\r\nPixelSize=9.921875\r\n"
    "SignalName=SE(U)\r\nAcceleratingVoltage=15000 Volt\r\nMagnification=10000\r\n"
    "WorkingDistance=8100 um\r\nStagePositionX=25500000\r\nStagePositionT=2\r\n"
)
JEOL = (
    "$CM_FORMAT JEOL/SEM\n$CM_VERSION 1.0\n$CM_INSTRUMENT JSM-7800F\n$CM_SIGNAL SEI\n$CM_MAG 5000\n"
    "$CM_ACCEL_VOLT 15.00\n$CM_DATE 2019/03/12\n$CM_TIME 10:21:55\n$CM_FULL_SIZE {full}\n"
    "$$SM_MICRON_BAR 160\n$$SM_MICRON_MARKER {marker}\n$$SM_WD 10.0\n"
)
TESCAN = (
    "[MAIN]\nCompany=TESCAN\nDevice=VEGA3\nImageStripSize=8\nPixelSizeX=4.1e-008\n"
    "PixelSizeY=4.2e-008\n[SEM]\nHV=15000.0\nWD=0.0100\n"
)
SHAPE = (48, 64)


def saved(path: Path, shape: tuple[int, int] = SHAPE) -> Path:
    pixels = np.ones(shape, np.uint8)
    if path.suffix.lower().startswith(".tif"):
        import tifffile

        tifffile.imwrite(path, pixels, metadata=None)
    else:
        Image.fromarray(pixels).save(path)
    return path


SUFFIXES = (".tif", ".png", ".jpg", ".bmp")


@pytest.mark.parametrize("suffix", SUFFIXES)
@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "utf-16-le", "cp932"])
def test_hitachi(tmp_path: Path, suffix: str, encoding: str) -> None:
    (tmp_path / "img.txt").write_bytes(HITACHI.encode(encoding))
    found = read(saved(tmp_path / f"img{suffix}"))
    assert found.pixel_size_nm == (9.921875, 9.921875)
    assert found.metadata["everhart"]["pixel_size_source"] == "hitachi"
    assert found.metadata["hitachi"]["SemImageFile"]["SampleName"] == "Stahl"
    assert found.metadata["common"] == {
        "instrument": "SU8230", "beam": "electron", "beam_energy_kev": 15.0, "detector": "SE(U)",
        "working_distance_mm": 8.1, "magnification": 10000.0,
        "acquisition_time": "2019-03-12T10:22:13", "stage": {"x_mm": 25.5, "tilt_deg": 2.0},
    }  # fmt: skip


def test_old_hitachis_tell_the_magnification_of_a_print(tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_text(HITACHI.replace("PixelSize=9.921875\r\n", ""))
    # 127 mm: the same as the size that newer ones write
    assert read(saved(tmp_path / "a.tif")).pixel_size_nm == pytest.approx((9.921875, 9.921875))


@pytest.mark.parametrize("suffix", SUFFIXES)
@pytest.mark.parametrize(
    ("marker", "nm"), [("5um", 31.25), ("5µm", 31.25), ("500nm", 3.125), ("0.1 mm", 625.0)]
)
@pytest.mark.parametrize("encoding", ["utf-8", "latin-1"])
def test_jeol(tmp_path: Path, suffix: str, marker: str, nm: float, encoding: str) -> None:
    text = JEOL.format(marker=marker, full="64 48")
    (tmp_path / "img.txt").write_bytes(text.encode(encoding))
    found = read(saved(tmp_path / f"img{suffix}"))
    assert found.pixel_size_nm == pytest.approx((nm, nm))
    assert found.metadata["everhart"]["pixel_size_source"] == "jeol_text"
    assert found.metadata["common"] == {
        "instrument": "JSM-7800F", "beam": "electron", "beam_energy_kev": 15.0, "signal": "SEI",
        "working_distance_mm": 10.0, "magnification": 5000.0,
        "acquisition_time": "2019-03-12T10:21:55",
    }  # fmt: skip


@pytest.mark.parametrize(
    ("full", "nm"),
    [("128 96", 62.5), ("32 24", 15.625), ("64 44", 31.25), ("128 48", 31.25), ("", 31.25),
     ("1280 960", 31.25)],
    ids=["half", "double", "with a bar", "cut out", "not told", "not of this image"],
)  # fmt: skip
def test_copies_of_another_size_than_the_bar_was_counted_in(
    tmp_path: Path, full: str, nm: float
) -> None:
    (tmp_path / "a.txt").write_text(JEOL.format(marker="5um", full=full))
    assert read(saved(tmp_path / "a.tif")).pixel_size_nm == pytest.approx((nm, nm))


@pytest.mark.parametrize(
    "name", ["img.hdr", "img.HDR", "img-png.hdr", "IMG.hdr", "img.txt", "IMG-PNG.HDR"]
)
def test_tescan(tmp_path: Path, name: str) -> None:
    (tmp_path / name).write_text(TESCAN)
    found = read(saved(tmp_path / "img.png"))
    assert found.pixel_size_nm == pytest.approx((42.0, 41.0))
    assert found.data_bar_rows == 8
    assert found.metadata["common"]["beam_energy_kev"] == 15.0
    assert found.metadata["tescan"]["SEM"]["WD"] == "0.0100"


@pytest.mark.parametrize("image", ["img.tif", "img.TIF", "IMG.TIF", "Img.tif"])
@pytest.mark.parametrize("name", ["img.txt", "img.TXT", "IMG.TXT"])
def test_any_case_of_the_name(tmp_path: Path, name: str, image: str) -> None:
    (tmp_path / name).write_text(HITACHI)
    assert read(saved(tmp_path / image)).pixel_size_nm is not None


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"notes of the day: PixelSize= was good", None),
        (b"\xff\xfe\x00", None),
        (bytes(range(256)) * 20, None),
        (HITACHI.encode() + b" " * (1 << 20), None),
        (b"[SemImageFile]\nPixelSize=\n", "tells no pixel size"),
        (b"[SemImageFile]\nPixelSize=0\n", "not believable"),
        (b"[SemImageFile]\nPixelSize=-3\n", "not believable"),
        (b"[SemImageFile]\nSampleName=x\n", "tells no pixel size"),
        (b"$CM_MAG 5\n$$SM_MICRON_BAR 0\n$$SM_MICRON_MARKER 5um\n", "not believable"),
        (b"$CM_MAG 5\n$$SM_MICRON_BAR 9\n$$SM_MICRON_MARKER 5 furlong\n", "not believable"),
        (b"[MAIN]\nPixelSizeX=?\n", "not believable"),
    ],
)
def test_a_broken_side_car_costs_a_warning(
    tmp_path: Path, content: bytes, words: str | None
) -> None:
    (tmp_path / "a.txt").write_bytes(content)
    path = saved(tmp_path / "a.png")
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        found = read(path)
    assert found.shape == SHAPE
    assert found.pixel_size_nm is None
    told = [str(w.message) for w in caught if issubclass(w.category, FileWarning)]
    assert len(told) == len(caught) == (words is not None)
    assert words is None or words in told[0]


def test_only_regular_files_are_opened(tmp_path: Path) -> None:
    path = saved(tmp_path / "a.png")
    (tmp_path / "a.txt").mkdir()
    if hasattr(os, "mkfifo"):
        os.mkfifo(tmp_path / "a.hdr")  # to open it would hang
    assert read(path).pixel_size_nm is None


def test_what_everhart_wrote_goes_before_a_side_car(tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_text(HITACHI)
    for name in ("a.tif", "a.png"):
        image = Micrograph(np.ones(SHAPE, np.uint8), 3.0)
        assert read(write(image, tmp_path / name)).pixel_size_nm == (3.0, 3.0)


def test_imagej_goes_before_a_side_car(tmp_path: Path) -> None:
    import tifffile

    (tmp_path / "a.txt").write_text(HITACHI)
    tifffile.imwrite(tmp_path / "a.tif", np.ones(SHAPE, np.uint8), imagej=True,
                     resolution=(0.25, 0.25), metadata={"unit": "nm"})  # fmt: skip
    assert read(tmp_path / "a.tif").pixel_size_nm == (4.0, 4.0)

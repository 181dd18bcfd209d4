"""Vendors' tags in TIFF files, written here after their public descriptions.

Zeiss: hyperspy pull request 2056 and EM-tool issue 1. FEI: tifffile pull request 141 and
aicsimageio issue 558. Phenom: Bio-Formats pull request 3740. TESCAN: pynxtools-em. TVIPS: the
structures in tifffile and its issue 319. JEOL: the files of RosettaSciIO, and the lengths of
lines within them.
"""

from __future__ import annotations

import struct
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from everhart import Micrograph
from everhart.io import FileWarning, read

tifffile = pytest.importorskip("tifffile")

Write = Callable[..., Micrograph]


@pytest.fixture
def with_tag(tmp_path: Path) -> Write:
    """Write an image with one tag of bytes, and read it."""

    def write(code: int, raw: bytes, *, shape: tuple[int, int] = (48, 64), **options: Any) -> Any:
        path = tmp_path / "a.tif"
        tag = (code, 7, len(raw), raw, True)
        tifffile.imwrite(path, np.ones(shape, np.uint8), metadata=None, extratags=[tag], **options)
        return read(path)

    return write


def zeiss(*entries: tuple[str, str], header_m: float | None = None) -> bytes:
    numbers = ["0", "0", "0", f"{header_m:.6e}"] if header_m is not None else []
    lines = [*numbers, "20000", *(line for entry in entries for line in entry)]
    return "\r\n".join(lines).encode("cp1252")


IMAGE, NOMINAL = "AP_IMAGE_PIXEL_SIZE", "AP_PIXEL_SIZE"


@pytest.mark.parametrize(
    ("raw", "columns", "nm"),
    [
        (zeiss((IMAGE, "Image Pixel Size = 558.2 pm")), 1024, 0.5582),
        (zeiss((IMAGE, "Image Pixel Size =  2.791 nm")), 64, 2.791),
        (zeiss((IMAGE, "Image Pixel Size = 1.117 µm")), 64, 1117.0),
        (zeiss((IMAGE, "Image Pixel Size = 5,582 Å")), 64, 0.5582),
        # The header has more digits: of the same size, or of the monitor's.
        (zeiss((IMAGE, "Image Pixel Size = 7.344 nm"), header_m=7.34375e-9), 1024, 7.34375),
        (zeiss((IMAGE, "Image Pixel Size = 3.672 nm"), header_m=7.34375e-9), 2048, 3.671875),
        (zeiss((IMAGE, "Image Pixel Size = 14.69 nm"), header_m=7.34375e-9), 512, 14.6875),
        # It says another thing than the text: an old header in a file that was changed.
        (zeiss((IMAGE, "Image Pixel Size = 50.0 nm"), header_m=7.34375e-9), 1024, 50.0),
        # Without the image's own size: the monitor's, and the columns that are stored.
        (zeiss((NOMINAL, "Pixel Size = 8.0 nm")), 1024, 8.0),
        (zeiss((NOMINAL, "Pixel Size = 8.0 nm")), 2048, 4.0),
        (zeiss((NOMINAL, "Pixel Size = 9.0 nm")), 3072, 3.0),
        (zeiss(header_m=8e-9), 2048, 4.0),
        (zeiss(("DP_IMAGE_STORE", "Store resolution = 2048 * 1536"), header_m=8e-9), 900, 4.0),
        (zeiss(("DP_IMAGE_STORE", "Store resolution = 1024 * 768"), header_m=8e-9), 900, 8.0),
        (zeiss(("AP_WIDTH", "Width = 2.048 µm")), 2048, 1.0),
    ],
)  # fmt: skip
def test_the_two_pixel_sizes_of_zeiss(with_tag: Write, raw: bytes, columns: int, nm: float) -> None:
    found = with_tag(34118, raw, shape=(8, columns))
    assert found.pixel_size_nm == pytest.approx((nm, nm), rel=1e-6)
    assert found.metadata["everhart"]["pixel_size_source"] == "zeiss"


@pytest.mark.parametrize("options", [{}, {"byteorder": ">"}, {"bigtiff": True}], ids=str)
def test_conditions_of_zeiss(with_tag: Write, options: dict[str, Any]) -> None:
    raw = zeiss(
        (IMAGE, "Image Pixel Size = 2.5 nm"), ("AP_MAG", "Mag =  50.00 K X"),
        ("AP_ACTUALKV", "EHT = 5.00 kV"), ("AP_WD", "WD =  2.8 mm"),
        ("DP_DWELL_TIME", "Dwell Time = 100 ns"), ("DP_DETECTOR_TYPE", "Detector = SE2"),
        ("AP_LINE_AVERAGE_COUNT", "Line Avg.Count = 10"), ("DP_SEM", "Sem = Supra 40"),
        ("AP_DATE", "Date :18 Jul 2019"), ("AP_TIME", "Time :10:10:34"),
        ("AP_STAGE_AT_X", "Stage at X = 64.1262 mm"), ("AP_STAGE_AT_T", "Stage at T = 1.5 °"),
    )  # fmt: skip
    found = with_tag(34118, raw, **options)
    assert found.metadata["common"] == {
        "instrument": "Supra 40", "beam": "electron", "beam_energy_kev": 5.0, "dwell_time_s": 1e-7,
        "line_integration": 10, "detector": "SE2", "working_distance_mm": 2.8,
        "magnification": 50000.0, "acquisition_time": "2019-07-18T10:10:34",
        "stage": {"x_mm": 64.1262, "tilt_deg": 1.5},
    }  # fmt: skip


def fei(**values: str) -> str:
    scan = "\r\n".join(f"{name}={value}" for name, value in values.items())
    return f"[User]\r\nUserText=Образец\r\n[Beam]\r\nHV=5000\r\n[Scan]\r\n{scan}\r\n"


@pytest.mark.parametrize("encoding", ["utf-8", "cp1251", "cp932", "latin-1", "utf-16"])
def test_fei_in_the_encodings_of_the_world(with_tag: Write, encoding: str) -> None:
    text = fei(PixelWidth="2e-009", PixelHeight="3e-009")
    found = with_tag(34682, text.encode(encoding, errors="replace"))
    assert found.pixel_size_nm == pytest.approx((3.0, 2.0))
    assert found.metadata["common"]["beam_energy_kev"] == 5.0


def test_fei_with_decimal_commas(with_tag: Write) -> None:
    found = with_tag(34680, fei(PixelWidth="1,5e-09", PixelHeight="2,5E-009").encode())
    assert found.pixel_size_nm == pytest.approx((2.5, 1.5))


def test_fei_without_a_pixel_size_has_the_width_of_its_field(with_tag: Write) -> None:
    text = fei(HorFieldsize="6.4e-7") + "[Image]\r\nResolutionX=64\r\nResolutionY=48\r\n"
    assert with_tag(34682, text.encode()).pixel_size_nm == pytest.approx((10.0, 10.0))


def test_fei_with_the_height_of_its_bar(with_tag: Write) -> None:
    text = fei(PixelWidth="2e-9") + "[PrivateFei]\r\nDatabarHeight=6\r\n"
    found = with_tag(34682, text.encode())
    assert (found.data_bar_rows, found.metadata["everhart"]["data_bar_source"]) == (6, "fei")


PHENOM = """<?xml version="1.0" encoding="utf-16"?><FeiImage version="1"><time>2020-03-04T05:06:07
</time><databarHeight>8</databarHeight><pixelWidth unit="um">0.694952</pixelWidth>
<pixelHeight unit="nm">700</pixelHeight><workingDistance unit="mm">5.5</workingDistance>
<instrument><edition>G4 Phenom ProX</edition></instrument><acquisition><scan>
<dwellTime unit="ns">200</dwellTime><highVoltage unit="kV">-10</highVoltage>
<detector>BSD</detector></scan></acquisition></FeiImage>"""


def test_phenom(with_tag: Write) -> None:
    found = with_tag(34683, PHENOM.encode())
    assert found.pixel_size_nm == pytest.approx((700.0, 694.952))
    assert found.data_bar_rows == 8
    assert found.metadata["common"] == {
        "instrument": "G4 Phenom ProX", "beam": "electron", "beam_energy_kev": 10.0,
        "dwell_time_s": 2e-7, "detector": "BSD", "working_distance_mm": 5.5,
        "acquisition_time": "2020-03-04T05:06:07",
    }  # fmt: skip


def test_phenom_in_jpeg(tmp_path: Path) -> None:
    from PIL import Image

    path = tmp_path / "a.jpg"
    Image.fromarray(np.ones((48, 64), np.uint8)).save(path)
    path.write_bytes(path.read_bytes() + PHENOM.encode())
    found = read(path)
    assert found.pixel_size_nm == pytest.approx((700.0, 694.952))
    assert found.metadata["everhart"]["pixel_size_source"] == "phenom"


def test_fei_xml_of_mementos(with_tag: Write) -> None:
    def item(name: str, inside: str) -> str:
        return f"<item><value><MementoItem><Name>{name}</Name>{inside}</MementoItem></value></item>"

    sides = item("Width", "<anyType>1.6E-08</anyType>") + item("Height", "<anyType>2E-08</anyType>")
    pixel = item("PixelSize", f"<MementoItemSection>{sides}</MementoItemSection>")
    scan = item("Scan", f"<MementoItemSection>{pixel}</MementoItemSection>")
    found = with_tag(34683, f"<Root>{scan}</Root>".encode())
    assert found.pixel_size_nm == pytest.approx((20.0, 16.0))


TESCAN = (
    "AccFrames=4\r\nCompany=TESCAN\r\nDate=2019-03-12\r\nDevice=MIRA3\r\nDeviceModel=MIRA3 LMH\r\n"
    "ImageStripSize=6\r\nMagnification=5000.0\r\nPixelSizeX=4.1e-008\r\nPixelSizeY=4.2e-008\r\n"
    "Time=10:22:13\r\nDetector=SE\r\nDwellTime=3.2e-006\r\nHV=15000.0\r\nStageX=0.0123\r\n"
    "StageTilt=30\r\nWD=0.0100\r\nPredictedBeamCurrent=1e-010\r\n"
)


@pytest.mark.parametrize(
    "before",
    [b"", b"[MAIN]\r\n", struct.pack("<IH", 40, 7) + b"\xff\x4f\xff\x51" + bytes(range(32)),
     b"\x89PNG\0\1" * 90],
    ids=["bare", "section", "thumbnail", "large thumbnail"],
)  # fmt: skip
def test_tescan(with_tag: Write, before: bytes) -> None:
    found = with_tag(50431, before + TESCAN.encode() + b"\0\x99\x03\0\0\0\0")
    assert found.pixel_size_nm == pytest.approx((42.0, 41.0))
    assert found.metadata["everhart"] == {
        "pixel_size_source": "tescan", "data_bar_source": "tescan", "format": "TIFF",
    }  # fmt: skip
    assert found.data_bar_rows == 6
    assert found.metadata["common"] == {
        "instrument": "MIRA3 LMH", "beam": "electron", "beam_energy_kev": 15.0,
        "beam_current_pa": 100.0, "dwell_time_s": 3.2e-6, "frame_integration": 4, "detector": "SE",
        "working_distance_mm": 10.0, "magnification": 5000.0,
        "acquisition_time": "2019-03-12T10:22:13", "stage": {"x_mm": 12.3, "tilt_deg": 30.0},
    }  # fmt: skip


def tvips(version: int, **values: Any) -> bytes:
    first = np.zeros((), np.dtype(tifffile.TIFF.TVIPS_HEADER_V1).newbyteorder("<"))
    first["Version"], first["HighTension"] = version, 120
    if version == 1:
        return bytes(first.tobytes())
    second = np.zeros((), np.dtype(tifffile.TIFF.TVIPS_HEADER_V2).newbyteorder("<"))
    for name, value in {"Magic": 0xAAAAAAAA, **values}.items():
        second[name] = value
    return bytes(first.tobytes() + second.tobytes())


def test_tvips(with_tag: Write) -> None:
    date = 2023 << 16 | 5 << 8 | 17
    raw = tvips(2, PixelSizeX=0.5, PixelSizeY=0.25, TemHighTension=200_000, Date=date, Time=3661,
                TemMagnification=50_000)  # fmt: skip
    found = with_tag(37706, raw)
    assert found.pixel_size_nm == (0.25, 0.5)
    assert found.metadata["common"] == {
        "beam": "electron", "beam_energy_kev": 200.0, "magnification": 50_000.0,
        "acquisition_time": "2023-05-17T01:01:01",
    }  # fmt: skip
    first = with_tag(37706, tvips(1))
    assert first.pixel_size_nm is None
    assert first.metadata["common"]["beam_energy_kev"] == 120.0


JEOL = """<?xml version="1.0"?><TemReporter xmlns:xsi="http://www.w3.org/2001/XMLSchema-instance">
<Instruments>JEM-ARM200F</Instruments><DateTime>2019-11-27T16:11:26.6205405+09:00</DateTime>
<ElectronGun><AccelerationVoltage>200000</AccelerationVoltage></ElectronGun>
<Eos><EosMode>{eos}</EosMode></Eos><ImageFormingSystem><ImageFormingMode>{mode}</ImageFormingMode>
<SelectorValue>{value}</SelectorValue><SelectorUnitString>{unit}</SelectorUnitString>
</ImageFormingSystem><GonioStage><StagePosition><MX>-1196.3</MX><TX>0.1</TX></StagePosition>
</GonioStage><Measurement><PixelsPerMeter><Horizontal>4000</Horizontal><Vertical>5000</Vertical>
</PixelsPerMeter></Measurement></TemReporter>"""


@pytest.mark.parametrize(
    ("said", "size"),
    [
        ({"eos": "eosTEM", "mode": "modeMAG1", "value": 100_000, "unit": "X"}, (2.0, 2.5)),
        ({"eos": "eosTEM", "mode": "modeDIFF", "value": 400, "unit": "mm"}, None),
        ({"eos": "eosASID", "mode": "modeMAG1", "value": 400_000, "unit": "X"}, None),
        ({"eos": "eosTEM", "mode": "modeMAG1", "value": 0, "unit": "X"}, None),
    ],
)  # fmt: skip
def test_jeol_xml(tmp_path: Path, said: dict[str, Any], size: tuple[float, float] | None) -> None:
    path = tmp_path / "a.tif"
    tifffile.imwrite(path, np.ones((8, 8), np.uint16), description=JEOL.format(**said),
                     metadata=None, resolution=(93, 93), resolutionunit=2)  # fmt: skip
    found = read(path)
    assert found.pixel_size_nm == (pytest.approx(size) if size else None)
    common = found.metadata["common"]
    assert common["beam_energy_kev"] == 200.0
    assert common["acquisition_time"] == "2019-11-27T16:11:26+09:00"
    assert common["stage"] == {"x_mm": -1.1963, "tilt_deg": 0.1}
    assert ("magnification" in common) == (said["unit"] == "X" and said["value"] != 0)


@pytest.mark.parametrize(
    ("unit", "size"),
    [("nm", (2.0, 0.5)), ("µm", (2000.0, 500.0)), ("pm", (0.002, 0.0005)), ("1/nm", None),
     ("mrad", None), ("", None)],
)  # fmt: skip
def test_digital_micrograph_in_tiff(
    tmp_path: Path, unit: str, size: tuple[float, float] | None
) -> None:
    raw = unit.encode() + b"\0"
    tags: list[Any] = [(code, 2, len(raw), raw, True) for code in (65003, 65004)]
    tags += [(65009, 12, 1, 0.5, True), (65010, 12, 1, 2.0, True)]
    path = tmp_path / "a.tif"
    tifffile.imwrite(path, np.ones((8, 8), np.float32), metadata=None, extratags=tags)
    assert read(path).pixel_size_nm == (pytest.approx(size) if size else None)


@pytest.mark.parametrize(
    "unit",
    [(2, b"\xb5m\0"), (7, "µm\0".encode()), (1, "µm\0".encode("utf-16-le")),
     (3, "µm\0".encode("utf-16-le"))],
)  # fmt: skip
def test_units_of_digital_micrograph_in_tiff(tmp_path: Path, unit: tuple[int, bytes]) -> None:
    kind, raw = unit
    value: Any = tuple(np.frombuffer(raw, np.uint16).tolist()) if kind == 3 else raw
    tags = [(code, kind, len(value), value, True) for code in (65003, 65004)]
    tags += [(65009, 12, 1, 0.5, True), (65010, 12, 1, -2.0, True)]
    path = tmp_path / "a.tif"
    tifffile.imwrite(path, np.ones((8, 8), np.float32), metadata=None, extratags=tags)
    found = read(path)
    assert found.pixel_size_nm == (2000.0, 500.0)
    assert found.metadata["digital_micrograph"]["unit_x"] == "µm"


@pytest.mark.parametrize(
    ("unit", "nm"),
    [("pm", 1e-3), ("Å", 0.1), ("μm", 1e3), ("mm", 1e6), ("in", 2.54e7), ("Pm", None),
     ("pixel", None), ("reference frame", None)],
)  # fmt: skip
def test_units_of_ome(tmp_path: Path, unit: str, nm: float | None) -> None:
    details = {"axes": "YX", **{f"PhysicalSize{axis}": 0.5 for axis in "XY"},
               **{f"PhysicalSize{axis}Unit": unit for axis in "XY"}}  # fmt: skip
    path = tmp_path / "a.ome.tif"
    tifffile.imwrite(path, np.ones((8, 8), np.uint8), ome=True, metadata=details)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", FileWarning)  # half an inch is not believable
        found = read(path)
    if nm is None or nm > 1e7:
        assert found.pixel_size_nm is None
    else:
        assert found.pixel_size_nm == pytest.approx((nm / 2, nm / 2))


CODES = (34118, 34680, 34682, 34683, 50431, 37706, 33471, 33560, 65009)
JUNK = {
    "empty": b"\0", "bytes": bytes(range(256)) * 4, "text": b"nothing that anybody knows",
    "xml": b"<FeiImage><pixelWidth>", "zero": b"[Scan]\nPixelWidth=0\nPixelSizeX=0\n",
    "nan": b"[MAIN]\nPixelWidth=nan\nPixelSizeX=nan\nAP_PIXEL_SIZE\nPixel Size = nan nm\n",
    "huge": b"[Scan]\nPixelWidth=1e999\nPixelSizeX=1e999\n", "deep": b"<a>" * 500 + b"</a>" * 500,
}  # fmt: skip


@pytest.mark.parametrize("code", CODES)
@pytest.mark.parametrize("junk", list(JUNK))
def test_junk_in_a_tag_costs_no_image(with_tag: Write, code: int, junk: str) -> None:
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        found = with_tag(code, JUNK[junk])
    assert found.shape == (48, 64)
    assert found.pixels.all()
    assert found.pixel_size_nm is None
    assert all(issubclass(w.category, FileWarning) for w in caught)
    assert len(caught) <= 1

"""SER and EMI files: the real ones, those made here byte by byte, and broken ones."""

from __future__ import annotations

import contextlib
import shutil
import struct
import time
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from everhart.errors import EverhartError, FileFormatError, LimitError
from everhart.io import DEFAULT_LIMITS, FileWarning, Limits, lazy, read
from everhart.io.formats.tia import EMI, SER

from .tia_files import emi, info, pair, ser, spectrum

# Shape, dtype, pixel size (y and x in nm), sum, first and last pixel, as RosettaSciIO 0.15 and
# ncempy 1.16 have them; both show the last row of the file at the top.
REAL = {
    "03_Scanning Preview_1.ser": ((5, 128, 128), "uint16", 0.3843524875, 1002654171, 3514, 4542),
    "128x128-TEM_search_1.ser": ((128, 128), "int32", 5.261214205, 169637782, 12796, 12303),
    "128x128_TEM_acquire-sum1_1.ser": ((128, 128), "int32", 21.479317511, 464056, 64, 138),
    "64x64x5_TEM_preview_1.ser": (
        (5, 64, 64), "float32", 6.281833616, 42890461.5477, 2624.097, 2348.5732,
    ),
    "tk_r_em__hrstem_example.ser": (
        (1024, 1024), "uint16", 0.0524071946, 2899041906, 2598, 2276,
    ),
}  # fmt: skip
# What the EMI files say, as seen in their XML.
REAL_COMMON = {
    "03_Scanning Preview.emi": {
        "instrument": "TitanCubed 300 kV D3128 UltraTwin", "beam_energy_kev": 200,
        "dwell_time_s": 1.2e-05, "magnification": 1_300_000, "camera_length_mm": 135,
        "acquisition_time": "2019-04-25T09:30:09", "spot_size": 7, "emission_current_ua": 310.9,
    },
    "128x128-TEM_search.emi": {
        "exposure_time_s": 0.1, "detector": "BM-Ceta", "operation_mode": "TEM uP SA Zoom Image",
        "acquisition_time": "2016-02-22T18:50:01", "magnification": 22_500,
    },
    "128x128_TEM_acquire-sum1.emi": {"exposure_time_s": 0.05, "magnification": 5_500},
    "64x64x5_TEM_preview.emi": {"exposure_time_s": 0.0625, "detector": "WA-Orius"},
}  # fmt: skip


@pytest.mark.parametrize("name", REAL)
def test_real_files(shared_data: Path, name: str) -> None:
    shape, dtype, size, total, first, last = REAL[name]
    folder = shared_data / "formats" / "tia"
    image = read(folder / name)
    assert (image.shape, str(image.dtype)) == (shape, dtype)
    assert image.pixel_size_nm == pytest.approx((size, size), rel=1e-9)
    assert image.pixels.sum(dtype=np.float64) == pytest.approx(total, rel=1e-9)
    assert image.pixels.ravel()[0] == pytest.approx(first, rel=1e-7)
    assert image.pixels.ravel()[-1] == pytest.approx(last, rel=1e-7)
    assert image.metadata["everhart"]["pixel_size_source"] == "tia"
    document = folder / name.replace("_1.ser", ".emi")
    if document.exists():
        np.testing.assert_array_equal(read(document).pixels, image.pixels)


@pytest.mark.parametrize("name", REAL_COMMON)
def test_real_conditions(shared_data: Path, name: str) -> None:
    folder = shared_data / "formats" / "tia"
    common = read(folder / name).metadata["common"]
    assert {key: common.get(key) for key in REAL_COMMON[name]} == REAL_COMMON[name]
    beside = read(folder / name.replace(".emi", "_1.ser"))
    assert beside.metadata["common"] == common


def write_ser(tmp_path: Path, *args: Any, **options: Any) -> Path:
    path = tmp_path / "image.ser"
    path.write_bytes(ser(*args, **options))
    return path


DTYPES = ("u1", "u2", "u4", "i1", "i2", "i4", "f4", "f8")


@pytest.mark.parametrize("version", [0x0210, 0x0220])
@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("shape", [(5, 7), (3, 5, 7), (1, 9), (2, 9, 1)])
def test_every_dtype_version_and_stack(
    tmp_path: Path, version: int, dtype: str, shape: tuple[int, ...]
) -> None:
    pixels = (np.arange(np.prod(shape)) - 5).astype(dtype).reshape(shape)
    path = write_ser(tmp_path, pixels, version=version, delta=(3e-9, 2e-9))
    image = read(path)
    np.testing.assert_array_equal(image.pixels, pixels)
    assert image.dtype == np.dtype(dtype)
    assert image.pixels.flags.writeable
    assert image.pixel_size_nm == (3.0, 2.0)
    assert image.metadata["common"]["acquisition_time"] == "2016-02-22T18:48:37+00:00"
    reader = SER.frames(path, DEFAULT_LIMITS)  # type: ignore[misc]
    stack = pixels if pixels.ndim == 3 else pixels[None]
    assert (reader.shape, reader.dtype) == (stack.shape, pixels.dtype)
    for number in range(len(stack)):
        np.testing.assert_array_equal(reader.frame(number), stack[number])
    assert reader.pixel_size_nm == (3.0, 2.0)
    reader.close()


@given(
    pixels=hnp.arrays(
        st.sampled_from(DTYPES), hnp.array_shapes(min_dims=2, max_dims=3, max_side=6)
    ),
    version=st.sampled_from([0x0210, 0x0220]),
    gaps=st.lists(st.integers(0, 9), max_size=6),
    more=st.integers(0, 5),
)
def test_any_series_is_read(
    tmp_path_factory: pytest.TempPathFactory, pixels: Any, version: int, gaps: Any, more: int
) -> None:
    count = len(pixels) if pixels.ndim == 3 else 1
    path = write_ser(
        tmp_path_factory.mktemp("ser"), pixels, version=version, gaps=gaps, total=count + more
    )
    expected = pixels[0] if pixels.ndim == 3 and count == 1 else pixels
    np.testing.assert_array_equal(read(path).pixels, expected)


@pytest.mark.parametrize(
    ("delta", "size"),
    [
        ((1e-12, 2e-12), (0.001, 0.002)),
        ((2.5e-6, 1e-6), (2500.0, 1000.0)),
        ((-2e-9, 2e-9), (2.0, 2.0)),
        ((1.0, 1.0), None),
        ((0.0, 0.0), None),
    ],
)
def test_pixel_sizes(tmp_path: Path, delta: tuple[float, float], size: Any) -> None:
    assert read(write_ser(tmp_path, np.eye(4, dtype="u2"), delta=delta)).pixel_size_nm == size


@pytest.mark.parametrize("delta", [(2e7, 2e7), (np.nan, 1e-9), (np.inf, np.inf), (0.0, 1e-9)])
def test_what_is_no_length_costs_the_calibration(tmp_path: Path, delta: Any) -> None:
    path = write_ser(tmp_path, np.eye(4, dtype="u2"), delta=delta)
    with pytest.warns(FileWarning, match="not believable"):
        image = read(path)
    assert image.pixel_size_nm is None
    assert image.pixels.sum() == 4


def test_conditions_of_an_emi_file(tmp_path: Path) -> None:
    pixels = np.arange(12, dtype="i4").reshape(3, 4)
    path = pair(tmp_path, pixels)
    for given_path in (path, tmp_path / "scan_1.ser"):
        image = read(given_path)
        np.testing.assert_array_equal(image.pixels, pixels)
        assert image.metadata["common"] == {
            "instrument": "Talos 200 kV", "beam": "electron", "beam_energy_kev": 200.0,
            "exposure_time_s": 0.1, "detector": "BM-Ceta", "operation_mode": "TEM uP SA Zoom Image",
            "magnification": 9000.0, "camera_length_mm": 135.0, "spot_size": 3.0,
            "emission_current_ua": 225.0, "acquisition_time": "2016-02-22T18:50:01",
            "stage": {"x_mm": 0.147, "tilt_deg": -12.5},
        }  # fmt: skip
        tree = image.metadata["tia"]
        assert tree["ExperimentalDescription"]["Emission"] == "225.0 uA"
        assert tree["TrueImageHeaderInfo"] == {"5": "1"}
    reader = EMI.frames(path, DEFAULT_LIMITS)  # type: ignore[misc]
    assert reader.metadata["common"]["magnification"] == 9000.0
    np.testing.assert_array_equal(reader.frame(0), pixels)


@pytest.mark.parametrize(
    ("mode", "camera", "size"),
    [
        (" TEM uP SA Zoom Diffraction", "BM-Ceta", None),
        (" STEM nP SA Zoom Diffraction", "", (2.0, 2.0)),
        (" STEM nP SA Zoom Diffraction", "BM-Ceta", None),
        (" TEM uP SA Zoom Image", "BM-Ceta", (2.0, 2.0)),
    ],
)
def test_patterns_have_no_pixel_size(tmp_path: Path, mode: str, camera: str, size: Any) -> None:
    path = pair(tmp_path, np.eye(4, dtype="u2"))
    path.write_bytes(emi(info(mode=mode, camera=camera)))
    expected = pytest.warns(FileWarning, match="diffraction pattern") if size is None else (
        contextlib.nullcontext()
    )  # fmt: skip
    with expected:
        image = read(path)
    assert image.pixel_size_nm == size


def test_an_emi_file_without_its_series_names_what_is_missing(tmp_path: Path) -> None:
    path = tmp_path / "scan.emi"
    path.write_bytes(emi(info()))
    with pytest.raises(FileFormatError, match=r"scan_1\.ser"):
        read(path)


def test_the_first_image_of_several_series(tmp_path: Path) -> None:
    path = tmp_path / "scan.emi"
    path.write_bytes(emi(*(info(magnification=1000 * n) for n in (1, 2, 3))))
    (tmp_path / "scan_1.ser").write_bytes(spectrum())
    (tmp_path / "scan_2.ser").write_bytes(ser(np.full((3, 3), 2, "u2")))
    (tmp_path / "scan_3.ser").write_bytes(ser(np.full((9, 9), 3, "u2")))
    with pytest.warns(FileWarning, match=r"scan_2\.ser was read, and not scan_3\.ser"):
        image = read(path)
    assert image.pixels[0, 0] == 2
    assert image.metadata["common"]["magnification"] == 2000
    assert read(tmp_path / "scan_3.ser").metadata["common"]["magnification"] == 3000
    for number in (2, 3):
        (tmp_path / f"scan_{number}.ser").unlink()
    with pytest.raises(FileFormatError, match="spectra"):
        read(path)


@pytest.mark.parametrize(
    "text",
    [
        b"",
        b"JK\0\x02 nothing",
        b"<ObjectInfo>",
        b"<ObjectInfo><a></ObjectInfo>",
        b"<!DOCTYPE a><ObjectInfo/></ObjectInfo>",
        b"<ObjectInfo>" + b"<a>" * 300 + b"</a>" * 300 + b"</ObjectInfo>",
    ],
)
def test_a_broken_emi_file_costs_its_conditions(tmp_path: Path, text: bytes) -> None:
    pair(tmp_path, np.eye(4, dtype="u2"))
    (tmp_path / "scan.emi").write_bytes(text)
    with pytest.warns(FileWarning, match="EMI"):
        image = read(tmp_path / "scan_1.ser")
    assert image.pixel_size_nm == (2.0, 2.0)


def test_odd_conditions_are_left_out(tmp_path: Path) -> None:
    pair(tmp_path, np.eye(4, dtype="u2"))
    odd = info(date="Mon Foo 42 18:50:01 2016").replace("0.100000", "fast")
    odd = odd.replace("<Value>200</Value>", "<Value>none</Value>")
    odd = odd.replace("&lt;Index&gt;", "&lt;Index")
    (tmp_path / "scan.emi").write_bytes(emi(odd))
    common = read(tmp_path / "scan_1.ser").metadata["common"]
    assert "beam_energy_kev" not in common
    assert "exposure_time_s" not in common
    assert common["acquisition_time"] == "2016-02-22T18:48:37+00:00"


WHOLE = ser(np.arange(24, dtype="u2").reshape(2, 3, 4))


def patched(at: int, form: str, value: float) -> bytes:
    data = bytearray(WHOLE)
    struct.pack_into(form, data, at, value)
    return bytes(data)


FIRST = struct.unpack_from("<Q", WHOLE, 72)[0]


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (spectrum(), "spectra"),
        (ser(np.zeros((3, 3), "c8")), "complex"),
        (ser(np.zeros((3, 3), "c16")), "complex"),
        (ser(np.zeros((4, 3, 3), "u1"), dimensions=(2, 2)), "map of 2 x 2 images"),
        (patched(4, "<H", 0x0230), "version 0x0230"),
        (patched(6, "<I", 0x4121), "elements of the type"),
        (patched(18, "<I", 0), "no image of the series was recorded"),
        (patched(18, "<I", 3), "3 images in a series of 2"),
        (patched(22, "<Q", 2**63), "truncated"),
        (patched(22, "<Q", len(WHOLE) - 8), "truncated"),
        (patched(30, "<I", 2**31), "dimensions"),
        (patched(58, "<I", 2**32 - 1), "a text of"),
        (patched(72, "<Q", 2**63), "truncated"),
        (patched(72, "<Q", 2**62), "truncated"),
        (patched(80, "<Q", FIRST), "overlap"),
        (patched(FIRST + 40, "<h", 11), "data type 11"),
        (patched(FIRST + 42, "<i", -4), "broken"),
        (patched(FIRST + 42, "<i", 2**20), "truncated"),
        (patched(FIRST + 46, "<i", 2), "another size"),
    ],
)
def test_wrong_claims_are_refused(tmp_path: Path, data: bytes, message: str) -> None:
    path = tmp_path / "image.ser"
    path.write_bytes(data)
    with pytest.raises(FileFormatError, match=message):
        read(path)


def test_bombs_are_refused_before_memory_is_spent(tmp_path: Path) -> None:
    path = tmp_path / "image.ser"
    start = time.perf_counter()
    for data in (
        patched(14, "<I", 2**32 - 1)[:18] + struct.pack("<I", 2**32 - 1) + WHOLE[22:],
        ser(np.zeros((3, 3), "f8"), sizes=(2**31 - 1, 2**31 - 1)),
    ):
        path.write_bytes(data)
        with pytest.raises(LimitError):
            read(path)
    assert time.perf_counter() - start < 1


def test_limits_hold_for_frames(tmp_path: Path) -> None:
    path = write_ser(tmp_path, np.zeros((3, 4, 4), "u1"))
    with pytest.raises(LimitError, match="3 frames"):
        read(path, limits=Limits(max_frames=2))
    uneven = write_ser(tmp_path, np.zeros((3, 4, 4), "u1"), gaps=(0, 0, 5))
    with pytest.raises(LimitError, match="bytes decoded"):
        read(uneven, limits=Limits(max_decoded_bytes=40))


def test_a_large_stack_is_mapped(tmp_path: Path) -> None:
    shape, count = (1024, 1024), 2048
    whole = ser(np.zeros((1, *shape), "u2"), total=count)
    table = 72
    first = struct.unpack_from("<Q", whole, table)[0]
    step = len(whole) - first
    data = bytearray(whole)
    struct.pack_into("<I", data, 18, count)
    offsets = first + step * np.arange(count, dtype="<u8")
    data[table : table + 8 * count] = offsets.tobytes()
    path = tmp_path / "film.ser"
    path.write_bytes(data)
    header = data[first : first + 50]
    with path.open("r+b") as file:
        for offset in offsets.tolist():
            file.seek(offset)
            file.write(header)
        file.seek(int(offsets[-1]) + 50)
        file.write(b"\x07\0")
        file.truncate(int(offsets[-1]) + step)  # sparse: 4.3 GB
    start = time.perf_counter()
    image = read(path)
    took = time.perf_counter() - start
    assert image.shape == (count, *shape)
    assert image.pixels.nbytes > lazy.MAPPED_BYTES
    assert image.pixels[-1, -1, 0] == 7  # the first row of the file is the lowest
    assert took < 2  # 0.1 s here; machines differ


def broken_files(rng: np.random.Generator, whole: bytes, cuts: int, changes: int) -> Any:
    for cut in rng.integers(0, len(whole), cuts).tolist():
        yield whole[:cut], True
    for _ in range(changes):
        data = bytearray(whole)
        for at in (len(data) * rng.random(rng.integers(1, 6)) ** 3).astype(int):
            data[at] = rng.choice([0, 1, 127, 128, 255, rng.integers(256)])
        yield bytes(data), False


@pytest.mark.parametrize("version", [0x0210, 0x0220])
def test_broken_files_are_errors_or_images(tmp_path: Path, version: int) -> None:
    rng = np.random.default_rng(version)
    pixels = rng.integers(0, 99, (3, 9, 11)).astype("i2")
    path = pair(tmp_path, pixels, version=version)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", FileWarning)
        for name in ("scan_1.ser", "scan.emi"):
            whole = (tmp_path / name).read_bytes()
            for data, cut in broken_files(rng, whole, 30, 300):
                (tmp_path / name).write_bytes(data)
                with contextlib.suppress(EverhartError):
                    image = read(tmp_path / "scan_1.ser")
                    assert image.pixels.size <= 3 * 9 * 11
                    # The last tag is a time, and not missed.
                    assert not cut or np.array_equal(image.pixels, pixels)
            (tmp_path / name).write_bytes(whole)
    np.testing.assert_array_equal(read(path).pixels, pixels)


def test_real_files_cut_short_are_refused(shared_data: Path, tmp_path: Path) -> None:
    name = "64x64x5_TEM_preview_1.ser"
    path = tmp_path / name
    shutil.copy(shared_data / "formats" / "tia" / name, path)
    whole = path.read_bytes()
    for length in (0, 3, 29, 60, 200, 16_000, 65_000, 80_000, len(whole) - 9):
        path.write_bytes(whole[:length])
        with pytest.raises(FileFormatError):
            read(path)

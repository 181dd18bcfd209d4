"""MRC files: real ones, those made here byte by byte, broken ones, and what we write."""

import contextlib
import struct
from pathlib import Path
from typing import Any

import mrcfile
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from everhart import Micrograph
from everhart.errors import EverhartError, FileFormatError, LimitError, UsageError
from everhart.io import FileWarning, lazy, read, write
from everhart.micrograph import HistoryEntry

# Shape, dtype, pixel size and sum as RosettaSciIO 0.15 and mrcfile 1.5 have them; the first
# three films have a cell of minus 10 angstrom a pixel, which means that nothing is calibrated.
REAL = {
    "20241021_00405_final.mrc": ((4, 8), "float32", None, 15872),
    "20241021_00405_movie.mrc": ((32, 4, 8), "uint16", None, 15872),
    "Custom_movie.mrc": ((30, 16, 16), "uint16", None, 9006430),
    "HAADFscan.mrc": ((16, 16), "uint16", 5.6791313, 1552947),
}


@pytest.mark.parametrize("name", REAL)
@pytest.mark.filterwarnings("ignore::everhart.io.FileWarning")
def test_real_files(shared_data: Path, name: str) -> None:
    shape, dtype, size, total = REAL[name]
    image = read(shared_data / "formats" / "mrc" / name)
    assert (image.shape, str(image.dtype)) == (shape, dtype)
    assert image.pixels.sum(dtype=np.float64) == total
    if size is None:
        assert image.pixel_size_nm is None
    else:
        assert image.pixel_size_nm == pytest.approx((size, size), rel=1e-6)
        common = image.metadata["common"]
        assert common["beam_energy_kev"] == 300
        assert (common["operation_mode"], common["detector"]) == ("STEM", "HAADF")
        assert common["acquisition_time"] == "2022-12-05T12:13:07"


def make(
    pixels: np.ndarray, mode: int, *, order: str = "<", cell: tuple[float, ...] = (0, 0, 0),
    extension: bytes = b"", named: bool = True, **fields: int,
) -> bytes:  # fmt: skip
    """Write an MRC2014 header by hand, as its public description has it."""
    z, y, x = (1,) * (3 - pixels.ndim) + pixels.shape
    header = bytearray(1024)
    struct.pack_into(order + "10i", header, 0, x, y, z, mode, 0, 0, 0, x, y, z)
    struct.pack_into(order + "3f", header, 40, *cell)
    struct.pack_into(order + "3i", header, 64, 1, 2, 3)
    struct.pack_into(order + "i", header, 92, len(extension))
    if named:
        header[208:216] = b"MAP " + (b"DD\0\0" if order == "<" else b"\x11\x11\0\0")
    for at, value in fields.items():
        struct.pack_into(order + "i", header, int(at[1:]), value)
    data = pixels.astype(pixels.dtype.newbyteorder(order)).tobytes()
    return bytes(header) + extension + data


MODES = {0: "i1", 1: "i2", 2: "f4", 6: "u2", 12: "f2"}


@pytest.mark.parametrize("order", "<>")
@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("shape", [(5, 7), (3, 5, 7)])
def test_every_mode_order_and_stack(
    tmp_path: Path, mode: int, order: str, shape: tuple[int, ...]
) -> None:
    pixels = (np.arange(np.prod(shape)) - 20).astype(MODES[mode]).reshape(shape)
    path = tmp_path / "image.bin"
    cell = (7 * 3.0, 5 * 4.0, 1.0)
    path.write_bytes(make(pixels, mode, order=order, cell=cell, extension=bytes(100)))
    image = read(path)
    np.testing.assert_array_equal(image.pixels, pixels)
    assert image.dtype == np.dtype(MODES[mode])
    assert image.pixel_size_nm == pytest.approx((0.4, 0.3))
    with mrcfile.open(path, permissive=True) as file:
        np.testing.assert_array_equal(file.data, pixels)


def test_bytes_of_imod_are_unsigned(tmp_path: Path) -> None:
    pixels = np.array([[0, 127, 128, 255]], np.uint8)
    path = tmp_path / "imod.mrc"
    path.write_bytes(make(pixels, 0, b152=1146047817))
    assert read(path).pixels.tolist() == [[0, 127, 128, 255]]
    path.write_bytes(make(pixels, 0, b152=1146047817, b156=1))
    assert read(path).pixels.tolist() == [[0, 127, -128, -1]]


def test_four_bits_a_pixel(tmp_path: Path) -> None:
    path = tmp_path / "falcon.mrc"
    data = make(np.zeros((2, 5), np.uint8), 101)[:1024] + bytes([0x21, 0x43, 0x05, 0x76, 0x98, 0xA])
    path.write_bytes(data)
    assert read(path).pixels.tolist() == [[1, 2, 3, 4, 5], [6, 7, 8, 9, 10]]


def test_old_files_without_a_name(tmp_path: Path) -> None:
    pixels = np.arange(60, dtype=np.int16).reshape(3, 20)
    for order in "<>":
        path = tmp_path / "old"
        path.write_bytes(make(pixels, 1, order=order, named=False))
        np.testing.assert_array_equal(read(path).pixels, pixels)


def test_unknown_calibration_is_none(tmp_path: Path) -> None:
    path = tmp_path / "image.mrc"
    pixels = np.zeros((4, 4), np.int16)
    path.write_bytes(make(pixels, 1, cell=(0, 0, 0)))
    assert read(path).pixel_size_nm is None
    path.write_bytes(make(pixels, 1, cell=(-40, -40, 0)))
    with pytest.warns(FileWarning, match="negative"):
        assert read(path).pixel_size_nm is None
    path.write_bytes(make(pixels, 1, cell=(float("nan"), 4, 4)))
    assert read(path).pixel_size_nm is None
    path.write_bytes(make(pixels, 1, cell=(1e30, 1e30, 4)))
    with pytest.warns(FileWarning, match="not believable"):
        assert read(path).pixel_size_nm is None


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"b12": 4}, "complex"),
        ({"b12": 9}, "mode 9"),
        ({"b0": -1}, "broken"),
        ({"b0": 2**31 - 1, "b4": 2**31 - 1}, "broken"),
        ({"b92": -4}, "extended header"),
        ({"b92": 2**31 - 1}, "extended header"),
        ({"b8": 1000}, "truncated"),
    ],
)
def test_wrong_claims_are_refused(tmp_path: Path, fields: dict[str, int], message: str) -> None:
    path = tmp_path / "image.mrc"
    path.write_bytes(make(np.zeros((4, 4), np.int16), 1, **fields))
    with pytest.raises(FileFormatError, match=message):
        read(path)


def test_a_huge_plane_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "image.mrc"
    path.write_bytes(make(np.zeros((4, 4), np.int16), 1, b0=1 << 22, b4=1 << 22))
    with pytest.raises(LimitError):
        read(path)


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.filterwarnings("ignore::everhart.io.FileWarning")
def test_broken_files_are_errors_or_images(tmp_path: Path, seed: int) -> None:
    rng = np.random.default_rng(seed)
    whole = make(rng.integers(0, 99, (3, 9, 11)).astype(np.int16), 1, extension=bytes(64))
    path = tmp_path / "broken.mrc"
    for cut in rng.integers(0, len(whole), 25):
        path.write_bytes(whole[:cut])
        with pytest.raises(FileFormatError):
            read(path)
    for _ in range(100):
        data = bytearray(whole)
        for at in rng.integers(0, 1024, rng.integers(1, 8)):
            data[at] = rng.integers(256)
        path.write_bytes(data)
        with contextlib.suppress(EverhartError):
            assert read(path).pixels.size < 1 << 24


@given(
    pixels=hnp.arrays(
        st.sampled_from([bool, np.uint8, np.int8, np.int16, np.uint16, np.float16, np.float32]),
        hnp.array_shapes(min_dims=2, max_dims=3, min_side=1, max_side=6),
        elements={"allow_nan": False},
    ),
    size=st.one_of(st.none(), st.tuples(st.floats(0.01, 1e4), st.floats(0.01, 1e4))),
)
def test_round_trip(
    tmp_path_factory: pytest.TempPathFactory, pixels: Any, size: tuple[float, float] | None
) -> None:
    path = tmp_path_factory.mktemp("mrc") / "image.mrc"
    entry = HistoryEntry("denoise", {"method": "µ"})
    image = Micrograph(pixels, size, {"common": {"beam_energy_kev": 5.0}}, (entry,))
    back = read(write(image, path))
    np.testing.assert_array_equal(back.pixels, pixels)
    assert back.dtype == pixels.dtype
    assert back.shape == pixels.shape
    assert back.pixel_size_nm == size
    assert back.history == (entry,)
    with mrcfile.open(path) as file:
        np.testing.assert_array_equal(np.squeeze(file.data), np.squeeze(pixels))
        if size is not None:
            voxel = float(file.voxel_size.y), float(file.voxel_size.x)
            assert voxel == pytest.approx((10 * size[0], 10 * size[1]), rel=1e-5)


def test_other_programs_accept_what_we_write(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    image = Micrograph(np.arange(24, dtype=np.uint16).reshape(2, 3, 4), 0.5)
    path = write(image, tmp_path / "stack.mrcs")
    mrcfile.validate(path)
    complaints = capsys.readouterr().out.splitlines()[1:]
    # The type of the extended header is our own, as the standard allows; nothing else is odd.
    assert complaints == ["Extended header type is undefined or unrecognised: exttyp = 'EVRH'"]


@pytest.mark.parametrize("dtype", ["float16", "float32"])
def test_pixels_without_a_value_are_written_silently(tmp_path: Path, dtype: str) -> None:
    largest = np.finfo(dtype).max
    pixels = np.array([[np.nan, np.inf, -np.inf], [largest, largest, 0]], dtype)
    back = read(write(Micrograph(pixels), tmp_path / "image.mrc"))
    np.testing.assert_array_equal(back.pixels, pixels)
    assert back.pixel_size_nm is None


def test_one_angstrom_of_our_own_is_no_guess(tmp_path: Path) -> None:
    path = write(Micrograph(np.zeros((4, 4), np.int16), 0.1), tmp_path / "image.mrc")
    assert read(path).pixel_size_nm == (0.1, 0.1)
    path.write_bytes(make(np.zeros((4, 4), np.int16), 1, cell=(4, 4, 1)))
    with pytest.warns(FileWarning, match="exactly 1 angstrom"):
        assert read(path).pixel_size_nm == (0.1, 0.1)


def test_a_pixel_size_that_another_program_wrote_is_newer(tmp_path: Path) -> None:
    path = write(Micrograph(np.zeros((4, 4), np.int16), 0.5), tmp_path / "image.mrc")
    with mrcfile.open(path, "r+") as file:
        file.voxel_size = 7.5
    found = read(path)
    assert found.pixel_size_nm == pytest.approx((0.75, 0.75))
    assert found.metadata["everhart"]["pixel_size_source"] == "mrc"


def test_what_mrc_cannot_hold_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="int32"):
        write(np.zeros((3, 3), np.int32), tmp_path / "image.mrc")
    assert not list(tmp_path.iterdir())


def test_a_large_stack_is_mapped(tmp_path: Path) -> None:
    path = tmp_path / "film.mrc"
    path.write_bytes(make(np.zeros((1, 4096, 4096), np.uint16), 6, b8=200)[:1024])
    with path.open("r+b") as file:
        file.truncate(1024 + 200 * 2 * 4096 * 4096)  # sparse: 6.7 GB
    image = read(path)
    assert image.shape == (200, 4096, 4096)
    assert image.pixels.nbytes > lazy.MAPPED_BYTES
    assert image.pixels[199, 5, 5] == 0

"""EMD files of Velox and Berkeley: the real ones, those made here, and what we write."""

from __future__ import annotations

import json
import time
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from everhart import Micrograph
from everhart.errors import FileFormatError, LimitError
from everhart.io import DEFAULT_LIMITS, FileWarning, Limits, lazy, read, write
from everhart.io.formats.emd import FORMAT
from everhart.io.hdf5_chunks import chunks_of, read_part
from everhart.micrograph import HistoryEntry

from .emd_files import add_ncem, add_velox, ncem, velox, velox_metadata

# Shape, dtype, pixel size (y and x in nm), sum, first and last pixel, as RosettaSciIO 0.15 and
# ncempy 1.16 have them. The two disagree on the order of the axes of Berkeley's files where these
# have no name: HyperSpy, which wrote example_metadata, turns it around.
REAL = {
    "example_metadata.emd": ((3, 3), "int32", None, 36, 0, 8),
    "fei_example_tem_stack.emd": ((2, 3, 3), "int16", 0.008172883192, 153, 0, 17),
    "openncem__Acquisition_18.emd": (
        (1024, 1024), "uint16", 0.0122465249, 11181441555, 12487, 8535,
    ),
    "openncem__Camera Ceta Imaging Micro.emd": (
        (512, 512), "int16", 3.13883705445, -411708, -6, -2,
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", REAL)
def test_real_files(shared_data: Path, name: str) -> None:
    shape, dtype, size, total, first, last = REAL[name]
    image = read(shared_data / "formats" / "emd" / name)
    assert (image.shape, str(image.dtype)) == (shape, dtype)
    assert image.pixels.sum(dtype=np.float64) == total
    assert (image.pixels.ravel()[0], image.pixels.ravel()[-1]) == (first, last)
    if size is None:
        assert image.pixel_size_nm is None
    else:
        assert image.pixel_size_nm == pytest.approx((size, size), rel=1e-7)
    assert image.metadata["common"]["beam_energy_kev"] in (200, 300)


def test_real_fourier_transform_is_refused(shared_data: Path) -> None:
    with pytest.raises(FileFormatError, match="complex"):
        read(shared_data / "formats" / "emd" / "fei_example_complex_fft.emd")


def check_frames(path: Path, pixels: np.ndarray) -> None:
    reader = FORMAT.frames(path, DEFAULT_LIMITS)  # type: ignore[misc]
    stack = pixels if pixels.ndim == 3 else pixels[None]
    assert (reader.shape, reader.dtype) == (stack.shape, pixels.dtype)
    for number in range(len(stack)):
        frame = reader.frame(number)
        np.testing.assert_array_equal(frame, stack[number])
        assert frame.flags.writeable
        assert frame.dtype.isnative
    with pytest.raises(IndexError):
        reader.frame(len(stack))
    reader.close()


DTYPES = ("u1", "i1", "u2", "i2", "u4", "i4", "u8", "i8", "f2", "f4", "f8", "?", ">u2", ">f4")
PACKINGS: dict[str, dict[str, Any]] = {
    "frames": {},
    "contiguous": {"chunks": None},
    "gzip": {"compression": "gzip", "shuffle": True, "fletcher32": True},
    "tiles": {"chunks": (2, 3, 2)},
    "lzf": {"chunks": (4, 3, 1), "compression": "lzf"},
}


@pytest.mark.parametrize(
    ("packing", "dtype"),
    [*(("frames", dtype) for dtype in DTYPES), *((name, "u2") for name in PACKINGS),
     ("contiguous", ">i2"), ("contiguous", "?"), ("tiles", ">f8"), ("gzip", "?")],
)  # fmt: skip
@pytest.mark.parametrize("shape", [(4, 5), (3, 4, 5)])
def test_velox(tmp_path: Path, packing: str, dtype: str, shape: tuple[int, ...]) -> None:
    pixels = (np.arange(np.prod(shape)) % 7).astype(dtype).reshape(shape)
    options = dict(PACKINGS[packing])
    if options.get("chunks") and len(shape) == 2:
        options["chunks"] = (*options["chunks"][:2], 1)
    path = velox(tmp_path / "a.emd", pixels, **options)
    image = read(path)
    np.testing.assert_array_equal(image.pixels, pixels)
    assert image.dtype == pixels.dtype.newbyteorder("=")
    assert image.pixels.flags.writeable
    assert image.pixels.flags.c_contiguous
    assert image.pixel_size_nm == (0.3, 0.2)
    check_frames(path, pixels.astype(pixels.dtype.newbyteorder("=")))


def test_velox_conditions(tmp_path: Path) -> None:
    image = read(velox(tmp_path / "a.emd", np.eye(4, dtype="u2")))
    assert image.metadata["common"] == {
        "instrument": "Talos", "software": "2.1", "beam": "electron", "beam_energy_kev": 200.0,
        "dwell_time_s": 2e-6, "detector": "HAADF", "operation_mode": "STEM",
        "magnification": 640000.0, "spot_size": 6.0, "camera_length_mm": 98.0,
        "acquisition_time": "2019-12-05T10:03:44+00:00",
        "stage": {"x_mm": 0.01, "y_mm": -0.02, "z_mm": 0.0, "tilt_deg": 5.72957795131},
    }  # fmt: skip
    assert image.metadata["velox"]["Optics"]["SpotIndex"] == "6"
    assert image.metadata["everhart"]["pixel_size_source"] == "velox"
    camera = velox_metadata(detector="BM-Ceta", kind="ImagingDetector")
    common = read(velox(tmp_path / "b.emd", np.eye(4), camera)).metadata["common"]
    assert (common["exposure_time_s"], common["operation_mode"]) == (0.25, "TEM")
    assert "dwell_time_s" not in common
    assert common["magnification"] == 1000


@pytest.mark.parametrize(
    ("size", "units", "nm"),
    [
        (("1e-12", "2e-12"), ("m", "m"), (0.001, 0.002)),
        (("0.5", "0.25"), ("um", "nm"), (500.0, 0.25)),
        (("98015829.06", "98015829.06"), ("1/m", "1/m"), None),
        (("1e-9", "1e-9"), ("", ""), None),
        (("1e-9", "1e-9"), ("rad", "rad"), None),
        (("0", "0"), ("m", "m"), None),
        ((None, None), ("m", "m"), None),
        (([1], {}), ("m", "m"), None),
    ],
)
def test_velox_pixel_sizes(tmp_path: Path, size: Any, units: Any, nm: Any) -> None:
    image = read(velox(tmp_path / "a.emd", np.eye(4), velox_metadata(size, units)))
    assert image.pixel_size_nm == nm


@pytest.mark.parametrize("size", [("-1e-9", "1e-9"), ("1", "1"), ("1e-9", "x"), ("nan", "1e-9")])
def test_velox_pixel_sizes_that_are_not_believed(tmp_path: Path, size: Any) -> None:
    path = velox(tmp_path / "a.emd", np.eye(4), velox_metadata(size))
    with pytest.warns(FileWarning, match="not believable"):
        assert read(path).pixel_size_nm is None


@pytest.mark.parametrize(
    "raw",
    [b"", b"{", b"[1]", b'{"a":' * 5000, b'{"a": ' * 80 + b"1" + b"}" * 80, b"\xff\xfe{}", b'"a"'],
)
def test_velox_metadata_that_is_broken_costs_a_warning(tmp_path: Path, raw: bytes) -> None:
    path = velox(tmp_path / "a.emd", np.eye(4), raw)
    with pytest.warns(FileWarning, match="Velox metadata"):
        image = read(path)
    assert image.pixels.sum() == 4
    assert image.pixel_size_nm is None


def test_velox_metadata_of_odd_values(tmp_path: Path) -> None:
    odd = velox_metadata()
    odd["Optics"] = {"AccelerationVoltage": "high", "SpotIndex": [1], "CameraLength": "-1"}
    odd["Acquisition"] = {"AcquisitionStartDatetime": {"DateTime": "1e300"}}
    odd["Detectors"], odd["Stage"] = [1, 2], "none"
    common = read(velox(tmp_path / "a.emd", np.eye(4), odd)).metadata["common"]
    assert common == {
        "instrument": "Talos", "software": "2.1", "beam": "electron", "detector": "HAADF",
        "dwell_time_s": 2e-6,
    }  # fmt: skip


def test_velox_of_several_images(tmp_path: Path) -> None:
    path = tmp_path / "a.emd"
    with h5py.File(path, "w") as file:
        map_of = velox_metadata(detector="SuperX", kind="AnalyticalDetector")
        add_velox(file, "a", np.full((9, 9), 1, "f4"), map_of)
        add_velox(file, "b", np.full((6, 6), 2, "u2"), velox_metadata(detector="BF"))
        add_velox(file, "c", np.full((3, 5, 5), 3, "u2"), velox_metadata(detector="HAADF"))
        add_velox(file, "d", np.full((5, 5), 4, "c8"), velox_metadata(detector="HAADF"))
    with pytest.warns(FileWarning) as caught:
        image = read(path)
    (warning,) = caught
    assert (image.shape, image.pixels[0, 0, 0]) == ((3, 5, 5), 3)
    said = str(warning.message)
    assert "HAADF (3 frames of 5 x 5) was read" in said
    assert "SuperX (9 x 9), BF (6 x 6)" in said
    with h5py.File(path, "a") as file:
        del file["Data/Image/c"]
    with pytest.warns(FileWarning, match=r"BF \(6 x 6\) was read"):
        assert read(path).pixels[0, 0] == 2


def test_velox_without_an_image(tmp_path: Path) -> None:
    path = tmp_path / "a.emd"
    with h5py.File(path, "w") as file:
        file.create_dataset("Data/SpectrumStream/1/Data", data=np.arange(9, dtype="u2"))
    with pytest.raises(FileFormatError, match="SpectrumStream"):
        read(path)
    pair = np.dtype([("realFloatHalfEven", "<f4"), ("imagFloatHalfEven", "<f4")])
    with pytest.raises(FileFormatError, match="complex"):
        read(velox(tmp_path / "b.emd", np.zeros((3, 4), pair)))


AXES = {
    "named": (("y", "[n_m]", 3.0), ("x", "[n_m]", 2.0)),
    "old names": (("Y", "n_m", 3.0), ("X", "n_m", 2.0)),
    "um": (("", "[u_m]", 0.003), ("", "µm", 0.002)),
    "two points": (("y", "nm", np.array([5.0, 8.0])), ("x", "nm", np.array([-1, 1]))),
    "downwards": (("y", "nm", -3.0), ("x", "nm", 2.0)),
    "32 bits": (("y", "nm", (1e5 + 3 * np.arange(4)).astype("f4")), ("x", "nm", 2.0)),
    "bytes": ((np.bytes_(b"Y"), np.bytes_(b"n_m"), 3.0), (np.bytes_(b"X"), np.bytes_(b"n_m"), 2.0)),
}


@pytest.mark.parametrize("dims", AXES)
@pytest.mark.parametrize("turned", [False, True])
def test_ncem_axes(tmp_path: Path, dims: str, turned: bool) -> None:
    pixels = np.arange(20, dtype="u2").reshape(4, 5)
    axes = AXES[dims]
    names_tell = dims != "um"
    if turned and names_tell:
        path = ncem(tmp_path / "a.emd", pixels.T, axes[::-1])
    elif turned:  # as HyperSpy has them
        marks = {"signal_type": ""}
        path = ncem(tmp_path / "a.emd", pixels.T, axes[::-1], attributes=marks)
    else:
        path = ncem(tmp_path / "a.emd", pixels, axes)
    image = read(path)
    np.testing.assert_array_equal(image.pixels, pixels)
    assert image.pixels.flags.c_contiguous
    assert image.pixel_size_nm == pytest.approx((3.0, 2.0))
    assert image.metadata["common"] == {"instrument": "TEAM", "beam_energy_kev": 300.0}
    assert image.metadata["everhart"]["pixel_size_source"] == "ncem_emd"


@pytest.mark.parametrize(
    "dims",
    [
        (),
        (("y", "[]", 1.0), ("x", "[]", 1.0)),
        (("y", "[n_m^-1]", 1.0), ("x", "[n_m^-1]", 1.0)),
        (("y", "nm", 1.0), ("x", "px", 1.0)),
        (("y", "nm", np.arange(3.0)), ("x", "nm", 1.0)),
        (("y", "nm", np.full(4, np.nan)), ("x", "nm", 1.0)),
    ],
)
def test_ncem_without_a_calibration(tmp_path: Path, dims: Any) -> None:
    image = read(ncem(tmp_path / "a.emd", np.arange(20).reshape(4, 5), dims))
    assert image.pixel_size_nm is None
    assert image.shape == (4, 5)


def test_ncem_axis_of_unequal_steps(tmp_path: Path) -> None:
    dims = (("y", "nm", np.array([0.0, 1, 2, 9])), ("x", "nm", 1.0))
    path = ncem(tmp_path / "a.emd", np.arange(20).reshape(4, 5), dims)
    with pytest.warns(FileWarning, match="equal distances"):
        assert read(path).pixel_size_nm is None
    dims = (("y", "nm", np.array(["a", "b"], "S1")), ("x", "nm", 1.0))
    path = ncem(tmp_path / "a.emd", np.arange(20).reshape(4, 5), dims)
    with pytest.warns(FileWarning, match="dim1"):
        assert read(path).pixel_size_nm is None


@pytest.mark.parametrize(
    ("names", "units"),
    [
        (("frame", "y", "x"), ("", "nm", "nm")),
        (("time", "", ""), ("s", "nm", "nm")),
        (("", "", ""), ("nm", "nm", "nm")),
    ],
)
@pytest.mark.parametrize("axis", [0, 1, 2])
def test_ncem_stacks_with_frames_anywhere(
    tmp_path: Path, names: Any, units: Any, axis: int
) -> None:
    if units == ("nm", "nm", "nm") and axis:
        pytest.skip("nothing tells which axis the frames are along")
    pixels = np.arange(60, dtype="f4").reshape(3, 4, 5)
    dims = [(name, unit, step) for name, unit, step in zip(names, units, (1.0, 3.0, 2.0))]  # noqa: B905
    order = [1, 2]
    order.insert(axis, 0)
    path = ncem(tmp_path / "a.emd", pixels.transpose(order), [dims[n] for n in order])
    image = read(path)
    np.testing.assert_array_equal(image.pixels, pixels)
    assert image.pixel_size_nm == pytest.approx((3.0, 2.0))
    check_frames(path, pixels)


def test_ncem_of_version_1(tmp_path: Path) -> None:
    dims = (("Rx", "A", 5.0), ("Ry", "A", 2.0))
    pixels = np.arange(20, dtype="f4").reshape(4, 5)
    path = ncem(tmp_path / "a.emd", pixels.T, dims, first=0, kind="array")
    image = read(path)
    np.testing.assert_array_equal(image.pixels, pixels)
    assert image.pixel_size_nm == pytest.approx((0.2, 0.5))


def test_ncem_of_several_arrays(tmp_path: Path) -> None:
    path = tmp_path / "a.emd"
    with h5py.File(path, "w") as file:
        add_ncem(file, "data/spectrum", np.arange(50.0))
        add_ncem(file, "data/small", np.zeros((4, 4)))
        add_ncem(file, "data/large", np.ones((1, 1, 8, 8)))
        add_ncem(file, "data/scan", np.zeros((3, 3, 8, 8)))
        file["data/again"] = file["data"]  # a circle of hard links
    with pytest.warns(FileWarning, match=r"'large', the largest, was read, and not 'small'"):
        image = read(path)
    assert (image.shape, image.pixels.sum()) == ((8, 8), 64)


@pytest.mark.parametrize(
    ("data", "dims", "message"),
    [
        (np.arange(9.0), (), "line profile"),
        (np.zeros((3, 3, 4, 4)), (), "4 dimensions"),
        (np.zeros((3, 9)), (("x", "nm", 1.0), ("Energy", "eV", 1.0)), "energies"),
        (np.zeros((3, 9)), (("x", "nm", 1.0), ("", "[k_eV]", 1.0)), "energies"),
        (np.zeros((3, 9), "c8"), (), "complex"),
        (np.zeros((3, 9), [("r", "f4"), ("i", "f4")]), (), "complex"),
        (np.zeros((3, 9), [("a", "f4"), ("b", "u1")]), (), "records"),
        (np.full((3, 9), "a", object), (), "object"),
        (np.full((3, 9), b"a", "S1"), (), "in place of pixels"),
        (np.zeros((0, 9)), (), "without a value"),
    ],
)  # fmt: skip
def test_ncem_of_no_image(tmp_path: Path, data: Any, dims: Any, message: str) -> None:
    with pytest.raises(FileFormatError, match=message):
        read(ncem(tmp_path / "a.emd", data, dims))


def test_hdf5_of_another_kind(tmp_path: Path) -> None:
    path = tmp_path / "a.emd"
    with h5py.File(path, "w") as file:
        file["weights"] = np.zeros((5, 5))
    with pytest.raises(FileFormatError, match="without an image"):
        read(path)


def test_a_block_of_the_user_stands_before_the_file(tmp_path: Path) -> None:
    path = tmp_path / "a.emd"
    pixels = np.arange(20, dtype="u2").reshape(4, 5)
    with h5py.File(path, "w", userblock_size=1024) as file:
        add_ncem(file, "data/image", pixels)
    np.testing.assert_array_equal(read(path).pixels, pixels)


def test_nothing_is_read_from_other_files(tmp_path: Path) -> None:
    secret = ncem(tmp_path / "secret.emd", np.full((4, 4), 7, "u2"))
    np.full((4, 4), 7, "u2").tofile(tmp_path / "raw")
    path = tmp_path / "a.emd"
    with h5py.File(path, "w") as file:
        file["data"] = h5py.ExternalLink(str(secret), "/data")
        file["inner"] = h5py.SoftLink("/data/image")
        add = add_ncem(file, "outer", np.zeros((2, 2)))
        del add["data"]
        add["data"] = h5py.ExternalLink(str(secret), "/data/image/data")
    with pytest.raises(FileFormatError, match="without an image"):
        read(path)
    with h5py.File(path, "w") as file:
        group = file.create_group("outer")
        group.attrs["emd_group_type"] = 1
        group.create_dataset("data", (4, 4), "u2", external=[(str(tmp_path / "raw"), 0, 32)])
    with pytest.raises(FileFormatError, match="in other files"):
        read(path)
    with h5py.File(path, "w") as file:
        group = file.create_group("outer")
        group.attrs["emd_group_type"] = 1
        layout = h5py.VirtualLayout((4, 4), "u2")
        layout[:] = h5py.VirtualSource(str(secret), "data/image/data", (4, 4))
        group.create_virtual_dataset("data", layout)
    with pytest.raises(FileFormatError, match="in other files"):
        read(path)


BOMBS: dict[str, dict[str, Any]] = {
    "plane": {"shape": (40_000, 40_000), "chunks": (1000, 1000), "compression": "gzip"},
    "ratio": {"shape": (20_000, 20_000), "chunks": (1000, 1000), "compression": "gzip"},
    "whole": {"shape": (600, 20_000, 20_000), "chunks": (1, 1000, 1000)},
    "frames": {"shape": (100_000, 4, 4), "chunks": (1, 4, 4)},
    "chunk": {"shape": (9, 9), "chunks": (9000, 9000), "maxshape": (None, None), "compression": 9},
}


@pytest.mark.parametrize("bomb", BOMBS)
def test_bombs_are_refused_before_memory_is_spent(tmp_path: Path, bomb: str) -> None:
    path = tmp_path / "a.emd"
    with h5py.File(path, "w") as file:
        group = file.create_group("data/bomb")
        group.attrs["emd_group_type"] = 1
        data = group.create_dataset("data", dtype="u1", **BOMBS[bomb])
        data[(0,) * data.ndim] = 1
    start = time.perf_counter()
    with pytest.raises(LimitError, match="A chunk in" if bomb == "chunk" else "claims"):
        read(path)
    assert time.perf_counter() - start < 1


@given(
    pixels=hnp.arrays(
        st.sampled_from(["?", "u1", ">i2", "u4", "f8"]), hnp.array_shapes(min_dims=2, max_side=9)
    ),
    data=st.data(),
)
def test_chunks_are_unpacked_as_by_the_library(
    tmp_path_factory: pytest.TempPathFactory, pixels: Any, data: st.DataObject
) -> None:
    path = tmp_path_factory.mktemp("chunks") / "a.h5"
    options = data.draw(
        st.fixed_dictionaries(
            {"chunks": st.tuples(*(st.integers(1, n) for n in pixels.shape))},
            optional={
                "compression": st.sampled_from(["gzip", "lzf"]),
                "shuffle": st.just(True),
                "fletcher32": st.just(True),
            },
        )
    )
    with h5py.File(path, "w") as file:
        stored = file.create_dataset("a", data=pixels, **options)
        bounds = [
            tuple(sorted((data.draw(st.integers(0, n - 1)), data.draw(st.integers(1, n)))))
            for n in pixels.shape
        ]
        file.flush()
        found = read_part(stored, chunks_of(path, stored), bounds)
        np.testing.assert_array_equal(found, pixels[tuple(slice(*pair) for pair in bounds)])


def test_long_checksums(tmp_path: Path, rng: np.random.Generator) -> None:
    for pixels in (rng.integers(0, 256, (700, 701), "u1"), np.full((700, 701), 255, "u1")):
        path = ncem(tmp_path / "a.emd", pixels, chunks=(700, 701), fletcher32=True)
        np.testing.assert_array_equal(read(path).pixels, pixels)


def test_crumbs_are_refused(tmp_path: Path) -> None:
    path = ncem(tmp_path / "a.emd", np.zeros((4, 4), "u1"))
    with h5py.File(path, "a") as file:
        del file["data/image/data"]
        data = file["data/image"].create_dataset("data", (2000, 2000), "u1", chunks=(1, 1))
        data[0, 0] = 1
    with pytest.raises(FileFormatError, match="4,000,000 chunks"):
        read(path)


def test_pixels_that_were_never_written(tmp_path: Path) -> None:
    path = tmp_path / "a.emd"
    for chunks in (None, (2, 2)):
        with h5py.File(path, "w") as file:
            group = file.create_group("data/image")
            group.attrs["emd_group_type"] = 1
            group.create_dataset("data", (4, 4), "u2", chunks=chunks)
        with pytest.raises(FileFormatError, match="no pixels"):
            read(path)
    with h5py.File(path, "a") as file:
        file["data/image/data"][:2, :2] = 3
    with pytest.warns(FileWarning, match="1 of 4 parts"):
        assert read(path).pixels.sum() == 12


def test_filters_that_are_not_at_hand(tmp_path: Path) -> None:
    path = tmp_path / "a.emd"
    with h5py.File(path, "w") as file:
        group = file.create_group("data/image")
        group.attrs["emd_group_type"] = 1
        plan = h5py.h5p.create(h5py.h5p.DATASET_CREATE)
        plan.set_chunk((4, 4))
        # Optional, so that the library writes without it.
        plan.set_filter(32_999, h5py.h5z.FLAG_OPTIONAL, ())
        space = h5py.h5s.create_simple((4, 4))
        data = h5py.h5d.create(group.id, b"data", h5py.h5t.NATIVE_UINT16, space, plan)
        h5py.Dataset(data)[...] = 1
    with pytest.raises(FileFormatError, match="filter 32999"):
        read(path)


def test_limits_hold_for_frames(tmp_path: Path) -> None:
    path = velox(tmp_path / "a.emd", np.zeros((3, 4, 4), "u1"), compression="gzip")
    with pytest.raises(LimitError, match="3 frames"):
        read(path, limits=Limits(max_frames=2))
    small = Limits(max_decoded_bytes=40)
    with pytest.raises(LimitError, match="bytes decoded"):
        read(path, limits=small)
    FORMAT.frames(path, small).close()  # type: ignore[misc]


@pytest.mark.parametrize("chunks", [None, (1024, 1024, 1)])
def test_a_large_stack_is_mapped(tmp_path: Path, chunks: Any) -> None:
    path = tmp_path / "film.emd"
    with h5py.File(path, "w") as file:
        group = file.create_group("Data/Image/1")
        if chunks:
            # Only the first frames are written, evenly spaced; a film of zeros would take time.
            data = group.create_dataset("Data", (1024, 1024, 40), "u2", chunks=chunks)
            for number in range(40):
                data.id.write_direct_chunk((0, 0, number), bytes(2 << 20))
        else:
            plan = h5py.h5p.create(h5py.h5p.DATASET_CREATE)
            plan.set_alloc_time(h5py.h5d.ALLOC_TIME_EARLY)
            plan.set_fill_time(h5py.h5d.FILL_TIME_NEVER)
            space = h5py.h5s.create_simple((1024, 1024, 2048))
            h5py.h5d.create(group.id, b"Data", h5py.h5t.STD_U16LE, space, plan)  # sparse: 4.3 GB
        text = json.dumps(velox_metadata()).encode()
        group["Metadata"] = np.frombuffer(text, np.uint8)[:, None]
    start = time.perf_counter()
    image = read(path)
    took = time.perf_counter() - start
    assert image.pixels.nbytes > lazy.MAPPED_BYTES
    assert image.pixels[-1, 5, 5] == 0
    assert image.pixel_size_nm == (0.3, 0.2)
    assert took < 2  # 0.01 s here; machines differ


@given(
    pixels=hnp.arrays(
        st.sampled_from(["?", "u1", "i1", "u2", "i2", "u4", "i4", "u8", "i8", "f2", "f4", "f8"]),
        hnp.array_shapes(min_dims=2, max_dims=3, min_side=1, max_side=6),
    ),
    size=st.one_of(st.none(), st.tuples(st.floats(0.01, 1e4), st.floats(0.01, 1e4))),
)
def test_round_trip(
    tmp_path_factory: pytest.TempPathFactory, pixels: Any, size: tuple[float, float] | None
) -> None:
    path = tmp_path_factory.mktemp("emd") / "image.emd"
    entry = HistoryEntry("denoise", {"method": "µ"})
    bar = 1 if pixels.shape[-2] > 1 else 0
    metadata = {"common": {"beam_energy_kev": 5.0}, "fei": {"System": {"Dnumber": "7"}}}
    image = Micrograph(pixels, size, metadata, (entry,), bar)
    back = read(write(image, path))
    np.testing.assert_array_equal(back.pixels, pixels)
    assert (back.dtype, back.shape) == (pixels.dtype, pixels.shape)
    assert back.pixel_size_nm == size
    assert (back.history, back.data_bar_rows) == ((entry,), bar)
    assert {key: back.metadata[key] for key in metadata} == metadata
    with h5py.File(path) as file:
        group = file["data/image"]
        np.testing.assert_array_equal(group["data"][()], pixels)
        step = group[f"dim{pixels.ndim}"][1] - group[f"dim{pixels.ndim}"][0]
        assert step == (1 if size is None else size[1])
        unit = group[f"dim{pixels.ndim}"].attrs["units"]
        assert unit == ("[px]" if size is None else "[n_m]")


def test_a_calibration_by_another_program_is_newer_than_our_record(tmp_path: Path) -> None:
    path = write(Micrograph(np.eye(4), 2.0), tmp_path / "a.emd")
    with h5py.File(path, "a") as file:
        for key in ("dim1", "dim2"):
            file["data/image"][key][...] = np.arange(4) * 5.0
    assert read(path).pixel_size_nm == (5.0, 5.0)


def test_a_broken_record_costs_the_history(tmp_path: Path) -> None:
    path = write(Micrograph(np.eye(4), 2.0), tmp_path / "a.emd")
    with h5py.File(path, "a") as file:
        file["data/image/everhart"][:9] = 0
    image = read(path)
    assert image.pixel_size_nm == (2.0, 2.0)
    assert image.history == ()


def test_long_metadata_fits(tmp_path: Path) -> None:
    metadata = {"notes": ["x" * 1000] * 300}  # more than an attribute holds
    back = read(write(Micrograph(np.eye(4), None, metadata), tmp_path / "a.emd"))
    assert back.metadata["notes"] == metadata["notes"]

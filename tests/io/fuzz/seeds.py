"""Small whole files of every format, to be broken: written by us and by the libraries."""

from __future__ import annotations

import os
import sys
import tempfile
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
from judge import Seed

sys.path.insert(0, str(Path(__file__).parents[1]))
import dm_files
import tia_files

from everhart.errors import EverhartError
from everhart.io import write
from everhart.io.registry import Format, format_to_read, formats
from everhart.micrograph import Micrograph

_LARGEST = 1_000_000


def seeds_of(name: str) -> list[Seed]:
    """Make the seeds of a format, of its name in lower case; real files too, where they are."""
    known = {one.name.casefold(): one for one in formats()}[name]
    maker = _MAKERS.get(name)
    with tempfile.TemporaryDirectory() as folder, warnings.catch_warnings():
        warnings.simplefilter("ignore")
        made = [*_written(known, Path(folder)), *(maker(Path(folder)) if maker else ())]
        seeds = [_seed(path, Path(folder)) for path in made]
    return seeds + _real(known)


def _seed(path: Path, folder: Path) -> Seed:
    """Take a file, with those of the same stem beside it, or a folder."""
    if path.is_dir():
        files = {
            f"{path.name}/{file.relative_to(path).as_posix()}": file.read_bytes()
            for file in sorted(path.rglob("*"))
            if file.is_file()
        }
    else:
        files = {path.name: path.read_bytes()}
        for beside in _beside(path):
            files[beside.name] = beside.read_bytes()
    return Seed(path.name, files, path.name)


def _beside(path: Path) -> Iterator[Path]:
    """Give what a reader may open beside a file: EMI for SER, and the other way round."""
    if path.suffix == ".emi":
        yield from sorted(path.parent.glob(path.stem + "_*.ser"))
    elif path.suffix == ".ser":
        emi = path.with_name(path.stem.rpartition("_")[0] + ".emi")
        if emi.exists():
            yield emi


def _levels(shape: tuple[int, ...], dtype: str) -> np.ndarray:
    rng = np.random.default_rng(7)
    noise = rng.normal(100, 20, shape).clip(0, 255)
    return (noise > 100) if dtype == "bool" else noise.astype(dtype)


def _written(known: Format, folder: Path) -> Iterator[Path]:
    """Write what the format's own writer can."""
    if known.write is None:
        return
    tree = {"fei": {"Beam": {"HV": 5000, "WD": [0.01, None]}}, "common": {"beam_energy_kev": 5}}
    for shape in ((24, 40), (3, 24, 40)):
        for dtype in ("uint8", "uint16", "int16", "int32", "float32", "float64", "bool"):
            image = Micrograph(_levels(shape, dtype), (1.5, 2.5), tree)
            path = folder / f"{dtype}-{len(shape)}{known.suffixes[0]}"
            try:
                yield write(image, path)
            except EverhartError:
                continue  # not of that dtype, or no stacks


def _real(known: Format) -> list[Seed]:
    """Read the shared files of the format, where they are."""
    root = os.environ.get("EVERHART_DATA")
    if not root:
        return []
    found = []
    for path in sorted((Path(root) / "formats").rglob("*")):
        if not path.is_file() or path.suffix == ".csv" or path.stat().st_size > _LARGEST:
            continue
        try:
            if format_to_read(path) is known:
                found.append(_seed(path, path.parent))
        except EverhartError:
            continue
    return found


def _tiff(folder: Path) -> Iterator[Path]:
    import tifffile

    grey = _levels((32, 48), "uint8")
    wide = _levels((32, 48), "uint16")
    stack = _levels((3, 32, 48), "uint8")
    plain: dict[str, Any] = {"photometric": "minisblack", "metadata": None}
    tiled = {**plain, "tile": (16, 16)}
    codecs = ("lzw", "zlib", "packbits", "jpeg", "jpeg2000", "zstd", "lzma", "png", "lerc",
              "jpegxl", "jpegxr", "deflate")  # fmt: skip
    made: list[tuple[str, Any, dict[str, Any]]] = [
        *((codec, grey, {**plain, "compression": codec, "rowsperstrip": 16}) for codec in codecs),
        ("tiled", grey, tiled),
        ("tiled-lzw", wide, {**tiled, "compression": "lzw", "predictor": True}),
        ("stack-zlib", stack, {**plain, "compression": "zlib"}),
        ("big", wide, {**plain, "bigtiff": True}),
        ("motorola", wide, {**plain, "byteorder": ">"}),
        ("big-motorola-zlib", stack, {**plain, "byteorder": ">", "bigtiff": True,
                                      "compression": "zlib"}),
        ("float-predicted", grey.astype(np.float32), {**plain, "compression": "zlib",
                                                      "predictor": 3}),
        ("imagej", stack, {"imagej": True, "resolution": (2.0, 2.0),
                           "metadata": {"unit": "um", "axes": "TYX"}}),
        ("ome", stack, {"ome": True, "photometric": "minisblack", "metadata":
                        {"axes": "TYX", "PhysicalSizeX": 2.0, "PhysicalSizeY": 2.0}}),
        ("shaped", stack, {"photometric": "minisblack"}),
        ("rgb", np.stack([grey] * 3, -1), {"photometric": "rgb", "metadata": None}),
        ("webp", np.stack([grey] * 3, -1), {"photometric": "rgb", "metadata": None,
                                            "compression": "webp"}),
        ("planar", np.stack([grey] * 3), {"photometric": "rgb", "planarconfig": "separate",
                                          "metadata": None}),
        ("palette", grey, {"photometric": "palette", "metadata": None,
                           "colormap": np.arange(768).reshape(3, 256).astype(np.uint16)}),
        ("white", grey, {"photometric": "miniswhite", "metadata": None}),
        ("one-bit", grey > 100, plain),
        ("half", grey.astype(np.float16), plain),
        ("fei", grey, {"metadata": None, "extratags": [
            (34682, "s", 0, "[System]\r\nSystemType=x\r\n[Scan]\r\nPixelWidth=5e-9\r\n"
             "PixelHeight=5e-9\r\n[Image]\r\nResolutionY=28\r\n", True)]}),
        ("zeiss", grey, {"metadata": None, "extratags": [
            (34118, "s", 0, "0\r\n0\r\nAP_IMAGE_PIXEL_SIZE\r\nImage Pixel Size = 7.3 nm\r\n"
             "AP_WD\r\nWD = 5.1 mm\r\n", True)]}),
        ("dm", grey, {"metadata": None, "extratags": [
            (65009, "d", 1, 2.5, True), (65010, "d", 1, 2.5, True), (65003, "s", 0, "nm", True),
            (65004, "s", 0, "nm", True)]}),
    ]  # fmt: skip
    for name, pixels, options in made:
        path = folder / f"{name}.tif"
        tifffile.imwrite(path, pixels, **options)
        yield path


def _pillow(folder: Path, suffix: str, **options: Any) -> Iterator[Path]:
    from PIL import Image

    grey = Image.fromarray(_levels((32, 48), "uint8"))
    for mode in ("L", "RGB", "P", "1", "CMYK", "LA", "RGBA"):
        path = folder / f"{mode}{suffix}"
        try:
            grey.convert(mode).save(path, **options)
        except (OSError, KeyError):
            path.unlink(missing_ok=True)  # not a mode of this format
            continue
        yield path


def _png(folder: Path) -> Iterator[Path]:
    import imagecodecs
    from PIL import Image

    yield from _pillow(folder, ".png")
    wide = _levels((32, 48), "uint16")
    (folder / "deep.png").write_bytes(imagecodecs.png_encode(np.stack([wide] * 3, -1)))
    yield folder / "deep.png"
    frames = [Image.fromarray(_levels((16, 24), "uint8") + np.uint8(i)) for i in range(3)]
    frames[0].save(folder / "moving.png", save_all=True, append_images=frames[1:], dpi=(9e6, 9e6))
    yield folder / "moving.png"


def _jpeg(folder: Path) -> Iterator[Path]:
    from PIL import Image

    yield from _pillow(folder, ".jpg", quality=90)
    grey = Image.fromarray(_levels((32, 48), "uint8"))
    grey.convert("RGB").save(folder / "progressive.jpg", progressive=True, dpi=(300, 300))
    yield folder / "progressive.jpg"
    grey.save(folder / "restarts.jpg", restart_marker_rows=1, exif=b"Exif\0\0MM\0*\0\0\0\x08\0\0")
    yield folder / "restarts.jpg"


def _bmp(folder: Path) -> Iterator[Path]:
    yield from _pillow(folder, ".bmp")
    # Run lengths, which Pillow reads and does not write.
    rows = b"".join(bytes([48, 10 + y, 0, 0]) for y in range(31)) + b"\x30\x09\x00\x01"
    palette = b"".join(bytes([i, i, i, 0]) for i in range(256))
    start = 14 + 40 + len(palette)
    header = (b"BM" + (start + len(rows)).to_bytes(4, "little") + bytes(4)
              + start.to_bytes(4, "little"))  # fmt: skip
    fields = ((40, 4), (48, 4), (32, 4), (1, 2), (8, 2), (1, 4), (len(rows), 4), (0, 4), (0, 4),
              (256, 4), (0, 4))  # fmt: skip
    info = b"".join(value.to_bytes(size, "little") for value, size in fields)
    (folder / "runs.bmp").write_bytes(header + info + palette + rows)
    yield folder / "runs.bmp"


def _npy(folder: Path) -> Iterator[Path]:
    for name, pixels in (
        ("fortran", np.asfortranarray(_levels((24, 40), "float32"))),
        ("motorola", _levels((3, 24, 40), ">u2")),
        ("colour", _levels((24, 40, 3), "uint8")),
    ):
        np.save(folder / f"{name}.npy", pixels)
        yield folder / f"{name}.npy"


def _dm(folder: Path) -> Iterator[Path]:
    made = 0
    for version in (3, 4):
        for order in "<>":
            for pixels, units in (
                (_levels((24, 40), "uint16"), ("nm", "nm")),
                (_levels((24, 40), "float32"), ("", "")),
                (_levels((3, 24, 40), "int16"), ("\xb5m", "\xb5m", "s")),
            ):
                scales = (0.5,) * pixels.ndim
                data = dm_files.dm_file(
                    pixels, version, order, scales=scales, units=units,
                    tags={"Microscope Info": {"Voltage": 2e5, "Items": [{"Label": "x"}]}},
                )  # fmt: skip
                path = folder / f"{made}.dm{version}"
                path.write_bytes(data)
                made += 1
                yield path


def _ser(folder: Path) -> Iterator[Path]:
    for version in (0x0210, 0x0220):
        for name, pixels in (
            ("wide", _levels((24, 40), "uint16")),
            ("stack", _levels((3, 24, 40), "float32")),
        ):
            path = folder / f"{name}-{version}_1.ser"
            path.write_bytes(tia_files.ser(pixels, version=version))
            yield path
    spectrum = folder / "spectrum_1.ser"
    spectrum.write_bytes(tia_files.spectrum())
    yield spectrum


def _emi(folder: Path) -> Iterator[Path]:
    yield tia_files.pair(folder, _levels((24, 40), "uint16"))
    yield tia_files.pair(folder, _levels((3, 24, 40), "int32"), name="stack")


def _mrc(folder: Path) -> Iterator[Path]:
    import mrcfile

    for name, pixels in (
        ("plain", _levels((24, 40), "float32")),
        ("volume", _levels((3, 24, 40), "uint16")),
        ("half", _levels((24, 40), "float16")),
    ):
        path = folder / f"{name}.mrc"
        with mrcfile.new(path) as file:
            file.set_data(pixels)
            file.voxel_size = 12.5
        yield path
    # An extended header as FEI's programs write it.
    data = bytearray(path.read_bytes())
    data[92:96] = (768).to_bytes(4, "little")
    data[104:108] = b"FEI1"
    data[1024:1024] = (768).to_bytes(4, "little") + bytes(764)
    (folder / "fei.mrc").write_bytes(data)
    yield folder / "fei.mrc"


def _emd(folder: Path) -> Iterator[Path]:
    import h5py

    def group(file: Any, name: str, pixels: np.ndarray, units: bytes, **options: Any) -> None:
        made = file.create_group(name)
        made.attrs["emd_group_type"] = 1
        made.create_dataset("data", data=pixels, **options)
        for number, n in enumerate(pixels.shape, 1):
            dim = made.create_dataset(f"dim{number}", data=0.5 * np.arange(n))
            dim.attrs["name"], dim.attrs["units"] = b"x", units

    stack = _levels((3, 24, 40), "uint16")
    for name, options in (
        ("plain", {}),
        ("deflate", {"chunks": (1, 12, 20), "compression": "gzip", "shuffle": True}),
        ("lzf", {"chunks": (3, 24, 40), "compression": "lzf", "fletcher32": True}),
    ):
        with h5py.File(folder / f"{name}.emd", "w") as file:
            file.attrs["version_major"], file.attrs["version_minor"] = 0, 2
            group(file, "data/one", stack, b"[n_m]", **options)
        yield folder / f"{name}.emd"
    with h5py.File(folder / "latest.emd", "w", libver="latest") as file:
        group(file, "one", stack[0].astype(">f4"), b"[u_m]", chunks=(12, 20))
    yield folder / "latest.emd"
    # As Velox has it: frames on the last axis, metadata as JSON in columns of bytes.
    tree = (b'{"BinaryResult": {"PixelSize": {"width": "1e-10", "height": "1e-10"}, '
            b'"PixelUnitX": "m", "PixelUnitY": "m", "Detector": "HAADF"}, '
            b'"Optics": {"AccelerationVoltage": "200000"}}')  # fmt: skip
    text = np.zeros((4096, 3), np.uint8)
    text[: len(tree)] = np.frombuffer(tree, np.uint8)[:, None]
    with h5py.File(folder / "velox.emd", "w") as file:
        file["Version"] = np.array([b'{"format":"Velox","version":"1.0"}'], object)
        image = file.create_group("Data/Image/0123456789abcdef0123456789abcdef")
        image.create_dataset("Data", data=np.moveaxis(stack, 0, 2), chunks=(24, 40, 1),
                             compression="gzip")  # fmt: skip
        image.create_dataset("Metadata", data=text, compression="gzip", chunks=(4096, 1))
    yield folder / "velox.emd"


def _zarr(folder: Path) -> Iterator[Path]:
    import numcodecs
    import zarr

    stack = _levels((3, 24, 40), "uint16")
    for name, packing in (
        ("zlib", numcodecs.Zlib()), ("zstd", numcodecs.Zstd()), ("lz4", numcodecs.LZ4()),
        ("bz2", numcodecs.BZ2()), ("lzma", numcodecs.LZMA()), ("plain", None),
    ):  # fmt: skip
        path = folder / f"{name}.zarr"
        zarr.create_array(str(path), data=stack, chunks=(2, 16, 16), zarr_format=2,
                          compressors=packing)  # fmt: skip
        yield path
    for name, options in (("sharded", {"shards": (3, 32, 48)}), ("three", {})):
        path = folder / f"{name}.zarr"
        zarr.create_array(str(path), data=stack, chunks=(1, 16, 16), **options)
        yield path


def _packed(folder: Path) -> Iterator[Path]:
    import bz2
    import gzip
    import io
    import lzma
    import tarfile
    import zipfile

    inner = folder / "inner.tif"
    write(Micrograph(_levels((24, 40), "uint16"), 1.5), inner)
    data = inner.read_bytes()
    inner.unlink()
    for suffix, packed in (
        (".gz", gzip.compress(data)),
        (".bz2", bz2.compress(data)),
        (".xz", lzma.compress(data)),
    ):
        (folder / f"a.tif{suffix}").write_bytes(packed)
        yield folder / f"a.tif{suffix}"
    for name, method in (("stored", 0), ("deflated", 8), ("bzip2", 12), ("lzma", 14)):
        with zipfile.ZipFile(folder / f"{name}.zip", "w", method) as archive:
            archive.writestr("folder/a.tif", data)
            archive.writestr("folder/a.txt", "Magnification=5000")
        yield folder / f"{name}.zip"
    for mode in ("w", "w:gz", "w:xz"):
        path = folder / f"a{mode.replace(':', '.')}.tar"
        with tarfile.open(path, mode) as archive:
            entry = tarfile.TarInfo("a.tif")
            entry.size = len(data)
            archive.addfile(entry, io.BytesIO(data))
        yield path


_MAKERS = {
    "tiff": _tiff, "png": _png, "jpeg": _jpeg, "bmp": _bmp, "npy": _npy, "digitalmicrograph": _dm,
    "tia series": _ser, "tia": _emi, "mrc": _mrc, "emd": _emd,
    "packed image": _packed, "zarr": _zarr,
}  # fmt: skip

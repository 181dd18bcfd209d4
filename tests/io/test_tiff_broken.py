"""Truncated and mutated TIFF and bitmap files: a clear error or an image, and soon."""

from __future__ import annotations

import io
import time
import warnings
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from everhart.errors import EverhartError
from everhart.io import FileWarning, read

from .test_sidecar import JEOL
from .test_vendors import JEOL as JEOL_XML
from .test_vendors import PHENOM, TESCAN, fei, tvips, zeiss

tifffile = pytest.importorskip("tifffile")


def _pixels() -> np.ndarray:
    return np.random.default_rng(3).integers(0, 255, (40, 48), dtype=np.uint8)


def _tiff(
    pixels: np.ndarray, code: int | None = None, raw: bytes = b"", **options: object
) -> bytes:
    tags = [] if code is None else [(code, 7, len(raw), raw, True)]
    file = io.BytesIO()
    options = {"photometric": "minisblack", "metadata": None, **options}
    tifffile.imwrite(file, pixels, extratags=tags, **options)
    return file.getvalue()


def _bitmap(kind: str) -> bytes:
    file = io.BytesIO()
    Image.fromarray(_pixels()).save(file, format=kind)
    return file.getvalue()


STACK = np.stack([_pixels()] * 3)
KINDS: dict[str, Callable[[], bytes]] = {
    "plain": lambda: _tiff(_pixels()),
    "stack": lambda: _tiff(STACK),
    "zlib pages": lambda: _tiff(STACK, compression="zlib", predictor=True),
    "lzw tiles": lambda: _tiff(_pixels(), compression="lzw", tile=(16, 16)),
    "jpeg": lambda: _tiff(_pixels(), compression="jpeg"),
    "bigtiff": lambda: _tiff(STACK.astype(">f4"), bigtiff=True, byteorder=">"),
    "imagej": lambda: _tiff(STACK, imagej=True, metadata={"axes": "TYX", "unit": "nm"},
                            resolution=(0.5, 0.5)),
    "ome": lambda: _tiff(STACK, ome=True, metadata={"axes": "TYX", "PhysicalSizeX": 1.0}),
    "zeiss": lambda: _tiff(_pixels(), 34118, zeiss(("AP_PIXEL_SIZE", "Pixel Size = 2 nm"))),
    "fei": lambda: _tiff(_pixels(), 34682, fei(PixelWidth="1e-9").encode()),
    "phenom": lambda: _tiff(_pixels(), 34683, PHENOM.encode()),
    "tescan": lambda: _tiff(_pixels(), 50431, b"\0\1\2\3" * 9 + TESCAN.encode()),
    "tvips": lambda: _tiff(_pixels(), 37706, tvips(2, PixelSizeX=0.5)),
    "jeol": lambda: _tiff(_pixels(), description=JEOL_XML.format(
        eos="eosTEM", mode="modeMAG1", value=10000, unit="X")),
    "png": lambda: _bitmap("PNG"),
    "jpg": lambda: _bitmap("JPEG"),
    "bmp": lambda: _bitmap("BMP"),
}  # fmt: skip


def opened(path: Path) -> bool:
    """Read a file; say whether there was an image. Anything but our errors fails the test."""
    start = time.perf_counter()
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", FileWarning)
            image = read(path)
    except EverhartError as error:
        said, found = str(error), False
    else:
        said = str(path)
        assert image.pixels.size
        assert np.asarray(image.pixels).nbytes < 1 << 28
        assert image.pixel_size_nm is None or all(0 < s < 1e9 for s in image.pixel_size_nm)
        found = True
    assert str(path) in said
    assert time.perf_counter() - start < 5
    return found


def truncations(tmp_path: Path, kind: str, n: int) -> None:
    data = KINDS[kind]()
    path = tmp_path / "a.img"
    path.write_bytes(data)
    assert opened(path)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", FileWarning)
        whole = np.array(read(path).pixels)
    for length in np.linspace(0, len(data) - 1, n).astype(int).tolist():
        path.write_bytes(data[:length])
        # Bytes behind the picture (JPEG's end, padding) may be missing without loss.
        if opened(path):
            with warnings.catch_warnings():
                warnings.simplefilter("ignore", FileWarning)
                np.testing.assert_array_equal(read(path).pixels, whole)


def mutations(tmp_path: Path, kind: str, n: int, seed: int) -> None:
    rng = np.random.default_rng(seed)
    data = np.frombuffer(KINDS[kind](), np.uint8)
    path = tmp_path / "a.img"
    # Headers and tags matter more than pixels.
    head = min(len(data), 600)
    for _ in range(n):
        changed = data.copy()
        for _ in range(int(rng.integers(1, 5))):
            end = head if rng.random() < 0.7 else len(data)
            at = int(rng.integers(0, end))
            changed[at] = rng.choice([0, 1, 127, 128, 255, int(rng.integers(256))])
        path.write_bytes(changed.tobytes())
        opened(path)


@pytest.mark.parametrize("kind", list(KINDS))
def test_truncated(tmp_path: Path, kind: str) -> None:
    truncations(tmp_path, kind, 25)


@pytest.mark.parametrize("kind", list(KINDS))
def test_mutated(tmp_path: Path, kind: str) -> None:
    mutations(tmp_path, kind, 40, seed=1)


@pytest.mark.slow
@pytest.mark.parametrize("kind", list(KINDS))
def test_truncated_everywhere(tmp_path: Path, kind: str) -> None:
    truncations(tmp_path, kind, 200)


@pytest.mark.slow
@pytest.mark.parametrize("kind", list(KINDS))
def test_mutated_a_thousand_times(tmp_path: Path, kind: str) -> None:
    mutations(tmp_path, kind, 1000, seed=2)


def test_mutated_side_cars(tmp_path: Path) -> None:
    rng = np.random.default_rng(4)
    (tmp_path / "a.png").write_bytes(_bitmap("PNG"))
    text = np.frombuffer(JEOL.format(marker="5um", full="48 40").encode(), np.uint8)
    for _ in range(200):
        changed = text.copy()
        for _ in range(int(rng.integers(1, 8))):
            changed[int(rng.integers(len(text)))] = int(rng.integers(256))
        (tmp_path / "a.txt").write_bytes(changed.tobytes())
        assert opened(tmp_path / "a.png")

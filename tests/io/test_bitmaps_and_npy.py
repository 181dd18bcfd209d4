from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from everhart import Micrograph, UsageError
from everhart.errors import FileFormatError
from everhart.io import FileWarning, Format, read, readable_suffixes, register, registry, write


def saved(path: Path, pixels: np.ndarray, mode: str | None = None, **options: object) -> Path:
    image = Image.fromarray(pixels)
    (image.convert(mode) if mode else image).save(path, **options)
    return path


@pytest.mark.parametrize(
    ("suffix", "mode"),
    [*(("png", mode) for mode in ("L", "RGB", "RGBA", "P", "LA")),
     *(("bmp", mode) for mode in ("L", "RGB", "RGBA", "P"))],
)  # fmt: skip
def test_grey_in_every_mode(tmp_path: Path, levels: np.ndarray, suffix: str, mode: str) -> None:
    path = saved(tmp_path / f"a.{suffix}", levels, mode)
    found = read(path)
    np.testing.assert_array_equal(found.pixels, levels)
    assert found.dtype == np.uint8
    assert found.pixels.flags.writeable
    assert found.pixel_size_nm is None
    assert found.metadata["everhart"]["format"] == suffix.upper()


@pytest.mark.parametrize("suffix", ["png", "bmp"])
def test_one_bit(tmp_path: Path, levels: np.ndarray, suffix: str) -> None:
    mask = levels > 100
    found = read(saved(tmp_path / f"a.{suffix}", mask))
    assert found.dtype == bool
    np.testing.assert_array_equal(found.pixels, mask)


def test_jpeg(tmp_path: Path, rng: np.random.Generator) -> None:
    ramp = np.add.outer(np.arange(48), np.arange(64)).astype(np.uint8)
    for mode in ("L", "RGB"):
        found = read(saved(tmp_path / "a.jpg", ramp, mode, quality=95))
        assert np.abs(found.pixels.astype(int) - ramp).max() <= 4
        assert found.pixel_size_nm is None


@pytest.mark.parametrize("bands", [1, 2, 3, 4])
def test_png_of_16_bits(tmp_path: Path, rng: np.random.Generator, bands: int) -> None:
    import imagecodecs

    deep = rng.integers(0, 65536, (40, 50), dtype=np.uint16)
    pixels = np.repeat(deep[..., None], bands, axis=-1)
    if bands in (2, 4):
        pixels[..., -1] = 65535
    path = tmp_path / "a.png"
    path.write_bytes(imagecodecs.png_encode(pixels.squeeze()))
    found = read(path)
    np.testing.assert_array_equal(found.pixels, deep)
    assert found.dtype == np.uint16


def test_colour_becomes_luminance(tmp_path: Path, levels: np.ndarray) -> None:
    rgb = np.stack([levels, 255 - levels, levels // 2], axis=-1)
    path = saved(tmp_path / "a.png", rgb)
    with pytest.warns(FileWarning, match="colour in"):
        found = read(path)
    np.testing.assert_array_equal(found.pixels, np.asarray(Image.fromarray(rgb).convert("L")))


def test_printing_resolutions_are_ignored_and_others_taken(
    tmp_path: Path, levels: np.ndarray
) -> None:
    assert read(saved(tmp_path / "a.png", levels, dpi=(300, 300))).pixel_size_nm is None
    assert read(saved(tmp_path / "a.jpg", levels, dpi=(72, 72))).pixel_size_nm is None
    path = saved(tmp_path / "b.png", levels, dpi=(2.54e6, 2.54e6))
    with pytest.warns(FileWarning, match="plain resolution"):
        assert read(path).pixel_size_nm == pytest.approx((10.0, 10.0))


def test_an_animation_gives_its_first_frame(tmp_path: Path, levels: np.ndarray) -> None:
    path = tmp_path / "a.png"
    Image.fromarray(levels).save(path, save_all=True, append_images=[Image.fromarray(levels // 2)])
    with pytest.warns(FileWarning, match="animation"):
        np.testing.assert_array_equal(read(path).pixels, levels)


def test_the_content_decides_and_not_the_suffix(tmp_path: Path, levels: np.ndarray) -> None:
    png = write(levels, tmp_path / "a.png")
    renamed = png.rename(tmp_path / "really_a_png.tif")
    assert read(renamed).metadata["everhart"]["format"] == "PNG"


def test_npy_of_either_order_and_bytes(tmp_path: Path, rng: np.random.Generator) -> None:
    pixels = rng.random((20, 30))
    for array in (pixels, np.asfortranarray(pixels), pixels.astype(">f4"), pixels[::2]):
        np.save(tmp_path / "a.npy", array)
        found = read(tmp_path / "a.npy")
        np.testing.assert_array_equal(found.pixels, array)
        assert found.dtype.isnative


def test_npy_with_bands(tmp_path: Path, levels: np.ndarray) -> None:
    np.save(tmp_path / "a.npy", np.repeat(levels[..., None], 3, axis=-1))
    np.testing.assert_array_equal(read(tmp_path / "a.npy").pixels, levels)


@pytest.mark.parametrize(
    "array",
    [
        np.array([{"a": 1}], dtype=object), np.zeros((3, 4), complex), np.array([["a", "b"]]),
        np.zeros(5), np.zeros((2, 3, 4, 5)), np.zeros((0, 4)), np.zeros((4, 4), "M8[s]"),
    ],
    ids=lambda a: f"{a.dtype}{a.shape}",
)  # fmt: skip
def test_npy_that_is_no_image(tmp_path: Path, array: np.ndarray) -> None:
    np.save(tmp_path / "a.npy", array, allow_pickle=True)
    with pytest.raises(FileFormatError, match="are read"):
        read(tmp_path / "a.npy")


def test_files_that_are_none(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="does not exist"):
        read(tmp_path / "missing.png")
    with pytest.raises(UsageError, match="is a folder"):
        read(tmp_path)
    empty = tmp_path / "empty.png"
    empty.touch()
    with pytest.raises(FileFormatError, match="is empty"):
        read(empty)
    text = tmp_path / "text.png"
    text.write_text("BMW, II, MM: no image")
    with pytest.raises(FileFormatError, match=r"no format that is known.*TIFF, PNG, JPEG"):
        read(text)


def test_a_new_format_is_one_object(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What the next microscope's format needs: see docs/formats.md."""

    def read_raw(path: Path, limits: object) -> Micrograph:
        data = path.read_bytes()[4:]
        return Micrograph(np.frombuffer(data, np.uint8).reshape(8, -1), 2.5)

    monkeypatch.setattr(registry, "_registered", [])
    register(Format("RAW8", (".raw8",), lambda start: start.startswith(b"RAW8"), read_raw))
    path = tmp_path / "a.raw8"
    path.write_bytes(b"RAW8" + bytes(range(64)))
    found = read(path)
    assert found.shape == (8, 8)
    assert found.pixel_size_nm == (2.5, 2.5)
    assert ".raw8" in readable_suffixes()
    with pytest.raises(UsageError, match=r"suffix '\.raw8'"):
        write(found, tmp_path / "b.raw8")


def test_a_long_record_comes_back_from_a_png(tmp_path: Path, levels: np.ndarray) -> None:
    tree = {"note": "a" * 3_000_000, "unit": "µm"}  # readers refuse compressed text so long
    image = Micrograph(levels, 2.0, {"vendor": tree})
    assert read(write(image, tmp_path / "a.png")).metadata["vendor"] == tree


def test_pillow_keeps_its_own_limit(tmp_path: Path, levels: np.ndarray) -> None:
    before = Image.MAX_IMAGE_PIXELS
    read(saved(tmp_path / "a.png", levels))
    assert before == Image.MAX_IMAGE_PIXELS


def test_the_room_opens_quickly() -> None:
    """The command line lists formats before it reads any: no heavy library until then."""
    import subprocess
    import sys

    code = (
        "import sys, everhart.io as io; io.readable_suffixes(); "
        "print([m for m in ('tifffile', 'PIL', 'cv2', 'imagecodecs', 'scipy', 'torch') "
        "if m in sys.modules])"
    )
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert found.stdout.strip() == "[]"

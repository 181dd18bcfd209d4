from __future__ import annotations

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from everhart.io import find_data_bar, read, write

WORDS = ("HV 10.00 kV", "mag 50 000 x", "WD 10.0 mm", "det ETD", "HFW 2.98 um")


def specimen(kind: str, height: int, width: int, rng: np.random.Generator) -> np.ndarray:
    """Images of 8 bits without a bar, from easy to treacherous."""
    y, x = np.mgrid[:height, :width]
    spheres = np.zeros((height, width))
    for _ in range(60):
        cy, cx, r = rng.random() * height, rng.random() * width, rng.uniform(3, 20)
        spheres[(y - cy) ** 2 + (x - cx) ** 2 < r * r] = 200
    clean = {
        "grey": np.full((height, width), 120.0),
        "spheres": spheres,
        "lines": np.where((x // 12) % 2, 40.0, 180.0),
        "layers": np.where((y // 25) % 2, 30.0, 200.0),
        "holes": np.where(((x % 24 - 12) ** 2 + (y % 20 - 10) ** 2) < 40, 20.0, 150.0),
        "dark edge": np.where(y > 0.9 * height, 0.0, 150.0),
    }[kind]
    return clean.astype(np.uint8)


def noisy(clean: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    return np.clip(rng.normal(clean, 12.0), 0, 255).astype(np.uint8)


def bar(height: int, width: int, *, dark: bool = True, framed: bool = False) -> np.ndarray:
    drawn = np.zeros((height, width), np.uint8)
    n_lines = 2 if height > 40 else 1
    scale = 0.018 * height / n_lines
    for line in range(n_lines):
        row = int(height * (line + 0.75) / n_lines)
        for i, word in enumerate(WORDS):
            at = (int(width * (0.02 + 0.2 * i)), row)
            cv2.putText(drawn, word, at, cv2.FONT_HERSHEY_SIMPLEX, scale, 255, 1)
    if framed:
        cv2.rectangle(drawn, (0, 0), (width - 1, height - 1), 255, 1)
    return drawn if dark else 255 - drawn


KINDS = ["grey", "spheres", "lines", "layers", "holes", "dark edge"]


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("dtype", ["uint8", "uint16", "float32"])
def test_no_bar_on_ordinary_images(kind: str, dtype: str, rng: np.random.Generator) -> None:
    clean = specimen(kind, 300, 400, rng)
    for image in (clean, noisy(clean, rng)):
        for turned in (image, image.T, image[::-1], 255 - image):
            assert find_data_bar(turned.astype(dtype)) == 0


@pytest.mark.parametrize("kind", ["grey", "spheres", "lines", "layers", "holes"])
@pytest.mark.parametrize("part", [0.05, 0.07, 0.09, 0.12])
@pytest.mark.parametrize("dark", [True, False])
@pytest.mark.parametrize("framed", [True, False])
def test_a_drawn_bar_is_found_to_the_row(
    kind: str, part: float, dark: bool, framed: bool, rng: np.random.Generator
) -> None:
    image = noisy(specimen(kind, 480, 640, rng), rng)
    rows = round(part * 480)
    whole = np.concatenate([image, bar(rows, 640, dark=dark, framed=framed)])
    assert find_data_bar(whole) == rows
    assert find_data_bar(whole.astype(np.uint16) * 257) == rows
    assert find_data_bar(whole / 255.0) == rows
    packed = cv2.imencode(".jpg", whole, [cv2.IMWRITE_JPEG_QUALITY, 90])[1]
    assert abs(find_data_bar(cv2.imdecode(packed, cv2.IMREAD_GRAYSCALE)) - rows) <= 2


def test_rows_of_specimen_below_the_bar_belong_to_it(rng: np.random.Generator) -> None:
    """As Zeiss and JEOL draw it: over the image, a few rows above its end."""
    image = noisy(specimen("spheres", 480, 640, rng) + 50, rng)
    image[430:478] = bar(48, 640)
    assert find_data_bar(image) == 50


def test_a_black_bar_below_a_black_specimen_shows_by_its_line(rng: np.random.Generator) -> None:
    image = np.clip(rng.normal(-5, 8, (480, 640)), 0, 255).astype(np.uint8)
    assert find_data_bar(np.concatenate([image, bar(40, 640, framed=True)])) == 40


def test_a_flat_band_without_text_is_specimen(rng: np.random.Generator) -> None:
    image = noisy(specimen("grey", 480, 640, rng), rng)
    image[430:] = 0
    assert find_data_bar(image) == 0
    image[450:460, 200:210] = 255  # one particle on it
    assert find_data_bar(image) == 0


def test_a_stack_is_judged_by_its_first_frame(rng: np.random.Generator) -> None:
    image = np.concatenate([noisy(specimen("grey", 300, 400, rng), rng), bar(30, 400)])
    assert find_data_bar(np.stack([image, image])) == 30


@pytest.mark.parametrize(
    "image",
    [
        np.zeros((300, 300), np.uint8), np.full((300, 300), np.nan), np.eye(300, dtype=bool),
        np.zeros((10, 10)), np.full((300, 300), np.inf), np.zeros((64, 96), np.int64),
    ],
)  # fmt: skip
def test_odd_images_have_none(image: np.ndarray) -> None:
    assert find_data_bar(image) == 0


@settings(max_examples=40, deadline=None)
@given(
    st.integers(0, 2**32 - 1), st.integers(64, 400), st.integers(96, 400), st.sampled_from(KINDS)
)
def test_never_on_generated_images(seed: int, height: int, width: int, kind: str) -> None:
    rng = np.random.default_rng(seed)
    clean = specimen(kind, height, width, rng)
    assert find_data_bar(clean) == 0
    assert find_data_bar(noisy(clean, rng)) == 0


def test_reading_says_where_the_bar_is_from(tmp_path, rng: np.random.Generator) -> None:
    image = noisy(specimen("spheres", 300, 400, rng), rng)
    with_bar = np.concatenate([image, bar(30, 400)])
    found = read(write(with_bar, tmp_path / "bar.npy"))
    assert found.data_bar_rows == 30
    assert found.metadata["everhart"]["data_bar_source"] == "picture"
    np.testing.assert_array_equal(found.field_of_view, image)
    without = read(write(image, tmp_path / "plain.npy"))
    assert without.data_bar_rows == 0
    assert without.metadata["everhart"]["data_bar_source"] is None
    # What Everhart wrote is not judged again: a bar that was denied stays denied.
    kept = read(write(found, tmp_path / "kept.tif"))
    assert (kept.data_bar_rows, kept.metadata["everhart"]["data_bar_source"]) == (30, "picture")

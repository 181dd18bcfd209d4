"""Tiles: laid together they are the image, at every size."""

from __future__ import annotations

import io
from pathlib import Path

import httpx
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from everhart import Micrograph
from everhart.io import write
from everhart.service.tiles import TILE_PX, level_shapes, prune, write_levels

from .served import Server, upload


def test_tiles_are_the_image(server: Server, tmp_path: Path):
    http = server.http
    pixels = np.random.default_rng(0).normal(1000, 200, (1100, 700)).astype(np.uint16)
    pixels[:, :350] += 500
    file = write(Micrograph(pixels, 1.0), tmp_path / "large.tif")
    image = upload(http, file.read_bytes(), "large.tif")
    levels = http.get(f"/v1/images/{image}/tiles").json()["levels"]
    assert [(level["height"], level["width"]) for level in levels] == [
        (1100, 700), (550, 350), (275, 175),
    ]  # fmt: skip
    black, white = np.percentile(pixels, (0.5, 99.5))
    expected = np.clip((pixels - black) / (white - black), 0, 1) * 255
    for level in levels:
        whole = together(http, image, level)
        assert whole.shape == (level["height"], level["width"])
        assert np.abs(whole - expected).max() <= 1 + 0.5 * level["level"]
        expected = halved(expected)
    for wrong in ("0/3/0", "0/0/2", "3/0/0"):
        assert http.get(f"/v1/images/{image}/tiles/{wrong}.png").status_code == 404
    for wrong in ("0/0/-1", "0/x/0"):
        assert http.get(f"/v1/images/{image}/tiles/{wrong}.png").status_code == 422
    assert http.get(f"/v1/images/{image}/tiles/0/0/0.png?frame=1").status_code == 422
    (kept,) = (server.folder / "scratch" / "tiles").glob(f"{image}-*")
    for entry in kept.iterdir():
        entry.unlink()
    kept.rmdir()  # as if it had been pruned between two tiles
    assert http.get(f"/v1/images/{image}/tiles/1/0/0.png").status_code == 200


def together(http: httpx.Client, image: str, level: dict[str, int]) -> np.ndarray:
    rows = []
    for row in range(level["rows"]):
        tiles = []
        for column in range(level["columns"]):
            answer = http.get(f"/v1/images/{image}/tiles/{level['level']}/{row}/{column}.png")
            assert answer.status_code == 200, answer.text
            tiles.append(np.asarray(Image.open(io.BytesIO(answer.content))).astype(float))
        rows.append(np.hstack(tiles))
    return np.vstack(rows)


def halved(pixels: np.ndarray) -> np.ndarray:
    height, width = pixels.shape
    even = np.pad(pixels, ((0, height % 2), (0, width % 2)), mode="edge")
    return (even[::2, ::2] + even[1::2, ::2] + even[::2, 1::2] + even[1::2, 1::2]) / 4


@given(st.integers(1, 100_000), st.integers(1, 100_000))
def test_the_last_level_is_one_tile(height: int, width: int):
    shapes = level_shapes(height, width)
    assert shapes[0] == (height, width)
    assert max(shapes[-1]) <= TILE_PX
    assert all(max(shape) > TILE_PX for shape in shapes[:-1])


@pytest.mark.parametrize("value", [0.0, np.nan])
def test_an_image_without_contrast(tmp_path: Path, value: float):
    write_levels(Micrograph(np.full((600, 30), value, np.float32)), tmp_path / "levels")
    assert np.load(tmp_path / "levels" / "1.npy").max() == 0


def test_what_was_not_asked_for_the_longest_goes(tmp_path: Path):
    import os

    for number in range(4):
        folder = tmp_path / str(number)
        folder.mkdir()
        (folder / "0.npy").write_bytes(b"x" * 1_000_000)
        os.utime(folder, (number, number if number else 10))
    prune(tmp_path, 2.5)
    assert sorted(entry.name for entry in tmp_path.iterdir()) == ["0", "3"]

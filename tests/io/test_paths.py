from __future__ import annotations

from pathlib import Path

import pytest

from everhart import UsageError
from everhart.io import image_paths


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    for name in ("f10.tif", "f2.TIF", "b.png", "notes.txt", ".everhart-1.tif", "m.npy"):
        (tmp_path / name).touch()
    (tmp_path / "sub.tif").mkdir()
    return tmp_path


def test_a_folder_stands_for_its_images_in_natural_order(folder: Path) -> None:
    assert [p.name for p in image_paths([folder])] == ["b.png", "f2.TIF", "f10.tif", "m.npy"]


def test_files_are_kept_in_order_and_once(folder: Path) -> None:
    given = [folder / "notes.txt", str(folder / "f10.tif"), folder]
    assert [p.name for p in image_paths(given)] == [
        "notes.txt",
        "f10.tif",
        "b.png",
        "f2.TIF",
        "m.npy",
    ]


def test_one_path_may_be_given_alone(folder: Path) -> None:
    assert image_paths(str(folder / "b.png")) == [folder / "b.png"]


def test_patterns_are_expanded(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert [p.name for p in image_paths([folder / "f*.*"])] == ["f2.TIF", "f10.tif"]
    monkeypatch.chdir(folder)
    assert image_paths(["*.png"]) == [Path("b.png")]


def test_a_file_with_the_signs_of_a_pattern_is_a_file(tmp_path: Path) -> None:
    path = tmp_path / "scan[1].tif"
    path.touch()
    assert image_paths([path]) == [path]


def test_bad_inputs(folder: Path, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"missing\.tif does not exist"):
        image_paths([folder / "missing.tif"])
    with pytest.raises(UsageError, match="No input"):
        image_paths([])
    with pytest.raises(UsageError, match="No file matches"):
        image_paths([folder / "*.jpg"])
    empty = tmp_path / "empty"
    empty.mkdir()
    (empty / "readme.txt").touch()
    with pytest.raises(UsageError, match=r"holds no images: files ending in \.tif, \.tiff, \.png"):
        image_paths([empty])

"""Scenes of repeated frames on disk: which file is what, and how they are laid on each other."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from everhart.errors import UsageError
from everhart.micrograph import Array

_COUNTED = re.compile(r"(?:(?P<scene>.+)_)?F(?P<count>\d+)(?:_(?P<copy>\d+))?", re.IGNORECASE)
# Written by `everhart simulate` beside the images.
_TRUTH = re.compile(r".+_(clean|labels)|clean_F\d+|clean|labels", re.IGNORECASE)


def read_scenes(
    folder: Path,
    exclude: Sequence[str] = (),
    *,
    plain: bool,
    register: bool,
    max_shift_px: float,
    rows: tuple[float, float] = (0.0, 1.0),
) -> dict[str, dict[int, list[Array]]]:
    """Read all scenes of a folder.

    Parameters
    ----------
    folder
        Folder with a folder for each scene, or with the images themselves.
    exclude
        Patterns of files to leave out.
    plain
        Whether each image is a single frame, whatever its name.
    register
        Whether images are laid on each other, by whole pixels.
    max_shift_px
        Largest shift to look for.
    rows
        Part of the height that is kept.

    Returns
    -------
    dict
        Images ``(H, W)`` by frame count, by scene; all images of a scene have one shape.

    Raises
    ------
    UsageError
        If there is no scene, a name is not understood, or shapes differ.
    """
    files = _plain_files(folder, exclude) if plain else _counted_files(folder, exclude)
    if not files:
        raise UsageError(
            f"{folder} holds no frames: give a folder of scenes with files such as "
            "scene_1/F01_000.tif, or set names: plain if every image is a single frame."
        )
    scenes = {}
    for scene, found in files.items():
        images = _read(scene, found)
        if register:
            images = _registered(images, max_shift_px)
        scenes[scene] = _part(images, rows)
    return scenes


def _images_in(folder: Path, exclude: Sequence[str]) -> list[Path]:
    from everhart.io.registry import readable_suffixes

    suffixes = readable_suffixes()
    return sorted(
        path
        for path in folder.iterdir()
        if path.is_file()
        and path.suffix.lower() in suffixes
        and not path.name.startswith(".")  # other programs' files, as macOS leaves them
        and not any(path.match(pattern) for pattern in exclude)
    )


def _folders_in(folder: Path) -> list[Path]:
    return sorted(p for p in folder.iterdir() if p.is_dir() and not p.name.startswith("."))


def _counted_files(folder: Path, exclude: Sequence[str]) -> dict[str, list[tuple[int, Path]]]:
    """Return files with their frame counts by scene."""
    scenes: dict[str, list[tuple[int, Path]]] = {}
    for place in [folder, *_folders_in(folder)]:
        for path in _images_in(place, exclude):
            if _TRUTH.fullmatch(path.stem):
                continue
            match = _COUNTED.fullmatch(path.stem)
            if match is None or int(match["count"]) < 1:
                raise UsageError(
                    f"The name {path.name} in {place} does not say how many frames the image is "
                    "the mean of: name it such as F01_000.tif or F08_000.tif, exclude it, or set "
                    "names: plain if every image is a single frame."
                )
            parts = [] if place == folder else [place.name]
            name = "/".join([*parts, *([match["scene"]] if match["scene"] else [])])
            scenes.setdefault(name or folder.name, []).append((int(match["count"]), path))
    return scenes


def _plain_files(folder: Path, exclude: Sequence[str]) -> dict[str, list[tuple[int, Path]]]:
    from everhart.io import read

    scenes: dict[str, list[tuple[int, Path]]] = {}
    singles = []
    for path in _images_in(folder, exclude):
        if read(path).pixels.ndim == 3:
            scenes[path.name] = [(1, path)]
        else:
            singles.append((1, path))
    if singles:
        scenes[folder.name] = singles
    for place in _folders_in(folder):
        files = [(1, path) for path in _images_in(place, exclude)]
        if files:
            scenes[place.name] = files
    return scenes


def _read(scene: str, files: list[tuple[int, Path]]) -> dict[int, list[Array]]:
    from everhart.io import read

    images: dict[int, list[Array]] = {}
    first: tuple[Path, tuple[int, ...]] | None = None
    for count, path in files:
        pixels = np.asarray(read(path).field_of_view)
        for frame in pixels if pixels.ndim == 3 else [pixels]:
            if first is None:
                first = path, frame.shape
            if frame.shape != first[1]:
                raise UsageError(
                    f"In the scene {scene}, {path.name} has the shape {frame.shape} and "
                    f"{first[0].name} {first[1]}: frames of one scene have one shape; crop them "
                    "alike, or make two scenes of them."
                )
            if frame.min() == frame.max():
                raise UsageError(
                    f"{path.name} in the scene {scene} is constant: take it out of the training "
                    "images."
                )
            images.setdefault(count, []).append(frame)
    return images


def _registered(images: dict[int, list[Array]], max_shift_px: float) -> dict[int, list[Array]]:
    """Undo the drift by whole pixels: a fraction would blur the noise that is to be learned."""
    from everhart.align import estimate_shift

    ordered = [
        (count, n) for count in sorted(images, reverse=True) for n in range(len(images[count]))
    ]
    reference = np.asarray(images[ordered[0][0]][0], np.float32)
    total, shifts = reference.astype(np.float64), {ordered[0]: (0, 0)}
    for number, (count, n) in enumerate(ordered[1:], 1):
        # Against the mean of those before: a single frame may be nearly all noise.
        shift = estimate_shift(
            images[count][n], total.astype(np.float32) / number, max_shift_px=max_shift_px
        )
        shifts[count, n] = (round(shift[0]), round(shift[1]))
        total += np.roll(images[count][n], shifts[count, n], (0, 1))
    height, width = reference.shape
    top, left = (max(0, *(s[axis] for s in shifts.values())) for axis in (0, 1))
    bottom = height + min(0, *(s[0] for s in shifts.values()))
    right = width + min(0, *(s[1] for s in shifts.values()))
    return {
        count: [
            frame[top - dy : bottom - dy, left - dx : right - dx]
            for frame, (dy, dx) in ((f, shifts[count, n]) for n, f in enumerate(frames))
        ]
        for count, frames in images.items()
    }


def _part(images: dict[int, list[Array]], rows: tuple[float, float]) -> dict[int, list[Array]]:
    height = next(iter(images.values()))[0].shape[0]
    part = slice(round(rows[0] * height), round(rows[1] * height))
    return {count: [frame[part] for frame in frames] for count, frames in images.items()}

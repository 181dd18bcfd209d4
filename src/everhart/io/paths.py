"""The files that a command line's words mean: files, folders and patterns, expanded."""

from __future__ import annotations

import os
import re
from collections.abc import Iterable
from glob import has_magic
from pathlib import Path

from everhart.errors import UsageError
from everhart.io.registry import formats, readable_suffixes

__all__ = ["image_paths", "natural_key"]


def image_paths(
    inputs: Iterable[str | os.PathLike[str]] | str | os.PathLike[str],
) -> list[Path]:
    """Expand files, folders and patterns into the image files that they mean.

    Parameters
    ----------
    inputs
        Files, kept whatever their suffix; folders, which stand for the images directly in
        them, known by their suffix, in natural order (``frame_2`` before ``frame_10``), or,
        like ``image.zarr``, for the one image that they are; and patterns such as ``*.tif``,
        which the Windows shell does not expand.

    Returns
    -------
    list of Path
        The files in the order given, each once.

    Raises
    ------
    UsageError
        If nothing is given, a file is missing, a folder holds no images, or a pattern
        matches nothing.
    """
    if isinstance(inputs, (str, os.PathLike)):
        inputs = [inputs]
    found: dict[Path, None] = {}
    given = 0
    for word in inputs:
        given += 1
        for path in _expand(Path(word)):
            found.setdefault(path)
    if not given:
        raise UsageError("No input was given: name at least one image file or folder.")
    return list(found)


def _expand(path: Path) -> list[Path]:
    if path.is_dir():
        return [path] if _is_image(path) else _images_in(path)
    if path.exists():
        return [path]
    if has_magic(str(path)):
        anchor = Path(path.anchor)
        matches = sorted(anchor.glob(str(path.relative_to(anchor))), key=natural_key)
        if not matches:
            raise UsageError(f"No file matches the pattern {path}: check the folder and the name.")
        return [found for match in matches for found in _expand(match)]
    raise UsageError(f"The input {path} does not exist: give an image file or a folder of images.")


def _images_in(folder: Path) -> list[Path]:
    suffixes = readable_suffixes()
    try:
        files = [
            entry
            for entry in folder.iterdir()
            # Hidden files are other programs' (and our own) temporary files and resource forks.
            if entry.suffix.lower() in suffixes
            and not entry.name.startswith(".")
            and (entry.is_file() or _is_image(entry))
        ]
    except OSError as error:
        raise UsageError(
            f"The folder {folder} cannot be listed ({error.strerror}): choose one that you may "
            "read."
        ) from error
    if not files:
        raise UsageError(
            f"The folder {folder} holds no images: files ending in {', '.join(suffixes)} are read, "
            "and sub-folders are not searched."
        )
    return sorted(files, key=natural_key)


def _is_image(folder: Path) -> bool:
    """Say whether a folder is one image, as of Zarr."""
    return folder.is_dir() and any(
        known.is_folder is not None and known.is_folder(folder) for known in formats()
    )


def natural_key(path: Path) -> tuple[list[tuple[int, int, str]], str]:
    """Return a key to sort by in which numbers count as numbers."""
    parts = re.split(r"(\d+)", str(path).casefold())
    key = [(0, int(p), "") if p.isdecimal() else (1, 0, p) for p in parts if p]
    return key, str(path)

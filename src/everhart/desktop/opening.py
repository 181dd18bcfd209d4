"""Files and folders that are opened: which images are meant, and what was wrong."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from everhart.desktop.background import sentence
from everhart.desktop.library import Entry
from everhart.errors import EverhartError
from everhart.io import image_paths

__all__ = ["Opened", "find_images"]


@dataclass(frozen=True)
class Opened:
    """What was found.

    Parameters
    ----------
    entries
        The images.
    faults
        Sentences of what could not be opened.
    is_folder
        Whether a folder was given, which replaces the list.
    """

    entries: list[Entry]
    faults: list[str]
    is_folder: bool


def find_images(paths: Iterable[Path]) -> Opened:
    """Find the images of files and folders; a folder of folders is a run of lots.

    Parameters
    ----------
    paths
        What was chosen or dropped.
    """
    entries: list[Entry] = []
    faults: list[str] = []
    is_folder = False
    for path in paths:
        is_folder = is_folder or path.is_dir()
        try:
            found = _images(path.absolute())
        except EverhartError as error:
            faults.append(sentence(error))
            continue
        for image in found:
            try:
                entries.append(Entry(image, image.stat().st_mtime))
            except OSError as error:
                faults.append(sentence(error))
    return Opened(entries, faults, is_folder)


def _images(path: Path) -> list[Path]:
    try:
        return image_paths([path])
    except EverhartError:
        if not path.is_dir():
            raise
        found: list[Path] = []
        try:
            folders = sorted(p for p in path.iterdir() if p.is_dir() and p.name[0] != ".")
        except OSError:
            folders = []
        for folder in folders:
            try:
                found += image_paths([folder])
            except EverhartError:
                continue
        if not found:
            raise
        return found

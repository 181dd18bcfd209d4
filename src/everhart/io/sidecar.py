"""Text files beside an image, in which JEOL, Hitachi and TESCAN tell the pixel size."""

from __future__ import annotations

import stat
from functools import partial
from pathlib import Path

from everhart.io.findings import Findings, guarded
from everhart.io.vendors import VendorData
from everhart.io.vendors.hitachi import from_hitachi, is_hitachi
from everhart.io.vendors.jeol import from_jeol_text, is_jeol_text
from everhart.io.vendors.tescan import from_tescan, is_tescan
from everhart.io.vendors.values import decoded
from everhart.io.warning import warn

__all__ = ["read_sidecar"]

# The texts have a few kilobytes; what is larger is something else.
_LARGEST_BYTES = 1 << 20


def read_sidecar(path: Path, found: Findings, shape: tuple[int, ...]) -> None:
    """Add what a file of the same name with ``.txt`` or ``.hdr`` says, if there is one.

    Parameters
    ----------
    path
        The image.
    found
        Findings so far, which are added to.
    shape
        Shape of the image.

    Notes
    -----
    Files of other programs with such names are passed over without a word. Only regular files
    of at most 1 MB are opened.
    """
    for beside in _candidates(path):
        raw = _content(beside)
        if raw is None:
            continue
        data = guarded(path, f"side-car {beside.name}", partial(_understood, raw, shape))
        if data is None:
            continue
        if data.pixel_size_nm is None:
            warn(path, f"has a side-car {beside.name} that tells no pixel size")
        found.take(path, data, shape)
        return


def _understood(raw: bytes, shape: tuple[int, ...]) -> VendorData | None:
    text = decoded(raw)
    if is_hitachi(text):
        return from_hitachi(text)
    if is_jeol_text(text):
        return from_jeol_text(text, shape)
    if is_tescan(text):
        return from_tescan(text)
    return None


def _candidates(path: Path) -> list[Path]:
    """Return the names that a side-car can have, the usual ones first.

    They are tried one by one: to list a folder of thousands of images for each of them would
    take longer than to read them.
    """
    kind = path.suffix.removeprefix(".").lower()
    stems = dict.fromkeys((path.stem, path.stem.lower(), path.stem.upper()))
    names = [
        stem + suffix
        for suffix in (".txt", ".TXT", ".hdr", ".HDR", f"-{kind}.hdr", f"-{kind.upper()}.HDR")
        for stem in stems
    ]
    return [path.with_name(name) for name in names if name != path.name]


def _content(beside: Path) -> bytes | None:
    """Return the content of a small regular file, else None."""
    try:
        state = beside.stat()
        if not stat.S_ISREG(state.st_mode) or not 0 < state.st_size <= _LARGEST_BYTES:
            return None
        with beside.open("rb") as file:
            return file.read(_LARGEST_BYTES)
    except (OSError, ValueError):
        return None

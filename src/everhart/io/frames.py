"""Which files are the frames of one field of view, and opening them."""

from __future__ import annotations

import math
import os
from collections.abc import Iterable, Mapping, Sequence
from contextlib import ExitStack, closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from everhart.errors import EverhartError, UsageError
from everhart.io.data_bar import find_data_bar
from everhart.io.frame_file import FrameFile
from everhart.io.frame_names import series_by_name
from everhart.io.frame_stack import FrameStack
from everhart.io.limits import DEFAULT_LIMITS, Limits
from everhart.io.paths import image_paths
from everhart.micrograph import Micrograph

__all__ = ["FrameGroup", "FrameKind", "group_by_kind", "group_frames", "open_frames"]

Words = str | os.PathLike[str]


class FrameKind(NamedTuple):
    """What frames of one series have in common.

    Parameters
    ----------
    shape
        ``(height, width)``.
    dtype
        Dtype of the pixels.
    pixel_size_nm
        ``(y, x)``, or None.
    """

    shape: tuple[int, int]
    dtype: np.dtype[Any]
    pixel_size_nm: tuple[float, float] | None

    def agrees(self, other: FrameKind) -> bool:
        """Say whether frames of the two kinds can be of one series."""
        return self[:2] == other[:2] and _same_size(self.pixel_size_nm, other.pixel_size_nm)

    def __str__(self) -> str:
        size = "uncalibrated"
        if self.pixel_size_nm is not None:
            size = "{:g} x {:g} nm/px".format(*self.pixel_size_nm)
        return f"{self.shape[0]} x {self.shape[1]} {self.dtype}, {size}"


def open_frames(
    source: Words | Iterable[Words],
    *,
    pixel_size_nm: float | tuple[float, float] | None = None,
    limits: Limits = DEFAULT_LIMITS,
) -> FrameStack:
    """Open frames of one field of view without reading them all.

    Parameters
    ----------
    source
        A stack; a folder of single images, in natural order of their names (``frame_2`` before
        ``frame_10``); or several files, folders and patterns, in the order given.
    pixel_size_nm
        Pixel size in nm, or ``(y, x)``, in place of what the files say.
    limits
        What the files may claim to hold.

    Returns
    -------
    FrameStack
        The frames. Use it as a context manager, or call its ``close``.

    Raises
    ------
    UsageError
        If a file is missing, frames differ in shape, dtype or pixel size, or a folder holds
        several series by the names of its files.
    FileFormatError
        If a file is broken, or holds no image.

    Examples
    --------
    >>> import everhart as eh
    >>> # stack = eh.open_frames("film.tif")
    >>> # mean = stack.mean(align=True)
    """
    paths = image_paths(source)
    if isinstance(source, str | os.PathLike) and Path(source).is_dir() and paths != [Path(source)]:
        _check_one_series(Path(source), paths)
    files: list[FrameFile] = []
    places: list[tuple[int, int]] = []
    common: FrameKind | None = None
    first: Micrograph | None = None
    with ExitStack() as on_error:
        for path in paths:
            file = FrameFile(path, limits)
            on_error.callback(file.close)
            kind, frames = _kind_of(file)
            if pixel_size_nm is not None:
                kind = kind._replace(pixel_size_nm=None)
            if common is None:
                common, first = kind, _described(file, pixel_size_nm)
            elif not common.agrees(kind):
                raise UsageError(
                    f"{path} has frames of {kind} and {paths[0]} of {common}: frames of one field "
                    "have one shape, dtype and pixel size; leave out the one that differs."
                )
            places += [(len(files), number) for number in range(frames)]
            files.append(file)
            if len(paths) > 1:
                file.close()
        limits.check_frames(str(paths[0].parent), len(places))
        on_error.pop_all()
    if first is None:  # no path, no stack: `image_paths` gives at least one
        raise UsageError("No input was given: name at least one image file or folder.")
    return FrameStack(files, places, first)


@dataclass(frozen=True)
class FrameGroup:
    """Files that hold the frames of one field of view.

    Parameters
    ----------
    name
        The file, or what the names of the files have in common, such as ``"A_*.tif"``.
    paths
        The files in the order of their numbers.
    n_frames
        Number of frames; 0 for a file that could not be read.
    """

    name: str
    paths: tuple[Path, ...]
    n_frames: int

    def open(self, *, limits: Limits = DEFAULT_LIMITS) -> FrameStack:
        """Open the frames; see :func:`open_frames`."""
        return open_frames(self.paths, limits=limits)


def group_frames(
    source: Words | Iterable[Words], *, limits: Limits = DEFAULT_LIMITS
) -> list[FrameGroup]:
    """Group files into frames of one field of view each, by their names.

    Files are grouped if their names differ in a running number alone
    (:func:`everhart.io.frame_names.series_by_name`), each holds one image, and all of them
    agree in shape, dtype and pixel size. In any other case each file is left alone: frames
    are better given by name than averages made of two fields.

    Parameters
    ----------
    source
        A folder, files, or patterns.
    limits
        What the files may claim to hold.

    Returns
    -------
    list of FrameGroup
        Every file once. A stack is a group of one file, and so is a file that cannot be read.

    Examples
    --------
    >>> import tempfile
    >>> from everhart.io import write
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     for name in ("A_001", "A_002", "B_001"):
    ...         _ = write(np.zeros((8, 8), np.uint8), Path(folder) / f"{name}.tif")
    ...     [(group.name, group.n_frames) for group in group_frames(folder)]
    [('A_*.tif', 2), ('B_001.tif', 1)]
    """
    paths = image_paths(source)
    return group_by_kind({path: _try_kind(path, limits) for path in paths})


def group_by_kind(files: Mapping[Path, tuple[FrameKind | None, int]]) -> list[FrameGroup]:
    """Group files whose kind and number of frames are known; see :func:`group_frames`.

    Parameters
    ----------
    files
        Kind and number of frames of each file; None and 0 for one that cannot be read.

    Returns
    -------
    list of FrameGroup
        Every file once.
    """
    groups = []
    for series in series_by_name(files):
        kinds = [files[path] for path in series.paths]
        first = kinds[0][0]
        if all(
            kind is not None and first is not None and first.agrees(kind) and frames == 1
            for kind, frames in kinds
        ):
            groups.append(FrameGroup(series.name, series.paths, len(kinds)))
            continue
        groups += [
            FrameGroup(path.name, (path,), frames)
            for path, (_, frames) in zip(series.paths, kinds, strict=True)
        ]
    return groups


def _try_kind(path: Path, limits: Limits) -> tuple[FrameKind | None, int]:
    try:
        with closing(FrameFile(path, limits)) as file:
            return _kind_of(file)
    except EverhartError:
        return None, 0


def _kind_of(file: FrameFile) -> tuple[FrameKind, int]:
    reader = file.reader()
    frames, height, width = reader.shape
    return FrameKind((height, width), reader.dtype, reader.pixel_size_nm), frames


def _described(file: FrameFile, pixel_size_nm: float | tuple[float, float] | None) -> Micrograph:
    """Return what is known of a frame, as :func:`everhart.io.read` says it, without its pixels."""
    reader = file.reader()
    own = dict(reader.metadata.get("everhart") or {})
    rows = reader.data_bar_rows
    if own.get("data_bar_source") is None:
        rows = find_data_bar(file.frame(0))
        own["data_bar_source"] = "picture" if rows else None
    if pixel_size_nm is not None:
        own["pixel_size_source"] = "given"
    own["format"] = file.format.name
    return Micrograph(
        np.broadcast_to(np.zeros((), reader.dtype), reader.shape[1:]),
        reader.pixel_size_nm if pixel_size_nm is None else pixel_size_nm,  # type: ignore[arg-type]
        {**reader.metadata, "everhart": own},
        reader.history,
        rows,
    )


def _check_one_series(folder: Path, paths: Sequence[Path]) -> None:
    series = series_by_name(paths)
    if len(series) > 1:
        listed = ", ".join(f"{s.name} ({len(s.paths)})" for s in series[:4])
        more = f" and {len(series) - 4} more" if len(series) > 4 else ""
        raise UsageError(
            f"The folder {folder} holds {len(series)} series by the names of its files, {listed}"
            f"{more}: frames are those of one; give a pattern such as "
            f"{folder / series[0].name}, or the files by name."
        )


def _same_size(one: tuple[float, float] | None, other: tuple[float, float] | None) -> bool:
    if one is None or other is None:
        return one is other
    return all(math.isclose(a, b, rel_tol=1e-3) for a, b in zip(one, other, strict=True))

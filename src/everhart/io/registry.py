"""The file formats that Everhart knows, and how one is found for a file.

To add a format, write one module with a :class:`Format` in it and list it in
:mod:`everhart.io.formats`. A program can add its own with :func:`register`.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from everhart.errors import FileFormatError, UsageError

if TYPE_CHECKING:
    from everhart.io.lazy import FrameReader
    from everhart.io.limits import Limits
    from everhart.io.plane import PlaneReader
    from everhart.micrograph import Micrograph

__all__ = [
    "Format",
    "folder_format",
    "format_to_read",
    "format_to_write",
    "formats",
    "readable_suffixes",
    "register",
    "writable_suffixes",
]

#: Bytes from the start of a file that a format may look at to recognise it.
SNIFFED_BYTES = 4096


@dataclass(frozen=True)
class Format:
    """A file format: how to recognise, read and write it.

    Parameters
    ----------
    name
        What people call it, such as ``"TIFF"``.
    suffixes
        Its file name suffixes, in lower case with the dot, the usual one first.
    sniff
        Says from the first bytes of a file (4096 at most) whether it is of this format. The
        content decides, not the name: microscopes and people both mislabel files.
    read
        Reads a file. It must check the header's claim with ``limits.check`` before it decodes
        anything, raise `FileFormatError` for a broken file rather than give half an image,
        and give a calibration of None where none is known.
    write
        Writes a micrograph to a file (or folder) that exists, is empty and is renamed by the
        caller; it raises `UsageError` for a dtype that the format cannot hold. None if the
        format is only read.
    frames
        Opens a stack without decoding it, where that is cheaper than `read`: for formats
        that are compressed or in pieces. None where `read` maps the file, or only single
        images are held.
    plane
        Opens a single image to read it window by window, for formats that are compressed
        or in pieces; `read` serves where it is None.
    is_folder
        Says whether a folder is one image of this format (Zarr); its `read` and `write` then
        take folders. None for formats of single files.
    is_replaceable
        Says whether a folder holds nothing but an image of this format, so that an output may
        replace it. None for formats of single files.
    stacks
        Whether a file can hold several frames.
    """

    name: str
    suffixes: tuple[str, ...]
    sniff: Callable[[bytes], bool]
    read: Callable[[Path, Limits], Micrograph]
    write: Callable[[Micrograph, Path], None] | None = None
    frames: Callable[[Path, Limits], FrameReader] | None = None
    plane: Callable[[Path, Limits], PlaneReader] | None = None
    is_folder: Callable[[Path], bool] | None = None
    is_replaceable: Callable[[Path], bool] | None = None
    stacks: bool = True


_registered: list[Format] = []


def register(new: Format) -> None:
    """Add a format; one of the same name is replaced, and the newest is asked first."""
    _registered[:] = [new, *(known for known in _registered if known.name != new.name)]


def formats() -> tuple[Format, ...]:
    """Return all formats, in the order in which they are asked."""
    from everhart.io.formats import FORMATS

    names = {known.name for known in _registered}
    return (*_registered, *(known for known in FORMATS if known.name not in names))


def readable_suffixes() -> tuple[str, ...]:
    """Return the suffixes of all files that can be read."""
    return tuple(dict.fromkeys(suffix for known in formats() for suffix in known.suffixes))


def writable_suffixes() -> tuple[str, ...]:
    """Return the suffixes of all files that can be written."""
    return tuple(
        dict.fromkeys(suffix for known in formats() if known.write for suffix in known.suffixes)
    )


def format_to_read(path: Path) -> Format:
    """Find the format of a file by its first bytes.

    Raises
    ------
    UsageError
        If there is no such file.
    FileFormatError
        If the file is empty, or of no known format.
    """
    if path.is_dir():
        for known in formats():
            if known.is_folder is not None and known.is_folder(path):
                return known
        if folder_format(path) is not None:
            raise FileFormatError(
                f"{path} is a folder without the files of a {path.suffix} image: copy it again "
                "from its source."
            )
        raise UsageError(f"The input {path} is a folder: give the name of an image file.")
    if path.exists() and not path.is_file():
        raise UsageError(
            f"The input {path} is a pipe or a device: save the image to a file and give its name."
        )
    try:
        with path.open("rb") as file:
            start = file.read(SNIFFED_BYTES)
    except FileNotFoundError:
        raise UsageError(
            f"The input {path} does not exist: check the folder and the name."
        ) from None
    except OSError as error:
        raise FileFormatError(f"The input {path} cannot be read: {error.strerror}.") from error
    if not start:
        raise FileFormatError(f"{path} is empty (0 bytes): get the file again from its source.")
    for known in formats():
        if known.sniff(start):
            return known
    names = ", ".join(known.name for known in formats())
    raise FileFormatError(
        f"{path} is of no format that is known by its content: {names} are read; export it as "
        "TIFF from the program that wrote it."
    )


def folder_format(path: Path) -> Format | None:
    """Return the format whose images are folders with the suffix of `path`, or None."""
    for known in formats():
        if known.is_folder is not None and path.suffix.lower() in known.suffixes:
            return known
    return None


def format_to_write(path: Path) -> Callable[[Micrograph, Path], None]:
    """Find the function that writes a format, by a file name's suffix.

    Raises
    ------
    UsageError
        If the suffix is not that of a format that can be written.
    """
    for known in formats():
        if known.write is not None and path.suffix.lower() in known.suffixes:
            return known.write
    given = f"the suffix {path.suffix!r}" if path.suffix else "no suffix"
    raise UsageError(
        f"The output {path.name} has {given}: {', '.join(writable_suffixes())} are allowed."
    )

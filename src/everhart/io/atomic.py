"""Outputs that appear whole or not at all, and that overwrite nothing unasked.

A file is written under a temporary name in its own folder, flushed to disk and then given
its name in one step. A program that is killed, or a disk that fills up, leaves the old file
(or no file), never half a new one. An image that is a folder, as of Zarr, is written in the same
way.
"""

from __future__ import annotations

import contextlib
import errno
import hashlib
import os
import re
import secrets
import shutil
from collections.abc import Iterator
from pathlib import Path

from everhart.errors import EverhartError, UsageError
from everhart.io.registry import Format, folder_format

__all__ = [
    "OutputExistsError",
    "atomic_folder",
    "atomic_path",
    "begun_path",
    "check_output",
    "explained",
    "finish",
    "flush",
    "write_bytes",
    "write_text",
]

#: Temporary files begin with this; the leading dot hides them from folder listings.
TEMPORARY_PREFIX = ".everhart-"

_FREE_SOME = "free some space or write to another disk"

_WORDS = {
    errno.ENOSPC: f"the disk is full; {_FREE_SOME}",
    errno.EACCES: "permission is denied; choose a folder that you may write to",
    errno.EPERM: "permission is denied; choose a folder that you may write to",
    errno.EROFS: "the disk is read-only; choose another one",
    errno.EFBIG: "the file is too large for this disk or quota; write to another disk",
    errno.ENAMETOOLONG: "the name is too long; choose a shorter one",
    errno.EIO: "the disk reports an error; write to another disk",
}
if hasattr(errno, "EDQUOT"):  # not on Windows
    _WORDS[errno.EDQUOT] = f"the disk quota is used up; {_FREE_SOME}"

# What `numpy.ndarray.tofile`, and so tifffile, says of a disk that is full: an OSError that
# has lost its number.
_SHORT_WRITE = re.compile(r"^\d+ requested and \d+ written$")

# What a file system without hard links answers to os.link.
_NO_HARD_LINKS = {
    getattr(errno, name)
    for name in ("EPERM", "ENOTSUP", "EOPNOTSUPP", "ENOSYS", "EXDEV", "EMLINK", "EINVAL", "EACCES")
    if hasattr(errno, name)
}


class OutputExistsError(UsageError):
    """The output is already there and overwriting was not asked for."""

    def __init__(self, path: Path) -> None:
        super().__init__(
            f"The output {path} exists already: give another name, or ask to overwrite it."
        )
        self.path = path


def check_output(path: str | os.PathLike[str], *, overwrite: bool = False) -> Path:
    """Check that a file can be written at `path`, before the work that makes its content.

    Parameters
    ----------
    path
        Name of the output.
    overwrite
        Whether an existing file may be replaced; or an existing folder, if its name is that of
        a format of folders and it holds nothing else than an image of it.

    Returns
    -------
    Path
        The path.

    Raises
    ------
    OutputExistsError
        If the file exists and `overwrite` is false.
    UsageError
        If the parent folder does not exist, or `path` is a folder or a device.
    """
    path = Path(path)
    if not path.name:
        raise UsageError(f"{str(path)!r} was given as an output file: it must name a file.")
    try:
        made_of_files = folder_format(path)
        if made_of_files is not None and path.exists():
            _check_folder(path, made_of_files, overwrite=overwrite)
        elif path.is_dir():
            raise UsageError(
                f"The output {path} is a folder: give the name of a file, such as "
                f"{path / 'image.tif'}."
            )
        if not path.parent.is_dir():
            raise UsageError(
                f"The folder {path.parent} of the output {path.name} does not exist: make it "
                "first, or choose an existing folder."
            )
        if path.exists() and not path.is_file() and made_of_files is None:
            raise UsageError(
                f"The output {path} is a device or a pipe: give the name of an ordinary file."
            )
        if not overwrite and os.path.lexists(path):  # a broken link is in the way as well
            raise OutputExistsError(path)
    except OSError as error:  # a name too long, a folder that may not be looked into
        raise _failure(path, error) from error
    return path


def _check_folder(path: Path, known: Format, *, overwrite: bool) -> None:
    """Check that what is in the way of a folder may be replaced by it."""
    if not overwrite:
        raise OutputExistsError(path)
    if not path.is_dir():
        raise UsageError(
            f"The output {path} is a file, and a {known.name} image is a folder: give another "
            "name, or delete the file."
        )
    if known.is_replaceable is None or not known.is_replaceable(path):
        raise UsageError(
            f"The output {path} is a folder in which there is more than a {known.name} image: it "
            "is not overwritten; give another name, or delete it yourself."
        )


@contextlib.contextmanager
def atomic_path(path: str | os.PathLike[str], *, overwrite: bool = False) -> Iterator[Path]:
    """Give a temporary path to write to, which becomes `path` if all goes well.

    Parameters
    ----------
    path
        Name of the output. Its folder must exist.
    overwrite
        Whether an existing file may be replaced. Where not, a file that somebody else
        writes at `path` in the meantime is not replaced either.

    Yields
    ------
    Path
        An empty file in the same folder, with the same suffix. On success it is flushed
        to disk and renamed; on any exception it is removed.

    Raises
    ------
    OutputExistsError
        If the file exists and `overwrite` is false.
    UsageError
        If the parent folder does not exist, or `path` is a folder or a device.
    EverhartError
        If the disk is full or writing is not permitted.

    Examples
    --------
    >>> import tempfile
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     with atomic_path(Path(folder) / "note.txt") as temporary:
    ...         _ = temporary.write_text("whole or not at all")
    ...     print([p.name for p in Path(folder).iterdir()])
    ['note.txt']
    """
    path = check_output(path, overwrite=overwrite)
    target = _behind_link(path)
    temporary = target.with_name(f"{TEMPORARY_PREFIX}{secrets.token_hex(8)}{target.suffix}")
    try:
        # Not tempfile.mkstemp, whose files only their owner may read: this one gets the
        # permissions of any new file.
        os.close(os.open(temporary, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o666))
    except OSError as error:
        raise _failure(path, error) from error
    try:
        yield temporary
        flush(temporary)
        if overwrite:
            _replace(temporary, target)
        else:
            _rename_new(temporary, target)
        _flush_folder(target.parent)
    except OSError as error:
        _explain(path, (temporary, target), error)
        raise
    finally:
        with contextlib.suppress(OSError):
            temporary.unlink(missing_ok=True)


@contextlib.contextmanager
def atomic_folder(path: str | os.PathLike[str], *, overwrite: bool = False) -> Iterator[Path]:
    """Give a temporary folder to write into, which becomes `path` if all goes well.

    Parameters
    ----------
    path
        Name of the output, with a suffix of a format of folders. Its folder must exist.
    overwrite
        Whether an existing folder may be replaced, if it holds an image of the format and
        nothing else. It is moved aside first, under a name that begins with ``.everhart-``, and
        removed last: a program that is killed between the two leaves it there.

    Yields
    ------
    Path
        An empty folder beside it. On success its files are flushed to disk and it is renamed;
        on any exception it is removed.

    Raises
    ------
    OutputExistsError, UsageError, EverhartError
        As for :func:`atomic_path`.
    """
    path = check_output(path, overwrite=overwrite)
    target = _behind_link(path)
    temporary, old = (
        target.with_name(f"{TEMPORARY_PREFIX}{secrets.token_hex(8)}{target.suffix}")
        for _ in range(2)
    )
    try:
        temporary.mkdir()
    except OSError as error:
        raise _failure(path, error) from error
    try:
        yield temporary
        _flush_all(temporary)
        try:
            if overwrite and target.exists():
                check_output(path, overwrite=True)  # it may be another one by now
                target.rename(old)
            _rename_new_folder(temporary, target)
        except BaseException:
            if old.exists() and not target.exists():
                old.rename(target)
            raise
        _flush_folder(target.parent)
        shutil.rmtree(old, ignore_errors=True)
    except OSError as error:
        _explain(path, (temporary, target), error)
        raise
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


@contextlib.contextmanager
def explained(path: str | os.PathLike[str], *ours: Path) -> Iterator[None]:
    """Turn what a full or forbidden disk says of our own files into one sentence.

    Parameters
    ----------
    path
        The output that the user asked for.
    *ours
        What is written for it.

    Raises
    ------
    EverhartError
        In place of an `OSError` of one of our files.
    """
    try:
        yield
    except OSError as error:
        _explain(Path(path), ours, error)
        raise


def begun_path(path: str | os.PathLike[str], key: str) -> Path:
    """Return the temporary name of an output that may be gone on with after an interruption.

    Parameters
    ----------
    path
        Name of the output.
    key
        What the output is made of and how; another key gives another name.
    """
    target = _behind_link(Path(path))
    token = hashlib.sha256(key.encode()).hexdigest()[:16]
    return target.with_name(f"{TEMPORARY_PREFIX}{token}{target.suffix}")


def finish(temporary: Path, path: str | os.PathLike[str], *, overwrite: bool = False) -> None:
    """Give an output that was written under its temporary name its own.

    Parameters
    ----------
    temporary
        A file, or a folder of a format of folders, beside `path`.
    path
        Name of the output.
    overwrite
        Whether an existing file, or folder with nothing but an image, may be replaced.

    Raises
    ------
    OutputExistsError, UsageError, EverhartError
        As for :func:`atomic_path`; the temporary file stays.
    """
    path = check_output(path, overwrite=overwrite)
    target = _behind_link(path)
    with explained(path, temporary, target):
        if temporary.is_dir():
            _flush_all(temporary)
            if overwrite and target.exists():
                shutil.rmtree(target)
            _rename_new_folder(temporary, target)
        else:
            flush(temporary)
            if overwrite:
                _replace(temporary, target)
            else:
                _rename_new(temporary, target)
                temporary.unlink(missing_ok=True)
        _flush_folder(target.parent)


def write_bytes(
    path: str | os.PathLike[str], data: bytes | bytearray | memoryview, *, overwrite: bool = False
) -> Path:
    """Write bytes to a file, whole or not at all.

    Parameters
    ----------
    path
        Name of the output. Its folder must exist.
    data
        The content.
    overwrite
        Whether an existing file may be replaced.

    Returns
    -------
    Path
        The path written.

    Raises
    ------
    OutputExistsError, UsageError, EverhartError
        As for :func:`atomic_path`.
    """
    with atomic_path(path, overwrite=overwrite) as temporary:
        temporary.write_bytes(data)
    return Path(path)


def write_text(path: str | os.PathLike[str], data: str, *, overwrite: bool = False) -> Path:
    """Write text to a file as UTF-8 with Unix line ends, whole or not at all.

    Parameters
    ----------
    path
        Name of the output. Its folder must exist.
    data
        The content.
    overwrite
        Whether an existing file may be replaced.

    Returns
    -------
    Path
        The path written.

    Raises
    ------
    OutputExistsError, UsageError, EverhartError
        As for :func:`atomic_path`.
    """
    return write_bytes(path, data.encode("utf-8"), overwrite=overwrite)


def _behind_link(path: Path) -> Path:
    """Return where an output lies. A link stays a link: what it points to is replaced."""
    return Path(os.path.realpath(path)) if path.is_symlink() else path


def _replace(temporary: Path, target: Path) -> None:
    """Rename in place of a file that may be there, whose permissions are kept."""
    if target.exists():
        with contextlib.suppress(OSError):
            shutil.copymode(target, temporary)
    temporary.replace(target)


def _rename_new(temporary: Path, target: Path) -> None:
    """Rename without replacing, in one step where the system can."""
    try:
        if os.name == "nt":
            temporary.rename(target)  # on Windows a rename never replaces
            return
        os.link(temporary, target)  # fails if the target exists, unlike a rename
    except FileExistsError:
        raise OutputExistsError(target) from None
    except OSError as error:
        if os.name == "nt" or error.errno not in _NO_HARD_LINKS:
            raise
        # No hard links on this disk (FAT, some network shares): claim the name, which only
        # one can do, then replace the own empty claim.
        try:
            os.close(os.open(target, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o666))
        except FileExistsError:
            raise OutputExistsError(target) from None
        try:
            temporary.replace(target)
        except OSError:
            target.unlink(missing_ok=True)
            raise


def _rename_new_folder(temporary: Path, target: Path) -> None:
    """Rename a folder; one that has files in it is never replaced by a rename."""
    if target.exists():
        raise OutputExistsError(target)
    try:
        temporary.rename(target)
    except OSError as error:
        if target.exists() and temporary.exists():
            raise OutputExistsError(target) from error
        raise


def _flush_all(folder: Path) -> None:
    for parent, _, names in os.walk(folder, topdown=False):
        for name in names:
            flush(Path(parent) / name)
        _flush_folder(Path(parent))


def flush(path: Path) -> None:
    """Give what was written to a file to the disk."""
    # Opened for writing, because Windows refuses to flush a file opened for reading.
    descriptor = os.open(path, os.O_RDWR | getattr(os, "O_BINARY", 0))
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _flush_folder(folder: Path) -> None:
    """Make the new name durable; only POSIX systems can open a folder for this."""
    if os.name == "nt":
        return
    with contextlib.suppress(OSError):
        descriptor = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)


def _explain(path: Path, ours: tuple[Path, ...], error: OSError) -> None:
    """Say what an error of our own files means; others are not ours to explain."""
    name = error.filename
    is_ours = name is None or any(
        Path(os.fsdecode(name)).is_relative_to(one) for one in ours if isinstance(name, str | bytes)
    )
    if is_ours and (error.errno in _WORDS or _SHORT_WRITE.search(str(error))):
        raise _failure(path, error) from error


def _failure(path: Path, error: OSError) -> EverhartError:
    if _SHORT_WRITE.search(str(error)):
        why = "the disk took only a part of it and is full, or a quota is; " + _FREE_SOME
    else:
        why = _WORDS.get(error.errno or 0, error.strerror or str(error))
    return EverhartError(f"Could not write {path}: {why}.")

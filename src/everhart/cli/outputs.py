"""Where results go: planned and checked before any work is done."""

from __future__ import annotations

import json
import os
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from everhart.errors import EverhartError, UsageError

__all__ = [
    "Task",
    "check_outputs",
    "is_folder",
    "make_folder",
    "plan_image_outputs",
    "plan_pictures",
    "write_json",
]


class Task(NamedTuple):
    """One input and the output that it becomes."""

    source: Path
    output: Path

    def __str__(self) -> str:
        return self.source.name


def plan_image_outputs(
    words: Sequence[str],
    output: str,
    *,
    overwrite: bool,
    operation: str,
    suffix: str | None = None,
) -> tuple[list[Task], list[str]]:
    """Decide what file each input image becomes, and check all that can be checked.

    Parameters
    ----------
    words
        Files, folders and patterns as given on the command line.
    output
        File for one input image; a folder for several, or where it is one already, or ends
        with a path separator.
    overwrite
        Whether existing outputs may be replaced.
    operation
        What is done, for the messages, such as ``"denoise"``.
    suffix
        Suffix of outputs in a folder; None for those of the inputs.

    Returns
    -------
    tasks : list of Task
        Inputs and outputs. Folders of outputs are not made yet.
    notes : list of str
        What the user should know, such as a change of format.

    Raises
    ------
    UsageError
        If an input is missing, an output exists, is an input, or cannot be written.
    """
    from everhart.io import image_paths
    from everhart.io.registry import writable_suffixes

    if not output:
        raise UsageError("An empty output was given: name a file, or a folder for several images.")
    sources = image_paths(words)
    folder = Path(output)
    suffixes = writable_suffixes()
    given = Path(words[0])
    one_file = len(sources) == 1 and (sources[0] == given or not given.is_dir())
    to_folder = is_folder(output) or (suffix is not None and folder.suffix.lower() not in suffixes)
    if one_file and not to_folder:
        task = Task(sources[0], folder)
        _check_suffix(folder, suffixes)
        check_outputs([folder], overwrite=overwrite, inputs=sources)
        return [task], []
    if folder.suffix.lower() in suffixes and not is_folder(output):
        raise UsageError(
            f"{len(sources)} images and the output {output} were given: several images go into a "
            f"folder; give its name, with a {os.sep} at its end if it looks like a file."
        )
    tasks, notes = [], []
    for source in sources:
        target = folder / source.name
        if suffix is not None:
            target = folder / f"{_stem(source)}{suffix}"
        elif source.suffix.lower() not in suffixes:
            target = folder / f"{_stem(source)}.tif"
            notes.append(f"{source.name} becomes {target.name}: its own format is not written.")
        tasks.append(Task(source, target))
    _check_unique(tasks, operation)
    check_outputs(
        [task.output for task in tasks], overwrite=overwrite, inputs=sources, in_new_folder=True
    )
    return tasks, notes


def check_outputs(
    outputs: Iterable[Path | None],
    *,
    overwrite: bool,
    inputs: Iterable[Path] = (),
    others: Iterable[Path | None] = (),
    in_new_folder: bool = False,
) -> None:
    """Check that outputs may be written, before the work that makes them.

    Parameters
    ----------
    outputs
        The files; None stands for an output that was not asked for.
    overwrite
        Whether existing ones may be replaced.
    inputs
        Files that must not be written onto, whatever `overwrite` says.
    others
        Outputs that were checked before, which must not be the same files; the folders that
        are made for them are there for these outputs too.
    in_new_folder
        Whether the outputs' folder may still have to be made.

    Raises
    ------
    UsageError
        If an output exists, is an input, is given twice, or its folder does not exist.
    """
    from everhart.io.atomic import OutputExistsError, check_output

    protected = [source for source in inputs if source.exists()]
    identities = {_identity(source) for source in protected}
    wanted = [path for path in outputs if path is not None]
    before = [path for path in others if path is not None]
    every = [*wanted, *before]
    if len({_identity(path) for path in every}) < len(every):
        raise UsageError("Two of the outputs are the same file: give each a name of its own.")
    for path in wanted:
        if _identity(path) in identities or _is_any(path, protected):
            raise UsageError(
                f"The output {path} is also an input: inputs are never written onto; give another "
                "name or folder."
            )
    if in_new_folder and wanted:
        _check_folder(wanted[0].parent)
    promised = {path.parent for path in before}
    existing = []
    for path in wanted:
        if not path.parent.is_dir() and (in_new_folder or path.parent in promised):
            continue
        try:
            check_output(path, overwrite=overwrite)
        except OutputExistsError:
            existing.append(path)
    if existing:
        which = (
            f"The output {existing[0]} exists"
            if len(existing) == 1
            else f"{len(existing)} outputs exist, the first of them {existing[0]}, and"
        )
        verb = "already" if len(existing) == 1 else "nothing was done"
        raise UsageError(f"{which} {verb}: give another name or folder, or add --overwrite.")


def make_folder(folder: Path) -> None:
    """Make a folder for outputs, with one sentence if that fails."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise EverhartError(
            f"The folder {folder} could not be made ({error.strerror}): choose one that you may "
            "write to."
        ) from error


def plan_pictures(
    option: str, picture: Path | None, sources: Sequence[Path], suffixes: Sequence[str]
) -> list[Path | None]:
    """Decide where the picture of each input goes.

    Parameters
    ----------
    option
        The option that asked for pictures, for the messages, such as ``"--map"``.
    picture
        A file for one input, a folder for several; None for no pictures.
    sources
        The inputs, which pictures in a folder are named after.
    suffixes
        What the name of one picture may end in; in a folder the first is taken.

    Returns
    -------
    list of Path or None
        One for each input.

    Raises
    ------
    UsageError
        If the name is not one of a picture, or not one of a folder, or two would be the same.
    """
    if picture is None:
        return [None] * len(sources)
    if len(sources) == 1:
        if picture.suffix.lower() not in suffixes:
            raise UsageError(
                f"{option} {picture} was given: its name must end in {', '.join(suffixes)}."
            )
        return [picture]
    if picture.suffix.lower() in suffixes and not picture.is_dir():
        raise UsageError(
            f"{option} {picture} was given for {len(sources)} images: give a folder for their "
            "pictures."
        )
    targets = [picture / f"{source.stem}{suffixes[0]}" for source in sources]
    if len({str(path).casefold() for path in targets}) < len(targets):
        raise UsageError(
            "Two of the images have the same name, and so would their pictures: give the images "
            "one folder at a time."
        )
    return list(targets)


def write_json(path: Path, document: Mapping[str, Any], *, overwrite: bool) -> None:
    """Write results to be read by machine, with figures that are not finite as null."""
    from everhart.io.atomic import write_text
    from everhart.io.record import plain

    text = json.dumps(plain(document), indent=2, ensure_ascii=False, allow_nan=False)
    write_text(path, text + "\n", overwrite=overwrite)


def is_folder(output: str) -> bool:
    """Say whether an output is a folder of images: an existing one, or named as one.

    A folder that is one image of its format, such as ``image.zarr``, is none.
    """
    from everhart.io.registry import formats

    if output.endswith(("/", os.sep)):
        return True
    path = Path(output)
    as_folders = {suffix for known in formats() if known.is_folder for suffix in known.suffixes}
    return path.is_dir() and path.suffix.lower() not in as_folders


def _stem(source: Path) -> str:
    """Return the name without its suffix, or suffixes if it is packed (``a.tif.gz``)."""
    from everhart.io.formats import packed
    from everhart.io.registry import readable_suffixes

    stem = source.stem
    if source.suffix.lower() in packed.FORMAT.suffixes:
        while Path(stem).suffix.lower() in readable_suffixes():
            stem = Path(stem).stem
    return stem


def _check_suffix(path: Path, suffixes: Sequence[str]) -> None:
    if path.suffix.lower() not in suffixes:
        given = f"the suffix {path.suffix!r}" if path.suffix else "no suffix"
        raise UsageError(
            f"The output {path} has {given}: {', '.join(suffixes)} are allowed; for a folder, add "
            f"a {os.sep} at its end."
        )


def _check_folder(folder: Path) -> None:
    # The nearest ancestor that exists must be a folder, or the outputs' cannot be made.
    for part in (folder, *folder.parents):
        if part.is_dir():
            return
        if part.exists():
            raise UsageError(
                f"The output {folder} was given for several images, but {part} is a file: give a "
                "folder."
            )


def _check_unique(tasks: Sequence[Task], operation: str) -> None:
    seen: dict[str, Path] = {}
    for source, target in tasks:
        # Names that differ in case only are one file on Windows and macOS.
        key = target.name.casefold()
        if key in seen:
            raise UsageError(
                f"The inputs {seen[key]} and {source} would both become {target.name}: {operation} "
                "them one folder at a time, into different folders."
            )
        seen[key] = source


def _identity(path: Path) -> str:
    return os.path.normcase(path.resolve())


def _is_any(path: Path, sources: Sequence[Path]) -> bool:
    # Hard links and case-insensitive disks: two names, one file.
    if not path.exists():
        return False
    return any(path.samefile(source) for source in sources)

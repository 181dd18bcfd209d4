"""Write what was made: images, tables, the view; nothing is replaced without a question."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from everhart.desktop.results import Record
from everhart.errors import EverhartError
from everhart.io.atomic import check_output, write_text
from everhart.operations.measurements import PREFIX
from everhart.operations.tables import joined_csv

__all__ = ["free_name", "save_image", "save_tables"]


def free_name(path: Path, records: Sequence[Record] = ()) -> Path:
    """Return a name that nothing has yet: ``holes.csv``, ``holes-2.csv``, ...

    Parameters
    ----------
    path
        The name that is wanted.
    records
        Measurements whose further tables need free names beside it.

    Examples
    --------
    >>> free_name(Path("no-such-folder/holes.csv")).name
    'holes.csv'
    """
    number, free = 2, path
    while any(p.exists() for p in (free, *_targets(records, free))):
        free = path.with_name(f"{path.stem}-{number}{path.suffix}")
        number += 1
    return free


def save_image(source: Path, target: Path, *, overwrite: bool) -> Path:
    """Write an image under another name, in the format of its suffix.

    Raises
    ------
    UsageError, EverhartError
        As :func:`everhart.io.write` does.
    """
    from everhart.io import read, write

    return write(read(source), target, overwrite=overwrite)


def save_tables(records: Sequence[Record], target: Path, *, overwrite: bool) -> list[Path]:
    """Write the tables of measurements of one kind, as ``everhart measure`` does.

    Parameters
    ----------
    records
        The measurements, one an image.
    target
        CSV file of the objects; further tables get its name and their own.
    overwrite
        Whether existing files may be replaced.

    Returns
    -------
    list of Path
        The files.
    """
    if target.suffix.lower() != ".csv":
        raise EverhartError(f"{target.name} was given: a table is saved as .csv.")
    targets = _targets(records, target)
    for path in targets:
        check_output(path, overwrite=overwrite)  # all are written, or none
    for path, parts in targets.items():
        # One table is given as it is, to the byte.
        text = parts[0].read_text("utf-8") if len(parts) == 1 else joined_csv(parts)
        write_text(path, text, overwrite=overwrite)
    return list(targets)


def _targets(records: Sequence[Record], target: Path) -> dict[Path, list[Path]]:
    """Return the files that would be written, and the tables that go into each."""
    parts: dict[Path, list[Path]] = {}
    for record in records:
        kind = record.operation.removeprefix(PREFIX)
        for name in record.files:
            if name.endswith(".csv"):
                beside = Path(name).stem.removeprefix(kind)
                path = target.with_name(f"{target.stem}{beside}{target.suffix}")
                parts.setdefault(path, []).append(record.folder / name)
    return parts

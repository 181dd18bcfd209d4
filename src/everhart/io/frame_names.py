"""Which files are frames of one series, by their names."""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Iterable, Sequence
from itertools import pairwise
from pathlib import Path
from typing import NamedTuple

__all__ = ["NamedSeries", "series_by_name"]

# What `everhart simulate` writes: F08 is the mean of 8 frames, and 003 is the fourth of these.
_COUNTED = re.compile(r"(?:(?P<scene>.+)_)?F(?P<count>\d+)(?:_(?P<copy>\d+))?")

# A number with a unit is a condition of imaging, not a number of a frame.
_UNIT = re.compile(r"\s?(k?ev|k?v|[kmnpu]?a|[munp]?m|µm|[mnup]?s|sec|min|k?x|px|deg|c|k|hz|mbar|pa)"
                   r"(?![a-z])", re.IGNORECASE)  # fmt: skip


class NamedSeries(NamedTuple):
    """Files that belong together by their names.

    Parameters
    ----------
    name
        Their common name, with ``*`` for the number of the frame.
    paths
        The files in the order of their numbers.
    """

    name: str
    paths: tuple[Path, ...]


class _Name(NamedTuple):
    texts: tuple[str, ...]  # what is between the numbers, one more than these
    numbers: tuple[str, ...]


def series_by_name(paths: Iterable[Path]) -> list[NamedSeries]:
    """Group files whose names differ in a running number alone.

    The number that runs is the last one that differs and has no unit: ``A_001, A_002,
    B_001`` are two frames of A and one of B; ``10kV`` and ``20kV`` are no frames. At least half
    of the numbers must follow each other. ``F08_003`` is copy 3 of a mean of 8 frames, so
    it is no frame of the series of ``F01_003``.

    Parameters
    ----------
    paths
        Files, in any order.

    Returns
    -------
    list of NamedSeries
        Every file once, in the order in which the first file of each series was given; what is
        alone is a series of one.

    Examples
    --------
    >>> names = ["A_10.tif", "A_9.tif", "B_9.tif", "5kV.tif", "6kV.tif"]
    >>> [(s.name, len(s.paths)) for s in series_by_name(map(Path, names))]
    [('A_*.tif', 2), ('B_9.tif', 1), ('5kV.tif', 1), ('6kV.tif', 1)]
    """
    order = {path: place for place, path in enumerate(dict.fromkeys(paths))}
    alike: dict[tuple[object, ...], list[Path]] = defaultdict(list)
    found: list[NamedSeries] = []
    for path in order:
        counted = _COUNTED.fullmatch(path.stem)
        if counted is None:
            texts = tuple(text.casefold() for text in _parts(path).texts)
            alike[path.parent, texts, path.suffix.casefold()].append(path)
        elif counted["copy"] is not None:
            alike[path.parent, counted["scene"], int(counted["count"]), path.suffix].append(path)
        else:
            found.append(NamedSeries(path.name, (path,)))
    for files in alike.values():
        found += _split(files)
    return sorted(found, key=lambda series: min(order[path] for path in series.paths))


def _parts(path: Path) -> _Name:
    parts = re.split(r"(\d+)", path.stem)
    return _Name(tuple(parts[::2]), tuple(parts[1::2]))


def _split(files: Sequence[Path]) -> list[NamedSeries]:
    """Split files of the same words by the number that runs."""
    names = [_parts(path) for path in files]
    running = [
        place
        for place in range(len(names[0].numbers))
        if len({int(name.numbers[place]) for name in names}) > 1
        and not _UNIT.match(names[0].texts[place + 1])
    ]
    if not running:
        return [NamedSeries(path.name, (path,)) for path in files]
    place = running[-1]
    groups: dict[tuple[str, ...], list[tuple[int, Path]]] = defaultdict(list)
    for path, name in zip(files, names, strict=True):
        others = (*name.numbers[:place], *name.numbers[place + 1 :])
        groups[others].append((int(name.numbers[place]), path))
    found = []
    for members in groups.values():
        members.sort()
        numbers = [number for number, _ in members]
        paths = tuple(path for _, path in members)
        if len(paths) > 1 and _count_up(numbers):
            found.append(NamedSeries(_pattern(paths[0], place), paths))
        else:
            found += [NamedSeries(path.name, (path,)) for path in paths]
    return found


def _count_up(numbers: Sequence[int]) -> bool:
    steps = [after - before for before, after in pairwise(numbers)]
    return 0 not in steps and 2 * steps.count(1) >= len(steps)


def _pattern(path: Path, place: int) -> str:
    name = _parts(path)
    numbers = (*name.numbers[:place], "*", *name.numbers[place + 1 :], "")
    joined = "".join(text + number for text, number in zip(name.texts, numbers, strict=True))
    return joined + path.suffix

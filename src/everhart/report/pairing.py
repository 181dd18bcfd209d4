"""Which image of a data set belongs to which reference, by the names of the files."""

from __future__ import annotations

import os
import re
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from glob import has_magic
from pathlib import Path
from typing import Final

from everhart.errors import UsageError

__all__ = [
    "CLEAN_WORDS",
    "NOISY_WORDS",
    "Item",
    "Words",
    "find_files",
    "find_items",
    "pair_files",
    "without_suffix",
]

Words = str | os.PathLike[str]

NOISY_WORDS: Final = frozenset({"noisy", "noise", "raw", "input", "low", "fast", "short"})
"""Words of a name that say only that the file is the noisy one of a pair."""

CLEAN_WORDS: Final = frozenset(
    {"clean", "reference", "ref", "gt", "truth", "target", "high", "slow", "long", "mean", "avg"}
    | {"average"}
)
"""Words of a name that say only that the file is the clean one of a pair."""

# The field's naming of frames: F08 is a mean of 8, and _003 the fourth of these.
_COUNT = re.compile(r"F(?P<count>\d+)(?:_(?P<copy>\d+))?")


@dataclass(frozen=True)
class Item:
    """An image of a data set with what judges it.

    Parameters
    ----------
    name
        Name to show; no two items of a data set have the same.
    image
        Its file.
    reference
        Clean image of the field, or None.
    frames
        Further frames of the field.
    """

    name: str
    image: Path
    reference: Path | None = None
    frames: tuple[Path, ...] = ()

    @property
    def files(self) -> tuple[Path, ...]:
        """All its files."""
        reference = () if self.reference is None else (self.reference,)
        return (self.image, *reference, *self.frames)


@dataclass(frozen=True)
class _Named:
    """A file with what its name says."""

    path: Path
    inner: str  # path below the folder or pattern that was given, in one case
    stem: str  # the same without the suffix
    field: str  # without words that tell noisy from clean, and without the number of frames
    role: str  # "noisy", "clean" or ""
    count: int  # frames averaged in it; 0 where the name does not say
    copy: str

    @property
    def identity(self) -> str:
        return _identity(self.path)


def find_files(words: Words | Iterable[Words], *, inside: bool = True) -> dict[Path, str]:
    """Return the image files of folders, patterns and names, with their places in these.

    Parameters
    ----------
    words
        Folders, patterns, files.
    inside
        Whether sub-folders are searched too.

    Returns
    -------
    dict
        Files in natural order, each with its path below the folder, below the part of the pattern
        that is fixed, or below what all single files have in common: what pairs are matched by.

    Raises
    ------
    UsageError
        If a file or folder is missing, or holds no image.
    """
    from everhart.io import image_paths

    found: dict[Path, str] = {}
    given = [Path(word) for word in ([words] if isinstance(words, str | os.PathLike) else words)]
    files = [path.parent for path in given if path.is_file()]
    common = Path(os.path.commonpath(list(map(Path.absolute, files)))) if files else None
    for root in given:
        if root.is_dir():
            within = _in_folder(root) if inside else image_paths(root)
            found |= {path: _below(path, root) for path in within if path not in found}
            continue
        is_pattern = has_magic(str(root)) and not root.exists()
        base = _fixed_part(root) if is_pattern or common is None else common
        for path in image_paths(root):
            found.setdefault(path, _below(path, base))
    return found


def find_items(
    images: Words | Iterable[Words],
    *,
    references: Words | Iterable[Words] | None = None,
    fields: bool = False,
) -> list[Item]:
    """Return the items of a data set.

    Parameters
    ----------
    images
        Folders, patterns and files; folders are searched with their sub-folders where files are
        matched by their names, that is with `references` or `fields`.
    references
        Likewise; each image is matched with one by :func:`pair_files`.
    fields
        Whether files whose names differ in a running number alone are frames of one field, as of
        :func:`everhart.io.frame_names.series_by_name`. Else each file is an item.

    Returns
    -------
    list of Item
        In natural order of their names.

    Raises
    ------
    UsageError
        If a file is missing, an image has no reference or more than one, or frames of fields and
        references are asked for together.
    """
    given = find_files(images, inside=fields or references is not None)
    if references is not None:
        if fields:
            raise UsageError(
                "References and frames of several fields were asked for together: judge by the "
                "one or by the other."
            )
        pairs = pair_files(given, find_files(references))
        return _items((given[image], Item("", image, reference)) for image, reference in pairs)
    if not fields:
        return _items((inner, Item("", path)) for path, inner in given.items())
    from everhart.io.frame_names import series_by_name

    found = []
    for series in series_by_name(given):
        first, *others = series.paths
        place = Path(given[first]).parent
        named = (place / series.name).as_posix()
        found.append((named, Item("", first, frames=tuple(others))))
    return _items(found)


def pair_files(images: dict[Path, str], references: dict[Path, str]) -> list[tuple[Path, Path]]:
    """Match images with references by their names.

    The first of these that gives a reference counts:

    1. the same path below the folder, such as ``noisy/a/1.tif`` and ``clean/a/1.tif``;
    2. the same without the suffix: ``noisy/1.tif`` and ``clean/1.png``;
    3. the same but for words that tell noisy from clean (:data:`NOISY_WORDS`,
       :data:`CLEAN_WORDS`) and for the number of frames in it: ``a_noisy.tif`` and ``a_clean.tif``,
       ``lines_F001.tif`` and ``lines_clean.tif``;
    4. the mean of the most frames of the same scene: ``scene/F01_000.tif`` and ``scene/F64.tif``.

    No file is its own reference. Where one folder is given as both, files that are references of
    others are no images themselves.

    Parameters
    ----------
    images, references
        Files with their paths below what was given, as of :func:`find_files`.

    Returns
    -------
    list of tuple
        Image and reference, in the order of the images.

    Raises
    ------
    UsageError
        If an image has no reference, or several that fit equally well.

    Examples
    --------
    >>> images = {Path("n/a_noisy.tif"): "a_noisy.tif", Path("n/F01_000.tif"): "F01_000.tif"}
    >>> references = {Path("c/a.png"): "a.png", Path("c/F64.tif"): "F64.tif"}
    >>> [reference.name for _, reference in pair_files(images, references)]
    ['a.png', 'F64.tif']
    """
    kept = {_identity(path) for path in references}
    own = {_identity(path) for path in images}
    if kept < own:  # noisy files, and a folder of clean ones among them
        images = {path: inner for path, inner in images.items() if _identity(path) not in kept}
        own -= kept
    tables: list[dict[str, list[_Named]]] = [{}, {}, {}]
    for path, inner in references.items():
        one = _named(path, inner)
        for table, key in zip(tables, (one.inner, one.stem, one.field), strict=True):
            table.setdefault(key, []).append(one)
    pairs: list[tuple[Path, Path]] = []
    alone: list[_Named] = []
    for path, inner in images.items():
        image = _named(path, inner)
        partner = _partner(image, tables)
        if partner is None:
            alone.append(image)
        else:
            pairs.append((path, partner))
    if own & kept:
        used = {_identity(reference) for _, reference in pairs}
        pairs = [pair for pair in pairs if _identity(pair[0]) not in used]
        alone = [one for one in alone if one.identity not in used and one.role != "clean"]
    if alone or not pairs:
        _say_alone([one.path for one in alone] or list(images), len(images), references)
    return pairs


def _partner(image: _Named, tables: Sequence[dict[str, list[_Named]]]) -> Path | None:
    by_inner, by_stem, by_field = tables
    for table, key in ((by_inner, image.inner), (by_stem, image.stem)):
        same = [one for one in table.get(key, []) if one.identity != image.identity]
        if same:
            return _only(image, same)
    if image.role == "clean":
        return None  # a clean image is nobody's noisy one
    same = [one for one in by_field.get(image.field, []) if one.role != "noisy"]
    field = [one for one in same if one.identity != image.identity]
    clean = [one for one in field if one.role == "clean" or not one.count]
    # Without a word in either name, two files of one field do not say which is the clean one.
    if clean and any(one.role or image.role or image.count for one in clean):
        return _only(image, clean)
    most = max((one.count for one in field), default=0)
    if most <= image.count:
        return None
    best = [one for one in field if one.count == most]
    copies = [one for one in best if one.copy == image.copy]
    return _only(image, copies or best)


def _only(image: _Named, found: Sequence[_Named]) -> Path:
    if len(found) > 1:
        raise UsageError(
            f"{image.path} has {len(found)} references by its name, {found[0].path} and "
            f"{found[1].path} among them: give a folder or pattern in which there is one for each "
            "image."
        )
    return found[0].path


def _say_alone(alone: Sequence[Path], of: int, references: dict[Path, str]) -> None:
    example = next(iter(references))
    listed = ", ".join(str(path) for path in alone[:3])
    more = f" and {len(alone) - 3} more" if len(alone) > 3 else ""
    raise UsageError(
        f"{len(alone)} of {of} images have no reference among the {len(references)} files such as "
        f"{example}: {listed}{more}; an image and its reference have the same name, or differ in "
        "the suffix, in words such as noisy and clean, or in the number of frames (F01_000, F64)."
    )


def _named(path: Path, inner: str) -> _Named:
    stem = without_suffix(inner.casefold())
    place, _, name = stem.rpartition("/")
    count = copy = ""
    parts = without_suffix(Path(inner).name)
    match = re.fullmatch(rf"(?:(?P<scene>.+)_)?{_COUNT.pattern}", parts)
    if match is not None:
        name = (match["scene"] or "").casefold()
        count, copy = match["count"], match["copy"] or ""
    words = [word for word in re.split(r"[_\-. ]+", name) if word]
    folders = [part for part in place.split("/") if part]
    told = [word for word in (*folders, *words) if word in NOISY_WORDS | CLEAN_WORDS]
    role = ""
    if told:
        role = "clean" if told[-1] in CLEAN_WORDS else "noisy"
    kept = [word for word in words if word not in NOISY_WORDS | CLEAN_WORDS]
    inside = [part for part in folders if part not in NOISY_WORDS | CLEAN_WORDS]
    field = "/".join([*inside, "_".join(kept)])
    return _Named(path, inner.casefold(), stem, field, role, int(count or 0), copy)


def _identity(path: Path) -> str:
    return os.path.normcase(path.absolute())


def without_suffix(name: str) -> str:
    """Take off the suffix of an image file, or two if it is packed; not what follows a dot."""
    from everhart.io.formats import packed
    from everhart.io.registry import readable_suffixes

    path = Path(name)
    while path.suffix.lower() in readable_suffixes():
        was_packed = path.suffix.lower() in packed.FORMAT.suffixes
        path = path.with_suffix("")
        if not was_packed:
            break
    return path.as_posix()


def _in_folder(folder: Path) -> list[Path]:
    found = _searched(folder)
    if not found:
        raise UsageError(
            f"The folder {folder} and its sub-folders hold no images: give a folder, a pattern or "
            "files of images."
        )
    return found


def _searched(folder: Path) -> list[Path]:
    """Return the images of a folder, then of its sub-folders; a folder can be one image."""
    from everhart.io import image_paths

    try:
        found = image_paths(folder)
    except UsageError:  # no image directly in it
        found = []
    if found == [folder]:
        return found
    try:
        inside = sorted(path for path in folder.iterdir() if path.is_dir() and path not in found)
    except OSError as error:
        raise UsageError(
            f"The folder {folder} cannot be listed ({error.strerror}): choose one that you may "
            "read."
        ) from error
    for place in inside:
        # Hidden folders, and our own beside a report, hold no images of the data set.
        if not place.name.startswith(".") and place.suffix != ".cells":
            found += _searched(place)
    return found


def _fixed_part(pattern: Path) -> Path:
    parts = pattern.parts
    fixed = next(index for index, part in enumerate(parts) if has_magic(part))
    return Path(*parts[:fixed]) if fixed else Path()


def _below(path: Path, root: Path) -> str:
    try:
        inner = path.absolute().relative_to(root.absolute()).as_posix()
    except ValueError:
        return path.name
    return path.name if inner == "." else inner  # an image that is a folder, given by itself


def _items(found: Iterable[tuple[str, Item]]) -> list[Item]:
    """Give items their names: the path below what was given, or all of it where two are alike."""
    known = list(found)
    often = Counter(name for name, _ in known)
    return [
        replace(item, name=name if often[name] == 1 else item.image.as_posix())
        for name, item in known
    ]

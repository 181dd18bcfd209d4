"""Labelled fields: images with the class of every pixel, and which of them judge the others."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from everhart.errors import UsageError
from everhart.micrograph import Micrograph
from everhart.nn.segmentation_losses import IGNORE
from everhart.restore.normalise import GreyScale
from everhart.restore.source_base import Image, hash_of
from everhart.segment.config import REST, LabelledConfig, SegmentConfig, SelectionConfig
from everhart.segment.grey import normalised, scale_of_set
from everhart.segment.objects import holes_px
from everhart.segment.resample import factors, resized, resized_labels

__all__ = [
    "Field",
    "Fields",
    "class_numbers",
    "labelled_pairs",
    "load_fields",
    "read_pair",
    "rims",
    "split",
]

Labels = NDArray[np.uint8]

_HARDLY_ANY = 0.001
"""Share of objects' area that holes in drawn labels have by accident."""


@dataclass(frozen=True)
class Field:
    """One field of view.

    Parameters
    ----------
    name
        Name of the image's file without suffix.
    pixels
        What the network sees, ``(H, W)``.
    classes
        Number of the class of every pixel; :data:`everhart.nn.segmentation_losses.IGNORE` where it
        does not count.
    areas_px
        Areas of its objects, where labels have one value an object.
    holes_px
        Area of the background that single objects enclose.
    """

    name: str
    pixels: Image
    classes: Labels
    areas_px: tuple[int, ...] = ()
    holes_px: int = 0


@dataclass(frozen=True)
class Fields:
    """The fields to learn from and those to judge by.

    Parameters
    ----------
    train, validation
        The fields.
    scale
        The grey scale of all fields to learn from; None where each image has its own.
    """

    train: tuple[Field, ...]
    validation: tuple[Field, ...]
    scale: GreyScale | None = None

    @property
    def smallest_px(self) -> float | None:
        """Area that one in a hundred of the learned objects is below; None without objects."""
        areas = [area for field in self.train for area in field.areas_px]
        return float(np.percentile(areas, 1)) if areas else None

    @property
    def are_solid(self) -> bool:
        """Whether there are objects to learn from and hardly any has a hole."""
        area = sum(sum(field.areas_px) for field in self.train)
        holes = sum(field.holes_px for field in self.train)
        return area > 0 and holes <= _HARDLY_ANY * area

    @property
    def sha256(self) -> str:
        """Hash of what is learned from."""
        return hash_of(part for f in self.train for part in (f.pixels, f.classes))  # type: ignore[misc]


def load_fields(config: SegmentConfig) -> Fields:
    """Read and split the fields of a config.

    Raises
    ------
    UsageError
        If a folder is missing, images and labels do not fit, a label value has no class, or
        nothing is left to learn from.
    """
    pairs = labelled_pairs(config.data)
    names = [image.stem for image, _ in pairs]
    learned, judged = split(names, config.train, config.validation, config.gap or 0)

    given = {p: read_pair(*pairs[p], config.data.pixel_size_nm) for p in (*learned, *judged)}
    scale = None
    if config.normalisation == "set":
        scale = scale_of_set([given[place][0].field_of_view for place in learned])

    def fields_of(places: Sequence[int]) -> tuple[Field, ...]:
        return tuple(_field(pairs[place], *given[place], config, scale) for place in places)

    fields = Fields(fields_of(learned), fields_of(judged), scale)
    _check_crop(fields.train + fields.validation, config.crop_px)
    return fields


def split(
    names: Sequence[str],
    train: SelectionConfig | None,
    validation: SelectionConfig | None,
    gap: int,
) -> tuple[list[int], list[int]]:
    """Say which fields are learned from, and which judge.

    Parameters
    ----------
    names
        Names of all fields, in their order.
    train, validation
        The selections; without `train` all fields are taken that are more than `gap` away from
        those of the validation.
    gap
        Neighbours on either side of a validation field that are not learned from.

    Returns
    -------
    train, validation : list of int
        Places in the order.

    Raises
    ------
    UsageError
        If a selection holds nothing, or fields to learn from lie in the gap.

    Examples
    --------
    >>> middle = SelectionConfig(blocks=[(4, 5)])
    >>> split(list("abcdefghij"), None, middle, gap=2)
    ([0, 1, 8, 9], [4, 5])
    """
    judged = [] if validation is None else _selected(names, validation, "validation")
    barred = {place + step for place in judged for step in range(-gap, gap + 1)}
    if train is None:
        learned = [place for place in range(len(names)) if place not in barred]
    else:
        learned = _selected(names, train, "train")
        if both := sorted(barred.intersection(learned)):
            raise UsageError(
                f"The field {names[both[0]]!r} is to be learned from and is one of the validation, "
                f"or within the gap of {gap} beside one: choose others, or a smaller gap if "
                "neighbours are not alike."
            )
    if not learned:
        raise UsageError(
            f"Of {len(names)} fields none is left to learn from: give a smaller validation or gap."
        )
    return learned, judged


def class_numbers(
    labels: NDArray[Any], classes: Mapping[str, Any], ignored: Sequence[int], name: str
) -> Labels:
    """Return the numbers of the classes of a label image.

    Parameters
    ----------
    labels
        Label values, ``(H, W)``.
    classes
        Label value or values by class, ``"rest"`` for all others.
    ignored
        Label values that do not count.
    name
        Name of the image, for the message.

    Raises
    ------
    UsageError
        If a value has no class.
    """
    out = np.full(labels.shape, IGNORE, np.uint8)
    known = np.isin(labels, ignored)
    rest: int | None = None
    for number, given in enumerate(classes.values()):
        if given == REST:
            rest = number
            continue
        there = np.isin(labels, given)
        out[there] = number
        known |= there
    if rest is not None:
        out[~known] = rest
    elif not known.all():
        value = labels[~known].flat[0]
        raise UsageError(
            f"{name} has the label value {value}, which no class has: add it to classes or to "
            "ignore, or give one class `rest`."
        )
    return out


def rims(objects: NDArray[Any], width_px: int) -> Labels:
    """Return background 0, inside 1 and rim 2 of objects.

    Parameters
    ----------
    objects
        One value an object, 0 for background.
    width_px
        Width of a rim; less in objects of which nothing else would be left.

    Returns
    -------
    ndarray of uint8
        Of the same shape.
    """
    import cv2
    from scipy.ndimage import find_objects

    out = np.zeros(objects.shape, np.uint8)
    _, numbers = np.unique(objects, return_inverse=True)
    numbers = numbers.reshape(objects.shape) + (0 if (objects == 0).any() else 1)
    for number, box in enumerate(find_objects(numbers), 1):
        own = numbers[box] == number
        # Where the image ends, the object may go on: no rim.
        pads = [
            (int(s.start > 0), int(s.stop < n)) for s, n in zip(box, objects.shape, strict=True)
        ]
        depth = cv2.distanceTransform(
            np.pad(own, pads).astype(np.uint8), cv2.DIST_L2, cv2.DIST_MASK_PRECISE
        )
        depth = depth[pads[0][0] :, pads[1][0] :][: own.shape[0], : own.shape[1]]
        least = min(float(width_px), 0.6 * float(depth[own].max()))
        out[box][own] = np.where(depth[own] > least, 1, 2)
    return out


def read_pair(
    image_file: Path, label_file: Path, pixel_size_nm: float | None
) -> tuple[Micrograph, NDArray[Any]]:
    """Read an image, and the label values of its field of view.

    Raises
    ------
    UsageError
        If they are no single images of one shape.
    """
    from everhart.io import read

    image = read(image_file, pixel_size_nm=pixel_size_nm)
    labels = read(label_file).pixels
    pixels = image.field_of_view
    if (
        pixels.ndim != 2
        or labels.shape[-1:] != pixels.shape[-1:]
        or (labels.shape not in (pixels.shape, image.shape))
    ):
        raise UsageError(
            f"{image_file.name} has the shape {pixels.shape} and its labels {label_file.name} "
            f"{labels.shape}: give single images with labels of the same shape."
        )
    return image, labels[: pixels.shape[0]]


def _field(
    files: tuple[Path, Path],
    image: Micrograph,
    labels: NDArray[Any],
    config: SegmentConfig,
    scale: GreyScale | None,
) -> Field:
    image_file, label_file = files
    values = normalised(image.field_of_view, scale, image_file.name)
    by = (config.scale, config.scale)
    if config.common_pixel_size_nm is not None:
        by = factors(image.pixel_size_nm, config.common_pixel_size_nm, image_file.name)
    values, labels = resized(values, by), resized_labels(labels, by)
    if config.border_px:
        _, areas = np.unique(labels[labels > 0], return_counts=True)
        known = tuple(int(area) for area in areas)
        inside = rims(labels, config.border_px)
        return Field(image_file.stem, values, inside, known, holes_px(labels))
    classes = class_numbers(labels, config.classes, config.ignored(), label_file.name)
    return Field(image_file.stem, values, classes)


def labelled_pairs(config: LabelledConfig) -> list[tuple[Path, Path]]:
    """Return the images of a config with their label images, in their order.

    Raises
    ------
    UsageError
        If the folder is missing, no image matches, or one has no labels.
    """
    images, labels = _matches(config, config.images), _matches(config, config.labels)
    given = f"images = {config.images!r} and labels = {config.labels!r}"
    if not images:
        raise UsageError(f"{config.path}: no image matches with {given}; correct the patterns.")
    if config.pairing == "order":
        if len(images) != len(labels):
            raise UsageError(
                f"{config.path}: {len(images)} images and {len(labels)} label images match with "
                f"{given}; with pairing: order there is one for each."
            )
        return list(zip(sorted(images.values()), sorted(labels.values()), strict=True))
    if alone := sorted(images.keys() - labels.keys()):
        raise UsageError(
            f"{config.path}: {images[alone[0]].name} has no label image with {given}; the * must "
            "stand for the same text in both, or give pairing: order."
        )
    return [(images[key], labels[key]) for key in sorted(images)]


def _matches(config: LabelledConfig, pattern: str) -> dict[str, Path]:
    """Return files by what the star stands for; a suffix is no part of a name."""
    found = config.matches(pattern)
    if not pattern.endswith("*"):
        return found
    return {str(Path(key).with_suffix("")): file for key, file in found.items()}


def _selected(names: Sequence[str], selection: SelectionConfig, what: str) -> list[int]:
    found: set[int] = set()
    for first, last in selection.blocks:
        if last >= len(names):
            raise UsageError(
                f"The block [{first}, {last}] of {what} was given and there are {len(names)} "
                f"fields, 0 to {len(names) - 1}: give places of those."
            )
        found.update(range(first, last + 1))
    for pattern in selection.fields:
        matching = [n for n, name in enumerate(names) if fnmatchcase(name, pattern)]
        if not matching:
            raise UsageError(
                f"No field matches {pattern!r} of {what}: names are such as {names[0]!r}."
            )
        found.update(matching)
    return sorted(found)


def _check_crop(fields: Sequence[Field], crop_px: int) -> None:
    smallest = min(min(f.pixels.shape) for f in fields)
    if smallest < crop_px:
        raise UsageError(
            f"The smallest image is {smallest} pixels wide or high, as it is learned from, and "
            f"crop_px is {crop_px}: lower crop_px or leave small images out."
        )

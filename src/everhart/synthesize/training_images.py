"""The few images that a generator learns from, with their labels and masks."""

from __future__ import annotations

import csv
import hashlib
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Field, model_validator

from everhart.errors import UsageError
from everhart.io import image_paths, read
from everhart.micrograph import Micrograph, field_of
from everhart.synthesize.grey_scale import GreyRange, GreyScale, grey_range

__all__ = ["ImagesConfig", "TrainingImage", "TrainingImages", "hash_of", "load_images"]

Image = NDArray[np.float32]
Labels = NDArray[np.int64]


class ImagesConfig(BaseModel):
    """Config of the training images."""

    model_config = ConfigDict(extra="forbid")

    folder: str = Field(description="folder of the images; $VARIABLES are filled in")
    exclude: list[str] = Field(
        default_factory=list, description="glob patterns of files to leave out"
    )
    labels: Literal["none", "folders", "table"] = Field(
        "none",
        description="folders: each folder in it is a class, by its name; table: see label_table",
    )
    label_table: str | None = Field(
        None, description="CSV file with the columns file and label; $VARIABLES are filled in"
    )
    masks: str | None = Field(
        None, description="folder of label images of the same names; $VARIABLES are filled in"
    )
    held_out: int = Field(
        0, ge=0, description="number of images that are not trained on, and judge by"
    )
    limit: int | None = Field(None, ge=1, description="train on so many images alone")
    grey_scale: GreyScale = Field(
        "linear",
        description="linear: grey levels as they are; symmetric: their logarithm where noise is "
        "skewed on these, as shot noise is",
    )

    @model_validator(mode="after")
    def _table_with_labels(self) -> ImagesConfig:
        if (self.labels == "table") != (self.label_table is not None):
            raise ValueError("labels: table and label_table: FILE.csv go together")
        return self


@dataclass(frozen=True)
class TrainingImage:
    """One image.

    Parameters
    ----------
    name
        Its file's name.
    pixels
        What the network sees, ``(H, W)``.
    sha256
        Hash of its grey levels as they were, by which it is known again.
    label
        Number of its class; 0 if there are none.
    mask
        Numbers of the classes of its pixels, ``(H, W)``, or None.
    """

    name: str
    pixels: Image
    sha256: str
    label: int = 0
    mask: Labels | None = None


@dataclass(frozen=True)
class TrainingImages:
    """All images, those that judge apart.

    Parameters
    ----------
    images, held_out
        Images to learn from, and to judge by.
    grey
        How grey levels became what the network sees.
    classes
        Names of the labels; empty if there are none.
    mask_values
        Values of the label images, in the order of the mask's classes; empty without masks.
    pixel_size_nm
        The pixel size that all images have in common, or None.
    """

    images: tuple[TrainingImage, ...]
    held_out: tuple[TrainingImage, ...]
    grey: GreyRange
    classes: tuple[str, ...] = ()
    mask_values: tuple[int, ...] = ()
    pixel_size_nm: tuple[float, float] | None = None

    @property
    def sha256(self) -> str:
        """Hash of the images that are learned from."""
        return hashlib.sha256("".join(i.sha256 for i in self.images).encode()).hexdigest()

    @property
    def smallest(self) -> tuple[int, int]:
        """Height and width that all images have at least."""
        shapes = [image.pixels.shape for image in (*self.images, *self.held_out)]
        return min(h for h, _ in shapes), min(w for _, w in shapes)


def load_images(
    config: ImagesConfig, seed: int, *, grey: GreyRange | None = None
) -> TrainingImages:
    """Read the training images.

    Parameters
    ----------
    config
        Where they are.
    seed
        Decides which images are held out.
    grey
        How grey levels become what the network sees; None to find it from the images.

    Raises
    ------
    UsageError
        If there are too few, they are of different dtypes or of another than `grey`, a label is
        missing, or a mask is missing or of another size.
    """
    root = _folder(config.folder, "data.folder")
    classes: tuple[str, ...] = ()
    if config.labels == "folders":
        classes = tuple(sorted(p.name for p in root.iterdir() if p.is_dir()))
        if len(classes) < 2:
            raise UsageError(
                f"{root} has {len(classes)} folders, and labels: folders takes each as a class: "
                "put the images of each class into a folder of its own, two at least."
            )
    places = [root / name for name in classes] or [root]
    found: list[tuple[Path, int]] = []
    for label, place in enumerate(places):
        files = [p for p in image_paths([str(place)]) if not _left_out(p, config.exclude)]
        found += [(path, label) for path in files]
    if config.label_table is not None:
        classes, found = _from_table(config.label_table, [path for path, _ in found])
    held = config.held_out
    if len(found) < held + 1:
        raise UsageError(
            f"{root} holds {len(found)} images and held_out is {held}: at least one has to be left "
            "to learn from."
        )
    order = np.random.default_rng([seed, 7]).permutation(len(found))
    kept = sorted(order[held:].tolist())[: config.limit]
    micrographs = {n: read(found[n][0]) for n in (*kept, *order[:held].tolist())}
    fields = {n: _field(micrograph, found[n][0]) for n, micrograph in micrographs.items()}
    found_grey = _grey_range([fields[n] for n in kept], root, config.grey_scale)
    if grey is not None and grey.dtype != found_grey.dtype:
        raise UsageError(
            f"The images in {root} are of {found_grey.dtype}, and those of the generator of "
            f"{grey.dtype}: convert them, with the same grey levels."
        )
    grey = grey or found_grey
    raw_masks = _masks(config, [found[n][0] for n in micrographs])
    values: tuple[int, ...] = ()
    if raw_masks:
        values = tuple(sorted({int(v) for m in raw_masks for v in np.unique(m)}))
    by_number = dict(zip(micrographs, raw_masks, strict=True)) if raw_masks else {}

    def image(n: int) -> TrainingImage:
        path, label = found[n]
        raw = fields[n]
        pixels = grey.normalise(raw)
        mask: Labels | None = None
        if n in by_number:
            if by_number[n].shape != pixels.shape:
                raise UsageError(
                    f"The mask of {path.name} has the shape {by_number[n].shape}, and the image "
                    f"{pixels.shape}: both must have the same."
                )
            mask = np.asarray(np.searchsorted(values, by_number[n]), np.int64)
        return TrainingImage(path.name, pixels, hash_of(raw), label, mask)

    sizes = {micrographs[n].pixel_size_nm for n in kept}
    return TrainingImages(
        tuple(image(n) for n in kept),
        tuple(image(n) for n in order[:held].tolist()),
        grey,
        classes,
        values,
        sizes.pop() if len(sizes) == 1 else None,
    )


def hash_of(pixels: NDArray[Any]) -> str:
    """Return the hash of an image's grey levels, whatever file they are in."""
    return hashlib.sha256(np.ascontiguousarray(pixels).tobytes()).hexdigest()


def _folder(text: str, where: str) -> Path:
    path = Path(os.path.expandvars(text)).expanduser()
    if not path.is_dir():
        raise UsageError(f"There is no folder {path}: give the folder as {where}=PATH.")
    return path


def _from_table(text: str, paths: list[Path]) -> tuple[tuple[str, ...], list[tuple[Path, int]]]:
    """Return the classes, and each image with the number of its class, as a table says."""
    table = Path(os.path.expandvars(text)).expanduser()
    if not table.is_file():
        raise UsageError(f"There is no file {table}: give a CSV file as data.label_table=PATH.")
    with table.open(newline="", encoding="utf-8-sig") as file:
        rows = list(csv.DictReader(file))
    if not rows or not {"file", "label"} <= rows[0].keys():
        raise UsageError(f"{table} is no table of labels: its first line is file,label.")
    labels = {row["file"]: str(row["label"]).strip() for row in rows}
    missing = [path.name for path in paths if not labels.get(path.name)]
    if missing:
        raise UsageError(
            f"{table} has no label for {missing[0]}: add a line, or data.exclude the image."
        )
    classes = tuple(sorted({labels[path.name] for path in paths}))
    if len(classes) < 2:
        raise UsageError(
            f"{table} gives all images the label {classes[0]}: give labels of two kinds at least."
        )
    return classes, [(path, classes.index(labels[path.name])) for path in paths]


def _left_out(path: Path, patterns: list[str]) -> bool:
    return any(path.match(pattern) for pattern in patterns)


def _field(micrograph: Micrograph, path: Path) -> NDArray[Any]:
    pixels = np.asarray(field_of(micrograph))
    if pixels.ndim != 2 or not np.isfinite(pixels).all():
        raise UsageError(
            f"{path.name} of shape {pixels.shape} was given: a generator learns from single images "
            "with finite pixels."
        )
    return pixels


def _grey_range(fields: list[NDArray[Any]], root: Path, scale: GreyScale) -> GreyRange:
    dtypes = {str(pixels.dtype) for pixels in fields}
    if len(dtypes) > 1:
        raise UsageError(
            f"The images in {root} are of {' and '.join(sorted(dtypes))}: convert them to one "
            "dtype (everhart convert), as the grey levels of a generator have one meaning."
        )
    found = grey_range(fields, scale)
    if found is None:
        raise UsageError(f"The images in {root} have one grey level: there is nothing to learn.")
    return found


def _masks(config: ImagesConfig, paths: list[Path]) -> list[Labels]:
    if config.masks is None:
        return []
    folder = _folder(config.masks, "data.masks")
    by_stem = {path.stem: path for path in image_paths([str(folder)])}
    masks = []
    for path in paths:
        if path.stem not in by_stem:
            raise UsageError(
                f"There is no mask of {path.name} in {folder}: a mask has the name of its image."
            )
        pixels = np.asarray(read(by_stem[path.stem]).pixels)
        if pixels.dtype.kind not in "iub":
            raise UsageError(
                f"The mask {by_stem[path.stem].name} has pixels of {pixels.dtype}: a mask holds "
                "the numbers of classes."
            )
        masks.append(pixels.astype(np.int64))
    return masks

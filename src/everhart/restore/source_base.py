"""What all sources of training samples share."""

from __future__ import annotations

import hashlib
import os
import re
from collections.abc import Iterable
from pathlib import Path
from typing import Annotated, Protocol, TypeAlias

import numpy as np
from numpy.typing import NDArray
from pydantic import AfterValidator, BaseModel, ConfigDict, Field

from everhart.errors import UsageError

Image: TypeAlias = NDArray[np.float32]
Sample: TypeAlias = tuple[Image, Image]


def _checked_pattern(pattern: str) -> str:
    if pattern.count("*") != 1:
        raise ValueError("a pattern needs exactly one *, such as 'noisy/*.tif'")
    return pattern


Pattern = Annotated[str, AfterValidator(_checked_pattern)]


class SourceBase(BaseModel):
    """Config of any source."""

    model_config = ConfigDict(extra="forbid")

    weight: float = Field(1.0, gt=0, description="share of the samples, relative to the others")


class FolderConfig(SourceBase):
    """Config of a source that is a folder of images."""

    folder: str = Field(description="folder of the images; $VARIABLES are filled in")
    exclude: list[str] = Field(
        default_factory=list, description="glob patterns of files to leave out"
    )

    @property
    def path(self) -> Path:
        """The folder, checked."""
        text = os.path.expandvars(self.folder)
        if re.search(r"\$(\w|\{)", text):  # not `\\server\c$\images`
            raise UsageError(
                f"The folder {self.folder!r} names a variable that is not set: set it, or "
                "give the folder as data.0.folder=PATH."
            )
        path = Path(text).expanduser()
        if not path.is_dir():
            raise UsageError(f"There is no folder {path}: give the folder of the training images.")
        return path

    def matches(self, pattern: str) -> dict[str, Path]:
        """Files that match a pattern with one ``*``, by what the star stands for."""
        left, right = pattern.split("*")
        key = re.compile(re.escape(left) + "(.*)" + re.escape(right))
        found = {}
        for file in sorted(self.path.glob(pattern)):
            name = file.relative_to(self.path).as_posix()
            match = key.fullmatch(name)
            # Hidden files are other programs', such as those that macOS leaves in folders.
            if not file.is_file() or file.name.startswith("."):
                continue
            if match and not any(file.match(p) for p in self.exclude):
                found[match.group(1)] = file
        return found


class Source(Protocol):
    """Anything that draws normalised training samples."""

    @property
    def flips(self) -> bool:
        """Whether samples may be flipped at random."""

    def draw(self, rng: np.random.Generator, crop_px: int) -> Sample:
        """Return a noisy and a clean crop ``(crop_px, crop_px)``, normalised alike."""

    @property
    def smallest_px(self) -> int:
        """Shortest edge of the images, which a crop must not exceed."""

    @property
    def sha256(self) -> str:
        """Hash of the images, for the model card."""


def random_window(
    rng: np.random.Generator, shape: tuple[int, ...], size: int
) -> tuple[slice, slice]:
    """Return a random square window of an image."""
    if min(shape) < size:
        raise UsageError(
            f"A training image of shape {tuple(shape)} was given and crops of {size} pixels: lower "
            "crop_px or leave small images out."
        )
    top, left = (int(rng.integers(n - size + 1)) for n in shape)
    return slice(top, top + size), slice(left, left + size)


def hash_of(images: Iterable[Image]) -> str:
    """Return the hash of images."""
    digest = hashlib.sha256()
    for image in images:
        digest.update(np.ascontiguousarray(image).tobytes())
    return digest.hexdigest()

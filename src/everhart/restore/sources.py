"""Where a denoiser's training samples come from: pairs, clean images, simulated scenes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated, Literal

import numpy as np
from pydantic import Field

from everhart.errors import UsageError
from everhart.restore.corruption import NoiseRange
from everhart.restore.frames_source import FramesConfig, load_frames
from everhart.restore.normalise import GreyScale
from everhart.restore.source_base import (
    FolderConfig,
    Image,
    Pattern,
    Sample,
    Source,
    SourceBase,
    hash_of,
    random_window,
)

__all__ = [
    "CleanConfig",
    "CorruptedSource",
    "FramesConfig",
    "Image",
    "PairSource",
    "PairsConfig",
    "Sample",
    "SimulatedConfig",
    "Source",
    "SourceConfig",
    "augment",
    "load_clean",
    "load_pairs",
    "load_source",
    "make_simulated",
]


class PairsConfig(FolderConfig):
    """Noisy images with a clean partner each."""

    kind: Literal["pairs"]
    noisy: Pattern = Field("noisy/*", description="pattern of the noisy images, with one *")
    clean: Pattern = Field("clean/*", description="pattern of their partners, with one *")
    registration: Literal["none", "shift", "affine"] = Field(
        "affine", description="how a clean image is laid on its noisy partner"
    )
    match_grey: bool = Field(
        False, description="bring the clean images to the grey levels of their noisy partners"
    )
    max_shift_px: float = Field(40.0, gt=0, description="largest drift to look for")


class CleanConfig(FolderConfig):
    """Clean images, made noisy by the simulated microscope at each use."""

    kind: Literal["clean"]
    images: Pattern = Field("*", description="pattern of the images, with one *")
    noise: NoiseRange = Field(default_factory=NoiseRange)


class SimulatedConfig(SourceBase):
    """Simulated scenes, made noisy by the simulated microscope at each use."""

    kind: Literal["simulated"]
    scenes: int = Field(1000, ge=1, description="number of scenes, drawn once")
    scene_px: int = Field(256, ge=64, description="edge of a scene in pixels")
    fringes: float = Field(
        0.3, ge=0, le=1, description="share of the scenes with lattice fringes over them"
    )
    noise: NoiseRange = Field(default_factory=NoiseRange)


SourceConfig = Annotated[
    PairsConfig | CleanConfig | SimulatedConfig | FramesConfig, Field(discriminator="kind")
]


@dataclass(frozen=True)
class PairSource:
    """Crops of registered pairs, normalised by the statistics of the whole noisy image."""

    pairs: Sequence[Sample]
    flips: bool = True

    def draw(self, rng: np.random.Generator, crop_px: int) -> Sample:
        """Return a random crop of a random pair."""
        noisy, clean = self.pairs[int(rng.integers(len(self.pairs)))]
        window = random_window(rng, noisy.shape, crop_px)
        return noisy[window], clean[window]

    @property
    def smallest_px(self) -> int:
        """Shortest edge of the registered pairs."""
        return min(int(min(noisy.shape)) for noisy, _ in self.pairs)

    @property
    def sha256(self) -> str:
        """Hash of the registered pairs."""
        return hash_of(image for pair in self.pairs for image in pair)


@dataclass(frozen=True)
class CorruptedSource:
    """Crops of clean images, made noisy anew at each use."""

    images: Sequence[Image]
    noise: NoiseRange
    may_shrink: bool = False
    flips: bool = True

    def draw(self, rng: np.random.Generator, crop_px: int) -> Sample:
        """Return a random crop of a random image under random noise."""
        image = self.images[int(rng.integers(len(self.images)))]
        shrink = self.may_shrink and min(image.shape) >= 2 * crop_px and rng.random() < 0.5
        clean = image[random_window(rng, image.shape, crop_px * (2 if shrink else 1))]
        if shrink:  # other pixel sizes, and a cleaner target
            clean = clean.reshape(crop_px, 2, crop_px, 2).mean((1, 3))
        noisy, target = self.noise.corrupt(clean.astype(np.float32), rng)
        scale = GreyScale.of(noisy)
        deviation = max(scale.deviation, 1e-6) * float(np.exp(rng.normal(0, 0.35)))
        mean = scale.mean + deviation * float(rng.normal(0, 0.3))
        # A crop's own statistics differ from those of the image it would be part of.
        return (noisy - np.float32(mean)) / np.float32(deviation), (
            target - np.float32(mean)
        ) / np.float32(deviation)

    @property
    def smallest_px(self) -> int:
        """Shortest edge of the clean images."""
        return min(int(min(image.shape)) for image in self.images)

    @property
    def sha256(self) -> str:
        """Hash of the clean images."""
        return hash_of(self.images)


def load_pairs(config: PairsConfig) -> PairSource:
    """Read, register and normalise the pairs of a folder.

    Raises
    ------
    UsageError
        If the folder is missing, holds no pair, or an image has no partner.
    """
    from everhart.align import register_pair
    from everhart.io import read

    noisy_files, clean_files = config.matches(config.noisy), config.matches(config.clean)
    alone = sorted(noisy_files.keys() ^ clean_files.keys())
    if alone or not noisy_files:
        what = f"{alone[0]!r} has no partner" if alone else "no image matches"
        raise UsageError(
            f"{config.path}: {what} with noisy = {config.noisy!r} and clean = {config.clean!r}; "
            "the * must stand for the same text in a noisy image and its clean partner."
        )
    pairs = []
    for key, file in noisy_files.items():
        noisy = read(file).field_of_view
        clean = read(clean_files[key]).field_of_view
        if noisy.shape != clean.shape or noisy.ndim != 2:
            raise UsageError(
                f"{file.name} has the shape {noisy.shape} and its partner "
                f"{clean_files[key].name} {clean.shape}: pairs are single images of one shape."
            )
        scale = GreyScale.of(noisy)
        if config.registration == "none":
            fixed, moved = np.asarray(noisy, np.float32), np.asarray(clean, np.float32)
        else:
            fixed, moved, _ = register_pair(
                noisy, clean, model=config.registration, max_shift_px=config.max_shift_px
            )
        if config.match_grey:
            moved = _grey_matched(moved, fixed)
        if scale.deviation == 0:
            raise UsageError(f"{file.name} is constant: take it out of the training images.")
        pairs.append((scale.normalise(fixed), scale.normalise(moved)))
    return PairSource(pairs)


def load_clean(config: CleanConfig) -> CorruptedSource:
    """Read clean images, each scaled to grey levels from 0 to 1.

    Raises
    ------
    UsageError
        If the folder is missing or no image matches.
    """
    from everhart.io import read

    files = config.matches(config.images)
    images = []
    for file in files.values():
        if file.suffix.lower() in (".csv", ".json", ".txt", ".md", ".yaml"):
            continue
        pixels = np.asarray(read(file).field_of_view, np.float32)
        for frame in pixels if pixels.ndim == 3 else [pixels]:
            low, high = np.percentile(frame, (0.1, 99.9))
            if high > low:
                images.append(np.clip((frame - low) / (high - low), 0, 1).astype(np.float32))
    if not images:
        raise UsageError(f"{config.path}: no image matches {config.images!r}; correct the pattern.")
    return CorruptedSource(images, config.noise, may_shrink=True)


def make_simulated(config: SimulatedConfig, seed: int) -> CorruptedSource:
    """Draw the simulated scenes; kept as half precision, they take 2 bytes a pixel."""
    from everhart.simulate.fringes import add_fringes
    from everhart.simulate.random_scenes import random_scene

    shape = (config.scene_px, config.scene_px)
    images = []
    for number in range(config.scenes):
        rng = np.random.default_rng([seed, 7, number])
        image = random_scene(rng, shape).image
        if rng.random() < config.fringes:
            image = add_fringes(image, rng)
        images.append(image.astype(np.float16))
    return CorruptedSource(images, config.noise)  # type: ignore[arg-type]


def load_source(
    config: PairsConfig | CleanConfig | SimulatedConfig | FramesConfig,
    seed: int,
    recipe: str = "supervised",
    *,
    judged: bool = False,
    full_range: bool = False,
) -> Source:
    """Make the source that a config describes.

    Parameters
    ----------
    config
        Its config.
    seed
        Seed of what is drawn once.
    recipe, judged, full_range
        As for :func:`everhart.restore.frames_source.load_frames`; other sources have clean
        targets, whatever the recipe.
    """
    if isinstance(config, PairsConfig):
        return load_pairs(config)
    if isinstance(config, CleanConfig):
        return load_clean(config)
    if isinstance(config, FramesConfig):
        return load_frames(config, seed, recipe, judged=judged, full_range=full_range)
    return make_simulated(config, seed)


def augment(sample: Sample, rng: np.random.Generator) -> Sample:
    """Flip a sample at random; never transpose it, as the scan line has a direction.

    A horizontal flip turns the detector's causal filter around. Its correlations stay as
    they are, and only those are strong enough to be learned.
    """
    noisy, clean = sample
    if rng.random() < 0.5:
        noisy, clean = noisy[::-1], clean[::-1]
    if rng.random() < 0.5:
        noisy, clean = noisy[:, ::-1], clean[:, ::-1]
    return np.ascontiguousarray(noisy), np.ascontiguousarray(clean)


def _grey_matched(clean: Image, noisy: Image) -> Image:
    """Return the clean image with the gain and offset that fit the noisy one best.

    The noisy image is the dependent variable, so that its noise does not bias the slope.
    """
    slope, offset = np.polyfit(clean.ravel().astype(np.float64), noisy.ravel(), 1)
    return np.asarray(slope * clean + offset, np.float32)

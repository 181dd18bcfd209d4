"""Training samples from repeated frames of scenes: no image is clean."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Literal

import numpy as np
from pydantic import Field, field_validator

from everhart.errors import UsageError
from everhart.micrograph import Array
from everhart.restore.frame_files import read_scenes
from everhart.restore.normalise import GreyScale
from everhart.restore.source_base import FolderConfig, Image, Sample, hash_of, random_window

RELAXED_FRAMES = 8
"""Frames of a relaxed target where the config does not say."""


class FramesConfig(FolderConfig):
    """Repeated frames of scenes, named by the number of frames that an image is the mean of.

    One folder a scene, or, as ``everhart simulate`` writes them, one prefix a scene::

        wafer/scene_1/F01_000.tif        simulated/nand_0000_F001.tif
        wafer/scene_1/F01_001.tif        simulated/nand_0000_F008.tif
        wafer/scene_1/F08_000.tif        simulated/nand_0001_F001.tif

    ``F08`` is the mean of 8 frames, which are *others* than those in the files beside it. A file
    may be a stack of such images. With ``names: plain`` names mean nothing, and each image, or each
    frame of a stack, is a single frame; a stack in the folder itself is a scene.

    A mean of n frames that no file holds is made from single ones, from others for each sample.
    """

    kind: Literal["frames"]
    names: Literal["counted", "plain"] = Field(
        "counted", description="counted: F01_000.tif, F08_000.tif; plain: every image is one frame"
    )
    input_frames: int = Field(1, ge=1, description="frames that an input is the mean of")
    target_frames: int | None = Field(
        None,
        ge=1,
        description="frames that a target is the mean of; by default as many as the input for "
        "n2n, 8 for rn2n and renin, the most that there are for supervised",
    )
    registration: Literal["none", "shift"] = Field(
        "shift", description="shift: drift is undone by whole pixels, which leave the noise alone"
    )
    max_shift_px: float = Field(40.0, gt=0, description="largest drift to look for")
    rows: tuple[float, float] = Field(
        (0.0, 1.0), description="part of the height to use, to keep another part for validation"
    )
    fixed_crops: int | None = Field(
        None, ge=1, description="draw so many crops once and for all, instead of ever new ones"
    )
    flips: bool = Field(True, description="whether crops are flipped at random")

    @field_validator("rows")
    @classmethod
    def _a_part(cls, rows: tuple[float, float]) -> tuple[float, float]:
        if not 0 <= rows[0] < rows[1] <= 1:
            raise ValueError("give the first and the last of the height, such as [0, 0.75]")
        return rows


@dataclass(frozen=True)
class Frames:
    """Registered images of one scene, by the number of frames that each is the mean of.

    Parameters
    ----------
    name
        Name of the scene, for messages.
    images
        Images ``(H, W)`` by frame count, in their own dtype and of one shape.
    """

    name: str
    images: dict[int, list[Array]]

    @property
    def shape(self) -> tuple[int, int]:
        """Height and width."""
        first = next(iter(self.images.values()))[0]
        return first.shape[0], first.shape[1]

    @property
    def most(self) -> int:
        """Frames of the best target that leaves a single frame over."""
        return max(max(self.images), len(self.images.get(1, [])) - 1)

    def lacks(self, input_frames: int, target_frames: int | None) -> str:
        """Return what is missing for an input and a target that share no frame; '' if nothing."""
        wanted = _wanted(input_frames, target_frames)
        averaged = self._averaged(wanted)
        needed, singles = sum(averaged) + wanted.count(1), len(self.images.get(1, []))
        if needed <= singles:
            return ""
        if not averaged:
            return f"{needed} x F01"
        files = " and ".join(f"{wanted.count(n)} x F{n:02d}" for n in sorted(set(averaged)))
        return f"{files}, or {needed} x F01 to average"

    def draw(
        self, rng: np.random.Generator, input_frames: int, target_frames: int | None
    ) -> list[list[int]]:
        """Choose an input and, with `target_frames`, a target that shares no frame with it.

        Returns
        -------
        list of list of int
            For each of them the number of an image with the wanted count, or the numbers of the
            single frames whose mean it is: see :meth:`chosen`.
        """
        wanted = _wanted(input_frames, target_frames)
        averaged = self._averaged(wanted)
        left = {
            count: [int(n) for n in rng.permutation(len(self.images.get(count, [])))]
            for count in sorted({1, *wanted})
        }
        return [
            [left[1].pop() for _ in range(count)] if count in averaged else [left[count].pop()]
            for count in wanted
        ]

    def _averaged(self, wanted: list[int]) -> list[int]:
        """Return the counts that have to be made from single frames."""
        return [n for n in wanted if n > 1 and len(self.images.get(n, [])) < wanted.count(n)]

    def chosen(self, count: int, numbers: list[int]) -> list[Array]:
        """Return the images that :meth:`draw` chose for a frame count."""
        return [self.images[count if len(numbers) == 1 else 1][number] for number in numbers]


@dataclass(frozen=True)
class FramesSource:
    """Crops of repeated frames, normalised by the statistics of the whole input image.

    Parameters
    ----------
    scenes
        The scenes.
    input_frames
        Frames that an input is the mean of.
    target_frames
        Frames that a target is the mean of: for each scene, or None for the input itself.
    seed
        Seed of the fixed crops.
    fixed_crops
        Number of crops that are drawn once, or None for ever new ones.
    flips
        Whether crops may be flipped.
    full_range
        Whether the grey scale is that of the dtype instead of the image.
    """

    scenes: Sequence[Frames]
    input_frames: int
    target_frames: Sequence[int | None]
    seed: int = 0
    fixed_crops: int | None = None
    flips: bool = True
    full_range: bool = False
    _scales: dict[tuple[int, int], GreyScale] = field(default_factory=dict, init=False, repr=False)
    """Of single input images, by scene and number: measuring one takes longer than a crop."""

    def draw(self, rng: np.random.Generator, crop_px: int) -> Sample:
        """Return crops of two images of one scene that share no frame."""
        noisy, target, _ = self.draw_judged(rng, crop_px)
        return noisy, target

    def draw_judged(self, rng: np.random.Generator, crop_px: int) -> tuple[Image, Image, float]:
        """Return a sample, and the target's share of the squared difference that is noise.

        Of ``E (input - target)^2``, that is what the target's own noise contributes.
        """
        if self.fixed_crops is not None:
            number = int(rng.integers(self.fixed_crops))
            rng = np.random.default_rng([self.seed, 11, number])
        index = int(rng.integers(len(self.scenes)))
        scene, count = self.scenes[index], self.target_frames[index]
        chosen = scene.draw(rng, self.input_frames, count)
        inputs = scene.chosen(self.input_frames, chosen[0])
        window = random_window(rng, scene.shape, crop_px)
        scale = self._scale(inputs, (index, chosen[0][0]))
        noisy = _mean([scale.normalise(image[window]) for image in inputs])
        target = noisy
        if count is not None:
            targets = scene.chosen(count, chosen[1])
            target = _mean([scale.normalise(image[window]) for image in targets])
        share = 0.0 if count is None else self.input_frames / (self.input_frames + count)
        return noisy, target, share

    def _scale(self, images: list[Array], place: tuple[int, int]) -> GreyScale:
        if self.full_range:
            return GreyScale.of_range(images[0].dtype)
        if len(images) == 1:
            if place not in self._scales:
                self._scales[place] = GreyScale.of(images[0])
            return self._scales[place]
        return GreyScale.of(_mean([image.astype(np.float32) for image in images]))

    def single_frames(self, scene: int, at_most: int = 2) -> list[Array]:
        """Return some inputs of a scene, for a look at their noise."""
        return list(self.scenes[scene].images.get(self.input_frames, []))[:at_most]

    @property
    def smallest_px(self) -> int:
        """Shortest edge of the registered images."""
        return min(min(scene.shape) for scene in self.scenes)

    @property
    def sha256(self) -> str:
        """Hash of the registered images."""
        return hash_of(
            image for s in self.scenes for _, images in sorted(s.images.items()) for image in images
        )


def load_frames(
    config: FramesConfig,
    seed: int,
    recipe: str,
    *,
    judged: bool = False,
    full_range: bool = False,
) -> FramesSource:
    """Read and register the scenes of a folder, and check that a recipe can be had from them.

    Parameters
    ----------
    config
        The folder, and how it is used.
    seed
        Seed of the fixed crops.
    recipe
        ``supervised``, ``n2n``, ``rn2n`` or ``renin``; ``n2v`` and ``fbi`` need no target.
    judged
        Whether the samples are to judge by: then there is a target for every recipe, by default
        the one with the least noise.
    full_range
        Whether the grey scale is that of the dtype instead of the image.

    Raises
    ------
    UsageError
        If the folder is missing or holds no scene, a name is not understood, shapes differ, or
        there are too few frames for the recipe.
    """
    scenes = [
        Frames(name, images)
        for name, images in read_scenes(
            config.path,
            config.exclude,
            plain=config.names == "plain",
            register=config.registration == "shift",
            max_shift_px=config.max_shift_px,
            rows=config.rows,
        ).items()
    ]
    targets: list[int | None] = []
    for scene in scenes:
        target = _target_frames(config, scene, recipe, judged)
        lacking = scene.lacks(config.input_frames, target)
        if lacking:
            has = ", ".join(f"{len(v)} x F{n:02d}" for n, v in sorted(scene.images.items()))
            raise UsageError(
                f"The scene {scene.name} has {has}, and {'validation' if judged else recipe} from "
                f"F{config.input_frames:02d} to F{target or config.input_frames:02d} needs "
                f"{lacking}: add frames or set target_frames."
            )
        targets.append(target)
    return FramesSource(
        scenes, config.input_frames, targets, seed, config.fixed_crops, config.flips, full_range
    )


def _target_frames(config: FramesConfig, scene: Frames, recipe: str, judged: bool) -> int | None:
    if recipe in ("n2v", "fbi") and not judged:
        return None
    if config.target_frames is not None:
        return config.target_frames
    if judged or recipe == "supervised":
        return max(scene.most, 1)
    return config.input_frames if recipe == "n2n" else RELAXED_FRAMES


def _wanted(input_frames: int, target_frames: int | None) -> list[int]:
    return [input_frames] if target_frames is None else [input_frames, target_frames]


def _mean(images: list[Image]) -> Image:
    if len(images) == 1:
        return images[0]
    return np.asarray(np.mean(images, axis=0), np.float32)

"""What the studies of synthesis learn from: gate stacks over fins, scattered by a process."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import cv2
import numpy as np
from numpy.typing import NDArray

from everhart.io import write
from everhart.micrograph import Micrograph
from everhart.simulate import Camera, simulate
from everhart.simulate.scene import Scene

__all__ = [
    "Specimen",
    "fitted_stacks",
    "labelled_stacks",
    "smoothed",
    "specimen",
    "stack_images",
    "stack_layer",
    "stack_levels",
    "stack_scene",
    "valid_stacks",
]

Image = NDArray[np.float32]

_NOMINAL_NM: Final = {
    "fin_width_nm": 8.0,
    "fin_height_nm": 18.0,
    "oxide_nm": 1.2,
    "high_k_nm": 2.2,
    "metal_nm": 6.0,
}
_OTHER_PROCESS: Final = {
    **_NOMINAL_NM,
    "fin_width_nm": 10.0,
    "fin_height_nm": 13.0,
    "metal_nm": 4.0,
}
"""Wider and lower fins under less metal."""

_SCATTER: Final = 0.05
"""Standard deviation of each dimension, as a part of it: that of a process under control."""

_SPECK: Final = 0.1
"""Dark parts smaller than this share of the layer are noise."""


def stack_images(
    folder: Path,
    count: int,
    size_px: int,
    seed: int,
    *,
    first: int = 0,
    other: bool = False,
    fins: int = 2,
) -> Path:
    """Write simulated images of gate stacks, one exposure each, no two dimensions alike.

    Parameters
    ----------
    folder
        Gets ``stack_NNNN.tif``; images that are there stay as they are.
    count
        Number of images.
    size_px
        Edge of the images; 51.2 nm of the specimen are shown.
    seed
        Seed of the set.
    first
        Number of the first image: image n is the same in every set of this seed.
    other
        Whether they are of the other process.
    fins
        Fins under the gate.

    Returns
    -------
    Path
        The folder.
    """
    folder.mkdir(parents=True, exist_ok=True)
    camera = Camera()
    for number in range(first, first + count):
        path = folder / f"stack_{number:04d}.tif"
        if path.is_file():
            continue
        scene, rng = stack_scene(number, size_px, seed, other=other, fins=fins)
        write(camera.expose(scene, rng, 1), path, overwrite=False)
    return folder


def labelled_stacks(
    folder: Path,
    numbers: Iterable[int],
    size_px: int,
    seed: int,
    *,
    texture: float = 0.02,
    dose_e_per_px: float = 50.0,
) -> Path:
    """Write images with the classes of their pixels: ``images/*.tif`` and ``masks/*.png``.

    Parameters
    ----------
    folder
        Gets ``stack_NNNN`` in both; what is there stays as it is.
    numbers
        Numbers of the images.
    size_px, seed
        As for :func:`stack_images`; by default its very images.
    texture
        Speckle and grain of the materials, of which a mask says nothing.
    dose_e_per_px
        Electrons a pixel.

    Returns
    -------
    Path
        The folder.
    """
    camera = Camera(dose_e_per_px=dose_e_per_px)
    for part in ("images", "masks"):
        (folder / part).mkdir(parents=True, exist_ok=True)
    for number in numbers:
        image = folder / "images" / f"stack_{number:04d}.tif"
        mask = folder / "masks" / f"stack_{number:04d}.png"
        if image.is_file() and mask.is_file():
            continue
        scene, rng = stack_scene(number, size_px, seed, texture=texture)
        labels = Micrograph(scene.truth.labels.astype(np.uint8), scene.pixel_size_nm)
        write(labels, mask, overwrite=True)
        write(camera.expose(scene, rng, 1), image, overwrite=True)
    return folder


def stack_scene(
    number: int,
    size_px: int,
    seed: int,
    *,
    other: bool = False,
    fins: int = 2,
    texture: float = 0.02,
) -> tuple[Scene, np.random.Generator]:
    """Return the scene of an image of :func:`stack_images`, and the generator that exposes it."""
    rng = np.random.default_rng([seed, number])
    off = _deviations(rng)
    nominal = _OTHER_PROCESS if other else _NOMINAL_NM
    return _scene(off, size_px, rng, nominal=nominal, fins=fins, texture=texture), rng


def fitted_stacks(count: int, size_px: int, seed: int, learned: int) -> list[NDArray[np.uint16]]:
    """Return images by whoever has the whole process right but for what few images say of it.

    No generator can know more than this: the simulator itself, with the mean and the standard
    deviation of each dimension as the true dimensions of the first images have them.

    Parameters
    ----------
    count
        Number of images.
    size_px, seed
        As for :func:`stack_images`.
    learned
        Number of images whose dimensions are known.
    """
    known = np.stack([_deviations(np.random.default_rng([seed, n])) for n in range(learned)])
    mean, scatter = known.mean(axis=0), known.std(axis=0, ddof=1)
    camera, images = Camera(), []
    for number in range(count):
        rng = np.random.default_rng([seed, number, learned])
        off = mean + scatter * rng.standard_normal(len(mean))
        image = camera.expose(_scene(off, size_px, rng), rng, 1)
        assert isinstance(image, Micrograph)
        images.append(np.asarray(image.pixels, np.uint16))
    return images


def _deviations(rng: np.random.Generator) -> NDArray[np.float64]:
    """Draw how far each dimension is from nominal, in standard deviations of the process."""
    return np.array([np.clip(rng.standard_normal(), -2, 2) for _ in _NOMINAL_NM])


def _scene(
    off: NDArray[np.float64],
    size_px: int,
    rng: np.random.Generator,
    *,
    nominal: Mapping[str, float] = _NOMINAL_NM,
    fins: int = 2,
    texture: float = 0.02,
) -> Scene:
    sizes: dict[str, Any] = {
        name: float(nm * np.exp(_SCATTER * by))
        for (name, nm), by in zip(nominal.items(), off, strict=True)
    }
    shape = (size_px, size_px)
    return simulate("stack", shape=shape, rng=rng, fins=fins, texture=texture, **sizes)


@dataclass(frozen=True, eq=False)
class Specimen:
    """A specimen that is known exactly.

    Parameters
    ----------
    mask
        Classes of its pixels, ``(H, W)``.
    clean
        What the microscope would show without noise, in grey levels.
    first, second
        Two acquisitions.
    """

    mask: NDArray[np.uint8]
    clean: NDArray[np.float64]
    first: NDArray[Any]
    second: NDArray[Any]

    @property
    def span(self) -> float:
        """Range of the clean image's grey levels."""
        return float(np.ptp(self.clean))


def specimen(
    number: int, size_px: int, seed: int, *, texture: float = 0.02, dose_e_per_px: float = 50.0
) -> Specimen:
    """Return the specimen of an image of :func:`labelled_stacks`; `first` is that image."""
    scene, rng = stack_scene(number, size_px, seed, texture=texture)
    camera = Camera(dose_e_per_px=dose_e_per_px)
    pair = camera.expose(scene, rng, 1, return_clean=True)
    second = camera.expose(scene, rng, 1)
    assert isinstance(pair, tuple)
    assert isinstance(second, Micrograph)
    first, clean = (np.asarray(image.pixels) for image in pair)
    labels = scene.truth.labels.astype(np.uint8)
    return Specimen(labels, clean.astype(np.float64), first, np.asarray(second.pixels))


def valid_stacks(images: Sequence[NDArray[Any]], like: Sequence[NDArray[Any]]) -> list[bool]:
    """Tell of each image whether it can be a gate stack over two fins.

    The dark layer is one, unbroken from the left edge to the right, without another beside it, and
    it rises over two fins and lies low beside and between them.

    Parameters
    ----------
    images
        Images ``(H, W)``.
    like
        Real ones, by which dark is told from bright.
    """
    levels = stack_levels(like)
    return [stack_layer(smoothed(image), levels) is not None for image in images]


def stack_levels(like: Sequence[NDArray[Any]]) -> list[float]:
    """Return grey levels that may tell the dark layer from the rest, by real images."""
    dark, bright = np.percentile(np.stack([smoothed(i) for i in like]), (1, 20))
    # The layer is hardly wider than the grain: at one threshold or other it is whole and alone.
    return [float(dark + share * (bright - dark)) for share in np.linspace(0.45, 0.85, 12)]


def smoothed(image: NDArray[Any]) -> Image:
    """Return an image with less grain."""
    return np.asarray(cv2.GaussianBlur(np.asarray(image, np.float32), (0, 0), 1.0), np.float32)


def stack_layer(smooth: Image, levels: Sequence[float]) -> NDArray[np.bool_] | None:
    """Return where the dark layer is, None where the image cannot be a gate stack.

    Parameters
    ----------
    smooth
        Of :func:`smoothed`.
    levels
        Of :func:`stack_levels`; the first that shows a layer is taken.
    """
    return next(
        (found for found in (_layer(smooth < v) for v in levels) if found is not None), None
    )


def _layer(dark: NDArray[np.bool_]) -> NDArray[np.bool_] | None:
    _, labels, stats, _ = cv2.connectedComponentsWithStats(dark.astype(np.uint8), connectivity=8)
    areas = stats[1:, cv2.CC_STAT_AREA]
    if not len(areas) or np.sum(areas >= _SPECK * areas.max()) > 1:
        return None
    layer = np.asarray(labels == 1 + int(np.argmax(areas)))
    if not layer.any(axis=0).all():
        return None
    top = np.argmax(layer, axis=0)
    high = top < (top.min() + top.max()) / 2
    fins = int(np.sum(high[1:] & ~high[:-1]))
    return layer if fins == 2 and not (high[0] or high[-1]) else None

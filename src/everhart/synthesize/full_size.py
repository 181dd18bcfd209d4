"""Images of any size from a model of patches: a small whole image first, then its details."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional as F

from everhart.errors import UsageError
from everhart.synthesize.samplers import OnStep, SamplerName, Variance
from everhart.synthesize.schedule import NoiseSchedule
from everhart.synthesize.tiles import PredictTiles, TileGrid, sample_tiled

__all__ = ["Level", "draw_full_size", "levels_for", "reduced_shape"]

_BAND_ROWS, _REACH_ROWS = 64, 12
"""Rows that are enlarged at once, and those around them that have a part in the result."""


@dataclass(frozen=True)
class Level:
    """A reduction that a model knows, and the largest tile that it has seen there.

    Parameters
    ----------
    reduction
        Image pixels to a pixel.
    tile
        Height and width in pixels of the reduced image.
    """

    reduction: int
    tile: tuple[int, int]


def reduced_shape(shape: tuple[int, int], reduction: int) -> tuple[int, int]:
    """Return the size of a reduced image that covers all of the image."""
    return -(-shape[0] // reduction), -(-shape[1] // reduction)


def levels_for(
    stages: Sequence[tuple[int | None, int]], trained: tuple[int, int], shape: tuple[int, int]
) -> list[Level]:
    """Return the levels to draw an image by, the most reduced one first.

    It is the finest level at which the image fits into one tile, and all finer ones; all levels,
    if it fits nowhere.

    Parameters
    ----------
    stages
        Edge of the patches (None: whole images) and reduction of the model's stages.
    trained
        Size of the training images.
    shape
        Size of what is drawn.

    Raises
    ------
    UsageError
        If the model has seen reduced images alone.

    Examples
    --------
    >>> levels = levels_for([(64, 8), (64, 2), (64, 1)], (512, 512), (512, 512))
    >>> [level.reduction for level in levels]
    [8, 2, 1]
    """
    tiles: dict[int, tuple[int, int]] = {}
    for patch, reduction in stages:
        whole = trained[0] // reduction, trained[1] // reduction
        edge = whole if patch is None else (patch, patch)
        before = tiles.get(reduction, (0, 0))
        tiles[reduction] = max(edge[0], before[0]), max(edge[1], before[1])
    if 1 not in tiles:
        raise UsageError(
            f"The model has learned from images reduced by {min(tiles)} alone: give its training "
            "a stage with reduction: 1."
        )
    levels = []
    for reduction, tile in sorted(tiles.items()):
        levels.append(Level(reduction, tile))
        small = reduced_shape(shape, reduction)
        if small[0] <= tile[0] and small[1] <= tile[1]:
            break
    return levels[::-1]


def draw_full_size(
    predictor: Callable[[Level], PredictTiles],
    levels: Sequence[Level],
    shape: tuple[int, int],
    schedule: NoiseSchedule,
    *,
    seed: int,
    sampler: SamplerName = "ddpm",
    steps: int = 250,
    variance: Callable[[Level], Variance] = lambda _: "large",
    overlap: float = 0.25,
    start_level: float = 0.6,
    clip: float | None = None,
    batch_size: int = 8,
    on_step: OnStep | None = None,
) -> Tensor:
    """Draw one image, each level from the one before.

    The most reduced level is drawn from noise: it decides where things are. Enlarged and noised
    again [1]_ it is the start of the next finer one, which draws its details and its grain.

    Parameters
    ----------
    predictor
        Gives the network's voice on tiles of a level.
    levels
        See :func:`levels_for`.
    shape
        Height and width of the image.
    schedule
        Schedule that the network was trained with.
    seed
        Of all noise.
    sampler, steps, clip, batch_size, on_step
        See :func:`everhart.synthesize.tiles.sample_tiled`.
    variance
        Gives the variance of ``"ddpm"`` at a level, see there.
    overlap
        Part of a tile that the next one covers.
    start_level
        Part of the way to noise from which the finer levels start: what is lower is more like
        the enlarged image, and quicker; what is higher has more freedom in the details.

    Returns
    -------
    Tensor
        The image ``(H, W)``.

    References
    ----------
    .. [1] C. Meng et al., "SDEdit: guided image synthesis and editing with stochastic
       differential equations", ICLR 2022.
    """
    image: Tensor | None = None
    for number, level in enumerate(levels):
        small = reduced_shape(shape, level.reduction)
        if image is not None:
            factor = levels[number - 1].reduction / level.reduction
            image = _enlarged(image, factor, small)

        def tell(done: int, of: int, number: int = number) -> None:
            if on_step is not None:
                on_step((number + 1) * steps - (of - done), len(levels) * steps)

        image = sample_tiled(
            predictor(level),
            TileGrid(small, level.tile, overlap),
            schedule,
            sampler=sampler,
            steps=steps,
            variance=variance(level),
            seed=(seed, level.reduction),
            clip=clip,
            start=image,
            start_level=start_level,
            batch_size=batch_size,
            on_step=tell,
        )
    assert image is not None
    return image


def _enlarged(image: Tensor, factor: float, shape: tuple[int, int]) -> Tensor:
    """Enlarge an image, so that block k comes to lie on pixels from k times the factor on.

    The mean of each block is brought back to what it was, but for some percent: the mean over
    blocks had weakened what is a few blocks long, and interpolation would weaken it again.
    """
    by, height = round(factor), len(image)
    if by != factor:
        return _padded(_interpolated(image, factor), shape)
    large = torch.empty(shape)
    for top in range(0, height, _BAND_ROWS):
        # Some rows at a time, with as many around as have a part in them.
        first, bottom = max(0, top - _REACH_ROWS), min(height, top + _BAND_ROWS)
        band = _interpolated(image[first : min(height, bottom + _REACH_ROWS)], factor)
        rows = slice(top * by, min(bottom * by, shape[0]))
        large[rows] = band[(top - first) * by :][: rows.stop - rows.start, : shape[1]]
    return large


def _interpolated(image: Tensor, factor: float) -> Tensor:
    small = image[None, None]
    large = F.interpolate(small, scale_factor=factor, mode="bicubic")
    for _ in range(2):
        missing = small - F.interpolate(large, size=small.shape[-2:], mode="area")
        large = large + F.interpolate(missing, scale_factor=factor, mode="bicubic")
    return large[0, 0]


def _padded(image: Tensor, shape: tuple[int, int]) -> Tensor:
    """Cut an image to a size, or repeat its last rows and columns up to it.

    By a part of a pixel it can be too small, where the factor is no whole number.
    """
    short = [max(0, n - m) for n, m in zip(shape, image.shape, strict=True)]
    padded = F.pad(image[None, None], (0, short[1], 0, short[0]), mode="replicate")
    return padded[0, 0, : shape[0], : shape[1]].contiguous()

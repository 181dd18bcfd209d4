"""Sampling in tiles: images larger than what the network sees at once."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from everhart.errors import UsageError, unknown_name
from everhart.synthesize.samplers import (
    SAMPLERS,
    OnStep,
    SamplerName,
    Variance,
    ddim_step,
    ddpm_step,
    dpm_step,
    held,
    pairs_of_steps,
)
from everhart.synthesize.schedule import NoiseSchedule

__all__ = ["Corner", "NoiseField", "PredictTiles", "TileGrid", "sample_tiled", "shift_at"]

Corner = tuple[int, int]

PredictTiles = Callable[[Tensor, Tensor, Sequence[Corner]], Tensor]
"""What the network says of tiles ``(N, 1, h, w)`` at steps ``(N,)``, given their first rows and
columns in the whole image."""

_BAND_ROWS = 64
_GOLDEN = (math.sqrt(5) - 1) / 2


class NoiseField:
    """Standard normal numbers of an image of any size: the same whatever part is asked for.

    Parameters
    ----------
    seed
        Seed of the field.
    width
        Columns of the image.

    Examples
    --------
    >>> field = NoiseField((0,), 5)
    >>> bool((field.rows(3, 60, 70)[4:] == field.rows(3, 64, 70)).all())
    True
    """

    def __init__(self, seed: Sequence[int], width: int) -> None:
        self.seed, self.width = tuple(seed), width

    def rows(self, number: int, top: int, bottom: int) -> Tensor:
        """Return rows ``[top, bottom)`` of the field of this number, ``(rows, width)``."""
        bands = range(top // _BAND_ROWS, -(-bottom // _BAND_ROWS))
        drawn = [
            np.random.default_rng([*self.seed, number, band]).standard_normal(
                (_BAND_ROWS, self.width), np.float32
            )
            for band in bands
        ]
        first = bands[0] * _BAND_ROWS
        return torch.from_numpy(np.concatenate(drawn)[top - first : bottom - first])


@dataclass(frozen=True)
class TileGrid:
    """Overlapping tiles over an image, and how much each of them counts.

    Parameters
    ----------
    shape
        Height and width of the image.
    tile
        Height and width of the tiles; those of the image where it is smaller.
    overlap
        Least part of a tile that the next one covers, 0 to 0.5.
    """

    shape: tuple[int, int]
    tile: tuple[int, int]
    overlap: float = 0.25

    def __post_init__(self) -> None:
        if not 0 <= self.overlap <= 0.5:
            raise UsageError(f"overlap = {self.overlap:g} was given: it is from 0 to 0.5.")

    def starts(self, axis: int, shift: float = 0.0) -> list[int]:
        """Return where the tiles of one axis start, in order.

        Parameters
        ----------
        axis
            0 for rows, 1 for columns.
        shift
            The grid is moved by this part of the way from tile to tile, 0 to 1. All tiles stay
            whole and inside of the image, so the outer ones overlap more.
        """
        size, tile = self.shape[axis], min(self.tile[axis], self.shape[axis])
        stride = max(1, tile - math.ceil(self.overlap * tile))
        last = size - tile
        first = -round(shift * stride)
        return sorted({min(max(at, 0), last) for at in range(first, last + stride, stride)})

    def weights(self, axis: int, starts: Sequence[int]) -> NDArray[np.float32]:
        """Return how much each tile counts along one axis, ``(tiles, tile)``.

        They fall linearly towards the ends of a tile, where the network sees little of what is
        around, and those of all tiles at a place add up to 1.
        """
        size, tile = self.shape[axis], min(self.tile[axis], self.shape[axis])
        ramp = max(1, math.ceil(self.overlap * tile))
        there = np.arange(tile) + 0.5
        window = np.minimum(1.0, np.minimum(there, tile - there) / ramp)
        total = np.zeros(size)
        for start in starts:
            total[start : start + tile] += window
        return np.stack([window / total[s : s + tile] for s in starts]).astype(np.float32)


def shift_at(number: int) -> float:
    """Return how far the grid of tiles is moved at a step; near steps are far from each other.

    Examples
    --------
    >>> [round(shift_at(n), 2) for n in range(4)]
    [0.0, 0.62, 0.24, 0.85]
    """
    return number * _GOLDEN % 1.0


@torch.no_grad()
def sample_tiled(
    predict: PredictTiles,
    grid: TileGrid,
    schedule: NoiseSchedule,
    *,
    sampler: SamplerName = "ddpm",
    steps: int = 250,
    variance: Variance = "large",
    seed: Sequence[int] = (0,),
    clip: float | None = None,
    start: Tensor | None = None,
    start_level: float = 1.0,
    batch_size: int = 8,
    on_step: OnStep | None = None,
) -> Tensor:
    """Draw one image in overlapping tiles, what the network says of them blended at every step.

    There is one image and one field of noise; of tiles there is only what the network says,
    blended with weights that add up to 1 [1]_. (To blend noise that is drawn for each tile would
    weaken the grain where they overlap.) The grid is moved from step to step, so that no
    place is at the end of a tile all the time [2]_. The image is worked on from the top down: what
    is held beside it are the tiles of one row, and one more image for ``"dpm"``.

    Parameters
    ----------
    predict
        The network, with all that it is told of a tile.
    grid
        Size of the image and its tiles.
    schedule
        Schedule that the network was trained with.
    sampler, steps, variance, clip, on_step
        See :func:`everhart.synthesize.samplers.sample`.
    seed
        Of all noise.
    start
        Image ``(H, W)`` to start from instead of noise; it is changed in place.
    start_level
        With `start`: part of the way to pure noise that it is noised by [3]_, 0 to 1. The steps
        before are left out.
    batch_size
        Tiles that the network sees at once.

    Returns
    -------
    Tensor
        The image ``(H, W)``.

    References
    ----------
    .. [1] O. Bar-Tal et al., "MultiDiffusion: fusing diffusion paths for controlled image
       generation", ICML 2023, equation 5.
    .. [2] S. Frolov et al., "SpotDiffusion: a fast approach for seamless panorama generation
       over time", 2024, arXiv:2407.15507.
    .. [3] C. Meng et al., "SDEdit: guided image synthesis and editing with stochastic
       differential equations", ICLR 2022.
    """
    if sampler not in SAMPLERS:
        raise unknown_name("sampler", str(sampler), SAMPLERS)
    field = NoiseField(seed, grid.shape[1])
    visited = schedule.visited(steps)
    if start is None:
        x = torch.empty(grid.shape)
        a, s = 0.0, 1.0
    else:
        if not 0 < start_level <= 1:
            raise UsageError(f"start_level = {start_level:g} was given: it is above 0, up to 1.")
        x = start
        visited = schedule.visited(steps, below=start_level)
        if not len(visited):
            raise UsageError(
                f"start_level = {start_level:g} leaves none of {steps} steps: give more of either."
            )
        a, s = schedule.level(int(visited[0]))
    for top in range(0, grid.shape[0], _BAND_ROWS):
        band = slice(top, min(top + _BAND_ROWS, grid.shape[0]))
        noise = s * field.rows(0, band.start, band.stop)
        x[band] = noise if start is None else a * x[band] + noise
    seen = torch.empty(grid.shape) if sampler == "dpm" else None
    older_t: int | None = None
    for number, (t, before) in enumerate(pairs_of_steps(visited)):
        shift = shift_at(number)
        for top, said in _blended(predict, grid, x, t, shift, batch_size):
            rows = slice(top, top + len(said))
            part = x[rows][None, None]
            x0, noise_seen = held(part, said[None, None], schedule, t, clip)

            def fresh(like: Tensor, top: int = top, number: int = number) -> Tensor:
                height, width = like.shape[-2:]
                # A part that is wider than the image is what noise with a spectrum is made of.
                of = field if width == field.width else NoiseField((*seed, 1), width)
                return of.rows(1 + number, top, top + height)[None, None]

            if sampler == "ddpm":
                part = ddpm_step(part, x0, schedule, t, before, fresh, variance=variance)
            elif sampler == "ddim":
                part = ddim_step(x0, noise_seen, schedule, t, before, 0.0, None)
            else:
                assert seen is not None
                older = None if older_t is None else (older_t, seen[rows][None, None])
                part = dpm_step(part, x0, schedule, t, before, older)
                seen[rows] = x0[0, 0]
            x[rows] = part[0, 0]
        older_t = t
        if on_step is not None:
            on_step(number + 1, len(visited))
    return x


def _blended(
    predict: PredictTiles, grid: TileGrid, x: Tensor, t: int, shift: float, batch_size: int
) -> Iterator[tuple[int, Tensor]]:
    """Yield what the network says of the image, some rows at a time from the top, and their first.

    Rows that were yielded are not read again: the image can be changed there.
    """
    tops, lefts = grid.starts(0, shift), grid.starts(1, shift)
    down, across = (torch.from_numpy(grid.weights(n, s)) for n, s in enumerate((tops, lefts)))
    height, width = down.shape[1], across.shape[1]
    said = torch.zeros(height, grid.shape[1])
    for row, top in enumerate(tops):
        for first in range(0, len(lefts), batch_size):
            some = range(first, min(first + batch_size, len(lefts)))
            windows = [slice(lefts[n], lefts[n] + width) for n in some]
            tiles = torch.stack([x[top : top + height, window][None] for window in windows])
            at = torch.full((len(tiles),), t, dtype=torch.long)
            answers = predict(tiles, at, [(top, window.start) for window in windows])
            for n, window, answer in zip(some, windows, answers[:, 0], strict=True):
                said[:, window] += down[row][:, None] * across[n] * answer
        done = (tops[row + 1] if row + 1 < len(tops) else grid.shape[0]) - top
        yield top, said[:done]
        said = torch.cat([said[done:], torch.zeros(done, grid.shape[1])])

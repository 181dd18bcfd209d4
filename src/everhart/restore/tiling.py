"""Tiles with a halo, and the plan that covers an image with them."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from everhart.errors import UsageError


@dataclass(frozen=True)
class Tile:
    """One tile: what is computed, and the part of it that is kept.

    Parameters
    ----------
    window
        Rows and columns of the padded image that go through the network.
    core
        Rows and columns of the padded image that are kept.
    """

    window: tuple[slice, slice]
    core: tuple[slice, slice]

    @property
    def keep(self) -> tuple[slice, slice]:
        """The core, counted from the corner of the window."""
        rows, columns = (
            slice(c.start - w.start, c.stop - w.start)
            for c, w in zip(self.core, self.window, strict=True)
        )
        return rows, columns


def plan_tiles(
    shape: tuple[int, int], *, halo: int, stride: int, max_window_pixels: int
) -> Iterator[Tile]:
    """Cover an image with tiles.

    Every window starts and ends at a multiple of `stride`, as the pooling grid of the
    untiled network does, and reaches at least `halo` beyond its core or to the image's end:
    then a tile's core has the values that it has untiled.

    Parameters
    ----------
    shape
        Height and width of the padded image, multiples of `stride`.
    halo
        Receptive radius of the network in pixels.
    stride
        Grid of the network's coarsest level.
    max_window_pixels
        Largest window, in pixels; at least one grid cell a tile is computed even where the
        halo alone exceeds it.

    Yields
    ------
    Tile
        Tiles whose cores cover the image once.

    Examples
    --------
    >>> [t.core for t in plan_tiles((32, 64), halo=8, stride=16, max_window_pixels=32 * 64)]
    [(slice(0, 32, None), slice(0, 64, None))]
    """
    if any(n % stride or n <= 0 for n in shape):
        raise UsageError(f"A padded shape {shape} was given: it must be a multiple of {stride}.")
    halo = -(-halo // stride) * stride
    height, width = shape
    core_height, core_width = _core_size(height, width, halo, stride, max_window_pixels)
    for top in range(0, height, core_height):
        for left in range(0, width, core_width):
            bottom, right = min(top + core_height, height), min(left + core_width, width)
            yield Tile(
                window=(
                    slice(max(0, top - halo), min(height, bottom + halo)),
                    slice(max(0, left - halo), min(width, right + halo)),
                ),
                core=(slice(top, bottom), slice(left, right)),
            )


def _core_size(height: int, width: int, halo: int, stride: int, limit: int) -> tuple[int, int]:
    """Choose the split into equal cores that computes the fewest pixels within the limit."""
    best: tuple[int, int, int] | None = None
    for n_columns in range(1, width // stride + 1):
        core_width = _ceil_to(width / n_columns, stride)
        window_width = min(width, core_width + 2 * halo)
        n_rows = 1
        core_height = height
        while window_width * min(height, core_height + 2 * halo) > limit and core_height > stride:
            n_rows += 1
            core_height = _ceil_to(height / n_rows, stride)
        cost = _covered(width, core_width, halo) * _covered(height, core_height, halo)
        fits = window_width * min(height, core_height + 2 * halo) <= limit
        if fits and (best is None or cost < best[0]):
            best = (cost, core_height, core_width)
        if n_columns > 64 and best is not None:
            break
    return (best[1], best[2]) if best else (stride, stride)


def _covered(length: int, core: int, halo: int) -> int:
    """Sum of the windows' lengths along one axis."""
    return sum(
        min(length, start + core + halo) - max(0, start - halo) for start in range(0, length, core)
    )


def _ceil_to(length: float, stride: int) -> int:
    return int(-(-length // stride)) * stride

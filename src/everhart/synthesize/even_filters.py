"""Small filters that are even along both axes: by their response, and fitted to images."""

from __future__ import annotations

from functools import lru_cache
from typing import Final

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional as F

__all__ = [
    "BANDS",
    "CELLS",
    "REACH_PX",
    "cell_power",
    "filtered",
    "fitted_filters",
    "mean_over_frequencies",
    "within_reach",
]

Float = NDArray[np.float64]

REACH_PX: Final = 8
"""A filter is a sum over pixels up to so many away."""

CELLS: Final = REACH_PX + 1
"""A response has values at so many frequencies, 0 to 0.5 a pixel, along each axis."""

_FINE_CELL, _FINEST_CELL = 4, 7
"""From 0.25 a pixel on there are no shapes; from there to 0.44 what is coarse goes over into
grain."""

_FLOOR = 1e-6
_LIKELY = 0.3
"""Standard deviation of a factor before anything is measured: what images say of it counts for as
much as it is surer than this."""

_TILE_PX = 128
"""Edge of the tiles in which filters are fitted to larger images."""


def within_reach(images: Tensor) -> Tensor:
    """Return images ``(N, C, H, W)`` continued at their borders by the reach of a filter."""
    # Reflection keeps grain as strong at the border, but needs more pixels than it adds.
    mode = "reflect" if min(images.shape[-2:]) > REACH_PX else "replicate"
    return F.pad(images, (REACH_PX,) * 4, mode=mode)


def filtered(wide: Tensor, response: Float) -> Tensor:
    """Return what is left within the borders of images that are filtered.

    Parameters
    ----------
    wide
        Images ``(N, C, H + 16, W + 16)``.
    response
        Of the filter, at frequencies n / 16 along each axis, ``(9, 9)``.

    Returns
    -------
    Tensor
        ``(N, C, H, W)``.
    """
    size = wide.shape[-2:]
    kernel = torch.from_numpy(_kernel(response)).to(wide)
    # What comes from beyond a border comes from the opposite one, and is cut off.
    spectrum = torch.fft.rfft2(wide) * torch.fft.rfft2(kernel, s=size)
    found: Tensor = torch.fft.irfft2(spectrum, s=size)
    return found[..., 2 * REACH_PX :, 2 * REACH_PX :]


def cell_power(one: Float, two: Float) -> Float:
    """Return the mean cross power of images in cells around the frequencies n / 16, ``(9, 9)``.

    Images fade out at their borders: what is cut off there would have all frequencies.
    """
    return _in_cells(_cross_power(one, two))


def mean_over_frequencies(response: Float) -> float:
    """Return the mean over all frequencies of a response at 0 to 0.5 along each axis."""
    # All but the ends stand for a frequency and its negative.
    weights = np.full(CELLS, 2.0)
    weights[[0, -1]] = 1
    return float(np.average(response, weights=np.outer(weights, weights)))


def fitted_filters(wanted: Float, first: Float, second: Float, known_cells: int) -> list[Float]:
    """Return filters whose sum, of two kinds of images, is nearest to what is wanted.

    By least squares over all frequencies, each counting for as much as it is sure; what few images
    do not say stays near to nothing.

    Parameters
    ----------
    wanted, first, second
        Images ``(N, C, H, W)``; the mean of each does not count.
    known_cells
        The filters are to give nothing at frequencies below this cell along both axes.

    Returns
    -------
    list of ndarray
        Two responses ``(9, 9)``.
    """
    wanted, first, second = (_tiles(images) for images in (wanted, first, second))
    shape = wanted.shape[-2:]
    power = np.maximum(_in_cells(_cross_power(wanted, wanted)), _FLOOR)
    cells = [np.rint(np.fft.rfftfreq(n) * 2 * REACH_PX).astype(int) for n in shape]
    # As sure as the scatter of what is wanted allows: a bright frequency is not more to be trusted.
    weight = _multiplicity(shape) / power[np.ix_(*cells)]
    parts = (first, second)
    own = [[_folded(_cross_power(one, two)) * weight for two in parts] for one in parts]
    cross = [_folded(_cross_power(wanted, one)) * weight for one in parts]
    is_known = np.logical_and.outer(*(cell < known_cells for cell in cells))
    number = np.arange(CELLS)
    free = ~np.logical_and.outer(number < known_cells, number < known_cells).ravel()
    basis = np.einsum("yi,xj->yxij", *(_responses(n) for n in shape))
    basis = basis.reshape(-1, CELLS**2)[:, free]
    left = np.block(
        [[basis.T @ (basis * spectrum.reshape(-1, 1)) for spectrum in row] for row in own]
    )
    left += np.eye(len(left)) / (len(wanted) * _LIKELY**2)
    right = np.concatenate(
        [basis.T @ np.where(is_known, 0, spectrum).ravel() for spectrum in cross]
    )
    found = np.zeros((2, CELLS**2))
    found[:, free] = np.linalg.solve(left, right).reshape(2, -1)
    return list(found.reshape(2, CELLS, CELLS))


def _tiles(images: Float) -> Float:
    """Return large images in tiles ``(N, H, W)``, less the mean of each.

    More frequencies than those of a tile say nothing more of filters as small as these.
    """
    height, width = (min(n, _TILE_PX) for n in images.shape[-2:])
    flat = images.reshape(-1, *images.shape[-2:])
    rows, columns = (n // m for n, m in zip(images.shape[-2:], (height, width), strict=True))
    cut = flat[:, : rows * height, : columns * width]
    cut = cut.reshape(len(flat), rows, height, columns, width).swapaxes(2, 3)
    tiles = cut.reshape(-1, height, width)
    return np.asarray(tiles - tiles.mean(axis=(-2, -1), keepdims=True))


def _cross_power(one: Float, two: Float) -> Float:
    """Return the mean cross power at each frequency, ``(H, W)``."""
    height, width = one.shape[-2:]
    window = np.outer(_fading(height), _fading(width))
    window /= np.sqrt(np.mean(window**2))
    first, second = (np.fft.fft2(window * image) for image in (one, two))
    spectrum: Float = (first * second.conj()).real / (height * width)
    return np.asarray(spectrum.reshape(-1, height, width).mean(axis=0))


def _in_cells(spectrum: Float) -> Float:
    rows, columns = (
        np.rint(np.abs(np.fft.fftfreq(n)) * 2 * REACH_PX).astype(int) for n in spectrum.shape
    )
    cell = (rows[:, None] * CELLS + columns).ravel()
    count = np.bincount(cell, minlength=CELLS**2)
    total = np.bincount(cell, spectrum.ravel(), minlength=CELLS**2)
    mean = np.where(count > 0, total / np.maximum(count, 1), total.sum() / count.sum())
    return np.asarray(mean.reshape(CELLS, CELLS), np.float64)


def _folded(spectrum: Float) -> Float:
    """Return the mean over both signs of the frequencies along each axis."""
    for axis in (0, 1):
        n = spectrum.shape[axis]
        number = np.arange(n // 2 + 1)
        spectrum = (spectrum.take(number, axis) + spectrum.take(-number % n, axis)) / 2
    return spectrum


def _multiplicity(shape: tuple[int, ...]) -> Float:
    """Return how many frequencies each of the folded ones stands for."""
    return np.asarray(
        np.multiply.outer(
            *(np.bincount(np.minimum(np.arange(n), n - np.arange(n))) for n in shape)
        ),
        np.float64,
    )


@lru_cache(maxsize=16)
def _responses(size: int) -> Float:
    """Return what filters along one axis give at the frequencies of `size` pixels.

    ``(frequencies, 9)``: a filter that is 1 at one of its nine frequencies and 0 at the others.
    """
    found = []
    for unit in np.eye(CELLS):
        kernel = _kernel_along(unit)
        offset = np.arange(-REACH_PX, REACH_PX + 1)
        waves = np.cos(2 * np.pi * np.fft.rfftfreq(size)[:, None] * offset)
        found.append(waves @ kernel)
    return np.stack(found, axis=1)


def _kernel_along(response: Float) -> Float:
    """Return the symmetric filter ``(17,)`` of a response at 0 to 0.5 along an axis."""
    periodic = np.fft.fftshift(np.fft.ifft(np.concatenate([response, response[-2:0:-1]])).real)
    # The two ends of a period are one place, and share what belongs there.
    kernel = np.append(periodic, periodic[0])
    kernel[[0, -1]] /= 2
    return kernel


def _kernel(response: Float) -> NDArray[np.float32]:
    """Return the symmetric filter ``(17, 17)`` of a response at 0 to 0.5 along each axis."""
    along = np.apply_along_axis(_kernel_along, 0, response)
    return np.apply_along_axis(_kernel_along, 1, along).astype(np.float32)


def _fading(size: int) -> Float:
    """Return 1, and half a wave to 0 at both ends."""
    reach = min(REACH_PX, size // 4)
    rise = 0.5 - 0.5 * np.cos(np.pi * (np.arange(reach) + 0.5) / max(reach, 1))
    return np.concatenate([rise, np.ones(size - 2 * reach), rise[::-1]])


def _bands() -> tuple[Float, Float]:
    cell = np.hypot(*np.mgrid[:CELLS, :CELLS])
    way = ((cell - _FINE_CELL) / (_FINEST_CELL - _FINE_CELL)).clip(0, 1)
    fine = 0.5 - 0.5 * np.cos(np.pi * way)
    return 1 - fine, fine


BANDS: Final = _bands()
"""Responses of what is coarse and of grain: together they are 1."""

"""BM3D: collaborative filtering of groups of blocks that look alike."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from functools import cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

__all__ = ["bm3d"]

Float32 = NDArray[np.float32]

_STEP = 3
"""Pixels from one reference block to the next."""

_STRIP = 96
"""Rows of reference blocks that are worked on together."""


@dataclass(frozen=True)
class _Stage:
    """One of the two passes."""

    wiener: bool
    most: int
    limit: float  # largest mean squared difference of a pixel of two blocks, in noise variances
    strength: float
    reach: int = 19  # radius of the search in pixels: windows of 39 x 39 as in the paper


_HARD = _Stage(wiener=False, most=16, limit=8.0, strength=2.7)
_WIENER = _Stage(wiener=True, most=32, limit=5.0, strength=1.0)

# Correlated noise averages out more slowly, and more of it stays in the first estimate: larger
# groups and a stronger second pass. A strength of 1.5 loses 0.05 to 0.2 dB wherever there is
# texture, and gains 0.1 dB on smooth pictures under isotropic noise.
_HARD_CORRELATED = replace(_HARD, most=32)
_WIENER_CORRELATED = replace(_WIENER, strength=1.25)

_NEAR = 13
"""Radius of the search where blocks would else look alike by chance, in pixels."""

_FEW = 40.0
"""So many independent values of noise in a block of 64 are few.

The fewer they are, the more of the 1,521 blocks around resemble one for their noise alone, and
that noise is then kept. A nearer search has half as many to choose from. It gains 0.1 to 0.7 dB on
smooth pictures with less than 40 (isotropic noise, long tails along the scan line), costs 0.15 to
0.35 dB on fine patterns, and brings nothing with more (the scan line of `tin-balls` has 45).
"""

_ALIKE = 0.2
"""Largest mean squared difference in the second pass, in variances of the picture.

The paper has a limit in grey levels, 400 of 255 squared, whatever the noise: what two blocks may
differ by is a matter of the picture's contrast. In noise variances it is 4 at a sigma of 10 and
0.6 at 25; a limit fixed in those loses 0.1 dB at the one end and 0.2 dB at the other.
"""

_LEAST_ALIKE = 0.3  # ... but at least this, in noise variances


def bm3d(
    image: Float32,
    covariance: NDArray[np.floating[Any]] | None = None,
    *,
    strength: float = 1.0,
    workers: int = 1,
) -> Float32:
    """Denoise an image whose noise has variance 1.

    Blocks that look alike are stacked and filtered together in a 3-D transform: in a first
    pass coefficients below a threshold are cut, in a second one they are weighted by the
    spectrum of the first result (Dabov et al. [1]_). For correlated noise the variance of each
    coefficient is computed from the noise's covariance, with the overlap of a group's blocks in
    it, and blocks are not held to be alike for the noise that they share (Makinen et al. [2]_).

    Parameters
    ----------
    image
        Image ``(H, W)``, at least 8 x 8, with noise of variance 1.
    covariance
        Autocovariance of the noise, ``(2 r + 1, 2 s + 1)``, the variance in the middle; None for
        white noise.
    strength
        Factor of the noise's standard deviation that is taken out.
    workers
        Number of threads.

    Returns
    -------
    ndarray of float32
        The denoised image.

    References
    ----------
    .. [1] K. Dabov, A. Foi, V. Katkovnik, K. Egiazarian, "Image denoising by sparse 3-D
       transform-domain collaborative filtering", IEEE TIP 16 (2007), 2080-2095.
    .. [2] Y. Makinen, L. Azzari, A. Foi, "Collaborative filtering of correlated noise: exact
       transform-domain variance for improved shrinkage and patch matching", IEEE TIP 29 (2020),
       8339-8354.
    """
    image = np.ascontiguousarray(image, np.float32)
    white = covariance is None
    noise = np.ones((1, 1)) if covariance is None else np.asarray(covariance, np.float64)
    hard, wiener = (_HARD, _WIENER) if white else (_HARD_CORRELATED, _WIENER_CORRELATED)
    if _independent_values(noise) < _FEW:
        hard, wiener = replace(hard, reach=_NEAR), replace(wiener, reach=_NEAR)
    noise = noise * strength**2
    basic = _pass(image, image, hard, noise, white, workers)
    variance = float(noise[noise.shape[0] // 2, noise.shape[1] // 2])
    alike = max(_ALIKE * float(basic.var(dtype=np.float64)) / variance, _LEAST_ALIKE)
    wiener = replace(wiener, limit=min(wiener.limit, alike))
    return _pass(image, basic, wiener, noise, white, workers)


def _independent_values(covariance: NDArray[np.floating[Any]]) -> float:
    """Return how many independent values the noise of a block of 8 x 8 amounts to, at most 64.

    The square of the trace of the block's covariance matrix over the trace of its square: so many
    equal and independent ones would have the same spread of their sum of squares.

    Parameters
    ----------
    covariance
        Autocovariance of the noise, ``(2 r + 1, 2 s + 1)``, the variance in the middle.
    """
    from everhart.restore._bm3d_kernels import BLOCK

    lags = [np.arange(n) - n // 2 for n in covariance.shape]
    pairs = [np.maximum(BLOCK - np.abs(lag), 0) for lag in lags]
    middle = float(covariance[covariance.shape[0] // 2, covariance.shape[1] // 2])
    squares = float(np.sum(np.outer(*pairs) * np.square(covariance, dtype=np.float64)))
    return (BLOCK * BLOCK * middle) ** 2 / squares


def _pass(
    image: Float32,
    pilot: Float32,
    stage: _Stage,
    noise: NDArray[np.float64],
    white: bool,
    workers: int,
) -> Float32:
    """Run one pass over the image, strip by strip."""
    from everhart.restore._bm3d_kernels import BLOCK, MARGIN, filter_rows

    forward, inverse = _cosine() if stage.wiener else _biorthogonal()
    table = _coefficient_covariance(noise, forward, white)
    rows, columns = (_corners(n - BLOCK) for n in image.shape)
    total, weights = np.zeros_like(image), np.zeros_like(image)
    window = np.outer(np.kaiser(BLOCK, 2.0), np.kaiser(BLOCK, 2.0)).astype(np.float32)
    limit = stage.limit * BLOCK * BLOCK * float(noise[noise.shape[0] // 2, noise.shape[1] // 2])

    # Blocks that lie close share their noise and look alike for that alone. With twice the
    # covariance added, the noise's share in the distance is the same wherever a block lies; in the
    # second pass the pilot has little noise left.
    shared = np.zeros((1, 1), np.float32)
    if not stage.wiener and not white:
        shared = (2 * BLOCK * BLOCK * noise).astype(np.float32)

    pilot = np.pad(pilot, ((0, 0), (0, MARGIN)), mode="edge")

    def strip(part: NDArray[np.int64]) -> tuple[int, Float32, Float32]:
        top = max(0, int(part[0]) - stage.reach)
        bottom = min(image.shape[0], int(part[-1]) + stage.reach + BLOCK)
        sums = np.zeros((2, bottom - top, image.shape[1]), np.float32)
        filter_rows(
            image, pilot, stage.wiener, part, columns, stage.reach, stage.most, limit, shared,
            stage.strength, forward, inverse, table, not white, window, sums[0], sums[1], top,
        )  # fmt: skip
        return top, sums[0], sums[1]

    parts = [
        rows[start : start + _STRIP // _STEP] for start in range(0, len(rows), _STRIP // _STEP)
    ]
    with ThreadPoolExecutor(workers) as pool:
        # In order, so that the sums are the same whatever the number of threads.
        for top, part_total, part_weights in pool.map(strip, parts):
            total[top : top + len(part_total)] += part_total
            weights[top : top + len(part_total)] += part_weights
    return total / weights


def _corners(last: int) -> NDArray[np.int64]:
    """Return every third corner, and the last one."""
    return np.unique(np.append(np.arange(0, last + 1, _STEP), last)).astype(np.int64)


def _coefficient_covariance(noise: NDArray[np.float64], forward: Float32, white: bool) -> Float32:
    """Return the covariance of the 2-D coefficients of two blocks by their distance.

    ``out[r + dy, r + dx, c, a]`` for the coefficient (a, c), as blocks are transposed once; for
    white noise only that of a block with itself.
    """
    size = forward.shape[0]
    matrix = forward.astype(np.float64)
    # Autocorrelation of each basis function, lags -7 to 7.
    lags = np.stack([np.correlate(row, row, "full") for row in matrix])
    ry, rx = noise.shape[0] // 2, noise.shape[1] // 2
    reach = 0 if white else size - 1 + max(ry, rx)
    span = reach + size - 1
    field = np.zeros((2 * span + 1, 2 * span + 1))
    cut_y, cut_x = min(ry, span), min(rx, span)
    field[span - cut_y : span + cut_y + 1, span - cut_x : span + cut_x + 1] = noise[
        ry - cut_y : ry + cut_y + 1, rx - cut_x : rx + cut_x + 1
    ]
    windows = np.lib.stride_tricks.sliding_window_view(field, (2 * size - 1, 2 * size - 1))
    table = np.einsum("au,yxuv,cv->yxca", lags, windows, lags, optimize=True)
    return np.ascontiguousarray(table, np.float32)


@cache
def _cosine() -> tuple[Float32, Float32]:
    from scipy.fft import dct

    matrix = dct(np.eye(8), axis=0, norm="ortho")
    return _pair(matrix)


@cache
def _biorthogonal() -> tuple[Float32, Float32]:
    """Return bior1.5 over 8 samples, periodic, rows of unit norm, and its inverse."""
    import pywt

    columns = []
    for unit in np.eye(8):
        details: list[NDArray[np.float64]] = []
        rest = unit
        for _ in range(3):
            rest, detail = pywt.dwt(rest, "bior1.5", mode="periodization")
            details.insert(0, detail)
        columns.append(np.concatenate([rest, *details]))
    matrix = np.stack(columns, axis=1)
    return _pair(matrix / np.linalg.norm(matrix, axis=1, keepdims=True))


def _pair(matrix: NDArray[np.float64]) -> tuple[Float32, Float32]:
    inverse = np.linalg.inv(matrix)
    return np.ascontiguousarray(matrix, np.float32), np.ascontiguousarray(inverse, np.float32)

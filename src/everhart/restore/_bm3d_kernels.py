"""The inner loops of BM3D, compiled for the processor at their first use.

Everything is float32. A group is an array ``(8, 8 K)``: the first rows of K blocks one after the
other, then their second rows, so that all transforms run along contiguous memory.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar, cast

import numpy as np
from numba import njit
from numpy.typing import NDArray

__all__ = ["BLOCK", "MARGIN", "filter_rows"]

BLOCK = 8
"""Edge of a block in pixels."""

MARGIN = 16
"""Columns that the pilot has more than the image on its right, of any finite value."""

_LANES = 8

Float32 = NDArray[np.float32]

_F = TypeVar("_F", bound=Callable[..., Any])


def _compiled(function: _F) -> _F:
    """Compile at the first call; keep the machine code in a file, if there is a place for one."""
    try:
        return cast("_F", njit(function, nogil=True, fastmath=True, boundscheck=False, cache=True))
    except RuntimeError:
        # Neither the package's folder nor the user's may be written to, as in some containers:
        # every process compiles for itself.
        return cast("_F", njit(function, nogil=True, fastmath=True, boundscheck=False))


@_compiled
def _match(
    image: Float32,
    y: int,
    x: int,
    reach: int,
    most: int,
    limit: float,
    shared: Float32,
    places: NDArray[np.int64],
    distances: Float32,
    line: Float32,
) -> int:
    """Find the blocks that are most like the one at (y, x); return their number, a power of 2.

    ``places[k]`` are their corners, the block itself first. ``shared[r + dy, s + dx]`` is added to
    the squared distance of a block that lies (dy, dx) away: what their noise has in common.
    """
    height, width = image.shape[0], image.shape[1] - MARGIN
    top, bottom = max(0, y - reach), min(height - BLOCK, y + reach)
    left, right = max(0, x - reach), min(width - BLOCK, x + reach)
    lanes = right - left + 1
    wide = (lanes + _LANES - 1) // _LANES * _LANES  # whole vectors; the columns behind are mirrored
    places[0, 0], places[0, 1] = y, x
    distances[0] = np.float32(-1.0)
    found = 1
    worst = np.float32(limit)
    for row in range(top, bottom + 1):
        for k in range(wide):
            line[k] = np.float32(0.0)
        for i in range(BLOCK):
            v0, v1, v2, v3 = (
                image[y + i, x],
                image[y + i, x + 1],
                image[y + i, x + 2],
                image[y + i, x + 3],
            )
            v4, v5, v6, v7 = (
                image[y + i, x + 4],
                image[y + i, x + 5],
                image[y + i, x + 6],
                image[y + i, x + 7],
            )
            along = image[row + i, left:]
            for k in range(wide):  # one whole line of candidates at a time
                line[k] += (
                    (along[k] - v0) ** 2
                    + (along[k + 1] - v1) ** 2
                    + (along[k + 2] - v2) ** 2
                    + (along[k + 3] - v3) ** 2
                    + (along[k + 4] - v4) ** 2
                    + (along[k + 5] - v5) ** 2
                    + (along[k + 6] - v6) ** 2
                    + (along[k + 7] - v7) ** 2
                )
        above, aside = shared.shape[0] // 2, shared.shape[1] // 2
        if abs(row - y) <= above:
            for dx in range(max(-aside, left - x), min(aside, right - x) + 1):
                line[x + dx - left] += shared[above + row - y, aside + dx]
        for k in range(lanes):
            distance = line[k]
            if distance >= worst or (row == y and left + k == x):
                continue
            at = found if found < most else most - 1
            while at > 1 and distances[at - 1] > distance:
                distances[at] = distances[at - 1]
                places[at, 0], places[at, 1] = places[at - 1, 0], places[at - 1, 1]
                at -= 1
            distances[at] = distance
            places[at, 0], places[at, 1] = row, left + k
            if found < most:
                found += 1
            if found == most:
                worst = distances[most - 1]
    number = 1
    while 2 * number <= found:
        number *= 2
    return number


@_compiled
def _gather(image: Float32, places: NDArray[np.int64], number: int, group: Float32) -> None:
    for i in range(BLOCK):
        for k in range(number):
            row, column = places[k, 0] + i, places[k, 1]
            for j in range(BLOCK):
                group[i, k * BLOCK + j] = image[row, column + j]


@_compiled
def _product(matrix: Float32, source: Float32, lanes: int, out: Float32) -> None:
    """Multiply the first axis by an 8 x 8 matrix, for all lanes at once."""
    for a in range(BLOCK):
        m0, m1, m2, m3 = matrix[a, 0], matrix[a, 1], matrix[a, 2], matrix[a, 3]
        m4, m5, m6, m7 = matrix[a, 4], matrix[a, 5], matrix[a, 6], matrix[a, 7]
        for k in range(lanes):
            out[a, k] = (
                m0 * source[0, k]
                + m1 * source[1, k]
                + m2 * source[2, k]
                + m3 * source[3, k]
                + m4 * source[4, k]
                + m5 * source[5, k]
                + m6 * source[6, k]
                + m7 * source[7, k]
            )


@_compiled
def _transpose(source: Float32, number: int, out: Float32) -> None:
    """Swap the two axes of each block."""
    for i in range(BLOCK):
        for k in range(number):
            for j in range(BLOCK):
                out[j, k * BLOCK + i] = source[i, k * BLOCK + j]


@_compiled
def _transform(matrix: Float32, group: Float32, number: int, buffer: Float32) -> None:
    """Apply ``matrix @ block @ matrix.T`` to each block and transpose it, in place."""
    lanes = number * BLOCK
    _product(matrix, group, lanes, buffer)
    _transpose(buffer, number, group)
    _product(matrix, group, lanes, buffer)
    for i in range(BLOCK):
        for k in range(lanes):
            group[i, k] = buffer[i, k]


@_compiled
def _haar(group: Float32, number: int, buffer: Float32) -> None:
    """Haar transform along the blocks of a group, in place: the mean first, then details."""
    root = np.float32(np.sqrt(0.5))
    for i in range(BLOCK):
        length = number
        while length > 1:
            half = length // 2
            for k in range(half):
                for j in range(BLOCK):
                    first = group[i, 2 * k * BLOCK + j]
                    second = group[i, (2 * k + 1) * BLOCK + j]
                    buffer[i, k * BLOCK + j] = (first + second) * root
                    buffer[i, (half + k) * BLOCK + j] = (first - second) * root
            for k in range(length * BLOCK):
                group[i, k] = buffer[i, k]
            length = half


@_compiled
def _inverse_haar(group: Float32, number: int, buffer: Float32) -> None:
    root = np.float32(np.sqrt(0.5))
    for i in range(BLOCK):
        length = 2
        while length <= number:
            half = length // 2
            for k in range(half):
                for j in range(BLOCK):
                    mean = group[i, k * BLOCK + j]
                    detail = group[i, (half + k) * BLOCK + j]
                    buffer[i, 2 * k * BLOCK + j] = (mean + detail) * root
                    buffer[i, (2 * k + 1) * BLOCK + j] = (mean - detail) * root
            for k in range(length * BLOCK):
                group[i, k] = buffer[i, k]
            length *= 2


@_compiled
def _variances(
    places: NDArray[np.int64], number: int, covariance: Float32, sums: Float32, out: Float32
) -> None:
    """Variance of every coefficient of a group, with the overlap of its blocks.

    ``covariance[reach + dy, reach + dx]`` is that of each 2-D coefficient of two blocks that
    lie (dy, dx) apart. The Haar coefficients are the inner nodes of a binary tree over the blocks,
    1 the root, 2 n and 2 n + 1 the halves of n: a coefficient of L blocks has 2 / L of what the
    pairs inside its halves have in common, less what the pairs across them have. So each pair is
    added once, to the node where its blocks part: in ``sums``, ``(most, 64)``.
    """
    reach = covariance.shape[0] // 2
    for node in range(number):
        for a in range(BLOCK * BLOCK):
            sums[node, a] = np.float32(0.0)
    for m in range(number):
        for n in range(m + 1, number):
            dy = places[n, 0] - places[m, 0]
            dx = places[n, 1] - places[m, 1]
            if abs(dy) > reach or abs(dx) > reach:
                continue
            node, other = number + m, number + n
            while node != other:
                node, other = node >> 1, other >> 1
            common = covariance[reach + dy, reach + dx].reshape(BLOCK * BLOCK)
            into = sums[node]
            for a in range(BLOCK * BLOCK):
                into[a] += common[a]
    alone = covariance[reach, reach]
    least = np.float32(1e-6)
    length, first = np.float32(2.0), number // 2  # from the lowest level of the tree up
    while first > 0:
        share = np.float32(2.0) / length
        for node in range(first, 2 * first):
            for i in range(BLOCK):
                for j in range(BLOCK):
                    a = i * BLOCK + j
                    inside = np.float32(0.0)
                    if 2 * node < number:
                        inside = sums[2 * node, a] + sums[2 * node + 1, a]
                    across = sums[node, a]
                    out[i, node * BLOCK + j] = max(alone[i, j] + share * (inside - across), least)
                    sums[node, a] = inside + across
        length, first = np.float32(2.0) * length, first // 2
    share = np.float32(2.0 / number)
    for i in range(BLOCK):
        for j in range(BLOCK):
            pairs = sums[1, i * BLOCK + j] if number > 1 else np.float32(0.0)
            out[i, j] = max(alone[i, j] + share * pairs, least)


@_compiled
def filter_rows(
    noisy: Float32,
    pilot: Float32,
    wiener: bool,
    rows: NDArray[np.int64],
    columns: NDArray[np.int64],
    reach: int,
    most: int,
    limit: float,
    shared: Float32,
    strength: float,
    forward: Float32,
    inverse: Float32,
    covariance: Float32,
    exact: bool,
    window: Float32,
    total: Float32,
    weights: Float32,
    first_row: int,
) -> None:
    """Filter the groups of the reference blocks at `rows` x `columns` and add them up.

    Parameters
    ----------
    noisy
        The image ``(H, W)``, with noise of variance 1.
    pilot
        Image ``(H, W + MARGIN)`` that blocks are matched on; in the Wiener stage
        also the estimate of the signal.
    wiener
        Whether coefficients are weighted by the pilot's, or cut at a threshold.
    rows, columns
        Corners of the reference blocks.
    reach, most, limit, shared
        Search radius in pixels, most blocks of a group, largest squared distance of 64 pixels, and
        what is added to it (see `_match`).
    strength
        Threshold in standard deviations, or the factor of the noise's variance.
    forward, inverse
        2-D transform of a block and its inverse, ``(8, 8)`` each.
    covariance, exact
        See `_variances`; without `exact`, blocks count as independent.
    window
        Weight of a block's pixels, ``(8, 8)``.
    total, weights
        Sums that are added to; their row 0 is row `first_row` of the image.
    """
    places = np.empty((most, 2), np.int64)
    distances = np.empty(most, np.float32)
    line = np.empty(2 * reach + 1 + _LANES, np.float32)
    group = np.empty((BLOCK, most * BLOCK), np.float32)
    guide = np.empty((BLOCK, most * BLOCK), np.float32)
    variance = np.empty((BLOCK, most * BLOCK), np.float32)
    buffer = np.empty((BLOCK, most * BLOCK), np.float32)
    sums = np.empty((most, BLOCK * BLOCK), np.float32)
    middle = covariance.shape[0] // 2
    for i in range(BLOCK):
        for k in range(most):
            for j in range(BLOCK):
                variance[i, k * BLOCK + j] = covariance[middle, middle, i, j]
    threshold = np.float32(strength * strength)
    factor = np.float32(strength)
    for y in rows:
        for x in columns:
            number = _match(pilot, y, x, reach, most, limit, shared, places, distances, line)
            lanes = number * BLOCK
            _gather(noisy, places, number, group)
            _haar(group, number, buffer)
            _transform(forward, group, number, buffer)
            if exact:
                _variances(places, number, covariance, sums, variance)
            kept = np.float32(0.0)
            if wiener:
                _gather(pilot, places, number, guide)
                _haar(guide, number, buffer)
                _transform(forward, guide, number, buffer)
                for i in range(BLOCK):
                    for k in range(lanes):
                        power = guide[i, k] * guide[i, k]
                        share = power / (power + factor * variance[i, k])
                        group[i, k] *= share
                        kept += share * share * variance[i, k]
            else:
                for i in range(BLOCK):
                    for k in range(lanes):
                        value = group[i, k]
                        keep = value * value > threshold * variance[i, k]
                        kept += variance[i, k] if keep else np.float32(0.0)
                        group[i, k] = value if keep else np.float32(0.0)
            _transform(inverse, group, number, buffer)
            _inverse_haar(group, number, buffer)
            weight = np.float32(1.0) / max(kept, np.float32(1e-3))
            for k in range(number):
                row, column = places[k, 0] - first_row, places[k, 1]
                for i in range(BLOCK):
                    for j in range(BLOCK):
                        share = weight * window[i, j]
                        total[row + i, column + j] += share * group[i, k * BLOCK + j]
                        weights[row + i, column + j] += share

"""What a periodic image shows where nothing is wrong: its own periods, laid on one another."""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from everhart.measure._filtered import blurred, shrunk
from everhart.measure._period import Period
from everhart.measure._presence import mask_of_shape, presence

__all__ = ["Folded", "fold"]

Float = NDArray[np.float64]
Image = NDArray[np.float32]
Index = NDArray[np.int32]

_ROUNDS = 3  # of finding the distortion
_CLIP = 2.5  # standard deviations that a pixel may be away
_PASSES = 4
_FEWEST = 10  # pixels in a class
_LINE_STEP_PX = 0.5


@dataclass(frozen=True, eq=False)
class Folded:
    """An image and its reference.

    Parameters
    ----------
    period
        The waves after the fit.
    vectors_sd
        Standard deviation of each component of the periods, px.
    phase
        ``(n, H, W)``: place of each pixel in its period, in periods, growing over the image.
    cell
        The mean of all periods, ``(nv, nu)``; of lines ``(1, nu)``.
    reference
        What the image would be if all periods were alike, ``(H, W)``.
    inside
        Where there is the pattern, ``(H, W)`` bool.
    distortion_px
        Root mean square of the displacement that was fitted beyond a lattice.
    """

    period: Period
    vectors_sd: Float
    phase: Image
    cell: Image
    reference: Image
    inside: NDArray[np.bool_]
    distortion_px: float

    def classes(self, step_px: float) -> tuple[Index, tuple[int, int]]:
        """Return numbers of the places in the period, in steps of about a length.

        Parameters
        ----------
        step_px
            Side of a class.

        Returns
        -------
        index : ndarray
            ``(H, W)`` int32.
        shape : tuple of int
            ``(nv, nu)``.
        """
        shape = _grid(self.period, step_px)
        return _classes(self.phase, shape), shape


def fold(image: Image, period: Period) -> Folded:
    """Lay all periods on one another.

    In turn the mean period is found (outliers held down, class by class of the place in it), and
    how far the image is displaced from the lattice: from the gradients of the mean, cell by
    cell, and through these a polynomial of second order. That honours drift, shear and slow
    distortion; what single features deviate is left.

    Parameters
    ----------
    image
        Image of shape ``(H, W)``, float32, without slow shading.
    period
        Its period.
    """
    height, width = image.shape
    scale = np.array([(height - 1) / 2, (width - 1) / 2])
    n = len(period.waves)
    # Displacement of the pattern, in px, over 1, y, x, y^2, x y, x^2 from -1 to 1.
    bend = np.zeros((6, 2))
    covariance = np.zeros((6, 6))
    # A million pixels tell the displacement, if they still show the pattern.
    factor = int(min(period.shortest_px / 12, np.sqrt(image.size / 1e6)))
    factor = max(factor, 1)
    small = shrunk(
        image[: height // factor * factor, : width // factor * factor],
        (height // factor, width // factor),
    )
    step = (_LINE_STEP_PX if n == 1 else 1.0) * np.array([factor, 1.0])
    inside = np.ones(small.shape, bool)
    for turn in range(_ROUNDS + 1):
        last = turn == _ROUNDS
        values, every = (image, 1) if last else (small, factor)
        if last:
            inside = mask_of_shape(inside, image.shape)
        grid = _grid(period, float(step[int(last)]))
        phase = _phases(period, bend, scale, values.shape, every)
        weight = None if inside.all() else inside
        cell = _mean_period(values, _classes(phase, grid), grid, weight)
        reference = _unfold(cell, phase)
        inside = presence(values, reference, period.shortest_px / every, fill=last, array=n == 2)
        if last:
            break
        blur = max(1.0, period.shortest_px / every / 10 / 2**turn)
        more, covariance = _displacement(values, reference, period, inside, blur, every)
        bend = bend + more
    # The linear part of the displacement belongs to the period.
    linear = bend[1:3].T / scale  # d(y, x) / d(y, x)
    waves = period.waves @ (np.eye(2) - linear)
    final = Period(np.asarray(waves, np.float64), period.correlation)
    slope_sd = np.sqrt(np.maximum(np.diag(covariance)[1:3], 0)) / scale
    vectors_sd = np.sqrt((np.square(final.vectors) @ np.square(slope_sd))[:, None] / 1.0)
    vectors_sd = np.repeat(vectors_sd, 2, axis=1)
    curved = np.concatenate([np.zeros((3, 2)), bend[3:]])
    y, x = (np.linspace(-1, 1, 9) for _ in range(2))
    shift = _basis(*np.meshgrid(y, x, indexing="ij")) @ curved
    rms = float(np.sqrt(np.mean(np.sum((shift - shift.mean(axis=(0, 1))) ** 2, axis=-1))))
    return Folded(final, vectors_sd, phase, cell, reference, inside, rms)


def _basis(y: Float, x: Float) -> Float:
    return np.stack([np.ones_like(y), y, x, y * y, x * y, x * x], axis=-1)


def _places(count: int, every: int, scale: float) -> Float:
    """Return where the pixels of an image that is shrunk by a factor are, from -1 to 1."""
    return np.asarray((every * np.arange(count) + (every - 1) / 2) / scale - 1, np.float64)


def _phases(period: Period, bend: Float, scale: Float, shape: tuple[int, ...], every: int) -> Image:
    """Return the place of each pixel in the period, in periods."""
    y = _places(shape[0], every, float(scale[0]))[:, None]
    x = _places(shape[1], every, float(scale[1]))[None, :]
    phase = np.empty((len(period.waves), *shape), np.float32)
    for k, wave in enumerate(period.waves):
        c = bend @ wave  # the pattern is displaced by it: the phase falls behind
        rows = wave[0] * scale[0] * y - c[0] - c[1] * y - c[3] * y * y
        columns = wave[1] * scale[1] * x - c[2] * x - c[5] * x * x
        np.add(rows.astype(np.float32), columns.astype(np.float32), out=phase[k])
        if c[4]:
            phase[k] += ((-c[4] * y).astype(np.float32)) * x.astype(np.float32)
    return phase


def _grid(period: Period, step_px: float) -> tuple[int, int]:
    """Return into how many classes a period is cut, along the second and the first vector."""
    lengths = np.hypot(*period.vectors.T)
    counts = [max(int(np.ceil(length / step_px)), 3) for length in lengths]
    return (1, counts[0]) if len(counts) == 1 else (counts[1], counts[0])


def _classes(phase: Image, shape: tuple[int, int]) -> Index:
    index = _one(phase[0], shape[1])
    if len(phase) == 2:
        index += shape[1] * _one(phase[1], shape[0])
    return index


def _one(phase: Image, count: int) -> Index:
    part = phase - np.floor(phase)
    part *= np.float32(count)
    return np.minimum(part.astype(np.int32), np.int32(count - 1))


def _mean_period(
    image: Image, index: Index, grid: tuple[int, int], inside: NDArray[np.bool_] | None
) -> Image:
    """Return the mean of each class, with pixels far from it moved nearer to it."""
    flat = index.ravel() if inside is None else index[inside]
    values = image.ravel() if inside is None else image[inside]
    size = grid[0] * grid[1]
    count = np.maximum(np.bincount(flat, minlength=size), 1)
    held = values
    for turn in range(_PASSES):
        mean = np.bincount(flat, held, size) / count
        if turn == _PASSES - 1:
            break
        away = held - mean.astype(np.float32)[flat]
        spread = np.sqrt(np.bincount(flat, away * away, size) / np.maximum(count - 1, 1))
        low = (mean - _CLIP * spread).astype(np.float32)[flat]
        high = (mean + _CLIP * spread).astype(np.float32)[flat]
        held = np.clip(values, low, high)
    cell = mean.reshape(grid)
    if (count.reshape(grid) < _FEWEST).any():
        # Few periods of a slanted pattern may leave classes empty: their neighbours tell.
        known = count.reshape(grid).astype(np.float64)
        blurred = _blur_cell(cell * known, 0.7) / np.maximum(_blur_cell(known, 0.7), 1e-9)
        cell = np.where(known < _FEWEST, blurred, cell)
    return np.asarray(cell, np.float32)


def _blur_cell(cell: Float, sigma: float) -> Float:
    from scipy.ndimage import gaussian_filter

    return np.asarray(
        gaussian_filter(cell, (sigma if cell.shape[0] > 1 else 0, sigma), mode="wrap")
    )


def _unfold(cell: Image, phase: Image) -> Image:
    """Return the image that repeats a period, interpolated linearly in it."""
    nv, nu = cell.shape
    padded = np.pad(cell, ((1, 1), (1, 1)), mode="wrap")
    x = (phase[0] - np.floor(phase[0])) * np.float32(nu) + np.float32(0.5)
    if len(phase) == 2:
        y = (phase[1] - np.floor(phase[1])) * np.float32(nv) + np.float32(0.5)
    else:
        y = np.ones_like(x)
    return np.asarray(cv2.remap(padded, x, y, cv2.INTER_LINEAR), np.float32)


def _displacement(
    image: Image,
    reference: Image,
    period: Period,
    inside: NDArray[np.bool_],
    blur: float,
    every: int,
) -> tuple[Float, Float]:
    """Fit how far the image is displaced from its reference, as a polynomial.

    Returns
    -------
    bend : ndarray
        ``(6, 2)`` coefficients, px.
    covariance : ndarray
        ``(6, 6)`` of the coefficients of one component.
    """
    lines = len(period.waves) == 1
    block = float(np.clip(period.shortest_px / every, 12, max(min(image.shape) / 4, 12)))
    smooth, ideal = (blurred(i, blur) for i in (image, reference))
    left = (smooth - ideal) * inside
    gy = np.asarray(cv2.Sobel(ideal, cv2.CV_32F, 0, 1, scale=1 / 8), np.float32)
    gx = np.asarray(cv2.Sobel(ideal, cv2.CV_32F, 1, 0, scale=1 / 8), np.float32)
    size = tuple(max(int(n // block), 3) for n in image.shape)

    def mean(values: Image) -> Float:
        return np.asarray(shrunk(values, size), np.float64).ravel()

    rows, columns = np.meshgrid(*((np.arange(n) + 0.5) / n * 2 - 1 for n in size), indexing="ij")
    basis = _basis(rows.ravel(), columns.ravel())
    there = mean(inside.astype(np.float32)) > 0.5
    if lines:
        across = period.waves[0] / np.hypot(*period.waves[0])
        slope = gy * np.float32(across[0]) + gx * np.float32(across[1])
        power = mean(slope * slope)
        moved = -mean(slope * left) / np.maximum(power, 1e-12)
        fitted, covariance = _robust(basis[there], every * moved[there], np.sqrt(power[there]))
        return fitted[:, None] * across, covariance
    yy, xx, xy = mean(gy * gy), mean(gx * gx), mean(gy * gx)
    ry, rx = -mean(gy * left), -mean(gx * left)
    determinant = yy * xx - xy * xy
    there &= determinant > 1e-3 * np.median(determinant)
    determinant = np.maximum(determinant, 1e-30)
    dy, dx = (xx * ry - xy * rx) / determinant, (yy * rx - xy * ry) / determinant
    weight = np.sqrt(np.minimum(yy, xx))[there]
    both = [_robust(basis[there], every * d[there], weight) for d in (dy, dx)]
    return np.stack([b[0] for b in both], axis=1), np.maximum(both[0][1], both[1][1])


def _robust(basis: Float, values: Float, weight: Float) -> tuple[Float, Float]:
    """Fit by least squares, with weights against outliers (Tukey's biweight)."""
    if len(values) < 8:
        return np.zeros(basis.shape[1]), np.zeros((basis.shape[1],) * 2)
    weight = weight / max(float(weight.max()), 1e-30)
    # A plane where there are too few cells for a curve.
    used = 3 if len(values) < 4 * basis.shape[1] else basis.shape[1]
    part = basis[:, :used]
    trust = np.ones(len(values))
    for _ in range(6):
        root = np.sqrt(trust) * weight
        solved = np.linalg.lstsq(part * root[:, None], values * root, rcond=None)[0]
        apart = values - part @ solved
        spread = max(1.4826 * float(np.median(np.abs(apart))), 1e-6)
        trust = np.square(np.maximum(1 - np.square(apart / (4.7 * spread)), 0))
    fitted = np.zeros(basis.shape[1])
    fitted[:used] = solved
    root = np.sqrt(trust) * weight
    inverse = np.linalg.pinv((part * root[:, None]).T @ (part * root[:, None]))
    # Weights are not exactly the inverse scatter: the middle of the sandwich says what it is.
    middle = (part * (root**2 * apart)[:, None]).T @ (part * (root**2 * apart)[:, None])
    covariance = np.zeros((basis.shape[1],) * 2)
    covariance[:used, :used] = inverse @ middle @ inverse
    return fitted, covariance

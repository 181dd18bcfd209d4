"""PSNR matching: the shift of whole pixels at which a reference crop is met best.

The search over all shifts is one cross-correlation, as ``sum (a - b)^2`` is
``sum a^2 + sum b^2 - 2 sum a b``. It gives what a loop over the shifts gives, to the last
bit for integer images: the sums of squares are taken in integers, and the correlation, whose
true value is an integer, is computed to better than one half and rounded.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from everhart.align._input import checked_pair
from everhart.errors import UsageError
from everhart.micrograph import Array, Micrograph, field_of

__all__ = ["PsnrMatch", "match_psnr"]

_Int = NDArray[np.int64]
_Float = NDArray[np.float64]

# Wider ranges would overflow the 64-bit sums of squares of a large image.
_EXACT_RANGE = 1 << 17


@dataclass(frozen=True, eq=False)
class PsnrMatch:
    """The best shift of a search, and how good it is.

    Parameters
    ----------
    shift_px
        Shift ``(dy, dx)`` in whole pixels that lays the moving image on the reference, as
        :func:`shift_image` takes it.
    psnr_db
        PSNR of the reference crop against the moved image; infinite where they are equal.
    mean_squared_error
        What it is made of, in squared grey levels.
    border_px
        Rows and columns ``(y, x)`` at the border that the two images do not share: the border
        loss of this shift.
    at_limit
        Whether the shift lies on the border of the search, so that the true one may be beyond.
    squared_errors
        Sum of squared differences over the crop for every shift, shape
        ``(2 * max_shift_px + 1,) * 2``; the shift ``(dy, dx)`` is at
        ``[max_shift_px + dy, max_shift_px + dx]``.
    """

    shift_px: tuple[int, int]
    psnr_db: float
    mean_squared_error: float
    border_px: tuple[int, int]
    at_limit: bool
    squared_errors: _Float | _Int


def match_psnr(
    moving: Micrograph | Array,
    reference: Micrograph | Array,
    *,
    crop_px: int | None = 256,
    max_shift_px: int = 40,
    data_range: float | None = None,
) -> PsnrMatch:
    """Find the shift of whole pixels with the highest PSNR, by exact search [1]_.

    A square crop from the centre of the reference is compared with the moving image at every
    shift up to `max_shift_px` in either direction. Whole pixels need no interpolation, and so
    leave the noise of the images as it is. Unlike :func:`estimate_shift`, the images must
    have the same gain and offset.

    Parameters
    ----------
    moving
        Image of shape ``(H, W)`` that is to be moved.
    reference
        Image of the same shape that stays.
    crop_px
        Side of the crop; None for all that is inside of the moving image at every shift,
        ``(H - 2 * max_shift_px, W - 2 * max_shift_px)``. It is cut to that where it is larger.
    max_shift_px
        Largest shift in either direction.
    data_range
        Grey levels from black to white for the PSNR; None for the full range of uint8 and
        uint16, and else for the range of the reference.

    Returns
    -------
    PsnrMatch
        The shift of the least sum of squared differences. Of equal ones, the shortest.

    Raises
    ------
    UsageError
        If the shapes differ, the images are no single frames or not finite, or they are too
        small for the search.

    References
    ----------
    .. [1] "Efficient and Robust SEM Image Denoising for Wafer Defect Inspection" (ReNIn),
       appendix: registration by PSNR matching, reference crop 256, search of 40 pixels.

    Examples
    --------
    >>> rng = np.random.default_rng(0)
    >>> scene = rng.integers(0, 256, (80, 90)).astype(np.uint8)
    >>> found = match_psnr(scene[3:67, 10:74], scene[8:72, 4:68], max_shift_px=10)
    >>> found.shift_px, found.border_px, found.psnr_db
    ((-5, 6), (5, 6), inf)
    """
    a, b = checked_pair(moving, reference)
    if int(max_shift_px) != max_shift_px or max_shift_px < 0:
        raise UsageError(f"max_shift_px = {max_shift_px!r} was given: give a whole number >= 0.")
    if crop_px is not None and (int(crop_px) != crop_px or crop_px < 1):
        raise UsageError(f"crop_px = {crop_px!r} was given: give a whole number >= 1, or None.")
    reach = int(max_shift_px)
    room = [n - 2 * reach for n in a.shape]
    if min(room) < 1:
        raise UsageError(
            f"Images of {a.shape[0]} x {a.shape[1]} pixels were given for a search of {reach} "
            f"pixels: they must be larger than {2 * reach} pixels; give a smaller max_shift_px."
        )
    size = room if crop_px is None else [min(int(crop_px), n) for n in room]
    top = [(n - s) // 2 for n, s in zip(a.shape, size, strict=True)]
    crop = _window(b, top, size)
    # All that the crop can meet: one more `reach` on each side.
    field = _window(a, [t - reach for t in top], [s + 2 * reach for s in size])
    kinds = field_of(moving).dtype.kind + field_of(reference).dtype.kind
    errors = _squared_errors(crop, field, integers=set(kinds) <= set("bui"))
    # The crop lies at `reach - shift` of the field.
    errors = errors[::-1, ::-1]
    dy, dx = _shortest_minimum(errors, reach)
    error = float(errors[reach + dy, reach + dx]) / crop.size
    full = _full_range(field_of(reference), b) if data_range is None else float(data_range)
    ratio = np.inf if error == 0 else full**2 / error
    return PsnrMatch(
        shift_px=(dy, dx),
        psnr_db=float(10 * np.log10(ratio)) if ratio > 0 else -np.inf,
        mean_squared_error=error,
        border_px=(abs(dy), abs(dx)),
        at_limit=reach > 0 and max(abs(dy), abs(dx)) == reach,
        squared_errors=errors,
    )


def _window(image: Array, top: list[int], size: list[int]) -> Array:
    return image[top[0] : top[0] + size[0], top[1] : top[1] + size[1]]


def _full_range(reference: Array, values: _Float) -> float:
    if reference.dtype in (np.uint8, np.uint16):
        return float(np.iinfo(reference.dtype).max)
    return float(np.ptp(values))


def _shortest_minimum(errors: _Float | _Int, reach: int) -> tuple[int, int]:
    """Return the shift of the least error; of equal ones the shortest, of these the first."""
    shifts = np.argwhere(errors == errors.min()) - reach
    dy, dx = shifts[np.argmin((shifts**2).sum(axis=1))]
    return int(dy), int(dx)


def _squared_errors(crop: _Float, field: _Float, *, integers: bool) -> _Float | _Int:
    """Return sum (crop - field)^2 at every place of the crop in the field."""
    # Without the mean the sums are small, and so is what rounding makes of them. A rounded
    # mean keeps integers integers.
    mean = np.rint(crop.mean())
    crop, field = crop - mean, field - mean
    largest = max(np.abs(crop).max(), np.abs(field).max())
    if integers and largest < _EXACT_RANGE:
        a, b = crop.astype(np.int64), field.astype(np.int64)
        return int((a * a).sum()) + _local_sums(b * b, crop.shape) - 2 * _exact_correlation(a, b)
    return _rechecked(crop, field)


def _local_sums(values: _Int, size: tuple[int, ...]) -> _Int:
    """Return the sum over a window of this size at every place."""
    total = np.zeros((values.shape[0] + 1, values.shape[1] + 1), np.int64)
    np.cumsum(values, axis=0, out=total[1:, 1:])
    np.cumsum(total[1:, 1:], axis=1, out=total[1:, 1:])
    height, width = size
    return np.asarray(
        total[height:, width:]
        - total[:-height, width:]
        - total[height:, :-width]
        + total[:-height, :-width]
    )


def _exact_correlation(a: _Int, b: _Int) -> _Int:
    """Return sum a b at every place of `a` in `b`, exactly."""
    if _rounding_bound(a, b) < 0.5:
        return np.rint(_correlations([a.astype(float)], [b.astype(float)])[0]).astype(np.int64)
    # 16-bit images: v = 256 * high + low, each part of 8 bits, whose correlations
    # are exact for images of up to 10^8 pixels.
    parts = [
        (((v + 128) >> 8).astype(float), ((v + 128 & 255) - 128).astype(float)) for v in (a, b)
    ]
    high, middle, low = _correlations(*parts)
    exact = [np.rint(part).astype(np.int64) for part in (high, middle, low)]
    return np.asarray((exact[0] << 16) + (exact[1] << 8) + exact[2])


def _correlations(
    a: tuple[_Float, ...] | list[_Float], b: tuple[_Float, ...] | list[_Float]
) -> list[_Float]:
    """Return the coefficients of the product of correlations, highest first.

    With `a` and `b` the digits of numbers, these are the digits of their correlation: one for
    one digit each, three for two. Digits of equal weight are added before the inverse
    transform.
    """
    from scipy.fft import irfft2, next_fast_len, rfft2

    size = a[0].shape
    full = [next_fast_len(n, real=True) for n in b[0].shape]
    spectra_a = [np.conj(rfft2(part, full)) for part in a]
    spectra_b = [rfft2(part, full) for part in b]
    places = tuple(slice(0, n - s + 1) for n, s in zip(b[0].shape, size, strict=True))
    found = []
    for weight in range(len(a) + len(b) - 1):
        pairs = [(i, weight - i) for i in range(len(a)) if 0 <= weight - i < len(b)]
        spectrum = spectra_a[pairs[0][0]] * spectra_b[pairs[0][1]]
        for i, j in pairs[1:]:
            spectrum += spectra_a[i] * spectra_b[j]
        found.append(np.asarray(irfft2(spectrum, full)[places], np.float64))
    return found


def _rounding_bound(a: Array, b: Array) -> float:
    """Return a bound of the error of a correlation by fast Fourier transforms.

    Three transforms, each with a relative error below ``8 eps log2(n)`` in the 2-norm (N. J.
    Higham, *Accuracy and Stability of Numerical Algorithms*, theorem 24.2, with room to spare).
    """
    norms = [float(np.linalg.norm(v.ravel().astype(np.float64))) for v in (a, b)]
    return (
        24
        * float(np.finfo(np.float64).eps)
        * max(float(np.log2(b.size)), 1.0)
        * norms[0]
        * norms[1]
    )


def _rechecked(crop: _Float, field: _Float) -> _Float:
    """Return squared errors of floating-point images, those near the least ones summed directly."""
    squares = np.zeros((field.shape[0] + 1, field.shape[1] + 1))
    np.cumsum(np.cumsum(field**2, axis=0), axis=1, out=squares[1:, 1:])
    height, width = crop.shape
    local = (
        squares[height:, width:]
        - squares[:-height, width:]
        - squares[height:, :-width]
        + squares[:-height, :-width]
    )
    errors = float((crop**2).sum()) + local - 2 * _correlations([crop], [field])[0]
    near = errors <= errors.min() + 4 * _rounding_bound(crop, field)
    # Without a cap a periodic image would bring the loop back that this function avoids.
    lowest = np.argsort(errors, axis=None, kind="stable")[: min(int(near.sum()), 32)]
    for y, x in zip(*np.unravel_index(lowest, errors.shape), strict=True):
        errors[y, x] = ((crop - field[y : y + height, x : x + width]) ** 2).sum()
    return np.asarray(np.maximum(errors, 0), np.float64)

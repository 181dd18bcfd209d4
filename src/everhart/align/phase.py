"""Sub-pixel shift of two images by their cross-correlation."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from everhart.align._input import checked_pair
from everhart.micrograph import Array, Micrograph

__all__ = ["estimate_shift"]


def estimate_shift(
    moving: Micrograph | Array,
    reference: Micrograph | Array,
    *,
    blur_px: float = 1.5,
    max_shift_px: float | None = None,
) -> tuple[float, float]:
    """Estimate the translation that lays one image on another, to a fraction of a pixel.

    Cross-correlation of the lightly blurred, tapered images, its peak refined by a
    matrix-multiply Fourier transform [1]_. The spectrum is not whitened: in noisy
    micrographs whitening gives the empty high frequencies the weight of the picture.

    Parameters
    ----------
    moving
        Image of shape ``(H, W)`` that is to be moved.
    reference
        Image of the same shape that stays. Its gain and offset may differ.
    blur_px
        Standard deviation, in pixels, of the Gaussian blur against noise.
    max_shift_px
        Largest shift in either direction to look for; None for half of the image.

    Returns
    -------
    tuple of float
        Shift ``(dy, dx)`` in pixels, in steps of 0.01, such that
        ``shift_image(moving, (dy, dx))`` lies on `reference`.

    Raises
    ------
    UsageError
        If the shapes differ, the images are no single frames, or a pixel is not finite.

    References
    ----------
    .. [1] M. Guizar-Sicairos, S. T. Thurman, J. R. Fienup, "Efficient subpixel image
       registration algorithms", Optics Letters 33 (2008), 156-158.

    Examples
    --------
    >>> rng = np.random.default_rng(0)
    >>> from scipy.ndimage import gaussian_filter
    >>> from everhart.align import shift_image
    >>> image = gaussian_filter(rng.normal(size=(96, 96)), 4)
    >>> moved = shift_image(image, (2.25, -1.5))
    >>> shift = estimate_shift(moved, image)
    >>> bool(np.allclose(shift, (-2.25, 1.5), atol=0.05))
    True
    """
    from scipy.ndimage import gaussian_filter
    from scipy.ndimage import shift as spline_shift

    a, b = checked_pair(moving, reference)
    a, b = (gaussian_filter(image, blur_px, mode="nearest") for image in (a, b))
    found = _correlation_peak(a, b, max_shift_px)
    # The taper stands still while the content moves, which draws the peak towards no shift:
    # 0.2 px at a shift of 10 in small images. Once the shift is taken out, so is the bias.
    if any(found):
        closer = spline_shift(a, found, order=3, mode="nearest")
        rest = _correlation_peak(closer, b, 2.0)
        found = (found[0] + rest[0], found[1] + rest[1])
    if max_shift_px is not None:
        # The search between pixels may have gone a little beyond the bound.
        dy, dx = np.clip(found, -max_shift_px, max_shift_px)
        found = float(dy), float(dx)
    return round(found[0], 2), round(found[1], 2)


def _correlation_peak(a: Array, b: Array, max_shift_px: float | None) -> tuple[float, float]:
    """Return the shift at which the tapered images correlate best."""
    from scipy.fft import irfft2, rfft2

    window = np.outer(_taper(a.shape[0]), _taper(a.shape[1]))
    a, b = ((image - np.average(image, weights=window)) * window for image in (a, b))
    spectrum = rfft2(b) * np.conj(rfft2(a))
    correlation = irfft2(spectrum, s=a.shape)
    if np.ptp(correlation) <= 1e-12 * a.size:
        return 0.0, 0.0  # a constant image has no position
    if max_shift_px is not None:
        # A lattice correlates with itself at every period; the bound picks the wanted one.
        dy, dx = (np.abs(np.fft.fftfreq(n, 1 / n)) for n in a.shape)
        correlation[(dy[:, None] > max_shift_px) | (dx[None, :] > max_shift_px)] = -np.inf
    peak = np.unravel_index(int(np.argmax(correlation)), a.shape)
    centre = [float(p - n if p > n // 2 else p) for p, n in zip(peak, a.shape, strict=True)]
    for step in (0.25, 0.05, 0.01):
        centre = _finer_peak(spectrum, a.shape, centre, step)
    return centre[0], centre[1]


def _finer_peak(
    spectrum: Array, shape: tuple[int, ...], centre: list[float], step: float
) -> list[float]:
    """Return the highest of 11 x 11 points of the correlation, `step` pixels apart.

    The correlation between pixels is the inverse Fourier sum evaluated there, as two
    matrix products [1]_ of `estimate_shift`.
    """
    offsets = step * np.arange(-5, 6)
    y, x = centre[0] + offsets, centre[1] + offsets
    rows = np.exp(2j * np.pi * np.outer(y, np.fft.fftfreq(shape[0])))
    frequency = np.fft.rfftfreq(shape[1])
    # The half spectrum stands for both halves, but for its first and (even) last column.
    weight = np.where((frequency == 0) | (frequency == 0.5), 1.0, 2.0)
    columns = np.exp(2j * np.pi * np.outer(frequency, x)) * weight[:, None]
    fine = (rows @ spectrum @ columns).real
    row, column = np.unravel_index(int(np.argmax(fine)), fine.shape)
    return [float(y[row]), float(x[column])]


def _taper(n: int, fraction: float = 0.125) -> NDArray[np.float64]:
    """Tukey window: flat in the middle, so that little of a small image is lost."""
    from scipy.signal.windows import tukey

    return np.asarray(tukey(n + 2, 2 * fraction)[1:-1], np.float64)

"""Registration of frames of one field of view."""

from __future__ import annotations

from typing import Literal

import numpy as np
from numpy.typing import NDArray

from everhart.errors import UsageError
from everhart.micrograph import Array, ImageT, Micrograph, field_of, like

__all__ = ["common_margin", "estimate_shift", "register_pair", "shift_image"]


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
    >>> image = gaussian_filter(rng.normal(size=(96, 96)), 4)
    >>> moved = shift_image(image, (2.25, -1.5))
    >>> shift = estimate_shift(moved, image)
    >>> bool(np.allclose(shift, (-2.25, 1.5), atol=0.05))
    True
    """
    from scipy.ndimage import gaussian_filter
    from scipy.ndimage import shift as spline_shift

    a, b = _pair(moving, reference)
    a, b = (gaussian_filter(image, blur_px, mode="nearest") for image in (a, b))
    found = _correlation_peak(a, b, max_shift_px)
    # The taper stands still while the content moves, which draws the peak towards no shift:
    # 0.2 px at a shift of 10 in small images. Once the shift is taken out, so is the bias.
    if any(found):
        closer = spline_shift(a, found, order=3, mode="nearest")
        rest = _correlation_peak(closer, b, 2.0)
        found = (found[0] + rest[0], found[1] + rest[1])
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


def shift_image(image: ImageT, shift_px: tuple[float, float]) -> ImageT:
    """Move an image by a fraction of a pixel, by cubic splines.

    Parameters
    ----------
    image
        Image or stack; a stack's frames are all moved by the same shift.
    shift_px
        ``(dy, dx)`` in pixels; content moves towards larger indices for positive values.

    Returns
    -------
    Micrograph or ndarray
        float32 for integer input. Rows and columns that came from outside of the image
        repeat its edge; see :func:`common_margin`.
    """
    from scipy.ndimage import shift as spline_shift

    pixels = field_of(image)
    dtype = pixels.dtype if pixels.dtype.kind == "f" else np.float32
    offsets = (0.0,) * (pixels.ndim - 2) + tuple(shift_px)
    moved = spline_shift(pixels.astype(dtype), offsets, order=3, mode="nearest")
    return like(image, moved, "shift", {"shift_px": [float(s) for s in shift_px]})


def common_margin(shift_px: tuple[float, float], extra_px: int = 2) -> tuple[slice, slice]:
    """Return the slices of the part that two images share after a shift.

    Parameters
    ----------
    shift_px
        ``(dy, dx)`` in pixels by which one of them was moved.
    extra_px
        Rows and columns to cut on every side beyond the shift, for the spline's support.

    Returns
    -------
    tuple of slice
        For rows and for columns; the same margin on both sides, so that the field stays
        centred.
    """
    margins = [int(np.ceil(abs(s))) + extra_px for s in shift_px]
    return slice(margins[0], -margins[0] or None), slice(margins[1], -margins[1] or None)


def register_pair(
    noisy: Micrograph | Array,
    clean: Micrograph | Array,
    *,
    model: Literal["shift", "affine"] = "affine",
    max_shift_px: float = 40.0,
) -> tuple[NDArray[np.float32], NDArray[np.float32], NDArray[np.float64]]:
    """Lay a clean image on its noisy partner and cut what they do not share.

    The clean image is moved, never the noisy one: interpolation would change the noise.
    A slow scan and a quick one of one field differ by more than a shift: the specimen
    drifts while the slow one is taken, which shears and stretches it. On the real pairs of
    100 ns against 30 us dwell the stretch is 0.5 %, more than a pixel at the border.

    Parameters
    ----------
    noisy, clean
        Images of one field of view, of the same shape ``(H, W)``.
    model
        ``"shift"``, or ``"affine"`` for drift during the scan, by maximising the
        enhanced correlation coefficient [1]_ from the shift on; the shift is kept where
        that does not converge or finds a distortion beyond 5 %.
    max_shift_px
        Largest shift to look for.

    Returns
    -------
    noisy, clean
        float32 arrays of the same shape, smaller than the input by the displacement.
    matrix
        ``(2, 3)``: a pixel ``(y, x)`` of `noisy` shows what `clean` has at
        ``matrix @ (y, x, 1)``.

    Raises
    ------
    UsageError
        As :func:`estimate_shift`, or if the images share no pixel once they are registered.

    References
    ----------
    .. [1] G. D. Evangelidis, E. Z. Psarakis, "Parametric image alignment using enhanced
       correlation coefficient maximization", IEEE TPAMI 30 (2008), 1858-1865.
    """
    from scipy.ndimage import affine_transform

    fixed = np.asarray(field_of(noisy), np.float32)
    moving = np.asarray(field_of(clean), np.float32)
    shift = estimate_shift(moving, fixed, max_shift_px=max_shift_px)
    matrix = np.array([[1.0, 0.0, -shift[0]], [0.0, 1.0, -shift[1]]])
    if model == "affine":
        matrix = _refine_affine(fixed, moving, matrix)
    moved = affine_transform(moving, matrix[:, :2], matrix[:, 2], order=3, mode="nearest")
    corners = np.array([[y, x, 1.0] for y in (0, fixed.shape[0]) for x in (0, fixed.shape[1])])
    reach = np.abs(corners @ matrix.T - corners[:, :2]).max(axis=0)
    rows, columns = common_margin((float(reach[0]), float(reach[1])))
    if fixed[rows, columns].size == 0:
        raise UsageError(
            f"Images of {fixed.shape[0]} x {fixed.shape[1]} pixels were given that lie "
            f"{reach[0]:.1f} and {reach[1]:.1f} pixels apart: nothing of them is shared; give "
            "larger images or a smaller max_shift_px."
        )
    return fixed[rows, columns], moved[rows, columns], matrix


def _refine_affine(fixed: Array, moving: Array, start: Array) -> NDArray[np.float64]:
    """Refine a shift to an affine map by ECC on lightly blurred images."""
    import cv2

    def blurred(image: Array) -> Array:
        return cv2.GaussianBlur(image, (0, 0), 2.0)

    swap = np.ix_([1, 0], [1, 0, 2])  # OpenCV's maps are (x, y)
    stop = (cv2.TERM_CRITERIA_EPS | cv2.TERM_CRITERIA_COUNT, 200, 1e-6)
    try:
        _, found = cv2.findTransformECC(
            blurred(fixed), blurred(moving), start[swap].astype(np.float32), cv2.MOTION_AFFINE, stop
        )
    except cv2.error:  # no convergence: images of nothing, or of two fields
        return start
    refined = np.asarray(found, np.float64)[swap]
    if np.abs(refined[:, :2] - np.eye(2)).max() > 0.05:
        return start
    return refined


def _pair(moving: Micrograph | Array, reference: Micrograph | Array) -> tuple[Array, Array]:
    a = np.asarray(field_of(moving), np.float64)
    b = np.asarray(field_of(reference), np.float64)
    if a.shape != b.shape or a.ndim != 2:
        raise UsageError(
            f"Images of shape {a.shape} and {b.shape} were given: registration takes two single "
            "frames of the same (height, width); crop or split them first."
        )
    if not (np.isfinite(a).all() and np.isfinite(b).all()):
        raise UsageError(
            "An image with NaN or infinite pixels was given: registration needs finite pixels; "
            "fill them first."
        )
    return a, b


def _taper(n: int, fraction: float = 0.125) -> NDArray[np.float64]:
    """Tukey window: flat in the middle, so that little of a small image is lost."""
    from scipy.signal.windows import tukey

    return np.asarray(tukey(n + 2, 2 * fraction)[1:-1], np.float64)

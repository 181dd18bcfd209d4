"""Phase congruency: where the waves that make up an image agree in phase, there is a feature."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from typing import Final, TypeVar

import numpy as np
from numpy.typing import ArrayLike, NDArray

from everhart.errors import UsageError
from everhart.micrograph import Micrograph, field_of

__all__ = ["phase_congruency"]

# The values of the FSIM paper's own program, which its published figures come from.
_SCALES: Final = 4
_ORIENTATIONS: Final = 4
_SHORTEST_WAVE_PX: Final = 6.0
_WAVE_RATIO: Final = 2.0  # between scales
_BANDWIDTH: Final = 0.55  # of the log-Gabor function: sigma over the centre frequency
_ANGLE_SIGMA: Final = math.pi / _ORIENTATIONS / 1.2
_NOISE_SIGMAS: Final = 2.0  # by which the noise's mean energy is exceeded before it counts
_NOISE_OVERLAP: Final = 1.7  # the responses of neighbouring scales are not independent
_CUTOFF: Final = 0.45  # cycles per px; keeps the corners of the spectrum out
_CUTOFF_ORDER: Final = 15

Float32 = NDArray[np.float32]
Complex64 = NDArray[np.complex64]
Number = TypeVar("Number", np.float32, np.complex64)


def phase_congruency(image: Micrograph | ArrayLike) -> Float32:
    """Return the phase congruency of every pixel.

    Log-Gabor filters in quadrature [1]_, 4 scales of wavelengths 6, 12, 24 and 48 px and 4
    orientations, with the measure of phase deviation and the compensation of noise of [1]_:
    the energy that the median response of the finest scale lets expect of
    white noise alone, its mean and two standard deviations, is taken off. Constants as in [2]_.

    Parameters
    ----------
    image
        One image of shape ``(H, W)``, at least 8 x 8. It is taken as periodic: opposite borders
        that differ are a feature.

    Returns
    -------
    ndarray
        float32 of shape ``(H, W)``, from 0 (no feature, or noise) to 1 (all waves of all
        orientations in phase). It does not depend on contrast and brightness. All 0 for a
        constant image.

    Raises
    ------
    UsageError
        If a stack is given or the image is too small.

    References
    ----------
    .. [1] P. Kovesi, "Image features from phase congruency", Videre: Journal of Computer Vision
       Research 1 (1999), 1-26.
    .. [2] L. Zhang, L. Zhang, X. Mou, D. Zhang, "FSIM: a feature similarity index for image
       quality assessment", IEEE Transactions on Image Processing 20 (2011), 2378-2386,
       section II-A.

    Examples
    --------
    >>> line = np.zeros((64, 64))
    >>> line[:, 20] = 1.0
    >>> np.unique(phase_congruency(line).argmax(axis=1)).tolist()
    [20]
    """
    from scipy.fft import fft2, ifft2

    pixels = np.asarray(field_of(image), np.float64)
    if pixels.ndim != 2 or min(pixels.shape) < 8:
        raise UsageError(
            f"An array of shape {pixels.shape} was given: one image (height, width) of at least "
            "8 x 8 pixels is allowed."
        )
    level, spread = float(pixels.mean()), float(np.ptp(pixels))
    if not spread > 1e-12 * abs(level):  # constant, up to the rounding of its mean
        return np.full(pixels.shape, np.nan if math.isnan(spread) else 0.0, np.float32)
    # Half the digits halve the memory; without the offset they are enough.
    spectrum = np.asarray(fft2(((pixels - level) / spread).astype(np.float32)), np.complex64)
    radial = _radial_filters(pixels.shape)
    energy = np.zeros(pixels.shape, np.float32)
    amplitude = np.zeros(pixels.shape, np.float32)
    for angular in _angular_filters(pixels.shape):
        responses: list[Complex64] = [ifft2(spectrum * (r * angular)) for r in radial]
        total = _sum(responses)
        strength = np.abs(total)
        direction = total / np.maximum(strength, np.finfo(np.float32).tiny)
        # Along the mean phase the responses add up to `strength`; across it is what deviates.
        for response in responses:
            strength -= np.abs((response * direction.conj()).imag)
            amplitude += np.abs(response)
        strength -= _noise_energy(responses[0], radial, angular)
        energy += np.maximum(strength, 0)
    return np.asarray(energy / np.maximum(amplitude, np.finfo(np.float32).tiny))


def _frequencies(shape: tuple[int, ...]) -> tuple[Float32, Float32]:
    """Return vertical and horizontal frequencies, in cycles per px, to be broadcast."""
    from scipy.fft import fftfreq

    height, width = shape
    return (
        fftfreq(height).astype(np.float32)[:, None],
        fftfreq(width).astype(np.float32)[None, :],
    )


def _radial_filters(shape: tuple[int, ...]) -> list[Float32]:
    """Return the log-Gabor function of each scale, fine to coarse; 0 at frequency 0."""
    vertical, horizontal = _frequencies(shape)
    radius = np.hypot(vertical, horizontal)
    radius[0, 0] = 1.0
    low_pass = 1 / (1 + (radius / _CUTOFF) ** (2 * _CUTOFF_ORDER))
    filters = []
    for scale in range(_SCALES):
        centre = 1 / (_SHORTEST_WAVE_PX * _WAVE_RATIO**scale)
        gabor = np.exp(np.log(radius / centre) ** 2 / (-2 * math.log(_BANDWIDTH) ** 2)) * low_pass
        gabor[0, 0] = 0.0
        filters.append(np.asarray(gabor, np.float32))
    return filters


def _angular_filters(shape: tuple[int, ...]) -> Iterator[Float32]:
    """Yield a Gaussian of the angle from each orientation; one side of it, for a quadrature."""
    vertical, horizontal = _frequencies(shape)
    angle = np.arctan2(-vertical, horizontal)
    for index in range(_ORIENTATIONS):
        away = angle - np.float32(math.pi * index / _ORIENTATIONS)
        away = np.abs((away + np.float32(math.pi)) % np.float32(2 * math.pi) - np.float32(math.pi))
        yield np.exp(away**2 / np.float32(-2 * _ANGLE_SIGMA**2))


def _noise_energy(finest: Complex64, radial: list[Float32], angular: Float32) -> float:
    """Return the energy that white noise of the image's strength would not often exceed.

    The squared response to white noise is exponential, so its mean is its median over ln 2
    (the median is what features change least). The energy of the sum over the scales has a
    Rayleigh distribution.
    """
    power = np.abs(finest)
    power *= power
    noise_power = float(np.median(power)) / math.log(2) / _sum_of_squares(radial[0] * angular)
    whole = _sum(radial) * angular
    # The even filter alone: what is symmetric under the reversal of the frequencies.
    mirrored = np.roll(whole[::-1, ::-1], (1, 1), axis=(0, 1))
    variance = noise_power * _sum_of_squares(0.5 * (whole + mirrored))
    mean = math.sqrt(variance * math.pi / 2)
    deviation = math.sqrt((2 - math.pi / 2) * variance)
    return (mean + _NOISE_SIGMAS * deviation) / _NOISE_OVERLAP


def _sum(arrays: Sequence[NDArray[Number]]) -> NDArray[Number]:
    """Return the sum, without the copy of all that ``np.sum`` of a list makes."""
    total = arrays[0].copy()
    for array in arrays[1:]:
        total += array
    return total


def _sum_of_squares(values: Float32) -> float:
    return float(np.sum(values * values, dtype=np.float64))

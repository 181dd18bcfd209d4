"""The period of a pattern: one vector for lines, two for an array, from the image alone."""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from everhart.measure._filtered import blurred, shrunk

__all__ = ["Period", "find_period"]

Float = NDArray[np.float64]
Image = NDArray[np.float32]

_NEAREST_PX = 5  # noise is correlated over less
_LARGEST_SIDE = 1024  # of the image that the period is looked for in
_AS_GOOD = 0.6  # correlation of a period, of the best one
_VALLEY = 0.25  # how far the correlation falls on the way to a period, of the best one
_WEAKEST = 0.04  # correlation of a pattern; noise of 1 Mpx has 0.005 at most
_Z = 8.0
_HARMONICS = 3
_OTHER_WAVES = 0.2  # of the strongest, in another direction: an array


@dataclass(frozen=True)
class Period:
    """Waves of a periodic pattern.

    Parameters
    ----------
    waves
        ``(1, 2)`` for lines or ``(2, 2)`` for an array: cycles per pixel in y and x.
    correlation
        Of the image with itself one period on: 1 where there is no noise and no disorder.
    """

    waves: Float
    correlation: float

    @property
    def vectors(self) -> Float:
        """Periods ``(n, 2)`` in pixels, y and x; that of lines is across them."""
        if len(self.waves) == 1:
            return np.asarray(self.waves / np.sum(self.waves**2), np.float64)
        return np.asarray(np.linalg.inv(self.waves).T, np.float64)

    @property
    def shortest_px(self) -> float:
        """Length of the shortest period."""
        return float(np.hypot(*self.vectors.T).min())

    def count(self, shape: tuple[int, ...]) -> float:
        """Return how many periods, or cells of an array, the image has."""
        if len(self.waves) == 1:
            return float(np.abs(self.waves[0] * np.array(shape)).max())
        return float(abs(np.linalg.det(self.waves)) * shape[0] * shape[1])


def find_period(image: Image) -> Period | None:
    """Find the period of an image.

    The peaks of the autocorrelation tell which vectors are periods; the peaks of the Fourier
    transform, in a Hann window, say how long they are to a few thousandths.

    Parameters
    ----------
    image
        Image of shape ``(H, W)``, float32, finite.

    Returns
    -------
    Period or None
        None where no correlation stands out of that of noise.
    """
    factor = max(-(-max(image.shape) // _LARGEST_SIDE), 1)
    # Shrunk for long periods first: the shape of features is enough, and noise is averaged.
    for shrink in dict.fromkeys((factor, 1)):
        small = _flattened(_by_factor(image, shrink))
        vectors, correlation = _correlated(small)
        if len(vectors) and np.hypot(*vectors.T).min() >= (2.5 * _NEAREST_PX if shrink > 1 else 0):
            break
    if not len(vectors):
        return None
    one = len(vectors) == 1
    waves = np.asarray(
        vectors / np.sum(vectors**2) if one else np.linalg.inv(vectors).T, np.float64
    )
    waves = _refined(small, waves)
    return Period(np.asarray(waves / shrink, np.float64), correlation)


def _by_factor(image: Image, factor: int) -> Image:
    if factor == 1:
        return image
    height, width = (n // factor * factor for n in image.shape)
    return shrunk(image[:height, :width], (height // factor, width // factor))


def _flattened(image: Image) -> Image:
    """Take out what is slow, and hold single bright specks down."""
    flat = image - blurred(image, max(image.shape) / 8)
    middle = np.median(flat)
    spread = float(np.median(np.abs(flat - middle))) * 1.4826 or float(flat.std()) or 1.0
    return np.asarray(np.clip(flat - middle, -4 * spread, 4 * spread), np.float32)


def _correlated(image: Image) -> tuple[Float, float]:
    """Return the shortest independent periods ``(n, 2)`` and the correlation at the first."""
    from scipy.fft import irfft2, next_fast_len, rfft2
    from scipy.ndimage import map_coordinates, maximum_filter
    from scipy.signal import find_peaks

    nothing = np.zeros((0, 2)), 0.0
    height, width = image.shape
    reach = height // 2, width // 2
    padded = (next_fast_len(height + reach[0], real=True),
              next_fast_len(width + reach[1], real=True))  # fmt: skip
    spectrum = rfft2(image - image.mean(), padded)
    product = irfft2(spectrum.real**2 + spectrum.imag**2, padded)
    rows, columns = np.arange(-reach[0], reach[0] + 1), np.arange(-reach[1], reach[1] + 1)
    overlap = np.outer(height - np.abs(rows), width - np.abs(columns))
    power = float(product[0, 0]) / image.size
    if power <= 0:
        return nothing
    correlation = product[np.ix_(rows, columns)] / overlap / power
    smooth = np.asarray(cv2.GaussianBlur(correlation, (0, 0), 1.0), np.float64)
    peaks = (smooth == maximum_filter(smooth, _NEAREST_PX)) & (smooth > 0)
    y, x = np.nonzero(peaks)
    lags = np.stack([y - reach[0], x - reach[1]], axis=1)
    half = (lags[:, 0] > 0) | ((lags[:, 0] == 0) & (lags[:, 1] > 0))
    half &= np.hypot(*lags.T) > _NEAREST_PX
    lags, heights = lags[half], smooth[y[half], x[half]]
    if not len(lags):
        return nothing

    def valley(lag: Float) -> float:
        """Return the lowest correlation on the way to a lag."""
        steps = np.linspace(0.1, 0.9, max(int(np.hypot(*lag)), 9))
        at = np.rint(np.outer(steps, lag)).astype(np.intp) + reach
        return float(smooth[at[:, 0], at[:, 1]].min())

    across = _one_direction(image)
    if across is not None:
        # On lines, other peaks are periods plus a way along the lines.
        steps = np.arange(2 * 0.98 / float(np.max(np.abs(across) / reach))) / 2
        cut = map_coordinates(smooth, np.outer(across, steps) + np.array(reach)[:, None], order=1)
        tops = find_peaks(cut)[0]
        tops = tops[steps[tops] > _NEAREST_PX]
        lags, heights = np.outer(steps[tops], across), cut[tops]
    order = np.argsort(-heights, kind="stable")[:400]
    deep = np.array([heights[i] - valley(lags[i]) for i in order])
    order = order[deep > _VALLEY * heights[order]]
    if not len(order):
        return nothing
    best = float(heights[order[0]])
    if best < max(_WEAKEST, _Z / np.sqrt(image.size / 4)):
        return nothing
    order = order[heights[order] >= _AS_GOOD * best]
    order = order[np.argsort(np.hypot(*lags[order].T), kind="stable")]
    first = lags[order[0]].astype(np.float64)
    value = float(heights[order[0]])
    if across is not None:
        return first[None], value
    for i in order[1:]:
        second = lags[i].astype(np.float64)
        second -= np.rint(second @ first / (first @ first)) * first
        turned = abs(first[0] * second[1] - first[1] * second[0])
        if turned > 0.3 * np.hypot(*first) * np.hypot(*second) > 0:
            return np.stack([first, second]), value
    return nothing


def _one_direction(image: Image) -> Float | None:
    """Return the direction across lines, ``(2,)``; None for an array.

    All waves of lines have one direction; their roughness is spread over many.
    """
    from scipy.fft import rfft2

    height, width = image.shape
    window = np.outer(np.hanning(height + 1)[:-1], np.hanning(width + 1)[:-1])
    waves = np.abs(rfft2(np.asarray(image * window, np.float32)))
    y = np.fft.fftfreq(height)[:, None]
    x = np.fft.rfftfreq(width)[None, :]
    length = np.hypot(y, x)
    usable = (length > 2.5 / min(height, width)) & (length < 1 / _NEAREST_PX)
    waves = np.where(usable, waves, 0)
    row, column = np.unravel_index(int(np.argmax(waves)), waves.shape)
    across = np.array([float(y[row, 0]), float(x[0, column])])
    across /= max(float(np.hypot(*across)), 1e-12)
    # Some bins to the side are leakage, and the roughness of the lines.
    away = np.abs(y * across[1] - x * across[0])
    other = waves[usable & (away > 0.2 * length) & (away > 4 / min(height, width))]
    if other.size and float(other.max()) > _OTHER_WAVES * float(waves[row, column]):
        return None
    return across


def _refined(image: Image, waves: Float) -> Float:
    """Fit the waves to the peaks of the spectrum, found to a fraction of a bin."""
    from scipy.fft import fft2

    height, width = image.shape
    window = np.outer(np.hanning(height + 1)[:-1], np.hanning(width + 1)[:-1])
    spectrum = np.abs(fft2(np.asarray(image * window, np.float32)))
    size = np.array([height, width])
    orders = np.arange(-_HARMONICS, _HARMONICS + 1)
    indices = (
        orders[orders > 0][:, None]
        if len(waves) == 1
        else np.stack(np.meshgrid(orders, orders), axis=-1).reshape(-1, 2)
    )
    level = float(np.median(spectrum))
    # Low orders first: they say where the high ones are.
    for highest in range(1, _HARMONICS + 1):
        used, places, weights = [], [], []
        for index in indices:
            if not 0 < np.abs(index).max() <= highest:
                continue
            place = index @ waves * size
            if (np.abs(place) > 0.45 * size).any():
                continue
            found = _peak(spectrum, place)
            if found is None or found[1] < 6 * level:
                continue
            used.append(index)
            places.append(found[0] / size)
            weights.append(found[1])
        if len(used) < len(waves) or np.linalg.matrix_rank(np.array(used)) < len(waves):
            continue
        root = np.array(weights)[:, None]
        solved = np.linalg.lstsq(np.array(used) * root, np.array(places) * root, rcond=None)[0]
        # A pattern that is cut or disordered may have its peaks elsewhere: then they do not tell.
        if (np.abs(solved - waves) * size < 1.5).all():
            waves = solved
    return waves


def _peak(spectrum: Float, place: Float) -> tuple[Float, float] | None:
    """Return the place of the peak near to a place, in bins, and its height.

    In a Hann window the two highest bins of a wave tell where between them it is.
    """
    height, width = spectrum.shape
    middle = np.rint(place).astype(np.intp)
    near = spectrum[np.ix_((middle[0] + np.arange(-1, 2)) % height,
                           (middle[1] + np.arange(-1, 2)) % width)]  # fmt: skip
    top = np.unravel_index(int(np.argmax(near)), near.shape)
    middle = middle + np.array(top) - 1
    if not middle.any():
        return None
    found = middle.astype(np.float64)
    peak = float(spectrum[middle[0] % height, middle[1] % width])
    for axis in (0, 1):
        step = np.eye(2, dtype=np.intp)[axis]
        before, after = (
            float(spectrum[(middle[0] + s * step[0]) % height, (middle[1] + s * step[1]) % width])
            for s in (-1, 1)
        )
        side = 1 if after >= before else -1
        ratio = max(before, after) / max(peak, 1e-30)
        found[axis] += side * float(np.clip((2 * ratio - 1) / (ratio + 1), 0, 0.5))
    return found, peak

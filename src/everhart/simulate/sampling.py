"""Draw detector noise: electron arrivals, pulse heights, detector filter, readout.

The functions here are the fast core of :class:`everhart.simulate.Microscope`, on plain float32
arrays; training draws millions of noisy pixels a second through them.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TypeAlias

import cv2
import numpy as np
from numpy.typing import ArrayLike, NDArray

from everhart.errors import UsageError

__all__ = ["apply_taps", "exponential_taps", "sample_arrivals", "sample_noise"]

Image: TypeAlias = NDArray[np.float32]

#: Mean arrivals a pixel from which the sum of pulses is drawn from its shifted-gamma limit.
EXACT_BELOW = 24.0


def exponential_taps(decay_px: float, cutoff: float = 1e-3) -> tuple[float, ...]:
    """Return the taps of a detector whose pulses decay exponentially along the scan.

    Parameters
    ----------
    decay_px
        Decay length (time constant over dwell time) in pixels; 0 for an ideal detector.
    cutoff
        Taps below this fraction of the first one are left out.

    Returns
    -------
    tuple of float
        Causal taps, first the pixel's own share; they sum to 1.

    Examples
    --------
    >>> exponential_taps(0.0)
    (1.0,)
    >>> taps = exponential_taps(1.0)
    >>> round(taps[1] / taps[0], 4), round(sum(taps), 12)
    (0.3679, 1.0)
    """
    if not (np.isfinite(decay_px) and decay_px >= 0):
        raise UsageError(f"A decay of {decay_px!r} px was given: give a finite number >= 0.")
    if decay_px == 0:
        return (1.0,)
    count = int(np.ceil(-np.log(cutoff) * decay_px)) + 1
    taps = np.exp(-np.arange(count) / decay_px)
    return tuple(float(t) for t in taps / taps.sum())


def apply_taps(signal: ArrayLike, taps: Sequence[float]) -> Image:
    """Filter an image along its rows with causal taps.

    Parameters
    ----------
    signal
        Image of shape ``(H, W)``.
    taps
        ``taps[j]`` is the weight with which a pixel is seen `j` pixels later (to its right).
        They are scaled to sum to 1. Before its first pixel a row is taken to be constant.

    Returns
    -------
    ndarray of float32
        Filtered image of shape ``(H, W)``.

    Examples
    --------
    >>> apply_taps([[0, 1, 0, 0]], [0.75, 0.25]).tolist()
    [[0.0, 0.75, 0.25, 0.0]]
    """
    image = np.ascontiguousarray(signal, np.float32)
    weights = _unit_taps(taps)
    if len(weights) == 1:
        return image.copy() if image is signal else image
    return _filter_rows(image, weights)


def _filter_rows(image: Image, weights: Image) -> Image:
    # OpenCV correlates: the kernel runs backwards and its anchor is its last element.
    return np.asarray(
        cv2.filter2D(
            image,
            cv2.CV_32F,
            weights[::-1][None, :],
            anchor=(len(weights) - 1, 0),
            borderType=cv2.BORDER_REPLICATE,
        ),
        np.float32,
    )


def sample_arrivals(
    signal: Image, rng: np.random.Generator, *, gain: float, compound: bool = True
) -> Image:
    """Draw the summed pulses of the electrons that arrive in each pixel.

    Arrivals are ``k ~ Poisson(signal / gain)``. With exponential pulse heights of mean `gain`
    the sum is ``Gamma(k, gain)``: mean ``signal``, variance ``2 gain signal``, skew
    ``1.5 sqrt(2 gain / signal)`` [1]_. Pixels with at least `EXACT_BELOW` mean arrivals are
    drawn from the shifted gamma with the same mean, variance and skew, of shape ``8/9`` of
    the mean arrivals, scale ``1.5 gain`` and origin ``-signal / 3``: its distribution function
    is within 0.001 of the exact one there, and it is five times faster.

    Parameters
    ----------
    signal
        Expected grey levels, float32, any shape; negative values count as 0.
    rng
        Source of randomness.
    gain
        Mean height of a pulse in grey levels; 0 for no shot noise.
    compound
        False for pulses that are all of height `gain`: variance ``gain signal``.

    Returns
    -------
    ndarray of float32
        One draw, of the shape of `signal`.

    References
    ----------
    .. [1] B. Jorgensen, "The theory of dispersion models", Chapman & Hall (1997), section 4.2:
       the compound Poisson-gamma (Tweedie) distribution with power 3/2.
    """
    if gain == 0:
        return signal.copy()
    arrivals = np.maximum(signal, 0) * np.float32(1 / gain)
    if not compound:
        return (rng.poisson(arrivals) * np.float32(gain)).astype(np.float32, copy=False)
    bright = arrivals >= EXACT_BELOW
    count_bright = int(np.count_nonzero(bright))
    if count_bright == 0:
        return _exact_pulses(arrivals, rng, gain)
    if count_bright == arrivals.size:
        return _many_pulses(arrivals, rng, gain)
    drawn = np.empty_like(arrivals)
    dark = ~bright
    drawn[bright] = _many_pulses(arrivals[bright], rng, gain)
    drawn[dark] = _exact_pulses(arrivals[dark], rng, gain)
    return drawn


def sample_noise(
    signal: ArrayLike,
    rng: np.random.Generator,
    *,
    gain: float,
    taps: Sequence[float] = (1.0,),
    readout_sigma: float = 0.0,
    row_offset_sigma: float = 0.0,
    compound: bool = True,
) -> Image:
    """Draw one noisy image around an expected one.

    In the order of the instrument: arrivals and pulse heights (:func:`sample_arrivals`),
    detector filter along the scan line (:func:`apply_taps`), an offset a row, readout. The
    expectation of the result is ``apply_taps(signal, taps)``. Nothing is clipped or rounded.

    Parameters
    ----------
    signal
        Expected grey levels of shape ``(H, W)``, of any scale, counted from the level at
        which no electron arrives.
    rng
        Source of randomness.
    gain
        Mean pulse height in grey levels: the variance before the filter is
        ``2 gain signal`` (``gain signal`` if not `compound`). 0 for no shot noise.
    taps
        Causal detector filter, scaled to sum to 1; it correlates the shot noise along rows.
    readout_sigma
        Standard deviation of the white Gaussian noise after the filter, in grey levels.
    row_offset_sigma
        Standard deviation of the brightness offset of a whole row, in grey levels.
    compound
        Whether pulse heights are exponential; else all are equal (plain Poisson).

    Returns
    -------
    ndarray of float32
        Noisy image of shape ``(H, W)``.

    Examples
    --------
    >>> rng = np.random.default_rng(0)
    >>> noisy = sample_noise(np.full((256, 256), 100.0), rng, gain=4.0, taps=(0.6, 0.4))
    >>> bool(abs(noisy.mean() - 100) < 0.5)
    True
    >>> bool(abs(noisy.var() / (2 * 4 * 100 * (0.6**2 + 0.4**2)) - 1) < 0.02)
    True
    """
    expected: Image = np.asarray(signal, np.float32)
    if expected.ndim != 2:
        raise UsageError(
            f"A signal of shape {expected.shape} was given: it is (height, width); draw the frames "
            "of a stack one by one."
        )
    _check_level("gain", gain)
    _check_level("readout_sigma", readout_sigma)
    _check_level("row_offset_sigma", row_offset_sigma)
    weights = _unit_taps(taps)
    lead = len(weights) - 1
    if lead:  # the detector also remembers what came before the first pixel of the row
        padded = cv2.copyMakeBorder(expected, 0, 0, lead, 0, cv2.BORDER_REPLICATE)
        expected = np.asarray(padded, np.float32)
    noisy = sample_arrivals(expected, rng, gain=gain, compound=compound)
    if lead:
        noisy = np.ascontiguousarray(_filter_rows(noisy, weights)[:, lead:])
    if row_offset_sigma > 0:
        offsets = rng.standard_normal((noisy.shape[0], 1), dtype=np.float32)
        noisy += np.float32(row_offset_sigma) * offsets
    if readout_sigma > 0:
        white = rng.standard_normal(noisy.shape, dtype=np.float32)
        white *= np.float32(readout_sigma)
        noisy += white
    return noisy


def _exact_pulses(arrivals: Image, rng: np.random.Generator, gain: float) -> Image:
    counts = rng.poisson(arrivals).astype(np.float32)
    drawn = rng.standard_gamma(counts, dtype=np.float32)
    drawn *= np.float32(gain)
    return drawn


def _many_pulses(arrivals: Image, rng: np.random.Generator, gain: float) -> Image:
    drawn = rng.standard_gamma(arrivals * np.float32(8 / 9), dtype=np.float32)
    drawn *= np.float32(1.5 * gain)
    drawn -= arrivals * np.float32(gain / 3)
    np.maximum(drawn, 0, out=drawn)
    return drawn


def _unit_taps(taps: Sequence[float]) -> Image:
    weights = np.asarray(taps, np.float64)
    if weights.ndim != 1 or weights.size == 0 or not np.isfinite(weights).all():
        raise UsageError(f"Taps {taps!r} were given: give a sequence of finite numbers.")
    if not weights.sum() > 0:
        raise UsageError(f"Taps {taps!r} were given: their sum must be positive.")
    return np.asarray(weights / weights.sum(), np.float32)


def _check_level(name: str, value: float) -> None:
    if not (np.isfinite(value) and value >= 0):
        raise UsageError(f"{name} = {value!r} was given: give a finite number >= 0.")

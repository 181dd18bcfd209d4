"""Metrics of grey level: mean squared error, PSNR, and PSNR after an affine match."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import ArrayLike

from everhart.metrics._pair import as_pair, checked_range
from everhart.micrograph import Micrograph

__all__ = ["affine_match", "affine_psnr", "mse", "nrmse", "psnr"]


def mse(image: Micrograph | ArrayLike, reference: Micrograph | ArrayLike) -> float:
    """Return the mean squared error, in squared grey levels.

    Parameters
    ----------
    image, reference
        Images or stacks of one shape.

    Returns
    -------
    float
        Mean of the squared difference.

    Raises
    ------
    UsageError
        If the shapes differ.

    Examples
    --------
    >>> mse(np.zeros((4, 4)), np.full((4, 4), 2.0))
    4.0
    """
    a, b = as_pair(image, reference)
    return float(np.mean((a - b) ** 2))


def nrmse(image: Micrograph | ArrayLike, reference: Micrograph | ArrayLike) -> float:
    """Return the root mean squared error over the standard deviation of the reference.

    0 for a perfect image, 1 for one that is no better than the reference's mean.

    Parameters
    ----------
    image, reference
        Images or stacks of one shape.

    Returns
    -------
    float
        Dimensionless. NaN where the reference is constant.

    Raises
    ------
    UsageError
        If the shapes differ.

    Examples
    --------
    >>> reference = np.arange(16.0).reshape(4, 4)
    >>> nrmse(np.full((4, 4), reference.mean()), reference)
    1.0
    """
    _, b = as_pair(image, reference)
    spread = float(b.std())
    return math.sqrt(mse(image, reference)) / spread if spread > 0 else math.nan


def psnr(
    image: Micrograph | ArrayLike, reference: Micrograph | ArrayLike, *, data_range: float
) -> float:
    """Return the peak signal-to-noise ratio, in dB.

    Parameters
    ----------
    image, reference
        Images or stacks of one shape.
    data_range
        Distance from black to white, in grey levels.

    Returns
    -------
    float
        ``10 log10(data_range**2 / mse)``; infinite for equal images.

    Raises
    ------
    UsageError
        If the shapes differ or the data range is not positive.

    Examples
    --------
    >>> psnr(np.zeros((4, 4)), np.full((4, 4), 0.1), data_range=1.0)
    20.0
    """
    return _decibel(mse(image, reference), checked_range(data_range))


def affine_match(
    image: Micrograph | ArrayLike, reference: Micrograph | ArrayLike
) -> tuple[float, float]:
    """Return the gain and offset that bring an image closest to its reference.

    Contrast and brightness are settings of the microscope's amplifier; two images of one
    field often differ by them and by nothing that matters.

    Parameters
    ----------
    image, reference
        Images or stacks of one shape.

    Returns
    -------
    gain, offset : float
        The least-squares solution: ``gain * image + offset`` has the smallest mean squared
        error. For a constant image the gain is 1.

    Raises
    ------
    UsageError
        If the shapes differ.

    Examples
    --------
    >>> reference = np.arange(16.0).reshape(4, 4)
    >>> affine_match((reference - 3) / 2, reference)
    (2.0, 3.0)
    """
    a, b = as_pair(image, reference)
    mean_a, mean_b = float(a.mean()), float(b.mean())
    centred = a - mean_a
    power = float(np.mean(centred**2))
    # A constant of large value is not constant after the subtraction of its rounded mean.
    constant = power <= (1e-12 * abs(mean_a)) ** 2
    gain = 1.0 if constant else float(np.mean(centred * (b - mean_b))) / power
    return gain, mean_b - gain * mean_a


def affine_psnr(
    image: Micrograph | ArrayLike, reference: Micrograph | ArrayLike, *, data_range: float
) -> float:
    """Return the PSNR after the least-squares match of grey levels, in dB.

    Parameters
    ----------
    image, reference
        Images or stacks of one shape.
    data_range
        Distance from black to white in the reference, in grey levels.

    Returns
    -------
    float
        PSNR of ``gain * image + offset`` against the reference; at least :func:`psnr`, and
        the same for every gain and offset of the image.

    Raises
    ------
    UsageError
        If the shapes differ or the data range is not positive.

    See Also
    --------
    affine_match : the gain and the offset that are found.

    Examples
    --------
    >>> reference = np.eye(4)
    >>> noisy = reference + 0.1 * (-1.0) ** np.arange(4)
    >>> round(psnr(noisy, reference, data_range=1), 2)
    20.0
    >>> round(affine_psnr(noisy / 2 + 3, reference, data_range=1), 2)
    20.23
    """
    a, b = as_pair(image, reference)
    gain, offset = affine_match(a, b)
    return _decibel(float(np.mean((gain * a + offset - b) ** 2)), checked_range(data_range))


def _decibel(error: float, data_range: float) -> float:
    return math.inf if error == 0 else 10 * math.log10(data_range**2 / error)

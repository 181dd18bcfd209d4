"""Variance stabilisation: the generalised Anscombe transform and its exact unbiased inverse."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from everhart.errors import UsageError

__all__ = ["Anscombe"]

Float32 = NDArray[np.float32]


@dataclass(frozen=True)
class Anscombe:
    """Generalised Anscombe transform of one image's noise.

    The noise has the variance ``gain * (mean - pedestal) + readout_variance``; after
    :meth:`forward` its standard deviation is 1 at (nearly) every grey level, and a denoiser for
    noise of one level can be used. With ``z`` the image in arrivals,
    ``(image - pedestal) / gain``, and ``s2 = readout_variance / gain**2``,

    ``f(z) = 2 * sqrt(max(z + 3/8 + s2, 0))``.

    :meth:`inverse` is the exact unbiased inverse, which maps ``E f(z)`` to ``E z``. The algebraic
    inverse would give the mean of a transformed variable for the transform of the mean,
    and so make dark parts too dark [1]_.

    Parameters
    ----------
    gain
        Slope of variance against mean, in grey levels; not 0. A negative one is the noise of
        an image of inverted contrast, whose dark parts have the strong noise.
    pedestal
        Grey level of zero signal.
    readout_variance
        Variance at the pedestal, in squared grey levels, at least 0.

    Raises
    ------
    UsageError
        If the gain is 0 or not finite, or the readout variance is negative.

    References
    ----------
    .. [1] M. Makitalo, A. Foi, "Optimal inversion of the generalized Anscombe transformation for
       Poisson-Gaussian noise", IEEE Transactions on Image Processing 22 (2013), 91-103: the
       transform is eq. 2, the closed form of the inverse eq. 10.

    Examples
    --------
    >>> rng = np.random.default_rng(0)
    >>> counts = rng.poisson(20.0, size=(200, 200)) * 3.0 + rng.normal(scale=4, size=(200, 200))
    >>> transform = Anscombe(gain=3.0, readout_variance=16.0)
    >>> stable = transform.forward(counts)
    >>> round(float(stable.std()), 1)
    1.0
    >>> level = transform.inverse(np.full((1, 1), stable.mean()))
    >>> abs(float(level[0, 0]) - 60.0) < 0.2
    True
    """

    gain: float
    pedestal: float = 0.0
    readout_variance: float = 0.0

    def __post_init__(self) -> None:
        if not math.isfinite(self.gain) or self.gain == 0:
            raise UsageError(
                f"A gain of {self.gain!r} was given: the slope of variance against mean is finite "
                "and not 0; noise of one level needs no stabilisation."
            )
        if not (math.isfinite(self.readout_variance) and self.readout_variance >= 0):
            raise UsageError(
                f"A readout variance of {self.readout_variance!r} was given: it is finite and at "
                "least 0; move the pedestal to where the variance is not negative."
            )

    @property
    def _readout(self) -> float:
        return self.readout_variance / self.gain**2

    def forward(self, image: ArrayLike) -> Float32:
        """Stabilise an image.

        Parameters
        ----------
        image
            Grey levels, any shape.

        Returns
        -------
        ndarray
            float32 of the same shape, in standard deviations of the noise. A negative gain
            gives an image of inverted contrast, which :meth:`inverse` inverts back.
        """
        arrivals = (np.asarray(image, np.float64) - self.pedestal) / self.gain
        return (2 * np.sqrt(np.maximum(arrivals + (0.375 + self._readout), 0))).astype(np.float32)

    def inverse(self, stable: ArrayLike) -> Float32:
        """Return the grey level whose expected transform is given.

        Parameters
        ----------
        stable
            Denoised image in the units of :meth:`forward`, any shape.

        Returns
        -------
        ndarray
            float32 of the same shape, in grey levels.
        """
        mean = np.asarray(stable, np.float64)
        # The series in 1/d is exact at the transform of zero without readout noise, and runs away
        # below it.
        root = math.sqrt(1.5)
        d = np.maximum(mean, root)
        arrivals = d**2 / 4 + root / (4 * d) - 11 / (8 * d**2) + 5 * root / (8 * d**3) - 1 / 8
        arrivals -= self._readout
        return (self.pedestal + self.gain * arrivals).astype(np.float32)

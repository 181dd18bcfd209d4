"""What the noise of a micrograph is, and what to do about it.

The room can be called: ``everhart.noise(image)`` is :func:`diagnose`.
"""

from __future__ import annotations

from everhart._callable_room import make_callable
from everhart.noise.correlation import autocorrelation, autocovariance, spectrum
from everhart.noise.estimate import NoiseEstimate, estimate_noise

__all__ = [
    "NoiseEstimate",
    "autocorrelation",
    "autocovariance",
    "estimate_noise",
    "spectrum",
]

make_callable(__name__, "diagnose")

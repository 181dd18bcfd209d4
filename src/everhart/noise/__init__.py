"""What the noise of a micrograph is, and what to do about it.

The room can be called: ``everhart.noise(image)`` is :func:`diagnose`.
"""

from __future__ import annotations

from everhart._callable_room import make_callable
from everhart.noise.advice import Advice
from everhart.noise.correlation import autocorrelation, autocovariance, spectrum
from everhart.noise.diagnosis import NoiseReport, diagnose
from everhart.noise.estimate import estimate_noise
from everhart.noise.model import NoiseEstimate

__all__ = [
    "Advice",
    "NoiseEstimate",
    "NoiseReport",
    "autocorrelation",
    "autocovariance",
    "diagnose",
    "estimate_noise",
    "spectrum",
]

make_callable(__name__, "diagnose")

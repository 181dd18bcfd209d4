"""Measurements on micrographs: what is where, how large, and how sure that is.

:func:`everhart.measure.circles` finds circles (contact and channel holes), and
:func:`everhart.measure.failure_rate` says how many of those that are there it missed.
"""

from __future__ import annotations

from everhart.measure import circles, defects, holes, layers, lines, particles
from everhart.measure.matching import FailureRate, failure_rate

__all__ = [
    "FailureRate",
    "circles",
    "defects",
    "failure_rate",
    "holes",
    "layers",
    "lines",
    "particles",
]

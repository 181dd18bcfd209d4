"""What the image does to an edge along its line: the blur of the probe, the colour of noise."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from everhart.measure._roughness_model import Known
from everhart.measure.edges import fit_mean_profile

__all__ = ["known_along"]

Float = NDArray[np.float64]

_PIXEL_PX2 = 1 / 12  # variance of a pixel's width, which the scan averages over
_LEAST_CORRELATION = 0.1  # of neighbouring rows; below that it is the estimate's own error
_FADED = 0.03
_FLOOR_PX2, _RELATIVE = 0.2, 0.5  # how well the blur is known
_UNKNOWN = (0.3, 0.5)  # squared rows, where no profile could be fitted


def known_along(
    profiles: Sequence[tuple[Float, Float]], across: Float, along: Float, aspect: float
) -> Known:
    """Find what blurs edges along the lines, from how blurred they are across.

    A probe is about as wide along the lines as it is across them. Across, the flank of an edge is
    blurred by the probe, by the pixel, and by the detector's filter where that is the direction of
    the scan; the specimen's own slope widens it too. The noise tells of the filter: its
    autocorrelation is that of the filter, of twice its variance. So the probe is what is left
    of the flank without pixel and filter, known to half of itself.

    Parameters
    ----------
    profiles
        Of each direction of edges, distance in px and mean grey level, ``(n,)``.
    across, along
        Autocorrelation of the image's noise across and along the lines, from lag 0 on.
    aspect
        Width of a pixel across the lines over that along them.

    Returns
    -------
    Known
        For :func:`everhart.measure.roughness.fit_roughness`.
    """
    colour = _correlated(along)
    noise = tuple(float(v) for v in colour)
    found = [fit_mean_profile(-distance, grey) for distance, grey in profiles]
    flanks = [profile.blur_px**2 for profile in found if profile is not None]
    if not flanks:
        return Known(*_UNKNOWN, noise)
    probe = float(np.mean(flanks)) - _PIXEL_PX2 - _filter_variance(_correlated(across))
    probe = max(probe, 0.0)
    sd = float(np.hypot(_FLOOR_PX2, _RELATIVE * probe))
    return Known(probe * aspect**2 + _filter_variance(colour), sd * aspect**2, noise)


def _correlated(correlation: Float) -> Float:
    """Return an autocorrelation ``(lags,)`` of noise as far as it is there, at least lag 0."""
    if len(correlation) < 2 or correlation[1] < _LEAST_CORRELATION:
        return np.ones(1)
    faded = np.flatnonzero(correlation < _FADED)
    # What does not end within the map is structure: of an image without noise, or denoised.
    return np.asarray(correlation[: faded[0]] if len(faded) else np.ones(1), np.float64)


def _filter_variance(correlation: Float) -> float:
    """Return the variance of a filter whose autocorrelation white noise has after it."""
    lag = np.arange(len(correlation))
    total = 1 + 2 * float(correlation[1:].sum())
    return float(lag**2 @ correlation) / total

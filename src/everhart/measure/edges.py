"""Edges to a fraction of a pixel: along rays, and as a model of the edge's profile."""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

__all__ = [
    "EdgeProfile",
    "fit_edge_profile",
    "fit_mean_profile",
    "sample_rays",
    "steepest",
]

Float = NDArray[np.float64]

STEP_PX = 0.5
"""Distance of the samples along a ray."""


def sample_rays(image: NDArray[np.float32], y: Float, x: Float) -> Float:
    """Return grey levels at places between pixels, by cubic interpolation.

    Parameters
    ----------
    image
        Image of shape ``(H, W)``, float32.
    y, x
        Places of shape ``(rays, steps)``, fewer than 32767 rays. Beyond the image its border is
        repeated.

    Returns
    -------
    ndarray
        float64 of the shape of `y`. Places are rounded to 1/32 pixel.
    """
    seen = cv2.remap(
        image, x.astype(np.float32), y.astype(np.float32), cv2.INTER_CUBIC,
        borderMode=cv2.BORDER_REPLICATE,
    )  # fmt: skip
    return np.asarray(seen, np.float64)


def steepest(profiles: Float, step_px: float = STEP_PX) -> tuple[Float, Float]:
    """Find where profiles rise most steeply, to a fraction of a sample.

    Parameters
    ----------
    profiles
        Grey levels along each ray, shape ``(rays, steps)``, at least 5 steps.
    step_px
        Distance of the samples in pixels.

    Returns
    -------
    position : ndarray
        Shape ``(rays,)``: in pixels from the first sample, by a parabola through the
        largest slope and its neighbours; NaN where the largest slope is at an end of the ray.
    slope : ndarray
        The largest slope, in grey levels a pixel.

    Examples
    --------
    >>> ramp = 1 / (1 + np.exp(-(np.arange(20) - 8.3)))
    >>> position, _ = steepest(ramp[None], 1.0)
    >>> abs(position[0] - 8.3) < 0.05
    np.True_
    """
    slopes = np.gradient(profiles, step_px, axis=1)
    index = np.argmax(slopes[:, 1:-1], axis=1) + 1
    rows = np.arange(len(profiles))
    before, top, after = (slopes[rows, index + k] for k in (-1, 0, 1))
    bend = before - 2 * top + after
    with np.errstate(divide="ignore", invalid="ignore"):
        offset = np.where(bend < 0, 0.5 * (before - after) / bend, 0.0)
    position = (index + np.clip(offset, -0.5, 0.5)) * step_px
    at_end = (index <= 1) | (index >= profiles.shape[1] - 2)
    return np.where(at_end, np.nan, position), top


@dataclass(frozen=True)
class EdgeProfile:
    """The model of an edge with a wall and a rim, as a scanning microscope shows it.

    Inside of the edge the grey level falls from `top` to `inner` as an exponential of length
    `wall_px`, outside to `outer` as one of length `rim_px`; all that is blurred by a Gaussian.
    A plain step is the limit of short lengths.

    Parameters
    ----------
    position_px
        Where the edge is, from the zero of the distances that were given, positive outwards.
    position_sigma_px
        Standard deviation of that, by the scatter of the profile around the model.
    inner, top, outer
        Grey levels.
    wall_px, rim_px, blur_px
        Lengths; `blur_px` is a standard deviation.
    rms
        Root mean square of what the model leaves of the mean profile, in grey levels.
    """

    position_px: float
    position_sigma_px: float
    inner: float
    top: float
    outer: float
    wall_px: float
    rim_px: float
    blur_px: float
    rms: float


def fit_edge_profile(
    distance_px: Float, grey: Float, *, bin_px: float = 0.25
) -> EdgeProfile | None:
    """Fit the model of an edge to grey levels at distances from it.

    The steepest place of a blurred edge with a rim is not the edge: the blur moves it into
    the wall, by a pixel where the wall falls over three. The profile that all of an edge (or
    all edges of an image) have in common has little noise, and tells where it really is.

    Parameters
    ----------
    distance_px
        Distance of each sample from the steepest place of its edge, positive outwards, any shape.
    grey
        Grey level of each sample.
    bin_px
        Width of the bins in which samples are averaged.

    Returns
    -------
    EdgeProfile or None
        None where there are too few samples for a fit, or it does not converge.
    """
    reach = float(np.abs(distance_px).max())
    bins = np.rint((np.ravel(distance_px) + reach) / bin_px).astype(np.intp)
    counts = np.bincount(bins)
    used = counts >= 8
    if used.sum() < 12:
        return None
    sums = np.bincount(bins, np.ravel(grey))
    places = np.bincount(bins, np.ravel(distance_px))
    return fit_mean_profile(places[used] / counts[used], sums[used] / counts[used])


def fit_mean_profile(distance_px: Float, grey: Float) -> EdgeProfile | None:
    """Fit the model of an edge to a profile that has been averaged.

    Parameters
    ----------
    distance_px
        Distance from the steepest place, positive outwards, shape ``(n,)``, at least 12.
    grey
        Mean grey levels, shape ``(n,)``.

    Returns
    -------
    EdgeProfile or None
        None where there is no contrast.
    """
    from scipy.optimize import least_squares

    d, mean = distance_px, grey
    reach = float(np.abs(d).max())
    scale = float(np.ptp(mean))
    if scale == 0:
        return None
    g = (mean - mean.min()) / scale

    def residual(p: Float) -> Float:
        return np.asarray(_profile(d - p[0], p[1], p[2], p[3], *np.exp(p[4:7])) - g)

    low, high = float(np.median(g[d < -reach / 2])), float(np.median(g[d > reach / 2]))
    best = None
    for wall in (0.7, 2.0):
        start = np.array([0.0, low, max(float(g.max()), high), high, *np.log([wall, 3.0, 0.9])])
        lower = np.array([-reach / 2, -1, -1, -1, *np.log([0.02, 0.02, 0.25])])
        upper = np.array([reach / 2, 2, 4, 2, *np.log([reach, 2 * reach, reach / 3])])
        start = np.clip(start, lower + 1e-6, upper - 1e-6)
        fit = least_squares(residual, start, bounds=(lower, upper), max_nfev=200)
        if best is None or fit.cost < best.cost:
            best = fit
    assert best is not None
    freedom = max(len(d) - best.x.size, 1)
    variance = 2 * best.cost / freedom
    slope = np.asarray(best.jac, np.float64)
    covariance = np.linalg.pinv(slope.T @ slope) * variance
    p = best.x
    base = float(mean.min())
    inner, top, outer = (base + scale * float(v) for v in p[1:4])
    wall_px, rim_px, blur_px = (float(v) for v in np.exp(p[4:7]))
    return EdgeProfile(
        float(p[0]), float(np.sqrt(max(covariance[0, 0], 0))), inner, top, outer,
        wall_px, rim_px, blur_px, scale * float(np.sqrt(variance)),
    )  # fmt: skip


def _profile(
    d: Float,
    inner: float,
    top: float,
    outer: float,
    wall: float,
    rim: float,
    blur: float,
) -> Float:
    from scipy.special import ndtr

    inside, outside = _blurred_decay(-d, wall, blur), _blurred_decay(d, rim, blur)
    steps = inner * ndtr(-d / blur) + outer * ndtr(d / blur)
    return np.asarray(steps + (top - inner) * inside + (top - outer) * outside)


def _blurred_decay(d: Float, length: float, blur: float) -> Float:
    """Return ``exp(-d / length)`` for d > 0 and 0 before, blurred by a Gaussian."""
    from scipy.special import log_ndtr

    ratio = blur / length
    return np.asarray(np.exp(0.5 * ratio**2 - d / length + log_ndtr(d / blur - ratio)))

"""The linear equations of one step of the fit of a hole."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from everhart.measure._hole_band import Band, HoleFit, bin_basis
from everhart.measure._hole_noise import Noise
from everhart.measure._hole_template import Template

__all__ = ["normal_equations"]

Float = NDArray[np.float64]


def normal_equations(
    hole: HoleFit, band: Band, template: Template, noise: Noise
) -> tuple[Float, Float, Float, Float]:
    """Return normal matrix, right side, and weight and slope of each pixel.

    The pixels of one direction are summed first: all have the same harmonics.
    """
    value, slope = template.at(band.distance)
    weight = 1 / noise.at(value)
    left = band.grey - hole.offset - hole.gain * value
    # A particle or a neighbour's edge is no noise: beyond six standard deviations it counts less.
    unusual = np.abs(left) * np.sqrt(weight) / 6
    weight = weight / np.maximum(unusual, 1.0)
    weight = weight / noise.inflation
    moved = -hole.gain * slope  # by a larger radius
    bins = band.bins

    def binned(values: Float) -> Float:
        return np.asarray(np.bincount(band.angle_bin, values, bins), np.float64)

    basis = bin_basis(bins, hole.orders)
    strength = binned(weight * moved**2)
    by_offset = basis.T @ binned(weight * moved)
    by_gain = basis.T @ binned(weight * moved * value)
    n = basis.shape[1]
    normal = np.empty((n + 2, n + 2))
    normal[:n, :n] = (basis.T * strength) @ basis
    normal[:n, n] = normal[n, :n] = by_offset
    normal[:n, n + 1] = normal[n + 1, :n] = by_gain
    normal[n, n] = weight.sum()
    normal[n, n + 1] = normal[n + 1, n] = weight @ value
    normal[n + 1, n + 1] = weight @ value**2
    right = np.concatenate(
        [basis.T @ binned(weight * moved * left), [weight @ left, (weight * left) @ value]]
    )
    return normal, right, weight, moved

"""What noise that neighbouring pixels have in common does to the variances of holes."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from everhart.measure._hole_band import Band, HoleFit, bin_basis, cut_band
from everhart.measure._hole_noise import Noise
from everhart.measure._hole_normal import normal_equations
from everhart.measure._hole_template import Template

__all__ = ["correlate"]

Float = NDArray[np.float64]


def correlate(
    image: NDArray[np.float32], holes: list[HoleFit], reach: float, bins: int,
    template: Template, noise: Noise, correlation: Float | None,
) -> tuple[Float, float]:  # fmt: skip
    """Work out what noise that neighbouring pixels have in common does to the variances.

    The least-squares covariance is that of independent pixels. With the correlation of the
    residuals the true one is ``H^-1 (J' W C W J) H^-1``: it is worked out on some of the
    holes, and its ratio to the first taken for all.

    Returns
    -------
    ratio : ndarray
        True variance over that of the fit, for each parameter.
    inflation : float
        The same for the place of an edge, over that for white noise.
    """
    import cv2

    kept = [h for h in holes if not h.lost]
    patches = []
    for hole in kept[:: max(len(kept) // 24, 1)]:
        band = cut_band(image, hole, reach, bins)
        if band is not None:
            patches.append((hole, band, normal_equations(hole, band, template, noise)))
    if not patches:
        return np.ones(max(len(h.covariance) for h in holes)), 1.0
    if correlation is None:
        kernel = _residual_correlation(patches, template)
    else:
        kernel = correlation.astype(np.float32)
    ratios, edges = [], []
    for hole, band, (_, _, weight, moved) in patches[:: max(len(patches) // 6, 1)]:
        value = template.at(band.distance)[0]
        basis = bin_basis(bins, hole.orders)[band.angle_bin]
        jacobian = np.concatenate(
            [basis * moved[:, None], np.ones((len(value), 1)), value[:, None]], axis=1
        )
        # In units of each pixel's noise, whose correlation is the kernel.
        root = np.sqrt(weight)
        fields = np.concatenate([jacobian @ hole.covariance, moved[:, None]], axis=1)
        fields *= root[:, None]
        rows, columns = band.rows - band.rows.min(), band.columns - band.columns.min()
        patch = np.zeros((rows.max() + 1, columns.max() + 1), np.float32)
        found = []
        for one in fields.T:
            patch[rows, columns] = one
            spread = cv2.filter2D(patch, cv2.CV_32F, kernel, borderType=cv2.BORDER_CONSTANT)
            found.append(float(one @ spread[rows, columns]) / max(float(one @ one), 1e-30))
        ratios.append(np.maximum(found[:-1], 0.05))
        edges.append(max(found[-1], 0.05))
    return np.mean(ratios, axis=0) / noise.inflation, float(np.mean(edges))


def _residual_correlation(
    patches: list[tuple[HoleFit, Band, tuple[Float, Float, Float, Float]]], template: Template
) -> NDArray[np.float32]:
    """Return the correlation of residuals over lags in y and x, zero where it is chance."""
    from scipy.fft import irfft2, rfft2

    lag = 8
    size = 2 * lag + 1
    products, pairs = np.zeros((size, size)), np.zeros((size, size))
    for hole, band, (_, _, weight, _) in patches:
        rows, columns = band.rows - band.rows.min(), band.columns - band.columns.min()
        shape = (int(rows.max()) + 1 + lag, int(columns.max()) + 1 + lag)
        value = template.at(band.distance)[0]
        field_ = np.zeros(shape)
        field_[rows, columns] = (band.grey - hole.offset - hole.gain * value) * np.sqrt(weight)
        there = np.zeros(shape)
        there[rows, columns] = 1
        for total, of in ((products, field_), (pairs, there)):
            power = irfft2(np.abs(rfft2(of)) ** 2, shape)
            total += np.roll(power, (lag, lag), (0, 1))[:size, :size]
    correlation = products / np.maximum(pairs, 1)
    correlation /= max(float(correlation[lag, lag]), 1e-30)
    chance = 3 / np.sqrt(np.maximum(pairs, 1))
    return np.where(np.abs(correlation) > chance, correlation, 0).astype(np.float32)

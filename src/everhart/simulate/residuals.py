"""Moments of the noise in flat patches of pairs and frames."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields

import numpy as np
from numpy.typing import NDArray

from everhart.errors import UsageError
from everhart.simulate.scene import Image

__all__ = ["PatchMoments", "flat_patches", "patch_moments"]


@dataclass(frozen=True)
class PatchMoments:
    """Moments of the noise of flat patches, one row a patch.

    Parameters
    ----------
    level
        Mean grey level, ``(P,)``.
    covariance
        Autocovariance at horizontal lags ``0 .. max_lag``, ``(P, max_lag + 1)``.
    covariance_down
        Autocovariance at vertical lags ``0 .. max_lag``, ``(P, max_lag + 1)``.
    row_covariance
        Mean autocovariance at horizontal lags beyond `max_lag` up to half of the patch:
        what a whole row has in common, ``(P,)``.
    third
        Third central moment, ``(P,)``; NaN where the reference is too noisy for it.
    clipped
        Share of pixels at the lowest or the highest grey level, ``(P,)``.
    patch_px
        Side of a patch.
    """

    level: NDArray[np.float64]
    covariance: NDArray[np.float64]
    covariance_down: NDArray[np.float64]
    row_covariance: NDArray[np.float64]
    third: NDArray[np.float64]
    clipped: NDArray[np.float64]
    patch_px: int

    def __len__(self) -> int:
        return int(self.level.size)

    @property
    def n_pixels(self) -> int:
        """Number of pixels in all patches."""
        return len(self) * self.patch_px**2

    def select(self, which: NDArray[np.bool_]) -> PatchMoments:
        """Return some of the patches."""
        return PatchMoments(
            self.level[which], self.covariance[which], self.covariance_down[which],
            self.row_covariance[which], self.third[which], self.clipped[which], self.patch_px,
        )  # fmt: skip

    @staticmethod
    def concatenate(parts: Sequence[PatchMoments]) -> PatchMoments:
        """Join the patches of several images."""
        names = [f.name for f in fields(PatchMoments) if f.name != "patch_px"]
        joined = {name: np.concatenate([getattr(p, name) for p in parts]) for name in names}
        return PatchMoments(**joined, patch_px=parts[0].patch_px)


def flat_patches(
    reference: Image, patch_px: int, *, share: float = 0.5, tolerance: float | None = None
) -> NDArray[np.int64]:
    """Find patches in which the picture hardly changes.

    The lightly blurred reference must be close to a plane everywhere in a patch and a border
    of three pixels around it, so that a registration that is wrong by a pixel leaves nothing of
    the picture in the residual.

    Parameters
    ----------
    reference
        Low-noise image of shape ``(H, W)``.
    patch_px
        Side of a patch.
    share
        Share of patches to keep, the flattest first, where `tolerance` is None.
    tolerance
        Largest standard deviation about the plane, in grey levels.

    Returns
    -------
    ndarray
        ``(P, 2)``: first row and column of each patch; patches do not overlap.
    """
    from scipy.ndimage import gaussian_filter

    border = 3
    height, width = reference.shape
    if min(height, width) < patch_px + 2 * border:
        raise UsageError(
            f"An image of {height} x {width} pixels was given: at least {patch_px + 2 * border} "
            "in each direction are needed; give a larger one or a smaller patch_px."
        )
    smooth = gaussian_filter(np.asarray(reference, np.float64), 1.0)
    rows = np.arange(border, height - patch_px - border + 1, patch_px)
    columns = np.arange(border, width - patch_px - border + 1, patch_px)
    corners = np.stack(np.meshgrid(rows, columns, indexing="ij"), axis=-1).reshape(-1, 2)
    wide = _cut(smooth, corners - border, patch_px + 2 * border)
    rough = _detrend(wide).std(axis=(1, 2))
    limit = float(np.quantile(rough, share)) if tolerance is None else tolerance
    return np.asarray(corners[rough <= limit], np.int64)


def patch_moments(
    noisy: Image,
    reference: Image,
    corners: NDArray[np.int64],
    *,
    patch_px: int,
    max_lag: int = 4,
    reference_shots: float = np.inf,
    full_scale: tuple[float, float] | None = None,
) -> PatchMoments:
    """Measure the moments of ``noisy - reference`` in patches.

    A plane is taken from each patch, so that slow differences of brightness do not count as
    noise. That also takes a known share of the noise, which is put back. The noise of a reference
    that is itself a mean of `reference_shots` independent shots is taken out.

    Parameters
    ----------
    noisy, reference
        Images of shape ``(H, W)``, registered.
    corners
        See :func:`flat_patches`.
    patch_px, max_lag
        Side of a patch; largest lag, less than a quarter of the side.
    reference_shots
        Number of shots in the reference.
    full_scale
        Lowest and highest grey level that the converter gives, to count what is clipped.

    Returns
    -------
    PatchMoments
        Moments of a single shot.
    """
    a = _cut(np.asarray(noisy, np.float64), corners, patch_px)
    residual = _detrend(a - _cut(np.asarray(reference, np.float64), corners, patch_px))
    far = max(patch_px // 2, max_lag + 2)
    along = np.stack([_lagged(residual, lag) for lag in range(far + 1)], axis=1)
    down = np.stack([_lagged(residual.swapaxes(1, 2), lag) for lag in range(max_lag + 1)], axis=1)
    # E[measured_j] = C_j + rows - S B_j, with S the sum of C over all lags and B_j the mean
    # product of the plane's three basis functions over pixels j apart; lags beyond max_lag have
    # C = 0 and tell what rows share.
    taken = _plane_overlap(patch_px, far)
    near = slice(0, max_lag + 1)
    distant = along[:, max_lag + 1 :].mean(axis=1)
    relative = taken[near] - taken[max_lag + 1 :].mean()
    twice = np.full(max_lag + 1, 2.0)
    twice[0] = 1.0
    total = (along[:, near] - distant[:, None]) @ twice / (1 - relative @ twice)
    one_shot = 1 / (1 + 1 / reference_shots)
    # The plane takes from a cube, to first order, 9 means of the noise for each pixel.
    variance = along[:, 0].mean()
    lost = 9 * max(float(total.mean()), 0.0) / max(float(variance), 1e-12) / patch_px**2
    third = (residual**3).mean(axis=(1, 2)) / max(1 - lost, 0.5)
    third = (
        np.full_like(third, np.nan) if reference_shots < 2 else third / (1 - reference_shots**-2)
    )
    low, high = full_scale if full_scale is not None else (-np.inf, np.inf)
    return PatchMoments(
        level=a.mean(axis=(1, 2)),
        covariance=(along[:, near] + total[:, None] * taken[near]) * one_shot,
        covariance_down=(down + total[:, None] * taken[near]) * one_shot,
        row_covariance=(distant + total * taken[max_lag + 1 :].mean()) * one_shot,
        third=third,
        clipped=((a <= low) | (a >= high)).mean(axis=(1, 2)),
        patch_px=patch_px,
    )


def _plane_overlap(size: int, max_lag: int) -> NDArray[np.float64]:
    """Mean over pairs of pixels of the projection on planes, at lags 0 to `max_lag` along x."""
    ramp = np.arange(size) - (size - 1) / 2
    unit = ramp / np.sqrt((ramp**2).sum() * size)
    slope = [float(np.mean(unit[: size - j] * unit[j:])) for j in range(max_lag + 1)]
    return 2 / size**2 + np.array(slope)


def _cut(image: NDArray[np.float64], corners: NDArray[np.int64], size: int) -> NDArray[np.float64]:
    windows = np.lib.stride_tricks.sliding_window_view(image, (size, size))
    return np.asarray(windows[corners[:, 0], corners[:, 1]], np.float64)


def _detrend(patches: NDArray[np.float64]) -> NDArray[np.float64]:
    """Take the best plane from each patch of ``(P, n, n)``."""
    n = patches.shape[-1]
    ramp = np.arange(n) - (n - 1) / 2
    unit = ramp / np.sqrt((ramp**2).sum() * n)
    flat = patches - patches.mean(axis=(1, 2), keepdims=True)
    slope_y = (flat * unit[:, None]).sum(axis=(1, 2))[:, None, None]
    slope_x = (flat * unit[None, :]).sum(axis=(1, 2))[:, None, None]
    return np.asarray(flat - slope_y * unit[:, None] - slope_x * unit[None, :], np.float64)


def _lagged(residual: NDArray[np.float64], lag: int) -> NDArray[np.float64]:
    width = residual.shape[-1]
    product = residual[:, :, : width - lag] * residual[:, :, lag:]
    return np.asarray(product.mean(axis=(1, 2)), np.float64)

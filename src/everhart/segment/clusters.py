"""Segmentation without labels: pixels of like features are one cluster."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from everhart.errors import EverhartError, UsageError
from everhart.segment.features import PixelFeatures

__all__ = ["MOST_CLUSTERS", "Clustering", "fit_clusters", "flat_regions", "silhouette"]

MOST_CLUSTERS: Final = 32
"""Largest number of clusters."""

_SAMPLES: Final = 20_000
"""Pixels, of all images together, from which the clusters are found."""

_COMPONENTS: Final = 24
_FLAT_SIGMA_PX: Final = 1.5
_FLAT_PX: Final = 60
_FLAT_SAMPLES: Final = 8
_FLOOR: Final = 0.05
_STARTS: Final = 8
_TRIED: Final = range(2, 11)
_JUDGED: Final = 1500

Float = NDArray[np.float64]


@dataclass(frozen=True)
class Clustering:
    """Clusters that were found, to be told apart in any image.

    Parameters
    ----------
    features
        What is looked at.
    mean, projection
        Features ``(C,)`` in the middle, and what takes them to components, ``(C, components)``.
    centres
        Of the clusters, ``(K, components)``, the largest cluster first.
    smoothing_px
        Deviation of the Gaussian over which neighbours decide together.
    """

    features: PixelFeatures
    mean: Float
    projection: Float
    centres: Float
    smoothing_px: float

    @property
    def count(self) -> int:
        """Number of clusters."""
        return len(self.centres)

    def segment(self, pixels: NDArray[Any]) -> NDArray[np.uint8]:
        """Return the cluster of every pixel of an image ``(H, W)``, from 0."""
        return self._assigned(self.features.of(pixels))

    def _assigned(self, planes: NDArray[np.float32]) -> NDArray[np.uint8]:
        from scipy.ndimage import gaussian_filter

        rows = planes.reshape(len(planes), -1).T
        shape = planes.shape[1:]
        away = np.empty((self.count, *shape), np.float32)
        # Some pixels at a time: the features of a large image are large enough once.
        flat = away.reshape(self.count, -1)
        for first in range(0, len(rows), 1 << 16):
            part = slice(first, first + (1 << 16))
            flat[:, part] = _distances((rows[part] - self.mean) @ self.projection, self.centres).T
        if self.smoothing_px:
            for plane in away:
                gaussian_filter(plane, self.smoothing_px, output=plane, mode="nearest")
        return np.asarray(away.argmin(0), np.uint8)


def fit_clusters(
    features: PixelFeatures,
    images: Sequence[NDArray[Any]],
    count: int | None,
    *,
    smoothing_px: float = 1.5,
    seed: int = 0,
) -> Clustering:
    """Find clusters of pixels in images.

    Features are standardised and taken to their principal components, and what varies within flat
    regions of the images, which have no border in them, is weighed down [2]_: the position in the
    image, noise. k-means looks for the centres in a sample of pixels of all images. One image's
    features are held at a time.

    Parameters
    ----------
    features
        What is looked at.
    images
        Images ``(H, W)``.
    count
        Number of clusters; None to estimate it by the silhouette [1]_.
    smoothing_px
        Deviation in pixels of the Gaussian by which the distances to the centres are smoothed
        before the nearest is taken; 0 for none.
    seed
        Seed of the sample and of the starts.

    Returns
    -------
    Clustering
        The clusters, the one with most pixels first.

    Raises
    ------
    UsageError
        If there is no image, or the number is none that is allowed.
    EverhartError
        If the images have fewer different pixels than clusters were asked for.

    References
    ----------
    .. [1] P. J. Rousseeuw, "Silhouettes: a graphical aid to the interpretation and validation of
       cluster analysis", J. Comput. Appl. Math. 20 (1987), 53-65.
    .. [2] A. Bar-Hillel et al., "Learning distance functions using equivalence relations", ICML
       2003: relevant component analysis.
    """
    if not images:
        raise UsageError("No image was given: give at least one.")
    if count is not None and not 2 <= count <= MOST_CLUSTERS:
        raise UsageError(f"{count} clusters were asked for: give 2 to {MOST_CLUSTERS}.")
    if not 0 <= smoothing_px < 100:
        raise UsageError(f"smoothing_px = {smoothing_px} was given: give 0 to 100.")
    rng = np.random.default_rng([seed, 11])
    each = max(1, _SAMPLES // len(images))
    sampled, regions, known = [], [], 0
    for pixels in images:
        planes = features.of(pixels)
        rows = planes.reshape(len(planes), -1)
        taken = np.sort(rng.choice(rows.shape[1], min(each, rows.shape[1]), replace=False))
        sampled.append(rows[:, taken].T.astype(np.float32))
        flat = flat_regions(pixels).ravel()[taken]
        regions.append(np.where(flat > 0, flat + known, 0))
        known += int(flat.max(initial=0))
    sample = np.concatenate(sampled)
    mean, projection = _components(sample)
    projection = projection @ _relevant((sample - mean) @ projection, np.concatenate(regions))
    points = (sample - mean) @ projection
    if count is None:
        tried = {k: _kmeans(points, k, rng) for k in _TRIED}
        centres = max(tried.values(), key=lambda found: silhouette(points, found, rng))
    else:
        centres = _kmeans(points, count, rng)
    sizes = np.bincount(_distances(points, centres).argmin(1), minlength=len(centres))
    centres = centres[np.argsort(-sizes, kind="stable")]
    return Clustering(features, mean, projection, centres, smoothing_px)


def silhouette(points: Float, centres: Float, rng: np.random.Generator) -> float:
    """Return the mean silhouette of a part of the points.

    Parameters
    ----------
    points
        ``(N, components)``.
    centres
        ``(K, components)``; a point belongs to the nearest.
    rng
        Chooses the part.

    Returns
    -------
    float
        -1 to 1: how much nearer a point is to its own cluster than to the next one.
    """
    part = points[rng.choice(len(points), min(_JUDGED, len(points)), replace=False)]
    own = _distances(part, centres).argmin(1)
    apart = np.sqrt(np.maximum(_distances(part, part), 0))
    sizes = np.bincount(own, minlength=len(centres))
    sums = np.stack([apart[:, own == k].sum(1) for k in range(len(centres))], axis=1)
    rows = np.arange(len(part))
    within = sums[rows, own] / np.maximum(sizes[own] - 1, 1)
    means = np.where(sizes > 0, sums / np.maximum(sizes, 1), np.inf)
    means[rows, own] = np.inf
    other = means.min(1)
    known = (sizes[own] > 1) & np.isfinite(other)
    value = (other - within) / np.maximum(np.maximum(other, within), 1e-12)
    return float(np.where(known, value, 0).mean())


def flat_regions(pixels: NDArray[Any]) -> NDArray[np.int32]:
    """Return the connected regions of an image that have no border in them.

    Parameters
    ----------
    pixels
        Image ``(H, W)``.

    Returns
    -------
    ndarray
        A number a region, from 1; 0 for the half of the pixels with the steeper gradients, and
        for regions of fewer than 60 pixels.

    Examples
    --------
    >>> halves = np.repeat([0.0, 9.0], 32)[None].repeat(64, 0)
    >>> found = flat_regions(halves)
    >>> int(found[30, 5]), int(found[30, 31]), int(found[30, 60])
    (1, 0, 2)
    """
    import cv2

    values = np.nan_to_num(np.asarray(pixels, np.float32))
    gy, gx = np.gradient(cv2.GaussianBlur(values, (0, 0), _FLAT_SIGMA_PX))
    steep = np.hypot(gy, gx)
    flat = (steep <= np.median(steep)).astype(np.uint8)
    _, found, stats, _ = cv2.connectedComponentsWithStats(flat, connectivity=4)
    kept = stats[:, cv2.CC_STAT_AREA] >= _FLAT_PX
    kept[0] = False
    names = np.zeros(len(kept), np.int32)
    names[kept] = np.arange(1, int(kept.sum()) + 1)
    return names[found]


def _relevant(points: Float, regions: NDArray[Any]) -> Float:
    """Return what makes the spread within regions the same in all directions.

    Parameters
    ----------
    points
        Components ``(N, components)``.
    regions
        Number of the region of each point; 0 for none.
    """
    sizes = np.bincount(regions)
    sums = np.stack([np.bincount(regions, column) for column in points.T], axis=1)
    means = sums / np.maximum(sizes, 1)[:, None]
    inside = (regions > 0) & (sizes[regions] >= _FLAT_SAMPLES)
    if inside.sum() < 10 * points.shape[1]:  # too few to tell anything by
        return np.eye(points.shape[1])
    away = points[inside] - means[regions[inside]]
    within = away.T @ away / len(away)
    # Directions in which regions hardly vary must not become everything.
    within += _FLOOR * float(points.var(0).mean()) * np.eye(len(within))
    values, vectors = np.linalg.eigh(within)
    return np.asarray(vectors / np.sqrt(values), np.float64)


def _components(sample: NDArray[np.float32]) -> tuple[Float, Float]:
    """Return the mean of features, and what takes them to principal components."""
    mean = sample.mean(0, dtype=np.float64)
    spread = sample.std(0, dtype=np.float64)
    kept = spread > 1e-6 * max(float(spread.max()), 1e-12)
    if not kept.any():
        raise EverhartError(
            "All pixels have the same features: there is nothing to tell apart in the images."
        )
    scaled = np.where(kept, 1 / np.where(kept, spread, 1), 0)
    values, vectors = np.linalg.eigh(np.cov(((sample - mean) * scaled).T))
    leading = vectors[:, np.argsort(values)[::-1][:_COMPONENTS]]
    return mean, scaled[:, None] * leading


def _kmeans(points: Float, count: int, rng: np.random.Generator) -> Float:
    """Return the best centres of several starts."""
    from scipy.cluster.vq import ClusterError, kmeans2

    best: tuple[float, Float] | None = None
    for _ in range(_STARTS):
        try:
            centres, own = kmeans2(points, count, minit="++", iter=30, rng=rng, missing="raise")
        except ClusterError:
            continue
        error = float(((points - centres[own]) ** 2).sum())
        if best is None or error < best[0]:
            best = (error, centres)
    if best is None:
        raise EverhartError(
            f"{count} clusters were asked for and the pixels do not fall into so many: ask for "
            "fewer."
        )
    return best[1]


def _distances(points: Float, centres: Float) -> Float:
    """Return squared distances ``(N, K)``."""
    return np.asarray(
        (points**2).sum(1)[:, None] - 2 * points @ centres.T + (centres**2).sum(1)[None], np.float64
    )

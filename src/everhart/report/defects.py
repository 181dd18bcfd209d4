"""What methods do to the defects of a simulated image whose truth lies beside it."""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from everhart.errors import EverhartError

__all__ = ["PlantedDefects", "planted_beside"]

Float32 = NDArray[np.float32]

_ALARMS_PER_MPX = 10.0
_FRAME_NAME = re.compile(r"(.+)_F\d+")


@dataclass(frozen=True, eq=False)
class PlantedDefects:
    """A noisy image, and its noise-free truth with and without defects.

    Parameters
    ----------
    noisy, clean, defect_free
        ``(H, W)``, in the same grey levels.
    boxes
        ``(n, 4)``: y, x, height and width of each defect, in px.
    """

    noisy: Float32
    clean: Float32
    defect_free: Float32
    boxes: NDArray[np.float64]

    def figures(self, picture: Float32) -> dict[str, float]:
        """Return the figures of a picture by their keys in ``FIGURES``.

        Unlike the study `defects` there are no images without defects: thresholds are set on the
        same picture, away from defects.
        """
        difference = picture - self.defect_free
        template = (self.clean - self.defect_free).astype(np.float64)
        power = float((template**2).sum())
        invented = 0.0
        for heights, limit in zip(self._blobs(difference), self._blob_limits, strict=True):
            invented = max(invented, float((heights > limit).sum()))
        return {
            "defects_kept_percent": 100 * float((template * difference).sum()) / power,
            "defects_found_percent": 100 * self._found(difference),
            "invented_per_mpx": invented / self._area_mpx,
        }

    @cached_property
    def _elsewhere(self) -> NDArray[np.bool_]:
        """True where no defect is near."""
        from scipy.ndimage import binary_dilation

        far = np.ones(self.clean.shape, bool)
        for y, x, height, width in self.boxes:
            rows, columns = self._box(y, x, height + 16, width + 16)
            far[rows, columns] = False
        # Bows and rims reach beyond the box: whatever the defect changes is no pattern.
        changed = np.abs(self.clean - self.defect_free)
        return far & ~binary_dilation(changed > 0.01 * changed.max(), iterations=4)

    @cached_property
    def _area_mpx(self) -> float:
        return float(self._elsewhere.sum()) / 1e6

    @property
    def _allowed(self) -> int:
        return int(_ALARMS_PER_MPX * self._area_mpx)

    @cached_property
    def _blob_limits(self) -> list[float]:
        noise = self.noisy - self.defect_free
        return [_nth_largest(heights, self._allowed) for heights in self._blobs(noise)]

    def _blobs(self, difference: Float32) -> list[NDArray[np.float64]]:
        """Return the blobs of each size away from defects."""
        from everhart.metrics.defects import BLOB_SIGMAS_PX, blob_response

        # The skirts of a defect are no inventions.
        without = np.where(self._elsewhere, difference, np.float32(0))
        return [self._peaks_elsewhere(blob_response(without, s)) for s in BLOB_SIGMAS_PX]

    def _peaks_elsewhere(self, response: NDArray[np.floating[Any]]) -> NDArray[np.float64]:
        from scipy.ndimage import maximum_filter

        highest = (response == maximum_filter(response, 7)) & (response > 0) & self._elsewhere
        return np.asarray(response[highest], np.float64)

    def _box(self, y: float, x: float, height: float, width: float) -> tuple[slice, slice]:
        return (
            slice(max(round(y - height / 2), 0), max(round(y + height / 2) + 1, 1)),
            slice(max(round(x - width / 2), 0), max(round(x + width / 2) + 1, 1)),
        )

    def _found(self, difference: Float32) -> float:
        """Return the share of the defects that the observer `window` finds."""
        from scipy.ndimage import gaussian_filter, uniform_filter

        response = uniform_filter(difference, 3, mode="reflect").astype(np.float64)
        here = self._elsewhere.astype(np.float64)
        share = gaussian_filter(here, 6.0)
        power = gaussian_filter(response**2 * here, 6.0)
        usual = float((response**2 * here).sum() / here.sum())
        # Within a large defect there is no pattern to learn the scatter from.
        scatter = np.where(share > 0.05, power / np.maximum(share, 0.05), usual)
        floor = 1e-6 * float(np.ptp(self.defect_free) or 1.0)
        height = np.abs(response) / np.sqrt(scatter + floor**2)
        limit = _nth_largest(self._peaks_elsewhere(height), self._allowed)
        heights = [
            height[self._box(y, x, tall + 2, wide + 2)].max() for y, x, tall, wide in self.boxes
        ]
        return float(np.mean(np.asarray(heights) > limit))


def planted_beside(image: object, pixels: Float32) -> PlantedDefects | None:
    """Return the planted defects of a simulated image, where its truth lies beside the file.

    Parameters
    ----------
    image
        What was given to be compared; only files have something beside them.
    pixels
        The image ``(H, W)``.

    Returns
    -------
    PlantedDefects or None
        None for an image that was not written by ``everhart simulate --defects``, whose truth
        does not fit it, or that is almost all defects.
    """
    if not isinstance(image, str | Path):
        return None
    path = Path(image)
    named = _FRAME_NAME.fullmatch(path.stem)
    if named is None or pixels.ndim != 2:
        return None
    try:
        truth = json.loads(path.with_name(f"{named[1]}_truth.json").read_text(encoding="utf-8"))
        if path.name not in truth["images"]:
            return None
        names = (truth["clean"], truth["defect_free"], truth["files"]["defects"])
        beside = [path.with_name(name) for name in names]
        found = _read(pixels, *beside)
    # Another program's file of that name is no reason to refuse the image.
    except (OSError, ValueError, KeyError, TypeError, EverhartError):
        return None
    return found


def _read(pixels: Float32, clean: Path, defect_free: Path, table: Path) -> PlantedDefects | None:
    import pandas as pd

    from everhart.io import read

    marked, plain = (
        np.asarray(read(path).field_of_view, np.float32) for path in (clean, defect_free)
    )
    boxes = pd.read_csv(table)[["y_px", "x_px", "height_px", "width_px"]].to_numpy(np.float64)
    if marked.shape != pixels.shape or plain.shape != pixels.shape or not len(boxes):
        return None
    inside = (boxes[:, :2] >= -0.5).all(axis=1) & (boxes[:, :2] < pixels.shape).all(axis=1)
    if not (np.isfinite(boxes).all() and inside.all()) or np.array_equal(marked, plain):
        return None
    planted = PlantedDefects(pixels, marked, plain, boxes)
    return planted if planted._elsewhere.mean() > 0.2 else None


def _nth_largest(heights: NDArray[np.float64], above: int) -> float:
    """Return the level that `above` of the heights exceed."""
    return float(np.sort(heights)[::-1][above]) if heights.size > above else 0.0

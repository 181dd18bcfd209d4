"""`Scene`: what the specimen looks like to a perfect microscope, with its exact truth."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, TypeAlias

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from everhart.errors import UsageError

__all__ = ["DEFECT_COLUMNS", "Scene", "Truth"]

Image: TypeAlias = NDArray[np.float32]

#: Columns of the table of planted defects that every scene has, with or without rows.
DEFECT_COLUMNS = (
    "kind",
    "y_px",
    "x_px",
    "height_px",
    "width_px",
    "y_nm",
    "x_nm",
    "height_nm",
    "width_nm",
    "contrast",
)


def empty_defects() -> pd.DataFrame:
    """Return the table of no defects."""
    return pd.DataFrame(
        {c: pd.Series(dtype=object if c == "kind" else float) for c in DEFECT_COLUMNS}
    )


@dataclass(frozen=True, eq=False)
class Truth:
    """What is exactly known of a scene.

    Pixel centres are at integer coordinates: the image of shape ``(H, W)`` covers
    ``-0.5 <= y < H - 0.5``. Coordinates in nm are those in pixels times the pixel size, with
    the same origin.

    Parameters
    ----------
    labels
        Label map of shape ``(H, W)``, int32; what the numbers mean is in `label_names`, or,
        where each object has its own label, in the column ``label`` of its table.
    label_names
        Name of each class of `labels`; label 0 is the background.
    tables
        Tables of the objects, with units in the column names: ``holes``, ``lines``,
        ``particles`` or ``layers``, and always ``defects``.
    edges_px
        Sub-pixel edges. For ``lines`` ``(2 n, H)``: x of the left and right edge of each line
        in each row. For ``stack`` ``(interfaces, W)``: y of each interface in each column,
        top to bottom. None for other scenes.
    edge_names
        Name of each row of `edges_px`.
    """

    labels: NDArray[np.int32]
    label_names: Mapping[int, str] = field(default_factory=dict)
    tables: Mapping[str, pd.DataFrame] = field(default_factory=dict)
    edges_px: NDArray[np.float64] | None = None
    edge_names: tuple[str, ...] = ()

    @property
    def defects(self) -> pd.DataFrame:
        """Table of the planted defects."""
        return self.tables["defects"]


@dataclass(frozen=True, eq=False)
class Scene:
    """Brightness of a specimen and what is known of it.

    Parameters
    ----------
    image
        Brightness of shape ``(H, W)``, float32, from 0 (no signal) to 1 (white).
    pixel_size_nm
        Pixel size ``(y, x)`` in nm.
    truth
        The exact truth.
    name
        Name of the scene, such as ``"nand"``.
    parameters
        The parameters that it was made with, JSON-serialisable.
    defect_free
        The same specimen without its planted defects, like `image`; None where none was planted.
    """

    image: Image
    pixel_size_nm: tuple[float, float]
    truth: Truth
    name: str
    parameters: Mapping[str, Any] = field(default_factory=dict)
    defect_free: Image | None = None

    @property
    def shape(self) -> tuple[int, int]:
        """Shape ``(H, W)`` of the image."""
        return (int(self.image.shape[0]), int(self.image.shape[1]))


def checked_shape(shape: tuple[int, int], smallest: int = 16) -> tuple[int, int]:
    """Return the shape as two ints, or raise the error that says what is allowed."""
    try:
        height, width = (int(s) for s in shape)
        exact = (height, width) == tuple(shape)
    except (TypeError, ValueError):
        height = width = 0
        exact = False
    if not exact or min(height, width) < smallest:
        raise UsageError(
            f"A shape of {shape!r} was given: it is (height, width) in whole pixels, each at least "
            f"{smallest}."
        )
    return height, width


def checked_pixel_size(size: float | tuple[float, float]) -> tuple[float, float]:
    """Return the pixel size as ``(y, x)``; the scenes are drawn on square pixels."""
    pair = (float(size), float(size)) if np.ndim(size) == 0 else tuple(float(s) for s in size)  # type: ignore[union-attr, arg-type]
    if len(pair) != 2 or not all(np.isfinite(s) and s > 0 for s in pair) or pair[0] != pair[1]:
        raise UsageError(
            f"A pixel size of {size!r} nm was given: scenes have square pixels, so give one "
            "positive number (or the same number twice)."
        )
    return (pair[0], pair[1])


def check_range(name: str, value: float, low: float, high: float = np.inf) -> None:
    """Raise a usage error if a parameter is outside of its range (bounds included)."""
    if not (np.isfinite(value) and low <= value <= high):
        bound = f"at least {low:g}" if high == np.inf else f"between {low:g} and {high:g}"
        raise UsageError(f"{name} = {value!r} was given: it must be {bound}.")


def smooth_noise(shape: tuple[int, int], rng: np.random.Generator, length_px: float) -> Image:
    """Draw a smooth random field of mean 0 and standard deviation about 1.

    White noise on a coarse grid, interpolated by cubics: quick for any length, which is its
    correlation length in pixels, and smooth enough to be shading or texture.
    """
    import cv2

    step = max(float(length_px), 1.0)
    coarse = (max(int(np.ceil(shape[0] / step)) + 3, 4), max(int(np.ceil(shape[1] / step)) + 3, 4))
    values = rng.standard_normal(coarse, dtype=np.float32)
    if step == 1.0:
        return values[: shape[0], : shape[1]]
    # A random origin within a cell, so that the grid is not locked to the image's corner.
    offset = rng.uniform(1, 2, size=2)
    matrix = np.array([[1 / step, 0, offset[1]], [0, 1 / step, offset[0]]])
    field_ = cv2.warpAffine(
        values,
        matrix,
        (shape[1], shape[0]),
        flags=cv2.INTER_CUBIC | cv2.WARP_INVERSE_MAP,
        borderMode=cv2.BORDER_REPLICATE,
    )
    return np.asarray(field_ * np.float32(1.25), np.float32)


def coverage(distance_px: Image) -> Image:
    """Return how much of a pixel lies at negative signed distance: an anti-aliased inside.

    For a straight edge along an axis this is the exact area; for others it is within 0.06.
    """
    return np.asarray(np.clip(0.5 - distance_px, 0, 1), np.float32)

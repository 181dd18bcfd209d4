"""Pictures for a report: one contrast for all, a crop where structure is, small files."""

from __future__ import annotations

import base64
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from everhart.errors import EverhartError

__all__ = [
    "MAX_DETAIL_PX",
    "MAX_OVERVIEW_PX",
    "Region",
    "contrast_window",
    "data_uri",
    "detail_region",
    "overview",
    "residual_scale",
    "round_length",
    "structured_point",
    "to_grey",
    "to_signed_grey",
]

Float32 = NDArray[np.float32]
Grey8 = NDArray[np.uint8]

MAX_OVERVIEW_PX: Final = 1600
"""Longest side of a picture of a whole image, in pixels of the report."""

MAX_DETAIL_PX: Final = 768
"""Longest side of the part of a large image that the report holds at full resolution."""


@dataclass(frozen=True)
class Region:
    """Rectangle in pixels of the image."""

    x: int
    y: int
    width: int
    height: int

    def of(self, image: Float32) -> Float32:
        """Return this part of an image."""
        return image[self.y : self.y + self.height, self.x : self.x + self.width]


def contrast_window(
    noisy: Float32, reference: Float32 | None, dtype: np.dtype[Any]
) -> tuple[float, float]:
    """Return the grey levels that are shown black and white in all pictures of an image.

    The range of the reference, or of the smoothed image, but for a thousandth at either
    end, and 5 % more: the noise's own extremes would make everything grey.

    Parameters
    ----------
    noisy
        Image ``(H, W)``.
    reference
        Reference, or None.
    dtype
        Dtype of the image as it was given: levels that it cannot have are not shown.

    Returns
    -------
    tuple of float
        Black and white level, the first below the second; whole numbers for integers.
    """
    from scipy.ndimage import gaussian_filter

    calm = gaussian_filter(noisy, 2.0) if reference is None else reference
    calm = calm[np.isfinite(calm)]
    if calm.size == 0:
        return 0.0, 1.0
    low, high = np.percentile(calm, (0.1, 99.9))
    margin = 0.05 * (high - low)
    if margin <= 0:
        return float(low) - 0.5, float(high) + 0.5
    low, high = float(low - margin), float(high + margin)
    if dtype.kind in "ui":
        low, high = max(np.floor(low), np.iinfo(dtype).min), min(np.ceil(high), np.iinfo(dtype).max)
    return float(low), float(high)


def to_grey(image: Float32, window: tuple[float, float]) -> Grey8:
    """Return 8-bit grey with the window's ends at black and white; NaN is black."""
    low, high = window
    scaled = (np.nan_to_num(image, nan=low, posinf=high, neginf=low) - low) / (high - low)
    return np.asarray(np.rint(np.clip(scaled, 0, 1) * 255), np.uint8)


def to_signed_grey(image: Float32, scale: float) -> Grey8:
    """Return 8-bit grey with 0 at 128, `scale` at white and ``-scale`` at black.

    In 63 steps: residuals are noise, which does not compress, and nobody sees the difference.
    """
    scaled = np.clip(np.nan_to_num(image, nan=0.0) / scale, -1, 1)
    return np.asarray(np.clip(128 + 4.1 * np.rint(31 * scaled), 0, 255), np.uint8)


def residual_scale(residuals: list[Float32]) -> float:
    """Return one scale for all residuals: what 99.5 % of their values stay within.

    Rounded up to two digits, so that it can be stated as it is used.
    """
    finite = [np.abs(r[np.isfinite(r)]) for r in residuals]
    values = [float(np.percentile(r, 99.5)) for r in finite if r.size]
    largest = max(values, default=0.0)
    if largest <= 0:
        return 1.0
    step = 10.0 ** (np.floor(np.log10(largest)) - 1)
    return float(np.ceil(largest / step - 1e-9) * step)


def overview(image: Float32, longest_px: int = MAX_OVERVIEW_PX) -> Float32:
    """Return an image made smaller by area averages, or itself where it is small enough."""
    import cv2

    factor = longest_px / max(image.shape)
    if factor >= 1:
        return image
    height, width = (max(1, round(n * factor)) for n in image.shape)
    return np.asarray(
        cv2.resize(np.nan_to_num(image), (width, height), interpolation=cv2.INTER_AREA), np.float32
    )


def structured_point(image: Float32, size_px: int) -> tuple[int, int]:
    """Return the centre of the square of an image where most structure is.

    Structure is the gradient of the smoothed image, capped so that one dirt particle does
    not outweigh a field of edges, and averaged over the square.

    Parameters
    ----------
    image
        Image ``(H, W)``, as free of noise as there is one.
    size_px
        Side of the square.

    Returns
    -------
    tuple of int
        ``(x, y)`` in pixels.
    """
    from scipy.ndimage import gaussian_gradient_magnitude, uniform_filter

    gradient = gaussian_gradient_magnitude(np.nan_to_num(image), 2.0, mode="nearest")
    gradient = np.minimum(gradient, max(np.percentile(gradient, 98), gradient.max() / 4))
    height, width = image.shape
    side_y, side_x = min(size_px, height), min(size_px, width)
    mean = uniform_filter(gradient, (side_y, side_x), mode="nearest")
    top, left = side_y // 2, side_x // 2
    inner = mean[top : height - (side_y - 1) // 2, left : width - (side_x - 1) // 2]
    y, x = np.unravel_index(int(np.argmax(inner)), inner.shape)
    return int(x) + left, int(y) + top


def detail_region(
    shape: tuple[int, ...], centre: tuple[int, int], longest_px: int = MAX_DETAIL_PX
) -> Region:
    """Return the part of an image around a point that is kept at full resolution."""
    height, width = (min(n, longest_px) for n in shape)
    x = min(max(centre[0] - width // 2, 0), shape[1] - width)
    y = min(max(centre[1] - height // 2, 0), shape[0] - height)
    return Region(x, y, width, height)


def round_length(available: float) -> float:
    """Return the largest of 1, 2, 5 times a power of ten that is not above a length.

    Examples
    --------
    >>> round_length(740.0), round_length(0.3)
    (500.0, 0.2)
    """
    power = 10.0 ** np.floor(np.log10(available))
    digit = max(d for d in (1, 2, 5) if d * power <= available * (1 + 1e-9))
    return float(digit * power)


def data_uri(grey: Grey8) -> str:
    """Return a lossless PNG of an 8-bit picture as a data URI."""
    import cv2

    done, encoded = cv2.imencode(".png", grey, [cv2.IMWRITE_PNG_COMPRESSION, 9])
    if not done:
        raise EverhartError(f"A picture of shape {grey.shape} could not be encoded as PNG.")
    return "data:image/png;base64," + base64.b64encode(encoded.tobytes()).decode("ascii")

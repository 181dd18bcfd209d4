"""The outlines of a measurement drawn over its image."""

from __future__ import annotations

import io
import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from everhart.measure.result import Measurement, Outline
from everhart.micrograph import Micrograph, field_of

if TYPE_CHECKING:
    from PIL import ImageDraw

__all__ = ["draw_overlay", "write_overlay"]

# Told apart by the colour blind too; `missing` is dashed as well.
_COLOURS = {"edge": (255, 176, 0), "doubt": (100, 180, 255), "missing": (255, 70, 120)}
_OTHER = (255, 255, 255)
_DASH_PX = 4.0
_NICE = (1.0, 2.0, 5.0)


def draw_overlay(image: Micrograph | NDArray[Any], measurement: Measurement) -> NDArray[np.uint8]:
    """Draw outlines and their labels over an image, and a scale bar where it is calibrated.

    Parameters
    ----------
    image
        Image ``(H, W)``, or a stack of one frame; the data bar is left out.
    measurement
        What was measured on it.

    Returns
    -------
    ndarray
        RGB of shape ``(H, W, 3)``, uint8. Grey levels run from the 0.5th to the 99.5th
        percentile. Each edge lies where it was measured, to the nearest pixel.
    """
    from PIL import Image, ImageDraw

    pixels = np.asarray(field_of(image))
    grey = _stretched(pixels.reshape(-1, pixels.shape[-1]) if pixels.ndim == 3 else pixels)
    picture = Image.fromarray(grey).convert("RGB")
    draw = ImageDraw.Draw(picture)
    height, width = grey.shape
    line = max(round(min(height, width) / 700), 1)
    for outline in measurement.outlines:
        colour = _COLOURS.get(outline.kind, _OTHER)
        points = np.asarray(outline.points, np.float64)
        if outline.closed and len(points):
            points = np.concatenate([points, points[:1]])
        if outline.kind == "missing":
            _dashed(draw, points, colour, line)
        elif len(points) > 1:
            # Pillow cuts fractions off, which would draw everything half a pixel to the upper left.
            nearest = np.rint(points)
            draw.line([(int(x), int(y)) for y, x in nearest], fill=colour, width=line)
    for outline in measurement.outlines:  # over all lines
        if outline.label:
            _label(draw, outline, (height, width))
    size = image.pixel_size_nm if isinstance(image, Micrograph) else None
    if size is not None:
        _scale_bar(draw, (height, width), size[1])
    return np.asarray(picture, np.uint8)


def write_overlay(
    image: Micrograph | NDArray[Any],
    measurement: Measurement,
    path: str | os.PathLike[str],
    *,
    overwrite: bool = False,
) -> Path:
    """Write what :func:`draw_overlay` draws as a PNG.

    Parameters
    ----------
    image, measurement
        As for :func:`draw_overlay`.
    path
        Name of the output.
    overwrite
        Whether an existing file may be replaced.

    Returns
    -------
    Path
        The path written.

    Raises
    ------
    OutputExistsError, UsageError, EverhartError
        As for :func:`everhart.io.atomic.atomic_path`.
    """
    from PIL import Image

    from everhart.io.atomic import write_bytes

    stream = io.BytesIO()
    Image.fromarray(draw_overlay(image, measurement)).save(stream, "PNG")
    return write_bytes(path, stream.getvalue(), overwrite=overwrite)


def _stretched(pixels: NDArray[Any]) -> NDArray[np.uint8]:
    values = pixels.astype(np.float32)
    finite = values[np.isfinite(values)]
    low, high = np.percentile(finite, (0.5, 99.5)) if finite.size else (0.0, 1.0)
    scaled = (values - low) / max(float(high - low), 1e-12) * 255
    return np.clip(np.nan_to_num(scaled), 0, 255).astype(np.uint8)


def _dashed(
    draw: ImageDraw.ImageDraw, points: NDArray[np.float64], colour: tuple[int, int, int], line: int
) -> None:
    """Draw every other piece of a line, all of one length."""
    if len(points) < 2:
        return
    steps = np.hypot(*np.diff(points, axis=0).T)
    along = np.concatenate([[0.0], np.cumsum(steps)])
    dash = _DASH_PX * line
    for start in np.arange(0.0, along[-1], 2 * dash):
        at = np.linspace(start, min(start + dash, float(along[-1])), 5)
        y, x = (np.rint(np.interp(at, along, points[:, axis])) for axis in (0, 1))
        draw.line(list(zip(x.tolist(), y.tolist(), strict=True)), fill=colour, width=line)


def _font(shape: tuple[int, int]) -> Any:
    from PIL import ImageFont

    return ImageFont.load_default(size=int(np.clip(min(shape) / 55, 11, 40)))


def _label(draw: ImageDraw.ImageDraw, outline: Outline, shape: tuple[int, int]) -> None:
    """Write a label in the middle of a closed outline it fits in, else above or at its start."""
    points = np.asarray(outline.points, np.float64)
    if not len(points):
        return
    y, x = points.mean(axis=0) if outline.closed else points[0]
    font = _font(shape)
    left, top, right, bottom = draw.textbbox((0, 0), outline.label, font=font, anchor="mm")
    wide, high = (right - left) / 2 + 2, (bottom - top) / 2 + 2
    if outline.closed and (np.ptp(points, axis=0) < (2 * high, 2 * wide)).any():
        # Words over a small object would hide it: they go above it, or below at the top.
        above = float(points[:, 0].min()) - high
        y = above if above >= high else float(points[:, 0].max()) + high
    x = float(np.clip(x, wide, max(shape[1] - wide, wide)))
    y = float(np.clip(y, high, max(shape[0] - high, high)))
    colour = _COLOURS.get(outline.kind, _OTHER)
    draw.text(
        (x, y), outline.label, fill=colour, font=font, anchor="mm", stroke_width=2,
        stroke_fill=(0, 0, 0),
    )  # fmt: skip


def _scale_bar(draw: ImageDraw.ImageDraw, shape: tuple[int, int], pixel_nm: float) -> None:
    """Draw a bar of a round length, about a fifth of the width, at the lower right."""
    height, width = shape
    wanted = width * pixel_nm / 5
    decade = 10.0 ** np.floor(np.log10(wanted))
    length = max(n * decade for n in _NICE if n * decade <= wanted)
    bar = length / pixel_nm
    words = f"{length / 1000:g} um" if length >= 1000 else f"{length:g} nm"
    pad = max(min(height, width) // 50, 3)
    thick = max(min(height, width) // 150, 2)
    right, bottom = width - 1 - pad, height - 1 - pad
    font = _font(shape)
    top = bottom - thick
    draw.rectangle((right - bar, top, right, bottom), fill=(255, 255, 255), outline=(0, 0, 0))
    draw.text(
        (right - bar / 2, top - 2), words, fill=(255, 255, 255), font=font, anchor="mb",
        stroke_width=2, stroke_fill=(0, 0, 0),
    )  # fmt: skip

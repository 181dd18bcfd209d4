"""The pictures of a study: what each method makes of the same crop, with the circles found."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from everhart.io.atomic import atomic_path
from everhart.studies.study import Scale, Study
from everhart.studies.wafer import TestImage, Wafer

__all__ = ["write_pictures"]


def write_pictures(
    study: Study,
    scale: Scale,
    wafer: Wafer,
    images: list[TestImage],
    models: Path,
    folder: Path,
) -> None:
    """Draw one PNG a test image, as Figures 6 to 8 of the paper.

    Parameters
    ----------
    study, scale, wafer, images, models
        As :func:`everhart.studies.runner.run_study` has them; seed 0 is drawn.
    folder
        Where the pictures go. Those that are there are left as they are.
    """
    from matplotlib.figure import Figure

    from everhart.measure import failure_rate
    from everhart.measure.circles import circles
    from everhart.studies.runner import denoiser_of

    rows = [row for row in study.rows if row.key in study.pictures]
    folder.mkdir(parents=True, exist_ok=True)
    for image in images:
        path = folder / f"{image.name.replace(' ', '_')}.png"
        if path.is_file():
            continue
        shown: list[tuple[str, NDArray[Any], Any]] = []
        for row in rows:
            restored = denoiser_of(row, scale, wafer, models, 0)(
                image.frames[row.input_frames].pixels
            )
            found = circles(restored)
            rate = failure_rate(found, image.holes)
            title = f"{row.title}\n{100 * rate.failure_rate:.1f} % missed, "
            shown.append((title + f"{rate.false_detections} false", restored, found))
        shown.append(("truth", image.clean[1], None))
        columns = min(4, len(shown))
        lines = -(-len(shown) // columns)
        figure = Figure(figsize=(3.2 * columns, 3.5 * lines), layout="constrained", dpi=110)
        crop = _crop(image.clean[1].shape)
        rows_px, columns_px = crop
        extent = tuple(
            edge - 0.5 for edge in (columns_px.start, columns_px.stop, rows_px.stop, rows_px.start)
        )
        low, high = np.percentile(image.clean[1], (0.5, 99.5))
        margin = 0.15 * (high - low)
        for number, (title, pixels, found) in enumerate(shown):
            axes = figure.add_subplot(lines, columns, number + 1)
            axes.imshow(
                pixels[crop], cmap="gray", vmin=low - margin, vmax=high + margin, extent=extent
            )
            if found is not None:
                _draw(axes, found, crop)
            axes.set_title(title, fontsize=8)
            axes.set_axis_off()
        with atomic_path(path, overwrite=True) as temporary:
            figure.savefig(temporary, format="png")


def _crop(shape: tuple[int, ...]) -> tuple[slice, slice]:
    """Return the middle of an image, of about 4 by 4 holes."""
    height, width = shape
    size = min(height, width) // 2
    top, left = (height - size) // 2, (width - size) // 2
    return slice(top, top + size), slice(left, left + size)


def _draw(axes: Any, found: Any, crop: tuple[slice, slice]) -> None:
    from matplotlib.patches import Circle

    for circle in found.itertuples():
        inside = (
            crop[0].start <= circle.y_px < crop[0].stop
            and crop[1].start <= circle.x_px < crop[1].stop
        )
        if inside:
            patch = Circle(
                (circle.x_px, circle.y_px), circle.radius_px, fill=False, color="lime", lw=0.8
            )
            axes.add_patch(patch)

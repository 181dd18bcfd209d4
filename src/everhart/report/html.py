"""A comparison as one HTML file that needs nothing else."""

from __future__ import annotations

import os
from collections.abc import Collection
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from everhart.metrics import fsim_binning
from everhart.report.comparison import (
    NOISY,
    Alignment,
    Comparison,
    ImageComparison,
    format_value,
)
from everhart.report.cost import HOW_MEASURED
from everhart.report.figures import FIGURES
from everhart.report.frames import FrameJudgement
from everhart.report.pictures import (
    MAX_DETAIL_PX,
    MAX_OVERVIEW_PX,
    contrast_window,
    data_uri,
    detail_region,
    overview,
    residual_scale,
    round_length,
    structured_point,
    to_grey,
    to_signed_grey,
)

if TYPE_CHECKING:
    from jinja2 import Environment

__all__ = ["environment", "figures_table", "render_html", "write_html"]

REFERENCE = "reference"
_CELL_PX = 160  # side of the crop at 2:1
_FEW = 3  # images whose residuals are shown at the full size of the detail


def render_html(comparison: Comparison) -> str:
    """Return a comparison as the text of a self-contained HTML page.

    Parameters
    ----------
    comparison
        What :func:`everhart.report.compare` gave.

    Returns
    -------
    str
        HTML with styles, script and pictures in it; it loads nothing from anywhere.
    """
    several = len(comparison.images) > 1
    detail_px = MAX_DETAIL_PX if len(comparison.images) <= _FEW else MAX_DETAIL_PX // 2
    images = [_image_view(image, index, detail_px) for index, image in enumerate(comparison.images)]
    used = {key for image in comparison.images for result in image.results for key in result.values}
    unranked = {mean.name for image in comparison.images for mean in image.averages}
    page = environment().get_template("comparison.html")
    return page.render(
        title=_title(comparison),
        images=images,
        summary=figures_table(comparison.mean_values(), unranked) if several else None,
        summary_words=_summary_words(comparison) if several else "",
        provenance=comparison.provenance,
        explanations=[f for key, f in FIGURES.items() if key in used],
        how_measured=HOW_MEASURED,
        cell_px=_CELL_PX,
    )


def environment() -> Environment:
    """Return what turns the templates of reports into pages."""
    from jinja2 import Environment, PackageLoader, StrictUndefined

    return Environment(
        loader=PackageLoader("everhart.report", "templates"),
        autoescape=True,  # file names and metadata are not ours: none becomes markup
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )


def write_html(
    comparison: Comparison, path: str | os.PathLike[str], overwrite: bool = False
) -> Path:
    """Write a comparison as one self-contained HTML file.

    Parameters
    ----------
    comparison
        What :func:`everhart.report.compare` gave.
    path
        The file.
    overwrite
        Whether an existing file may be replaced.

    Returns
    -------
    Path
        The file.

    Raises
    ------
    UsageError
        If it exists and `overwrite` is false, or its folder does not exist.
    """
    from everhart.io.atomic import check_output, write_text

    check_output(path, overwrite=overwrite)
    return write_text(path, render_html(comparison), overwrite=overwrite)


def _title(comparison: Comparison) -> str:
    if len(comparison.images) == 1:
        return comparison.images[0].source.name
    return f"{len(comparison.images)} images"


def _image_view(image: ImageComparison, index: int, detail_px: int) -> dict[str, Any]:
    """Return what the template needs of one image."""
    window = contrast_window(image.noisy.picture, image.reference, np.dtype(image.dtype))
    calm = image.reference if image.reference is not None else image.methods[-1].picture
    centre = structured_point(calm, _CELL_PX)
    region = detail_region(calm.shape, centre, detail_px)
    whole_is_enough = max(calm.shape) <= MAX_OVERVIEW_PX
    named = {result.name: result.picture for result in image.results}
    if image.reference is not None:
        named[REFERENCE] = image.reference
    removed = {m.name: region.of(image.noisy.picture - m.picture) for m in image.methods}
    error: dict[str, NDArray[np.float32]] = {}
    if image.reference is not None:
        error = {r.name: region.of(r.picture - image.reference) for r in image.results}
    removed_scale = residual_scale(list(removed.values()))
    # The image's own error is its noise; the scale is chosen for what the methods leave.
    error_scale = residual_scale([r for name, r in error.items() if name != NOISY])

    pictures = []
    for name, picture in named.items():
        pictures.append(
            {
                "name": name,
                "overview": data_uri(to_grey(overview(picture), window)),
                "detail": None
                if whole_is_enough
                else data_uri(to_grey(region.of(picture), window)),
                "removed": data_uri(to_signed_grey(removed[name], removed_scale))
                if name in removed
                else None,
                "error": data_uri(to_signed_grey(error[name], error_scale))
                if name in error
                else None,
            }
        )
    height, width = calm.shape
    return {
        "id": f"image-{index}",
        "name": image.source.name,
        "image": image,
        "table": figures_table(
            {result.name: result.values for result in image.best_first},
            {mean.name for mean in image.averages},
        ),
        "verdict": _verdict(image),
        "facts": _facts(image),
        "notes": _notes(image),
        "bar": _scale_bar(image.pixel_size_nm, width),
        "data": {
            "width": width,
            "height": height,
            "pixelSizeNm": image.pixel_size_nm[1] if image.pixel_size_nm else None,
            "centre": list(centre),
            "region": {"x": region.x, "y": region.y, "w": region.width, "h": region.height},
            "pictures": pictures,
            "left": NOISY,
            "right": _shown_first(image),
        },
        "window": tuple(_level(level) for level in window),
        "removed_scale": _level(removed_scale),
        "error_scale": _level(error_scale) if error else None,
        "names": list(named),
    }


def _shown_first(image: ImageComparison) -> str:
    key = image.headline
    if key is None or key == "residual_whiteness":  # which crowns nobody
        return image.methods[-1].name
    return image.ranking(key)[0].name


def _level(value: float) -> str:
    return f"{value:.4g}"


def figures_table(
    by_method: dict[str, dict[str, float]], unranked: Collection[str] = ()
) -> dict[str, Any]:
    """Return columns and rows of a table of figures, the best of each column marked.

    What is unranked (means of frames, which no method made) is never the best.
    ``more`` in it is the table of the figures that are not shown at first, or None.
    """
    having = {key for values in by_method.values() for key in values} & FIGURES.keys()
    main = {key for key in having if FIGURES[key].main}
    more = _one_table(by_method, having - main, unranked) if having - main else None
    return {**_one_table(by_method, main, unranked), "more": more}


def _one_table(
    by_method: dict[str, dict[str, float]], having: set[str], unranked: Collection[str]
) -> dict[str, Any]:
    columns = [
        {"key": key, "title": figure.title, "unit": figure.unit, "words": figure.words}
        for key, figure in FIGURES.items()
        if key in having
    ]
    best = {}
    for key in having:
        merits = {
            name: FIGURES[key].merit(values.get(key, np.nan))
            for name, values in by_method.items()
            if name != NOISY and name not in unranked
        }
        leader = max(merits, key=lambda name: merits[name], default=None)
        if leader is not None and len(merits) > 1 and np.isfinite(merits[leader]):
            best[key] = leader
    rows = [
        {
            "name": name,
            "cells": [
                {
                    "text": format_value(column["key"], values.get(column["key"])),
                    "value": _sortable(values.get(column["key"])),
                    "best": best.get(column["key"]) == name,
                }
                for column in columns
            ],
        }
        for name, values in by_method.items()
    ]
    return {"columns": columns, "rows": rows}


def _sortable(value: float | None) -> str:
    return "" if value is None or np.isnan(value) else repr(float(value))


def _verdict(image: ImageComparison) -> str:
    """Return the result in one sentence."""
    key = image.headline
    if key is None:
        return ""
    best, *others = image.ranking(key)
    value = best.values[key]
    before = image.noisy.values.get(key, np.nan)
    if key == "residual_whiteness":
        words = "Without a reference or a second frame only the removed part can be judged"
        if not others:
            return f"{words}: its whiteness is {value:.3f}."
        calmest, *_ = image.ranking("structure_leakage") or [best]
        leakage = calmest.values.get("structure_leakage", np.nan)
        return (
            f"{words}. It is most like the noise for {best.name} (whiteness {value:.3f}) and knows "
            f"least of the edges for {calmest.name} (leakage {leakage:.3f})."
        )
    how = (
        "affine-matched PSNR against the reference"
        if key == "affine_psnr_db"
        else "PSNR estimated from the other frames"
    )
    ranked = image.frames.ranking if image.frames is not None else []
    if ranked and key == "second_frame_psnr_db" and ranked[0].name == NOISY:
        return (
            "No method brings the image closer to the specimen: as it was taken it has "
            f"{before:.2f} dB {how}, and the best, {best.name}, {value:.2f} dB."
        )
    parts = [f"{best.name} comes closest: {value:.2f} dB {how}"]
    if np.isfinite(before):
        parts.append(f"{value - before:.2f} dB above the image as it was taken")
    if others:
        parts.append(f"{value - others[0].values[key]:.2f} dB above the next, {others[0].name}")
    tied = next((r.tied_with for r in ranked if r.name == best.name), ())
    if tied and key == "second_frame_psnr_db":
        verb = "is" if len(tied) == 1 else "are"
        ties = f" {', '.join(tied)} {verb} tied with it: the frames cannot tell them apart."
    else:
        ties = ""
    return ", ".join(parts) + "." + ties


def _summary_words(comparison: Comparison) -> str:
    keys = {image.headline for image in comparison.images}
    key = keys.pop() if len(keys) == 1 else None
    if not key:
        return ""
    wins: dict[str, int] = {}
    for image in comparison.images:
        ranked = image.ranking(key)
        if ranked:
            wins[ranked[0].name] = wins.get(ranked[0].name, 0) + 1
    told = ", ".join(
        f"{name} in {count}" for name, count in sorted(wins.items(), key=lambda item: -item[1])
    )
    return f"Best {FIGURES[key].title} of {len(comparison.images)} images: {told}."


def _facts(image: ImageComparison) -> list[tuple[str, str]]:
    """Return what is known of the inputs, for the list of provenance."""
    size = "not known"
    if image.pixel_size_nm is not None:
        size = "{:.4g} x {:.4g} nm (y, x)".format(*image.pixel_size_nm)
    facts = [
        ("Image", image.source.name),
        ("sha256", image.source.sha256),
        ("Size", f"{' x '.join(map(str, image.shape))} pixels, {image.dtype}"),
        ("Pixel size", size),
    ]
    if image.reference_source is not None:
        facts += [
            ("Reference", image.reference_source.name),
            ("sha256", image.reference_source.sha256),
        ]
    for other in image.frame_sources:
        facts += [("Other frame", other.name), ("sha256", other.sha256)]
    return facts


def _notes(image: ImageComparison) -> list[str]:
    """Return how the figures came about, one sentence each."""
    frames = image.frames
    few = frames is None or frames.n_frames < 3
    roles = [role for role in image.alignment if few or role == "reference"]
    notes = [_alignment_words(role, image.alignment[role]) for role in roles]
    if image.reference is not None or frames is not None:
        notes.append(f"Data range {_level(image.data_range)} grey levels.")
    if image.ms_ssim_scales:
        notes.append(
            f"MS-SSIM over {image.ms_ssim_scales} scales."
            if image.ms_ssim_scales == 5
            else f"MS-SSIM over {image.ms_ssim_scales} scales instead of 5: the image is small."
        )
    binning = fsim_binning(image.reference.shape) if image.reference is not None else 1
    if binning > 1:
        notes.append(f"FSIM on means of {binning} x {binning} pixels.")
    if frames is not None:
        notes.append(_frames_words(frames))
    return notes


def _frames_words(frames: FrameJudgement) -> str:
    """Return who judged whom."""
    what = "frames" if len(frames.restored) > 1 else "frame"
    numbers = ", ".join(str(number + 1) for number in frames.restored)
    far = float(np.abs(frames.drift_px).max())
    moved = f"laid on it by up to {far:.1f} px" if far else "taken as they lie"
    gains = np.asarray(frames.gains)
    return (
        f"{frames.n_frames} frames of one field: every method restored {what} {numbers}"
        f"{' in turn' if len(frames.restored) > 1 else ''}, seeing no other, and the mean of "
        f"the others, {moved}, judged it; their contrast is {gains.min():.2f} to "
        f"{gains.max():.2f} times that of the first, and was matched. Rows of one place are tied."
    )


def _alignment_words(role: str, how: Alignment) -> str:
    if how.model == "none":
        return f"The {role} was taken as it lies, without registration."
    words = (
        f"The {role} was moved by {how.shift_px[0]:+.2f} px in y and {how.shift_px[1]:+.2f} px in x"
    )
    if how.model == "affine" and how.stretch_percent >= 0.005:
        words += (
            f" and stretched by up to {how.stretch_percent:.2f} % to undo the drift of the scan"
        )
    if any(how.cut_px):
        words += f"; {how.cut_px[0]} rows and {how.cut_px[1]} columns were cut at each border"
    return words + "."


def _scale_bar(pixel_size_nm: tuple[float, float] | None, width: int) -> dict[str, Any] | None:
    if pixel_size_nm is None:
        return None
    field_nm = pixel_size_nm[1] * width
    length = round_length(field_nm / 4)
    text = f"{length / 1000:g} µm" if length >= 1000 else f"{length:g} nm"
    return {"percent": 100 * length / field_nm, "text": text}

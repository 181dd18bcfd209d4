"""What a comparison holds: images, methods, figures and costs, ready to be shown or stored."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final, Literal

import numpy as np
from numpy.typing import NDArray

from everhart.report.cost import HOW_MEASURED, Cost
from everhart.report.figures import FIGURES
from everhart.report.frames import FrameJudgement, ranked_over_images

__all__ = [
    "NOISY",
    "Alignment",
    "AlignmentModel",
    "Comparison",
    "ImageComparison",
    "MethodResult",
    "Source",
    "format_value",
]

Float32 = NDArray[np.float32]
AlignmentModel = Literal["affine", "shift", "none"]

NOISY: Final = "noisy"
"""Name of the image as it was given, beside the methods."""


@dataclass(frozen=True)
class Source:
    """Where an image came from.

    Parameters
    ----------
    name
        File name, or a made-up one for an array.
    sha256
        Hash of the file's bytes, or of the pixels of an array.
    """

    name: str
    sha256: str


@dataclass(frozen=True)
class Alignment:
    """How a reference or second frame was laid on the image.

    Parameters
    ----------
    model
        ``"shift"``, ``"affine"`` or ``"none"``.
    shift_px
        ``(dy, dx)`` by which its centre was moved.
    stretch_percent
        Largest change of length or angle beyond the shift.
    cut_px
        Rows at top and bottom, and columns at left and right, that were left out.
    """

    model: AlignmentModel
    shift_px: tuple[float, float] = (0.0, 0.0)
    stretch_percent: float = 0.0
    cut_px: tuple[int, int] = (0, 0)


@dataclass(frozen=True, eq=False)
class MethodResult:
    """What a method made of an image.

    Parameters
    ----------
    name
        Name to show.
    picture
        float32 of shape ``(H, W)``, in the grey levels of the image.
    figures
        Values by the keys of :data:`everhart.report.figures.FIGURES` (and more, for the JSON).
    cost
        What it cost; None for the image itself.
    """

    name: str
    picture: Float32
    figures: Mapping[str, float]
    cost: Cost | None = None

    @property
    def values(self) -> dict[str, float]:
        """Figures and cost together, by key."""
        cost = {} if self.cost is None else vars(self.cost)
        return {**self.figures, **cost}


@dataclass(frozen=True, eq=False)
class ImageComparison:
    """One image with all methods.

    Parameters
    ----------
    source, reference_source
        Where the images came from.
    frame_sources
        Where the other frames of the field came from.
    frames
        What these said of the methods; None without any, or with a reference alone.
    noisy
        The image as it was given.
    methods
        One result a method.
    averages
        Means of frames of the field, where sizes were to be measured.
    reference
        Reference laid on the image, float32 ``(H, W)``, or None.
    data_range
        Grey levels from black to white in PSNR and SSIM.
    ms_ssim_scales
        Number of scales of MS-SSIM; 0 without a reference.
    alignment
        How reference and second frame were laid on the image.
    shape, dtype, pixel_size_nm
        Of the image as it was given.
    """

    source: Source
    noisy: MethodResult
    methods: tuple[MethodResult, ...]
    data_range: float
    shape: tuple[int, ...]
    dtype: str
    pixel_size_nm: tuple[float, float] | None = None
    reference: Float32 | None = None
    reference_source: Source | None = None
    frame_sources: tuple[Source, ...] = ()
    frames: FrameJudgement | None = None
    ms_ssim_scales: int = 0
    alignment: Mapping[str, Alignment] = field(default_factory=dict)
    averages: tuple[MethodResult, ...] = ()

    @property
    def results(self) -> tuple[MethodResult, ...]:
        """The image as it was given, means of frames, then every method."""
        return (self.noisy, *self.averages, *self.methods)

    @property
    def headline(self) -> str | None:
        """Key of the figure to judge by: the first that the methods have of a fixed order."""
        for key in ("affine_psnr_db", "second_frame_psnr_db", "residual_whiteness"):
            if any(np.isfinite(method.values.get(key, np.nan)) for method in self.methods):
                return key
        return None

    def ranking(self, key: str) -> list[MethodResult]:
        """Return the methods that have a figure, the best first."""
        having = [m for m in self.methods if np.isfinite(m.values.get(key, np.nan))]
        return sorted(having, key=lambda m: FIGURES[key].merit(m.values[key]), reverse=True)

    @property
    def best_first(self) -> tuple[MethodResult, ...]:
        """The results by the ranking of the frames; as they were given without any."""
        if self.frames is None:
            return self.results
        named = {result.name: result for result in self.results}
        ranked = tuple(named.pop(ranked.name) for ranked in self.frames.ranking)
        return (*ranked, *named.values())  # frames cannot judge a mean that they are in

    def to_dict(self) -> dict[str, Any]:
        """Return everything but the pictures as plain values."""
        return {
            "source": vars(self.source),
            "reference": None if self.reference_source is None else vars(self.reference_source),
            "second_frame": vars(self.frame_sources[0]) if self.frame_sources else None,
            "frames": None
            if self.frames is None
            else {"sources": [vars(s) for s in self.frame_sources], **self.frames.to_dict()},
            "shape": list(self.shape),
            "dtype": self.dtype,
            "pixel_size_nm": None if self.pixel_size_nm is None else list(self.pixel_size_nm),
            "data_range": self.data_range,
            "ms_ssim_scales": self.ms_ssim_scales or None,
            "alignment": {role: vars(how) for role, how in self.alignment.items()},
            "methods": [
                {"method": result.name, **{k: _plain(v) for k, v in result.values.items()}}
                for result in self.results
            ],
        }


@dataclass(frozen=True, eq=False)
class Comparison:
    """All images of a comparison.

    Parameters
    ----------
    images
        One entry an image.
    provenance
        Version, date, command and machine, as of :func:`provenance`.
    """

    images: tuple[ImageComparison, ...]
    provenance: Mapping[str, str] = field(default_factory=dict)

    def mean_values(self) -> dict[str, dict[str, float]]:
        """Return the mean of every figure over the images, by method and key.

        Only methods and figures that every image has are in it; ranked by the frames, the best
        first, where every image has frames.
        """
        means: dict[str, dict[str, float]] = {}
        judgements = [image.frames for image in self.images if image.frames is not None]
        places: dict[str, int] = {}
        if judgements and len(judgements) == len(self.images):
            places = dict(ranked_over_images(judgements))
        names = [result.name for result in self.images[0].results]
        for name in sorted(names, key=lambda n: list(places).index(n) if n in places else -1):
            same = [{r.name: r for r in image.results}.get(name) for image in self.images]
            values = [r.values for r in same if r is not None]
            if len(values) < len(self.images):
                continue
            keys = [key for key in values[0] if all(key in other for other in values)]
            means[name] = {key: _mean(key, [other[key] for other in values]) for key in keys}
            if name in places:
                means[name]["frames_place"] = float(places[name])
            else:
                means[name].pop("frames_place", None)
        return means

    def summary(self) -> str:
        """Return the table of (mean) figures as text."""
        means = self.mean_values()
        having = {key for values in means.values() for key in values}
        keys = [key for key, figure in FIGURES.items() if key in having and figure.main]
        heads = ["method", *(_head(key) for key in keys)]
        rows = [
            [name, *(format_value(key, values.get(key)) for key in keys)]
            for name, values in means.items()
        ]
        widths = [max(len(row[i]) for row in (heads, *rows)) for i in range(len(heads))]
        lines = [
            "  ".join(
                cell.ljust(width) if i == 0 else cell.rjust(width)
                for i, (cell, width) in enumerate(zip(row, widths, strict=True))
            ).rstrip()
            for row in (heads, *rows)
        ]
        if len(self.images) > 1:
            lines.insert(0, f"mean over {len(self.images)} images")
        return "\n".join(lines)

    def to_dict(self) -> dict[str, Any]:
        """Return everything but the pictures as plain values."""
        return {
            "kind": "everhart comparison",
            "provenance": dict(self.provenance),
            "images": [image.to_dict() for image in self.images],
            "mean": self.mean_values() if len(self.images) > 1 else None,
            "figures": {
                key: {"unit": figure.unit, "better": figure.best, "words": figure.words}
                for key, figure in FIGURES.items()
            },
            "cost": HOW_MEASURED,
        }


def format_value(key: str, value: float | None) -> str:
    """Return a figure as it stands in a table; "" where there is none."""
    if value is None or np.isnan(value):
        return ""
    if np.isinf(value):
        return "∞" if value > 0 else "-∞"
    return f"{value:.{FIGURES[key].digits}f}"


def _head(key: str) -> str:
    figure = FIGURES[key]
    return f"{figure.title.strip()} {figure.unit}".strip()


def _mean(key: str, values: list[float]) -> float:
    """Return the mean over images of a figure; of an uncertainty, that of the mean."""
    if "_uncertainty" in key:
        return float(np.linalg.norm(values) / len(values))
    return float(np.mean(values))


def _plain(value: float) -> float | None:
    return float(value) if np.isfinite(value) else None

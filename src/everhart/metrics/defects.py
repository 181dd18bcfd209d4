"""Whether a denoiser keeps small defects, hides them, or makes some up.

An inspection compares an image with what it should show. So does everything here: with the
noise-free pattern without defects, which only a simulation knows. See :class:`DefectTrial` for
the images that are needed, and :mod:`everhart.metrics.detection` for rates made of the scores.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike, NDArray

from everhart.errors import UsageError

__all__ = [
    "BLOB_SIGMAS_PX",
    "OBSERVERS",
    "DefectScores",
    "DefectTrial",
    "blob_response",
    "score_defects",
]

Image = NDArray[np.float32]

OBSERVERS: Final[Mapping[str, str]] = {
    "pixel": "one pixel of the difference from the pattern, against its local scatter",
    "window": "the mean of 3 x 3 pixels of it, whatever the size of the defect",
    "matched": "a filter that knows the defect's shape and the spectrum of the method's own errors",
}
"""Who looks for the defects; each is the same for every method."""

BLOB_SIGMAS_PX: Final = (1.0, 2.0, 4.0)
"""Sizes of the blobs that are counted where there is no defect."""

_MARGIN_PX: Final = 16
_SCATTER_PX: Final = 6.0  # reach of the local scatter: a feature of the pattern, not a defect
_PEAK_PX: Final = 7  # two alarms nearer than 3 px are one
_PEAKS_PER_MPX: Final = 200.0  # as many as are kept; a useful rate of false alarms is far lower
_PATCH_PX: Final = 15  # half of what a defect's picture is cut out with
_SPECTRUM_PX: Final = 64
_FEWEST_BLANKS: Final = 3
_SPECTRUM_FLOOR: Final = 1e-3


@dataclass(frozen=True, eq=False)
class DefectTrial:
    """A specimen, and where defects were planted on it.

    Parameters
    ----------
    pattern
        What a noise-free image without defects shows, ``(H, W)``, in grey levels.
    marked
        What noise-free images with defects show, ``(M, H, W)``; they differ from `pattern` by
        the defects alone.
    defects
        One row a defect: ``image`` (0 to M - 1), ``y_px``, ``x_px``, ``radius_px`` and
        ``contrast`` (any unit, above 0). Defects of one radius share a shape; no two of an
        image are nearer than 31 px.

    Raises
    ------
    UsageError
        If shapes do not fit, a column is missing, or the images are too small.
    """

    pattern: Image
    marked: Image
    defects: pd.DataFrame

    def __post_init__(self) -> None:
        if self.marked.ndim != 3 or self.marked.shape[1:] != self.pattern.shape:
            raise UsageError(
                f"Images with defects of shape {self.marked.shape} were given for a pattern of "
                f"{self.pattern.shape}: give a stack (M, H, W) of the pattern's height and width."
            )
        if min(self.pattern.shape) < 2 * _SPECTRUM_PX:
            raise UsageError(
                f"A pattern of {self.pattern.shape} pixels was given: defects are judged on at "
                f"least {2 * _SPECTRUM_PX} x {2 * _SPECTRUM_PX}."
            )
        missing = {"image", "y_px", "x_px", "radius_px", "contrast"} - set(self.defects)
        if missing:
            raise UsageError(
                f"The table of defects has no column {sorted(missing)[0]!r}: give image, y_px, "
                "x_px, radius_px and contrast."
            )


@dataclass(frozen=True, eq=False)
class DefectScores:
    """What the observers saw in one method's images of one trial.

    Parameters
    ----------
    defects
        The trial's table, with ``kept`` (share of the defect's contrast that is in the output:
        1 all of it, 0 none) and ``kept_weight`` for means of it, and a column for each of
        :data:`OBSERVERS`: its largest response at the defect, in units of the local scatter.
    alarms
        Largest responses where there is no defect, falling, by observer; of ``matched`` by
        ``matched RADIUS``.
    blobs
        Largest blobs of the difference from the pattern where there is no defect, in grey
        levels, falling, by their size in px.
    changing_blobs
        Likewise, of the difference from the mean of the method's other images without defects:
        what it does in every image alike, such as blurred edges, is not in it.
    area_mpx
        Area that alarms and blobs are from, in megapixels.
    """

    defects: pd.DataFrame
    alarms: Mapping[str, NDArray[np.float64]]
    blobs: Mapping[float, NDArray[np.float64]]
    changing_blobs: Mapping[float, NDArray[np.float64]]
    area_mpx: float

    def to_dict(self) -> dict[str, Any]:
        """Return plain values for a JSON file."""
        return {
            "defects": self.defects.to_dict("list"),
            "alarms": {name: np.round(v, 4).tolist() for name, v in self.alarms.items()},
            "blobs": {str(size): np.round(v, 6).tolist() for size, v in self.blobs.items()},
            "changing_blobs": {
                str(size): np.round(v, 6).tolist() for size, v in self.changing_blobs.items()
            },
            "area_mpx": self.area_mpx,
        }

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> DefectScores:
        """Return what :meth:`to_dict` gave."""
        blobs, changing = (
            {float(size): np.asarray(v, np.float64) for size, v in values[key].items()}
            for key in ("blobs", "changing_blobs")
        )
        return cls(
            pd.DataFrame(values["defects"]),
            {name: np.asarray(v, np.float64) for name, v in values["alarms"].items()},
            blobs,
            changing,
            float(values["area_mpx"]),
        )


def score_defects(
    trial: DefectTrial, images: Sequence[ArrayLike], blanks: Sequence[ArrayLike]
) -> DefectScores:
    """Let the observers look at a method's images.

    Each observer filters the difference from the known pattern, divides by the local scatter
    of that on the images without defects (inspection tools threshold by region: edges are
    noisier than planes), and takes the largest response within ``radius_px + 1`` of a defect. What
    a method does wrong everywhere in the same way is in the scatter, so nobody gains by blur.

    `matched` is the prewhitening (Hotelling) observer [1]_: with the covariance of a method's
    own errors it is the best linear detector of a known shape, and a linear filter that
    wipes out no frequency does not change its score. It is a bound for what is worth finding,
    not an inspection tool.

    Parameters
    ----------
    trial
        Specimen and defects.
    images
        What the method made of noisy images with defects, M of ``(H, W)`` in the grey levels of
        the pattern.
    blanks
        What it made of noisy images without defects, at least 3: each is held against the others.

    Returns
    -------
    DefectScores
        Scores of the defects, and the largest responses on the blanks.

    Raises
    ------
    UsageError
        If numbers or shapes do not fit the trial.

    References
    ----------
    .. [1] H. H. Barrett and K. J. Myers, "Foundations of Image Science", Wiley (2004), chapter
       13: the Hotelling observer.
    """
    with_defects = _differences(images, trial)
    without = _differences(blanks, trial)
    if len(with_defects) != len(trial.marked) or len(without) < _FEWEST_BLANKS:
        raise UsageError(
            f"{len(with_defects)} images with and {len(without)} without defects were given: give "
            f"{len(trial.marked)} and at least {_FEWEST_BLANKS}."
        )
    table = trial.defects.reset_index(drop=True)
    table = table.assign(**_kept(trial, with_defects, without))
    floor = 1e-6 * float(np.ptp(trial.pattern) or 1.0)
    alarms: dict[str, NDArray[np.float64]] = {}
    for name, filters in _observer_filters(trial, without).items():
        scores = np.zeros(len(table))
        for radius, respond in filters.items():
            blank = [respond(d) for d in without]
            marked = [respond(d) for d in with_defects]
            own = np.flatnonzero(_is(table["radius_px"], radius))
            peaks, heights = _standardised(blank, marked, floor, table.iloc[own])
            alarms[name if radius is None else f"{name} {radius:g}"] = peaks
            scores[own] = heights
        table[name] = scores
    total = np.sum(without, axis=0)
    changing = [d - (total - d) / (len(without) - 1) for d in without]
    height, width = trial.pattern.shape
    area = len(without) * (height - 2 * _MARGIN_PX) * (width - 2 * _MARGIN_PX) / 1e6
    return DefectScores(table, alarms, _blobs(without), _blobs(changing), area)


def _differences(images: Sequence[ArrayLike], trial: DefectTrial) -> list[Image]:
    found = [np.asarray(image, np.float32) for image in images]
    for image in found:
        if image.shape != trial.pattern.shape:
            raise UsageError(
                f"An image of shape {image.shape} was given for a pattern of "
                f"{trial.pattern.shape}: a method keeps the shape."
            )
    return [image - trial.pattern for image in found]


def _is(radii: pd.Series, radius: float | None) -> NDArray[np.bool_]:
    return np.ones(len(radii), bool) if radius is None else np.asarray(radii == radius)


def _patch(y: float, x: float, shape: tuple[int, ...]) -> tuple[slice, slice]:
    row, column = round(y), round(x)
    return (
        slice(max(row - _PATCH_PX, 0), min(row + _PATCH_PX + 1, shape[0])),
        slice(max(column - _PATCH_PX, 0), min(column + _PATCH_PX + 1, shape[1])),
    )


def _kept(
    trial: DefectTrial, with_defects: Sequence[Image], without: Sequence[Image]
) -> dict[str, list[float]]:
    """Project what the output has more than the blanks on what it should have more."""
    usual = np.mean(without, axis=0)
    kept, weights = [], []
    for image, y, x in _places(trial.defects):
        part = _patch(y, x, trial.pattern.shape)
        truth = (trial.marked[image][part] - trial.pattern[part]).astype(np.float64)
        power = float((truth * truth).sum())
        seen = with_defects[image][part] - usual[part]
        kept.append(float((truth * seen).sum()) / power if power else float("nan"))
        weights.append(power)
    return {"kept": kept, "kept_weight": weights}


def _places(table: pd.DataFrame) -> list[tuple[int, float, float]]:
    columns = (table["image"], table["y_px"], table["x_px"])
    return [(int(i), float(y), float(x)) for i, y, x in zip(*columns, strict=True)]


def _observer_filters(trial: DefectTrial, without: Sequence[Image]) -> dict[str, dict[Any, Any]]:
    """Return by observer its filters, by the radius that they look for (None for any)."""
    from scipy.ndimage import uniform_filter

    spectrum = _spectrum(without)
    return {
        "pixel": {None: lambda d: d},
        "window": {None: lambda d: uniform_filter(d, 3, mode="reflect")},
        "matched": {
            radius: _matched_filter(_template(trial, radius), spectrum)
            for radius in sorted(trial.defects["radius_px"].unique())
        },
    }


def _template(trial: DefectTrial, radius: float) -> NDArray[np.float64]:
    """Return what a defect of a radius looks like on average, for contrast 1."""
    size = 2 * _PATCH_PX + 1
    total, contrast = np.zeros((size, size)), 0.0
    defects = trial.defects[trial.defects["radius_px"] == radius]
    for (image, y, x), strength in zip(_places(defects), defects["contrast"], strict=True):
        part = _patch(y, x, trial.pattern.shape)
        change = trial.marked[image][part] - trial.pattern[part]
        if change.shape == total.shape:
            total += change
            contrast += float(strength)
    return total / contrast if contrast else total


def _spectrum(differences: Sequence[Image]) -> NDArray[np.float64]:
    """Return the power spectrum of what a method gets wrong, by Welch's method."""
    size = _SPECTRUM_PX
    window = np.outer(np.hanning(size + 1)[:-1], np.hanning(size + 1)[:-1])
    power, count = np.zeros((size, size)), 0
    for d in differences:
        for y in range(0, d.shape[0] - size + 1, size // 2):
            for x in range(0, d.shape[1] - size + 1, size // 2):
                power += np.abs(np.fft.fft2(d[y : y + size, x : x + size] * window)) ** 2
                count += 1
    return power / max(count, 1)


def _matched_filter(template: NDArray[np.float64], spectrum: NDArray[np.float64]) -> Any:
    """Return the filter that tells a known shape from noise of a known spectrum."""
    from scipy.signal import fftconvolve

    size = _SPECTRUM_PX
    centred = np.zeros((size, size))
    start = size // 2 - _PATCH_PX
    centred[start : start + template.shape[0], start : start + template.shape[1]] = template
    # What a method has wiped out it cannot be asked for: a floor under the spectrum.
    floor = _SPECTRUM_FLOOR * float(spectrum.max()) or 1.0
    transform = np.fft.fft2(np.fft.ifftshift(centred)) / np.maximum(spectrum, floor)
    kernel = np.fft.fftshift(np.fft.ifft2(transform).real)[1:, 1:]
    kernel /= np.sqrt((kernel**2).sum()) or 1.0
    flipped = np.ascontiguousarray(kernel[::-1, ::-1]).astype(np.float32)
    return lambda d: fftconvolve(np.pad(d, size // 2, mode="reflect"), flipped, mode="same")[
        size // 2 : -(size // 2), size // 2 : -(size // 2)
    ]


def _standardised(
    blank: list[Image], marked: list[Image], floor: float, defects: pd.DataFrame
) -> tuple[NDArray[np.float64], list[float]]:
    """Return the alarms on the blanks and the scores of the defects, by the local scatter."""
    from scipy.ndimage import gaussian_filter

    power = [gaussian_filter(np.square(r, dtype=np.float64), _SCATTER_PX) for r in blank]
    total = np.sum(power, axis=0)
    # A blank is not judged by itself: its own outliers would pass for scatter.
    peaks = [
        _peaks(np.abs(r) / np.sqrt((total - p) / (len(blank) - 1) + floor**2))
        for r, p in zip(blank, power, strict=True)
    ]
    scatter = np.sqrt(total / len(blank) + floor**2)
    heights = []
    for (image, y, x), radius in zip(_places(defects), defects["radius_px"], strict=True):
        rows, columns = _patch(y, x, scatter.shape)
        distance = np.hypot(
            np.arange(rows.start, rows.stop)[:, None] - y,
            np.arange(columns.start, columns.stop)[None, :] - x,
        )
        seen = np.abs(marked[image][rows, columns]) / scatter[rows, columns]
        heights.append(float(seen[distance <= float(radius) + 1].max()))
    return _largest(peaks, blank), heights


def _blobs(differences: Sequence[Image]) -> dict[float, NDArray[np.float64]]:
    return {
        size: _largest([_peaks(blob_response(d, size)) for d in differences], differences)
        for size in BLOB_SIGMAS_PX
    }


def blob_response(difference: Image, sigma: float) -> NDArray[np.float64]:
    """Return how far a spot is from its surroundings.

    Parameters
    ----------
    difference
        Picture less pattern, ``(H, W)``, in grey levels.
    sigma
        Size of the spot in px: the outer Gaussian is twice as wide.

    Returns
    -------
    ndarray
        Absolute response, ``(H, W)``, in grey levels.
    """
    from scipy.ndimage import gaussian_filter

    inner, outer = (gaussian_filter(difference, s) for s in (sigma, 2 * sigma))
    return np.asarray(np.abs(inner - outer), np.float64)


def _peaks(response: NDArray[np.floating]) -> NDArray[np.float64]:
    """Return the local maxima of a response away from the border."""
    from scipy.ndimage import maximum_filter

    inside = (slice(_MARGIN_PX, -_MARGIN_PX), slice(_MARGIN_PX, -_MARGIN_PX))
    highest = maximum_filter(response, _PEAK_PX)[inside]
    core = response[inside]
    return np.asarray(core[(core == highest) & (core > 0)], np.float64)


def _largest(peaks: Sequence[NDArray[np.float64]], images: Sequence[Image]) -> NDArray[np.float64]:
    kept = int(np.ceil(_PEAKS_PER_MPX * sum(i.size for i in images) / 1e6))
    return np.asarray(np.sort(np.concatenate(peaks))[::-1][:kept], np.float64)

"""Laying the frames of one field of view on each other."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from everhart.align.moving import shift_image
from everhart.align.phase import estimate_shift
from everhart.align.psnr import match_psnr
from everhart.errors import EverhartError, UsageError, unknown_name
from everhart.micrograph import Array, HistoryEntry, Micrograph, field_of

__all__ = ["AlignedFrames", "align_frames"]

_METHODS = ("phase", "psnr")
_REFERENCES = ("first", "mean")
_CROPS = ("common", "keep")
_REST_PX = 8.0  # what the first pass over a series may have left
_SPLINE_PX = 2  # what a cubic spline spreads a border's repeated pixels by


@dataclass(frozen=True, eq=False)
class AlignedFrames:
    """Frames on one grid, and how far each had drifted.

    Parameters
    ----------
    image
        The aligned stack ``(N, H, W)``, or its average ``(H, W)``.
    drift_px
        Shape ``(N, 2)``: displacement ``(y, x)`` of the specimen in each frame against the
        first one, in pixels. The frame was moved by the opposite.
    at_limit
        Numbers of the frames whose shift lies on the border of the search: they may have
        drifted further.
    border_px
        Rows cut at the top and at the bottom, columns cut at the left and at the right; zeros
        where the frames were kept whole.
    """

    image: Micrograph
    drift_px: NDArray[np.float64]
    at_limit: tuple[int, ...]
    border_px: tuple[int, int, int, int]

    def table(self) -> list[dict[str, Any]]:
        """Return the drift of each frame in pixels and in nm (None where uncalibrated)."""
        size = self.image.pixel_size_nm
        return [
            {
                "frame": number,
                "drift_y_px": round(float(y), 3),
                "drift_x_px": round(float(x), 3),
                "drift_y_nm": None if size is None else round(float(y) * size[0], 4),
                "drift_x_nm": None if size is None else round(float(x) * size[1], 4),
                "at_limit": number in self.at_limit,
            }
            for number, (y, x) in enumerate(self.drift_px)
        ]


def align_frames(
    frames: Micrograph | Array | Sequence[Micrograph | Array],
    *,
    method: Literal["phase", "psnr"] = "phase",
    reference: Literal["first", "mean"] = "first",
    crop: Literal["common", "keep"] = "common",
    average: bool = False,
    whole_pixels: bool = False,
    max_shift_px: float = 40.0,
) -> AlignedFrames:
    """Lay frames of one field of view on each other.

    Parameters
    ----------
    frames
        A stack ``(N, H, W)``, several images or stacks of one frame size in the order of time,
        or what :func:`everhart.io.open_frames` gives. Frames are taken one at a time.
    method
        ``"phase"``: cross-correlation to a fraction of a pixel (:func:`estimate_shift`), whatever
        the gain of each frame. ``"psnr"``: whole pixels of highest PSNR (:func:`match_psnr`).
    reference
        What frames are laid on: the first one, or the mean of the others, once these have
        been laid on the first. A frame is never compared with a mean that it is part of: its
        noise would hold it where it is.
    crop
        ``"common"`` cuts what not all frames show; ``"keep"`` keeps the size and repeats the
        border's pixels there, except in an average.
    average
        Return the mean of the aligned frames instead of the stack.
    whole_pixels
        Move by whole pixels only. A fraction of a pixel needs interpolation (cubic splines),
        which smooths the noise of each frame by an amount of its own and makes neighbouring pixels
        share it. That is right for an average or a measurement, and wrong where the
        noise itself is used: to train from pairs of noisy frames, or to diagnose noise.
    max_shift_px
        Largest shift in either direction to look for.

    Returns
    -------
    AlignedFrames
        The stack in its own dtype, the average in float32, with calibration, metadata and
        history of the first frame, without a data bar.

    Raises
    ------
    UsageError
        If a name is unknown, fewer than two frames are given, or their sizes or dtypes differ.
    EverhartError
        If the frames share no part of the field of view.

    Examples
    --------
    >>> from scipy.ndimage import gaussian_filter
    >>> scene = gaussian_filter(np.random.default_rng(0).normal(size=(96, 96)), 3)
    >>> stack = np.stack([scene, shift_image(scene, (1.5, -2.25))])
    >>> aligned = align_frames(stack)
    >>> bool(np.allclose(aligned.drift_px, [(0, 0), (1.5, -2.25)], atol=0.05)), aligned.image.shape
    (True, (2, 90, 89))
    """
    for what, given, allowed in (
        ("method", method, _METHODS), ("reference", reference, _REFERENCES), ("crop", crop, _CROPS),
    ):  # fmt: skip
        if given not in allowed:
            raise unknown_name(what, str(given), allowed)
    if not (np.isfinite(max_shift_px) and max_shift_px >= 1):
        raise UsageError(f"max_shift_px = {max_shift_px!r} was given: give at least 1 pixel.")
    first, series = _series(frames)
    whole = whole_pixels or method == "psnr"
    shifts = _shifts(series, method, reference, whole, max_shift_px)
    border = _border(shifts, series[0].shape, whole)
    parameters = {
        "method": method, "reference": reference, "crop": crop, "average": average,
        "whole_pixels": whole, "max_shift_px": float(max_shift_px), "n_frames": len(series),
        "shifts_px": [[float(s) for s in shift] for shift in shifts],
    }  # fmt: skip
    kept = border if crop == "common" or average else (0, 0, 0, 0)
    inside = _inside(kept, series[0].shape)
    dtype = np.dtype(np.float32) if average else series[0].dtype
    count = 1 if average else len(series)
    size = (inside[0].stop - inside[0].start, inside[1].stop - inside[1].start)
    out = np.zeros((count, *size), np.float64 if average else dtype)
    for number, (frame, shift) in enumerate(zip(series, shifts, strict=True)):
        moved = _moved(frame, shift, whole)[inside]
        if average:
            out[0] += moved
        else:
            out[number] = _as_dtype(moved, dtype)
    pixels = (out[0] / len(series)).astype(np.float32) if average else out
    entry = HistoryEntry("align", parameters)
    image = replace(
        first, pixels=pixels, data_bar_rows=0, history=(*first.history, entry)
    )  # the field of view alone: a moved frame has no data bar
    limit = tuple(int(n) for n in np.flatnonzero(np.abs(shifts).max(axis=1) >= int(max_shift_px)))
    return AlignedFrames(image, shifts[0] - shifts, limit, kept)


class _Frames:
    """Frames of several images and stacks, each taken when it is asked for."""

    def __init__(
        self, sources: Sequence[Micrograph | Array], places: list[tuple[int, int]]
    ) -> None:
        self._sources = sources
        self._places = places

    def __len__(self) -> int:
        return len(self._places)

    def __getitem__(self, number: int) -> Array:
        source, frame = self._places[number]
        field = field_of(self._sources[source])
        return np.asarray(field[frame] if field.ndim == 3 else field)

    def __iter__(self) -> Iterator[Array]:
        return (self[number] for number in range(len(self)))


def _series(
    frames: Micrograph | Array | Sequence[Micrograph | Array],
) -> tuple[Micrograph, _Frames]:
    given = [frames] if isinstance(frames, Micrograph | np.ndarray) else frames
    if len(given) == 0:
        raise UsageError("No frame was given: give at least two frames of one field of view.")
    if isinstance(given, list | tuple):
        fields = [field_of(image) for image in given]
        places = [
            (n, frame)
            for n, field in enumerate(fields)
            for frame in range(len(field) if field.ndim == 3 else 1)
        ]
        kinds = {(field.shape[-2:], field.dtype) for field in fields}
    else:  # a sequence of single frames that are read one at a time, all of one kind
        places = [(n, 0) for n in range(len(given))]
        field = field_of(given[0])
        kinds = {(field.shape[-2:], field.dtype)}
    if len(places) < 2 or len(kinds) != 1:
        described = ", ".join(sorted(f"{shape[0]} x {shape[1]} {dtype}" for shape, dtype in kinds))
        raise UsageError(
            f"{len(places)} frame(s) of {described} were given: give at least two frames of one "
            "field of view, of one size and dtype."
        )
    first = given[0]
    return (first if isinstance(first, Micrograph) else Micrograph(first)), _Frames(given, places)


def _search(method: str, frame: Array, fixed: Array, max_shift_px: float) -> tuple[float, float]:
    if method == "psnr":
        return match_psnr(frame, fixed, max_shift_px=int(max_shift_px)).shift_px
    return estimate_shift(frame, fixed, max_shift_px=max_shift_px)


def _shifts(
    series: _Frames, method: str, reference: str, whole: bool, max_shift_px: float
) -> NDArray[np.float64]:
    """Return the shift that lays each frame on the reference."""
    fixed = series[0]
    rest = (series[number] for number in range(1, len(series)))
    shifts = np.array([(0.0, 0.0), *(_search(method, f, fixed, max_shift_px) for f in rest)])
    if whole:
        shifts = np.rint(shifts)
    if reference == "mean":
        total = np.zeros(series[0].shape)
        for frame, shift in zip(series, shifts, strict=True):
            total += _moved(frame, shift, whole)
        inside = _inside(_border(shifts, total.shape, whole), total.shape)
        better = shifts.copy()
        reach = min(max_shift_px, _REST_PX)
        for number, (frame, shift) in enumerate(zip(series, shifts, strict=True)):
            # What is left, found where both are known, is added to what the frame was moved by.
            moved = _moved(frame, shift, whole)
            others = (total - moved) / (len(series) - 1)
            better[number] += _search(method, moved[inside], others[inside], reach)
        shifts = np.rint(better) if whole else better
    # The first frame stays: what is where in the file does not depend on the frames after it.
    return np.asarray(shifts - shifts[0], np.float64)


def _border(
    shifts: NDArray[np.float64], shape: tuple[int, ...], whole: bool
) -> tuple[int, int, int, int]:
    """Return the rows and columns (top, bottom, left, right) that not all frames show."""
    spread = 0 if whole or not np.any(shifts) else _SPLINE_PX
    edges = []
    for axis in (0, 1):
        low = max(int(np.ceil(shifts[:, axis].max())), 0) + spread
        high = max(int(np.ceil(-shifts[:, axis].min())), 0) + spread
        if low + high >= shape[axis]:
            raise EverhartError(
                f"The frames of {shape[0]} x {shape[1]} pixels lie {np.ptp(shifts[:, axis]):.0f} "
                "pixels apart and share nothing: check their order, or give a smaller max_shift_px."
            )
        edges += [low, high]
    return edges[0], edges[1], edges[2], edges[3]


def _inside(border: tuple[int, int, int, int], shape: tuple[int, ...]) -> tuple[slice, slice]:
    top, bottom, left, right = border
    return slice(top, shape[0] - bottom), slice(left, shape[1] - right)


def _moved(frame: Array, shift: NDArray[np.float64], whole: bool) -> Array:
    """Return a moved frame, its border's pixels repeated."""
    if not whole:
        return shift_image(frame, (float(shift[0]), float(shift[1]))) if np.any(shift) else frame
    height, width = frame.shape
    rows = np.clip(np.arange(height) - int(shift[0]), 0, height - 1)
    columns = np.clip(np.arange(width) - int(shift[1]), 0, width - 1)
    return np.asarray(frame[np.ix_(rows, columns)])


def _as_dtype(pixels: Array, dtype: np.dtype[Any]) -> Array:
    """Round and clip what a spline made of the pixels to their own dtype."""
    if pixels.dtype == dtype or dtype.kind == "f":
        return np.asarray(pixels.astype(dtype))
    if dtype.kind == "b":
        return np.asarray(pixels >= 0.5)
    limits = np.iinfo(dtype)
    return np.asarray(np.clip(np.rint(pixels), limits.min, limits.max).astype(dtype))

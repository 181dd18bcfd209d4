"""How a field of view drifts from frame to frame."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from everhart.errors import EverhartError

__all__ = ["Drift", "Moved", "RunningMean"]


@dataclass(frozen=True, eq=False)
class Drift:
    """Displacement of the specimen in each frame against the first one.

    Parameters
    ----------
    px
        Shape ``(N, 2)``: ``(dy, dx)`` in pixels; zero for the first frame.
    pixel_size_nm
        ``(y, x)``, or None where it is not known.
    at_limit
        Numbers of the frames whose drift lies on the border of the search: they may have drifted
        further.
    """

    px: NDArray[np.float64]
    pixel_size_nm: tuple[float, float] | None = None
    at_limit: tuple[int, ...] = ()

    @property
    def nm(self) -> NDArray[np.float64] | None:
        """The same in nm; None where the pixel size is not known."""
        return None if self.pixel_size_nm is None else self.px * np.array(self.pixel_size_nm)

    def table(self) -> list[dict[str, Any]]:
        """Return one row a frame, in pixels and in nm (None where uncalibrated)."""
        nm = self.nm
        return [
            {
                "frame": number,
                "drift_y_px": round(float(y), 3),
                "drift_x_px": round(float(x), 3),
                "drift_y_nm": None if nm is None else round(float(nm[number, 0]), 4),
                "drift_x_nm": None if nm is None else round(float(nm[number, 1]), 4),
                "at_limit": number in self.at_limit,
            }
            for number, (y, x) in enumerate(self.px)
        ]


class Moved(NamedTuple):
    """By how much a frame was moved onto those before it."""

    shift_px: tuple[float, float]
    at_limit: bool


class RunningMean:
    """Mean of frames that are given one by one.

    With `max_shift_px`, each frame is laid on the mean of those before it. A single frame can be
    nearly all noise, so that two of them are hard to lay on each other. The mean of those before
    has less noise with every frame, and it stays where the first one is: errors do not add
    up as they do from one frame to the next. No frame is compared with a mean that it is
    part of; its own noise would hold it where it is.

    A pixel is the mean of the frames that show it and have a finite value there. The first frame
    shows all, so nothing has to be cut off.

    Parameters
    ----------
    max_shift_px
        Largest shift in y and in x to look for; None if frames lie on each other as they are.
    """

    def __init__(self, max_shift_px: float | None = None) -> None:
        self.max_shift_px = max_shift_px
        self.n_frames = 0
        self._total: NDArray[np.float64] = np.zeros(0)
        self._count: NDArray[np.uint32] = np.zeros(0, np.uint32)

    def add(self, frame: NDArray[Any]) -> Moved:
        """Add a frame ``(H, W)`` of the shape of those before it."""
        if not self.n_frames:
            self._total = np.zeros(frame.shape)
            self._count = np.zeros(frame.shape, np.uint32)
        shift, at_limit = (0.0, 0.0), False
        if self.n_frames and self.max_shift_px is not None:
            from everhart.align import estimate_shift

            reference = _filled(self.mean)
            shift = estimate_shift(_filled(frame), reference, max_shift_px=self.max_shift_px)
            at_limit = max(map(abs, shift)) >= int(self.max_shift_px)
        shown = _shown(self.n_frames, shift, frame.shape)
        moved, known = _moved(frame, shift)
        if known is None:
            self._total[shown] += moved[shown]
            self._count[shown] += 1
        else:
            self._total[shown] += np.where(known, moved, 0)[shown]
            self._count[shown] += known[shown]
        self.n_frames += 1
        return Moved(shift, at_limit)

    @property
    def mean(self) -> NDArray[np.float64]:
        """The mean so far; NaN where no frame has a value."""
        with np.errstate(invalid="ignore"):
            return self._total / self._count


def _moved(
    frame: NDArray[Any], shift: tuple[float, float]
) -> tuple[NDArray[Any], NDArray[np.bool_] | None]:
    """Return a moved frame, and which of its pixels are of finite ones; None for all."""
    from everhart.align import shift_image

    finite = np.isfinite(frame)
    complete = bool(finite.all())
    if not any(shift):
        return frame, None if complete else finite
    moved = shift_image(_filled(frame).astype(np.float32), shift)
    if complete:
        return moved, None
    return moved, shift_image(finite.astype(np.float32), shift) > 0.999


def _shown(number: int, shift: tuple[float, float], shape: tuple[int, ...]) -> tuple[slice, slice]:
    """Return the rows and columns that a moved frame shows."""
    spans = []
    for step, length in zip(shift, shape, strict=True):
        start, stop = max(int(np.ceil(step)), 0), length + min(int(np.floor(step)), 0)
        if start >= stop:
            raise EverhartError(
                f"Frame {number} of {shape[0]} x {shape[1]} pixels lies {abs(step):.0f} pixels "
                "away from the first one and shares nothing with it: check their order, "
                "or give a smaller largest shift."
            )
        spans.append(slice(start, stop))
    return spans[0], spans[1]


def _filled(frame: NDArray[Any]) -> NDArray[Any]:
    """Return a frame with the median in place of NaN and infinities, which have no position."""
    finite = np.isfinite(frame)
    if finite.all() or not finite.any():
        return np.where(finite, frame, 0)
    return np.where(finite, frame, np.median(frame[finite]))

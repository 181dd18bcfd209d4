"""Repeated frames of one field: each restores, the others judge."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from everhart.errors import EverhartError
from everhart.metrics import (
    LeftOutError,
    LeftOutTarget,
    RankedMethod,
    left_out_error,
    left_out_target,
    paired_difference,
    rank_methods,
)
from everhart.micrograph import Micrograph
from everhart.report.figures import shift_keeping_noise

__all__ = [
    "MAX_FRAMES",
    "FrameJudge",
    "FrameJudgement",
    "frame_averages",
    "ranked_over_images",
    "spread",
]

Float32 = NDArray[np.float32]
Frame = Callable[[int], Float32]

MAX_FRAMES: Final = 32
"""Frames that judge, at most: the noise of the mean of so many matters no more."""

_MAX_SHIFT_PX = 40.0
_STILL_PX = 0.02  # below the step of the registration: left as it is
_MARGIN_PX = 8  # what a phase ramp carries in from outside of the image
_LEAST_PX = 16
_BLUR_PX = 1.5


@dataclass(frozen=True, eq=False)
class FrameJudgement:
    """What the frames said of the methods.

    Parameters
    ----------
    n_frames
        Number of frames that were used.
    restored
        Numbers, from 0, of those that the methods restored; each was judged by all others.
    drift_px
        ``(N, 2)``: displacement ``(y, x)`` of the specimen in each against the first.
    gains
        Contrast of each against the first.
    errors
        Estimated error by the name of the method.
    """

    n_frames: int
    restored: tuple[int, ...]
    drift_px: NDArray[np.float64]
    gains: tuple[float, ...]
    errors: Mapping[str, LeftOutError]

    @property
    def ranking(self) -> list[RankedMethod]:
        """The methods and the image as it was taken, the best first."""
        return rank_methods(self.errors)

    def to_dict(self) -> dict[str, Any]:
        """Return it as plain values."""
        order = [ranked.name for ranked in self.ranking]
        pairs = []
        for index, name in enumerate(order):
            for other in order[index + 1 :]:
                difference, uncertainty = paired_difference(self.errors[other], self.errors[name])
                pairs.append(
                    {
                        "better": name,
                        "worse": other,
                        "mse_difference": difference,
                        "standard_error": uncertainty if math.isfinite(uncertainty) else None,
                    }
                )
        return {
            "n_frames": self.n_frames,
            "restored": list(self.restored),
            "drift_px": self.drift_px.tolist(),
            "gains": list(self.gains),
            "ranking": [
                {"method": r.name, "place": r.place, "tied_with": list(r.tied_with)}
                for r in self.ranking
            ],
            "pairs": pairs,
        }


class FrameJudge:
    """Estimates the error of methods from the frames that they did not see.

    What a method restores is a frame as the microscope gave it. The *other* frames are laid on
    it, by a fraction of a pixel where they drifted. Interpolation makes neighbouring pixels share
    noise and may change its variance, so the frame that a method sees is never moved: it would be
    another kind of image than the one to be restored. The judges may be moved: their noise
    stays independent of that frame's, and what of it is left in their mean is measured on them
    after the move. Two frames have no such measurement; the variance there comes from
    the difference of both, so they are moved by a phase ramp, which keeps it.

    Parameters
    ----------
    frame
        Gives a frame ``(H, W)`` by number; called several times.
    n_frames
        Number of frames, at least 2.
    restored
        Numbers of those that will be restored.
    register
        Whether to look for drift.

    Raises
    ------
    EverhartError
        If the frames share too little of the field.
    """

    def __init__(
        self, frame: Frame, n_frames: int, restored: Sequence[int], *, register: bool
    ) -> None:
        self.n_frames = n_frames
        self.restored = tuple(restored)
        self.shifts = _shifts(frame, n_frames) if register else np.zeros((n_frames, 2))
        if np.abs(self.shifts).max() < _STILL_PX:
            self.shifts = np.zeros((n_frames, 2))
        shape = frame(0).shape
        self.regions = [_region(self.shifts, shape, number) for number in self.restored]
        self.cut_px = (
            shape[0] - (self.regions[0][0].stop - self.regions[0][0].start),
            shape[1] - (self.regions[0][1].stop - self.regions[0][1].start),
        )
        self._levels = [self._level(frame, number) for number in range(n_frames)]
        self._targets = [self._target(frame, turn) for turn in range(len(self.restored))]

    @property
    def gains(self) -> tuple[float, ...]:
        """Contrast of each frame against the first."""
        return tuple(contrast / self._levels[0][1] for _, contrast in self._levels)

    def error(self, pictures: Sequence[Float32]) -> LeftOutError:
        """Estimate the error of a method from what it made of the restored frames."""
        inside = [picture[region] for picture, region in zip(pictures, self.regions, strict=True)]
        return left_out_error(inside, self._targets)

    def judgement(self, errors: Mapping[str, LeftOutError]) -> FrameJudgement:
        """Return what is to be kept of it, with the errors of all methods."""
        # A frame whose specimen lies at +d is laid on the first one by -d.
        drift = np.round(-self.shifts, 4) + 0.0
        return FrameJudgement(self.n_frames, self.restored, drift, self.gains, errors)

    def _level(self, frame: Frame, number: int) -> tuple[float, float]:
        """Return brightness and contrast of a frame, where all frames show the specimen.

        Contrast is the standard deviation after a slight blur. A regression of one frame on
        another would give too small a gain, because the other's noise dilutes it; noise
        that is alike in both leaves the ratio of standard deviations as it is.
        """
        from scipy.ndimage import gaussian_filter

        pixels = frame(number)[_region(self.shifts, frame(0).shape, number)]
        contrast = float(gaussian_filter(pixels, _BLUR_PX, mode="nearest").std())
        return float(pixels.mean(dtype=np.float64)), contrast or 1.0

    def _target(self, frame: Frame, turn: int) -> LeftOutTarget:
        own, region = self.restored[turn], self.regions[turn]
        brightness, contrast = self._levels[own]

        def others() -> Any:
            for number in range(self.n_frames):
                if number == own:
                    continue
                dy, dx = self.shifts[number] - self.shifts[own]
                moved = shift_keeping_noise(frame(number), (float(dy), float(dx)))[region]
                level, other_contrast = self._levels[number]
                yield (moved.astype(np.float64) - level) * (contrast / other_contrast) + brightness

        return left_out_target(others(), frame(own)[region])


def spread(n_frames: int, count: int) -> tuple[int, ...]:
    """Return `count` of the numbers below `n_frames`, evenly spread from 0 on."""
    count = min(count, n_frames)
    return tuple(index * n_frames // count for index in range(count))


def frame_averages(
    frames: Sequence[Micrograph], *, register: bool
) -> Iterator[tuple[str, Float32]]:
    """Yield means of the first 4, 16, 64 ... frames of a field, and of all.

    Parameters
    ----------
    frames
        Two or more frames ``(H, W)`` of one field.
    register
        Whether to lay them on the first one; they are moved as in :class:`FrameJudge`.

    Yields
    ------
    name : str
        ``"F04"`` for the mean of 4.
    mean : ndarray
        float32 ``(H, W)``, without the data bar.
    """

    def frame(number: int) -> Float32:
        return np.asarray(frames[number].field_of_view, np.float32)

    count = len(frames)
    shifts = _shifts(frame, count) if register else np.zeros((count, 2))
    if np.abs(shifts).max() < _STILL_PX:
        shifts = np.zeros((count, 2))
    wanted = {4**power for power in range(1, 8)} | {count}
    total = np.zeros(frame(0).shape, np.float64)
    for number in range(count):
        dy, dx = shifts[number]
        total += shift_keeping_noise(frame(number), (float(dy), float(dx)))
        if number + 1 in wanted:
            yield f"F{number + 1:02d}", np.asarray(total / (number + 1), np.float32)


def ranked_over_images(
    judgements: Sequence[FrameJudgement],
) -> list[tuple[str, int]]:
    """Return the methods that all images have, the best first, with their places.

    The difference of two methods is the sum over images, and so is the variance of it.
    """
    names = [n for n in judgements[0].errors if all(n in j.errors for j in judgements)]
    order = sorted(names, key=lambda name: sum(j.errors[name].mse for j in judgements))

    def is_better(one: str, other: str) -> bool:
        pairs = [paired_difference(j.errors[other], j.errors[one]) for j in judgements]
        difference = sum(pair[0] for pair in pairs)
        return difference > 2 * math.sqrt(sum(pair[1] ** 2 for pair in pairs))

    return [(name, 1 + sum(is_better(other, name) for other in order)) for name in order]


def _shifts(frame: Frame, n_frames: int) -> NDArray[np.float64]:
    """Return the shift ``(dy, dx)`` that lays each frame on the first.

    Each is compared with the mean of those before it, which has less noise than any of them.
    """
    from everhart.align import estimate_shift

    shifts = np.zeros((n_frames, 2))
    total = frame(0).astype(np.float64)
    for number in range(1, n_frames):
        pixels = frame(number)
        shifts[number] = estimate_shift(pixels, total / number, max_shift_px=_MAX_SHIFT_PX)
        dy, dx = shifts[number]
        total += shift_keeping_noise(pixels, (float(dy), float(dx)))
    return shifts


def _region(
    shifts: NDArray[np.float64], shape: tuple[int, ...], number: int
) -> tuple[slice, slice]:
    """Return the part of a frame that all frames show, the same part of the specimen in each."""
    slices = []
    for axis, size in enumerate(shape):
        drifted = shifts[:, axis]
        margin = _MARGIN_PX if np.any(shifts) else 0
        start = math.ceil(drifted.max()) + margin
        stop = size + math.floor(drifted.min()) - margin
        if stop - start < min(_LEAST_PX, size):
            raise EverhartError(
                f"Frames of {shape[0]} x {shape[1]} pixels lie up to "
                f"{np.ptp(shifts, axis=0).max():.0f} pixels apart and share too little to "
                "judge by: give frames that drifted less."
            )
        moved = round(float(drifted[number]))
        slices.append(slice(start - moved, stop - moved))
    return slices[0], slices[1]

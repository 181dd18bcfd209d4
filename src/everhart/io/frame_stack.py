"""`FrameStack`: frames of one field of view, read one at a time."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, Self, overload

import numpy as np
from numpy.typing import DTypeLike, NDArray

from everhart.errors import FileFormatError, UsageError
from everhart.io.drift import Drift, RunningMean
from everhart.io.frame_file import FrameFile
from everhart.micrograph import HistoryEntry, Micrograph

__all__ = ["MAX_DRIFT_PX", "FrameStack"]

#: Largest drift that is looked for, in pixels.
MAX_DRIFT_PX = 40.0


class FrameStack(Sequence[Micrograph]):
    """Frames of one field of view, each read when it is asked for.

    Made by :func:`open_frames`. Indexing gives a frame, slicing another stack of the same
    files, iteration one frame after the other.

    Attributes
    ----------
    shape
        ``(frames, height, width)``.
    dtype
        Dtype of all frames.
    pixel_size_nm
        ``(y, x)`` in nm, or None.
    metadata, history
        Those of the first frame.
    data_bar_rows
        Rows of the data bar under each frame.

    Examples
    --------
    >>> import tempfile
    >>> from everhart.io import open_frames, write
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     for n in range(3):
    ...         name = Path(folder) / f"frame_{n}.tif"
    ...         _ = write(Micrograph(np.full((8, 8), n, np.uint8), 2.0), name)
    ...     with open_frames(folder) as stack:
    ...         stack, float(stack.mean().pixels[0, 0]), stack[-1].pixels[0, 0]
    (<FrameStack 3 x 8 x 8 uint8, 2 x 2 nm/px>, 1.0, np.uint8(2))
    """

    def __init__(
        self,
        files: Sequence[FrameFile],
        places: Sequence[tuple[int, int]],
        first: Micrograph,
    ) -> None:
        self._files = files
        self._places = places  # the number of the file, and of the frame in it
        self._first = first  # a frame that stands for all, with its pixels not in memory
        self._open_file = -1

    @property
    def shape(self) -> tuple[int, int, int]:
        """Frames, rows and columns."""
        return len(self._places), self._first.shape[0], self._first.shape[1]

    @property
    def dtype(self) -> np.dtype[Any]:
        """Dtype of the pixels."""
        return self._first.dtype

    @property
    def pixel_size_nm(self) -> tuple[float, float] | None:
        """Pixel size ``(y, x)`` in nm, or None."""
        return self._first.pixel_size_nm

    @property
    def metadata(self) -> Mapping[str, Any]:
        """Metadata of the first frame."""
        return self._first.metadata

    @property
    def history(self) -> tuple[HistoryEntry, ...]:
        """What was done to the first frame before."""
        return self._first.history

    @property
    def data_bar_rows(self) -> int:
        """Rows of the data bar under each frame."""
        return self._first.data_bar_rows

    @property
    def paths(self) -> tuple[Path, ...]:
        """The file of each frame."""
        return tuple(self._files[file].path for file, _ in self._places)

    def __len__(self) -> int:
        return len(self._places)

    @overload
    def __getitem__(self, index: int) -> Micrograph: ...

    @overload
    def __getitem__(self, index: slice) -> FrameStack: ...

    def __getitem__(self, index: int | slice) -> Micrograph | FrameStack:
        if isinstance(index, slice):
            places = self._places[index]
            if not places:
                raise UsageError(
                    f"The frames {index.start}:{index.stop}:{index.step} were asked for: a stack "
                    f"of {len(self)} has none of these; choose others."
                )
            return FrameStack(self._files, places, self._first)
        number, _ = self._places[index]
        pixels, reader = self._pixels(index), self._files[number].reader()
        metadata = {**reader.metadata, "everhart": {**self.metadata["everhart"]}}
        return Micrograph(pixels, self.pixel_size_nm, metadata, reader.history, self.data_bar_rows)

    def __iter__(self) -> Iterator[Micrograph]:
        return (self[number] for number in range(len(self)))

    def __repr__(self) -> str:
        size = "uncalibrated"
        if self.pixel_size_nm is not None:
            size = "{:g} x {:g} nm/px".format(*self.pixel_size_nm)
        return f"<FrameStack {' x '.join(map(str, self.shape))} {self.dtype}, {size}>"

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def close(self) -> None:
        """Close the files. They are opened again if frames are asked for."""
        for file in self._files:
            file.close()

    def to_micrograph(self) -> Micrograph:
        """Read all frames into memory.

        Returns
        -------
        Micrograph
            Of shape ``(N, H, W)``.
        """
        pixels = np.empty(self.shape, self.dtype)
        with self:
            for number in range(len(self)):
                pixels[number] = self._pixels(number)
        return Micrograph(
            pixels, self.pixel_size_nm, self.metadata, self.history, self.data_bar_rows
        )

    def mean(
        self,
        *,
        align: bool = False,
        dtype: DTypeLike = np.float32,
        max_shift_px: float = MAX_DRIFT_PX,
        progress: Callable[[int, int], None] | None = None,
    ) -> Micrograph:
        """Average the frames, reading each once and holding one at a time.

        Parameters
        ----------
        align
            Whether drift is taken out first: each frame is laid on the mean of those before it
            (see :meth:`drift`). The result has the size and the place of the first frame; where
            others do not show it, it is the mean of those that do.
        dtype
            Dtype of the result. Integers are rounded.
        max_shift_px
            Largest drift in y and in x to look for.
        progress
            Called with the number of frames done and of all.

        Returns
        -------
        Micrograph
            Shape ``(H, W)``, with the calibration, metadata and data bar of the first frame.

        Raises
        ------
        EverhartError
            If a frame shares nothing with the first one.
        """
        total = RunningMean(_checked_reach(max_shift_px) if align else None)
        parameters: dict[str, Any] = {"n_frames": len(self), "align": align}
        drift = self._drift(total, progress)
        if align:
            parameters["max_shift_px"] = float(max_shift_px)
            parameters["drift_px"] = [[float(y), float(x)] for y, x in drift.px]
        return self[0].with_field_of_view(_as_dtype(total.mean, dtype), "average", parameters)

    def drift(
        self,
        *,
        max_shift_px: float = MAX_DRIFT_PX,
        progress: Callable[[int, int], None] | None = None,
    ) -> Drift:
        """Find how far the specimen moved from frame to frame.

        Each frame is laid on the mean of those before it, which has less noise than any single
        one and does not move away from the first (:class:`everhart.io.drift.RunningMean`). The
        data bar is left out.

        Parameters
        ----------
        max_shift_px
            Largest drift in y and in x to look for. A lattice looks the same at every
            period: give less than half of one.
        progress
            Called with the number of frames done and of all.

        Returns
        -------
        Drift
            Displacement against the first frame, in pixels and nm.
        """
        return self._drift(RunningMean(_checked_reach(max_shift_px)), progress)

    def _drift(self, total: RunningMean, progress: Callable[[int, int], None] | None) -> Drift:
        field = self.shape[1] - self.data_bar_rows
        moves = []
        with self:
            for number in range(len(self)):
                moves.append(total.add(self._pixels(number)[:field]))
                if progress is not None:
                    progress(number + 1, len(self))
        shifts = np.array([move.shift_px for move in moves], np.float64)
        limit = tuple(number for number, move in enumerate(moves) if move.at_limit)
        # The specimen lies where the frame has to be moved back from.
        return Drift(0.0 - shifts, self.pixel_size_nm, limit)

    def _pixels(self, index: int) -> NDArray[Any]:
        file, number = self._places[index]
        if file != self._open_file and self._open_file >= 0:
            self._files[self._open_file].close()  # one file open at a time, however many there are
        self._open_file = file
        pixels = self._files[file].frame(number)
        if pixels.shape != self.shape[1:] or pixels.dtype != self.dtype:
            raise FileFormatError(
                f"{self._files[file].path} changed since it was opened: open the frames again."
            )
        return pixels


def _checked_reach(max_shift_px: float) -> float:
    if not (math.isfinite(max_shift_px) and max_shift_px >= 1):
        raise UsageError(f"max_shift_px = {max_shift_px!r} was given: give at least 1 pixel.")
    return float(max_shift_px)


def _as_dtype(pixels: NDArray[np.float64], dtype: DTypeLike) -> NDArray[Any]:
    wanted = np.dtype(dtype)
    if wanted.kind == "f":
        return pixels.astype(wanted)
    if wanted.kind not in "ui":
        raise UsageError(f"dtype {wanted} was given for a mean: give an integer or a float.")
    limits = np.iinfo(wanted)
    return np.clip(np.rint(pixels), limits.min, limits.max).astype(wanted)

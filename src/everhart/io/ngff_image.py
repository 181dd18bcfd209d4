"""Pixels in a Zarr array: which of its axes is which, and all frames or one of them."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from everhart.errors import FileFormatError
from everhart.io.calibration import Calibration
from everhart.io.limits import Limits
from everhart.io.record import Record
from everhart.io.warning import warn
from everhart.io.zarr_array import Bounds, ZarrArray

__all__ = ["Axis", "NgffImage", "image_of"]

_NAMED = 5
_COLOURS = (3, 4)


@dataclass(frozen=True)
class Axis:
    """An axis: its name and kind in lower case, and its unit."""

    name: str
    kind: str = ""
    unit: str | None = None

    @property
    def is_channel(self) -> bool:
        """Whether it is no axis of space or time."""
        return self.name == "c" or self.kind == "channel"


@dataclass(frozen=True)
class NgffImage:
    """An image or a stack in an array, and what the store says of it.

    Parameters
    ----------
    array
        The array at full resolution.
    frame_axes
        Axes along which the frames are, the last one fastest; none for a single image.
    y_axis, x_axis
        Axes of the rows and of the columns. Of all other axes the first index is taken.
    calibration, metadata, record
        As of :class:`everhart.io.findings.Findings`.
    """

    array: ZarrArray
    frame_axes: tuple[int, ...]
    y_axis: int
    x_axis: int
    calibration: Calibration | None = None
    metadata: dict[str, Any] = field(default_factory=dict)
    record: Record | None = None

    @property
    def shape(self) -> tuple[int, int, int]:
        """``(frames, height, width)``."""
        size = self.array.shape
        frames = math.prod(size[axis] for axis in self.frame_axes)
        return frames, size[self.y_axis], size[self.x_axis]

    @property
    def dtype(self) -> np.dtype[Any]:
        """Dtype of the pixels, native."""
        return self.array.dtype.newbyteorder("=")

    @property
    def deep(self) -> int:
        """Frames that are in one chunk, and so are best read together."""
        return self.array.chunk[self.frame_axes[-1]] if self.frame_axes else 1

    def check(self, limits: Limits, *, whole: bool = True) -> None:
        """Check what the store claims of the pixels, before any of them is read.

        Parameters
        ----------
        limits
            What is allowed.
        whole
            Whether all frames are to be read, and not one at a time.

        Raises
        ------
        FileFormatError
            If no pixels are there.
        LimitError
            If there are too many.
        """
        name = str(self.array.store.path)
        frames, height, width = self.shape
        limits.check_frames(name, frames)
        limits.check(name, height=height, width=width, itemsize=self.dtype.itemsize,
                     frames=frames, file_bytes=1, mapped=True)  # fmt: skip
        stored = self.array.check(limits, self._bounds(None if whole else 0))
        limits.check(name, height=height, width=width, itemsize=self.dtype.itemsize,
                     frames=frames if whole else 1, file_bytes=stored)  # fmt: skip
        if not self.array.has_any():
            raise FileFormatError(
                f"{name} has metadata of {height} x {width} pixels and none of their chunks: copy "
                "the store again from its source."
            )

    def _bounds(self, number: int | None, count: int = 1) -> Bounds:
        """Return the part of the array that is all frames, or some from a number on."""
        shape = self.array.shape
        bounds = [(0, 1)] * len(shape)
        for axis in (self.y_axis, self.x_axis, *self.frame_axes):
            bounds[axis] = (0, shape[axis])
        if number is not None and self.frame_axes:
            *slow, fast = self.frame_axes
            at = np.unravel_index(number, [shape[axis] for axis in self.frame_axes])
            for axis, index in zip(slow, at, strict=False):
                bounds[axis] = (int(index), int(index) + 1)
            bounds[fast] = (int(at[-1]), min(int(at[-1]) + count, shape[fast]))
        return bounds

    def read(self, limits: Limits) -> NDArray[Any]:
        """Read all frames: an array of shape ``(frames, height, width)``."""
        return self._read(self._bounds(None), limits)

    def frames(self, number: int, limits: Limits) -> tuple[int, NDArray[Any]]:
        """Read the frames that share their chunks with one.

        Parameters
        ----------
        number
            The frame.
        limits
            How large a chunk may be.

        Returns
        -------
        first : int
            Number of the first frame that was read.
        frames : ndarray
            Of shape ``(n, height, width)``.
        """
        if not self.frame_axes:
            return 0, self.read(limits)
        along = number % self.array.shape[self.frame_axes[-1]]
        first = number - along % self.deep
        return first, self._read(self._bounds(first, self.deep), limits)

    def window(
        self, rows: tuple[int, int], columns: tuple[int, int], limits: Limits
    ) -> NDArray[Any]:
        """Read a part of the first frame.

        Parameters
        ----------
        rows, columns
            Start and stop.
        limits
            How large a chunk may be.

        Returns
        -------
        ndarray
            Of shape ``(rows, columns)``.
        """
        bounds = list(self._bounds(0))
        bounds[self.y_axis], bounds[self.x_axis] = rows, columns
        part: NDArray[Any] = self._read(bounds, limits)[0]
        return part

    def _read(self, bounds: Bounds, limits: Limits) -> NDArray[Any]:
        found, missing = self.array.read(bounds, limits)
        if missing:
            self._miss(missing, self.array.count(bounds))
        wanted = (*self.frame_axes, self.y_axis, self.x_axis)
        order = [*wanted, *(axis for axis in range(found.ndim) if axis not in wanted)]
        size = [stop - start for start, stop in (bounds[self.y_axis], bounds[self.x_axis])]
        return np.ascontiguousarray(found.transpose(order).reshape(-1, *size))

    def _miss(self, missing: int, count: int) -> None:
        path = self.array.store.path
        if self.record is not None:  # all chunks of what Everhart writes are there
            raise FileFormatError(
                f"{path} is incomplete: {missing:,} of {count:,} chunks of pixels are missing; "
                "copy the store again from its source."
            )
        warn(
            path,
            f"has {count - missing:,} of {count:,} chunks of pixels; where the others are missing "
            f"it is {self.array.fill}, as of an empty region or of a copy that is not whole",
        )


def image_of(
    array: ZarrArray,
    axes: Sequence[Axis] | None,
    *,
    omero: Any = None,
    metadata: dict[str, Any],
    record: Record | None,
) -> NgffImage:
    """Make an image of an array.

    Parameters
    ----------
    array
        The array.
    axes
        Its axes, None if nobody says.
    omero
        What OMERO says of the channels.
    metadata, record
        As of :class:`NgffImage`.

    Returns
    -------
    NgffImage
        Without a calibration.

    Raises
    ------
    FileFormatError
        If the array has fewer axes than an image, or more than a stack.

    Warns
    -----
    FileWarning
        If only one of several channels is taken, or there are frames along two axes.
    """
    shape, path = array.shape, array.store.path
    if len(shape) < 2:
        raise FileFormatError(
            f"{path} holds an array of {len(shape)} axis, which is no image: an image has two."
        )
    y, x = _rows_and_columns(shape, axes)
    frame_axes, channels = [], 1
    for axis, size in enumerate(shape):
        if axis in (y, x) or size == 1:
            continue
        if (axes is not None and axes[axis].is_channel) or (axes is None and axis > x):
            channels *= size
        else:
            frame_axes.append(axis)
    if channels > 1:
        _warn_of_channels(path, channels, omero)
    names = [axes[axis].name for axis in frame_axes] if axes is not None else []
    if (len(frame_axes) > 1 and not set(names) <= {"t", "z"}) or (
        len(frame_axes) > 1 and not names
    ):
        sizes = " x ".join(map(str, shape))
        raise FileFormatError(
            f"{path} holds an array of {sizes}, which has more axes than a stack of images (such "
            "as a 4D data set): save the image that you want of it."
        )
    if len(frame_axes) > 1:
        sizes = " x ".join(f"{shape[a]} {n}" for a, n in zip(frame_axes, names, strict=True))
        warn(path, f"has images along two axes ({sizes}); all of them are given as frames")
    return NgffImage(array, tuple(frame_axes), y, x, metadata=metadata, record=record)


def _rows_and_columns(shape: Sequence[int], axes: Sequence[Axis] | None) -> tuple[int, int]:
    last = len(shape) - 1
    if axes is None:
        coloured = len(shape) == 3 and shape[2] in _COLOURS and min(shape[:2]) > max(_COLOURS)
        return (0, 1) if coloured else (last - 1, last)
    names = [axis.name for axis in axes]
    if names.count("y") == names.count("x") == 1:
        return names.index("y"), names.index("x")
    space = [number for number, axis in enumerate(axes) if axis.kind == "space"]
    return (space[-2], space[-1]) if len(space) >= 2 else (last - 1, last)


def _warn_of_channels(path: Path, channels: int, omero: Any) -> None:
    labels: list[str] = []
    listed = omero.get("channels") if isinstance(omero, dict) else None
    for number, channel in enumerate(listed if isinstance(listed, list) else ()):
        label = channel.get("label") if isinstance(channel, dict) else None
        labels.append(repr(str(label)[:40] if label else f"channel {number}"))
    taken, others = labels[:1], labels[1:channels]
    which = f" {taken[0]}" if taken else ""
    rest = ""
    if others:
        rest = f" ({', '.join(others[:_NAMED])}{', ...' if len(others) > _NAMED else ''})"
    warn(path, f"has {channels} channels; the first one{which} was read, the others{rest} not")

"""An image or a stack in a dataset of an HDF5 file: mapped, read at once or frame by frame."""

from __future__ import annotations

import itertools
import math
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from everhart.errors import FileFormatError
from everhart.io.hdf5 import check_dataset
from everhart.io.hdf5_chunks import Chunks, chunks_of, read_part
from everhart.io.lazy import MAPPED_BYTES, map_pixels
from everhart.io.limits import Limits
from everhart.io.warning import warn

if TYPE_CHECKING:
    import h5py

__all__ = ["Hdf5Image"]

# Frames are read together up to this size: fewer calls, and no second copy of a large stack.
_READ_BYTES = 32 << 20


@dataclass(frozen=True)
class Hdf5Image:
    """Pixels in a dataset, and which of its axes is which.

    Parameters
    ----------
    path
        The file.
    dataset
        The dataset; its other axes have a length of 1.
    frames_axis
        Axis along which the frames are, None for a single image.
    y_axis, x_axis
        Axes of the rows and of the columns.
    """

    path: Path
    dataset: h5py.Dataset
    frames_axis: int | None
    y_axis: int
    x_axis: int

    @property
    def shape(self) -> tuple[int, int, int]:
        """``(frames, height, width)``."""
        size = self.dataset.shape
        frames = 1 if self.frames_axis is None else int(size[self.frames_axis])
        return frames, int(size[self.y_axis]), int(size[self.x_axis])

    @property
    def dtype(self) -> np.dtype[Any]:
        """Dtype of the pixels, native."""
        native: np.dtype[Any] = self.dataset.dtype.newbyteorder("=")
        return native

    @property
    def frame_bytes(self) -> int:
        """Bytes of one frame."""
        return self.shape[1] * self.shape[2] * self.dtype.itemsize

    def check(self, limits: Limits, *, whole: bool = True) -> None:
        """Check what the file claims of the pixels, before any of them is read.

        Parameters
        ----------
        limits
            What is allowed.
        whole
            Whether all frames are to be read, and not one at a time.

        Raises
        ------
        FileFormatError
            If these are no grey pixels, or not in this file.
        LimitError
            If there are too many.
        """
        kind = self.dtype.kind
        if kind in "cV":
            what = "complex numbers" if self.is_complex else "records"
            raise FileFormatError(
                f"{self.path} holds {what} (such as a Fourier transform) and no image: export its "
                "modulus, or the image that it was made from, as an image of real numbers."
            )
        if kind not in "buif":
            raise FileFormatError(
                f"{self.path} holds {self.dtype} in place of pixels: bool, integers and floats are "
                "read; export the image as TIFF from the program that wrote the file."
            )
        frames, height, width = self.shape
        limits.check_frames(str(self.path), frames)
        check_dataset(self.path, self.dataset, limits)
        limits.check(
            str(self.path),
            height=height,
            width=width,
            itemsize=self.dtype.itemsize,
            frames=frames if whole else 1,
            file_bytes=self.path.stat().st_size,
            mapped=self.layout is not None and self.dataset.dtype.isnative,
        )

    @property
    def is_complex(self) -> bool:
        """Whether each value is a real and an imaginary part."""
        names = [name.casefold() for name in self.dtype.names or ()]
        parts = len(names) == 2 and names[0].startswith("r") and names[1].startswith("i")
        return self.dtype.kind == "c" or parts

    @cached_property
    def layout(self) -> tuple[int, tuple[int, int, int]] | None:
        """Where the pixels lie, if they lie in the file as they are in memory.

        Offset of the first pixel; bytes from one frame, row and column to the next. None for
        pixels that the HDF5 library has to read.
        """
        import h5py

        stored, plan = self.dataset.id, self.dataset.id.get_create_plist()
        if (
            self.dtype.kind not in "uif"
            or not stored.get_type().equal(h5py.h5t.py_create(self.dataset.dtype))
            # Addresses in the file do not always count what stands before its first block.
            or self.dataset.file.userblock_size
            or plan.get_external_count()
        ):
            return None
        if plan.get_layout() == h5py.h5d.CONTIGUOUS:
            offset = stored.get_offset()
            return None if offset is None else (int(offset), self._strides(self.dataset.shape))
        return self._layout_of_chunks()

    @cached_property
    def _chunks(self) -> Chunks | None:
        return chunks_of(self.path, self.dataset)

    def _strides(self, shape: tuple[int, ...]) -> tuple[int, int, int]:
        steps = [math.prod(shape[axis + 1 :]) * self.dtype.itemsize for axis in range(len(shape))]
        frames = self.frame_bytes if self.frames_axis is None else steps[self.frames_axis]
        return frames, steps[self.y_axis], steps[self.x_axis]

    def _layout_of_chunks(self) -> tuple[int, tuple[int, int, int]] | None:
        """Return where frames lie that are a chunk each, if they are evenly spaced."""
        chunks, axis = self._chunks, self.frames_axis
        if chunks is None or chunks.filters or chunks.nbytes != self.frame_bytes:
            return None
        if any(chunks.chunk[n] != chunks.shape[n] for n in (self.y_axis, self.x_axis)):
            return None
        places = sorted(
            (0 if axis is None else first[axis], offset)
            for first, (_, offset, _) in chunks.places.items()
        )
        if [number for number, _ in places] != list(range(self.shape[0])):
            return None
        offsets = [offset for _, offset in places]
        steps = {after - before for before, after in itertools.pairwise(offsets)}
        if len(steps) > 1 or any(step < self.frame_bytes for step in steps):
            return None
        _, y, x = self._strides(chunks.chunk)
        return offsets[0], (steps.pop() if steps else self.frame_bytes, y, x)

    def mapped(self) -> NDArray[Any] | None:
        """Return all frames as they lie in the file, or None if they do not."""
        if self.layout is None:
            return None
        offset, strides = self.layout
        stored = self.dataset.dtype
        found = map_pixels(
            self.path, offset=offset, shape=self.shape, dtype=stored, strides=strides
        )
        return found if found.nbytes > MAPPED_BYTES else np.ascontiguousarray(found)

    def read(self) -> NDArray[Any]:
        """Read all frames.

        Returns
        -------
        ndarray
            Of shape ``(frames, height, width)``, native.
        """
        pixels = self.mapped()
        if pixels is not None:
            return pixels
        self.warn_of_gaps()
        pixels = np.empty(self.shape, self.dtype)
        step = self._frames_at_once()
        for start in range(0, self.shape[0], step):
            pixels[start : start + step] = self.frames(start, start + step)
        return pixels

    def warn_of_gaps(self) -> None:
        """Warn if parts of the pixels were never written: the library fills them in."""
        chunk = self.dataset.chunks
        if chunk is None:
            return
        count = math.prod(-(-n // c) for n, c in zip(self.dataset.shape, chunk, strict=True))
        written = len(self._chunks.places) if self._chunks is not None else count
        if written < count:
            warn(
                self.path,
                f"has {written:,} of {count:,} parts of its pixels; the others were never written "
                f"and are {self.dataset.fillvalue}",
            )

    def _frames_at_once(self) -> int:
        """Return how many frames to read together: whole chunks, which are unpacked once."""
        chunk = self.dataset.chunks
        deep = 1 if chunk is None or self.frames_axis is None else int(chunk[self.frames_axis])
        return deep * max(1, _READ_BYTES // max(1, deep * self.frame_bytes))

    def frames(self, start: int, stop: int) -> NDArray[Any]:
        """Read some frames, native and writable."""
        bounds = [(0, int(size)) for size in self.dataset.shape]
        wanted = [self.y_axis, self.x_axis]
        if self.frames_axis is not None:
            bounds[self.frames_axis] = (start, min(stop, self.shape[0]))
            wanted.insert(0, self.frames_axis)
        stored = read_part(self.dataset, self._chunks, bounds)
        if stored.dtype.kind == "b":  # other bytes than 0 and 1 would be no bool
            stored = stored.view(np.uint8) != 0
        order = [*wanted, *(axis for axis in range(stored.ndim) if axis not in wanted)]
        turned = stored.transpose(order).reshape(-1, *self.shape[1:])
        return np.ascontiguousarray(turned, self.dtype)

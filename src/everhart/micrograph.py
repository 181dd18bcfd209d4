"""`Micrograph`: the one thing that flows through Everhart."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from importlib.metadata import PackageNotFoundError, version
from typing import TYPE_CHECKING, Any, Self, TypeVar

import numpy as np
from numpy.typing import ArrayLike, DTypeLike, NDArray

from everhart.errors import UsageError

if TYPE_CHECKING:
    import xarray

try:
    __version__ = version("everhart")
except PackageNotFoundError:  # run from a source tree that was never installed
    __version__ = "0+unknown"

Array = NDArray[Any]


@dataclass(frozen=True)
class HistoryEntry:
    """One operation that was done to a micrograph.

    Parameters
    ----------
    operation
        Name of the operation, such as ``"denoise"``.
    parameters
        Its parameters, JSON-serialisable.
    model_hash
        sha256 of the model file used, or None.
    version
        Version of Everhart that did it.
    time
        UTC time in ISO 8601.
    """

    operation: str
    parameters: Mapping[str, Any] = field(default_factory=dict)
    model_hash: str | None = None
    version: str = __version__
    time: str = field(default_factory=lambda: datetime.now(UTC).isoformat(timespec="seconds"))

    def to_dict(self) -> dict[str, Any]:
        """Return the entry as a JSON-serialisable dict."""
        return {
            "operation": self.operation,
            "parameters": dict(self.parameters),
            "model_hash": self.model_hash,
            "version": self.version,
            "time": self.time,
        }

    @classmethod
    def from_dict(cls, entry: Mapping[str, Any]) -> Self:
        """Make an entry from what :meth:`to_dict` returned."""
        return cls(
            operation=str(entry["operation"]),
            parameters=dict(entry.get("parameters", {})),
            model_hash=entry.get("model_hash"),
            version=str(entry.get("version", "")),
            time=str(entry.get("time", "")),
        )


@dataclass(frozen=True, eq=False)
class Micrograph:
    """Grey pixels with their calibration, metadata and history.

    Parameters
    ----------
    pixels
        Array of shape ``(height, width)``, or ``(frames, height, width)`` for a stack of
        frames of one field of view. Bool, integer or floating point.
    pixel_size_nm
        Calibrated pixel size ``(y, x)`` in nm, or None where it is not known. A single
        number means square pixels.
    metadata
        What the microscope wrote, as a tree of plain values.
    history
        What was done to the image, oldest first.
    data_bar_rows
        Number of rows at the bottom of the image that are the microscope's data bar and
        not specimen; 0 for none. Operations leave these rows as they are.

    Raises
    ------
    UsageError
        If the array is not a grey image or stack, or the pixel size is not positive.

    Examples
    --------
    >>> m = Micrograph(np.zeros((4, 6), np.uint8), pixel_size_nm=2.5)
    >>> m.shape, m.pixel_size_nm
    ((4, 6), (2.5, 2.5))
    >>> np.asarray(m).dtype
    dtype('uint8')
    """

    pixels: Array
    pixel_size_nm: tuple[float, float] | None = None
    metadata: Mapping[str, Any] = field(default_factory=dict)
    history: tuple[HistoryEntry, ...] = ()
    data_bar_rows: int = 0

    def __post_init__(self) -> None:
        pixels = np.asarray(self.pixels)
        if pixels.ndim not in (2, 3) or pixels.size == 0:
            raise UsageError(
                f"An array of shape {pixels.shape} was given: a micrograph is (height, width) or "
                "(frames, height, width) and not empty; convert colour to grey first."
            )
        if pixels.dtype.kind not in "buif":
            raise UsageError(
                f"Pixels of dtype {pixels.dtype} were given: bool, integer and floating point "
                "are allowed; take the magnitude of complex data first."
            )
        object.__setattr__(self, "pixels", pixels)
        object.__setattr__(self, "pixel_size_nm", _checked_pixel_size(self.pixel_size_nm))
        object.__setattr__(self, "history", tuple(self.history))
        if not 0 <= self.data_bar_rows < pixels.shape[-2]:
            raise UsageError(
                f"A data bar of {self.data_bar_rows} rows was given for an image of "
                f"{pixels.shape[-2]} rows: it must be at least 0 and less than the height."
            )

    # -- the array side -------------------------------------------------------------------
    def __array__(self, dtype: DTypeLike | None = None, copy: bool | None = None) -> Array:
        """Return the pixels, so that ``np.asarray(m)`` works."""
        return np.array(self.pixels, dtype=dtype, copy=copy)

    @property
    def shape(self) -> tuple[int, ...]:
        """Shape of the pixels."""
        return tuple(self.pixels.shape)

    @property
    def dtype(self) -> np.dtype[Any]:
        """Dtype of the pixels."""
        return self.pixels.dtype

    @property
    def ndim(self) -> int:
        """2 for one image, 3 for a stack of frames."""
        return int(self.pixels.ndim)

    @property
    def n_frames(self) -> int:
        """Number of frames; 1 for one image."""
        return int(self.pixels.shape[0]) if self.pixels.ndim == 3 else 1

    # -- the field of view, without the data bar ------------------------------------------
    @property
    def field_of_view(self) -> Array:
        """View of the pixels without the data bar."""
        return self.pixels[..., : self.pixels.shape[-2] - self.data_bar_rows, :]

    def crop_data_bar(self) -> Micrograph:
        """Return the micrograph without its data bar."""
        if self.data_bar_rows == 0:
            return self
        return replace(self, pixels=self.field_of_view, data_bar_rows=0)

    def with_field_of_view(
        self,
        pixels: ArrayLike,
        operation: str,
        parameters: Mapping[str, Any] | None = None,
        model_hash: str | None = None,
    ) -> Micrograph:
        """Return a copy with a processed field of view, the data bar put back below it.

        Parameters
        ----------
        pixels
            Processed field of view, of the shape of :attr:`field_of_view`, or of one frame
            of it for an operation that makes one image out of a stack.
        operation, parameters, model_hash
            What was done, for the history.

        Returns
        -------
        Micrograph
            Same calibration and metadata, one more history entry.
        """
        processed = np.asarray(pixels)
        if self.data_bar_rows:
            bar = self.pixels[..., self.pixels.shape[-2] - self.data_bar_rows :, :]
            if processed.ndim < bar.ndim:
                bar = bar[0]
            processed = np.concatenate([processed, bar.astype(processed.dtype)], axis=-2)
        entry = HistoryEntry(operation, dict(parameters or {}), model_hash)
        return replace(self, pixels=processed, history=(*self.history, entry))

    def to_xarray(self) -> xarray.DataArray:
        """Return the pixels as a DataArray with axes in nm (in pixels where uncalibrated).

        Returns
        -------
        xarray.DataArray
            Dimensions ``(frame,) y, x``; coordinates of pixel centres, with their unit in
            ``attrs["units"]``; the metadata in ``attrs``.
        """
        import xarray

        unit = "px" if self.pixel_size_nm is None else "nm"
        step_y, step_x = self.pixel_size_nm or (1.0, 1.0)
        height, width = self.pixels.shape[-2:]
        dims = ("frame", "y", "x")[-self.ndim :]
        array = xarray.DataArray(
            self.pixels,
            dims=dims,
            coords={"y": np.arange(height) * step_y, "x": np.arange(width) * step_x},
            attrs={"pixel_size_nm": self.pixel_size_nm, "metadata": dict(self.metadata)},
        )
        for axis in ("y", "x"):
            array[axis].attrs["units"] = unit
        return array

    def __repr__(self) -> str:
        size = "uncalibrated"
        if self.pixel_size_nm is not None:
            size = "{:g} x {:g} nm/px".format(*self.pixel_size_nm)
        shape = " x ".join(map(str, self.shape))
        return f"<Micrograph {shape} {self.dtype}, {size}, {len(self.history)} operations>"


ImageT = TypeVar("ImageT", Micrograph, Array)


def field_of(image: Micrograph | ArrayLike) -> Array:
    """Return the pixels to work on: the field of view of a micrograph, or the array itself.

    Parameters
    ----------
    image
        Micrograph or array-like of shape ``(H, W)`` or ``(N, H, W)``.

    Returns
    -------
    ndarray
        The pixels, not copied.

    Raises
    ------
    UsageError
        If an array is given that is no micrograph.
    """
    if not isinstance(image, Micrograph):
        image = Micrograph(np.asarray(image))
    return image.field_of_view


def like(
    image: ImageT,
    pixels: Array,
    operation: str,
    parameters: Mapping[str, Any] | None = None,
    model_hash: str | None = None,
) -> ImageT:
    """Return processed pixels as the same kind of thing that was given.

    Parameters
    ----------
    image
        What the caller was given: a micrograph or an array.
    pixels
        The processed field of view.
    operation, parameters, model_hash
        What was done, for the history of a micrograph.

    Returns
    -------
    Micrograph or ndarray
        A micrograph with calibration, metadata and history where `image` was one.
    """
    if isinstance(image, Micrograph):
        return image.with_field_of_view(pixels, operation, parameters, model_hash)
    return pixels


def _checked_pixel_size(size: Any) -> tuple[float, float] | None:
    if size is None:
        return None
    try:
        pair = (float(size), float(size)) if np.ndim(size) == 0 else tuple(float(s) for s in size)
    except (TypeError, ValueError):
        pair = ()  # no numbers
    if len(pair) != 2 or not all(np.isfinite(s) and s > 0 for s in pair):
        raise UsageError(
            f"A pixel size of {size!r} was given: it is (y, x) in nm, both positive and finite; "
            "give None where it is not known."
        )
    return pair

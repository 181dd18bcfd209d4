"""`info`: what is in a file."""

from __future__ import annotations

import os
import warnings
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from everhart.errors import UsageError
from everhart.io.frames import open_frames
from everhart.io.limits import DEFAULT_LIMITS, Limits
from everhart.io.warning import FileWarning

__all__ = ["FileInfo", "GreyLevels", "NoiseLine", "info"]


class GreyLevels(NamedTuple):
    """Grey levels of the field of view, without the data bar.

    Attributes
    ----------
    smallest
        Of the finite pixels; None if there are none.
    mean
        Of the finite pixels; None if there are none.
    largest
        Of the finite pixels; None if there are none.
    saturated_low
        Share of the pixels that are clipped at the black end.
    saturated_high
        Share of the pixels that are clipped at the white end.
    not_finite
        Share of the pixels that are NaN or infinite.
    """

    smallest: float | None
    mean: float | None
    largest: float | None
    saturated_low: float
    saturated_high: float
    not_finite: float


class NoiseLine(NamedTuple):
    """The noise of the first frame, in short.

    Attributes
    ----------
    sigma
        Standard deviation in grey levels.
    correlation_x
        Correlation of neighbours along the scan line.
    correlation_y
        Correlation of neighbours across the scan lines.
    signal_dependent
        Whether it grows with the signal.
    """

    sigma: float
    correlation_x: float
    correlation_y: float
    signal_dependent: bool

    def __str__(self) -> str:
        if self.sigma == 0:
            return "none that can be measured"
        alike = [
            f"{value:.2f} along {axis}"
            for axis, value in (("x", self.correlation_x), ("y", self.correlation_y))
            if abs(value) >= 0.1
        ]
        words = [f"sigma {self.sigma:.3g} grey levels"]
        words.append(f"correlation {' and '.join(alike)}" if alike else "white")
        words.append(
            "grows with the signal" if self.signal_dependent else "same at all grey levels"
        )
        return ", ".join(words)


@dataclass(frozen=True, eq=False)
class FileInfo:
    """What is in a file.

    Parameters
    ----------
    path
        The file.
    format
        Name of its format.
    shape
        ``(frames, height, width)``; one frame for a single image.
    dtype
        Dtype of the pixels.
    pixel_size_nm, pixel_size_source
        ``(y, x)`` in nm and what said so; None where it is not known.
    data_bar_rows, data_bar_source
        Rows of the data bar, and what said so.
    metadata
        The vendor's tree, and ``"common"``.
    history
        Names of the operations that Everhart did before.
    looked_at
        Numbers of the frames that `grey` is of; not all of a long stack.
    grey
        Grey levels.
    noise
        The noise of the first frame; None where it cannot be estimated.
    warnings
        What could not be used in the file, or had to be guessed.
    """

    path: Path
    format: str
    shape: tuple[int, int, int]
    dtype: np.dtype[Any]
    pixel_size_nm: tuple[float, float] | None
    pixel_size_source: str | None
    data_bar_rows: int
    data_bar_source: str | None
    grey: GreyLevels
    looked_at: tuple[int, ...]
    noise: NoiseLine | None = None
    metadata: Mapping[str, Any] = field(default_factory=dict)
    history: tuple[str, ...] = ()
    warnings: tuple[str, ...] = ()

    @property
    def n_frames(self) -> int:
        """Number of frames."""
        return self.shape[0]

    @property
    def field_of_view_um(self) -> tuple[float, float] | None:
        """Height and width of the specimen that is shown, without the data bar."""
        if self.pixel_size_nm is None:
            return None
        rows = self.shape[1] - self.data_bar_rows
        return rows * self.pixel_size_nm[0] / 1e3, self.shape[2] * self.pixel_size_nm[1] / 1e3

    def to_dict(self) -> dict[str, Any]:
        """Return it as a JSON-serialisable dict; the imaging conditions are under ``common``."""
        from everhart.io.record import plain

        size, field_um = self.pixel_size_nm, self.field_of_view_um
        noise = None
        if self.noise is not None:
            noise = {**self.noise._asdict(), "text": str(self.noise)}
        return {
            "path": str(self.path),
            "format": self.format,
            "n_frames": self.n_frames,
            "height": self.shape[1],
            "width": self.shape[2],
            "dtype": str(self.dtype),
            "pixel_size_nm": None if size is None else list(size),
            "pixel_size_source": self.pixel_size_source,
            "field_of_view_um": None if field_um is None else list(field_um),
            "data_bar_rows": self.data_bar_rows,
            "data_bar_source": self.data_bar_source,
            "common": plain(self.metadata.get("common") or {}),
            "history": list(self.history),
            "frames_looked_at": list(self.looked_at),
            "grey": self.grey._asdict(),
            "noise": noise,
            "warnings": list(self.warnings),
        }


def info(
    path: str | os.PathLike[str],
    *,
    pixel_size_nm: float | tuple[float, float] | None = None,
    limits: Limits = DEFAULT_LIMITS,
) -> FileInfo:
    """Say what is in a file.

    Of a stack, the first, the middle and the last frame are looked at; the others stay on disk.

    Parameters
    ----------
    path
        The file.
    pixel_size_nm
        Pixel size in nm, or ``(y, x)``, in place of what the file says.
    limits
        What the file may claim to hold.

    Returns
    -------
    FileInfo
        Shape, calibration, imaging conditions, grey levels, noise. Warnings about the file are
        in it and are not given to :mod:`warnings`.

    Raises
    ------
    UsageError
        If there is no such file.
    FileFormatError
        If it is broken, of an unknown format, or holds no image.

    Examples
    --------
    >>> import tempfile
    >>> from everhart import Micrograph
    >>> from everhart.io import write
    >>> pixels = np.random.default_rng(0).normal(100, 5, (64, 96)).astype(np.uint8)
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     found = info(write(Micrograph(pixels, 2.5), Path(folder) / "image.tif"))
    >>> found.format, found.shape, found.pixel_size_nm, found.field_of_view_um
    ('TIFF', (1, 64, 96), (2.5, 2.5), (0.16, 0.24))
    """
    path = Path(path)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        found = _look_into(path, pixel_size_nm, limits)
    told = []
    for warning in caught:
        if issubclass(warning.category, FileWarning):
            told.append(" ".join(str(warning.message).removeprefix(f"{path}: ").split()))
        else:
            warnings.warn_explicit(
                warning.message, warning.category, warning.filename, warning.lineno
            )
    return replace(found, warnings=tuple(dict.fromkeys(told)))


def _look_into(
    path: Path, pixel_size_nm: float | tuple[float, float] | None, limits: Limits
) -> FileInfo:
    with open_frames([path], pixel_size_nm=pixel_size_nm, limits=limits) as stack:
        numbers = sorted({0, len(stack) // 2, len(stack) - 1})
        fields = [stack[number].field_of_view for number in numbers]
        own = stack.metadata["everhart"]
        return FileInfo(
            path=path,
            format=own["format"],
            shape=stack.shape,
            dtype=stack.dtype,
            pixel_size_nm=stack.pixel_size_nm,
            pixel_size_source=own.get("pixel_size_source"),
            data_bar_rows=stack.data_bar_rows,
            data_bar_source=own.get("data_bar_source"),
            grey=_grey_levels(fields),
            looked_at=tuple(numbers),
            noise=_noise(fields[0]),
            metadata=stack.metadata,
            history=tuple(entry.operation for entry in stack.history),
        )


def _grey_levels(fields: list[NDArray[Any]]) -> GreyLevels:
    from everhart.noise.estimate import clipping

    known = [pixels[np.isfinite(pixels)] for pixels in fields]
    not_finite = 1 - sum(p.size for p in known) / sum(p.size for p in fields)
    known = [pixels for pixels in known if pixels.size]
    if not known:
        return GreyLevels(None, None, None, 0.0, 0.0, 1.0)
    clipped = [clipping(pixels) for pixels in known if pixels.min() < pixels.max()]
    return GreyLevels(
        smallest=float(min(pixels.min() for pixels in known)),
        mean=float(np.mean([pixels.mean(dtype=np.float64) for pixels in known])),
        largest=float(max(pixels.max() for pixels in known)),
        saturated_low=float(np.mean([low for low, _, _ in clipped] or [0.0])),
        saturated_high=float(np.mean([high for _, high, _ in clipped] or [0.0])),
        not_finite=not_finite,
    )


def _noise(pixels: NDArray[Any]) -> NoiseLine | None:
    from everhart.noise import estimate_noise

    if pixels.dtype.kind == "b":
        return None
    try:
        estimate = estimate_noise(pixels)
    except UsageError:  # a few pixels, or none that is finite
        return None
    # What rounding leaves of a picture without noise is none.
    known = pixels[np.isfinite(pixels)]
    is_noise = estimate.sigma > 1e-6 * (float(known.max()) - float(known.min()))
    return NoiseLine(
        float(estimate.sigma) if is_noise else 0.0,
        float(estimate.correlation_along("x")[1]),
        float(estimate.correlation_along("y")[1]),
        bool(estimate.signal_dependent),
    )

"""Denoising from file to file, in bounded memory, for images of any size."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import Any, Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray

from everhart.errors import EverhartError, UsageError
from everhart.io.atomic import begun_path, check_output, explained, finish
from everhart.io.limits import DEFAULT_LIMITS
from everhart.io.ngff_write import NgffPlaneWriter
from everhart.io.plane import PlaneReader, empty_plane, open_plane
from everhart.io.registry import format_to_read
from everhart.io.tiff_write import TiffPlaneWriter
from everhart.micrograph import Array, HistoryEntry, Micrograph, __version__
from everhart.restore.denoise import Denoiser
from everhart.restore.journal import Journal
from everhart.restore.network import BORDER, OUTLIER, LearnedDenoiser
from everhart.restore.normalise import GreyScale, fill_non_finite, sample_step

BLOCK = 2048
"""Edge of the blocks that are read, restored and written: whole tiles and chunks of an output."""

_KNOWN = 2048
"""Edge of the part in the middle from which is measured what a network must know of the image."""

_WRITERS: dict[str, Any] = {
    ".tif": TiffPlaneWriter,
    ".tiff": TiffPlaneWriter,
    ".zarr": NgffPlaneWriter,
}

LARGE_PIXELS = 32_000_000
"""Pixels from which on an image is restored in pieces where that can be."""

_SMALL_FILE = 16 << 20
"""A file of fewer bytes is not looked into: it holds no large image, or a blank one."""

Report = Callable[[int, int], None]


class _Block(NamedTuple):
    rows: slice
    columns: slice


def goes_in_pieces(
    source: str | os.PathLike[str], target: str | os.PathLike[str], *, learned: bool
) -> bool:
    """Say whether an image is best restored by :func:`denoise_file`.

    So it is if it is a single image of more than :data:`LARGE_PIXELS`, a learned model restores it
    and the output is a TIFF or a Zarr; and whatever they are, if it is too large for
    memory: then the call of :func:`denoise_file` says what is wrong with them. A file that
    cannot be read is not: reading it tells why.

    Parameters
    ----------
    source, target
        Input and output.
    learned
        Whether a learned model restores it.
    """
    source = Path(source)
    try:
        # What cannot be opened piece by piece would be decoded here and once more to restore it.
        in_pieces = format_to_read(source).plane is not None
        least = _SMALL_FILE if in_pieces else DEFAULT_LIMITS.max_pixels_per_plane
        if not source.is_dir() and source.stat().st_size < least:
            return False
        with contextlib.closing(open_plane(source)) as reader:
            height, width = reader.shape
            dtype = reader.described.dtype
    except (EverhartError, OSError):
        return False
    can = learned and _is_written(Path(target), dtype)
    return height * width > (LARGE_PIXELS if can else DEFAULT_LIMITS.max_pixels_per_plane)


def denoise_file(
    source: str | os.PathLike[str],
    target: str | os.PathLike[str],
    denoiser: Denoiser,
    *,
    overwrite: bool = False,
    pixel_size_nm: float | tuple[float, float] | None = None,
    data_bar: Literal["keep", "crop"] = "keep",
    report: Report | None = None,
) -> Micrograph:
    """Denoise an image from file to file without having it in memory.

    The result is that of :func:`everhart.restore.denoise`, pixel for pixel but for the rounding of
    the arithmetic, and but for blocks without a finite pixel: they become the mean of the image.
    It is written under a temporary name, block by block: after an interruption, the same call
    goes on with the block that was not finished.

    Parameters
    ----------
    source
        The image: tiled, stripped or plain TIFF, Zarr, or what :func:`everhart.io.open_plane`
        reads besides.
    target
        The output: ``.tif`` (in tiles, a BigTIFF from 4 GB on) or ``.zarr`` (OME-NGFF, with
        smaller copies).
    denoiser
        From :func:`everhart.restore.make_denoiser`, with a learned model.
    overwrite
        Whether an existing output may be replaced.
    pixel_size_nm
        Pixel size in nm, or ``(y, x)``, in place of what the file says.
    data_bar
        ``"keep"`` or ``"crop"`` the rows of the microscope's data bar, where the file tells of
        them.
    report
        Called with the number of blocks done and of all.

    Returns
    -------
    Micrograph
        What was written, with zeros in place of the pixels.

    Raises
    ------
    UsageError
        If the denoiser is no learned model, or one that averages over masks; if the output
        has another suffix, exists, or is being written by another process.
    EverhartError
        If a file cannot be read or written.

    Notes
    -----
    Memory does not depend on the size of the image: some 0.9 GB in bfloat16 and 1.6 GB in
    float32 with the shipped model.
    """
    target = Path(target)
    network = _network_of(denoiser)
    writer_type = _WRITERS.get(target.suffix.lower())
    if writer_type is None:
        raise UsageError(
            f"The output {target.name!r} was asked for: an image of this size is written as "
            f"{', '.join(_WRITERS)}."
        )
    check_output(target, overwrite=overwrite)
    reader = open_plane(source, pixel_size_nm=pixel_size_nm)
    with contextlib.closing(reader):
        if not _is_written(target, reader.described.dtype):
            raise UsageError(
                f"{source} holds pixels of one bit, and {target.name} was asked for: an image of "
                "this size and kind is written as .zarr."
            )
        shown = {"method": denoiser.name, **denoiser.parameters}
        described = _described(reader.described, shown, denoiser.model_hash)
        if data_bar == "crop":
            described = described.crop_data_bar()
        temporary = begun_path(target, _key(Path(source), described, network))
        # One for each format: what is done in a TIFF is not done in a Zarr.
        journal_path = temporary.with_name(f"{temporary.name}.blocks")
        with explained(target, temporary, journal_path), Journal(journal_path, target) as journal:
            if not journal.done or not temporary.exists():
                journal.restart()
                _remove(temporary)
            try:
                _write(reader, network, writer_type, temporary, described, journal, report)
            except BaseException:
                if not journal.done:  # nothing to go on with
                    _remove(temporary)
                    journal.remove()
                raise
            finish(temporary, target, overwrite=overwrite)
            journal.remove()
    return described


def _is_written(target: Path, dtype: np.dtype[Any]) -> bool:
    """Say whether an output is written block by block; pixels of one bit are not in a TIFF."""
    suffix = target.suffix.lower()
    return suffix in _WRITERS and (dtype.kind != "b" or _WRITERS[suffix] is NgffPlaneWriter)


def _described(image: Micrograph, shown: dict[str, Any], model_hash: str | None) -> Micrograph:
    """Return what is to be written of an image, but for the pixels."""
    entry = HistoryEntry("denoise", shown, model_hash)
    pixels = empty_plane(image.shape, image.dtype)
    return replace(image, pixels=pixels, history=(*image.history, entry))


def _network_of(denoiser: Denoiser) -> LearnedDenoiser:
    network = denoiser.network
    if network is None:
        raise UsageError(
            f"The method {denoiser.name!r} was given for an image that does not fit into memory: "
            "only learned models restore it piece by piece; choose one, or cut the image."
        )
    if network.inference.masks:
        raise UsageError(
            f"The model {denoiser.name!r} averages over masks of the whole image, and this one "
            "is too large for that: choose another model, or cut the image."
        )
    return network


def _key(source: Path, described: Micrograph, network: LearnedDenoiser) -> str:
    """Say what a result depends on, so that only the same work is gone on with."""
    state = source.stat()
    engine = network.engine
    said = {
        "source": [str(source.resolve()), state.st_size, state.st_mtime_ns],
        "shape": described.shape,
        "dtype": str(described.dtype),
        "pixel_size_nm": described.pixel_size_nm,
        "model": network.sha256,
        "engine": [type(engine).__name__, engine.bf16],
        "block": BLOCK,
        "version": __version__,
    }
    return json.dumps(said, sort_keys=True)


def _remove(path: Path) -> None:
    if path.is_dir():
        shutil.rmtree(path)
    path.unlink(missing_ok=True)


def _write(
    reader: PlaneReader,
    network: LearnedDenoiser,
    writer_type: Any,
    temporary: Path,
    described: Micrograph,
    journal: Journal,
    report: Report | None,
) -> None:
    if temporary.suffix.lower() == ".zarr":
        temporary.mkdir(exist_ok=True)
    with contextlib.closing(writer_type(temporary, described)) as writer:
        _restore_blocks(reader, network, writer, journal, report)
        _copy_data_bar(reader, writer, described.data_bar_rows)
        writer.complete()


def _restore_blocks(
    reader: PlaneReader,
    network: LearnedDenoiser,
    writer: TiffPlaneWriter | NgffPlaneWriter,
    journal: Journal,
    report: Report | None,
) -> None:
    height, width = reader.described.field_of_view.shape
    blocks = list(_blocks(height, width))
    left = [number for number in range(len(blocks)) if number not in journal.done]
    if report is not None:
        report(len(blocks) - len(left), len(blocks))
    if left:
        restored = _restorer(reader, network)
        with ThreadPoolExecutor(1) as ahead:  # reads a block while one before it is restored
            following: Future[Array] | None = None
            for index, number in enumerate(left):
                window = following.result() if following else restored.read(blocks[number])
                if index + 1 < len(left):
                    following = ahead.submit(restored.read, blocks[left[index + 1]])
                block = blocks[number]
                writer.put(block.rows.start, block.columns.start, restored(block, window))
                writer.flush()
                journal.add(number)
                if report is not None:
                    report(len(blocks) - len(left) + index + 1, len(blocks))


def _copy_data_bar(
    reader: PlaneReader, writer: TiffPlaneWriter | NgffPlaneWriter, rows: int
) -> None:
    if rows:
        height, width = reader.shape
        bar = reader.window(slice(height - rows, height), slice(0, width))
        writer.put(height - rows, 0, bar)


def _blocks(height: int, width: int) -> Iterator[_Block]:
    for top in range(0, height, BLOCK):
        for left in range(0, width, BLOCK):
            yield _Block(
                slice(top, min(top + BLOCK, height)), slice(left, min(left + BLOCK, width))
            )


class _Restorer:
    """Restores a block as it is restored in the whole image.

    The whole image is padded by `BORDER` and to a multiple of the network's stride. A window
    begins and ends at multiples of the stride in the padded image, and reaches the
    receptive radius beyond its block.
    """

    def __init__(
        self,
        reader: PlaneReader,
        network: LearnedDenoiser,
        scale: GreyScale,
    ) -> None:
        self._reader, self._scale = reader, scale
        self._size = reader.described.field_of_view.shape
        engine = network.engine
        self._stride, self._halo = engine.stride, engine.receptive_radius
        self._mask_plane = engine.mask_plane
        middle = _Block(*(_middle(n) for n in self._size))
        known = self._filled(reader.window(middle.rows, middle.columns))
        self._on_window = engine.on(self._seen(known)[0])

    def read(self, block: _Block) -> Array:
        """Read the part of the image that a block's window shows."""
        (rows, _), (columns, _) = self._spans(block)
        return self._reader.window(rows, columns)

    def __call__(self, block: _Block, window: Array) -> Array:
        """Restore a block from the part of the image around it."""
        dtype = window.dtype
        filled = self._filled(window)
        spans = self._spans(block)
        inner = tuple(
            slice(part.start - shown.start, part.stop - shown.start)
            for part, (shown, _) in zip(block, spans, strict=True)
        )
        if self._scale.deviation == 0:  # nothing to restore in a constant image
            return filled[inner]
        seen, excess = self._seen(filled)
        padded = np.pad(seen, [padding for _, padding in spans], mode="reflect")
        planes = padded[None]
        if self._mask_plane:
            planes = np.stack([padded, np.ones_like(padded)])
        core = tuple(
            slice(part.start - shown.start + padding[0], part.stop - shown.start + padding[0])
            for part, (shown, padding) in zip(block, spans, strict=True)
        )
        restored = self._on_window(planes)[core]
        if excess is not None:
            restored = restored + excess[inner]
        return self._scale.restore(restored, dtype)

    def _filled(self, window: Array) -> Array:
        """Fill pixels that are not finite; a window without any other is as grey as the image."""
        if window.dtype.kind == "f" and not np.isfinite(window).any():
            return np.full_like(window, self._scale.mean)
        return fill_non_finite(window)

    def _seen(self, window: Array) -> tuple[NDArray[np.float32], NDArray[np.float32] | None]:
        """Return the normalised window as the network sees it, and what it does not see."""
        if self._scale.deviation == 0:
            return np.zeros(window.shape, np.float32), None
        normalised = self._scale.normalise(window)
        seen = np.clip(normalised, -OUTLIER, OUTLIER)
        return seen, None if np.array_equal(seen, normalised) else normalised - seen

    def _spans(self, block: _Block) -> tuple[tuple[slice, tuple[int, int]], ...]:
        """Return along each axis what a window shows of the image, and how it is padded."""
        return tuple(
            _span(part, size, self._halo, self._stride)
            for part, size in zip(block, self._size, strict=True)
        )


def _span(part: slice, size: int, halo: int, stride: int) -> tuple[slice, tuple[int, int]]:
    end = -(-(size + 2 * BORDER) // stride) * stride  # of the padded image
    start = max(0, (part.start + BORDER - halo) // stride * stride) - BORDER
    stop = min(end, -(-(part.stop + BORDER + halo) // stride) * stride) - BORDER
    shown = slice(max(0, start), min(size, stop))
    return shown, (shown.start - start, stop - shown.stop)


def _middle(size: int) -> slice:
    start = max(0, size - _KNOWN) // 2
    return slice(start, min(size, start + _KNOWN))


def _restorer(reader: PlaneReader, network: LearnedDenoiser) -> _Restorer:
    dtype = reader.described.dtype
    if network.full_range:
        return _Restorer(reader, network, GreyScale.of_range(dtype))
    height, width = reader.described.field_of_view.shape
    step = sample_step(height * width)
    sample = np.empty((-(-height // step), -(-width // step)), dtype)
    edge = max(1, BLOCK // step)
    for row in range(0, sample.shape[0], edge):
        for column in range(0, sample.shape[1], edge):
            part = sample[row : row + edge, column : column + edge]
            starts = (row * step, column * step)
            window = reader.window(
                *(
                    slice(at, min(at + n * step, size))
                    for at, n, size in zip(starts, part.shape, (height, width), strict=True)
                )
            )
            part[:] = window[::step, ::step]
    return _Restorer(reader, network, GreyScale.of_sample(sample))

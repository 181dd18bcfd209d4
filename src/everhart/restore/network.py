"""A learned denoiser: a network, how it sees an image, and how it is run over any size."""

from __future__ import annotations

import hashlib
import math
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from everhart.errors import FileFormatError, UsageError
from everhart.micrograph import Array
from everhart.restore.dropout import Inference, masks_at_use
from everhart.restore.engine import Engine, WindowFunction, make_engine
from everhart.restore.normalise import GreyScale, fill_non_finite
from everhart.restore.tiling import plan_tiles
from everhart.training.model_header import ModelHeader, read_model_bytes

KIND = "denoiser"
BORDER = 16
"""Pixels by which an image is continued by reflection before the network sees it."""

OUTLIER = 20.0
"""Standard deviations of the image beyond which the network does not see a pixel's excess."""

DEFAULT_MEMORY_MB = 440.0
"""Cap for the activations of one tile."""


class LearnedDenoiser:
    """A trained network that denoises images of any size, dtype and grey range.

    Parameters
    ----------
    engine
        The trained network, ready to run.
    header
        Header of its model file, or None for a network that was never saved.
    sha256
        Hash of the model file.
    """

    def __init__(
        self, engine: Engine, header: ModelHeader | None = None, sha256: str | None = None
    ) -> None:
        self.engine = engine
        self.header = header
        self.sha256 = sha256
        self.inference = Inference.model_validate(header.inference if header else {})
        self.full_range = bool(header and header.normalisation.get("kind") == "range")

    @classmethod
    def load(
        cls,
        path: Path | str,
        *,
        device: str = "auto",
        precision: str = "auto",
        engine: str = "auto",
    ) -> LearnedDenoiser:
        """Load a model file.

        Parameters
        ----------
        path
            The file.
        device
            ``"auto"``, ``"cpu"`` or ``"cuda"``.
        precision
            ``"auto"`` (bfloat16 where the hardware multiplies it itself), ``"fp32"`` or ``"bf16"``.
        engine
            ``"auto"``, ``"torch"``, ``"openvino"`` or ``"onnx"``; see
            :func:`everhart.restore.engine.choose_engine`.

        Raises
        ------
        UsageError
            If there is no such file, it is a model of another kind, or the engine or device
            cannot be had.
        FileFormatError
            If it is no model file, or its weights do not fit its header.
        """
        header, data = read_model_bytes(path, KIND)
        try:
            Inference.model_validate(header.inference)
        except ValueError:
            raise FileFormatError(
                f"{path} is damaged: its header asks for masks that there are not; copy or train "
                "it anew."
            ) from None
        ready = make_engine(engine, Path(path), header, data, device=device, precision=precision)
        return cls(ready, header, hashlib.sha256(data).hexdigest())

    def denoise(
        self, pixels: Array, *, memory_mb: float = DEFAULT_MEMORY_MB, tile_px: int | None = None
    ) -> Array:
        """Denoise one image.

        Parameters
        ----------
        pixels
            Image ``(H, W)`` of any real dtype. Non-finite pixels are filled from their
            neighbours before, and come back restored. Of pixels that stand out by more than
            :data:`OUTLIER` standard deviations the excess is left as it is.
        memory_mb
            Cap for the network's activations; it sets the tile size.
        tile_px
            Largest edge of a tile's window, instead of `memory_mb`.

        Returns
        -------
        ndarray
            Restored image of the same shape and dtype.

        Raises
        ------
        UsageError
            If it is no single image, or a limit is not positive.
        """
        if pixels.ndim != 2:
            raise UsageError(f"An image of shape {pixels.shape} was given: give (height, width).")
        for name, value in (("memory_mb", memory_mb), ("tile_px", tile_px)):
            if value is not None and not (math.isfinite(value) and value > 0):
                raise UsageError(f"{name}={value!r} was given: give a positive number.")
        filled = fill_non_finite(pixels)
        scale = GreyScale.of_range(filled.dtype) if self.full_range else GreyScale.of(pixels)
        if scale.deviation == 0:  # nothing to restore in a constant image
            return filled.copy()
        normalised = scale.normalise(filled)
        limit = (
            int(tile_px) ** 2 if tile_px else int(memory_mb * 2**20 / self.engine.bytes_per_pixel)
        )
        if max(float(normalised.max()), -float(normalised.min())) <= OUTLIER:
            return scale.restore(self._run(normalised, limit), pixels.dtype)
        # A hot pixel of a camera, a hundred times brighter than the picture, would spoil what the
        # network makes of everything around it.
        seen = np.clip(normalised, -OUTLIER, OUTLIER)
        restored = self._run(seen, limit)
        np.subtract(normalised, seen, out=normalised)
        restored += normalised
        return scale.restore(restored, pixels.dtype)

    def _run(self, image: NDArray[np.float32], max_window_pixels: int) -> NDArray[np.float32]:
        height, width = image.shape
        stride = self.engine.stride
        padding = [(BORDER, BORDER + -(n + 2 * BORDER) % stride) for n in image.shape]
        padded = np.pad(image, padding, mode="reflect")
        restored = self.engine.on(padded)
        total: NDArray[np.float32] | None = None
        masks = masks_at_use(self.inference, padded.shape)
        for mask in masks:
            seen = padded if mask is None else self.inference.applied(padded, mask)
            planes = seen[None]  # a view: a large image is not copied
            if self.engine.mask_plane:
                planes = np.stack([seen, np.ones_like(seen) if mask is None else mask])
            out = self._run_tiles(planes, (height, width), restored, max_window_pixels)
            total = out if total is None else total + out
        assert total is not None
        return total / np.float32(len(masks)) if len(masks) > 1 else total

    def _run_tiles(
        self,
        planes: NDArray[np.float32],
        shape: tuple[int, int],
        restored: WindowFunction,
        max_window_pixels: int,
    ) -> NDArray[np.float32]:
        """Run the padded planes ``(C, H, W)`` through the network, tile by tile."""
        out = np.empty(shape, np.float32)
        tiles = plan_tiles(
            (planes.shape[1], planes.shape[2]),
            halo=self.engine.receptive_radius,
            stride=self.engine.stride,
            max_window_pixels=max_window_pixels,
        )
        for tile in tiles:
            window = np.ascontiguousarray(planes[(slice(None), *tile.window)])
            core = restored(window)[tile.keep]
            _paste(out, core, (tile.core[0].start - BORDER, tile.core[1].start - BORDER))
        return out


def _paste(out: Array, core: Array, corner: tuple[int, int]) -> None:
    """Write a tile's core into the image, leaving out what lies in the padding."""
    rows, columns = (
        slice(max(0, start), min(n, start + m))
        for start, n, m in zip(corner, out.shape, core.shape, strict=True)
    )
    if rows.start < rows.stop and columns.start < columns.stop:
        out[rows, columns] = core[
            rows.start - corner[0] : rows.stop - corner[0],
            columns.start - corner[1] : columns.stop - corner[1],
        ]

"""A learned denoiser: a network, how it sees an image, and how it is run over any size."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Field
from torch import Tensor, nn

from everhart.errors import UsageError
from everhart.micrograph import Array
from everhart.nn.hardware import resolve_device, use_bf16
from everhart.nn.unet import Output, UNet, UNetConfig
from everhart.restore.normalise import GreyScale, fill_non_finite
from everhart.restore.tiling import plan_tiles
from everhart.training.model_file import ModelHeader, load_model

KIND = "denoiser"
ARCHITECTURE = "RestorationUNet"

BORDER = 16
"""Pixels by which an image is continued by reflection before the network sees it."""

OUTLIER = 20.0
"""Standard deviations of the image beyond which the network does not see a pixel's excess."""

DEFAULT_MEMORY_MB = 350.0
"""Cap for the activations of one tile."""


class RestorationUNetConfig(BaseModel):
    """Network of a learned denoiser: a U-Net and the extra planes that it is given."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    widths: tuple[int, ...] = Field((32, 64, 128, 256), min_length=1)
    stem: int = Field(2, ge=1, le=4)
    output: Output = "direct"
    edge_plane: bool = Field(False, description="give the Sobel magnitude as a second plane")

    @property
    def unet(self) -> UNetConfig:
        """Config of the U-Net inside."""
        return UNetConfig(
            in_channels=2 if self.edge_plane else 1,
            widths=self.widths,
            stem=self.stem,
            output=self.output,
        )


class RestorationUNet(nn.Module):
    """U-Net on a normalised image ``(N, 1, H, W)``, with the extra planes added on the way.

    H and W must be multiples of :attr:`stride`.
    """

    def __init__(self, config: RestorationUNetConfig) -> None:
        super().__init__()
        self.config = config
        self.unet = UNet(config.unet)
        if config.edge_plane:
            sobel = torch.tensor([[-1.0, 0.0, 1.0], [-2.0, 0.0, 2.0], [-1.0, 0.0, 1.0]]) / 8
            self.sobel: Tensor
            self.register_buffer("sobel", torch.stack([sobel, sobel.T])[:, None], persistent=False)

    @property
    def stride(self) -> int:
        """Grid of the coarsest level, in pixels."""
        return self.config.unet.stride

    @property
    def receptive_radius(self) -> int:
        """Pixels around an output pixel on which it can depend."""
        return self.config.unet.receptive_radius + int(self.config.edge_plane)

    def forward(self, x: Tensor) -> Tensor:
        """Return the restored normalised image ``(N, 1, H, W)``."""
        if self.config.edge_plane:
            gradient = nn.functional.conv2d(x, self.sobel.to(x), padding=1)
            x = torch.cat([x, gradient.norm(dim=1, keepdim=True)], dim=1)
        return self.unet(x)  # type: ignore[no-any-return]


class LearnedDenoiser:
    """A trained network that denoises images of any size, dtype and grey range.

    Parameters
    ----------
    network
        The trained network.
    header
        Header of its model file, or None for a network that was never saved.
    sha256
        Hash of the model file.
    device
        ``"auto"``, ``"cpu"`` or ``"cuda"``.
    precision
        ``"auto"``, ``"fp32"`` or ``"bf16"``; see :func:`everhart.nn.hardware.use_bf16`.
    """

    def __init__(
        self,
        network: RestorationUNet,
        header: ModelHeader | None = None,
        sha256: str | None = None,
        *,
        device: str = "auto",
        precision: str = "auto",
    ) -> None:
        self.device = resolve_device(device)
        self.bf16 = use_bf16(precision, self.device)
        self.network = network.to(self.device).eval()
        self.network.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        self.header = header
        self.sha256 = sha256

    @classmethod
    def load(
        cls, path: Path | str, *, device: str = "auto", precision: str = "auto"
    ) -> LearnedDenoiser:
        """Load a model file.

        Raises
        ------
        UsageError
            If there is no such file, or it is a model of another kind.
        FileFormatError
            If it is no model file, or its weights do not fit its header.
        """
        from everhart.errors import FileFormatError

        loaded = load_model(path, KIND)
        header = loaded.header
        if header.architecture != ARCHITECTURE:
            raise FileFormatError(
                f"{path} has the architecture {header.architecture!r} and this Everhart knows "
                f"{ARCHITECTURE!r}: update everhart."
            )
        try:
            network = RestorationUNet(RestorationUNetConfig.model_validate(header.config))
            network.load_state_dict(loaded.weights)
        except (ValueError, RuntimeError):
            raise FileFormatError(
                f"{path} is damaged: its weights do not fit its header; copy or train it anew."
            ) from None
        return cls(network, header, loaded.sha256, device=device, precision=precision)

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
        scale = GreyScale.of(filled)
        if scale.deviation == 0:  # nothing to restore in a constant image
            return filled.copy()
        normalised = scale.normalise(filled)
        limit = int(tile_px) ** 2 if tile_px else int(memory_mb * 2**20 / self._bytes_per_pixel())
        if max(float(normalised.max()), -float(normalised.min())) <= OUTLIER:
            return scale.restore(self._run(normalised, limit), pixels.dtype)
        # A hot pixel of a camera, a hundred times brighter than the picture, would spoil what the
        # network makes of everything around it.
        seen = np.clip(normalised, -OUTLIER, OUTLIER)
        restored = self._run(seen, limit)
        np.subtract(normalised, seen, out=normalised)
        restored += normalised
        return scale.restore(restored, pixels.dtype)

    def _bytes_per_pixel(self) -> float:
        """Estimate the peak of the activations, per input pixel.

        At the finest level the skip, the upsampled features, their concatenation and two
        convolution outputs live at once; oneDNN adds working copies of the order of one.
        """
        config = self.network.config
        finest = config.widths[0] / config.stem**2
        return 7 * finest * (2 if self.bf16 else 4) + 12

    @torch.inference_mode()
    def _run(self, image: NDArray[np.float32], max_window_pixels: int) -> NDArray[np.float32]:
        height, width = image.shape
        stride = self.network.stride
        padding = [(BORDER, BORDER + -(n + 2 * BORDER) % stride) for n in image.shape]
        padded = np.pad(image, padding, mode="reflect")
        out = np.empty((height, width), np.float32)
        tiles = plan_tiles(
            (padded.shape[0], padded.shape[1]),
            halo=self.network.receptive_radius,
            stride=stride,
            max_window_pixels=max_window_pixels,
        )
        for tile in tiles:
            batch = torch.from_numpy(np.ascontiguousarray(padded[tile.window]))[None, None]
            with torch.autocast(self.device, torch.bfloat16, enabled=self.bf16):
                restored = self.network(batch.to(self.device))
            core = restored[0, 0].float().cpu().numpy()[tile.keep]
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

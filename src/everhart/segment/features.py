"""Features of every pixel: of a generator's network, or made by hand."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final, Protocol

import cv2
import numpy as np
import torch
from numpy.typing import NDArray

from everhart.errors import UsageError
from everhart.restore.normalise import GreyScale, fill_non_finite
from everhart.synthesize.conditions import Told
from everhart.synthesize.generator import Generator

__all__ = ["DiffusionFeatures", "HandMadeFeatures", "JoinedFeatures", "PixelFeatures"]

Features = NDArray[np.float32]

_TILE_PX: Final = 256
_HALO_PX: Final = 32


class PixelFeatures(Protocol):
    """Anything that gives numbers for every pixel of an image."""

    def of(self, pixels: NDArray[Any]) -> Features:
        """Return features ``(C, H, W)`` of an image ``(H, W)``."""


class HandMadeFeatures:
    """Smoothed grey levels, gradients and second derivatives at several scales.

    What a random forest on pixels usually gets: the yardstick for learned features.

    Parameters
    ----------
    sigmas_px
        The scales, in pixels.
    """

    def __init__(self, sigmas_px: Sequence[float] = (1.0, 2.0, 4.0, 8.0)) -> None:
        self.sigmas_px = tuple(sigmas_px)

    def of(self, pixels: NDArray[Any]) -> Features:
        """Return features ``(C, H, W)`` of an image ``(H, W)``, four a scale."""
        filled = fill_non_finite(pixels)
        scale = GreyScale.of(filled)
        if scale.deviation == 0:
            raise UsageError("A constant image was given: there is nothing to tell apart in it.")
        image = scale.normalise(filled)
        planes = []
        for sigma in self.sigmas_px:
            smooth = cv2.GaussianBlur(image, (0, 0), sigma, borderType=cv2.BORDER_REFLECT)
            # Derivatives in units of the scale, so that none counts more for being fine.
            dy, dx = (sigma * part for part in np.gradient(smooth))
            (dyy, dyx), (_, dxx) = (np.gradient(sigma * part) for part in (dy, dx))
            mean, spread = (dyy + dxx) / 2, np.hypot((dyy - dxx) / 2, dyx)
            planes += [smooth, np.hypot(dy, dx), mean + spread, mean - spread]
        return np.stack(planes).astype(np.float32)


class JoinedFeatures:
    """Features of several kinds, one after the other.

    Parameters
    ----------
    parts
        The kinds.
    """

    def __init__(self, parts: Sequence[PixelFeatures]) -> None:
        self.parts = tuple(parts)

    def of(self, pixels: NDArray[Any]) -> Features:
        """Return features ``(C, H, W)`` of an image ``(H, W)``."""
        return np.concatenate([part.of(pixels) for part in self.parts])


class DiffusionFeatures:
    """Feature maps of a generator's network, on the image with some noise.

    A network that tells noise from image has to know what is in the image [1]_. Images are
    brought to the grey levels that the generator knows, noise of a step of its schedule is added,
    and what some of its blocks say of it is enlarged to the size of the image.

    Parameters
    ----------
    generator
        The model.
    blocks
        Names of :attr:`everhart.nn.diffusion_unet.DiffusionUNet.block_names`.
    steps
        Steps of the schedule.
    draws
        Number of draws of the noise; their features are averaged.
    seed
        Seed of the noise: an image has the same features always.

    References
    ----------
    .. [1] D. Baranchuk et al., "Label-efficient semantic segmentation with diffusion models",
       ICLR 2022, arXiv:2112.03126.
    """

    def __init__(
        self,
        generator: Generator,
        blocks: Sequence[str],
        steps: Sequence[int],
        *,
        draws: int = 2,
        seed: int = 0,
    ) -> None:
        if draws < 1:
            raise UsageError(f"{draws} draws of the noise were asked for: give 1 or more.")
        for step in steps:
            if not 0 <= step < generator.schedule.steps:
                raise UsageError(
                    f"The step {step} was given: the generator knows 0 to "
                    f"{generator.schedule.steps - 1}."
                )
        self.generator, self.blocks, self.steps = generator, tuple(blocks), tuple(steps)
        self.draws, self.seed = draws, seed

    @classmethod
    def load(
        cls, path: Path | str, blocks: Sequence[str], steps: Sequence[int], **settings: Any
    ) -> DiffusionFeatures:
        """Load a generator's model file."""
        return cls(Generator.load(path), blocks, steps, **settings)

    def of(self, pixels: NDArray[Any]) -> Features:
        """Return features ``(C, H, W)`` of an image ``(H, W)``."""
        if pixels.ndim != 2:
            raise UsageError(f"An image of shape {pixels.shape} was given: give (height, width).")
        image = self._seen(fill_non_finite(pixels))
        height, width = image.shape
        out: Features | None = None
        for top in range(0, height, _TILE_PX):
            for left in range(0, width, _TILE_PX):
                bottom, right = min(top + _TILE_PX, height), min(left + _TILE_PX, width)
                # On the grid of the coarsest level, so that tiles fit on each other.
                window = (
                    slice(max(0, top - _HALO_PX), min(height, bottom + _HALO_PX)),
                    slice(max(0, left - _HALO_PX), min(width, right + _HALO_PX)),
                )
                tile = self._tile(image, window)
                if out is None:
                    out = np.empty((len(tile), height, width), np.float32)
                out[:, top:bottom, left:right] = tile[
                    :,
                    top - window[0].start : bottom - window[0].start,
                    left - window[1].start : right - window[1].start,
                ]
        assert out is not None
        return out

    @torch.no_grad()
    def _tile(self, image: NDArray[np.float32], window: tuple[slice, slice]) -> Features:
        part = torch.from_numpy(np.ascontiguousarray(image[window]))[None, None]
        shape = (part.shape[-2], part.shape[-1])
        generator = self.generator
        corner = (window[0].start, window[1].start)
        whole = (image.shape[0], image.shape[1])
        condition = generator._conditions.at(Told(None, None), [corner], shape, whole)
        planes = []
        for step in self.steps:
            total: dict[str, torch.Tensor] = {}
            for draw in range(self.draws):
                random = np.random.default_rng([self.seed, step, draw, *corner])
                noise = torch.from_numpy(random.standard_normal((1, 1, *shape), np.float32))
                t = torch.tensor([step])
                noisy = generator.schedule.add_noise(part, noise, t).to(generator.device)
                with torch.autocast(generator.device, torch.bfloat16, enabled=generator.bf16):
                    found = generator.network.features(
                        noisy, t.to(generator.device), self.blocks, condition
                    )
                for name, maps in found.items():
                    total[name] = total[name] + maps.float() if name in total else maps.float()
            planes += [
                _enlarged(total[name] / self.draws, shape, generator) for name in self.blocks
            ]
        return np.concatenate(planes).astype(np.float32, copy=False)

    def _seen(self, pixels: NDArray[Any]) -> NDArray[np.float32]:
        """Return an image with grey levels as the generator knows them."""
        if str(pixels.dtype) == self.generator.grey.dtype:
            return np.asarray(self.generator.grey.normalise(pixels), np.float32)
        low, high = np.percentile(pixels, (0.1, 99.9))
        if not high > low:
            raise UsageError("A constant image was given: there is nothing to tell apart in it.")
        unit = (pixels.astype(np.float64) - low) / float(high - low)
        return np.asarray(0.9 * (2 * unit - 1), np.float32)


def _enlarged(maps: torch.Tensor, shape: tuple[int, int], generator: Generator) -> Features:
    """Enlarge feature maps of a padded image and cut what was padded."""
    stride = generator.network.config.stride
    padded = tuple(n + -n % stride for n in shape)
    large = torch.nn.functional.interpolate(maps, size=padded, mode="bilinear")
    return np.asarray(large[0, :, : shape[0], : shape[1]].cpu().numpy(), np.float32)

"""A trained segmentation: label images of any size."""

from __future__ import annotations

from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, Self

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from everhart.errors import FileFormatError, UsageError
from everhart.micrograph import Array
from everhart.nn.hardware import resolve_device, use_bf16
from everhart.nn.unet import UNetConfig
from everhart.restore.tiling import plan_tiles
from everhart.segment.grey import normalised, stored_scale
from everhart.segment.network import ARCHITECTURE, KIND, SegmentationUNet
from everhart.segment.objects import SMALLEST_PX, separated
from everhart.segment.resample import factors, resized, smoothly_resized
from everhart.training.model_file import ModelHeader, load_model

if TYPE_CHECKING:
    from everhart.segment.engine_openvino import OpenVINOScores

__all__ = ["Segmented", "Segmenter"]

DEFAULT_MEMORY_MB = 350.0
"""Cap for the activations of one tile."""

_OUTLIER = 20.0
"""Standard deviations of the image beyond which the network sees no difference."""


@dataclass(frozen=True)
class Segmented:
    """What became of one image.

    Parameters
    ----------
    classes
        Number of the class of every pixel, ``(H, W)``, in the order of the model's classes.
    objects
        One number an object, 0 for background; None where they were not asked for.
    """

    classes: NDArray[np.uint8]
    objects: NDArray[np.int32] | None = None


class Segmenter:
    """A trained network that segments images of any size, dtype and grey range.

    Parameters
    ----------
    network
        The trained network.
    header
        Header of its model file.
    sha256
        Hash of the model file.
    device
        ``"auto"``, ``"cpu"`` or ``"cuda"``.
    precision
        ``"auto"``, ``"fp32"`` or ``"bf16"``; see :func:`everhart.nn.hardware.use_bf16`.
    engine
        ``"torch"``, ``"openvino"``, or ``"auto"``: OpenVINO on a processor where it is installed.

    Raises
    ------
    UsageError
        If the device, the precision or the engine cannot be had.
    """

    def __init__(
        self,
        network: SegmentationUNet,
        header: ModelHeader,
        sha256: str,
        *,
        device: str = "auto",
        precision: str = "auto",
        engine: str = "auto",
    ) -> None:
        self.device = resolve_device(device)
        self.engine = _engine(engine, self.device)
        self.bf16 = use_bf16(precision, self.device)
        self.network = network.to(self.device).eval()
        self.network.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        self._openvino: OpenVINOScores | None = None
        if self.engine == "openvino":
            from everhart.segment.engine_openvino import OpenVINOScores

            weights = {name: value.numpy() for name, value in network.state_dict().items()}
            self._openvino = OpenVINOScores(network.config, weights, bf16=self.bf16)
        self.header, self.sha256 = header, sha256
        said = header.inference
        self.classes: tuple[str, ...] = tuple(said["classes"])
        self.rims = bool(said["rims"])
        self.pixel_size_nm: float | None = said["pixel_size_nm"]
        self.scale = float(said["scale"])
        self.grey_scale = stored_scale(header.normalisation)
        self.smallest_px = float(said["smallest_px"] or SMALLEST_PX)
        # Models of before have it not.
        self.fill_holes = bool(said.get("fill_holes", False))

    @classmethod
    def load(
        cls,
        path: Path | str,
        *,
        device: str = "auto",
        precision: str = "auto",
        engine: str = "auto",
    ) -> Self:
        """Load a model file.

        Raises
        ------
        UsageError
            If there is no such file, it is a model of another kind, or device, precision or engine
            cannot be had.
        FileFormatError
            If it is no model file, or its weights do not fit its header.
        """
        loaded = load_model(path, KIND)
        if loaded.header.architecture != ARCHITECTURE:
            raise FileFormatError(
                f"{path} has the architecture {loaded.header.architecture!r} and this Everhart "
                f"knows {ARCHITECTURE!r}: update everhart."
            )
        try:
            network = SegmentationUNet(UNetConfig.model_validate(loaded.header.config))
            network.load_state_dict(loaded.weights)
            return cls(
                network, loaded.header, loaded.sha256, device=device, precision=precision,
                engine=engine,
            )  # fmt: skip
        except UsageError:
            raise
        except (KeyError, ValueError, RuntimeError):
            raise FileFormatError(
                f"{path} is damaged: its weights do not fit its header; copy or train it anew."
            ) from None

    def segment(
        self,
        pixels: Array,
        *,
        pixel_size_nm: tuple[float, float] | None = None,
        objects: bool = False,
        average: bool = False,
        memory_mb: float = DEFAULT_MEMORY_MB,
        tile_px: int | None = None,
    ) -> Segmented:
        """Segment one image.

        Parameters
        ----------
        pixels
            Image ``(H, W)`` of any real dtype.
        pixel_size_nm
            Its pixel size ``(y, x)`` in nm; a model that was trained at one pixel size needs it.
        objects
            Whether to tell single objects apart, too: all that is not of the first class.
        average
            Whether to average the probabilities over the image's eight flips and quarter turns
            (test-time augmentation), at eight times the work.
        memory_mb
            Cap for the network's activations; it sets the tile size.
        tile_px
            Largest edge of a tile's window, instead of `memory_mb`.

        Returns
        -------
        Segmented
            Labels of the same shape.

        Raises
        ------
        UsageError
            If it is no single image, is constant, or has no pixel size where one is needed.
        """
        if pixels.ndim != 2:
            raise UsageError(f"An image of shape {pixels.shape} was given: give (height, width).")
        values = normalised(pixels, self.grey_scale, "The image").clip(-_OUTLIER, _OUTLIER)
        shape = (values.shape[0], values.shape[1])
        by = (self.scale, self.scale)
        if self.pixel_size_nm is not None:
            by = factors(pixel_size_nm, self.pixel_size_nm, "The image")
        values = resized(values, by)
        per_pixel = self.network.maps_per_pixel * (2 if self.bf16 else 4) + 12
        limit = int(tile_px) ** 2 if tile_px else int(memory_mb * 2**20 / per_pixel)
        found = self._run(values, limit, average)
        found = smoothly_resized(found, shape)
        smallest = self.smallest_px / (by[0] * by[1])
        several = None
        if objects or self.fill_holes:
            several = separated(
                found, rims=self.rims, smallest_px=smallest, fill_holes=self.fill_holes
            )
        classes = np.where(found == 2, np.uint8(1), found) if self.rims else found
        if self.fill_holes:
            assert several is not None
            classes = np.where((classes == 0) & (several > 0), np.uint8(1), classes)
        return Segmented(classes, several if objects else None)

    @torch.inference_mode()
    def _run(
        self, image: NDArray[np.float32], max_window_pixels: int, average: bool
    ) -> NDArray[np.uint8]:
        """Return the most likely class of every pixel, tile by tile."""
        stride = self.network.config.stride
        # No more is added than the stride needs: in training a crop ends where it ends, and where
        # crops are whole images a network learns places from that.
        padding = [(0, -n % stride) for n in image.shape]
        mode = "reflect" if min(image.shape) > 1 else "edge"
        padded = np.pad(image, padding, mode=mode)  # type: ignore[call-overload]
        out = np.empty(padded.shape, np.uint8)
        for tile in plan_tiles(
            (padded.shape[0], padded.shape[1]),
            halo=self.network.config.receptive_radius,
            stride=stride,
            max_window_pixels=max_window_pixels,
        ):
            window = torch.from_numpy(np.ascontiguousarray(padded[tile.window]))[None, None]
            window = window.to(self.device)
            scores = self._averaged(window) if average else self._scores(window)
            core = scores[0][(slice(None), *tile.keep)]
            out[tile.core] = core.argmax(0).to(torch.uint8).cpu().numpy()
        return np.ascontiguousarray(out[: image.shape[0], : image.shape[1]])

    def _scores(self, window: Tensor) -> Tensor:
        if self._openvino is not None:
            return torch.from_numpy(self._openvino(window.contiguous().numpy()))
        with torch.autocast(self.device, torch.bfloat16, enabled=self.bf16):
            return self.network(window)  # type: ignore[no-any-return]

    def _averaged(self, window: Tensor) -> Tensor:
        """Return probabilities, averaged over flips and turns of the window."""
        # Edges are multiples of the network's stride: all eight see the same grid of pixels, so
        # that tiles cannot be told here either.
        total = torch.zeros((), device=window.device)
        for turns in range(4):
            for flipped in (False, True):
                seen = torch.rot90(window, turns, (2, 3))
                seen = seen.flip(3) if flipped else seen
                found = self._scores(seen).float().softmax(1)
                found = found.flip(3) if flipped else found
                total = total + torch.rot90(found, -turns, (2, 3))
        return total / 8

    def describe(self) -> dict[str, Any]:
        """Return what a label image's history says of the model."""
        return {"model": self.header.card.name, "classes": list(self.classes)}


def _engine(asked: str, device: str) -> Literal["torch", "openvino"]:
    """Return the engine to run a segmentation with."""
    if asked not in ("auto", "torch", "openvino"):
        raise UsageError(
            f"The engine {asked!r} was given: a segmentation runs with auto, torch or openvino."
        )
    there = find_spec("openvino") is not None
    if asked == "auto":
        return "openvino" if there and device == "cpu" else "torch"
    if asked == "openvino" and not there:
        raise UsageError(
            "The engine openvino was asked for and is not installed: install everhart[openvino], "
            "or choose the engine torch."
        )
    if asked == "openvino" and device != "cpu":
        raise UsageError(
            "The engine openvino was asked for on the device cuda: it runs on a processor, choose "
            "the engine torch or the device cpu."
        )
    return "openvino" if asked == "openvino" else "torch"

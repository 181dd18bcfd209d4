"""What runs a network over a window of an image: the engines behind one door."""

from __future__ import annotations

from collections.abc import Callable
from importlib.util import find_spec
from pathlib import Path
from typing import Literal, Protocol, TypeAlias

import numpy as np
from numpy.typing import NDArray

from everhart.errors import EverhartError, FileFormatError, UsageError
from everhart.nn.hardware import resolve_device
from everhart.training.model_header import ModelHeader

Planes: TypeAlias = NDArray[np.float32]
WindowFunction: TypeAlias = Callable[[Planes], Planes]
"""From the planes ``(C, H, W)`` of a window to its restored image ``(H, W)``."""

ENGINES = ("auto", "torch", "openvino", "onnx")

_ON_PROCESSORS = {"openvino": ("openvino",), "onnx": ("onnx", "onnxruntime")}
"""The engines beside PyTorch, which run on a processor, and the libraries that they need."""

_KNOWN_ARCHITECTURE = "RestorationUNet"
"""What they run."""


class Engine(Protocol):
    """A network, ready to run on this machine; sizes must be multiples of `stride`."""

    stride: int
    """Grid of the network's coarsest level, in pixels."""
    receptive_radius: int
    """Pixels around an output pixel on which it can depend."""
    mask_plane: bool
    """Whether the second input plane is the mask of the pixels that are there."""
    bf16: bool
    """Whether it computes in bfloat16."""
    bytes_per_pixel: float
    """Estimate of the peak of the activations, per input pixel."""

    def on(self, image: Planes) -> WindowFunction:
        """Return the function for the windows of one normalised, padded image ``(H, W)``."""


def choose_engine(
    asked: str, header: ModelHeader, device: str, precision: str
) -> Literal["torch", "openvino", "onnx"]:
    """Return the engine to run a model with.

    OpenVINO computes a U-Net on a processor in about three quarters of PyTorch's time and two
    thirds of its memory, and starts without PyTorch. It is taken where it is installed; what it
    does not know, and what runs on a GPU, is PyTorch's. ONNX Runtime, which computes in float32,
    is taken where it is asked for.

    Parameters
    ----------
    asked
        ``"auto"``, ``"torch"``, ``"openvino"`` or ``"onnx"``.
    header
        Header of the model.
    device
        ``"auto"``, ``"cpu"`` or ``"cuda"``.
    precision
        ``"auto"``, ``"fp32"`` or ``"bf16"``.

    Raises
    ------
    UsageError
        If the engine is not known, or cannot run the model.
    """
    if asked not in ENGINES:
        raise UsageError(f"The engine {asked!r} was given: {', '.join(ENGINES)} are allowed.")
    if precision not in ("auto", "fp32", "bf16"):
        raise UsageError(f"The precision {precision!r} was given: auto, fp32 and bf16 are allowed.")
    if asked == "torch":
        return "torch"
    if asked == "auto":
        on_cpu = (
            _is_there("openvino")
            and header.architecture == _KNOWN_ARCHITECTURE
            and resolve_device(device) == "cpu"
        )
        return "openvino" if on_cpu else "torch"
    if not _is_there(asked):
        raise UsageError(
            f"The engine {asked} was asked for and is not installed: install everhart[{asked}], "
            "or choose the engine torch."
        )
    if header.architecture != _KNOWN_ARCHITECTURE:
        raise UsageError(
            f"The engine {asked} was asked for a network {header.architecture!r}: it runs "
            f"{_KNOWN_ARCHITECTURE!r}, choose the engine torch."
        )
    if device == "cuda":
        raise UsageError(
            f"The engine {asked} was asked for on the device cuda: it runs on a processor, "
            "choose the engine torch or the device cpu."
        )
    if asked == "openvino":
        return "openvino"
    if precision == "bf16":
        raise UsageError(
            "The engine onnx was asked for in bf16: on a processor it computes in fp32, choose "
            "the precision fp32 or another engine."
        )
    return "onnx"


def _is_there(engine: str) -> bool:
    return all(find_spec(name) is not None for name in _ON_PROCESSORS[engine])


def make_engine(
    asked: str, path: Path, header: ModelHeader, data: bytes, *, device: str, precision: str
) -> Engine:
    """Make the engine of a model file.

    Parameters
    ----------
    asked, device, precision
        As for :func:`choose_engine`.
    path
        The file, for messages.
    header, data
        Its header and all its bytes.

    Raises
    ------
    UsageError
        If the engine, the device or the precision cannot be had.
    FileFormatError
        If the architecture is not known, or the weights do not fit the header.
    """
    chosen = choose_engine(asked, header, device, precision)
    try:
        if chosen == "openvino":
            from everhart.restore.engine_openvino import OpenVINOEngine

            return OpenVINOEngine.from_file(header, data, precision=precision)
        if chosen == "onnx":
            from everhart.restore.engine_onnx import OnnxEngine

            return OnnxEngine(header, data)
        from everhart.restore.architectures import ARCHITECTURES
        from everhart.restore.engine_torch import TorchEngine

        if header.architecture not in ARCHITECTURES:
            raise FileFormatError(
                f"{path} has the architecture {header.architecture!r} and this Everhart knows "
                f"{', '.join(map(repr, ARCHITECTURES))}: update everhart."
            )
        return TorchEngine.from_file(header, data, device=device, precision=precision)
    except EverhartError:
        raise
    except (KeyError, ValueError, RuntimeError):
        raise FileFormatError(
            f"{path} is damaged: its weights do not fit its header; copy or train it anew."
        ) from None

"""ONNX Runtime as the engine of a learned denoiser: any processor, without PyTorch for U-Nets."""

from __future__ import annotations

import numpy as np
import onnxruntime
from safetensors.numpy import load

from everhart.nn.hardware import asked_threads
from everhart.restore.engine import Planes, WindowFunction
from everhart.restore.onnx_graphs import INPUT, restoration_graph
from everhart.restore.unet_config import RestorationUNetConfig
from everhart.training.model_header import ModelHeader

_BASE_BYTES = 12
"""Planes in and out, per input pixel."""


class OnnxEngine:
    """A restoration U-Net, run by ONNX Runtime; an :class:`everhart.restore.engine.Engine`.

    The graph is the one that :func:`everhart.restore.onnx_export.export_denoiser` writes. It
    computes in float32: on processors ONNX Runtime has no convolutions of bfloat16.

    Parameters
    ----------
    header
        Header of the model file.
    data
        All its bytes.

    Raises
    ------
    ValueError, KeyError, RuntimeError
        If the weights do not fit the header.
    """

    bf16 = False

    def __init__(self, header: ModelHeader, data: bytes) -> None:
        config = RestorationUNetConfig.model_validate(header.config)
        self.stride, self.receptive_radius = config.stride, config.receptive_radius
        self.mask_plane = config.mask_plane
        self.bytes_per_pixel = config.maps_per_pixel * 4 + _BASE_BYTES
        weights = {name: value.astype(np.float32) for name, value in load(data).items()}
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = asked_threads()
        options.log_severity_level = 3  # errors: they are raised, too
        # What the arena keeps for the next image is as much as the largest one needed.
        options.enable_cpu_mem_arena = False
        self._session = onnxruntime.InferenceSession(
            restoration_graph(header, weights).SerializeToString(),
            options,
            providers=["CPUExecutionProvider"],
        )

    def on(self, image: Planes) -> WindowFunction:
        """Return the function for the windows of an image: the same for all images."""
        del image
        return self._restored

    def _restored(self, planes: Planes) -> Planes:
        (restored,) = self._session.run(None, {INPUT: planes[None]})
        window: Planes = restored[0, 0]
        return window

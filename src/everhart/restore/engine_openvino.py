"""OpenVINO as the engine of a learned denoiser: U-Nets on a processor, without PyTorch."""

from __future__ import annotations

import threading
from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray
from openvino import Core, InferRequest, Model, Node
from openvino import opset13 as ops
from safetensors.numpy import load

from everhart.nn.hardware import asked_threads
from everhart.nn.openvino_unet import unet_graph
from everhart.restore.engine import Planes, WindowFunction
from everhart.restore.unet_config import RestorationUNetConfig
from everhart.training.model_header import ModelHeader

_BASE_BYTES = 12
"""Planes in and out, per input pixel."""


class OpenVINOEngine:
    """A restoration U-Net, compiled by OpenVINO; an :class:`everhart.restore.engine.Engine`.

    The graph is written from the weights, so that nothing is converted and PyTorch is not
    imported. It takes as many threads as PyTorch would.

    Parameters
    ----------
    config
        Config of the network.
    weights
        Its state dict, float32.
    precision
        ``"auto"`` (bfloat16 where the processor multiplies it itself), ``"fp32"`` or ``"bf16"``.

    Raises
    ------
    ValueError, KeyError, RuntimeError
        If the weights do not fit the config.
    """

    def __init__(
        self,
        config: RestorationUNetConfig,
        weights: Mapping[str, NDArray[np.float32]],
        *,
        precision: str = "auto",
    ) -> None:
        self.stride, self.receptive_radius = config.stride, config.receptive_radius
        self.mask_plane = config.mask_plane
        self._output = config.output
        capable = "BF16" in Core().get_property("CPU", "OPTIMIZATION_CAPABILITIES")
        self.bf16 = capable if precision == "auto" else precision == "bf16"
        self.bytes_per_pixel = config.maps_per_pixel * (2 if self.bf16 else 4) + _BASE_BYTES
        self._request = infer_request(_restoration_graph(config, weights), bf16=self.bf16)
        self._lock = threading.Lock()  # one request, and buffers of its own, for all threads

    @classmethod
    def from_file(cls, header: ModelHeader, data: bytes, *, precision: str) -> OpenVINOEngine:
        """Make the network of a model file; raises as the class does."""
        weights = {name: value.astype(np.float32) for name, value in load(data).items()}
        config = RestorationUNetConfig.model_validate(header.config)
        return cls(config, weights, precision=precision)

    def on(self, image: Planes) -> WindowFunction:
        """Return the function for the windows of an image: the same for all images."""
        del image
        return self._restored

    def _restored(self, planes: Planes) -> Planes:
        with self._lock:
            return self._run(planes)

    def _run(self, planes: Planes) -> Planes:
        outputs = self._request.infer([planes[None]], share_inputs=True, share_outputs=True)
        learned: Planes = outputs[0][0, 0]
        if self._output == "direct":
            return learned.copy()
        if self._output == "residual":
            whole: Planes = learned + planes[0]
            return whole
        # The mix is made here in float32: within the graph the input would be rounded to bfloat16.
        mixed: Planes = learned + outputs[1][0, 0] * (planes[0] - learned)
        return mixed


def infer_request(graph: Model, *, bf16: bool) -> InferRequest:
    """Compile a graph for the processor, with as many threads as PyTorch would take.

    Parameters
    ----------
    graph
        The graph.
    bf16
        Whether to compute in bfloat16.
    """
    settings = {
        "INFERENCE_PRECISION_HINT": "bf16" if bf16 else "f32",
        "INFERENCE_NUM_THREADS": asked_threads(),
        "NUM_STREAMS": 1,
    }
    return Core().compile_model(graph, "CPU", settings).create_infer_request()


def _restoration_graph(
    config: RestorationUNetConfig, weights: Mapping[str, NDArray[np.float32]]
) -> Model:
    """Return the graph from the input planes to what the head says and, to blend, the share."""
    given = ops.parameter([1, 1 + config.mask_plane, -1, -1], np.float32, name="image")
    seen: Node = _with_edges(given) if config.edge_plane else given
    inner = {name.removeprefix("unet."): value for name, value in weights.items()}
    learned, share = unet_graph(config.unet, inner, seen)
    return Model([learned] if share is None else [learned, share], [given], "restoration")


def _with_edges(image: Node) -> Node:
    """Append the magnitude of the Sobel gradient to the planes of an image."""
    sobel = np.array([[-1, 0, 1], [-2, 0, 2], [-1, 0, 1]], np.float32) / 8
    kernel = ops.constant(np.stack([sobel, sobel.T])[:, None])
    grey = ops.slice(image, [0], [1], [1], [1])
    gradient = ops.convolution(grey, kernel, [1, 1], [1, 1], [1, 1], [1, 1])
    return ops.concat([image, ops.reduce_l2(gradient, [1], True)], 1)

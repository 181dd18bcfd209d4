"""OpenVINO as the engine of a segmentation on a processor."""

from __future__ import annotations

import threading
from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray
from openvino import Model
from openvino import opset13 as ops

from everhart.nn.openvino_unet import unet_graph
from everhart.nn.unet_config import UNetConfig
from everhart.restore.engine_openvino import infer_request

__all__ = ["OpenVINOScores"]


class OpenVINOScores:
    """The scores of a segmentation's U-Net, compiled by OpenVINO from its weights.

    Parameters
    ----------
    config
        Config of the U-Net.
    weights
        State dict of :class:`everhart.segment.network.SegmentationUNet`, float32.
    bf16
        Whether to compute in bfloat16.

    Raises
    ------
    ValueError, KeyError, RuntimeError
        If the weights do not fit the config.
    """

    def __init__(
        self, config: UNetConfig, weights: Mapping[str, NDArray[np.float32]], *, bf16: bool
    ) -> None:
        image = ops.parameter([1, config.in_channels, -1, -1], np.float32, name="image")
        inner = {name.removeprefix("unet."): value for name, value in weights.items()}
        scores, _ = unet_graph(config, inner, image)
        self._request = infer_request(Model([scores], [image], "segmentation"), bf16=bf16)
        self._lock = threading.Lock()  # one request, and buffers of its own, for all threads

    def __call__(self, window: NDArray[np.float32]) -> NDArray[np.float32]:
        """Return the scores ``(1, classes, H, W)`` of a window ``(1, 1, H, W)``."""
        with self._lock:
            outputs = self._request.infer([window], share_inputs=True, share_outputs=True)
            return np.array(outputs[0], np.float32)

"""The U-Net as a graph of OpenVINO, from the weights alone: no torch, no conversion."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from everhart.nn.unet_config import UNetConfig

if TYPE_CHECKING:
    from openvino import Node

Weights = Mapping[str, NDArray[np.float32]]


def unet_graph(config: UNetConfig, weights: Weights, image: Node) -> tuple[Node, Node | None]:
    """Write down what :class:`everhart.nn.unet.UNet` computes.

    Parameters
    ----------
    config
        Shape of the network.
    weights
        State dict of the torch module.
    image
        Node of the input ``(N, in_channels, H, W)``, H and W multiples of ``config.stride``.

    Returns
    -------
    learned, share
        What the head says, ``(N, out_channels, H, W)``, and for the output ``"blend"`` the
        share of the input in the result. Mixing both, or adding the input for ``"residual"``, is
        left to the caller: in bfloat16 the input itself would lose its grey levels.

    Raises
    ------
    KeyError
        If a weight is missing.
    ValueError, RuntimeError
        If a weight is left over, or has not the shape that the config asks for.
    """
    from openvino import opset1
    from openvino import opset13 as ops

    left = dict(weights)

    def convolved(x: Node, name: str, filters: int) -> Node:
        kernel, bias = left.pop(f"{name}.weight"), left.pop(f"{name}.bias")
        if len(kernel) != filters:
            raise ValueError(f"{name} has {len(kernel)} filters in place of {filters}")
        edge = kernel.shape[-1] // 2
        out = ops.convolution(x, ops.constant(kernel), [1, 1], [edge] * 2, [edge] * 2, [1, 1])
        return ops.add(out, ops.constant(bias[None, :, None, None]))

    def twice(x: Node, name: str, filters: int) -> Node:
        once = ops.relu(convolved(x, f"{name}.0", filters))
        return ops.relu(convolved(once, f"{name}.2", filters))

    def doubled(x: Node) -> Node:
        scales, axes = np.array([2, 2], np.float32), np.array([2, 3])
        return ops.interpolate(
            x,
            ops.constant(scales),
            "nearest",
            "scales",
            axes=ops.constant(axes),
            coordinate_transformation_mode="asymmetric",
            nearest_mode="floor",
        )

    def halved(x: Node) -> Node:
        return opset1.max_pool(x, [2, 2], [0, 0], [0, 0], [2, 2])  # later ones give indices, too

    def shuffled(x: Node) -> Node:
        return ops.depth_to_space(x, "depth_first", config.stem) if config.stem > 1 else x

    features = ops.space_to_depth(image, "depth_first", config.stem) if config.stem > 1 else image
    skips: list[Node] = []
    for level, width in enumerate(config.widths):
        features = twice(features if level == 0 else halved(features), f"encoders.{level}", width)
        skips.append(features)
    skips.pop()
    for level, width in enumerate(config.widths[-2::-1]):
        up = doubled(convolved(features, f"reducers.{level}", width))
        features = twice(ops.concat([up, skips.pop()], 1), f"decoders.{level}", width)
    cells = config.out_channels * config.stem**2
    learned = shuffled(convolved(features, "head", cells))
    share = None
    if config.output == "blend":
        share = ops.sigmoid(shuffled(convolved(features, "gate", cells)))
    if left:
        raise ValueError(f"weights without a place: {', '.join(sorted(left))}")
    return learned, share

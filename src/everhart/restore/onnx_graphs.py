"""The networks of learned denoisers as graphs of ONNX; U-Nets without importing torch."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from everhart.nn.onnx_graph import Graph, Weights
from everhart.nn.onnx_unet import n2n_unet_nodes, unet_nodes
from everhart.restore.unet_config import RestorationUNetConfig
from everhart.training.model_header import ModelHeader

if TYPE_CHECKING:
    from onnx import ModelProto

__all__ = ["INPUT", "OUTPUT", "restoration_graph"]

INPUT, OUTPUT = "image", "restored"
"""Names of the input and the output."""


def restoration_graph(header: ModelHeader, weights: Weights) -> ModelProto:
    """Write down the network of a denoiser.

    Parameters
    ----------
    header
        Header of its model file.
    weights
        State dict of the network, float32.

    Returns
    -------
    ModelProto
        From normalised planes ``(N, C, H, W)``, of which the first is the image, to the restored
        one ``(N, 1, H, W)``; H and W are multiples of the network's stride.

    Raises
    ------
    KeyError, ValueError
        If the weights do not fit the header, or the architecture is not known.
    """
    write = {
        "RestorationUNet": _unet,
        "RestorationN2NUNet": _n2n_unet,
        "RestorationFBINet": _fbi_net,
    }[header.architecture]
    graph = Graph(weights)
    restored, planes = write(graph, header)
    return graph.model(header.card.name, (INPUT, planes), {restored: (OUTPUT, 1)})


def _unet(graph: Graph, header: ModelHeader) -> tuple[str, int]:
    config = RestorationUNetConfig.model_validate(header.config)
    seen = _with_edges(graph) if config.edge_plane else INPUT
    return unet_nodes(graph, config.unet, seen, "unet."), 1 + config.mask_plane


def _n2n_unet(graph: Graph, header: ModelHeader) -> tuple[str, int]:
    from everhart.restore.architectures import RestorationN2NUNetConfig

    config = RestorationN2NUNetConfig.model_validate(header.config)
    return n2n_unet_nodes(graph, config.levels, INPUT, "unet."), 1 + config.mask_plane


def _fbi_net(graph: Graph, header: ModelHeader) -> tuple[str, int]:
    from everhart.nn import onnx_fbi_net as nodes
    from everhart.nn.pge_net import PGENetConfig
    from everhart.restore.architectures import RestorationFBINetConfig, fbi_net_config

    config = RestorationFBINetConfig.model_validate(header.config)
    inner, planes = fbi_net_config(config), 1 + config.mask_plane
    if config.output == "direct":
        return nodes.fbi_net_nodes(graph, inner, INPUT, "fbi."), planes

    def affine(seen: str, image: str) -> str:
        found = nodes.fbi_net_nodes(graph, inner, seen, "fbi.")
        slope, offset = graph.planes(found, 0, 1), graph.planes(found, 1, 2)
        return graph.node("Add", graph.node("Mul", slope, image), offset)

    if config.output == "affine":
        return affine(INPUT, graph.planes(INPUT, 0, 1)), planes
    gain, variance = nodes.pge_net_nodes(graph, config.pge or PGENetConfig(), INPUT, "pge.")
    stable = nodes.stabilised_nodes(graph, INPUT, gain, variance)
    return nodes.restored_level_nodes(graph, affine(stable, stable), gain, variance), planes


def _with_edges(graph: Graph) -> str:
    """Append the magnitude of the Sobel gradient to the planes of the image."""
    sobel = np.array([[-1, 0, 1], [-2, 0, 2], [-1, 0, 1]], np.float32) / 8
    kernel = graph.constant(np.stack([sobel, sobel.T])[:, None])
    grey = graph.planes(INPUT, 0, 1)
    gradient = graph.node("Conv", grey, kernel, kernel_shape=[3, 3], pads=[1] * 4)
    magnitude = graph.node("ReduceL2", gradient, axes=[1], keepdims=1)
    return graph.node("Concat", INPUT, magnitude, axis=1)

"""FBI-Net and the PGE-Net beside it as graphs of ONNX, from the weights."""

from __future__ import annotations

import numpy as np

from everhart.nn.fbi_net import DILATION, FBINetConfig, tap_patterns
from everhart.nn.onnx_graph import Graph
from everhart.nn.onnx_unet import unet_nodes
from everhart.nn.pge_net import PGENetConfig

__all__ = ["fbi_net_nodes", "pge_net_nodes", "restored_level_nodes", "stabilised_nodes"]

_ROOT = 1.5**0.5


def fbi_net_nodes(graph: Graph, config: FBINetConfig, x: str, prefix: str = "") -> str:
    """Write down what :class:`everhart.nn.fbi_net.FBINet` computes at use, without dropout.

    Parameters
    ----------
    graph
        Graph that holds the weights.
    config
        Shape of the network.
    x
        Input ``(N, in_channels, H, W)``, any size.
    prefix
        Before the names of the weights.

    Returns
    -------
    str
        Output ``(N, out_channels, H, W)``.

    Raises
    ------
    KeyError
        If a weight is missing.
    ValueError
        If a weight has not the shape that the config asks for.
    """
    first, second, further = (
        np.array(taps, np.float32) for taps in tap_patterns(config.blind_spot)
    )

    def block(x: str, name: str) -> str:
        inner = graph.prelu(
            graph.convolution(x, f"{prefix}{name}.inner"), f"{prefix}{name}.inner_activation"
        )
        residual = graph.convolution(inner, f"{prefix}{name}.outer")
        return graph.prelu(mean(x, residual), f"{prefix}{name}.activation")

    def mean(a: str, b: str) -> str:
        return graph.node("Mul", graph.node("Add", a, b), graph.constant(0.5))

    def layer(x: str, name: str, number: int, taps: np.ndarray, dilation: int = 1) -> str:
        out = graph.convolution(
            x, f"{prefix}{name}", filters=config.filters, taps=taps, dilation=dilation
        )
        return graph.prelu(out, f"{prefix}activations.{number}")

    raw = layer(x, "first", 0, first)
    total = merged = block(raw, "blocks.0")
    for number in range(1, config.layers):
        if number == 1:
            raw = layer(raw, "second", 1, second)
        else:
            raw = layer(raw, f"further.{number - 2}", number, further, DILATION)
        seen = graph.prelu(mean(raw, merged), f"{prefix}mergers.{number - 1}")
        merged = block(seen, f"blocks.{number}")
        total = graph.node("Add", total, merged)
    average = graph.node("Div", total, graph.constant(config.layers))
    average = graph.prelu(average, f"{prefix}average_activation")
    return graph.convolution(
        block(average, "last_block"), f"{prefix}head", filters=config.out_channels
    )


def pge_net_nodes(graph: Graph, config: PGENetConfig, x: str, prefix: str = "") -> tuple[str, str]:
    """Write down what :class:`everhart.nn.pge_net.PGENet` computes.

    Returns
    -------
    gain, variance
        Of the noise of each image, ``(N, 1, 1, 1)``.
    """
    planes = unet_nodes(graph, config.unet, x, f"{prefix}unet.")
    levels = graph.node("ReduceMean", graph.node("Mul", planes, planes), axes=[2, 3])
    variance = graph.node("Max", graph.planes(levels, 1, 2), graph.constant(1e-6))
    return graph.planes(levels, 0, 1), variance


def stabilised_nodes(graph: Graph, x: str, gain: str, variance: str) -> str:
    """Write down :func:`everhart.nn.anscombe.stabilised`."""
    c = _stabilised_variance(graph, gain, variance)
    deviation = graph.node("Sqrt", c)
    argument = graph.node("Add", graph.node("Mul", gain, x), c)
    root = graph.node("Sqrt", graph.node("Max", argument, graph.constant(1e-12)))
    slope = graph.node("Max", gain, graph.constant(1e-12))
    cut = graph.node("Max", x, graph.node("Neg", graph.node("Div", c, slope)))
    twice = graph.node("Mul", graph.node("Mul", deviation, graph.constant(2)), cut)
    return graph.node("Div", twice, graph.node("Add", root, deviation))


def restored_level_nodes(graph: Graph, stable: str, gain: str, variance: str) -> str:
    """Write down :func:`everhart.nn.anscombe.restored_level`."""
    deviation = graph.node("Sqrt", _stabilised_variance(graph, gain, variance))
    slope = graph.node("Max", gain, graph.constant(1e-6))
    zero = graph.node("Div", graph.node("Mul", deviation, graph.constant(2)), slope)
    y = graph.node("Div", stable, deviation)
    d = graph.node("Max", graph.node("Add", y, zero), graph.constant(_ROOT))
    y = graph.node("Max", y, graph.node("Sub", graph.constant(_ROOT), zero))
    one = graph.node("Reciprocal", d)
    # 1/4 + a / d - b / d^2 + c / d^3, from the inside out
    bias = graph.node("Mul", one, graph.constant(5 * _ROOT / 8))
    for term in (-11 / 8, _ROOT / 4):
        bias = graph.node("Mul", graph.node("Add", bias, graph.constant(term)), one)
    bias = graph.node("Add", bias, graph.constant(0.25))
    quarter = graph.node("Mul", graph.node("Mul", y, y), graph.constant(0.25))
    level = graph.node("Mul", gain, graph.node("Add", quarter, bias))
    return graph.node("Add", graph.node("Mul", y, deviation), level)


def _stabilised_variance(graph: Graph, gain: str, variance: str) -> str:
    square = graph.node("Mul", gain, gain)
    return graph.node("Add", variance, graph.node("Mul", square, graph.constant(0.375)))

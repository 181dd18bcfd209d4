"""The U-Nets as graphs of ONNX, from the weights alone: no torch, no conversion."""

from __future__ import annotations

from everhart.nn.onnx_graph import Graph
from everhart.nn.unet_config import UNetConfig

__all__ = ["n2n_unet_nodes", "unet_nodes"]

_SLOPE = 0.1
"""Of the leaky rectifiers of the U-Net of Noise2Noise."""


def unet_nodes(graph: Graph, config: UNetConfig, x: str, prefix: str = "") -> str:
    """Write down what :class:`everhart.nn.unet.UNet` computes.

    Parameters
    ----------
    graph
        Graph that holds the weights.
    config
        Shape of the network.
    x
        Input ``(N, in_channels, H, W)``, H and W multiples of ``config.stride``.
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

    def twice(x: str, name: str, filters: int, order: list[int] | None = None) -> str:
        first = graph.convolution(x, f"{prefix}{name}.0", filters=filters, order=order)
        second = graph.convolution(graph.node("Relu", first), f"{prefix}{name}.2", filters=filters)
        return graph.node("Relu", second)

    cells, planes = config.stem**2, config.in_channels
    # Torch lays all pixels of a block of the first plane first, ONNX the first pixel of all planes.
    order = [plane * cells + cell for cell in range(cells) for plane in range(planes)]
    features = graph.unshuffled(x, config.stem)
    skips: list[str] = []
    for level, width in enumerate(config.widths):
        if level == 0:
            features = twice(features, "encoders.0", width, order)
        else:
            features = twice(graph.halved(features), f"encoders.{level}", width)
        skips.append(features)
    skips.pop()
    for level, width in enumerate(config.widths[-2::-1]):
        reduced = graph.convolution(features, f"{prefix}reducers.{level}", filters=width)
        joined = graph.node("Concat", graph.doubled(reduced), skips.pop(), axis=1)
        features = twice(joined, f"decoders.{level}", width)

    def headed(name: str) -> str:
        head = graph.convolution(features, f"{prefix}{name}", filters=config.out_channels * cells)
        return graph.shuffled(head, config.stem)

    learned = headed("head")
    if config.output == "direct":
        return learned
    image = x if planes == config.out_channels else graph.planes(x, 0, config.out_channels)
    if config.output == "residual":
        return graph.node("Add", learned, image)
    share = graph.node("Sigmoid", headed("gate"))
    difference = graph.node("Mul", share, graph.node("Sub", image, learned))
    return graph.node("Add", learned, difference)


def n2n_unet_nodes(graph: Graph, levels: int, x: str, prefix: str = "") -> str:
    """Write down what :class:`everhart.nn.n2n_unet.N2NUNet` computes.

    Parameters
    ----------
    graph
        Graph that holds the weights.
    levels
        How often the resolution is halved.
    x
        Input ``(N, in_channels, H, W)``, H and W multiples of ``2**levels``.
    prefix
        Before the names of the weights.

    Returns
    -------
    str
        Output ``(N, 1, H, W)``.

    Raises
    ------
    KeyError
        If a weight is missing.
    """

    def convolved(x: str, name: str) -> str:
        convolution = graph.convolution(x, f"{prefix}{name}.0")
        return graph.node("LeakyRelu", convolution, alpha=_SLOPE)

    def joined(features: str, skip: str) -> str:
        return graph.node("Concat", graph.doubled(features), skip, axis=1)

    skips = [x]
    features = convolved(x, "start")
    for level in range(levels):
        features = graph.halved(convolved(features, f"encoders.{level}"))
        skips.append(features)
    skips.pop()
    features = convolved(features, "bottom")
    for level in range(levels - 1):
        features = convolved(joined(features, skips.pop()), f"decoders.{level}.0")
        features = convolved(features, f"decoders.{level}.1")
    features = convolved(joined(features, skips.pop()), "finish.0")
    return graph.convolution(convolved(features, "finish.1"), f"{prefix}head")

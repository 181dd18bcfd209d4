"""A graph of ONNX, written node by node: what the networks of this package consist of."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    from onnx import ModelProto, NodeProto, TensorProto

__all__ = ["OPSET", "Graph", "Weights"]

OPSET = 17
"""Version of the operators: read by ONNX Runtime from 1.13 and OpenVINO from 2022.3 on."""

_FORMAT = 8
"""Version of the file format, of the same age."""

Weights = Mapping[str, NDArray[np.float32]]


class Graph:
    """Nodes, one after another, and the weights that they take.

    Every method that adds nodes takes and gives names of values ``(N, C, H, W)``.

    Parameters
    ----------
    weights
        State dict of a torch module; each weight is taken once, and none may be left over.

    Examples
    --------
    >>> graph = Graph({"c.weight": np.ones((1, 1, 3, 3), np.float32),
    ...                "c.bias": np.zeros(1, np.float32)})
    >>> model = graph.model("sum", ("image", 1), {graph.convolution("image", "c"): ("sum", 1)})
    >>> [node.op_type for node in model.graph.node]
    ['Conv', 'Identity']
    """

    def __init__(self, weights: Weights) -> None:
        self._left = dict(weights)
        self._nodes: list[NodeProto] = []
        self._constants: list[TensorProto] = []

    def take(self, name: str) -> NDArray[np.float32]:
        """Return a weight, which no other node may take; KeyError if it is not there."""
        return self._left.pop(name)

    def constant(self, value: Any, dtype: type[np.generic] = np.float32) -> str:
        """Add a constant and return its name."""
        from onnx import numpy_helper

        name = f"c{len(self._constants)}"
        array = np.ascontiguousarray(np.asarray(value, dtype))
        self._constants.append(numpy_helper.from_array(array, name))
        return name

    def node(self, operator: str, *inputs: str, name: str | None = None, **attributes: Any) -> str:
        """Add a node of one output and return the output's name; that of the node can be given."""
        from onnx import helper

        out = f"v{len(self._nodes)}"
        self._nodes.append(helper.make_node(operator, inputs, [out], name or out, **attributes))
        return out

    def convolution(
        self,
        x: str,
        name: str,
        *,
        filters: int | None = None,
        order: Sequence[int] | None = None,
        taps: NDArray[np.float32] | None = None,
        dilation: int = 1,
    ) -> str:
        """Add a convolution that keeps the size; the node is named as the module.

        Parameters
        ----------
        x
            Its input.
        name
            Name of the module, before ``.weight`` and ``.bias``.
        filters
            How many output planes there must be; ValueError if there are others.
        order
            Order in which the input planes come, where it is not that of the weights.
        taps
            What the kernel is multiplied with.
        dilation
            Pixels from tap to tap.
        """
        kernel, bias = self.take(f"{name}.weight"), self.take(f"{name}.bias")
        if filters is not None and len(kernel) != filters:
            raise ValueError(f"{name} has {len(kernel)} filters in place of {filters}")
        if order is not None:
            kernel = kernel[:, list(order)]
        if taps is not None:
            kernel = kernel * taps
        edge = dilation * (kernel.shape[-1] // 2)
        return self.node(
            "Conv",
            x,
            self.constant(kernel),
            self.constant(bias),
            name=name,
            kernel_shape=kernel.shape[2:],
            pads=[edge] * 4,
            dilations=[dilation] * 2,
        )

    def prelu(self, x: str, name: str) -> str:
        """Add a rectifier with one learned slope a plane."""
        return self.node("PRelu", x, self.constant(self.take(f"{name}.weight")[:, None, None]))

    def halved(self, x: str) -> str:
        """Keep the largest of 2 x 2 pixels."""
        return self.node("MaxPool", x, kernel_shape=[2, 2], strides=[2, 2])

    def doubled(self, x: str) -> str:
        """Repeat every pixel 2 x 2 times."""
        return self.node(
            "Resize",
            x,
            "",
            self.constant([1, 1, 2, 2]),
            mode="nearest",
            coordinate_transformation_mode="asymmetric",
            nearest_mode="floor",
        )

    def unshuffled(self, x: str, factor: int) -> str:
        """Lay blocks of pixels into planes; those of the blocks' first pixels come first."""
        return self.node("SpaceToDepth", x, blocksize=factor) if factor > 1 else x

    def shuffled(self, x: str, factor: int) -> str:
        """Lay planes into blocks of pixels, as torch's ``PixelShuffle`` does."""
        return self.node("DepthToSpace", x, blocksize=factor, mode="CRD") if factor > 1 else x

    def planes(self, x: str, start: int, stop: int) -> str:
        """Return some of the planes."""
        ends = (self.constant([n], np.int64) for n in (start, stop, 1))
        return self.node("Slice", x, *ends)

    def model(
        self, name: str, given: tuple[str, int], outputs: Mapping[str, tuple[str, int]]
    ) -> ModelProto:
        """Finish the graph.

        Parameters
        ----------
        name
            Name of the graph.
        given
            Name of the input and its planes; number and size of the images stay open.
        outputs
            Of values that were added: the name under which each is an output, and its planes.

        Raises
        ------
        ValueError
            If a weight is left over.
        """
        from onnx import TensorProto, checker, helper

        if self._left:
            raise ValueError(f"weights without a place: {', '.join(sorted(self._left))}")

        def declared(value: str, planes: int) -> Any:
            shape: list[str | int | None] = ["images", planes, "height", "width"]
            return helper.make_tensor_value_info(value, TensorProto.FLOAT, shape)

        for value, (public, _) in outputs.items():
            self._nodes.append(helper.make_node("Identity", [value], [public], public))
        graph = helper.make_graph(
            self._nodes,
            name,
            [declared(*given)],
            [declared(public, planes) for public, planes in outputs.values()],
            self._constants,
        )
        opset = helper.make_opsetid("", OPSET)
        model = helper.make_model(graph, opset_imports=[opset], ir_version=_FORMAT)
        checker.check_model(model)
        return model

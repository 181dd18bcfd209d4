"""Export a segmentation to ONNX."""

from __future__ import annotations

from pathlib import Path

from everhart.errors import UsageError
from everhart.nn.onnx_graph import Graph
from everhart.nn.onnx_unet import unet_nodes
from everhart.restore.models import find_model
from everhart.restore.network import OUTLIER
from everhart.segment.network import ARCHITECTURE, KIND
from everhart.segment.segmenter import Segmenter
from everhart.training.model_file import read_header
from everhart.training.onnx_file import Exported, check_target, checked_difference, write_onnx

__all__ = ["export_segmenter"]


def export_segmenter(model: str | Path, out: str | Path, *, overwrite: bool = False) -> Exported:
    """Write the network of a segmentation as an ONNX file, once it agrees with PyTorch.

    The output has a score for each class, ``(N, classes, H, W)``; the largest decides.

    Parameters
    ----------
    model
        Name or file of a segmentation.
    out
        File to write, ``*.onnx``. Number and size of the images stay open.
    overwrite
        Whether an existing file may be replaced.

    Returns
    -------
    Exported
        The file, how far it differs from PyTorch, and what it says of itself.

    Raises
    ------
    UsageError
        If there is no such model, it is none of one network, the output exists, or ONNX is not
        installed.
    FileFormatError
        If the model is broken.
    EverhartError
        If the graph differs from PyTorch by more than
        :data:`everhart.training.onnx_file.TOLERANCE`.
    """
    path, target = find_model(model), Path(out)
    check_target(target, overwrite=overwrite)
    header = read_header(path)
    if header.kind == KIND and header.architecture == "FeatureClassifier":
        raise UsageError(
            f"{path} classifies the features of a generator, which is a model of its own: only a "
            f"{ARCHITECTURE} (task: segment) can be exported."
        )
    segmenter = Segmenter.load(path, device="cpu", precision="fp32")
    network = segmenter.network
    weights = {name: value.numpy() for name, value in network.state_dict().items()}
    graph = Graph(weights)
    scores = unet_nodes(graph, network.config, "image", "unet.")
    classes = network.config.out_channels
    proto = graph.model(header.card.name, ("image", 1), {scores: ("scores", classes)})
    said = {
        "classes": list(segmenter.classes),
        "rims": segmenter.rims,
        "pixel_size_nm": segmenter.pixel_size_nm,
        "scale": segmenter.scale,
        "stride_px": network.config.stride,
        "receptive_radius_px": network.config.receptive_radius,
        "border_px": 0,  # denoisers have 16: one way to read both
        "clip": OUTLIER,
    }
    difference = checked_difference(proto, target, network, network.config.stride)
    return write_onnx(
        proto, target, header, segmenter.sha256, said, difference=difference, overwrite=overwrite
    )

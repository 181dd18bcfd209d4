"""Export a denoiser to ONNX."""

from __future__ import annotations

from pathlib import Path

from everhart.errors import FileFormatError
from everhart.restore.architectures import ARCHITECTURES, network_from_header
from everhart.restore.models import find_model
from everhart.restore.network import BORDER, KIND, OUTLIER
from everhart.restore.onnx_graphs import restoration_graph
from everhart.training.model_file import load_model
from everhart.training.onnx_file import Exported, check_target, checked_difference, write_onnx

__all__ = ["export_denoiser"]


def export_denoiser(
    model: str | Path, out: str | Path, *, int8: bool = False, overwrite: bool = False
) -> Exported:
    """Write the network of a denoiser as an ONNX file, once it is found to agree with PyTorch.

    Parameters
    ----------
    model
        Name or file of a denoiser.
    out
        File to write, ``*.onnx``. Number and size of the images stay open.
    int8
        Whether the inner levels are to compute with integers of 8 bits; see
        :func:`everhart.restore.onnx_int8.in_int8`.
    overwrite
        Whether an existing file may be replaced.

    Returns
    -------
    Exported
        The file, how far it differs from PyTorch, and what it says of itself.

    Raises
    ------
    UsageError
        If there is no such model, the output exists, or ONNX is not installed.
    FileFormatError
        If the model is broken, or of an architecture that is not known.
    EverhartError
        If the graph differs from PyTorch by more than
        :data:`everhart.training.onnx_file.TOLERANCE`, or in 8 bits loses more than
        :data:`everhart.restore.onnx_int8.MOST_LOSS_DB`.
    """
    path, target = find_model(model), Path(out)
    check_target(target, overwrite=overwrite)
    loaded = load_model(path, KIND)
    header = loaded.header
    if header.architecture not in ARCHITECTURES:
        raise FileFormatError(
            f"{path} has the architecture {header.architecture!r} and this Everhart knows "
            f"{', '.join(map(repr, ARCHITECTURES))}: update everhart."
        )
    try:
        network = network_from_header(header.architecture, header.config)
        network.load_state_dict(loaded.weights)
        weights = {name: value.numpy() for name, value in loaded.weights.items()}
        graph = restoration_graph(header, weights)
    except (KeyError, ValueError, RuntimeError):
        raise FileFormatError(
            f"{path} is damaged: its weights do not fit its header; copy or train it anew."
        ) from None
    said: dict[str, object] = {
        "stride_px": network.stride,
        "receptive_radius_px": network.receptive_radius,
        "border_px": BORDER,
        "clip": OUTLIER,
        "planes": ["image", "mask"] if network.mask_plane else ["image"],
        "noise": _noise(header.config),
    }
    difference = checked_difference(graph, target, network, network.stride)
    if int8:
        from everhart.restore.onnx_int8 import in_int8, loss_db

        whole, graph = graph.SerializeToString(), in_int8(graph, header)
        mean, worst = loss_db(whole, graph.SerializeToString(), header)
        said["int8_loss_db"] = {"mean": round(mean, 3), "worst": round(worst, 3)}
    return write_onnx(
        graph, target, header, loaded.sha256, said, difference=difference, overwrite=overwrite
    )


def _noise(config: dict[str, object]) -> str:
    """Say how the network learns what the noise is."""
    if config.get("output") == "anscombe":
        return "Poisson-Gaussian, estimated in the graph from each image that it is given"
    return "as in training; see limits"

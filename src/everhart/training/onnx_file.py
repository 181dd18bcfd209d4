"""An ONNX file of a trained network: what it says of itself, and the check that it is right."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from everhart.errors import EverhartError, UsageError
from everhart.io.atomic import check_output, write_bytes
from everhart.micrograph import __version__
from everhart.training.model_header import ModelHeader

if TYPE_CHECKING:
    from onnx import ModelProto

__all__ = ["TOLERANCE", "Exported", "check_target", "checked_difference", "write_onnx"]

TOLERANCE = 1e-4
"""Largest difference to PyTorch, in units of the largest output, or of 1 if that is larger."""

_SIZES = ((2, 3), (5, 4))
"""Sizes of the images that are compared, in cells of the coarsest level."""

_LEAST_PX = 48
"""Least edge of these images."""

_NORMALISATIONS = {
    "image": "subtract the mean of the image and divide by its standard deviation, both of grey "
    "levels clipped to its percentiles 0.1 and 99.9",
    "range": "divide integer grey levels by the largest of their type",
    "set": "subtract the mean and divide by the deviation that normalisation_values has, in grey "
    "levels of the images that were learned from",
}
"""What is done to an image before, by the kind of a header's normalisation."""


@dataclass(frozen=True)
class Exported:
    """What was written.

    Parameters
    ----------
    path
        The file.
    difference
        Largest difference to PyTorch in the comparison, as :data:`TOLERANCE` counts it.
    metadata
        What the file says of itself, by key.
    """

    path: Path
    difference: float
    metadata: Mapping[str, str]


def check_target(out: Path, *, overwrite: bool) -> None:
    """Check the name of an ONNX file, and that what is needed to write one is installed.

    Raises
    ------
    UsageError
        If the suffix is another one, the file exists, or a library is missing.
    """
    if out.suffix.lower() != ".onnx":
        raise UsageError(f"The output {out} was given: an exported model is named *.onnx.")
    if not all(find_spec(name) for name in ("onnx", "onnxruntime")):
        raise UsageError(
            f"The output {out} was asked for, and ONNX is not installed: install everhart[onnx]."
        )
    check_output(out, overwrite=overwrite)


def write_onnx(
    model: ModelProto,
    out: Path,
    header: ModelHeader,
    sha256: str,
    said: Mapping[str, Any],
    *,
    difference: float,
    overwrite: bool = False,
) -> Exported:
    """Write a graph with what is to be known of it.

    Parameters
    ----------
    model
        The graph.
    out
        File to write.
    header, sha256
        Of the model file that it came from.
    said
        What the file is to say further, by key; `stride_px`, to which image sizes are padded, must
        be there.
    difference
        What :func:`checked_difference` gave.
    overwrite
        Whether an existing file may be replaced.

    Raises
    ------
    UsageError
        If the output exists.
    """
    from onnx import helper

    card = header.card
    entries: dict[str, Any] = {
        "kind": header.kind,
        "name": card.name,
        "summary": card.summary,
        "limits": card.limits,
        "licence": card.licence,
        "model_sha256": sha256,
        "everhart_version": __version__,
        "normalisation": _NORMALISATIONS[str(header.normalisation.get("kind", "image"))],
        "normalisation_values": header.normalisation if header.normalisation else None,
        "inference": header.inference if header.inference else None,
        **said,
        "everhart": header.model_dump(mode="json"),
    }
    metadata = {
        key: value if isinstance(value, str) else json.dumps(value)
        for key, value in entries.items()
        if value not in ("", None)
    }
    helper.set_model_props(model, metadata)
    model.producer_name, model.producer_version = "everhart", __version__
    write_bytes(out, model.SerializeToString(), overwrite=overwrite)
    return Exported(out, difference, metadata)


def checked_difference(model: ModelProto, out: Path, network: nn.Module, stride: int) -> float:
    """Return the largest difference of a graph to the network that it was made from.

    Parameters
    ----------
    model
        The graph; its only input has a fixed number of planes.
    out
        File for which it is made, for the message.
    network
        The network in PyTorch.
    stride
        What image sizes are multiples of, in px.

    Raises
    ------
    EverhartError
        If it is above :data:`TOLERANCE`.
    """
    difference = _difference(model.SerializeToString(), network, stride)
    if not difference <= TOLERANCE:  # no number is not small, either
        raise EverhartError(
            f"The graph for {out} differs from PyTorch by {difference:.2g} of its output, and "
            f"{TOLERANCE:g} is allowed: nothing was written; report it, with the model."
        )
    return difference


@torch.inference_mode()
def _difference(data: bytes, network: nn.Module, stride: int) -> float:
    """Return the largest difference of both on images of noise, of two sizes."""
    import onnxruntime

    session = onnxruntime.InferenceSession(data, providers=["CPUExecutionProvider"])
    (given,), rng = session.get_inputs(), np.random.default_rng(0)
    network.eval()
    worst = 0.0
    least = -(-_LEAST_PX // stride)
    for cells in _SIZES:
        edges = [stride * max(n, least + n) for n in cells]
        image: NDArray[np.float32] = rng.normal(size=(2, given.shape[1], *edges)).astype(np.float32)
        expected = network(torch.from_numpy(image)).float().numpy()
        (found,) = session.run(None, {given.name: image})
        scale = max(1.0, float(np.abs(expected).max()))
        difference = float(np.abs(found - expected).max()) / scale
        worst = max(worst, difference) if np.isfinite(difference) else np.inf
    return worst

"""Denoisers in 8 bits: a graph of ONNX whose inner levels compute with integers."""

from __future__ import annotations

import logging
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from everhart.errors import EverhartError, UsageError
from everhart.restore.normalise import GreyScale
from everhart.restore.onnx_graphs import INPUT
from everhart.restore.unet_config import RestorationUNetConfig
from everhart.simulate.random_scenes import random_scene
from everhart.simulate.sampling import apply_taps, sample_noise
from everhart.training.model_header import ModelHeader

if TYPE_CHECKING:
    from onnx import ModelProto

__all__ = ["MOST_LOSS_DB", "in_int8", "loss_db"]

MOST_LOSS_DB = 0.1
"""Loss of PSNR that is allowed, the mean over simulated exposures."""

_TAPS = (0.584, 0.343, 0.061, 0.013)
"""Impulse response of a slow detector along the scan line."""

_DOSES = (5.0, 400.0)
"""Least and most arrivals a pixel at white."""

_EDGE_PX = 192
_CALIBRATE, _JUDGE = 24, 16
"""Exposures to find the ranges of values with, and others to judge by."""

_Pair = tuple[NDArray[np.uint8], NDArray[np.floating[Any]]]


def in_int8(model: ModelProto, header: ModelHeader) -> ModelProto:
    """Return the graph of a U-Net with integers of 8 bits in all levels but the finest.

    Weights have one scale a filter, activations one a plane of features, from their range over
    simulated exposures of all kinds of scenes and doses. The finest level and the head stay as they
    are: they carry the image's own grey levels, and cost three quarters of the loss.

    Parameters
    ----------
    model
        Graph of :func:`everhart.restore.onnx_graphs.restoration_graph`.
    header
        Header of the model file.

    Returns
    -------
    ModelProto
        With nodes ``QuantizeLinear`` and ``DequantizeLinear``, which runtimes take for kernels of
        integers.

    Raises
    ------
    UsageError
        If the network is no U-Net of at least two levels, or takes a mask.
    """
    import onnx
    from onnxruntime.quantization import (
        CalibrationDataReader,
        QuantFormat,
        QuantType,
        quantize_static,
    )

    known = header.architecture == "RestorationUNet"
    config = RestorationUNetConfig.model_validate(header.config) if known else None
    if config is None or config.mask_plane or len(config.widths) < 2:
        raise UsageError(
            f"int8 was asked for of a {header.architecture} with {header.config}: a U-Net (kind "
            "unet) of at least two levels that sees the image alone can be had in 8 bits."
        )
    finest = ("unet.encoders.0.", f"unet.decoders.{len(config.widths) - 2}.", "unet.head")
    kept = [n.name for n in model.graph.node if n.name.startswith((*finest, "unet.gate"))]

    class Exposures(CalibrationDataReader):  # type: ignore[misc]
        def __init__(self) -> None:
            self.left = exposures(_CALIBRATE, seed=77)

        def get_next(self) -> dict[str, NDArray[np.float32]] | None:
            pair = next(self.left, None)
            return None if pair is None else {INPUT: _seen(pair[0], header)[0]}

    loggers = logging.getLogger()
    level = loggers.level
    loggers.setLevel(logging.ERROR)  # it recommends another pass, which has nothing to do here
    try:
        with tempfile.TemporaryDirectory() as folder:
            source, target = (Path(folder) / name for name in ("float.onnx", "int8.onnx"))
            onnx.save(model, source)
            quantize_static(
                source,
                target,
                Exposures(),
                quant_format=QuantFormat.QDQ,
                per_channel=True,
                activation_type=QuantType.QUInt8,  # with signs processors are slower
                nodes_to_exclude=kept,
                op_types_to_quantize=["Conv", "Relu", "MaxPool", "Concat", "Resize"],
            )
            return onnx.load(target)
    finally:
        loggers.setLevel(level)


def loss_db(model: bytes, reduced: bytes, header: ModelHeader) -> tuple[float, float]:
    """Return how much PSNR a reduced graph loses against the whole one: mean and worst, in dB.

    Both restore simulated exposures with which the ranges were not found.

    Raises
    ------
    EverhartError
        If the mean is above :data:`MOST_LOSS_DB`.
    """
    import onnxruntime

    sessions = [
        onnxruntime.InferenceSession(data, providers=["CPUExecutionProvider"])
        for data in (model, reduced)
    ]
    losses = []
    for noisy, expected in exposures(_JUDGE, seed=78):
        seen, scale = _seen(noisy, header)
        errors = []
        for session in sessions:
            (restored,) = session.run(None, {INPUT: seen})
            out = restored[0, 0] * scale.deviation + scale.mean
            errors.append(float(np.mean((out - expected) ** 2)))
        losses.append(10 * np.log10(errors[1] / errors[0]))
    mean, worst = float(np.mean(losses)), float(np.max(losses))
    if not mean <= MOST_LOSS_DB:
        raise EverhartError(
            f"In int8 the model loses {mean:.2f} dB and {MOST_LOSS_DB:g} are allowed: nothing was "
            "written; export it without --int8."
        )
    return mean, worst


def exposures(count: int, *, seed: int) -> Iterator[_Pair]:
    """Yield simulated exposures of random scenes and doses, and what is expected of them."""
    rng = np.random.default_rng(seed)
    for _ in range(count):
        clean = random_scene(rng, (_EDGE_PX, _EDGE_PX)).image
        dose = float(np.exp(rng.uniform(*np.log(_DOSES))))
        signal = 20 + 180 * np.asarray(clean)
        noisy = sample_noise(signal, rng, gain=90 / dose, taps=_TAPS, readout_sigma=2.0)
        yield np.clip(np.rint(noisy), 0, 255).astype(np.uint8), apply_taps(signal, _TAPS)


def _seen(image: NDArray[np.uint8], header: ModelHeader) -> tuple[NDArray[np.float32], GreyScale]:
    """Return an image as the model sees it, and its scale."""
    by_range = header.normalisation.get("kind") == "range"
    scale = GreyScale.of_range(image.dtype) if by_range else GreyScale.of(image)
    return scale.normalise(image)[None, None], scale

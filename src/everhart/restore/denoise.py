"""The one door to every denoiser, classical or learned."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from everhart.errors import UsageError
from everhart.micrograph import Array, ImageT, field_of, like
from everhart.restore.names import CLASSICAL, SHIPPED

if TYPE_CHECKING:
    from everhart.noise import NoiseEstimate
    from everhart.restore.network import LearnedDenoiser


@dataclass(frozen=True)
class Denoiser:
    """A denoiser that is ready to be used on many images.

    Parameters
    ----------
    name
        Name of the method or model.
    model_hash
        sha256 of the model file, or None for a classical method.
    parameters
        What it was asked for, for the history.
    frame_function
        Restores one frame ``(H, W)`` of any real dtype, in that dtype.
    network
        The learned model, or None for a classical method.
    """

    name: str
    frame_function: Callable[[Array], Array]
    model_hash: str | None = None
    parameters: Mapping[str, Any] = field(default_factory=dict)
    network: LearnedDenoiser | None = None

    def __call__(self, image: ImageT) -> ImageT:
        """Denoise an image or, frame by frame, a stack; see :func:`denoise`."""
        pixels = field_of(image)
        if pixels.ndim == 3:
            restored = np.stack([self.frame_function(frame) for frame in pixels])
        else:
            restored = self.frame_function(pixels)
        parameters = {"method": self.name, **self.parameters}
        return like(image, restored, "denoise", parameters, self.model_hash)


def make_denoiser(
    method: str | None = None,
    *,
    model: str | Path | None = None,
    device: str = "auto",
    precision: str = "auto",
    engine: str = "auto",
    **parameters: Any,
) -> Denoiser:
    """Prepare a denoiser, loading its model once.

    Parameters
    ----------
    method
        A classical method (``everhart.restore.CLASSICAL``) or a model's name; None for the
        shipped model.
    model
        Name or file of a learned model, instead of `method`.
    device
        ``"auto"``, ``"cpu"`` or ``"cuda"``, for learned models.
    precision
        ``"auto"``, ``"fp32"`` or ``"bf16"``, for learned models.
    engine
        ``"auto"``, ``"torch"``, ``"openvino"`` or ``"onnx"``, for learned models; see
        :func:`everhart.restore.engine.choose_engine`.
    **parameters
        Parameters of the method: ``memory_mb`` and ``tile_px`` of the learned models (see
        :meth:`everhart.restore.network.LearnedDenoiser.denoise`); of the classical methods
        those of :func:`everhart.restore.classical.denoise_classical`, and ``noise``, the
        estimate to use in place of the image's own.

    Returns
    -------
    Denoiser
        A function from image to image.

    Raises
    ------
    UsageError
        If the name is not known, both `method` and `model` are given, or a parameter is
        wrong.
    """
    if method is not None and model is not None:
        raise UsageError(
            f"The method {method!r} and the model {str(model)!r} were given: give one of the two."
        )
    name = str(model if model is not None else method if method is not None else SHIPPED[0])
    if model is None and name in CLASSICAL:
        return _classical(name, parameters)
    return _learned(name, device, precision, engine, parameters)


def denoise(
    image: ImageT,
    method: str | None = None,
    *,
    model: str | Path | None = None,
    device: str = "auto",
    precision: str = "auto",
    engine: str = "auto",
    **parameters: Any,
) -> ImageT:
    """Denoise a micrograph.

    Parameters
    ----------
    image
        Micrograph or array, ``(H, W)`` or a stack ``(N, H, W)``, whose frames are restored
        one by one.
    method, model, device, precision, engine, **parameters
        As for :func:`make_denoiser`; without any of them the shipped model is used.

    Returns
    -------
    Micrograph or ndarray
        What was given, restored: same shape, dtype and grey levels; a micrograph keeps its
        calibration, metadata and data bar, and its history says what was done.

    Raises
    ------
    UsageError
        If the call is wrong; see :func:`make_denoiser`.

    Examples
    --------
    >>> rng = np.random.default_rng(0)
    >>> noisy = rng.normal(100, 10, (64, 64)).astype(np.float32)
    >>> bool(denoise(noisy, "gaussian").std() < 5)
    True
    """
    denoiser = make_denoiser(
        method, model=model, device=device, precision=precision, engine=engine, **parameters
    )
    return denoiser(image)


def _classical(name: str, parameters: Mapping[str, Any]) -> Denoiser:
    from everhart.restore.classical import check_parameters, denoise_classical
    from everhart.restore.normalise import fill_non_finite, to_dtype

    asked = dict(parameters)
    noise: NoiseEstimate | None = asked.pop("noise", None)
    check_parameters(name, asked)  # before any work

    def restore(frame: Array) -> Array:
        filled = fill_non_finite(frame)
        # A large offset would cost float32 its precision.
        offset = float(np.median(filled))
        centred = (filled.astype(np.float64) - offset).astype(np.float32)
        known = None if noise is None else replace(noise, pedestal=noise.pedestal - offset)
        out = denoise_classical(centred, name, known, **asked)
        return to_dtype(out.astype(np.float64) + offset, frame.dtype)

    shown = asked if noise is None else {**asked, "noise": noise.to_dict()}
    return Denoiser(name, restore, None, shown)


def _learned(
    name: str, device: str, precision: str, engine: str, parameters: Mapping[str, Any]
) -> Denoiser:
    from everhart.restore.models import find_model

    unknown = set(parameters) - {"memory_mb", "tile_px"}
    if unknown:
        raise UsageError(
            f"The parameter {sorted(unknown)[0]!r} was given for the learned model {name!r}: "
            "memory_mb and tile_px are allowed."
        )
    path = find_model(name)
    from everhart.restore.network import LearnedDenoiser

    network = LearnedDenoiser.load(path, device=device, precision=precision, engine=engine)

    def restore(frame: Array) -> Array:
        return network.denoise(frame, **parameters)

    shown = path.stem if name == path.stem or Path(name) == path else name
    return Denoiser(shown, restore, network.sha256, parameters, network)

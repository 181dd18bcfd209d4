"""Transfer: a generator of one process becomes one of another, from a few images of it."""

from __future__ import annotations

from collections.abc import Sequence
from fnmatch import fnmatch
from pathlib import Path

import torch
from torch import Tensor, nn

from everhart.errors import UsageError, unknown_name
from everhart.nn.diffusion_unet import DiffusionUNet
from everhart.training.model_file import load_model

__all__ = ["freeze", "parts_of", "take_weights"]


def take_weights(network: DiffusionUNet, path: Path) -> str:
    """Start from the weights of another generator.

    What the other has not learned starts so that it does nothing at first, like a mask beside
    the image, or anew, like labels of another number.

    Parameters
    ----------
    network
        The network; it is changed.
    path
        Model file of the other.

    Returns
    -------
    str
        Hash of the model file.

    Raises
    ------
    UsageError
        If there is no such generator, or it has another shape.
    """
    loaded = load_model(path, "generator")
    own = network.state_dict()
    fitting = {
        name: w for name, w in loaded.weights.items() if name in own and own[name].shape == w.shape
    }
    first = _with_more_planes(loaded.weights["first.weight"], own["first.weight"])
    if first is not None and loaded.header.config["position"] == network.config.position:
        fitting |= {"first.weight": first}
    inputs = ("first.", "label.", "augmentation.")
    misfit = [name for name in own if name not in fitting and not name.startswith(inputs)]
    if misfit:
        raise UsageError(
            f"start_from = {path.name} is a generator with {loaded.header.config}, and the config "
            f"asks for {network.config.model_dump()}: give the same widths, blocks and attention."
        )
    network.load_state_dict(fitting, strict=False)
    return loaded.sha256


def parts_of(network: DiffusionUNet) -> dict[str, nn.Module]:
    """Return the parts of a network that can be frozen, by name, from the input to the output.

    Blocks have the names of :attr:`everhart.nn.diffusion_unet.DiffusionUNet.block_names`.

    Examples
    --------
    >>> from everhart.nn.diffusion_unet import DiffusionUNetConfig
    >>> list(parts_of(DiffusionUNet(DiffusionUNetConfig(widths=(8, 16)))))[:5]
    ['time', 'first', 'down.0.0', 'down.0.reduce', 'down.1.0']
    """
    levels, blocks = len(network.config.widths), network.config.blocks
    places = {name: name for name in ("time", "label", "augmentation", "first")}
    for level in range(levels):
        places |= {f"down.{level}.{n}": f"down.{level}.blocks.{n}" for n in range(blocks)}
        places[f"down.{level}.reduce"] = f"down.{level}.reduce"
    places |= {f"middle.{n}": f"middle.{n}" for n in range(2)}
    for number, level in enumerate(reversed(range(levels))):
        places |= {f"up.{level}.{n}": f"up.{number}.blocks.{n}" for n in range(blocks + 1)}
        places[f"up.{level}.enlarge"] = f"up.{number}.enlarge"
    places |= {"last_norm": "last_norm", "last": "last"}
    modules = dict(network.named_modules())
    return {
        name: modules[place]
        for name, place in places.items()
        if place in modules and any(True for _ in modules[place].parameters())
    }


def freeze(network: DiffusionUNet, names: Sequence[str]) -> list[str]:
    """Keep some parts of a network as they are in training.

    Parameters
    ----------
    network
        The network; it is changed.
    names
        Names of :func:`parts_of`, their beginnings such as ``"down"`` or ``"down.0"``, or patterns
        such as ``"up.*.0"``.

    Returns
    -------
    list of str
        The parts that are frozen.

    Raises
    ------
    UsageError
        If a name is that of no part, or nothing would be left to learn.
    """
    parts = parts_of(network)
    frozen: dict[str, None] = {}
    for name in names:
        found = [part for part in parts if fnmatch(part, name) or part.startswith(f"{name}.")]
        if not found:
            raise unknown_name("part to freeze", name, list(parts))
        frozen |= dict.fromkeys(found)
    if len(frozen) == len(parts):
        raise UsageError(
            f"freeze = {list(names)} leaves nothing to learn: give fewer of {', '.join(parts)}."
        )
    for name in frozen:
        parts[name].requires_grad_(False)
    for module in network.modules():
        if isinstance(module, nn.GroupNorm) and module.weight.requires_grad:
            module.register_forward_pre_hook(_with_gradient)
    return list(frozen)


def _with_gradient(_: nn.Module, inputs: tuple[Tensor]) -> tuple[Tensor]:
    """Have a normalisation whose weights learn take the gradient of its input, too.

    PyTorch (2.x, on a processor, channels last) crashes in the way back where it needs the
    gradient of the weights alone, which is so after parts that are frozen up to there.
    """
    (features,) = inputs
    if torch.is_grad_enabled() and not features.requires_grad:
        features = features.detach().requires_grad_()
    return (features,)


def _with_more_planes(weight: Tensor, like: Tensor) -> Tensor | None:
    """Return weights for more planes of input, the further ones zero; None if they do not fit."""
    fits = weight.shape[0] == like.shape[0] and weight.shape[2:] == like.shape[2:]
    if not fits or weight.shape[1] > like.shape[1]:
        return None
    wider = torch.zeros_like(like)
    wider[:, : weight.shape[1]] = weight
    return wider

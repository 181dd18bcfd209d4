"""The format of the library diffusers: weights of a `UNet2DModel` to and from ours.

The names of the weights are all that differs; the library itself is not needed.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from torch import Tensor

from everhart.errors import UsageError
from everhart.nn.diffusion_unet import DiffusionUNetConfig

__all__ = ["from_diffusers", "to_diffusers"]

_PLAIN = {
    "conv_in": "first",
    "conv_norm_out": "last_norm",
    "conv_out": "last",
    "time_embedding.linear_1": "time.0",
    "time_embedding.linear_2": "time.2",
    "class_embedding": "label",
}
_IN_BLOCK = {"time_emb_proj": "time", "conv_shortcut": "shortcut"}
_IN_ATTENTION = {
    "group_norm": "norm",
    "to_q": "query",
    "to_k": "key",
    "to_v": "value",
    "to_out.0": "out",
}
_PLACE = re.compile(
    r"(?:(?P<way>down|up)_blocks\.(?P<level>\d+)|mid_block)\."
    r"(?P<part>resnets|attentions|downsamplers|upsamplers)\.(?P<n>\d+)\.(?P<rest>.+)"
)
_ATTENDS = re.compile("^Attn")


def from_diffusers(
    config: Mapping[str, Any], weights: Mapping[str, Tensor]
) -> tuple[DiffusionUNetConfig, dict[str, Tensor]]:
    """Translate a `UNet2DModel`.

    Parameters
    ----------
    config
        Its ``config.json``.
    weights
        Its state dict.

    Returns
    -------
    config, weights
        For a :class:`everhart.nn.diffusion_unet.DiffusionUNet`.

    Raises
    ------
    UsageError
        If it has a part that ours does not have.
    """
    for name, ours in (
        ("act_fn", "silu"),
        ("time_embedding_type", "positional"),
        ("resnet_time_scale_shift", "default"),
        ("downsample_type", "conv"),
        ("upsample_type", "conv"),
        ("flip_sin_to_cos", True),
        ("freq_shift", 0),
        ("center_input_sample", False),
        ("add_attention", True),
        ("norm_eps", 1e-5),
    ):
        if config.get(name, ours) != ours:
            raise UsageError(
                f"A model with {name} = {config[name]!r} was given: this reads {ours!r} alone."
            )
    if config["in_channels"] != config["out_channels"]:
        raise UsageError(
            f"A model of {config['in_channels']} input and {config['out_channels']} output planes "
            "was given: this reads models of the image alone, with as many of each."
        )
    translated = DiffusionUNetConfig(
        image_channels=config["out_channels"],
        widths=tuple(config["block_out_channels"]),
        blocks=config.get("layers_per_block", 2),
        attention=tuple(bool(_ATTENDS.match(kind)) for kind in config["down_block_types"]),
        head_width=config.get("attention_head_dim", 8),
        groups=config.get("norm_num_groups", 32),
        classes=max(0, (config.get("num_class_embeds") or 0) - 1),
    )
    return translated, {_ours(name): tensor for name, tensor in weights.items()}


def to_diffusers(
    config: DiffusionUNetConfig, weights: Mapping[str, Tensor]
) -> tuple[dict[str, Any], dict[str, Tensor]]:
    """Translate one of ours into a `UNet2DModel`.

    Parameters
    ----------
    config, weights
        Of a :class:`everhart.nn.diffusion_unet.DiffusionUNet` without position, mask and stem.
        What tells it the augmentation is left out: it says nothing of unchanged samples.

    Returns
    -------
    config, weights
        What ``UNet2DModel(**config)`` and its ``load_state_dict`` take.

    Raises
    ------
    UsageError
        If the model has inputs that the other one does not know.
    """
    if config.position or config.mask_classes or config.stem > 1:
        raise UsageError(
            "A model with position, mask or stem was given: UNet2DModel knows none of them."
        )
    attending = [config.widths[-1]]  # the middle has it in any case
    attending += [w for w, a in zip(config.widths, config.attends, strict=True) if a]
    heads = {min(config.head_width, width) for width in attending}
    if len(heads) > 1:
        raise UsageError(
            f"A model with heads of {sorted(heads)} feature maps was given: UNet2DModel has heads "
            "of one width alone."
        )
    down = ["AttnDownBlock2D" if a else "DownBlock2D" for a in config.attends]
    translated = {
        "in_channels": config.image_channels,
        "out_channels": config.image_channels,
        "block_out_channels": list(config.widths),
        "layers_per_block": config.blocks,
        "down_block_types": down,
        "up_block_types": [kind.replace("Down", "Up") for kind in reversed(down)],
        "attention_head_dim": heads.pop(),
        "norm_num_groups": config.groups,
        "num_class_embeds": config.classes + 1 if config.classes else None,
    }
    names = {_ours(theirs): theirs for theirs in _their_names(weights)}
    kept = {name: t for name, t in weights.items() if not name.startswith("augmentation.")}
    return translated, {names[name]: tensor for name, tensor in kept.items()}


def _ours(name: str) -> str:
    """Return our name of one of their weights."""
    place = _PLACE.match(name)
    if place is None:
        for theirs, ours in _PLAIN.items():
            if name.startswith(theirs + "."):
                return ours + name.removeprefix(theirs)
        raise UsageError(f"A model with the weight {name} was given: it has no place in ours.")
    way, level, n, rest = place["way"], place["level"], place["n"], place["rest"]
    if place["part"] == "downsamplers":
        return f"down.{level}.reduce.{rest.removeprefix('conv.')}"
    if place["part"] == "upsamplers":
        return f"up.{level}.enlarge.{rest.removeprefix('conv.')}"
    block = f"middle.{n}" if way is None else f"{way}.{level}.blocks.{n}"
    words = _IN_BLOCK if place["part"] == "resnets" else _IN_ATTENTION
    for theirs, ours in words.items():
        if rest.startswith(theirs + "."):
            rest = ours + rest.removeprefix(theirs)
            break
    return f"{block}.{rest}" if place["part"] == "resnets" else f"{block}.attention.{rest}"


def _their_names(weights: Mapping[str, Tensor]) -> list[str]:
    """Return their name of each of our weights."""
    found = []
    for name in weights:
        parts = name.split(".")
        if parts[0] == "augmentation":
            continue
        plain = {ours: theirs for theirs, ours in _PLAIN.items()}
        two = ".".join(parts[:2])
        if two in plain or parts[0] in plain:
            ours = two if two in plain else parts[0]
            found.append(plain[ours] + name.removeprefix(ours))
            continue
        if parts[0] == "middle":
            room, n, rest = "mid_block", parts[1], parts[2:]
        elif parts[2] in ("reduce", "enlarge"):
            part = "downsamplers" if parts[2] == "reduce" else "upsamplers"
            found.append(f"{parts[0]}_blocks.{parts[1]}.{part}.0.conv.{parts[3]}")
            continue
        else:
            room, n, rest = f"{parts[0]}_blocks.{parts[1]}", parts[3], parts[4:]
        attends = rest[0] == "attention"
        words = _IN_ATTENTION if attends else _IN_BLOCK
        back = {ours: theirs for theirs, ours in words.items()}
        rest = rest[1:] if attends else rest
        part = "attentions" if attends else "resnets"
        found.append(".".join([room, part, n, back.get(rest[0], rest[0]), *rest[1:]]))
    return found

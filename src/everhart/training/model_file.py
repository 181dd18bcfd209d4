"""The model file: one ``.safetensors`` with a header that says what it is.

Weights and nothing else are read; nothing is ever unpickled.
"""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Literal

import torch
from pydantic import BaseModel, ConfigDict
from torch import Tensor

from everhart.errors import UsageError
from everhart.io.atomic import write_bytes
from everhart.training.model_header import (
    FORMAT_VERSION,
    ModelCard,
    ModelHeader,
    read_header,
    read_model_bytes,
)

__all__ = [
    "FORMAT_VERSION",
    "LoadedModel",
    "ModelCard",
    "ModelHeader",
    "load_model",
    "read_header",
    "save_model",
]


class LoadedModel(BaseModel):
    """Header, weights and hash of a model file."""

    model_config = ConfigDict(arbitrary_types_allowed=True, protected_namespaces=())

    header: ModelHeader
    weights: dict[str, Tensor]
    sha256: str


def save_model(
    path: Path | str,
    header: ModelHeader,
    weights: dict[str, Tensor],
    *,
    dtype: Literal["float32", "float16"] = "float32",
    overwrite: bool = False,
) -> Path:
    """Write a model file.

    Parameters
    ----------
    path
        File to write, with the suffix ``.safetensors``.
    header
        Kind, architecture, normalisation and card.
    weights
        State dict of the network.
    dtype
        Precision of the stored weights; they are computed with in float32 either way.
    overwrite
        Whether an existing file may be replaced.

    Returns
    -------
    Path
        `path`.
    """
    from safetensors.torch import save

    target = Path(path)
    if target.suffix != ".safetensors":
        raise UsageError(f"The model file {target.name!r} was asked for: name it *.safetensors.")
    stored = {
        name: tensor.detach().cpu().to(getattr(torch, dtype)).contiguous()
        for name, tensor in weights.items()
    }
    # Said only where there is something to say: older versions do not know the entry.
    unsaid = None if header.inference else {"inference"}
    data = save(stored, metadata={"everhart": header.model_dump_json(exclude=unsaid)})
    write_bytes(target, data, overwrite=overwrite)
    return target


def load_model(path: Path | str, kind: str) -> LoadedModel:
    """Read a model file and check what kind it is.

    Parameters
    ----------
    path
        The file.
    kind
        The kind that the caller can use, such as ``"denoiser"``.

    Returns
    -------
    LoadedModel
        Header, float32 weights, and the sha256 of the file.

    Raises
    ------
    UsageError
        If there is no such file, or the model is of another kind.
    FileFormatError
        If it is no Everhart model file.
    """
    from safetensors.torch import load

    header, data = read_model_bytes(path, kind)
    weights = {name: tensor.float() for name, tensor in load(data).items()}
    return LoadedModel(header=header, weights=weights, sha256=hashlib.sha256(data).hexdigest())

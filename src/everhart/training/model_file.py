"""The model file: one ``.safetensors`` with a header that says what it is.

Weights and nothing else are read; nothing is ever unpickled. The header's ``everhart`` entry is
JSON with the kind, the architecture's config, the normalisation and the card.
"""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any, Literal

import torch
from pydantic import BaseModel, ConfigDict, Field, ValidationError
from torch import Tensor

from everhart.errors import FileFormatError, UsageError
from everhart.io.atomic import write_bytes

FORMAT_VERSION = 1


class ModelCard(BaseModel):
    """What a user should know of a model before trusting it."""

    # JSON has no infinity; null in its place would be no number when it is read back.
    model_config = ConfigDict(extra="allow", ser_json_inf_nan="strings")

    name: str = Field(description="short name")
    summary: str = Field("", description="what it is for, in a sentence")
    recipe: str = Field("", description="training recipe")
    training_data: str = Field("", description="what it was trained on, with citations")
    data_sha256: str = Field("", description="hash of the training images")
    seed: int | None = Field(None, description="seed of the run")
    metrics: dict[str, float] = Field(default_factory=dict, description="measured figures")
    licence: str = Field("", description="licence of the weights")
    limits: str = Field("", description="where it should not be trusted")
    everhart_version: str = Field("", description="version that trained it")


class ModelHeader(BaseModel):
    """Everything about a model but its weights."""

    model_config = ConfigDict(extra="forbid", protected_namespaces=())

    format_version: int = FORMAT_VERSION
    kind: str = Field(description="what it does, such as 'denoiser'")
    architecture: str = Field(description="name of the network class")
    config: dict[str, Any] = Field(description="config of the network")
    normalisation: dict[str, Any] = Field(default_factory=dict)
    inference: dict[str, Any] = Field(
        default_factory=dict, description="what is done at use beside running the network once"
    )
    card: ModelCard


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


def read_header(path: Path | str) -> ModelHeader:
    """Read the header of a model file, not its weights.

    Raises
    ------
    UsageError
        If there is no such file.
    FileFormatError
        If it is no Everhart model file.
    """
    from safetensors import SafetensorError, safe_open

    path = Path(path)
    if not path.is_file():
        raise UsageError(
            f"There is no model file {path}: give a .safetensors file or a model's name."
        )
    try:
        with safe_open(str(path), framework="pt") as file:
            metadata = file.metadata() or {}
    except (SafetensorError, OSError) as error:
        raise FileFormatError(
            f"{path} is no model file ({error}): give a .safetensors file written by Everhart."
        ) from None
    try:
        said = json.loads(metadata["everhart"])
        version = said.get("format_version", FORMAT_VERSION)
        if isinstance(version, int) and version > FORMAT_VERSION:  # its fields may be others
            raise FileFormatError(
                f"{path} is a model file of format {version} and this Everhart reads up to "
                f"{FORMAT_VERSION}: update everhart."
            )
        return ModelHeader.model_validate(said)
    except (KeyError, AttributeError, json.JSONDecodeError, ValidationError):
        raise FileFormatError(
            f"{path} holds weights without an Everhart header: give a model that "
            "`everhart train` wrote."
        ) from None


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

    header = read_header(path)
    if header.kind != kind:
        raise UsageError(
            f"{path} is a model of the kind {header.kind!r}, and a {kind!r} is needed here: choose "
            "another model (`everhart models` lists them)."
        )
    data = Path(path).read_bytes()
    weights = {name: tensor.float() for name, tensor in load(data).items()}
    return LoadedModel(header=header, weights=weights, sha256=hashlib.sha256(data).hexdigest())

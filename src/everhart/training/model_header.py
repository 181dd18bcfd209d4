"""The header of a model file: what it is, for readers that need no torch.

The header's ``everhart`` entry is JSON with the kind, the architecture's config, the
normalisation and the card.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from everhart.errors import FileFormatError, UsageError

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
        with safe_open(str(path), framework="np") as file:
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


def read_model_bytes(path: Path | str, kind: str) -> tuple[ModelHeader, bytes]:
    """Read a model file whole, once its header says that it is of the kind that is needed.

    Raises
    ------
    UsageError
        If there is no such file, or the model is of another kind.
    FileFormatError
        If it is no Everhart model file.
    """
    header = read_header(path)
    if header.kind != kind:
        raise UsageError(
            f"{path} is a model of the kind {header.kind!r}, and a {kind!r} is needed here: choose "
            "another model (`everhart models` lists them)."
        )
    return header, Path(path).read_bytes()

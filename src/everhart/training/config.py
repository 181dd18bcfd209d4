"""Configs of training runs: YAML, checked by pydantic, overridden by ``key=value``."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from types import UnionType
from typing import Annotated, Any, Literal, Self, TypeVar, Union, get_args, get_origin

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from everhart.errors import UsageError, unknown_name

Precision = Literal["auto", "fp32", "bf16"]
ConfigT = TypeVar("ConfigT", bound=BaseModel)


class OptimiserConfig(BaseModel):
    """AdamW with a cosine learning rate and averaged weights."""

    model_config = ConfigDict(extra="forbid")

    steps: int = Field(2000, ge=1, description="optimiser steps in all")
    batch_size: int = Field(16, ge=1, description="crops a step")
    learning_rate: float = Field(1e-3, gt=0, description="highest rate, after the warm-up")
    warmup_steps: int = Field(50, ge=0, description="steps of linear warm-up")
    weight_decay: float = Field(0.0, ge=0, description="decoupled weight decay")
    clip_gradient_norm: float = Field(1.0, gt=0, description="gradients are scaled to this norm")
    ema_decay: float = Field(
        0.998, ge=0, lt=1, description="decay of the averaged weights that become the model"
    )
    steps_per_epoch: int = Field(
        100, ge=1, description="steps between validation, curve points and checkpoints"
    )
    keep_best: bool = Field(
        False, description="take the weights that were best in validation, those of the start too"
    )
    patience: int | None = Field(
        None, ge=1, description="with keep_best: stop after so many epochs without improvement"
    )
    max_cpu_minutes: float | None = Field(
        None,
        gt=0,
        description="stop before this much CPU time is used; then a run that is "
        "resumed may differ from one that is not",
    )
    precision: Precision = Field(
        "auto", description="auto: bf16 where the processor has it, else fp32"
    )
    device: Literal["auto", "cpu", "cuda"] = Field("auto", description="where to train")
    devices: int = Field(
        1,
        ge=1,
        description="processes that train together, each on a GPU of its own or, on a CPU, with a "
        "share of the cores; each takes batch_size crops a step",
    )
    threads: int | None = Field(
        None, ge=1, description="CPU threads of a process; none: torch's own choice"
    )

    @model_validator(mode="after")
    def _patience_with_best(self) -> Self:
        if self.patience is not None and not self.keep_best:
            raise ValueError("patience needs keep_best: true")
        return self


def load_config(schema: type[ConfigT], path: Path | str, overrides: Sequence[str] = ()) -> ConfigT:
    """Read a YAML config, apply overrides and check it.

    Parameters
    ----------
    schema
        The pydantic model of the config.
    path
        YAML file.
    overrides
        ``key=value`` strings; dots reach into sections (``optimiser.steps=500``) and
        integers into lists (``data.0.folder=pairs``). Values are read as YAML.

    Returns
    -------
    BaseModel
        An instance of `schema`.

    Raises
    ------
    UsageError
        If the file is missing, is no YAML mapping, or a field is wrong; the message names
        the field, what was given and what is allowed.
    """
    tree = read_yaml(path)
    for override in overrides:
        _apply_override(tree, override)
    try:
        return schema.model_validate(tree)
    except ValidationError as error:
        raise UsageError(_describe(error, path, schema)) from None


def read_yaml(path: Path | str) -> dict[str, Any]:
    """Read a YAML file that holds one mapping."""
    path = Path(path)
    if not path.is_file():
        raise UsageError(f"There is no config file {path}: give the path of a YAML file.")
    try:
        tree = yaml.safe_load(path.read_text(encoding="utf-8"))
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        where = getattr(error, "problem_mark", None)
        line = f" (line {where.line + 1})" if where else ""
        raise UsageError(f"{path} is no YAML{line}: correct it and try again.") from None
    if not isinstance(tree, dict):
        raise UsageError(
            f"{path} holds no settings: a config is a YAML mapping of names to values."
        )
    return tree


def _apply_override(tree: dict[str, Any], override: str) -> None:
    key, equals, text = override.partition("=")
    if not equals or not key:
        raise UsageError(
            f"The override {override!r} was given: write key=value, such as optimiser.steps=500."
        )
    try:
        # To YAML a leading star is a reference to another value, and here there is none; to
        # people it is a pattern of file names.
        value = text if text.startswith("*") else yaml.safe_load(text)
    except yaml.YAMLError:
        raise UsageError(f"The override {override!r} has a value that is no YAML.") from None
    node: Any = tree
    parts = key.split(".")
    for part in parts[:-1]:
        if isinstance(node, list) and part.isdigit() and int(part) < len(node):
            node = node[int(part)]
        elif isinstance(node, dict):
            node = node.setdefault(part, {})
        else:
            raise UsageError(
                f"The override {override!r} reaches into {part!r}, which is no section."
            )
    last = parts[-1]
    if isinstance(node, dict):
        node[last] = value
    elif isinstance(node, list) and last.isdigit() and int(last) < len(node):
        node[int(last)] = value
    else:
        raise UsageError(
            f"The override {override!r} sets {last!r} in something that is no section."
        )


def _describe(error: ValidationError, path: Path | str, schema: type[BaseModel]) -> str:
    """Turn pydantic's list of complaints into one sentence a complaint."""
    sentences = []
    for item in error.errors():
        keys, fields = _place(schema, item["loc"])
        where = ".".join(keys) or "the config"
        if item["type"] == "extra_forbidden":
            name = str(item["loc"][-1])
            hint = str(unknown_name("setting", name, fields)) if fields else f"Unknown {name!r}."
            sentences.append(f"{where}: {hint}")
        elif item["type"] == "missing":
            sentences.append(f"{where} is missing: give it in the file or as {where}=VALUE.")
        else:
            said = item["msg"].removeprefix("Value error, ").removesuffix(".")
            # What concerns the whole config is not told by printing all of it.
            given = f"{where} = {item['input']!r} was given: " if keys else ""
            sentences.append(f"{given}{said}.")
    return f"The config {path} is wrong: " + " ".join(sentences)


def _place(schema: type[BaseModel], location: Sequence[int | str]) -> tuple[list[str], list[str]]:
    """Return the keys that lead to a place of a config, and the names known beside it.

    pydantic puts the tag of a discriminated union (``data.0.pairs.folder``) among the keys, where
    a config has none. No names are known where the schema is not plain.
    """
    keys: list[str] = []
    fields: list[str] = []
    node: Any = schema
    for part in location:
        inner = _without_annotation(node)
        if get_origin(inner) in (Union, UnionType):
            tagged = _member(inner, part)
            if tagged is not None:
                node = tagged
                continue
        keys.append(str(part))
        fields, node = [], None
        if isinstance(inner, type) and issubclass(inner, BaseModel):
            fields = list(inner.model_fields)
            field = inner.model_fields.get(str(part))
            node = field.annotation if field else None
        elif isinstance(part, int) and get_args(inner):
            node = get_args(inner)[0]
    return keys, fields


def _without_annotation(node: Any) -> Any:
    return get_args(node)[0] if get_origin(node) is Annotated else node


def _member(union: Any, tag: int | str) -> Any:
    """Return the model of a union one of whose fields is the literal `tag`, or None."""
    for member in get_args(union):
        if isinstance(member, type) and issubclass(member, BaseModel):
            for field in member.model_fields.values():
                if get_origin(field.annotation) is Literal and tag in get_args(field.annotation):
                    return member
    return None

"""``everhart models``."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import typer

from everhart.cli.options import JsonPath, Overwrite
from everhart.cli.outputs import check_outputs, write_json


def models(json_path: JsonPath = None, overwrite: Overwrite = False) -> None:
    """List the models at hand, with their cards.

    \b
    Examples:
      everhart models
      everhart models --json models.json
    """
    check_outputs([json_path], overwrite=overwrite)
    from everhart.restore.models import list_models

    found = list(list_models())
    for index, model in enumerate(found):
        if index:
            typer.echo("")
        typer.echo(f"{model.name} ({model.header.kind})")
        _print_card({**model.header.card.model_dump(exclude_defaults=True), "file": model.path})
    if not found:
        typer.echo("No model was found.", err=True)
    if json_path is not None:
        entries = [
            {"name": model.name, "file": str(model.path), **model.header.model_dump()}
            for model in found
        ]
        write_json(json_path, {"models": entries}, overwrite=overwrite)


def _print_card(card: Mapping[str, Any], indent: int = 2) -> None:
    pad = " " * indent
    width = max((len(str(key)) for key, value in card.items() if not _nested(value)), default=0)
    for key, value in card.items():
        label = str(key).replace("_", " ")
        if _nested(value):
            typer.echo(f"{pad}{label}")
            _print_card(value, indent + 2)
        elif isinstance(value, (list, tuple)):
            typer.echo(f"{pad}{label:<{width}}  {', '.join(map(str, value))}")
        else:
            typer.echo(f"{pad}{label:<{width}}  {value}")


def _nested(value: Any) -> bool:
    return isinstance(value, Mapping)

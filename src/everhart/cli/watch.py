"""``everhart watch``."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated, Any

import typer

from everhart.cli.options import PixelSize
from everhart.cli.serve import missing
from everhart.errors import UsageError


def watch(
    folder: Annotated[Path, typer.Argument(metavar="DIR", help="The folder to watch.")],
    output: Annotated[
        Path,
        typer.Option("--output", "-o", metavar="OUT", help="Where results go, a folder an image."),
    ],
    operation: Annotated[
        str, typer.Option(metavar="NAME", help="denoise, noise, measure-holes, measure-lines ...")
    ] = "denoise",
    parameter: Annotated[
        list[str] | None,
        typer.Option(
            "--parameter", "-p", metavar="KEY=VALUE", help="A parameter of it; several are allowed."
        ),
    ] = None,
    pixel_size_nm: PixelSize = None,
    settle_s: Annotated[
        float,
        typer.Option(min=0.1, metavar="S", help="A file unchanged for so long is complete."),
    ] = 1.0,
    patience_s: Annotated[
        float,
        typer.Option(min=0.1, metavar="S", help="After so long, one that cannot be read failed."),
    ] = 30.0,
    memory_mb: Annotated[
        float, typer.Option(min=1, metavar="MB", help="Memory that one image may take.")
    ] = 16384,
    seconds: Annotated[
        float, typer.Option(min=1, metavar="S", help="Time that one image may take.")
    ] = 3600,
) -> None:
    """Work on images as the microscope writes them, each once, over restarts too.

    OUT/IMAGE holds the results of an image and their record, result.json; tables of all images
    are joined in OUT. A bad file goes to OUT/failed, with the reason beside it.

    \b
    Examples:
      everhart watch scans/ -o clean/
      everhart watch scans/ -o lot7/ --operation measure-holes -p unit=nm --pixel-size-nm 0.8
    """
    try:
        from everhart.service.compute import ComputePool
        from everhart.service.hot_folder import HotFolder
    except ModuleNotFoundError as error:
        raise missing(error) from error
    import tempfile
    import threading

    with tempfile.TemporaryDirectory(prefix="everhart-") as scratch:
        pool = ComputePool(
            1,
            memory_mb=memory_mb,
            seconds=seconds,
            scratch=Path(scratch),
            raised_by=("--memory-mb", "--seconds"),
        )
        try:
            hot = HotFolder(
                folder,
                output,
                operation,
                _parameters(parameter or []),
                pool,
                pixel_size_nm,
                settle_s,
                patience_s,
                typer.echo,
            )
            typer.echo(f"Everhart watches {folder} (Ctrl-C stops it)", err=True)
            hot.watch(threading.Event())
        finally:
            pool.close()


def _parameters(words: list[str]) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for word in words:
        name, equals, value = word.partition("=")
        if not equals:
            raise UsageError(f"--parameter {word} was given: give KEY=VALUE, such as method=nlm.")
        try:
            found[name.replace("-", "_")] = json.loads(value)
        except ValueError:
            found[name.replace("-", "_")] = value
    return found

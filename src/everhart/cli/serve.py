"""``everhart serve``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from everhart.errors import UsageError

SettingsFile = Annotated[
    Path | None,
    typer.Option("--settings", metavar="FILE.toml", help="Settings; the environment is stronger."),
]
Folder = Annotated[
    Path | None,
    typer.Option(metavar="DIR", help="Folder of database and objects.", show_default="~/.everhart"),
]

Cluster = Annotated[
    str | None,
    typer.Option(metavar="ADDRESS", help="Dask scheduler to spread jobs over: tcp://HOST:8786."),
]


def serve(
    host: Annotated[
        str | None,
        typer.Option(
            metavar="H",
            help="Address to listen on; other than loopback only with tokens.",
            show_default="127.0.0.1",
        ),
    ] = None,
    port: Annotated[
        int | None,
        typer.Option(metavar="P", help="Port; 0 takes a free one.", show_default="8765"),
    ] = None,
    cluster: Cluster = None,
    folder: Folder = None,
    settings: SettingsFile = None,
) -> None:
    """Serve images, jobs and results over HTTP, on this machine or for a team.

    \b
    Examples:
      everhart serve
      everhart serve --port 9000 --folder /data/everhart
      everhart serve --host 0.0.0.0 --settings everhart.toml
    """
    try:
        from everhart.service.server import serve as run
        from everhart.service.settings import load_settings
    except ModuleNotFoundError as error:
        raise missing(error) from error
    checked = load_settings(settings, host=host, port=port, folder=folder, cluster=cluster)
    run(checked, lambda url: typer.echo(f"Everhart serves at {url} (Ctrl-C stops it)", err=True))


def missing(error: ModuleNotFoundError) -> UsageError:
    """Make the error for an installation without the service."""
    return UsageError(
        f"The service is not installed ({error.name} is missing): "
        'install it with pip install "everhart[service]".'
    )

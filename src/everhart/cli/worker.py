"""``everhart worker``."""

from __future__ import annotations

from typing import Annotated

import typer

from everhart.cli.serve import Cluster, Folder, SettingsFile, missing


def worker(
    workers: Annotated[
        int | None,
        typer.Option(min=1, metavar="N", help="Processes that run operations.", show_default="1"),
    ] = None,
    cluster: Cluster = None,
    folder: Folder = None,
    settings: SettingsFile = None,
) -> None:
    """Do jobs of a service that runs elsewhere, with its database and object store.

    What a worker was doing when it died, another one takes over.

    \b
    Example:
      everhart worker --settings everhart.toml --workers 4
    """
    try:
        from everhart.service.settings import load_settings
        from everhart.service.worker import work
    except ModuleNotFoundError as error:
        raise missing(error) from error
    checked = load_settings(settings, folder=folder, workers=workers, cluster=cluster)
    work(checked, lambda: typer.echo("Everhart waits for jobs (Ctrl-C stops it)", err=True))

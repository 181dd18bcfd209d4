"""``everhart token``: make, list and revoke the tokens of the service."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from everhart.cli.serve import Folder, SettingsFile, missing
from everhart.errors import UsageError

if TYPE_CHECKING:
    from everhart.service.database import Database

token = typer.Typer(
    add_completion=False,
    rich_markup_mode=None,
    no_args_is_help=True,
    help="Make, list and revoke the tokens of the service.\n\n"
    "Example: everhart token create microscope-3 --scope run --expires 90d",
)

_LIFETIME = re.compile(r"(\d{1,6})([hd])")


@contextmanager
def _database(folder: Path | None, settings: Path | None) -> Iterator[Database]:
    try:
        from everhart.service.database import Database, migrate
        from everhart.service.settings import load_settings
    except ModuleNotFoundError as error:
        raise missing(error) from error
    checked = load_settings(settings, folder=folder)
    migrate(checked)
    database = Database(checked)
    try:
        yield database
    finally:
        database.close()


@token.command()
def create(
    name: Annotated[str, typer.Argument(metavar="NAME", help="Whom it is for.")],
    scope: Annotated[
        list[str],
        typer.Option(
            help="read: look; run: upload and run too; admin: upload models and delete too."
        ),
    ] = ["read"],  # noqa: B006 - Typer copies it
    expires: Annotated[
        str, typer.Option(metavar="TIME", help="How long it is good: 12h, 90d, or never.")
    ] = "90d",
    folder: Folder = None,
    settings: SettingsFile = None,
) -> None:
    """Make a token and print it, this once; only its hash is kept.

    \b
    Example:
      everhart token create microscope-3 --scope run --expires 90d
    """
    lifetime = None
    if expires != "never":
        match = _LIFETIME.fullmatch(expires)
        if match is None:
            raise UsageError(f"--expires {expires} was given: give a time such as 12h, 90d, never.")
        hours = int(match[1]) * (24 if match[2] == "d" else 1)
        lifetime = timedelta(hours=min(hours, 1_000_000))
    with _database(folder, settings) as database:
        from everhart.service.tokens import create_token

        made, text = create_token(database, name, scope, lifetime)
    until = "for ever" if made.expires_at is None else f"until {made.expires_at:%Y-%m-%d %H:%M} UTC"
    typer.echo(f"Token {made.id} for {name}, {', '.join(made.scopes)}, {until}:", err=True)
    typer.echo(text)


@token.command(name="list")
def list_all(folder: Folder = None, settings: SettingsFile = None) -> None:
    """List the tokens: id, scopes, state, name.

    \b
    Example:
      everhart token list
    """
    with _database(folder, settings) as database:
        from everhart.service.tokens import is_live, list_tokens

        for entry in list_tokens(database):
            if entry.revoked_at is not None:
                state = "revoked"
            elif not is_live(entry):
                state = "expired"
            else:
                state = "never" if entry.expires_at is None else f"{entry.expires_at:%Y-%m-%d}"
            typer.echo(f"{entry.id}  {','.join(entry.scopes):<14}  {state:<10}  {entry.name}")


@token.command()
def revoke(
    identity: Annotated[str, typer.Argument(metavar="ID", help="As `token list` shows it.")],
    folder: Folder = None,
    settings: SettingsFile = None,
) -> None:
    """Make a token useless at once, in running servers too.

    \b
    Example:
      everhart token revoke 0a1b2c3d4e5f
    """
    with _database(folder, settings) as database:
        from everhart.service.tokens import revoke_token

        revoke_token(database, identity)
    typer.echo(f"Token {identity} is revoked.", err=True)

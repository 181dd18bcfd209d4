"""Run migrations on a connection, without Alembic's own command line and files."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from alembic.config import Config
from alembic.runtime.environment import EnvironmentContext
from alembic.script import ScriptDirectory
from alembic.util.exc import CommandError
from sqlalchemy import Connection

from everhart.errors import EverhartError
from everhart.service.tables import Base

__all__ = ["run_migrations", "scripts"]


def scripts() -> ScriptDirectory:
    """Return the scripts in this folder."""
    config = Config()
    config.set_main_option("script_location", str(Path(__file__).parent))
    config.set_main_option("path_separator", "os")
    return ScriptDirectory.from_config(config)


def run_migrations(connection: Connection, revision: str) -> None:
    """Go up or down to a revision, in the connection's transaction.

    Parameters
    ----------
    connection
        A connection in a transaction.
    revision
        Name of the revision, or ``"base"``.

    Raises
    ------
    EverhartError
        If the database is at a revision that this Everhart does not know.
    """
    directory = scripts()

    def steps(current: Any, _: Any) -> Any:
        if revision == "base":
            return directory._downgrade_revs("base", current)
        return directory._upgrade_revs(revision, current)

    context = EnvironmentContext(Config(), directory, fn=steps, destination_rev=revision)
    try:
        with context:
            context.configure(connection=connection, target_metadata=Base.metadata)
            context.run_migrations()
    except CommandError as error:
        raise EverhartError(
            f"The tables of the database are not of this Everhart ({error}): run the version that "
            "made them, or a newer one."
        ) from error

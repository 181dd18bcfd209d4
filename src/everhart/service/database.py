"""The database: SQLite in a folder, or PostgreSQL by URL, each for async and for threads."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from typing import Any

from sqlalchemy import Engine, create_engine, event, inspect, make_url, text
from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.ext.asyncio import AsyncEngine, AsyncSession, create_async_engine
from sqlalchemy.orm import Session

from everhart.errors import EverhartError
from everhart.service.migrations import HEAD
from everhart.service.settings import Settings

__all__ = ["AsyncDatabase", "Database", "migrate"]

_BUSY_TIMEOUT_MS = 30_000


class Database:
    """The database for threads: workers, and the command line."""

    def __init__(self, settings: Settings) -> None:
        self.engine = _prepared(create_engine(_url(settings), **_options(settings)))
        self._writing = self.engine.execution_options(everhart_write=True)

    @contextmanager
    def reading(self) -> Iterator[Session]:
        """Give a session for reading."""
        with Session(self.engine, expire_on_commit=False) as session:
            yield session

    @contextmanager
    def writing(self) -> Iterator[Session]:
        """Give a session that is committed if nothing goes wrong."""
        with Session(self._writing, expire_on_commit=False) as session, session.begin():
            yield session

    def close(self) -> None:
        """Close all connections."""
        self.engine.dispose()


class AsyncDatabase:
    """The database for the event loop of the server."""

    def __init__(self, settings: Settings) -> None:
        url = make_url(_url(settings))
        if url.get_backend_name() == "sqlite":
            url = url.set(drivername="sqlite+aiosqlite")
        self.engine: AsyncEngine = create_async_engine(url, **_options(settings))
        _prepared(self.engine.sync_engine)
        self._writing = self.engine.execution_options(everhart_write=True)

    @asynccontextmanager
    async def reading(self) -> AsyncIterator[AsyncSession]:
        """Give a session for reading."""
        async with AsyncSession(self.engine, expire_on_commit=False) as session:
            yield session

    @asynccontextmanager
    async def writing(self) -> AsyncIterator[AsyncSession]:
        """Give a session that is committed if nothing goes wrong."""
        async with (
            AsyncSession(self._writing, expire_on_commit=False) as session,
            session.begin(),
        ):
            yield session

    async def check(self) -> None:
        """Ask the database for an answer."""
        async with self.engine.connect() as connection:
            await connection.execute(text("SELECT 1"))

    async def close(self) -> None:
        """Close all connections."""
        await self.engine.dispose()


def migrate(settings: Settings, revision: str = HEAD) -> None:
    """Bring the database to a revision of its tables; make it where there is none.

    Parameters
    ----------
    settings
        The settings, which name the database.
    revision
        Name of the revision; ``"base"`` for no tables at all.

    Raises
    ------
    EverhartError
        If the database cannot be reached, or is of a newer Everhart.
    """
    if settings.database is None:
        settings.folder.mkdir(parents=True, exist_ok=True, mode=0o700)
    database = Database(settings)
    try:
        if _revision(database.engine) == revision:
            return
        # Alembic takes half a second to import, which a start with whole tables does not need.
        from everhart.service.migrations.run import run_migrations

        with database.engine.execution_options(everhart_write=True).begin() as connection:
            run_migrations(connection, revision)
    except SQLAlchemyError as error:
        said = str(getattr(error, "orig", None) or error).strip().splitlines()[0]
        raise EverhartError(
            f"The database cannot be used ({said}): check that it runs, and the setting database."
        ) from error
    finally:
        database.close()


def _revision(engine: Engine) -> str | None:
    with engine.connect() as connection:
        if not inspect(connection).has_table("alembic_version"):
            return None
        return connection.execute(text("SELECT version_num FROM alembic_version")).scalar()


def _url(settings: Settings) -> str:
    return settings.database_url


def _options(settings: Settings) -> dict[str, Any]:
    if settings.database is None:
        return {"connect_args": {"check_same_thread": False}}
    # A server that went away and came back is met with a new connection, not an error.
    return {"pool_pre_ping": True, "connect_args": {"connect_timeout": 3}}


def _prepared(engine: Engine) -> Engine:
    """Set SQLite up for several processes: a log to write ahead, and locks that are waited for."""
    if engine.dialect.name != "sqlite":
        return engine

    @event.listens_for(engine, "connect")
    def connected(connection: Any, _: Any) -> None:
        connection.isolation_level = None  # transactions are begun below
        cursor = connection.cursor()
        cursor.execute(f"PRAGMA busy_timeout = {_BUSY_TIMEOUT_MS}")
        cursor.execute("PRAGMA journal_mode = WAL")
        cursor.execute("PRAGMA foreign_keys = ON")
        cursor.close()

    @event.listens_for(engine, "begin")
    def begun(connection: Any) -> None:
        # A transaction that begins to read and then writes fails at once where another has
        # written in between; one that says so from the start waits for its turn.
        write = connection.get_execution_options().get("everhart_write", False)
        connection.exec_driver_sql("BEGIN IMMEDIATE" if write else "BEGIN")

    return engine
